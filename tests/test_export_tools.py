"""Exports read back by the tools that they are for, each where it is installed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from unsafe_video_dataset.export import export
from unsafe_video_dataset.records import from_table
from unsafe_video_dataset.release import Release

ROOT = Path(__file__).resolve().parents[1]
Records = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def want(small: Path) -> Records:
    """Every video's record, prompts left out."""
    rows = from_table("metadata", Release.open(small).metadata().drop_columns(["prompt"]))
    return {row["video_id"]: row for row in rows}


def made(small: Path, out: Path, to: Any) -> Path:
    export(small, out, to=to, config="reviewed", progress=False)
    return out


def test_webdataset_reads_its_shards(small: Path, want: Records, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed (extra: bench)")
    shards = sorted(map(str, made(small, tmp_path / "o", "webdataset").glob("*.tar")))
    found = list(wds.WebDataset(shards, shardshuffle=False).decode())
    assert {one["__key__"]: one["json"] for one in found} == want
    assert all(hashlib.sha256(one["mp4"]).hexdigest() == one["json"]["sha256"] for one in found)
    assert len(found) == len(want)


def test_pandas_reads_the_csv_tables(small: Path, want: Records, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    out = made(small, tmp_path / "o", "csv")
    videos, votes = (pandas.read_csv(out / name, dtype={"video_id": str}) for name in ("videos.csv", "votes.csv"))
    assert videos["is_unsafe"].dtype == bool
    assert dict(zip(videos["video_id"], videos["num_raters"], strict=True)) == {i: row["num_raters"] for i, row in want.items()}
    counted = votes.merge(videos, on="video_id").groupby("video_id").size().to_dict()
    assert counted == {i: row["num_raters"] for i, row in want.items() if row["num_raters"]}


@pytest.mark.slow
def test_lance_reads_its_dataset(small: Path, want: Records, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance", reason="pylance is not installed (extra: export)")
    found = lance.dataset(str(made(small, tmp_path / "o", "lance") / "videos.lance"))
    rows = found.to_table(columns=[name for name in found.schema.names if name != "video"]).to_pylist()
    assert {row["video_id"]: row for row in rows} == want
    release = Release.open(small)
    blobs = found.take_blobs("video", indices=list(range(len(rows))))
    assert [blob.read() for blob in blobs] == [release.video_bytes(row["video_id"]) for row in rows]
    only = found.to_table(columns=["video_id"], filter="split = 'test' AND is_unsafe")["video_id"].to_pylist()
    assert sorted(only) == sorted(i for i, row in want.items() if row["split"] == "test" and row["is_unsafe"])
    bare = tmp_path / "bare"
    export(small, bare, to="lance", media=False, progress=False)
    assert "video" not in lance.dataset(str(bare / "videos.lance")).schema.names


# -- tools that live in an environment of their own


@functools.cache
def reader_python() -> str | None:
    """The Python that has FiftyOne and Label Studio's SDK: $UNSAFE_VIDEO_EXPORT_PYTHON, else that of `.venv-export`."""
    given = os.environ.get("UNSAFE_VIDEO_EXPORT_PYTHON")
    if given:
        return given
    found = ROOT / ".venv-export" / "bin" / "python"
    return str(found) if found.exists() else None


def read_by(reader: str, module: str, folder: Path, home: Path) -> dict[str, Any]:
    """What a reader of `export_readers.py` finds in an export; skips where its tool is not installed."""
    python = reader_python()
    if python is None:
        pytest.skip(
            "no environment with fiftyone and label-studio-sdk: .ci/run makes .venv-export, or UNSAFE_VIDEO_EXPORT_PYTHON"
        )
    known = subprocess.run([python, "-c", f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"])
    if known.returncode != 0:
        pytest.skip(f"{module} is not installed in {python}")
    environment = {**os.environ, "HOME": str(home), "FIFTYONE_DATABASE_DIR": str(home / "db")}
    done = subprocess.run(
        [python, str(ROOT / "tests" / "export_readers.py"), reader, str(folder)],
        capture_output=True, text=True, encoding="utf-8", env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_label_studio_takes_config_votes_and_labels(small: Path, want: Records, tmp_path: Path) -> None:
    found = read_by("label_studio", "label_studio_sdk", made(small, tmp_path / "o", "labelstudio"), tmp_path)
    assert found == {"tasks": len(want), "sound": len(want), "wrong is sound": False}


@pytest.mark.slow
def test_fiftyone_reads_every_sample(small: Path, want: Records, tmp_path: Path) -> None:
    found = read_by("fiftyone_samples", "fiftyone", made(small, tmp_path / "o", "fiftyone"), tmp_path)
    assert found["legacy"]
    assert found["samples"] == {
        video_id: {
            "media_type": "video",
            "sha256": record["sha256"],
            "categories": record["categories"],
            "vote_counts": record["vote_counts"],
            "width": record["width"],
        }
        for video_id, record in want.items()
    }


@pytest.mark.slow
def test_fiftyone_imports_the_folder(small: Path, want: Records, tmp_path: Path) -> None:
    found = read_by("fiftyone_import", "fiftyone", made(small, tmp_path / "o", "fiftyone"), tmp_path)
    if "no database" in found:
        pytest.skip(f"FiftyOne has no database here: {found['no database']}")
    assert found == {"videos": len(want), "unsafe": sum(row["is_unsafe"] for row in want.values())}
