"""Recording through real pipelines: what is kept, what is not generated again, what never reaches the disk."""

from __future__ import annotations

import hashlib
import json
import pipes
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from unsafe_video_dataset.defenses.base import GenerationInfo, Verdict
from unsafe_video_dataset.defenses.guard import guard
from unsafe_video_dataset.defenses.record import chosen_steps, record
from unsafe_video_dataset.defenses.traces import Traces
from unsafe_video_dataset.errors import InputError, StorageError

CALL = {**pipes.SIZES["animatediff"], "num_inference_steps": 4}
PROMPTS = ["a red square", "a blue circle"]


def recorded(out: Path, prompts: Any = PROMPTS, name: str = "animatediff", **options: Any) -> Traces:
    call = {**pipes.SIZES[name], "num_inference_steps": 4}
    return record(pipes.pipeline(name), prompts, out, **{"call": call, "progress": False, **options})


class Counting:
    """A labeller that counts the finished generations, and breaks at one of them."""

    def __init__(self, break_at: int | None = None) -> None:
        self.calls, self.break_at = 0, break_at

    def __call__(self, frames: Any) -> list[str]:
        assert frames.dtype == np.uint8
        assert frames.shape[-1] == 3
        if self.break_at is not None and self.calls == self.break_at:
            raise KeyboardInterrupt
        self.calls += 1
        return ["bright"] if frames.mean() > 127 else []


class Watching:
    """What the guard itself shows at each step."""

    name = "watching"

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float, torch.Tensor]] = []

    def start(self, info: GenerationInfo) -> None:
        self.info = info

    def observe(self, state: Any, *, step: int, timestep: float, x0: torch.Tensor, log_snr: float) -> tuple[Any, None]:
        self.seen.append((step, timestep, log_snr, x0.clone()))
        return state, None

    def finish(self, state: Any) -> Verdict:
        return Verdict("allow")


@pytest.mark.parametrize("name", pipes.NAMES)
def test_what_is_kept_is_what_a_guard_sees(name: str, tmp_path: Path) -> None:
    traces = recorded(tmp_path / "t", PROMPTS[:1], name, seeds=(3,), precision="fp32", steps=[1, 3])
    pipe, watching = pipes.pipeline(name), Watching()
    with guard(pipe, watching):
        pipes.generate(pipe, PROMPTS[0], seed=3, steps=4)
    kept = [item for item in watching.seen if item[0] in (1, 3)]
    assert traces.steps == (1, 3)
    assert traces.shape == watching.info.shape
    assert torch.equal(traces.x0([0, 0], [1, 3]), torch.stack([x0 for *_, x0 in kept]))
    assert traces.index["timestep"].to_pylist() == [timestep for _, timestep, *_ in kept]
    assert traces.log_snr[0].tolist() == [log_snr for _, _, log_snr, _ in kept]
    row = traces.index.to_pylist()[0]
    assert (row["scheduler"], row["prediction_type"]) == (watching.info.scheduler, watching.info.prediction_type)
    assert row["sigma"] == pytest.approx(np.exp(-row["log_snr"] / 2))


def test_a_stopped_recording_goes_on_and_leaves_no_mark(tmp_path: Path) -> None:
    whole = recorded(tmp_path / "whole", seeds=(0, 1, 2), labels=Counting(), shard_samples=4)
    first, second = Counting(break_at=2), Counting()
    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path / "parts", seeds=(0, 1, 2), labels=first)
    with pytest.raises(InputError, match="was not finished"):
        Traces.open(tmp_path / "parts")
    resumed = recorded(tmp_path / "parts", seeds=(0, 1, 2), labels=second, shard_samples=4)
    assert (first.calls, second.calls) == (2, 4)
    assert resumed.sha256 == whole.sha256  # of the manifest, which names every file's
    assert len(resumed) == 6
    again = Counting()
    assert recorded(tmp_path / "parts", seeds=(0, 1, 2), labels=again).sha256 == whole.sha256
    assert again.calls == 0


def test_more_samples_can_be_added(tmp_path: Path) -> None:
    before = recorded(tmp_path / "t", labels=Counting())
    counting = Counting()
    after = recorded(tmp_path / "t", seeds=(0, 1), labels=counting)
    assert counting.calls == 2
    assert set(before.sample_ids) < set(after.sample_ids)
    kept = after.select(before.sample_ids)
    assert torch.equal(kept.x0([0, 1], [2, 4]), before.x0([0, 1], [2, 4]))


def test_no_prompt_reaches_the_disk(tmp_path: Path) -> None:
    prompts = [{"prompt": "zebra quagga", "seed": 0}]
    recorded(tmp_path / "t", prompts, call={**CALL, "negative_prompt": "okapi", "guidance_scale": 2.0})
    data = b"".join(path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file())
    assert b"zebra" not in data
    assert b"okapi" not in data
    assert hashlib.sha256(b"zebra quagga").hexdigest().encode() in data


