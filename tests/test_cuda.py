"""The baseline on a GPU: skipped where torch sees none. Nothing here has run on one yet; `docs/train.md` says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from unsafe_video_dataset import predict, train  # noqa: E402
from unsafe_video_dataset.detector import Run, Settings  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
FAST = Settings(epochs=2, size=16, num_frames=4, batch_size=4)
MATMUL = 1e-3  # of a probability: other kernels, other rounding


def scores(records: list[dict[str, Any]]) -> torch.Tensor:
    return torch.tensor([list(record["scores"].values()) for record in records])


@pytest.mark.parametrize("amp", [False, True])
def test_it_trains_and_its_loss_is_near_the_cpus(small: Path, tmp_path: Path, amp: bool) -> None:
    here = train(small, out=tmp_path / "cpu", settings=FAST, progress=False)
    there = train(small, out=tmp_path / "cuda", settings=FAST, device="cuda", amp=amp, progress=False)
    assert there.losses == pytest.approx(here.losses, rel=0.05 if amp else 0.01)
    assert {value.device.type for value in there.model.state_dict().values()} == {"cuda"}


@pytest.mark.parametrize("amp", [False, True])
def test_a_run_that_was_stopped_goes_on(small: Path, tmp_path: Path, amp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"settings": FAST, "device": "cuda", "amp": amp, "progress": False}
    whole = train(small, out=tmp_path / "whole", **options)
    real = Run.save

    def stop(self: Run, path: Path) -> None:
        real(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(small, out=tmp_path / "cut", **options)
    monkeypatch.setattr(Run, "save", real)
    resumed = train(small, out=tmp_path / "cut", resume=True, **options)
    assert resumed.losses == pytest.approx(whole.losses, rel=0.02)


def test_predictions_are_those_of_the_cpu(small: Path, tmp_path: Path) -> None:
    trained = train(small, out=tmp_path / "out", settings=FAST, progress=False)
    here = predict(trained.model, small, settings=FAST, progress=False)
    there = predict(trained.model, small, settings=FAST, device="cuda", progress=False)
    assert [record["video_id"] for record in here] == [record["video_id"] for record in there]
    assert torch.allclose(scores(here), scores(there), atol=MATMUL)


def test_a_checkpoint_of_a_gpu_goes_on_without_one(small: Path, tmp_path: Path) -> None:
    one = Settings(epochs=1, size=16, num_frames=4, batch_size=4)
    train(small, out=tmp_path, settings=one, device="cuda", progress=False)
    again = train(small, out=tmp_path, settings=one, resume=True, progress=False)
    assert len(again.losses) == 1
