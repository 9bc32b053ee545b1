"""Two processes under torchrun (gloo): what one process trains, and an end for all where the videos don't divide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import releases

torch = pytest.importorskip("torch")

from unsafe_video_dataset import baseline, detector, read_predictions, train  # noqa: E402
from unsafe_video_dataset.baseline import Settings  # noqa: E402
from unsafe_video_dataset.errors import InputError  # noqa: E402
from unsafe_video_dataset.ranks import gather, here, process_group, total  # noqa: E402

pytestmark = pytest.mark.slow
SETTINGS = Settings(epochs=2, size=16, num_frames=4, batch_size=4)
FLAGS = ["--epochs", "2", "--size", "16", "--num-frames", "4", "--batch-size", "4"]
# Gradients are summed in another order: measured below 1e-7 on scores in [0, 1].
TOLERANCE = 1e-4


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def same(one: Path, other: Path, release: Path) -> None:
    left, right = (read_predictions(out / "predictions.jsonl") for out in (one, other))
    assert [record["video_id"] for record in left] == [record["video_id"] for record in right]
    assert [record["video_id"] for record in right] == releases.ids(release, "test", is_unsafe=True), "each exactly once"
    worst = max(abs(a["scores"][name] - b["scores"][name]) for a, b in zip(left, right, strict=True) for name in a["scores"])
    print(f"largest difference of a score: {worst:.2e}")
    assert worst < TOLERANCE
    metrics = [json.loads((out / "metrics.json").read_text()) for out in (one, other)]
    close(metrics[0], metrics[1])


def close(one: Any, other: Any) -> None:
    """Reports agree; the hash of the predictions file alone may differ."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"predictions_sha256"}:
            close(one[key], other[key])
    elif isinstance(one, list):
        for left, right in zip(one, other, strict=True):
            close(left, right)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-3)
    elif not (isinstance(one, str) and len(one) == 64):
        assert one == other


def test_two_processes_train_what_one_trains(small: Path, tmp_path: Path) -> None:
    videos = len(releases.ids(small, "train", is_unsafe=True))
    print(f"{videos} videos to train on, in batches of 2 x 2")
    baseline.run(small, out=tmp_path / "one", settings=SETTINGS, progress=False)
    done = torchrun("-m", "unsafe_video_dataset.baseline", "--release", small, "--out", tmp_path / "two", *FLAGS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("macro  ") >= 1
    assert done.stdout.count("target multilabel") == 1, "one report, not one a process"
    same(tmp_path / "one", tmp_path / "two", small)


def test_one_process_begins_and_two_go_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline.run(small, out=tmp_path / "one", settings=SETTINGS, progress=False)
    real = detector.Run.save

    def stop(self: Any, path: Path) -> None:
        real(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(detector.Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(small, out=tmp_path / "two", settings=SETTINGS, save_steps=1, progress=False)
    done = torchrun("-m", "unsafe_video_dataset.baseline", "--release", small, "--out", tmp_path / "two", *FLAGS, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    same(tmp_path / "one", tmp_path / "two", small)


STEPS = """
import json, sys
from contextlib import nullcontext
import torch
from torch.nn.parallel import DistributedDataParallel
from unsafe_video_dataset import *
from unsafe_video_dataset.ranks import gather, here, process_group
how = dict(clip=UniformFrames(1), size=8, config="reviewed")
def take_steps(kind):
    uneven = "keep" if kind == "join" else "pad"
    if kind == "map":
        dataset = UnsafeVideoDataset(sys.argv[1], **how)
        loader = ResumableLoader(dataset, sampler=GroupSampler(dataset, uneven=uneven), batch_size=1)
    else:
        loader = ResumableLoader(UnsafeVideoIterableDataset(sys.argv[1], shuffle=True, uneven=uneven, **how), batch_size=1)
    model = DistributedDataParallel(torch.nn.Linear(8 * 8 * 3, 1))
    steps, real = 0, []
    with model.join() if kind == "join" else nullcontext():
        for batch in loader:
            loss = (model(batch["video"].float().flatten(1))[:, 0] * batch["real"]).sum()
            loss.backward()
            real.extend(name for name, ok in zip(batch["video_id"], batch["real"].tolist()) if ok)
            steps += 1
    return {"steps": gather([steps]), "real": gather(real)}
with process_group():
    out = {kind: take_steps(kind) for kind in ("stream", "map", "join")}
    if here()[1] == 0:
        print(json.dumps(out))
"""


def test_uneven_videos_end_cleanly(tmp_path: Path) -> None:
    """An odd number of videos: with `pad` both take the same steps; with `keep` the loop needs `join`."""
    release = releases.build(tmp_path / "release", 18, fractions=(1.0, 0.0, 0.0))
    ids = releases.ids(release, "train")
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    done = torchrun(script, release, processes=4)  # 18 videos on 4 processes
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(ids) % 4
    for kind, value in found.items():
        assert sorted(value["real"]) == ids, kind
        assert (len(set(value["steps"])) == 1) == (kind != "join")


def test_a_batch_that_cannot_be_dealt_out(small: Path, tmp_path: Path) -> None:
    done = torchrun("-m", "unsafe_video_dataset.baseline", "--release", small, "--out", tmp_path, "--batch-size", "3")
    assert done.returncode != 0
    assert "batch_size=3 can't be dealt out to 2 processes" in done.stderr


def test_one_process_is_the_special_case() -> None:
    assert here() == (1, 0)
    assert here(4, 2) == (4, 2)
    assert (total(3.5, torch.device("cpu")), gather([1])) == (3.5, [1])
    with process_group() as device:
        assert device.type == "cpu"
    for wrong in ((2, 2), (0, 0), (None, 1), (2, None)):
        with pytest.raises(InputError):
            here(*wrong)