def test_a_batch_gives_what_single_calls_give(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one", seeds=(0, 1), precision="fp32")
    two = recorded(tmp_path / "two", seeds=(0, 1), precision="fp32", batch_size=3)
    assert one.sample_ids == two.sample_ids
    at = [(sample, step) for sample in range(4) for step in one.steps]
    samples, steps = zip(*at, strict=True)
    torch.testing.assert_close(one.x0(samples, steps), two.x0(samples, steps), rtol=1e-3, atol=1e-3)


def test_early_stop_costs_only_the_steps_that_are_kept(tmp_path: Path) -> None:
    pipe = pipes.pipeline("animatediff")
    calls: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        early = recorded(tmp_path / "early", steps=2, finish=False)
    finally:
        hook.remove()
    assert len(calls) == 1 + 2 * 2  # the probe, and two steps of two videos
    late = recorded(tmp_path / "late", steps=2)
    assert torch.equal(early.x0([0, 1], [2, 2]), late.x0([0, 1], [2, 2]))
    assert early.sample_ids == late.sample_ids
    with pytest.raises(InputError, match="finish=False"):
        recorded(tmp_path / "no", finish=False, labels=Counting())


def test_the_sizes_are_said_and_checked_before_anything_is_generated(tmp_path: Path) -> None:
    said: list[str] = []
    counting = Counting()
    with pytest.raises(StorageError, match="over the limit"):
        recorded(tmp_path / "t", seeds=(0, 1), labels=counting, max_bytes=1000, say=said.append)
    assert counting.calls == 0
    assert said[0].startswith("4 samples to record (0 done) x 4 of 4 steps x 4x")
    traces = recorded(tmp_path / "t", seeds=(0, 1), labels=counting, max_bytes=10**6)
    shards = sorted((tmp_path / "t").glob("x0-*"))
    size = 4 * 4 * 2 * int(np.prod(traces.shape))
    assert size < sum(path.stat().st_size for path in shards) < 1.5 * size + 10_000


def test_videos_are_named_by_their_bytes_and_labelled_by_a_table(tmp_path: Path) -> None:
    traces = recorded(tmp_path / "t", encode=lambda frames: frames.tobytes())
    files = {path.stem: path.read_bytes() for path in (tmp_path / "t" / "videos").iterdir()}
    assert {hashlib.sha256(data).hexdigest()[:16] for data in files.values()} == set(files)
    ids = traces.samples["video_id"].to_pylist()
    assert set(ids) == set(files)
    labels = {"video_id": [ids[1], ids[0]], "categories": [["red"], []]}
    joined = traces.with_labels(pa.table(labels))
    assert joined.targets(("red",)).tolist() == [[False], [True]]
    again = recorded(tmp_path / "t", encode=lambda frames: frames.tobytes(), labels=pa.table(labels))
    assert again.samples["categories"].to_pylist() == [[], ["red"]]
    assert Traces.open(tmp_path / "t").categories == ("red",)


def test_the_pipeline_is_left_as_it_was(tmp_path: Path) -> None:
    pipe = pipes.pipeline("animatediff")
    before, kind, config = pipes.generate(pipe), type(pipe), dict(pipe._progress_bar_config)
    recorded(tmp_path / "t", labels=Counting())
    assert np.array_equal(pipes.generate(pipe), before)
    assert type(pipe) is kind
    assert pipe._progress_bar_config == config


def test_a_folder_keeps_to_its_settings(tmp_path: Path) -> None:
    recorded(tmp_path / "t")
    with pytest.raises(InputError, match=r"other settings \(steps\)"):
        recorded(tmp_path / "t", steps=2)
    with pytest.raises(InputError, match=r"other settings .*x0_convention"):
        recorded(tmp_path / "t", x0_convention="uvd")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(InputError, match="holds no traces"):
        recorded(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    for options, message in [
        ({"steps": 9}, "1 to 4"),
        ({"steps": [0]}, "1 to 4"),
        ({"call": {**CALL, "generator": 1}}, "may not hold generator"),
        ({"call": {**CALL, "callback_on_step_end": print}}, "plain JSON"),
        ({"batch_size": 0}, "at least 1"),
    ]:
        with pytest.raises(InputError, match=message):
            recorded(tmp_path / "t", **options)


def test_a_labeller_that_cannot_tell_leaves_no_label(tmp_path: Path) -> None:
    answers = iter([None, ["red"], [], None])
    traces = recorded(tmp_path / "t", seeds=(0, 1), labels=lambda frames: next(answers))
    assert sorted(traces.samples["categories"].to_pylist(), key=str) == [None, None, ["red"], []]
    assert traces.labelled().categories == ("red",)


def test_chosen_steps() -> None:
    assert chosen_steps(None, 3) == (1, 2, 3)
    assert chosen_steps(2, 3) == (1, 2)
    assert chosen_steps([3, 1, 3], 3) == (1, 3)


def test_the_manifest_names_every_file(tmp_path: Path) -> None:
    recorded(tmp_path / "t", labels=Counting())
    manifest = json.loads((tmp_path / "t" / "manifest.json").read_text())
    assert {entry["path"] for entry in manifest["files"]} == {"settings.json", "index.parquet", "x0-00000.safetensors"}
    assert not list((tmp_path / "t").rglob("*.part"))
