"""`load_dataset`: the rows of plain `datasets`, lazy videos that survive use, a cache that can't mix releases."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import releases
from test_release import withdraw

from unsafe_video_dataset import hf, load_dataset
from unsafe_video_dataset.errors import ChecksumError, FilterError, InputError, IntegrityError
from unsafe_video_dataset.hf import LazyVideo, ReleaseBuilder
from unsafe_video_dataset.records import features
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CONFIGS, SPLITS
from unsafe_video_dataset.video import VideoHandle


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ours as `datasets` alone gives it."""
    video = row.get("video")
    return {**row, "video": {"bytes": bytes(video), "path": f"{video.name}.mp4"}} if video is not None else dict(row)


# -- the same rows


@pytest.mark.parametrize("config", CONFIGS)
def test_the_rows_are_those_of_plain_datasets(small: Path, tmp_path: Path, config: str) -> None:
    theirs = datasets.load_dataset(str(small), config, cache_dir=str(tmp_path / "plain"))
    ours = load_dataset(small, config, cache_dir=tmp_path / "ours")
    assert isinstance(ours, datasets.DatasetDict)
    assert list(ours) == list(theirs) == list(SPLITS)
    for split in SPLITS:
        assert ours[split].num_rows == theirs[split].num_rows > 0
        assert [plain(row) for row in ours[split]] == list(theirs[split])
        assert {**ours[split].features, "video": 0} == {**theirs[split].features, "video": 0}
        one = load_dataset(small, config, split=split, cache_dir=tmp_path / "ours")
        assert isinstance(one, datasets.Dataset)
        assert list(one["video_id"]) == list(theirs[split]["video_id"])
        streamed = load_dataset(small, config, split=split, streaming=True)
        assert [plain(row) for row in streamed] == list(theirs[split])


def test_the_default_is_the_sample_as_a_dict(tmp_path: Path) -> None:
    loaded = load_dataset(cache_dir=tmp_path)
    counts = Release.open().manifest["counts"]["splits"]
    assert {split: rows.num_rows for split, rows in loaded.items()} == {split: counts[split]["unsafe"] for split in SPLITS}
    handle = loaded["test"][0]["video"]
    assert isinstance(handle, VideoHandle)
    assert (handle.num_frames, handle.fps, handle.size) == (16, 8.0, (96, 96))
    assert handle.frames([0, 8], size=24).shape == (2, 3, 24, 24)
    assert loaded["test"].features["categories"].feature.names[1] == "terrifying"


def test_split_expressions(small: Path, tmp_path: Path) -> None:
    whole = {split: load_dataset(small, split=split, cache_dir=tmp_path)["video_id"][:] for split in SPLITS}
    load = lambda split: load_dataset(small, split=split, cache_dir=tmp_path)["video_id"][:]  # noqa: E731
    assert load("train+test") == [*whole["train"], *whole["test"]]
    assert load("train[:2]") == whole["train"][:2]
    assert load("train[-1:]+test[1:3]") == [whole["train"][-1], *whole["test"][1:3]]
    assert load("all") == [*whole["train"], *whole["validation"], *whole["test"]]
    assert len(load("train[:50%]")) == round(len(whole["train"]) / 2)


@pytest.mark.parametrize("split", ["dev", "train+dev", "Train", "trian[:10%]"])
def test_an_unknown_split_lists_the_splits(small: Path, tmp_path: Path, split: str) -> None:
    with pytest.raises(FilterError, match="train, validation, test"):
        load_dataset(small, split=split, cache_dir=tmp_path)


@pytest.mark.parametrize("split", [["train"], "", "train+", "train[", "train[:200%]", "train[5", "+", "train]"])
def test_a_malformed_split_is_a_filter_error(small: Path, tmp_path: Path, split: Any) -> None:
    with pytest.raises(FilterError, match="split="):
        load_dataset(small, split=split, cache_dir=tmp_path)


def test_a_slice_that_is_empty_says_the_sizes(small: Path, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match="no data"):
        load_dataset(small, split="train[3:3]", cache_dir=tmp_path)


def test_streams(small: Path) -> None:
    streams = load_dataset(small, streaming=True)
    assert isinstance(streams, datasets.IterableDatasetDict)
    first = next(iter(streams["train"]))
    assert first["video"].frames([0]).shape == (1, 3, 32, 32)
    assert [row["video_id"] for row in streams["train"].skip(1).take(1)] == releases.ids(small, "train", is_unsafe=True)[1:2]
    with pytest.raises(FilterError, match="a stream takes whole splits"):
        load_dataset(small, split="train[:2]", streaming=True)


# -- names, columns, filters


