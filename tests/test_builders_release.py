"""A written release: Parquet layout, card, datasheet, Croissant, manifest; and `check`, which proves it or lists faults."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders_support import (
    FLAGS,
    SETTINGS,
    built,
    make_raw,
    manifest,
    plain_rows,
    raw,
    release,
    rewrite_manifest,
    run_build,
    tree,
)

from unsafe_video_dataset import load_dataset
from unsafe_video_dataset.builders import build_upstream, write
from unsafe_video_dataset.records import arrow_schema, features, validate
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import SPLITS

__all__ = ["built", "raw", "release"]

SAMPLE = Release.open().path
TABLES = {"unsafe": "video", "reviewed": "video", "metadata": "metadata", "annotations": "annotation"}


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 videos in one split, so that there are several row groups."""
    root = tmp_path_factory.mktemp("large")
    labels = {"1": list(range(40)), "2": [], "3": [], "4": [], "5": []}
    make_raw(root / "raw", number=60, labels=labels)
    assert run_build("upstream", root / "raw", root / "out", *FLAGS, "--splits", "1,0,0") == 0
    return root / "out"


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_video_files_have_the_stated_layout(large: Path) -> None:
    for part, number in (("unsafe", 40), ("not_unsafe", 20)):
        (path,) = (large / "data" / part).glob("train-*.parquet")
        assert path.name == "train-00000-of-00001.parquet"
        file = pq.ParquetFile(path)
        assert file.schema_arrow.remove_metadata() == arrow_schema("video")
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
        assert [group.num_rows for group in groups] == [16] * (number // 16) + [number % 16]
        ids = file.read(columns=["video_id"])["video_id"].to_pylist()
        assert ids == sorted(ids)
        for group in groups:
            columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
            data = columns.pop("video.bytes")
            assert (data.compression, data.has_dictionary_page) == ("UNCOMPRESSED", False)
            assert {column.compression for column in columns.values()} == {"ZSTD"}
            assert columns["video_id"].statistics.has_min_max
            assert columns["group_id"].has_dictionary_page


def test_metadata_is_one_zstd_group(large: Path) -> None:
    file = pq.ParquetFile(large / "data" / "metadata" / "train.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (1, 60)
    group = file.metadata.row_group(0)
    assert {group.column(place).compression for place in range(group.num_columns)} == {"ZSTD"}
    ids = file.read(columns=["video_id"])["video_id"].to_pylist()
    assert ids == sorted(ids)


def test_empty_splits_are_files_with_a_schema_and_no_rows(large: Path) -> None:
    for name in ("unsafe/test-00000-of-00001", "not_unsafe/validation-00000-of-00001", "metadata/test"):
        table = pq.read_table(large / "data" / f"{name}.parquet")
        assert pq.read_metadata(large / "data" / f"{name}.parquet").num_row_groups == 0  # `datasets` can't read one of 0 rows
        assert table.schema.remove_metadata() == arrow_schema("metadata" if "metadata" in name else "video")


@pytest.mark.parametrize("column", ["video", "prompt", "votes"])
def test_page_checksums_find_a_flipped_byte(built: Path, tmp_path: Path, column: str) -> None:
    (source,) = (built / "data" / "unsafe").glob("train-*.parquet")
    group = pq.ParquetFile(source).metadata.row_group(0)
    places = [group.column(place) for place in range(group.num_columns)]
    chunk = next(place for place in places if place.path_in_schema.split(".")[0] == column)
    data = bytearray(source.read_bytes())
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    data[start + chunk.total_compressed_size - 3] ^= 1
    (tmp_path / "damaged.parquet").write_bytes(data)
    with pytest.raises((OSError, pa.ArrowException), match="CRC checksum"):
        pq.read_table(tmp_path / "damaged.parquet", columns=[column], page_checksum_verification=True)


def test_shards_stay_below_the_limit(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "MAX_SHARD_BYTES", 75_000)
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS, "--splits", "1,0,0") == 0
    names = sorted(path.name for path in (tmp_path / "out" / "data" / "unsafe").glob("train-*"))
    assert len(names) > 1
    assert names == [f"train-{number:05d}-of-{len(names):05d}.parquet" for number in range(len(names))]
    shards = [tmp_path / "out" / "data" / "unsafe" / name for name in names]
    assert max(path.stat().st_size for path in shards) <= 75_000
    ids = [row for path in shards for row in pq.read_table(path, columns=["video_id"])["video_id"].to_pylist()]
    assert ids == sorted(ids)
    assert len(ids) == 9
    assert run_build("check", tmp_path / "out") == 0
    assert len(plain_rows(tmp_path / "out", "unsafe", tmp_path / "cache")["train"]) == 9
    opened = Release.open(tmp_path / "out")
    assert all(opened.video_bytes(video_id) for video_id in ids)


# --- without our code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["unsafe", "reviewed", "metadata", "annotations"])
def test_plain_datasets_reads_the_same_rows(built: Path, tmp_path: Path, config: str) -> None:
    import datasets

    loaded = plain_rows(built, config, tmp_path)
    sizes = {
        split: n["unsafe"] + n["not_unsafe"] * (config != "unsafe") for split, n in manifest(built)["counts"]["splits"].items()
    }
    assert set(loaded) == {split for split in SPLITS if sizes[split]}
    for split, rows in loaded.items():
        paths = Release.open(built).data_files(config, split)
        assert rows == pa.concat_tables([pq.read_table(path) for path in paths]).to_pylist()
    found = datasets.load_dataset(str(built), config, cache_dir=str(tmp_path), split="train").features
    assert found == features(TABLES[config])  # type: ignore[arg-type]
    if config == "unsafe":
        assert datasets.load_dataset(str(built), cache_dir=str(tmp_path), split="train").to_list() == loaded["train"]
    streamed = datasets.load_dataset(str(built), config, split="train", streaming=True)
    assert list(streamed) == loaded["train"]


def test_plain_datasets_reads_a_release_without_votes_and_with_empty_splits(large: Path, tmp_path: Path) -> None:
    loaded = plain_rows(large, "reviewed", tmp_path)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 60}
    assert {row["votes"] for row in loaded["train"]} == {None}
    ours = load_dataset(large, "reviewed", cache_dir=tmp_path / "ours")
    assert {split: len(rows) for split, rows in ours.items()} == {"train": 60}


