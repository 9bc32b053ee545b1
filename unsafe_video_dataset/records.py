"""Records and their contract: the JSON Schemas, and the Arrow schemas and `datasets.Features` that follow from them.

In JSON a category is its name; in Parquet it is its class index (`ClassLabel`). `to_table` and `from_table` translate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args

import jsonschema
import pyarrow as pa

from .errors import Fault, one_of
from .taxonomy import CATEGORIES

if TYPE_CHECKING:
    import datasets

Kind = Literal["video", "annotation", "prompt", "manifest", "prediction"]
Table = Literal["video", "metadata", "annotation", "prediction"]
Record = dict[str, Any]

SCHEMA_VERSION = "1.0.0"
_SCHEMA_PACKAGE = "unsafe_video_dataset.schema"


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record kind, as a dict. Raises `FilterError` for an unknown kind."""
    one_of(kind, get_args(Kind), "kind")
    text = resources.files(_SCHEMA_PACKAGE).joinpath(f"{kind}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator(kind: Kind) -> jsonschema.Draft202012Validator:
    # A Python float NaN passes `minimum` and `maximum`: it is not JSON, so it is not a number here either.
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number", lambda _, value: isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
    return validator(schema(kind))


def validate(kind: Kind, records: Iterable[tuple[int | None, Mapping[str, Any]]], *, file: str) -> list[Fault]:
    """Check every `(line, record)` against the schema of `kind` and return all faults, in order; empty when all fit."""
    faults: list[Fault] = []
    for line, record in records:
        for error in sorted(_validator(kind).iter_errors(record), key=lambda error: [str(part) for part in error.path]):
            faults.append(_fault(error, file=file, line=line))
    return faults


def _fault(error: jsonschema.ValidationError, *, file: str, line: int | None) -> Fault:
    field = ".".join(str(part) for part in error.absolute_path) or None
    if error.validator == "required":
        message = f"{error.message.split(' is ')[0]} is missing"
    elif error.validator == "additionalProperties":
        message = error.message
    else:
        message = f"found {_short(error.instance)}"
    return Fault(file=file, line=line, field=field, message=message, expected=_expectation(error))


def _expectation(error: jsonschema.ValidationError) -> str:
    words = {
        "type": "type", "enum": "one of", "pattern": "text that matches", "minimum": "at least", "maximum": "at most",
        "exclusiveMinimum": "more than", "const": "exactly", "minItems": "items, at least", "maxItems": "items, at most",
        "uniqueItems": "no item twice", "minLength": "length of at least", "maxLength": "length of at most",
    }  # fmt: skip
    if error.validator == "required":
        return "the fields " + ", ".join(error.validator_value)
    if error.validator in words:
        value = "" if error.validator == "uniqueItems" else f" {json.dumps(error.validator_value)}"
        return f"{words[error.validator]}{value}"
    return f"{error.validator} {_short(error.validator_value)}"


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- Arrow -----------------------------------------------------------------------------------------------------------


def _arrow_type(node: Mapping[str, Any]) -> pa.DataType:
    if "x-arrow" in node:
        return getattr(pa, "bool_" if node["x-arrow"] == "bool" else node["x-arrow"])()
    if "items" in node:
        return pa.list_(_arrow_type(node["items"]))
    return pa.struct([(name, _arrow_type(child)) for name, child in node["properties"].items()])


def _columns(table: Table, split: bool) -> dict[str, Mapping[str, Any]]:
    one_of(table, get_args(Table), "table")
    properties = schema("video" if table == "metadata" else table)["properties"]
    return {
        name: node
        for name, node in properties.items()
        if not (table == "metadata" and node.get("x-media")) and (split or not node.get("x-table-only"))
    }


@cache
def arrow_schema(table: Table, *, split: bool = False) -> pa.Schema:
    """Arrow schema of a table of records.

    `video` is a data file's table with MP4 bytes, `metadata` the same without the `video` column. `split` adds the column
    that tables over several splits carry. Category names are `int64` class indices (see `taxonomy.CATEGORIES`).
    """
    return pa.schema([(name, _arrow_type(node)) for name, node in _columns(table, split).items()])


def features(table: Table, *, split: bool = False) -> datasets.Features:
    """`datasets.Features` of a table; agrees with `arrow_schema`. The `video` column is `Video(decode=False)`.

    It is not decoded by `datasets`, because its decoder opens any path that stands in a cell; see `hf.load_dataset`.
    """
    import datasets

    return datasets.Features({name: _feature(name, node) for name, node in _columns(table, split).items()})


def _feature(name: str, node: Mapping[str, Any]) -> Any:
    import datasets

    if node.get("x-media"):
        return datasets.Video(decode=False)
    if node.get("x-class-label"):
        return datasets.ClassLabel(names=list(CATEGORIES))
    if "x-arrow" in node:
        return datasets.Value(node["x-arrow"])
    if "items" in node:
        return datasets.List(_feature(name, node["items"]))
    return {key: _feature(key, child) for key, child in node["properties"].items()}


def to_table(table: Table, records: Sequence[Mapping[str, Any]], *, split: bool = False) -> pa.Table:
    """Records (category names) as an Arrow table (class indices) with exactly the columns of `arrow_schema(table)`."""
    columns = _columns(table, split)
    rows = [{name: _translate(node, row.get(name), _name_to_index) for name, node in columns.items()} for row in records]
    return pa.Table.from_pylist(rows, schema=arrow_schema(table, split=split))


def from_table(table: Table, rows: pa.Table) -> list[Record]:
    """Rows of an Arrow table as JSON records: class indices become names. The columns present are kept."""
    columns = _columns(table, True)
    return [
        {name: _translate(columns.get(name, {}), value, _index_to_name) for name, value in row.items()}
        for row in rows.to_pylist()
    ]


def _translate(node: Mapping[str, Any], value: Any, rename: Any) -> Any:
    if value is None:
        return None
    if node.get("x-class-label"):
        return rename(value)
    if "items" in node:
        return [_translate(node["items"], item, rename) for item in value]
    if "properties" in node and "x-arrow" not in node:
        return {key: _translate(child, value.get(key), rename) for key, child in node["properties"].items()}
    return value


def _name_to_index(name: str) -> int:
    return CATEGORIES.index(name)


def _index_to_name(index: int) -> str:
    return CATEGORIES[index] if 0 <= index < len(CATEGORIES) else str(index)
