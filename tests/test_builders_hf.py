"""`UnsafeVideoBuilder`: a `datasets` builder over a raw folder, and a cache that can't hand out another folder's rows."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders_support import CATEGORIES_FLAG, LABELS, SETTINGS, label_csv, make_raw, raw, tiny

from unsafe_video_dataset import load_dataset
from unsafe_video_dataset.builders import UnsafeVideoBuilder, build_upstream
from unsafe_video_dataset.errors import ChecksumError, FaultsError, FilterError, InputError

__all__ = ["raw"]


def builder(raw: Path, cache: Path, config: str = "unsafe", **settings: Any) -> UnsafeVideoBuilder:
    chosen = {"categories": CATEGORIES_FLAG, "generator": "animatediff", **settings}
    return UnsafeVideoBuilder(raw, config, cache_dir=cache, progress=False, **chosen)


def rows(raw: Path, cache: Path, config: str = "reviewed", **settings: Any) -> dict[int, dict[str, Any]]:
    made = builder(raw, cache, config, **settings)
    made.download_and_prepare()
    return {row["source_index"]: row for split in made.as_dataset().values() for row in split}


def test_it_is_a_datasets_builder(raw: Path, tmp_path: Path) -> None:
    import datasets

    made = builder(raw, tmp_path / "cache")
    assert isinstance(made, datasets.DatasetBuilder)
    made.download_and_prepare()
    loaded = made.as_dataset()
    assert isinstance(loaded, datasets.DatasetDict)
    assert set(loaded) == {"train", "test"}  # no unsafe video fell to validation: `datasets` can't hold an empty split
    everything = builder(raw, tmp_path / "cache", fractions=(0, 0, 1))
    everything.download_and_prepare()
    assert set(everything.as_dataset()) == {"test"}
    assert sum(len(split) for split in loaded.values()) == 9
    video = loaded["train"][0]["video"]
    assert (video.num_frames, video.size) == (2, (16, 16))
    assert video.frames([0]).shape == (1, 3, 16, 16)
    assert bytes(pickle.loads(pickle.dumps(video))) == bytes(video)


def test_it_streams_the_same_rows(raw: Path, tmp_path: Path) -> None:
    made = builder(raw, tmp_path / "cache", "metadata")
    streamed = [row for split in made.as_streaming_dataset().values() for row in split]
    prepared = rows(raw, tmp_path / "cache", "metadata")
    assert {row["source_index"]: row for row in streamed} == prepared
    assert len(prepared) == 12


def test_its_rows_are_those_of_a_release_of_the_folder(raw: Path, tmp_path: Path) -> None:
    build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    loaded = load_dataset(tmp_path / "out", "reviewed", cache_dir=tmp_path / "cache")
    expected = {row["source_index"]: row for split in loaded.values() for row in split}
    assert rows(raw, tmp_path / "other") == expected


def test_the_second_time_nothing_is_built(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(raw, tmp_path / "cache")
    from unsafe_video_dataset.builders import hf

    monkeypatch.setattr(hf, "build_upstream", lambda *a, **k: pytest.fail("built again"))
    assert rows(raw, tmp_path / "cache") == first
    copy = Path(shutil.copytree(raw, tmp_path / "elsewhere"))
    assert rows(copy, tmp_path / "cache") == first


def test_two_folders_of_one_name_do_not_share_rows(tmp_path: Path) -> None:
    one = make_raw(tmp_path / "a" / "raw")
    other = make_raw(tmp_path / "b" / "raw", labels={**LABELS, "1": [5], "5": [0]})
    assert rows(one, tmp_path / "cache")[0]["categories"] == [0]
    assert rows(other, tmp_path / "cache")[0]["categories"] == [4]
    assert rows(one, tmp_path / "cache")[0]["categories"] == [0]


@pytest.mark.parametrize("name", ["labels.csv", "prompts.txt", "3.mp4"])
def test_an_edited_file_with_the_same_date_and_size_gives_the_new_rows(raw: Path, tmp_path: Path, name: str) -> None:
    before = rows(raw, tmp_path / "cache")
    state = (raw / name).stat()
    new = {
        "labels.csv": label_csv({**LABELS, "5": [5]}),
        "prompts.txt": (raw / "prompts.txt").read_bytes().replace(b"shape 3", b"shape 9"),
        "3.mp4": tiny(99),
    }[name]
    (raw / name).write_bytes(new)
    os.utime(raw / name, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (raw / name).stat().st_size == state.st_size
    after = rows(raw, tmp_path / "cache")
    assert after != before
    if name == "labels.csv":
        assert (after[4]["categories"], after[5]["categories"]) == ([], [4])


@pytest.mark.parametrize("changes", [
    {"generator": "videocrafter"},
    {"prompt_source": "lexica"}, {"no_prompts": True}, {"generation": {"seed": 1}},
    {"categories": CATEGORIES_FLAG.replace("1=", "x=").replace("2=", "1=").replace("x=", "2=")},
])  # fmt: skip
def test_another_setting_gives_other_rows(raw: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    full = {"num_inference_steps": None, "guidance_scale": None, "seed": 1, "scheduler": None}
    changes = {**changes, **({"generation": full} if "generation" in changes else {})}
    assert rows(raw, tmp_path / "cache", "metadata") != rows(raw, tmp_path / "cache", "metadata", **changes)


def test_named_files_may_be_text_and_their_content_counts(raw: Path, tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text("index,rater_id,categories\n" + "".join(f"{n},r1,1\n" for n in range(12)))
    first = rows(raw, tmp_path / "cache", "metadata", annotations=str(votes))
    assert {tuple(row["categories"]) for row in first.values()} == {(0,)}
    votes.write_text(votes.read_text().replace(",1\n", ",2\n"))
    second = rows(raw, tmp_path / "cache", "metadata", annotations=str(votes))
    assert {tuple(row["categories"]) for row in second.values()} == {(1,)}


def test_faults_are_raised_and_nothing_is_cached(raw: Path, tmp_path: Path) -> None:
    (raw / "3.mp4").write_bytes(b"")
    with pytest.raises(FaultsError, match=r"3\.mp4: unreadable MP4"):
        builder(raw, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("manifest.json")) == []
    (raw / "3.mp4").write_bytes(tiny(3))
    assert len(rows(raw, tmp_path / "cache")) == 12
    (raw / "x.mp4").write_bytes(tiny(4))  # a fault that came later is not hidden by the cache
    with pytest.raises(FaultsError, match=r"x\.mp4: extra MP4"):
        builder(raw, tmp_path / "cache")
    with pytest.raises(InputError, match="There is no folder"):
        builder(tmp_path / "nowhere", tmp_path / "cache")


def test_a_config_that_is_not_there(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match="annotations"):
        builder(raw, tmp_path / "cache", "annotations")
    with pytest.raises(TypeError):
        builder(raw, tmp_path / "cache", colour="red")


def test_another_process_may_be_faster(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unsafe_video_dataset.builders import hf

    def late(*arguments: Any, **options: Any) -> None:
        build_upstream(*arguments, **options)
        raise InputError("exists and is not empty")

    monkeypatch.setattr(hf, "build_upstream", late)
    assert len(rows(raw, tmp_path / "cache")) == 12


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_a_video_behind_a_link_is_one_of_the_inputs(raw: Path, tmp_path: Path, linked: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for video in sorted(raw.glob("*.mp4")):
        video.rename(elsewhere / video.name)
        if linked == "file":
            video.symlink_to(elsewhere / video.name)
    if linked == "folder":
        (raw / "videos").symlink_to(elsewhere)
    before = rows(raw, tmp_path / "cache", "metadata")
    (elsewhere / "3.mp4").write_bytes(tiny(99))
    after = rows(raw, tmp_path / "cache", "metadata")
    assert {index for index, row in after.items() if row["sha256"] != before[index]["sha256"]} == {3}


def test_the_key_covers_what_the_manifest_lists(raw: Path, tmp_path: Path) -> None:
    (raw / "votes.csv").write_text("index,rater_id,categories\n" + "".join(f"{n},r1,1\n" for n in range(12)))
    made = builder(raw, tmp_path / "cache", annotations=str(raw / "votes.csv"))
    inputs = {entry["path"] for entry in made.release.manifest["inputs"]}
    assert inputs == {path.name for path in raw.iterdir()}


def test_a_file_replaced_while_it_is_built_is_not_kept(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unsafe_video_dataset.builders import hf

    def replaced(*arguments: Any, **options: Any) -> None:
        (raw / "3.mp4").write_bytes(tiny(99))
        build_upstream(*arguments, **options)

    monkeypatch.setattr(hf, "build_upstream", replaced)
    with pytest.raises(ChecksumError, match="changed while the release was built"):
        builder(raw, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("manifest.json")) == []
