"""A release of any number of rows without videos: metadata and manifest only, to see what opening and filtering cost.

    python benchmarks/metadata_twin.py OUT --rows 1000000

Rows are those of the embedded sample, taken again and again with new ids, sources and counts of frames. They hold nothing
of a real video, and no data file is written: `Release.open`, `metadata` and `UnsafeVideoDataset` work, frames do not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from unsafe_video_dataset.records import arrow_schema
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS

ROW_GROUP = 10_000
"""As the builders write metadata at scale."""
SHARES = (0.8, 0.1, 0.1)


def make(out: Path, *, rows: int, seed: int = 0) -> Path:
    """Write the twin into a new folder `out`; the same `rows` and `seed` give the same files."""
    rng = np.random.default_rng(seed)
    sample = Release.open()
    template = sample.metadata(columns=arrow_schema("metadata").names).combine_chunks()
    (out / "data" / "metadata").mkdir(parents=True)
    numbers = [int(rows * share) for share in SHARES]
    numbers[0] += rows - sum(numbers)
    tables = {}
    for split, number in tqdm(zip(SPLITS, numbers, strict=True), total=len(SPLITS), desc="splits", unit="file"):
        table = _rows(template, number, rng)
        tables[split] = table.select(["is_unsafe", "categories", "generator", "prompt_source"])
        path = out / "data" / "metadata" / f"{split}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)
    stones = pa.schema([("video_id", pa.string()), ("reason", pa.string()), ("date", pa.string())])
    pq.write_table(stones.empty_table(), out / "tombstones.parquet", write_page_checksum=True)
    manifest = {**sample.manifest, "name": f"metadata-twin-{rows}", "counts": _counts(sample.manifest["counts"], tables)}
    manifest["configs"] = ["metadata"]
    manifest["files"] = [_entry(out, path) for path in sorted(out.rglob("*.parquet"))]
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return out


def _rows(template: pa.Table, number: int, rng: np.random.Generator) -> pa.Table:
    table = template.take(rng.integers(template.num_rows, size=number)).combine_chunks()
    digests = np.sort(rng.integers(0, 256, (number, 32), dtype=np.uint8).view("S32").ravel())
    sha256 = [digest.hex().ljust(64, "0") for digest in digests.tolist()]  # numpy drops zeros at the end
    ids = pa.array([text[:16] for text in sha256])
    groups = pa.array([f"g{text[:16]}" for text in sha256])
    new = {"video_id": ids, "sha256": pa.array(sha256), "group_id": groups, "source_index": pa.array(range(number), pa.int64())}
    for name, column in new.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def _counts(counts: dict[str, Any], tables: dict[str, pa.Table]) -> dict[str, Any]:
    table = pa.concat_tables(tables.values())
    splits = {name: _unsafe(one) for name, one in tables.items()}
    per_category = np.bincount(table["categories"].combine_chunks().flatten().to_numpy(), minlength=len(CATEGORIES))
    tallies = {
        f"{name}s": {one["values"]: one["counts"] for one in table[name].value_counts().to_pylist()}
        for name in ("generator", "prompt_source")
    }
    return {
        **counts,
        **_unsafe(table),
        **tallies,
        "videos": table.num_rows,
        "groups": table.num_rows,
        "categories": dict(zip(CATEGORIES, per_category.tolist(), strict=True)),
        "splits": splits,
    }


def _unsafe(table: pa.Table) -> dict[str, int]:
    unsafe = int(np.count_nonzero(table["is_unsafe"].to_numpy(zero_copy_only=False)))
    return {"unsafe": unsafe, "not_unsafe": table.num_rows - unsafe}


def _entry(out: Path, path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    rows = pq.read_metadata(path).num_rows
    name = path.relative_to(out).as_posix()
    return {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows}


def main() -> None:
    """Read the arguments and write the twin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(make(given.out, rows=given.rows, seed=given.seed))


if __name__ == "__main__":
    main()