def test_a_release_without_unsafe_videos(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", number=3, labels={name: [] for name in "12345"})
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS) == 0
    head, _ = card(tmp_path / "out")
    assert [config["config_name"] for config in head["configs"]] == ["reviewed", "metadata"]
    assert sum(len(rows) for rows in plain_rows(tmp_path / "out", "reviewed", tmp_path / "cache").values()) == 3
    assert run_build("check", tmp_path / "out") == 0


# --- card, datasheet, Croissant, manifest ----------------------------------------------------------------------------


def card(folder: Path) -> tuple[dict[str, Any], str]:
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(head)
    return loaded, body


def test_the_card_of_real_data_is_gated_and_marked(built: Path) -> None:
    head, body = card(built)
    assert "not-for-all-audiences" in head["tags"]
    assert "research" in head["extra_gated_prompt"]
    assert "checkbox" in head["extra_gated_fields"].values()
    assert [config["config_name"] for config in head["configs"]] == ["unsafe", "reviewed", "metadata", "annotations"]
    assert [config.get("default") for config in head["configs"]] == [True, None, None, None]
    assert {info["config_name"] for info in head["dataset_info"]} == set(TABLES)
    assert "Do not show it to people who did not agree" in body


def test_the_card_of_the_sample_is_open() -> None:
    head, body = card(SAMPLE)
    assert "not-for-all-audiences" not in head["tags"]
    assert not [key for key in head if key.startswith("extra_gated")]
    assert head["license"] == "apache-2.0"
    assert "harmless" in body


def test_no_prompt_stands_in_a_document(built: Path) -> None:
    for name in ("README.md", "DATASHEET.md", "croissant.json", "manifest.json"):
        assert "that moves" not in (built / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["built", "sample"])
def test_the_datasheet_has_the_seven_sections(built: Path, name: str) -> None:
    text = ((built if name == "built" else SAMPLE) / "DATASHEET.md").read_text(encoding="utf-8")
    found = [line.removeprefix("## ").lower() for line in text.splitlines() if line.startswith("## ")]
    parts = ["motivation", "composition", "collection", "preprocessing", "uses", "distribution", "maintenance"]
    assert len(found) == 7
    assert all(section.startswith(part) for section, part in zip(found, parts, strict=True))


