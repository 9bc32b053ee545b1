"""Exports read back by the tools that they are for, each where it is installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from unsafe_video_dataset.export import export
from unsafe_video_dataset.records import from_table
from unsafe_video_dataset.release import Release

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


@pytest.mark.slow
def test_label_studio_takes_config_votes_and_labels(small: Path, want: Records, tmp_path: Path) -> None:
    """By the checks of its SDK; a choice that the page doesn't have is refused by them."""
    label_studio = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    out = made(small, tmp_path / "o", "labelstudio")
    page = label_studio.LabelInterface((out / "labeling_config.xml").read_text())
    page.validate()
    tasks = json.loads((out / "tasks.json").read_text())
    assert len(tasks) == len(want)
    for task in tasks:
        assert page.validate_task({"data": task["data"]})
        assert all(page.validate_annotation(one) for one in task["annotations"])
        assert all(page.validate_prediction(one) for one in task["predictions"])
    wrong = tasks[0]["predictions"][0]
    wrong["result"][0]["value"]["choices"] = ["Nope"]
    assert not page.validate_prediction(wrong)


@pytest.fixture
def fiftyone(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("FIFTYONE_DO_NOT_TRACK", "FIFTYONE_DISABLE_SERVICES"):
        monkeypatch.setenv(name, "1")
    return pytest.importorskip("fiftyone", reason="fiftyone is not installed")


@pytest.mark.slow
def test_fiftyone_reads_every_sample(fiftyone: Any, small: Path, want: Records, tmp_path: Path) -> None:
    """With the importer that `from_dir` uses for a folder without a version; this needs no database."""
    from fiftyone.utils.data import importers

    out = made(small, tmp_path / "o", "fiftyone")
    assert importers.FiftyOneDatasetImporter(str(out))._is_legacy_format_data()
    with importers.LegacyFiftyOneDatasetImporter(str(out)) as importer:
        samples = list(importer)
    assert {sample.video_id for sample in samples} == want.keys()
    for sample in samples:
        record = want[sample.video_id]
        assert sample.media_type == "video"
        assert hashlib.sha256(Path(sample.filepath).read_bytes()).hexdigest() == record["sha256"]
        assert [label.label for label in sample.categories.classifications] == record["categories"]
        assert sample.vote_counts == record["vote_counts"]
        assert sample.metadata.frame_width == record["width"]


@pytest.mark.slow
def test_fiftyone_imports_the_folder(fiftyone: Any, small: Path, want: Records, tmp_path: Path) -> None:
    out = made(small, tmp_path / "o", "fiftyone")
    try:
        fiftyone.list_datasets()
    except Exception as error:
        pytest.skip(f"FiftyOne has no database here: {str(error)[:100]}")
    dataset = fiftyone.Dataset.from_dir(str(out), dataset_type=fiftyone.types.FiftyOneDataset)
    try:
        assert len(dataset) == len(want)
        assert dataset.match_tags("unsafe").count() == sum(row["is_unsafe"] for row in want.values())
    finally:
        dataset.delete()
