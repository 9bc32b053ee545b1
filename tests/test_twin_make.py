"""A small twin, drawn: it reads back, it comes out the same again, it goes on after a kill, it replaces nothing else."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset.builders.cli import main
from unsafe_video_dataset.builders.twin.codec import encode_fast, yuv420p
from unsafe_video_dataset.builders.twin.make import make_twin
from unsafe_video_dataset.builders.twin.scene import make_scene, render
from unsafe_video_dataset.errors import DecodeError, InputError
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import decode_frames, probe_video


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twins") / "twin"
    make_twin(out, videos=60, workers=1, progress=False)
    return out


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def items(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(folder / "truth" / "items.parquet").to_pylist()
    return rows


def test_every_file_is_what_the_truth_says(twin: Path) -> None:
    seen = set()
    for row in items(twin):
        data = (twin / "raw" / str(row["item"])).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], row["num_bytes"])
        if row["stage"] == "probe":
            with pytest.raises(DecodeError):
                probe_video(data)
            seen.add(row["kind"])
            continue
        info = probe_video(data)
        length = {"too_short": range(3, 7), "too_long": range(40, 49), "trimmed": range(12, 16), "reworked": range(13, 16)}
        assert info.num_frames in length.get(str(row["kind"]), [16])
        assert info.fps == 8
        if row["kind"] not in ("resized", "reworked"):
            assert (info.width, info.height) == (128, 128)
    assert seen == {"truncated", "corrupt_header", "zero_bytes", "not_mp4"}


def test_plants_show_in_the_frames(twin: Path) -> None:
    def frames(row: dict[str, object]) -> np.ndarray:
        data = (twin / "raw" / str(row["item"])).read_bytes()
        return decode_frames(data, decoder="pyav").astype(np.float64)

    rows = [row for row in items(twin) if row["stage"] != "probe"]
    still = {"static", "near_static", "frozen"}
    for row in rows:
        found = frames(row)
        change = np.abs(np.diff(found, axis=0)).mean(axis=(1, 2, 3))
        edges = np.abs(np.diff(found, axis=3)).mean()
        if row["kind"] in still:
            assert np.median(change) < 0.6, row["item"]
        elif row["kind"] == "reviewed":
            assert change.min() > 0.6, row["item"]
            assert edges > 3
        elif row["kind"] == "blurred":
            assert edges < 3
        elif row["kind"] == "black":
            assert found[-1].max() < 30
        elif row["kind"] in ("dark", "bright"):
            assert not 45 < found.mean() < 215


def test_copies_look_like_their_originals_and_others_do_not(twin: Path) -> None:
    rows = {str(row["item"]): row for row in items(twin)}

    def small(item: str) -> np.ndarray:
        data = (twin / "raw" / item).read_bytes()
        frames = decode_frames(data, size=32, decoder="pyav").mean(axis=(0, 1))
        return (frames - frames.mean()) / frames.std()

    originals = {item: small(item) for item, row in rows.items() if row["kind"] == "reviewed"}
    for item, row in rows.items():
        if row["kind"] == "exact":
            assert row["sha256"] == rows[str(row["copy_of"])]["sha256"]
        elif row["copy_of"]:
            assert (small(item) * small(str(row["copy_of"]))).mean() > 0.9, item
    for first, one in originals.items():
        assert all((one * other).mean() < 0.75 for second, other in originals.items() if first < second)


def test_tables_beside_the_videos(twin: Path) -> None:
    assert stat.S_IMODE((twin / "raters.key").stat().st_mode) == 0o600
    with (twin / "votes.csv").open() as file:
        votes = list(csv.DictReader(file))
    assert set(votes[0]) == {"item", "rater_id", "categories", "seconds", "attention_check"}
    targets = json.loads((twin / "truth" / "targets.json").read_text())
    assert len(votes) == targets["votes"] == pq.read_table(twin / "truth" / "votes.parquet").num_rows
    listed = []
    for sidecar in sorted((twin / "raw").glob("*/generation.csv")):
        with sidecar.open() as file:
            listed += [f"{sidecar.parent.name}/{row['file']}" for row in csv.DictReader(file)]
    assert sorted(listed) == [row["item"] for row in items(twin)]
    with (twin / "themes.csv").open() as file:
        coders = {row["coder"] for row in csv.DictReader(file)}
    assert len(coders) == 2


def test_same_seed_same_bytes_also_from_several_processes(twin: Path, tmp_path: Path) -> None:
    make_twin(tmp_path / "again", videos=60, workers=2, progress=False)
    assert digests(tmp_path / "again") == digests(twin)


def test_encoding_is_the_same_each_time() -> None:
    frames = render(make_scene(1, 2, ["terrifying", "political"]))
    assert len({encode_fast(frames) for _ in range(50)}) == 1
    info = inspect_mp4(encode_fast(frames))
    assert (info.codec, info.num_frames, info.fps) == ("h264", 16, 8)
    back = decode_frames(encode_fast(frames, quantiser=4), decoder="pyav").transpose(0, 2, 3, 1)
    assert np.abs(back.astype(int) - frames).mean() < 8
    assert yuv420p(frames).shape == (16, 192, 128)


def test_nothing_flashes() -> None:
    """No frame differs from the one before by more than a fifth of the range on average."""
    for number in range(20):
        frames = render(make_scene(0, number, ["distorted_weird"] * (number % 2)))
        assert np.abs(np.diff(frames.mean(axis=(1, 2, 3)))).max() < 51 / 2


def test_a_frame_does_not_depend_on_the_length() -> None:
    scene = make_scene(0, 5, ["pornographic"])
    assert (render(scene, num_frames=4) == render(scene)[:4]).all()


def test_a_killed_run_goes_on(twin: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    code = "import sys; from unsafe_video_dataset.builders.cli import main; sys.exit(main(sys.argv[1:]))"
    run = [sys.executable, "-c", code, "twin", str(out), "--scale", "60", "--workers", "1"]
    process = subprocess.Popen(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("raw/*/*.mp4"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in out.glob("raw/*/*.mp4")}
    assert 10 <= len(there) < 60
    report = make_twin(out, videos=60, workers=1, progress=False)
    assert report.drawn == 60 - len(there)
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in there.items())
    assert digests(out) == digests(twin)


def test_a_finished_twin_is_kept_and_a_changed_file_mended(twin: Path, tmp_path: Path) -> None:
    out = shutil.copytree(twin, tmp_path / "twin")
    assert make_twin(out, videos=60, workers=1, progress=False).drawn == 0
    sound = next(row for row in items(out) if row["kind"] == "reviewed")
    (out / "raw" / str(sound["item"])).write_bytes(b"changed")
    assert make_twin(out, videos=60, workers=1, progress=False).drawn == 1
    assert digests(out) == digests(twin)


def test_other_folders_are_refused(twin: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="holds no twin"):
            make_twin(tmp_path / "full", videos=60, overwrite=overwrite, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        make_twin(tmp_path / "file", videos=60, progress=False)
    before = digests(twin)
    with pytest.raises(InputError, match="another twin \\(60 videos, seed 0\\)"):
        make_twin(twin, videos=60, seed=1, progress=False)
    with pytest.raises(InputError, match="A twin of 12 videos"):
        make_twin(tmp_path / "new", videos=12, progress=False)
    with pytest.raises(InputError, match="seed of -1"):
        make_twin(tmp_path / "new", videos=60, seed=-1, progress=False)
    assert digests(twin) == before
    assert not (tmp_path / "new").exists()


def test_overwrite_replaces_a_twin_and_leaves_other_things(twin: Path, tmp_path: Path) -> None:
    out = shutil.copytree(twin, tmp_path / "twin")
    (out / "work").mkdir()
    (out / "work" / "kept").write_text("kept")
    report = make_twin(out, videos=60, seed=1, overwrite=True, workers=1, progress=False)
    assert report.drawn == 60
    assert (out / "work" / "kept").read_text() == "kept"
    assert json.loads((out / "twin.json").read_text())["seed"] == 1


def test_command(twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(twin, tmp_path / "twin")
    assert main(["twin", str(tmp_path / "twin"), "--scale", "60", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["reviewed"] == 23
    assert main(["twin", str(tmp_path / "twin"), "--scale", "60", "--workers", "1"]) == 0
    assert "(0 drawn now" in capsys.readouterr().out
    for scale in ("12", "many", "-5", "1.5"):
        assert main(["twin", str(tmp_path / "other"), "--scale", scale]) == 2
        assert "--scale" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