@pytest.mark.parametrize("name", ["built", "sample"])
def test_no_clock_and_no_place_in_any_file(built: Path, name: str) -> None:
    folder = built if name == "built" else SAMPLE
    for path, data in tree(folder).items():
        for word in (str(folder.parent), str(Path.home()) + "/", "/tmp/", "file://"):
            assert word.encode() not in data, (path, word)
        if not path.endswith(".parquet"):
            assert not re.search(rb"\b\d{4}-\d\d-\d\d\b", data), path


def test_the_manifest_fits_its_schema_and_the_files(built: Path) -> None:
    loaded = manifest(built)
    assert validate("manifest", [(None, loaded)], file="manifest.json") == []
    listed = {entry["path"]: entry for entry in loaded["files"]}
    found = tree(built)
    assert set(found) == {*listed, "manifest.json"}
    assert {path: len(data) for path, data in found.items() if path in listed} == {
        path: entry["bytes"] for path, entry in listed.items()
    }
    rows = {path: pq.read_metadata(built / path).num_rows for path in listed if path.endswith(".parquet")}
    assert {path: entry["rows"] for path, entry in listed.items() if entry["rows"] is not None} == rows
    counts = loaded["counts"]
    assert (counts["videos"], counts["unsafe"], counts["not_unsafe"], counts["raters"], counts["votes"]) == (12, 9, 3, 3, 36)
    assert sum(entry["unsafe"] + entry["not_unsafe"] for entry in counts["splits"].values()) == 12


def test_tombstones_start_empty(built: Path) -> None:
    table = pq.read_table(built / "tombstones.parquet")
    assert (table.column_names, table.num_rows) == (["video_id", "reason", "date"], 0)


@pytest.mark.parametrize("name", ["built", "sample"])
def test_croissant_names_all_files_and_scalar_columns(built: Path, name: str) -> None:
    folder = built if name == "built" else SAMPLE
    document = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    listed = {entry["path"]: entry for entry in manifest(folder)["files"]}
    objects = {part["@id"]: part for part in document["distribution"] if part["@type"] == "cr:FileObject"}
    assert set(objects) == {path for path in listed if path.startswith("data/")}
    assert all(part["sha256"] == listed[path]["sha256"] for path, part in objects.items())
    fields = {field["@id"] for record_set in document["recordSet"] for field in record_set["field"]}
    assert {"metadata/video_id", "metadata/prompt", "metadata/fps", "annotations/rater_id", "annotations/seconds"} <= fields


@pytest.mark.parametrize("name", ["built", "sample"])
def test_croissant_is_valid_and_loads(built: Path, name: str) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (233 MB; extra `dev` has it)")
    folder = built if name == "built" else SAMPLE
    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert list(dataset.metadata.ctx.issues.errors) == []
    assert dataset.metadata.data_annotation_protocol
    assert dataset.metadata.annotations_per_item
    assert dataset.metadata.personal_sensitive_information
    rows = list(dataset.records("metadata"))
    assert len(rows) == manifest(folder)["counts"]["videos"]


# --- check -----------------------------------------------------------------------------------------------------------


def check(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any]]:
    code = run_build("check", folder, "--json", *flags)
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, loaded


def test_check_proves_a_sound_release(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check(built, capsys)
    assert (code, report["ok"], report["faults"]) == (0, True, [])
    assert (report["files"], report["videos"], report["decoded"], report["annotations"]) == (16, 12, 12, 36)
    code, report = check(built, capsys, "--no-decode")
    assert (code, report["decoded"]) == (0, 0)
    assert run_build("check", built) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[2:6]] == [
        ["files", "16"], ["videos", "12"], ["decoded", "12"], ["annotations", "36"],
    ]  # fmt: skip
    assert out.endswith(f"{built}: sound\n")


