"""Write a release folder: Parquet files, card, datasheet, Croissant, tombstones, and last the manifest.

Same records, settings and pyarrow version: the same bytes. There is no clock and no absolute path in any file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from unsafe_video_dataset.errors import ChecksumError, FaultsError
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.records import SCHEMA_VERSION, Record, features, to_table, validate
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS, TAXONOMY_VERSION

from .assemble import Assembled
from .card import write_card
from .croissant import write_croissant
from .datasheet import write_datasheet
from .folder import new_folder

ROW_GROUP = 16
METADATA_ROW_GROUP = 10_000
MAX_SHARD_BYTES = 500_000_000
_FILE_OVERHEAD = 65_536  # more than a footer and the last row group's page headers take
_ROW_OVERHEAD = 1_024

Video = tuple[Record, Callable[[], bytes]]


@dataclass
class ReleaseInfo:
    """What a release says of itself beyond its records. `inputs` are `{"path", "bytes", "sha256"}` of the raw files.

    `extras` are tables that a builder adds beside the data, by file name (see `extras.py`); they hold no media and no prompt.
    `datasheet` is the owner's own text, with markers for the figures; None: ours.
    """

    name: str
    builder: str
    release_version: str = "1.0"
    license: str | None = None
    harmless: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    created_by: dict[str, str] = field(default_factory=dict)
    tombstones: list[dict[str, str]] = field(default_factory=list)
    extras: dict[str, pa.Table] = field(default_factory=dict)
    datasheet: str | None = None


def write_release(
    out: Path, assembled: Assembled, info: ReleaseInfo, *, overwrite: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Write the release and return its manifest. The folder appears whole or not at all.

    Raises `FaultsError` for records that don't fit the schema, `InputError` for an `out` that may not be replaced,
    `ChecksumError` if a raw video changed since it was probed.
    """
    if assembled.faults:
        raise FaultsError("The records do not fit the schema; nothing was written", assembled.faults)
    with (
        new_folder(out, overwrite=overwrite) as folder,
        tqdm(total=len(assembled.videos), desc="writing", unit="video", disable=not progress) as bar,
    ):
        for split in SPLITS:
            videos = [video for video in assembled.videos if video[0]["split"] == split]
            for part, unsafe in (("unsafe", True), ("not_unsafe", False)):
                chosen = [video for video in videos if video[0]["is_unsafe"] is unsafe]
                _write_videos(folder / "data" / part, split, chosen, bar)
            _write_table(folder / "data" / "metadata" / f"{split}.parquet", "metadata", [record for record, _ in videos])
            if assembled.annotations:
                rows = [record for record in assembled.annotations if record["split"] == split]
                _write_table(folder / "data" / "annotations" / f"{split}.parquet", "annotation", rows)
        _write_tombstones(folder / "tombstones.parquet", info.tombstones)
        for name, table in sorted(info.extras.items()):
            pq.write_table(table.combine_chunks(), folder / name, compression="zstd", write_page_checksum=True)
        manifest = _manifest(assembled, info)
        write_card(folder, manifest, info_license=info.license, harmless=info.harmless)
        write_datasheet(folder, manifest, info_license=info.license, template=info.datasheet)
        write_croissant(folder, manifest, _files(folder), info_license=info.license)
        manifest["files"] = _files(folder)
        faults = validate("manifest", [(None, manifest)], file="manifest.json")
        if faults:
            raise FaultsError("The manifest does not fit its schema; nothing was written", faults)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (folder / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def _write_videos(folder: Path, split: str, videos: Sequence[Video], bar: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(videos)
    schema = features("video").arrow_schema
    others = [name for name in schema.names if name != "video"]
    for number, shard in enumerate(shards):
        path = folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        with pq.ParquetWriter(
            path,
            schema,
            compression={
                "video.bytes": "none",
                **{column: "zstd" for column in _leaves(schema) if column != "video.bytes"},
            },
            use_dictionary=[column for column in _leaves(schema) if column.split(".")[0] in others],
            write_page_checksum=True,
            write_statistics=["video_id"],
        ) as writer:
            for start in range(0, len(shard), ROW_GROUP):  # no videos: no row group; `datasets` can't read one of 0 rows
                rows = [_with_bytes(record, read) for record, read in shard[start : start + ROW_GROUP]]
                writer.write_table(to_table("video", rows).cast(schema).combine_chunks(), row_group_size=ROW_GROUP)
                bar.update(len(rows))


def _shards(videos: Sequence[Video]) -> list[list[Video]]:
    """Consecutive runs of videos (sorted by id) that make files of at most `MAX_SHARD_BYTES`; an empty run for no videos."""
    shards: list[list[Video]] = [[]]
    size = _FILE_OVERHEAD
    for video in videos:
        own = video[0]["num_bytes"] + len(json.dumps(video[0])) + _ROW_OVERHEAD
        if shards[-1] and size + own > MAX_SHARD_BYTES:
            shards.append([])
            size = _FILE_OVERHEAD
        shards[-1].append(video)
        size += own
    return shards


def _with_bytes(record: Record, read: Callable[[], bytes]) -> Record:
    data = read()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise ChecksumError(f"Raw video {record['source_index']} changed while the release was built. Build again.")
    return {**record, "video": {"bytes": data, "path": f"{record['video_id']}.mp4"}}


def _write_table(path: Path, table: Any, records: Sequence[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = to_table(table, records).cast(features(table).arrow_schema).combine_chunks()
    with pq.ParquetWriter(path, rows.schema, compression="zstd", write_page_checksum=True) as writer:
        if rows.num_rows:
            writer.write_table(rows, row_group_size=METADATA_ROW_GROUP)


def _write_tombstones(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    schema = pa.schema([("video_id", pa.string()), ("reason", pa.string()), ("date", pa.string())])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, write_page_checksum=True)


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the leaf columns, as `compression` and `use_dictionary` want them."""
    parquet = pq.ParquetFile(pa.BufferReader(_empty_file(schema))).schema
    return [parquet.column(number).path for number in range(len(parquet.names))]


def _empty_file(schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return sink.getvalue()


def _files(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
            "rows": pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _manifest(assembled: Assembled, info: ReleaseInfo) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("unsafe-video-dataset", "pyarrow")}
    configs = ["unsafe", "reviewed", "metadata"] + (["annotations"] if assembled.annotations else [])
    return {
        "schema_version": SCHEMA_VERSION,
        "taxonomy_version": TAXONOMY_VERSION,
        "name": info.name,
        "release_version": info.release_version,
        "builder": info.builder,
        "created_by": {**versions, **info.created_by},
        "settings": {**info.settings, **({"harmless": True} if info.harmless else {})},
        "inputs": info.inputs,
        "left_out": assembled.left_out,
        "configs": configs,
        "counts": counts(assembled),
    }


def is_harmless(manifest: Mapping[str, Any]) -> bool:
    """Whether a release says that it shows moving shapes only: it needs no gate."""
    return manifest["settings"].get("harmless") is True


def counts(assembled: Assembled) -> dict[str, Any]:
    """What a release holds, as in the manifest."""
    records = [record for record, _ in assembled.videos]
    unsafe = [record for record in records if record["is_unsafe"]]
    return {
        "videos": len(records),
        "unsafe": len(unsafe),
        "not_unsafe": len(records) - len(unsafe),
        "prompts": len({record["prompt_id"] for record in records} - {None}),
        "groups": len({record["group_id"] for record in records}),
        "raters": len({record["rater_id"] for record in assembled.annotations}),
        "votes": len(assembled.annotations),
        "ties": assembled.ties,
        "categories": {name: sum(name in record["categories"] for record in records) for name in CATEGORIES},
        "generators": _tally(records, "generator"),
        "prompt_sources": _tally(records, "prompt_source"),
        "splits": {
            split: {
                key: sum(record["split"] == split and record["is_unsafe"] is value for record in records)
                for key, value in (("unsafe", True), ("not_unsafe", False))
            }
            for split in SPLITS
        },
        "votes_left_out": dict(sorted(assembled.votes_left_out.items())),
    }


def _tally(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    return dict(sorted(Counter(record[key] or "not_stated" for record in records).items()))
