"""Predictions files: read, check, write. One record a video (`prediction.schema.json`); all faults are reported at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import Fault, FaultsError, InputError
from .records import Record, arrow_schema, validate

Predictions = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
_SHOWN = 10  # ids that a message lists before it goes on with a count


def read_predictions(path: str | os.PathLike[str]) -> list[Record]:
    """Records of `prediction.schema.json` from JSON lines (.jsonl, .json, .ndjson; UTF-8, BOM allowed) or Parquet.

    Fields that are null are left out. Raises `FaultsError` with all faults at once (file, line or Parquet row, field,
    what was expected): invalid lines, records that do not fit, NaN, a `video_id` that stands twice. Raises `InputError`
    where there is no such file or its ending is another.
    """
    return _valid(path)


def write_predictions(path: str | os.PathLike[str], predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write records as JSON lines, sorted by `video_id`; the file appears whole or not at all.

    NumPy numbers are written as plain ones. Raises `FaultsError` as `read_predictions` does; then nothing is written.
    """
    file = Path(path)
    lines = [json.dumps(record) for record in sorted(_valid(predictions), key=lambda record: str(record["video_id"]))]
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes("".join(line + "\n" for line in lines).encode())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def covered(
    predictions: Predictions, rows: list[Record], everything: list[Record], *, target: str, split: str, config: str
) -> list[Record]:
    """Valid records of exactly the videos of `rows`, sorted by `video_id`; else `FaultsError`."""
    file = str(predictions) if isinstance(predictions, (str, os.PathLike)) else "predictions"
    records = {record["video_id"]: record for record in _valid(predictions)}
    wanted = {row["video_id"] for row in rows}
    elsewhere = {row["video_id"] for row in everything} - wanted
    missing, extra = sorted(wanted - set(records)), sorted(set(records) - wanted)
    field = "unsafe_score" if target == "binary" else "scores"
    without = sorted(video_id for video_id, record in records.items() if record.get(field) is None)
    place = f"split {split!r} of config {config!r}"
    faults = []
    if missing:
        found = f"{len(missing)} of the {len(rows)} videos of {place} have no prediction: {_listed(missing)}"
        faults.append(Fault(file, found, field="video_id", expected="one prediction for each video"))
    if extra:
        known = sum(video_id in elsewhere for video_id in extra)
        found = f"{len(extra)} predictions are for videos that are not in {place}: {_listed(extra)}"
        found += f" ({known} of them are elsewhere in the release)" if known else ""
        faults.append(Fault(file, found, field="video_id", expected=f"videos of {place} only"))
    if without:
        found = f"{len(without)} predictions have no `{field}`: {_listed(without)}"
        faults.append(Fault(file, found, field=field, expected=f"`{field}` for target {target!r}"))
    if faults:
        fix = (
            f"Predict every video of {place} once and no other; `Release.metadata({split!r}"
            f"{', is_unsafe=True' if config == 'unsafe' else ''})` lists them. Or evaluate another split or config."
        )
        raise FaultsError("The predictions do not fit the videos", faults, fix=fix)
    return [records[video_id] for video_id in sorted(records)]


def _listed(ids: Sequence[str]) -> str:
    more = f", … and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more


def _valid(predictions: Predictions) -> list[Record]:
    """Records of a file or a list, checked, null fields left out; else `FaultsError` with all faults in line order."""
    faults: list[Fault] = []
    if isinstance(predictions, (str, os.PathLike)):
        path, file, unit = Path(predictions), os.fspath(predictions), "line"
        if not path.is_file():
            raise InputError(f"There is no file of predictions {file!r}. Write one with `write_predictions`.")
        if path.suffix.lower() in (".jsonl", ".json", ".ndjson"):
            numbered = _json_lines(path, faults)
        elif path.suffix.lower() == ".parquet":
            numbered, unit = _parquet_rows(path, faults), "row"
        else:
            raise InputError(f"{file!r} must end in .jsonl, .json, .ndjson (JSON lines) or .parquet.")
    else:
        file, numbered, unit = "predictions", list(enumerate(predictions, start=1)), "record"
    records = [(line, _plain(record)) for line, record in numbered]
    first: dict[str, int] = {}
    for line, record in records:
        video_id = record.get("video_id") if isinstance(record, dict) else None
        if isinstance(video_id, str) and first.setdefault(video_id, line) != line:
            found = f"{video_id} stands a second time, first as {unit} {first[video_id]}"
            faults.append(Fault(file, found, line, "video_id", "each video once"))
    faults += validate("prediction", records, file=file)
    if faults:
        fix = f"Mend these {unit}s; the schema is prediction.schema.json (`unsafe_video_dataset.records.schema`)."
        raise FaultsError(f"{file} has invalid predictions", sorted(faults, key=lambda fault: fault.line or 0), fix=fix)
    return [record for _, record in records]


def _plain(value: Any) -> Any:
    """NumPy scalars as Python numbers; fields that are null are left out of a record."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return value


def _json_lines(path: Path, faults: list[Fault]) -> list[tuple[int, Any]]:
    found = []
    for line, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not data.strip():
            continue
        try:
            found.append((line, json.loads(data.decode(), object_pairs_hook=_once)))
        except (ValueError, RecursionError) as error:
            message = str(error) if not isinstance(error, UnicodeDecodeError) else "not UTF-8"
            faults.append(Fault(str(path), f"invalid JSON: {message}", line, expected="one JSON object a line"))
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def _parquet_rows(path: Path, faults: list[Fault]) -> list[tuple[int, Any]]:
    known = arrow_schema("prediction").names
    try:
        file = pq.ParquetFile(path)
        for name in file.schema_arrow.names:
            if name not in known:
                faults.append(Fault(str(path), "unknown column", field=name, expected=f"columns of {', '.join(known)}"))
        rows = file.read(columns=[name for name in file.schema_arrow.names if name in known]).to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        message = f"unreadable Parquet: {str(error).splitlines()[0]}"
        raise FaultsError(f"{path} has no readable predictions", [Fault(str(path), message)]) from error
    return list(enumerate(rows, start=1))


def predictions_sha256(records: Sequence[Record]) -> str:
    """sha256 of the canonical JSON of records sorted by `video_id`: keys sorted, every score a float, null fields left out."""

    def canonical(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: canonical(item) for key, item in value.items()}
        return value if isinstance(value, str) else float(value) + 0.0  # -0.0 becomes 0.0

    text = json.dumps([canonical(record) for record in records], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
