"""The benchmark's folder after accidents, and defences that fail: said in one line, counted, never printed with a prompt."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")

import torch
from test_cli import call
from test_defenses_bench_stages import TINY, tiny_world
from test_terminal import in_terminal, without_colours

from unsafe_video_dataset.defenses import LatentVariableDefense, as_latent_defense, as_output_defense, as_prompt_defense, bench
from unsafe_video_dataset.defenses.bench.files import stored
from unsafe_video_dataset.defenses.bench.guarded import median_interval
from unsafe_video_dataset.defenses.bench.stages import RESULT
from unsafe_video_dataset.defenses.bench.targets import _row
from unsafe_video_dataset.errors import IntegrityError, UnsafeVideoError

ONE = bench.BenchSettings(**{**TINY.__dict__, "seeds": (0,), "bootstrap": 20})


def again(folder: Path, **more: Any) -> dict[str, Any]:
    return bench.run(folder, ONE, world=tiny_world(), heavy=False, progress=False, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    again(out)
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "bench"))


# -- files


def test_what_is_damaged_is_named(finished: Path) -> None:
    names = [
        *("bench.json", "generated/stage.json", "parity-eta-lambda.json", "overhead-proxy.json", "took.json"),
        *("detectors/seed-0/detector.json", "filters/clip/video.json", "votes/seed-0-test.parquet"),
    ]
    for name in names:
        file = finished / name
        data = file.read_bytes()
        for wrong in (b"", b'{"half', b"[]", b"\xff\xfe"):
            file.write_bytes(wrong)
            try:
                with pytest.raises(IntegrityError, match=file.name.partition(".")[0]):
                    again(finished)
            finally:
                file.write_bytes(data)
    samples, about = finished / "generated" / "samples.parquet", finished / "generated" / "stage.json"
    before = samples.read_bytes(), about.read_bytes()
    try:
        samples.write_bytes(b"PAR1")
        known = json.loads(before[1])
        known["files"]["samples.parquet"] = hashlib.sha256(b"PAR1").hexdigest()
        about.write_text(json.dumps(known))
        with pytest.raises(IntegrityError, match=r"samples\.parquet is damaged"):
            again(finished)
    finally:
        samples.write_bytes(before[0])
        about.write_bytes(before[1])


def test_what_is_gone_is_made_anew(copied: Path) -> None:
    before = json.loads((copied / RESULT).read_text(encoding="utf-8"))
    runs = json.loads((copied / "took.json").read_text(encoding="utf-8"))["runs"]
    gone = [
        *("generated/samples.parquet", "generated/traces/manifest.json", "filters/clip/video.safetensors"),
        *("detectors/seed-0/detector.safetensors", "votes/seed-0-test.parquet", "parity-sequential.json"),
    ]
    for name in gone:
        (copied / name).unlink()
    made = again(copied)
    assert all((copied / name).is_file() for name in gone)
    assert made["defenses"] == before["defenses"]
    assert made["took"]["runs"] == runs + 1
    clips = list((copied / "generated" / "traces" / "videos").iterdir())
    assert clips
    assert {file.suffix for file in clips} == {".npy"}, "they are NumPy's files"
    assert np.load(clips[0]).dtype == np.uint8


def test_what_was_made_from_something_else_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "part.json"
    assert [stored(file, lambda: 1, of="a"), stored(file, lambda: 2, of="a"), stored(file, lambda: 3, of="b")] == [1, 1, 3]


# -- defences that fail


def _broken(prompt: str) -> float:
    raise ValueError(f"no idea about {prompt}")


def broken_on_squares(prompt: str) -> float:
    """A filter that fails on some prompts, and has them in its error."""
    return _broken(prompt) if "square" in prompt else 0.0


def test_a_defence_that_fails_is_counted_as_blocking(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: Any) -> float:
        raise RuntimeError("out of memory")

    extras = [
        as_prompt_defense(broken_on_squares, name="broken"),
        as_prompt_defense(lambda prompt: float("nan"), name="nan"),
        as_latent_defense(fails, name="latent"),
        as_output_defense(fails, name="output"),
    ]
    result = again(copied, extra=extras)
    found = {name: result["defenses"][name] for name in ("broken", "nan", "latent", "output")}
    n = result["samples"]["n"]
    assert {name: one["failed_with"] for name, one in found.items()} == {
        "broken": ["ValueError"],
        "nan": ["InputError"],
        "latent": ["RuntimeError"],
        "output": ["RuntimeError"],
    }
    assert 0 < found["broken"]["failures"] < n
    assert found["nan"]["failures"] == found["latent"]["failures"] == found["output"]["failures"] == n
    assert found["nan"]["all"]["tpr"]["value"] == 1
    assert found["nan"]["all"]["tnr"]["value"] == 0
    assert f"note: nan failed on {n} of {n} samples" in bench.to_text(result)
    for text in (json.dumps(result), *(file.read_bytes().decode("latin1") for file in (copied / "verdicts").iterdir())):
        assert "no idea about" not in text


def test_a_defence_in_the_papers_convention_is_benched_in_a_guard(copied: Path) -> None:
    steps: list[int] = []

    def detector(x0: Any, *, step: int) -> float:
        steps.append(step)
        return float(step == 2)

    theirs = LatentVariableDefense(detector, eta=2, lam="1/2", x0_convention="uvd", name="uvd")
    found = again(copied, extra=[theirs])["defenses"]["uvd"]
    assert set(steps) == {1, 2}
    assert (found["cost"]["blocked"]["denoised"], found["all"]["tpr"]["value"], found.get("failures", 0)) == (2, 1, 0)


# -- targets


@pytest.mark.parametrize(
    ("less", "value", "low", "high", "outcome"),
    [
        (True, 0.965, 0.918, 1.025, "not decided"),
        (True, 0.965, 0.918, 1.019, "met"),
        (True, 1.3, 1.2, 1.4, "not met"),
        (True, 1.0, None, None, "not decided"),
        (False, 1.03, 1.01, 1.05, "not decided"),
        (False, 1.05, 1.02, 1.1, "met"),
        (False, 0.8, 0.7, 0.9, "not met"),
        (False, None, None, None, "not decided"),
    ],
)
def test_a_target_is_met_by_a_whole_interval(less: bool, value: Any, low: Any, high: Any, outcome: str) -> None:
    found = {"value": value, "low": low, "high": high, "n": 1}
    row = _row("x", 1.02, found, less=less, why="because")
    counted = _row("x", 1.02, {**found, "low": None, "high": None}, less=less, counted=True)["outcome"]
    assert counted == ("not decided" if value is None else "met" if (value < 1.02) == less else "not met")
    open_ = "the interval reaches to the other side" if low is not None else "too few measurements"
    reason = {"met": "", "not met": "because", "not decided": open_}[outcome]
    assert row["outcome"] == outcome
    assert row["why"].startswith(reason)
    assert bool(row["why"]) == bool(reason)


def test_each_measure_of_a_target_has_its_row(finished: Path) -> None:
    result = json.loads((finished / RESULT).read_text(encoding="utf-8"))
    rows = {row["target"]: row for row in result["targets"]}
    for what in ("denoising saved", "FLOPs on the proxy", "FLOPs of an allowed generation, the proxy", "time of an allowed"):
        assert any(name.startswith(what) for name in rows), what
    text = bench.to_text(result, full=True)
    assert "for every eta and lambda" in text
    assert "Does the generator show what was asked for?" in text
    cells = {(cell["eta"], cell["lam"]) for cell in result["grid"]}
    assert cells == {(eta, lam) for eta in (1, 2, 3) for lam in ("1/5", "2/5", "3/5", "4/5", "1")}
    assert all(cell["accuracy"]["low"] <= cell["accuracy"]["value"] <= cell["accuracy"]["high"] for cell in result["grid"])


def test_the_interval_of_a_median_covers_it() -> None:
    draw = np.random.default_rng(0)
    for n in (6, 15, 40):
        inside = [low <= 0 <= high for low, high in (_ends(draw.standard_normal(n)) for _ in range(2000))]
        assert 0.94 <= np.mean(inside) <= 0.995
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (None, None)


def _ends(values: Any) -> tuple[float, float]:
    low, high = median_interval(values.tolist())
    assert low is not None
    assert high is not None
    return low, high


# -- threads, terminals, time


def test_threads_are_put_back(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    real: Callable[..., Any] = bench.stages._run  # type: ignore[attr-defined]
    monkeypatch.setattr(bench.stages, "_run", lambda *given: (seen.append(torch.get_num_threads()), real(*given))[1])  # type: ignore[attr-defined]
    torch.set_num_threads(2)
    try:
        again(finished)
        assert (seen, torch.get_num_threads()) == ([1], 2)
        monkeypatch.setattr(bench.stages, "_run", lambda *given: 1 / 0)  # type: ignore[attr-defined]
        with pytest.raises(ZeroDivisionError):
            again(finished)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_report_in_a_terminal_fits_it_and_in_a_pipe_has_no_colours(finished: Path, capsys: Any) -> None:
    command = [sys.executable, "-m", "unsafe_video_dataset.cli", "defend", "report", str(finished)]
    said = in_terminal(*command, columns=100)
    assert "\x1b[1;36mdefence" in said
    lines = [line for line in without_colours(said).splitlines() if not line.startswith("World proxy")]
    assert max(map(len, lines)) <= 100, "tables fold their cells"
    assert "─" in said
    assert "\x1b" not in in_terminal(*command, columns=100, NO_COLOR="1")
    assert call(*command[3:]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_fast_benchmark_runs_to_its_end(tmp_path: Path, capsys: Any) -> None:
    """All of `defend bench --fast`; what it took stands in the report, the result, and here where -rP shows it."""
    began = time.process_time()
    assert call("defend", "bench", "--fast", "--out", tmp_path / "fast") == 0
    said = capsys.readouterr().out
    result = json.loads((tmp_path / "fast" / RESULT).read_text(encoding="utf-8"))
    took = result["took"]
    assert took["runs"] == 1
    assert 0 < took["cpu_seconds"] <= time.process_time() - began
    line = f"note: it took {took['seconds']:.0f} s, {took['cpu_seconds']:.0f} s of a processor, in 1 run"
    assert line in said
    assert {"keyword", "lvd", "clip filter"} <= set(result["defenses"])
    print(line)


def test_an_error_of_the_package_is_no_failure_of_a_defence(copied: Path) -> None:
    """A defence that refuses the pipeline says so at once: that's for its user to mend."""
    with pytest.raises(UnsafeVideoError, match="eta=99"):
        again(copied, extra=[LatentVariableDefense(lambda x0: 0.0, eta=99, lam="1/99", name="too long")])
