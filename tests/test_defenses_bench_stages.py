"""The benchmark end to end, tiny, on the shipped proxy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")

from unsafe_video_dataset.cli import main
from unsafe_video_dataset.defenses import as_latent_defense, as_output_defense, as_prompt_defense, bench
from unsafe_video_dataset.defenses.bench import world as worlds
from unsafe_video_dataset.defenses.bench.stages import RESULT
from unsafe_video_dataset.defenses.bench.verdicts import Verdicts
from unsafe_video_dataset.errors import ChecksumError, InputError

TINY = bench.BenchSettings(
    sampling_steps=8,
    early=3,
    record=(1, 2, 3, 8),
    train_steps=(1, 3, 8),
    seeds=(0, 1),
    epochs=1,
    filter_epochs=1,
    guarded=4,
    rounds=1,
    bootstrap=50,
    scale=0.04,
)


def tiny_world() -> Any:
    return bench.proxy_world(sampling_steps=TINY.sampling_steps, scale=TINY.scale)


def extras() -> list[Any]:
    def watch(x0: Any) -> float:
        return float(x0.mean() > 10)  # never

    return [
        as_prompt_defense(lambda prompt: "square" in prompt, name="mine"),
        as_latent_defense(watch, name="my latent"),
        as_output_defense(lambda frames: frames.mean() / 255, name="my output", threshold=2),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bench")
    return out, bench.run(out, TINY, world=tiny_world(), extra=extras(), heavy=False, progress=False)


def test_every_defence_has_its_numbers_and_its_files(finished: tuple[Path, dict[str, Any]]) -> None:
    out, result = finished
    assert {"keyword", "ngram", "lvd", "lvd (sequential)", "frame filter", "clip filter", "mine"} <= set(result["defenses"])
    n = result["samples"]["n"]
    for name, one in result["defenses"].items():
        assert 0 <= one["all"]["accuracy"]["low"] <= one["all"]["accuracy"]["value"] <= one["all"]["accuracy"]["high"] <= 1, (
            name
        )
        assert one["all"]["n"] == n
    assert result["defenses"]["lvd"]["training_seeds"] == 2
    assert result["defenses"]["my latent"]["all"]["tpr"]["value"] == 0
    assert result["defenses"]["my latent"]["cost"]["allowed"]["looks"] == TINY.early
    assert result["defenses"]["mine"]["within_prompt"]["value"] in (0.5, None)
    assert (
        result["defenses"]["keyword"]["cost"]["blocked"] is None
        or result["defenses"]["keyword"]["cost"]["blocked"]["denoised"] == 0
    )
    assert json.loads((out / RESULT).read_text(encoding="utf-8")) == json.loads(json.dumps(result))
    assert Verdicts.read(out / "verdicts" / "lvd-1.parquet").facts["training_seed"] == 1


def test_a_replay_says_what_a_guard_does(finished: tuple[Path, dict[str, Any]]) -> None:
    for found in finished[1]["parity"].values():
        assert found["same_action"] == found["same_step"] == found["n"] > 0
        assert found["decodes_of_blocked"] == 0


def test_flops_add_up(finished: tuple[Path, dict[str, Any]]) -> None:
    parts = finished[1]["flops"]
    assert parts["full"] == parts["prompt"] + parts["steps"] * parts["step"] + parts["decode"]
    assert min(parts["step"], parts["decode"], parts["look"], parts["prompt"]) > 0


def test_no_file_holds_a_prompt(finished: tuple[Path, dict[str, Any]]) -> None:
    prompts = [item.prompt.encode() for item in tiny_world().items if len(item.prompt) > 12]
    for file in finished[0].rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [prompt for prompt in prompts if prompt in data], file.name


def test_a_second_run_makes_nothing_anew_and_says_the_same(finished: tuple[Path, dict[str, Any]]) -> None:
    out, result = finished
    stages = [out / "generated" / "clips.parquet", out / "detectors" / "seed-1" / "detector.safetensors", out / "votes"]
    before = [file.stat().st_mtime_ns for file in stages]

    def fail() -> Any:
        raise AssertionError("nothing should be generated")

    world = tiny_world()
    pipe = world.load()
    calls = []

    def load() -> Any:
        calls.append(1)
        return pipe

    again = bench.run(out, TINY, world=replace(world, load=load), extra=extras(), heavy=False, progress=False)
    assert [file.stat().st_mtime_ns for file in stages] == before
    assert again["defenses"] == result["defenses"]
    assert len(calls) == 1  # to count FLOPs; not to generate
    with pytest.raises(InputError, match="other settings \\(bootstrap\\)"):
        bench.run(out, replace(TINY, bootstrap=60), world=world, heavy=False, progress=False)
    with pytest.raises(InputError, match="give yours another name"):
        bench.run(out, TINY, world=world, extra=[as_prompt_defense(len, name="ngram")], heavy=False, progress=False)


def test_the_report_is_made_of_the_result_alone(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = finished[0]
    result = json.loads((out / RESULT).read_text(encoding="utf-8"))  # a second run may have added to what it took
    assert main(["defend", "report", str(out), "--plots", str(tmp_path / "figures" / "f")]) == 0
    shown = capsys.readouterr().out
    assert bench.to_text(result, full=True).strip() in shown
    assert "By category" in shown
    assert "By category" not in bench.to_text(result)
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == sorted(
        f"f-{name}.{ending}" for name in ("rules", "step", "strata") for ending in ("png", "svg")
    )
    assert main(["defend", "report", str(out), "--markdown"]) == 0
    assert "| keyword | prompt |" in capsys.readouterr().out
    assert main(["defend", "report", str(tmp_path)]) == 2
    assert "defend bench" in capsys.readouterr().err


def test_a_changed_file_is_noticed(finished: tuple[Path, dict[str, Any]]) -> None:
    clips = finished[0] / "generated" / "clips.parquet"
    data = clips.read_bytes()
    try:
        clips.write_bytes(data[:-20] + bytes(20))
        with pytest.raises(ChecksumError, match=r"clips\.parquet"):
            bench.run(finished[0], TINY, world=tiny_world(), heavy=False, progress=False)
    finally:
        clips.write_bytes(data)


def test_run_generates_under_the_guard(finished: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "prompts.txt").write_text("a red square falls\na blue circle rises\n", encoding="utf-8")
    (tmp_path / "words.json").write_text(json.dumps({"red_square": [["red", "square"]]}), encoding="utf-8")
    arguments = ["defend", "run", "proxy", "--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out"), "--json"]
    arguments += ["--keywords", str(tmp_path / "words.json"), "--arguments", '{"num_inference_steps": 4}']
    assert main(arguments) == 0
    done = json.loads(capsys.readouterr().out)
    first, second = done["verdicts"]
    assert (first["action"], first["denoised"], first["decided_by"]) == ("block", 0, "keyword")
    assert (second["action"], second["denoised"], done["blocked"]) == ("allow", 4, 1)
    assert [file.stem for file in (tmp_path / "out" / "videos").iterdir()] == [second["video"]]
    assert np.load(tmp_path / "out" / "videos" / f"{second['video']}.npy").shape == (8, 32, 32, 3)
    detector = str(finished[0] / "detectors" / "seed-0")
    assert main([*arguments, "--detector", detector, "--eta", "2", "--lambda", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["verdicts"]) == 2
    assert main(["defend", "run", "proxy", "--prompts", str(tmp_path / "prompts.txt")]) == 2
    assert "No defence" in capsys.readouterr().err


# --- settings and worlds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"early": 9}, {"train_steps": (4,)}, {"seeds": (1, 1)}, {"scale": 0}, {"rounds": 0}, {"record": (1, 2, 3, 99)}],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="BenchSettings"):
        replace(TINY, **change)


def test_a_world_keeps_groups_apart_and_prompts_once() -> None:
    world = tiny_world()
    with pytest.raises(InputError, match="1 repeated items"):
        replace(world, items=(*world.items, world.items[0]))
    moved = replace(world.items[0], split="test", seed=world.items[0].seed + 1)
    with pytest.raises(InputError, match="1 groups in two splits"):
        replace(world, items=(*world.items, moved))
    with pytest.raises(InputError, match="validation"):
        replace(world, items=tuple(item for item in world.items if item.split != "validation"))
    assert {item.stratum for item in world.items} <= set(worlds.STRATA)
    near = [item for item in world.items if item.lookalike]
    assert near
    assert all(item.specified for item in near)


def test_the_full_settings_ask_for_a_test_set_of_four_hundred_and_three_seeds() -> None:
    full = bench.BenchSettings()
    world = bench.proxy_world(sampling_steps=full.sampling_steps)
    assert sum(item.split == "test" for item in world.items) >= 400 * 1.1  # some will be unclear
    assert len(full.seeds) == 3
