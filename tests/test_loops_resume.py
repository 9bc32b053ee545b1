"""A run that is killed in mid-epoch goes on with exactly what it had not seen, in the same order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import releases

torch = pytest.importorskip("torch")

from unsafe_video_dataset import (  # noqa: E402
    BalancedSampler,
    GroupSampler,
    RandomClip,
    ResumableLoader,
    ShuffleSampler,
    UnsafeVideoDataset,
    UnsafeVideoIterableDataset,
    baseline,
    collate,
    detector,
    train,
)
from unsafe_video_dataset.baseline import Settings  # noqa: E402
from unsafe_video_dataset.errors import DecodeError, InputError  # noqa: E402

LIGHT: dict[str, Any] = {"clip": RandomClip(1), "size": 8, "config": "reviewed", "split": None}
KILLED = """
import json, os, sys, time
from pathlib import Path
from unsafe_video_dataset import *
kind, release, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
how = dict(clip=RandomClip(1), size=8, config="reviewed", split=None)
if kind == "map":
    dataset = UnsafeVideoDataset(release, **how)
    loader = ResumableLoader(dataset, sampler=ShuffleSampler(dataset, seed=5), batch_size=3, num_workers=2)
else:
    dataset = UnsafeVideoIterableDataset(release, shuffle=True, buffer_size=4, **how)
    loader = ResumableLoader(dataset, batch_size=3, num_workers=2)
loader.set_epoch(2)
with (out / "seen").open("w") as seen:
    for number, batch in enumerate(loader, start=1):
        seen.write("".join(name + chr(10) for name in batch["video_id"]))
        seen.flush()
        (out / "partial").write_text(json.dumps(loader.state_dict()))
        os.replace(out / "partial", out / "state.json")
        if number == 3:
            print("ready", flush=True)
            time.sleep(300)  # workers go on fetching what the loop will never get