def test_columns(small: Path, tmp_path: Path) -> None:
    rows = load_dataset(small, split="train", columns=["sha256", "video_id"], cache_dir=tmp_path)
    assert rows.column_names == ["sha256", "video_id"]
    assert list(load_dataset(small, split="train", columns=["fps"], streaming=True).features) == ["fps"]
    assert load_dataset(small, split="train", columns=["fps", "fps"], cache_dir=tmp_path).column_names == ["fps"]


def test_columns_without_video_read_no_video(big: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[list[str]] = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, columns=None, **k: read.append(columns) or real(self, group, columns=columns, **k),
    )
    load_dataset(big, split="test", columns=["fps"], cache_dir=tmp_path)
    assert read
    assert all(set(columns) == {"video_id", "fps"} for columns in read)


@pytest.mark.parametrize(
    ("config", "given"),
    [
        ("unsafe", {"categories": ["terrifying", "political"]}),
        ("reviewed", {"is_unsafe": False}),
        ("reviewed", {"generators": ["magictime"], "prompt_sources": ["lexica"]}),
        ("metadata", {"min_raters": 4, "min_agreement": 0.5}),
        ("annotations", {"categories": ["terrifying"]}),
    ],
)
def test_filters_are_those_of_the_release(small: Path, tmp_path: Path, config: str, given: dict[str, Any]) -> None:
    unsafe = {"is_unsafe": True} if config == "unsafe" else {}
    expected = set(releases.ids(small, **given, **unsafe))
    loaded = load_dataset(small, config, cache_dir=tmp_path, **given)
    found = [video_id for rows in loaded.values() for video_id in rows["video_id"]]
    assert set(found) == expected
    streamed = load_dataset(small, config, streaming=True, **given)
    assert [row["video_id"] for rows in streamed.values() for row in rows] == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "images"}, "unsafe, reviewed, metadata, annotations"),
        ({"columns": ["bytes"]}, "'bytes' is not known.*video_id, video"),
        ({"columns": "video_id"}, "must be a list"),
        ({"columns": []}, "columns is empty"),
        ({"categories": ["scary"]}, "distorted_weird"),
        ({"categories": "terrifying"}, "must be a list"),
        ({"generators": ["sora"]}, "magictime"),
        ({"is_unsafe": False}, "holds unsafe videos only; use name='reviewed'"),
        ({"min_raters": 50}, "It holds splits"),
        ({"split": "test", "min_raters": 50}, "It holds splits"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_unknown_names_and_empty_results(
    small: Path, tmp_path: Path, given: dict[str, Any], words: str, streaming: bool
) -> None:
    with pytest.raises(FilterError, match=words):
        load_dataset(small, cache_dir=tmp_path, streaming=streaming, **given)


def test_no_release_and_no_votes(unvoted: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no release folder 'missing'.*'sample'"):
        load_dataset("missing")
    with pytest.raises(FilterError, match=r"'annotations' is not known|has no config"):
        load_dataset(unvoted, "annotations", cache_dir=tmp_path)


def test_a_split_that_is_empty(tmp_path: Path) -> None:
    release = releases.build(tmp_path / "r", 6, fractions=(1.0, 0.0, 0.0))
    loaded = load_dataset(release, cache_dir=tmp_path)
    assert list(loaded) == list(load_dataset(release, streaming=True)) == ["train"]  # as plain `datasets` gives it
    assert list(datasets.load_dataset(str(release), "unsafe", cache_dir=str(tmp_path / "plain"))) == ["train"]
    for streaming in (False, True):
        with pytest.raises(FilterError, match="test: 0 unsafe"):
            load_dataset(release, split="test", cache_dir=tmp_path, streaming=streaming)


# -- what people do with a dataset


@pytest.fixture
def rows(small: Path, tmp_path: Path) -> datasets.Dataset:
    return load_dataset(small, split="train", cache_dir=tmp_path / "cache")


def _brightness(row: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(row["video"], VideoHandle)
    return {"brightness": float(row["video"].frames([0]).mean()), "frames": row["video"].num_frames}


def _brightness_batch(batch: dict[str, Any]) -> dict[str, Any]:
    return {"brightness": [float(video.frames([0]).mean()) for video in batch["video"]], "video": batch["video"]}


@pytest.mark.parametrize("num_proc", [None, 2])
def test_map(rows: datasets.Dataset, num_proc: int | None) -> None:
    expected = [float(row["video"].frames([0]).mean()) for row in rows]
    mapped = rows.map(_brightness, num_proc=num_proc)
    assert mapped["brightness"][:] == pytest.approx(expected)
    assert all(isinstance(row["video"], VideoHandle) for row in mapped)
    batched = rows.map(_brightness_batch, batched=True, batch_size=4, num_proc=num_proc)
    assert batched["brightness"][:] == pytest.approx(expected)
    assert [bytes(row["video"]) for row in batched] == [bytes(row["video"]) for row in rows]
    assert [row["video"].name for row in batched] == rows["video_id"][:]
    assert isinstance(batched.features["video"], LazyVideo)


def test_formats_keep_handles(rows: datasets.Dataset) -> None:
    torch = pytest.importorskip("torch")
    formatted = rows.with_format("torch")
    row = formatted[0]
    assert isinstance(row["video"], VideoHandle)
    assert row["video"].num_frames == rows[0]["video"].num_frames
    assert isinstance(row["categories"], torch.Tensor)
    assert isinstance(rows.with_format("numpy")[0]["video"], VideoHandle)
    batch = formatted[:3]
    assert [bytes(video) for video in batch["video"]] == [bytes(row["video"]) for row in rows.select(range(3))]
    assert rows.with_format("arrow")[0]["video"].type.names == ["bytes", "path"]


def test_selections_keep_handles(rows: datasets.Dataset, small: Path, tmp_path: Path) -> None:
    other = load_dataset(small, split="test", cache_dir=tmp_path / "cache")
    made = {
        "select": rows.select([2, 0]),
        "shuffle": rows.shuffle(seed=1),
        "filter": rows.filter(lambda row: row["video"].num_frames >= 2),
        "concatenate": datasets.concatenate_datasets([rows, other]),
        "sort": rows.sort("num_bytes"),
        "rename": rows.rename_column("prompt", "text"),
        "split": rows.train_test_split(0.5, seed=0)["test"],
        "interleave": datasets.interleave_datasets([rows, other]),
    }
    for name, result in made.items():
        assert result.num_rows, name
        for row in result:
            assert isinstance(row["video"], VideoHandle), name
            assert row["video"].name == row["video_id"], name
    assert [row["video_id"] for row in made["select"]] == [rows[2]["video_id"], rows[0]["video_id"]]


def test_it_pickles_and_is_saved_and_loaded(rows: datasets.Dataset, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(rows))
    assert [bytes(row["video"]) for row in again] == [bytes(row["video"]) for row in rows]
    rows.save_to_disk(tmp_path / "saved")
    loaded = datasets.load_from_disk(tmp_path / "saved")
    assert loaded.features == rows.features
    for row, other in zip(rows, loaded, strict=True):
        assert row == other
        assert np.array_equal(row["video"].frames([0]), other["video"].frames([0]))


def test_another_process_loads_what_was_saved(rows: datasets.Dataset, tmp_path: Path) -> None:
    rows.save_to_disk(tmp_path / "saved")
    code = (
        "import sys, datasets, unsafe_video_dataset.hf\n"
        "row = datasets.load_from_disk(sys.argv[1])[0]\n"
        "print(row['video'].num_frames, row['video'].frames([0]).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "saved")], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == f"{rows[0]['video'].num_frames} (1, 3, 32, 32)"


def test_the_feature_takes_bytes_and_refuses_paths(rows: datasets.Dataset) -> None:
    feature = LazyVideo()
    data = bytes(rows[0]["video"])
    assert feature.encode_example(data)["path"] == f"{rows[0]['video_id']}.mp4"
    assert feature.encode_example(rows[0]["video"]) == {"bytes": data, "path": f"{rows[0]['video_id']}.mp4"}
    for value in ("/etc/passwd", {"path": "/etc/passwd"}, {"bytes": None, "path": "/etc/passwd"}, 7):
        with pytest.raises(TypeError, match="MP4 bytes or a VideoHandle"):
            feature.encode_example(value)
    made = datasets.Dataset.from_dict({"video": [data, data]}, features=datasets.Features({"video": LazyVideo()}))
    assert made[1]["video"].num_frames == rows[0]["video"].num_frames
    assert feature.flatten() == {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}


# -- the cache


def copy_to(release: Path, folder: Path) -> Path:
    return Path(shutil.copytree(release, folder))


def test_two_releases_of_one_folder_name_never_mix(tmp_path: Path) -> None:
    for number in (1, 2):
        releases.build(tmp_path / str(number) / "release", 8, seed=number)
    loaded = [load_dataset(tmp_path / str(number) / "release", "reviewed", cache_dir=tmp_path / "cache") for number in (1, 2)]
    found = [{video_id for rows in one.values() for video_id in rows["video_id"]} for one in loaded]
    assert found[0] == set(releases.ids(tmp_path / "1" / "release"))
    assert found[1] == set(releases.ids(tmp_path / "2" / "release"))
    assert not found[0] & found[1]


def test_a_release_edited_in_place_gives_new_rows(copy: Path, tmp_path: Path) -> None:
    before = load_dataset(copy, "metadata", split="train", cache_dir=tmp_path / "cache")
    releases.edit_rows(copy, "data/metadata/train.parquet", lambda rows: rows[0].update(prompt="edited"))
    after = load_dataset(copy, "metadata", split="train", cache_dir=tmp_path / "cache")
    assert (before[0]["prompt"], after[0]["prompt"]) == (before["prompt"][0], "edited")
    assert before[0]["prompt"] != "edited"


def test_selections_do_not_share_a_cache(small: Path, tmp_path: Path) -> None:
    sizes = set()
    for given in ({}, {"min_raters": 4}, {"min_raters": 3}, {"generators": ["magictime"]}):
        rows = load_dataset(small, "reviewed", split="train", cache_dir=tmp_path, **given)  # type: ignore[arg-type]
        assert sorted(rows["video_id"]) == releases.ids(small, "train", **given)
        sizes.add(rows.num_rows)
    assert len(sizes) > 1


def test_a_second_call_does_not_read_the_videos_again(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(small, cache_dir=tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the rows are in the cache")

    monkeypatch.setattr(ReleaseBuilder, "_generate_tables", refuse)
    second = load_dataset(small, cache_dir=tmp_path)
    assert [dict(row) for row in first["test"]] == [dict(row) for row in second["test"]]
    copied = copy_to(small, tmp_path / "elsewhere")
    assert load_dataset(copied, cache_dir=tmp_path)["test"].num_rows == first["test"].num_rows  # same manifest, same rows


def test_maps_of_two_releases_do_not_share_a_cache(tmp_path: Path) -> None:
    found = []
    for number in (1, 2):
        release = releases.build(tmp_path / str(number) / "release", 8, seed=number)
        rows = load_dataset(release, "reviewed", split="train", cache_dir=tmp_path / "cache")
        found.append(set(rows.map(lambda row: {"copy": row["video_id"]})["copy"]))
    assert not found[0] & found[1]


def test_progress_bars_are_those_of_datasets(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.enable_progress_bars()
    load_dataset(small, cache_dir=tmp_path / "loud")
    assert "Generating train split" in capsys.readouterr().err
    datasets.disable_progress_bars()
    try:
        load_dataset(small, cache_dir=tmp_path / "quiet")
        assert "Generating" not in capsys.readouterr().err
    finally:
        datasets.enable_progress_bars()


# -- damage


def test_wrong_bytes_come_as_a_checksum_error_and_leave_no_cache(copy: Path, tmp_path: Path) -> None:
    sound = copy_to(copy, tmp_path / "sound")
    releases.edit_rows(copy, releases.data_file(copy), lambda rows: rows[0]["video"].update(bytes=b"forged"))
    for _ in range(2):
        with pytest.raises(ChecksumError, match="has other bytes than recorded"):
            load_dataset(copy, cache_dir=tmp_path / "cache")
    with pytest.raises(ChecksumError):
        list(load_dataset(copy, split="train", streaming=True))
    assert load_dataset(sound, cache_dir=tmp_path / "cache")["train"].num_rows


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_file_is_an_integrity_error(copy: Path, tmp_path: Path, damage: str) -> None:
    path = copy / releases.data_file(copy)
    if damage == "flip":
        releases.corrupt(path, pq.read_table(path)["video"][0]["bytes"].as_py()[40:80])
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        path.unlink()
    with pytest.raises(IntegrityError, match=path.name):
        load_dataset(copy, cache_dir=tmp_path / "cache")


def test_withdrawn_videos_stay_out_of_every_config(copy: Path, tmp_path: Path) -> None:
    gone = releases.ids(copy, "train", is_unsafe=True)[0]
    load: Callable[[str], Any] = lambda config: load_dataset(copy, config, cache_dir=tmp_path / "cache")  # noqa: E731
    before = {config: load(config)["train"].num_rows for config in CONFIGS}
    withdraw(copy, gone)
    for config in CONFIGS:
        assert gone not in load(config)["train"]["video_id"]
        assert load(config)["train"].num_rows < before[config]
        assert gone not in [row["video_id"] for row in load_dataset(copy, config, split="train", streaming=True)]


def test_the_builder_says_what_it_makes(small: Path, tmp_path: Path) -> None:
    builder = ReleaseBuilder(Release.open(small), "metadata", cache_dir=tmp_path)
    assert builder.info.features == features("metadata")
    assert hf.load_dataset is load_dataset
    with pytest.raises(FilterError, match="name='images'"):
        ReleaseBuilder(Release.open(small), "images", cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["unsafe", "reviewed", "metadata", "annotations"])
@pytest.mark.parametrize("streaming", [False, True])
def test_is_unsafe_must_be_a_truth_value(small: Path, tmp_path: Path, name: str, streaming: bool) -> None:
    with pytest.raises(FilterError, match="is_unsafe='yes' must be True or False"):
        load_dataset(small, name, is_unsafe="yes", streaming=streaming, cache_dir=tmp_path)
