"""A sidecar of a folder of videos, CSV or JSONL: what is known of each file. Every fault is collected, none raised.

`file` (the path in the folder) and any of prompt, prompt_source, generator, source_index, num_inference_steps,
guidance_scale, seed, scheduler. Empty cells and nulls are "not stated". Other columns are named, not used.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.records import validate

from .group import prompt_id
from .raw import read_rows, read_text
from .settings import GENERATION

TEXTS = ("prompt", "prompt_source", "generator")
COLUMNS = ("file", *TEXTS, "source_index", *GENERATION)
_KINDS: dict[str, type] = {**dict.fromkeys(("file", *TEXTS), str), "source_index": int, **GENERATION}
_SAID = {int: "a whole number", float: "a finite number", str: "a text"}


@dataclass
class Sidecar:
    """File (as `key` has it) -> its known values by column; the line of each; columns that mean nothing here."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def key(file: str) -> str:
    """How a path in a folder is compared: `/` between parts, no `./`, Unicode NFC."""
    return unicodedata.normalize("NFC", PurePosixPath(file).as_posix())


def read_sidecar(path: Path, *, name: str) -> Sidecar:
    """Read a sidecar; `name` is what faults call it. Raises `InputError` for no file."""
    text, faults = read_text(path)
    sidecar = Sidecar(faults=[Fault(name, fault.message, fault.line, fault.field, fault.expected) for fault in faults])
    if path.suffix.lower() == ".jsonl":
        rows = _json_rows(text, name, sidecar)
    elif path.suffix.lower() == ".csv":
        rows = _csv_rows(text, name, sidecar)
    else:
        sidecar.faults.append(Fault(name, f"ends in {path.suffix!r}", expected=".csv or .jsonl"))
        return sidecar
    for line, row in rows:
        _take(sidecar, name, line, row)
    return sidecar


def _csv_rows(text: str, name: str, sidecar: Sidecar) -> Iterator[tuple[int, dict[str, Any]]]:
    rows, faults = read_rows(text, file=name)
    sidecar.faults += [Fault(name, fault.message, fault.line, fault.field, fault.expected) for fault in faults]
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in rows[0][1]] if rows else []
    twice = sorted({column for column in header if column in COLUMNS and header.count(column) > 1})
    if "file" not in header or twice:
        found = f"{', '.join(twice)} stands twice" if twice else "no column `file`"
        sidecar.faults.append(Fault(name, found, line=1, expected=f"a header with file and any of {', '.join(COLUMNS[1:])}"))
        return
    sidecar.ignored = sorted({column for column in header if column not in COLUMNS})
    for line, cells in rows[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            sidecar.faults.append(Fault(name, f"{len(cells)} cells", line=line, expected=str(len(header))))
            continue
        yield line, {column: cell for column, cell in zip(header, cells, strict=True) if column in COLUMNS and cell.strip()}


def _json_rows(text: str, name: str, sidecar: Sidecar) -> Iterator[tuple[int, dict[str, Any]]]:
    ignored: set[str] = set()
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            value = json.loads(row)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            sidecar.faults.append(Fault(name, "not a JSON object", line=line, expected='{"file": "…", …} on one line'))
            continue
        ignored.update(column for column in value if column not in COLUMNS)
        yield line, {column: one for column, one in value.items() if column in COLUMNS and one not in (None, "")}
    sidecar.ignored = sorted(ignored)


def _take(sidecar: Sidecar, name: str, line: int, row: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {}
    for column, value in row.items():
        try:
            values[column] = _value(value, _KINDS[column])
        except ValueError:
            shown = "" if column == "prompt" else f"{value!r:.40} is "
            fault = Fault(name, f"{shown}not {_SAID[_KINDS[column]]}", line=line, field=column, expected=_SAID[_KINDS[column]])
            sidecar.faults.append(fault)
    file = values.pop("file", None)
    if file is None:
        if "file" not in row:
            sidecar.faults.append(Fault(name, "missing", line=line, field="file", expected="the path of a video in the folder"))
        return
    file = key(file)
    if file in sidecar.rows:
        message = f"{file[:80]!r} stands twice (first in line {sidecar.lines[file]})"
        sidecar.faults.append(Fault(name, message, line=line, field="file", expected="each file once"))
        return
    sidecar.rows[file], sidecar.lines[file] = values, line
    sidecar.faults += _schema_faults(values, name, line)


def _value(value: Any, kind: type) -> Any:
    if kind is str:
        if not isinstance(value, str):
            raise ValueError
        value.encode()  # half a surrogate pair, which JSON can write, is no text
        return value
    if isinstance(value, str):
        value = value.strip()
        if kind is int and value.endswith(".0"):  # what spreadsheets and pandas make of whole numbers beside empty cells
            value = value[:-2]
        number = kind(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or (kind is int and not isinstance(value, int)):
        raise ValueError
    else:
        number = kind(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _schema_faults(values: Mapping[str, Any], name: str, line: int) -> list[Fault]:
    """What does not fit the records of a release. Messages carry no prompt."""
    generation = {column: values.get(column) for column in GENERATION}
    record = {column: values[column] for column in ("generator", "prompt_source", "source_index") if column in values}
    found = validate("video", [(line, {**record, "generation": generation})], file=name)
    faults = [
        Fault(name, fault.message, line, (fault.field or "").removeprefix("generation."), fault.expected)
        for fault in found
        if fault.field and fault.field.split(".")[0] in (*record, "generation")
    ]
    if "prompt" in values:
        prompt = values["prompt"]
        record = {"prompt_id": prompt_id(prompt), "prompt": prompt, "prompt_source": None, "source_index": 0}
        if validate("prompt", [(line, record)], file=name):
            faults.append(Fault(name, "blank, or not plain text", line=line, field="prompt", expected="text"))
    return faults