"""


def loader_of(release: Path, kind: str, **options: Any) -> ResumableLoader:
    given = {"batch_size": 3, **options}
    if kind == "map":
        dataset = UnsafeVideoDataset(release, **LIGHT)
        return ResumableLoader(dataset, sampler=ShuffleSampler(dataset, seed=5), **given)
    return ResumableLoader(UnsafeVideoIterableDataset(release, shuffle=True, buffer_size=4, **LIGHT), **given)


def names(batches: Any) -> list[str]:
    return [video_id for batch in batches for video_id in batch["video_id"]]


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_killed_and_resumed(small: Path, tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-c", KILLED, kind, str(small), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        process.send_signal(signal.SIGKILL)
    seen = (tmp_path / "seen").read_text().split()
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(seen) == 9

    def run(saved: Any = None, **options: Any) -> list[str]:
        loader = loader_of(small, kind, **options)
        if saved is not None:
            loader.load_state_dict(saved)
        loader.set_epoch(2)
        expected = len(loader)
        batches = list(loader)
        assert len(batches) == expected
        return names(batches)

    whole = run(num_workers=2)
    assert whole[:9] == seen
    assert run(state, num_workers=2) == whole[9:]
    other = [run(state), run(state, num_workers=1, batch_size=5)]
    for rest in other:
        assert sorted(seen + rest) == sorted(releases.ids(small))
        assert rest == whole[9:] or kind == "stream"


@pytest.mark.parametrize("kind", ["map", "stream"])
@pytest.mark.parametrize("ranks", [(1, 2), (2, 1), (2, 3)])
def test_other_numbers_of_processes(small: Path, kind: str, ranks: tuple[int, int]) -> None:
    """Steps in step, as DistributedDataParallel makes them; what is padded does not count."""

    def loaders(number: int) -> list[ResumableLoader]:
        made = []
        for rank in range(number):
            place: dict[str, Any] = {"num_replicas": number, "rank": rank, "uneven": "pad"}
            if kind == "map":
                dataset = UnsafeVideoDataset(small, **LIGHT)
                made.append(ResumableLoader(dataset, sampler=BalancedSampler(dataset, **place), batch_size=2))
            else:
                stream = UnsafeVideoIterableDataset(small, shuffle=True, buffer_size=4, **LIGHT, **place)
                made.append(ResumableLoader(stream, batch_size=2))
        return made

    def real(batch: Any) -> list[str]:
        assert batch["real"].dtype == torch.bool
        return [name for name, ok in zip(batch["video_id"], batch["real"].tolist(), strict=True) if ok]

    before = loaders(ranks[0])
    got: list[str] = []
    states = []
    for loader in before:
        passed = iter(loader)
        for _ in range(2):
            got += real(next(passed))
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states), "any process's state will do"
    after = loaders(ranks[1])
    lengths = set()
    for loader in after:
        loader.load_state_dict(json.loads(json.dumps(states[0])))
        batches = list(loader)
        lengths.add(len(batches))
        got += [name for batch in batches for name in real(batch)]
    assert len(lengths) == 1
    if kind == "stream":
        assert sorted(got) == sorted(releases.ids(small))
    else:
        dataset = UnsafeVideoDataset(small, **LIGHT)
        assert sorted(got) == sorted(dataset.video_ids[index] for index in BalancedSampler(dataset))


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_epochs_breaks_and_ends(small: Path, kind: str) -> None:
    loader = loader_of(small, kind)
    whole = names(loader)
    end = loader.state_dict()
    assert names(loader) == whole, "a pass that was not loaded begins at the start"
    for _ in loader:
        break
    middle = loader.state_dict()
    assert names(loader) == whole
    loader.load_state_dict(middle)
    assert names(loader) == whole[3:]
    assert names(loader) == whole
    loader.load_state_dict(end)
    assert names(loader) == []
    loader.load_state_dict(middle)
    loader.set_epoch(1)
    after = names(loader)
    assert sorted(after) == sorted(whole)
    assert after != whole
    loader.load_state_dict(middle)  # back to epoch 0
    assert names(loader) == whole[3:]


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_workers_that_live_on(small: Path, kind: str) -> None:
    options: dict[str, Any] = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "fork"}
    expected = loader_of(small, kind, num_workers=2)
    loader = loader_of(small, kind, **options)
    passed = iter(loader)
    first = names([next(passed)])
    state = loader.state_dict()
    again = loader_of(small, kind, **options)
    again.load_state_dict(state)
    for epoch in (0, 1, 2):
        again.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert (first if epoch == 0 else []) + names(again) == names(expected)


def test_a_clip_is_the_same_after_a_resume(small: Path) -> None:
    loader = loader_of(small, "map")
    loader.set_epoch(3)
    batches = list(loader)
    passed = iter(loader)
    next(passed)
    again = loader_of(small, "map")
    again.load_state_dict(loader.state_dict())
    for one, other in zip(batches[1:], again, strict=True):
        assert torch.equal(one["video"], other["video"])


def test_what_is_refused(small: Path, tmp_path: Path) -> None:
    other = releases.build(tmp_path / "other", 16, seed=9)
    for kind in ("map", "stream"):
        state = loader_of(small, kind).state_dict()
        with pytest.raises(InputError, match=r"videos_sha256.*other videos"):
            loader_of(other, kind).load_state_dict(state)
    with pytest.raises(InputError, match="This is no state of a ShuffleSampler"):
        loader_of(small, "map").load_state_dict(loader_of(small, "stream").state_dict())
    dataset = UnsafeVideoDataset(small, **LIGHT)
    for options in ({"shuffle": True}, {"drop_last": True}, {"in_order": False}):
        with pytest.raises(InputError, match="can't be set here"):
            ResumableLoader(dataset, **options)
    with pytest.raises(InputError, match="batch_size=0"):
        ResumableLoader(dataset, batch_size=0)
    with pytest.raises(InputError, match="takes no sampler"):
        ResumableLoader(UnsafeVideoIterableDataset(small, **LIGHT), sampler=ShuffleSampler(dataset))
    padded = ShuffleSampler(dataset, num_replicas=5, rank=4, uneven="pad")
    with pytest.raises(InputError, match="returns a dict"):
        list(ResumableLoader(dataset, sampler=padded, collate_fn=lambda samples: [len(samples)]))
    assert list(ResumableLoader(dataset, collate_fn=lambda samples: len(samples))) == [8, 8, 8]


class Sick:
    """A transform that fails for one video only."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            raise DecodeError("video 0123 can't be used")
        return frames


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_keeps_the_place(small: Path, workers: int) -> None:
    dataset = UnsafeVideoDataset(small, **LIGHT, transform=Sick(8))
    loader = ResumableLoader(dataset, batch_size=3, num_workers=workers)
    got: list[str] = []

    def loop() -> None:
        for batch in loader:
            got.extend(batch["video_id"])

    with pytest.raises(DecodeError, match="0123"):
        loop()
    assert len(got) == 6
    again = ResumableLoader(UnsafeVideoDataset(small, **LIGHT), batch_size=3)
    again.load_state_dict(loader.state_dict())
    assert sorted(got + names(again)) == sorted(releases.ids(small))


MAKE: list[Callable[..., Any]] = [ShuffleSampler, GroupSampler]


@pytest.mark.parametrize("make", [*MAKE, None])
def test_torchdata_with_the_same_number_of_workers(small: Path, make: Any) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="pip install torchdata").StatefulDataLoader

    def loader(workers: int) -> Any:
        options: dict[str, Any] = {"num_workers": workers, "collate_fn": collate, "batch_size": 3}
        if make is None:
            return stateful(UnsafeVideoIterableDataset(small, shuffle=True, buffer_size=4, **LIGHT), **options)
        dataset = UnsafeVideoDataset(small, **LIGHT)
        return stateful(dataset, sampler=make(dataset), **options)

    for workers in (0, 2):
        whole = names(loader(workers))
        cut = loader(workers)
        passed = iter(cut)
        got = names([next(passed), next(passed)])
        again = loader(workers)
        again.load_state_dict(cut.state_dict())
        assert got + names(again) == whole


# -- the baseline


def test_the_baseline_resumes_in_mid_epoch(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(epochs=2, size=16, num_frames=4, batch_size=2)
    how: dict[str, Any] = {"settings": settings, "progress": False, "save_steps": 1}
    whole = train(small, out=tmp_path / "whole", **how)
    saves = 0
    real = detector.Run.save

    def stop(self: Any, path: Path) -> None:
        nonlocal saves
        real(self, path)
        saves += 1
        if saves == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(detector.Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(small, out=tmp_path / "cut", **how)
    monkeypatch.setattr(detector.Run, "save", real)
    resumed = train(small, out=tmp_path / "cut", resume=True, **how)
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-9)
    for one, other in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_flag_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main(["--out", str(tmp_path), "--save-steps", "0"]) == 2
    assert "--save-steps is 0" in capsys.readouterr().err