def test_check_lists_every_tampered_file(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "README.md").write_text("# other\n")
    (release / "DATASHEET.md").unlink()
    (release / "extra.bin").write_bytes(b"x")
    path = release / "croissant.json"
    path.write_bytes(path.read_bytes().replace(b"reviewed", b"reviewec", 1))
    code, report = check(release, capsys)
    assert code == 1
    assert {fault["file"] for fault in report["faults"]} == {"README.md", "DATASHEET.md", "extra.bin", "croissant.json"}


def _edit(release: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a Parquet file and make the manifest agree with it, as a careful forger would."""
    from unsafe_video_dataset.integrity import sha256_file

    path = release / name
    pq.write_table(change(pq.read_table(path)), path, write_page_checksum=True)
    files = manifest(release)["files"]
    for entry in files:
        if entry["path"] == name:
            rows = pq.read_metadata(path).num_rows
            entry.update(bytes=path.stat().st_size, sha256=sha256_file(path), rows=rows)
    rewrite_manifest(release, files=files)


def _set(column: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(column)
        values = [value, *table[column].to_pylist()[1:]]
        return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))

    return change


@pytest.mark.parametrize(("name", "change", "message"), [
    ("data/metadata/train.parquet", _set("prompt", "other words"), "differs from data/metadata/train.parquet"),
    ("data/metadata/train.parquet", _set("categories", []), "found []"),
    ("data/metadata/train.parquet", lambda table: table.slice(1), "is not in data/metadata/train.parquet"),
    ("data/annotations/train.parquet", lambda table: table.slice(1), "annotations"),
    ("data/unsafe/train-00000-of-00001.parquet", _set("sha256", "0" * 64), "has sha256"),
    ("data/unsafe/train-00000-of-00001.parquet", _set("num_frames", 3), "differs from"),
    ("data/unsafe/train-00000-of-00001.parquet", lambda table: pa.concat_tables([table, table.slice(0, 1)]), "stands twice"),
    ("data/unsafe/train-00000-of-00001.parquet", lambda table: table.drop(["prompt"]), "column is missing"),
    ("data/not_unsafe/train-00000-of-00001.parquet", lambda table: table.slice(0, 0), "is in no data file"),
])  # fmt: skip
def test_check_sees_through_a_forged_manifest(
    release: Path, capsys: pytest.CaptureFixture[str], name: str, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    _edit(release, name, change)
    code, report = check(release, capsys, "--no-decode")
    assert code == 1
    assert any(message in fault["message"] for fault in report["faults"]), report["faults"]
    assert not any("other words" in json.dumps(fault) for fault in report["faults"])


@pytest.mark.parametrize("seed", range(12))
def test_check_finds_a_flipped_byte_anywhere(release: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = rng.choice(sorted(path for path in release.rglob("*") if path.is_file() and path.name != "manifest.json"))
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    assert run_build("check", release, "--no-decode") == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "x"}'])
def test_check_of_something_else(release: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (release / "manifest.json").write_text(text)
    assert run_build("check", release) in (1, 2)
    assert run_build("check", release / "nowhere") == 2
    assert run_build("check", release / "data") == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["upstream"], ["sample"], ["check"]])
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_build(*command, "--help") == 0
    out = capsys.readouterr().out
    assert ("example:\n  unsafe-video-build" if command else "Exit codes") in out


def test_a_build_of_a_bad_command_line(tmp_path: Path) -> None:
    assert run_build() == 2
    assert run_build("nothing") == 2
    assert run_build("upstream", tmp_path) == 2


def test_records_that_do_not_fit_are_never_written(raw: Path, tmp_path: Path) -> None:
    from unsafe_video_dataset.builders.assemble import Assembled
    from unsafe_video_dataset.builders.write import ReleaseInfo, write_release
    from unsafe_video_dataset.errors import Fault, FaultsError

    bad = Assembled(faults=[Fault("records", "wrong"), Fault("records", "wrong too")])
    with pytest.raises(FaultsError, match="2 faults"):
        write_release(tmp_path / "out", bad, ReleaseInfo("x", "test"), progress=False)
    with pytest.raises(FaultsError, match="manifest does not fit"):
        write_release(tmp_path / "out", Assembled(), ReleaseInfo("a/b", "test"), progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}
    assert build_upstream(raw, tmp_path / "out", SETTINGS, progress=False).manifest["counts"]["videos"] == 12
