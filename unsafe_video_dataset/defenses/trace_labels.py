"""What is unsafe in a recorded video: what a labeller said about its frames, or a table joined by id, never by position."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import Fault, FaultsError, InputError
from ..taxonomy import CATEGORIES

KEYS = ("sample_id", "video_id")
UNSAFE = "unsafe"
"""The category of a label that names none."""

Labels = Mapping[str, Sequence[str]]
AnyLabels: TypeAlias = "pa.Table | Labels | str | os.PathLike[str]"


def categories_of(answer: object) -> list[str]:
    """The categories in what a labeller said, sorted: names, a mapping of name to bool, or a bool (the category `unsafe`).

    An empty answer is a safe video. Raises `InputError` on anything else, None among them: not labelled is not safe.
    """
    if hasattr(answer, "item") and getattr(answer, "ndim", 1) == 0:
        answer = answer.item()
    if isinstance(answer, bool):
        return [UNSAFE] if answer else []
    if isinstance(answer, Mapping):
        if all(isinstance(value, (bool, np.bool_)) for value in answer.values()):
            return sorted(str(name) for name, value in answer.items() if value)
    elif isinstance(answer, Iterable) and not isinstance(answer, (str, bytes)):
        names = list(answer)
        if all(isinstance(name, str) for name in names):
            return sorted(set(names))
    raise InputError(
        f"A labeller gave {type(answer).__name__}. Return the names of the unsafe categories (none for a safe video), a "
        "mapping of name to bool, or a bool."
    )


def read_labels(labels: AnyLabels) -> tuple[str, dict[str, list[str]]]:
    """(key, categories of each id) of a table, a mapping of sample ids, or a file (`.parquet`, `.jsonl`, `.csv`).

    A table has a column `sample_id` or `video_id`, and `categories` (names, class indices of a release, or text with `;`
    between) or `is_unsafe`. A null is no label, and the row is left out.
    Raises `InputError` where these are missing, `FaultsError` that lists the ids with two different labels.
    """
    if isinstance(labels, Mapping):
        return "sample_id", {str(name): categories_of(value) for name, value in labels.items()}
    table = labels if isinstance(labels, pa.Table) else _read(Path(labels))
    key = next((name for name in KEYS if name in table.column_names), None)
    value = next((name for name in ("categories", "is_unsafe") if name in table.column_names), None)
    if key is None or value is None:
        raise InputError(
            f"A label table needs a column sample_id or video_id, and categories or is_unsafe; found: "
            f"{', '.join(table.column_names)}."
        )
    found: dict[str, list[str]] = {}
    faults: list[Fault] = []
    for name, answer in zip(table[key].to_pylist(), table[value].to_pylist(), strict=True):
        if name is None or answer is None:
            continue
        made = _named(answer)
        if found.setdefault(str(name), made) != made:
            faults.append(Fault("labels", "two different labels", field=str(name), expected="one"))
    if faults:
        raise FaultsError("The label table contradicts itself", faults)
    return key, found


def join_labels(index: pa.Table, labels: AnyLabels) -> pa.Table:
    """The index with `categories` from a label table. Samples that the table doesn't name keep what they had.

    Raises `InputError` where no id of the table is in the index.
    """
    key, found = read_labels(labels)
    ids, had = index[key].to_pylist(), index["categories"].to_pylist()
    if not set(found) & set(ids):
        raise InputError(
            f"None of the {len(found)} labelled {key}s is among the {len(set(ids))} recorded ones. Labels are joined by "
            f"{key}; check that they belong to these traces."
        )
    new = [found.get(name, before) if name is not None else before for name, before in zip(ids, had, strict=True)]
    at = index.column_names.index("categories")
    return index.set_column(at, "categories", pa.array(new, pa.list_(pa.string())))


def _named(answer: object) -> list[str]:
    if isinstance(answer, str):  # a CSV cell
        if answer.lower() in ("true", "false"):
            return categories_of(answer.lower() == "true")
        return sorted({part.strip() for part in answer.split(";") if part.strip()})
    if isinstance(answer, list) and answer and all(isinstance(item, int) and 0 <= item < len(CATEGORIES) for item in answer):
        return sorted({CATEGORIES[item] for item in answer})
    return categories_of(answer)


def _read(path: Path) -> pa.Table:
    readers: dict[str, Any] = {".parquet": pq.read_table, ".jsonl": _read_jsonl, ".csv": _read_csv}
    if path.suffix not in readers:
        raise InputError(f"{path} is no label table. Give a .parquet, .jsonl or .csv file.")
    try:
        table: pa.Table = readers[path.suffix](path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} can't be read as a label table ({type(error).__name__}).") from None
    return table


def _read_jsonl(path: Path) -> pa.Table:
    return pa.Table.from_pylist([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", newline="") as file:
        return pa.Table.from_pylist(list(csv.DictReader(file)))
