"""The tables beside the data of a release, checked against its videos: `folds.parquet` and `candidates.parquet`.

folds       every reviewed video once, and every group and prompt in one fold: else cross-validation leaks
candidates  the raw files that no stage dropped are the videos of the release, each once
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .errors import Fault, IntegrityError
from .parquet import read_file

if TYPE_CHECKING:
    from .records import Record
    from .release import Release

CANDIDATES = "candidates.parquet"
FOLDS = "folds.parquet"
_COLUMNS = {CANDIDATES: {"video_id": pa.string(), "stage": pa.string()}, FOLDS: {"video_id": pa.string(), "fold": pa.int32()}}
_SHOWN = 3


def extra_faults(release: Release, records: Mapping[str, Record]) -> list[Fault]:
    """Every fault of the tables that the release lists. `records` are all its videos by id."""
    listed = {entry["path"] for entry in release.manifest["files"]}
    faults: list[Fault] = []
    for name, check in ((FOLDS, _fold_faults), (CANDIDATES, _candidate_faults)):
        if name not in listed:
            continue
        rows = _rows(release, name, faults)
        if rows is not None:
            faults += check(rows, records)
    return faults


def _rows(release: Release, name: str, faults: list[Fault]) -> list[dict[str, Any]] | None:
    try:
        table = read_file(release.path / name)
    except IntegrityError as error:
        faults.append(Fault(name, f"can't be read: {error.__cause__ or error}".splitlines()[0]))
        return None
    wrong = [
        Fault(name, f"column is {table.schema.field(column).type if column in table.column_names else 'missing'}", field=column)
        for column, kind in _COLUMNS[name].items()
        if column not in table.column_names or table.schema.field(column).type != kind
    ]
    faults += wrong
    return None if wrong else table.select(list(_COLUMNS[name])).to_pylist()


def _fold_faults(rows: list[dict[str, Any]], records: Mapping[str, Record]) -> list[Fault]:
    faults = _id_faults(FOLDS, [row["video_id"] for row in rows], records, "one row a reviewed video")
    faults += [Fault(FOLDS, f"video {row['video_id']} has no fold", field="fold") for row in rows if row["fold"] is None]
    for what, key in (("group", "group_id"), ("prompt", "prompt_id")):
        folds: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            record = records.get(row["video_id"])
            if record is not None and record[key] is not None and row["fold"] is not None:
                folds[record[key]].add(row["fold"])
        faults += [
            Fault(FOLDS, f"{what} {name} is in {', '.join(map(str, sorted(found)))}", field="fold", expected="one fold")
            for name, found in sorted(folds.items())
            if len(found) > 1
        ]
    return faults


def _candidate_faults(rows: list[dict[str, Any]], records: Mapping[str, Record]) -> list[Fault]:
    released = [row["video_id"] for row in rows if row["stage"] is None]
    return _id_faults(CANDIDATES, released, records, "each video of the release as the one raw file that no stage dropped")


def _id_faults(name: str, ids: list[Any], records: Mapping[str, Record], expected: str) -> list[Fault]:
    """Ids that stand twice, that are not of the release, and videos of the release that are not there."""
    twice = sorted(str(id_) for id_, number in Counter(ids).items() if number > 1)
    strange = sorted(str(id_) for id_ in set(ids) - records.keys())
    missing = sorted(records.keys() - set(ids))
    found = (("stand twice", twice), ("are not of the release", strange), ("are missing", missing))
    return [
        Fault(name, f"{len(some)} videos {what} ({_some(some)})", field="video_id", expected=expected)
        for what, some in found
        if some
    ]


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
