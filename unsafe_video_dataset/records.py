"""Records and their contract: the JSON Schemas, and the Arrow schemas and `datasets.Features` that follow from them.

In JSON a category is its name; in Parquet it is its class index (`ClassLabel`). `to_table` and `from_table` translate.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args

import jsonschema
import pyarrow as pa

from .errors import Fault, SchemaError, one_of
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
    # Python's floats NaN and infinity are not JSON, so they are not numbers here.
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number",
        lambda _, value: (
            (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and math.isfinite(value))
        ),
    )
    stricter = {"pattern": _pattern, "x-arrow": _in_range}
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, stricter, type_checker=checker)
    return validator(schema(kind))


def _pattern(_: object, pattern: str, value: object, __: object) -> Iterator[jsonschema.ValidationError]:
    """In JSON Schema `$` is the very end; in Python it also matches before a last newline."""
    exact = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(exact, value):
        yield jsonschema.ValidationError("pattern")


def _in_range(_: object, arrow: str, value: object, __: object) -> Iterator[jsonschema.ValidationError]:
    """A whole number must fit the Arrow type that it is stored in."""
    bits = {"int32": 31, "int64": 63}.get(arrow)
    if bits and isinstance(value, (int, float)) and not -(2**bits) <= value < 2**bits:
        yield jsonschema.ValidationError("x-arrow")


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
        message = "unknown " + ", ".join(_short(name, 40) for name in error.instance if name not in error.schema["properties"])
    elif error.validator == "anyOf":
        message = "there is no valid " + " or ".join(_alternatives(error))
    else:
        message = f"found {_found(error.instance, field)}"
    return Fault(file=file, line=line, field=field, message=message, expected=_expectation(error))


def _expectation(error: jsonschema.ValidationError) -> str:
    words = {
        "type": "type", "enum": "one of", "pattern": "text that matches", "minimum": "at least", "maximum": "at most",
        "exclusiveMinimum": "more than", "const": "exactly", "minItems": "items, at least", "maxItems": "items, at most",
        "uniqueItems": "no item twice", "minLength": "length of at least", "maxLength": "length of at most",
    }  # fmt: skip
    if error.validator == "required":
        return "the fields " + ", ".join(error.validator_value)
    if error.validator == "additionalProperties":
        return "only the fields " + ", ".join(error.schema["properties"])
    if error.validator == "anyOf":
        return "a value in " + " or ".join(_alternatives(error))
    if error.validator == "x-arrow":
        return f"a number that fits {error.validator_value}"
    if error.validator in words:
        value = "" if error.validator == "uniqueItems" else f" {json.dumps(error.validator_value)}"
        return f"{words[error.validator]}{value}"
    return f"{error.validator} {_short(error.validator_value)}"


def _alternatives(error: jsonschema.ValidationError) -> list[str]:
    return [f"`{name}`" for option in error.validator_value for name in option["required"]]


def _found(value: object, field: str | None) -> str:
    """What stands there, for a message. Prompts are never shown, so neither is anything that may hold one."""
    if isinstance(value, Mapping):
        return f"an object with {len(value)} fields"
    if isinstance(value, str) and field in (None, "prompt"):
        return f"text of {len(value)} characters"
    return _short(value)


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
    if name not in CATEGORIES:
        raise SchemaError(f"{name!r} is no category. Use {', '.join(CATEGORIES)}.")
    return CATEGORIES.index(name)


def _index_to_name(index: int) -> str:
    return CATEGORIES[index] if 0 <= index < len(CATEGORIES) else str(index)
