"""The baseline: what it writes, that it repeats itself, and that a run that was stopped ends as one that was not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import releases

torch = pytest.importorskip("torch")

from unsafe_video_dataset import baseline, cli, detector, predict, read_predictions, train  # noqa: E402
from unsafe_video_dataset.baseline import Settings  # noqa: E402
from unsafe_video_dataset.detector import load  # noqa: E402
from unsafe_video_dataset.errors import FilterError, InputError  # noqa: E402
from unsafe_video_dataset.release import Release  # noqa: E402
from unsafe_video_dataset.taxonomy import CATEGORIES  # noqa: E402

FAST = Settings(epochs=2, size=16, num_frames=4, batch_size=4)


def fit(release: Path, out: Path, settings: Settings = FAST, **options: Any) -> Any:
    return train(release, out=out, settings=settings, progress=False, **options)


def weights(trained: Any) -> list[torch.Tensor]:
    return list(trained.model.state_dict().values())


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def test_a_run_on_the_sample_writes_everything_and_repeats_itself(sample: Release, tmp_path: Path) -> None:
    settings = Settings(epochs=1, size=32)
    reports = [
        baseline.run(sample, out=tmp_path / name, settings=settings, progress=False, bootstrap=50) for name in ("a", "b")
    ]
    assert reports[0].to_dict() == reports[1].to_dict()
    written = ["checkpoint.pt", "metrics.json", "predictions.jsonl", "validation.jsonl"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == written
    for name in ("metrics.json", "predictions.jsonl", "validation.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    predictions = read_predictions(tmp_path / "a" / "predictions.jsonl")
    assert [record["video_id"] for record in predictions] == releases.ids(sample, "test", is_unsafe=True)
    held_out = read_predictions(tmp_path / "a" / "validation.jsonl")
    assert [record["video_id"] for record in held_out] == releases.ids(sample, "validation", is_unsafe=True)
    assert all(list(record["scores"]) == list(CATEGORIES) for record in predictions)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(reports[0].to_dict()))


def test_a_resumed_run_ends_with_the_same_weights(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(epochs=3, size=16, num_frames=4, batch_size=4)
    whole = fit(small, tmp_path / "whole", settings)
    saves = 0
    real = detector.Run.save

    def stop(self: Any, path: Path) -> None:
        nonlocal saves
        real(self, path)
        saves += 1
        if saves == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(detector.Run, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(small, tmp_path / "cut", settings)
    monkeypatch.setattr(detector.Run, "save", real)
    torch.rand(7)  # the caller's randomness plays no part
    resumed = fit(small, tmp_path / "cut", settings, resume=True)
    assert resumed.losses == whole.losses
    assert len(resumed.losses) == 3
    assert equal(weights(resumed), weights(whole))
    again = fit(small, tmp_path / "cut", settings, resume=True)
    assert equal(weights(again), weights(whole))
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.pt"]


def test_seeds_and_workers(small: Path, tmp_path: Path) -> None:
    one = fit(small, tmp_path / "1")
    state = torch.get_rng_state()
    assert equal(weights(fit(small, tmp_path / "2", num_workers=1)), weights(one))
    assert torch.equal(torch.get_rng_state(), state), "training leaves the caller's random state alone"
    other = Settings(epochs=2, size=16, num_frames=4, batch_size=4, seed=1)
    assert not equal(weights(fit(small, tmp_path / "3", other)), weights(one))


def test_a_checkpoint_loads_and_predicts_the_same(small: Path, tmp_path: Path) -> None:
    trained = fit(small, tmp_path)
    model, settings = load(tmp_path / "checkpoint.pt")
    assert settings == FAST
    assert not model.training
    expected = predict(trained.model, small, settings=FAST, progress=False)
    assert predict(model, small, settings=settings, progress=False) == expected
    assert [record["video_id"] for record in expected] == releases.ids(small, "test", is_unsafe=True)


def test_resume_refuses_what_is_not_the_same_run(small: Path, tmp_path: Path) -> None:
    fit(small, tmp_path / "out")
    with pytest.raises(InputError, match="other settings"):
        fit(small, tmp_path / "out", Settings(epochs=3, size=16, num_frames=4, batch_size=4), resume=True)
    other = releases.build(tmp_path / "other", 16, seed=9)
    with pytest.raises(InputError, match="another release"):
        fit(other, tmp_path / "out", resume=True)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut", None])
def test_a_damaged_checkpoint(small: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pt"
    if content is None:
        torch.save({"weights": [1, 2]}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is not a checkpoint"):
        fit(small, tmp_path, resume=True)
    with pytest.raises(InputError, match="is not a checkpoint"):
        load(path)
    with pytest.raises(InputError, match="no checkpoint"):
        load(tmp_path / "missing.pt")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_a_checkpoint_never_runs_code(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"identity": Evil(), "losses": [], "model": {}, "optimizer": {}, "schedule": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError):
        load(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "executed").exists()


def test_devices(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not known to torch"):
        fit(small, tmp_path, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            fit(small, tmp_path, device="cuda:0")
    assert not list(tmp_path.iterdir())


def test_amp_on_cpu(small: Path, tmp_path: Path) -> None:
    assert len(fit(small, tmp_path, amp=True).losses) == 2


def test_the_binary_target(small: Path, tmp_path: Path) -> None:
    settings = Settings(target="binary", epochs=1, size=16, num_frames=4, batch_size=4)
    report = baseline.run(small, out=tmp_path, settings=settings, progress=False, bootstrap=20)
    predictions = read_predictions(tmp_path / "predictions.jsonl")
    assert [record["video_id"] for record in predictions] == releases.ids(small, "test")
    assert all(0 <= record["unsafe_score"] <= 1 and "scores" not in record for record in predictions)
    assert report.to_dict()
    with pytest.raises(InputError, match="other settings"):
        fit(small, tmp_path, resume=True)


def test_a_release_without_a_test_split_is_refused_before_training(tmp_path: Path) -> None:
    release = releases.build(tmp_path / "r", 8, fractions=(1.0, 0.0, 0.0))
    with pytest.raises(FilterError, match="test: 0 unsafe"):
        baseline.run(release, out=tmp_path / "out", settings=FAST, progress=False)
    assert not (tmp_path / "out").exists()


def test_learning_happens(sample: Release, tmp_path: Path) -> None:
    losses = train(sample, out=tmp_path, settings=Settings(epochs=4, size=16, num_frames=4), progress=False).losses
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "0"], "--epochs is 0"),
        (["--size", "8"], "--size is 8"),
        (["--batch-size", "-1"], "--batch-size is -1"),
        (["--seed", "-1"], "--seed is -1"),
        (["--device", "abacus"], "not known to torch"),
        (["--release", "missing"], "no release folder"),
    ],
)
def test_the_module_as_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    assert baseline.main(["--out", str(tmp_path), *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("place", ["release", "file", "below"])
def test_an_out_that_can_not_take_a_run(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    release = Path(shutil.copytree(small, tmp_path / "release"))
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    file = tmp_path / "file"
    file.touch()
    out = {"release": release, "file": file, "below": file / "deep" / "er"}[place]
    assert cli.main(["train", "--release", str(small), "--epochs", "1", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert ("holds a release" if place == "release" else f"{file} is a file") in said
    with pytest.raises(InputError, match="Give another folder"):
        fit(small, out)
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before


def test_resume_without_a_checkpoint_says_that_it_starts_afresh(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(small, tmp_path / "out", resume=True)
    assert f"There is no {tmp_path / 'out' / 'checkpoint.pt'} to go on from" in capsys.readouterr().err
    fit(small, tmp_path / "out", resume=True)
    assert "to go on from" not in capsys.readouterr().err


@pytest.mark.parametrize("changes", [
    {"identity": {}}, {"identity": None}, {"identity": {"settings": {"depth": 3}}}, {"model": {}}, {"model": None},
])  # fmt: skip
def test_a_checkpoint_whose_parts_do_not_fit(small: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    checkpoint = fit(small, tmp_path).checkpoint
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, **changes}, checkpoint)
    with pytest.raises(InputError, match="is not a checkpoint"):
        load(checkpoint)


def test_an_empty_split_names_the_flag_that_makes_splits(tmp_path: Path) -> None:
    release = releases.build(tmp_path / "r", 8, fractions=(1.0, 0.0, 0.0))
    with pytest.raises(FilterError, match=r"unsafe-video-build upstream --splits"):
        baseline.run(release, out=tmp_path / "out", settings=FAST, progress=False)
    with pytest.raises(FilterError) as caught:
        Release.open(release).metadata("train", categories=[])
    assert "--splits" not in str(caught.value)


@pytest.mark.slow
def test_the_baseline_beats_the_majority_on_the_sample(sample: Release, tmp_path: Path) -> None:
    """With the settings that nobody changed, the margin's interval excludes zero; both are printed."""
    report = baseline.run(sample, out=tmp_path, progress=False)
    macro = next(row for row in report.majority.differences if row.name == "macro")
    assert macro.ap.low > 0
    assert macro.auroc.low > 0
    text = report.to_text()
    assert report.bootstrap == 1000
    assert "majority" in text
    assert text.count("macro") >= 2


def test_what_a_killed_save_left_is_removed_by_the_next_run(small: Path, tmp_path: Path) -> None:
    for name in (".checkpoint.pt.123", ".checkpoint.pt.99999999"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    fit(small, tmp_path, Settings(epochs=1, size=16, num_frames=4, batch_size=4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "notes.txt"]
