"""The values in a table against the JSON Schema of its records, a column at a time: quick enough for every read.

`records.validate` looks at rows one by one and lists all faults, for `verify`. This stops at the first, so that no code
after it meets a null id, a class index that is none, or a negative number of frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .columns import fixed_bytes
from .errors import SchemaError
from .records import Kind, schema
from .taxonomy import CATEGORIES

_HEX = re.compile(r"\^([a-z]*)\[0-9a-f\]\{(\d+)\}\$")
_AT_ONCE = 1 << 12  # texts whose letters stay in the processor's cache while they are looked at


def check_values(kind: Kind, table: pa.Table, place: Path) -> None:
    """Raise `SchemaError` where a column holds a null or a value that the schema of `kind` does not allow."""
    properties = schema(kind)["properties"]
    for name in table.column_names:
        if name in properties and not properties[name].get("x-media"):
            for chunk in table[name].chunks:
                fault = _fault(properties[name], chunk)
                if fault:
                    raise SchemaError(
                        f"{place}: column {name} holds {fault}. `verify` lists what is wrong; get the release anew."
                    )


def _fault(node: Mapping[str, Any], array: pa.Array) -> str | None:
    if array.null_count:
        if "null" not in node.get("type", ()):
            return "a null"
        array = array.drop_null()
    if not len(array):
        return None
    if pa.types.is_dictionary(array.type):  # a look at each name, not at each row; one that no row uses is none of its values
        return _fault(node, array.dictionary) and _fault(node, array.dictionary.take(pc.unique(array.indices)))
    if node.get("x-class-label"):
        bounds = pc.min_max(array)
        inside = bounds["min"].as_py() >= 0 and bounds["max"].as_py() < len(CATEGORIES)
        return None if inside else "a class index that is no category"
    if "items" in node:
        return _fault(node["items"], array.flatten())
    if "properties" in node:
        faults = (_fault(child, pc.struct_field(array, name)) for name, child in node["properties"].items())
        return next((fault for fault in faults if fault), None)
    if pa.types.is_string(array.type):
        return _text_fault(node, array)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return _number_fault(node, array)
    return None


def _text_fault(node: Mapping[str, Any], array: pa.Array) -> str | None:
    if _is_hex(node.get("pattern", ""), array):
        return None
    if "enum" in node or "pattern" in node:
        array = pc.unique(array)  # names: few, and each on very many rows
    fits = [pc.is_in(array, value_set=pa.array(node["enum"], pa.string()))] if "enum" in node else []
    if "pattern" in node:
        fits.append(pc.match_substring_regex(array, node["pattern"].removesuffix("$") + r"\z"))
    if "maxLength" in node:
        fits.append(pc.less_equal(pc.utf8_length(array), node["maxLength"]))
    return None if all(pc.all(fit).as_py() for fit in fits) else "text of a kind that it may not"


def _is_hex(pattern: str, array: pa.Array) -> bool:
    """Whether the pattern is one of ids (`^g[0-9a-f]{16}$`) and all texts fit it; False says nothing."""
    found = _HEX.fullmatch(pattern)
    if found is None:
        return False
    start, digits = found[1].encode(), int(found[2])
    texts = fixed_bytes(array, len(start) + digits)
    if texts is None:
        return False
    letters = texts.view(np.uint8).reshape(len(texts), -1)
    first = np.frombuffer(start, np.uint8)
    return all(
        _fits(letters[row : row + _AT_ONCE, : len(start)], letters[row : row + _AT_ONCE, len(start) :], first)
        for row in range(0, len(texts), _AT_ONCE)
    )


def _fits(head: npt.NDArray[np.uint8], tail: npt.NDArray[np.uint8], start: npt.NDArray[np.uint8]) -> bool:
    hex_digit = (tail - np.uint8(ord("0")) < 10) | (tail - np.uint8(ord("a")) < 6)  # uint8 wraps: below is far above
    return bool((head == start).all() and hex_digit.all())


def _number_fault(node: Mapping[str, Any], array: pa.Array) -> str | None:
    if pa.types.is_floating(array.type) and not pc.all(pc.is_finite(array)).as_py():
        return "a number that is not finite"
    bounds = pc.min_max(array)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    fits = least >= node.get("minimum", least) and most <= node.get("maximum", most)
    fits = fits and least > node.get("exclusiveMinimum", least - 1)
    return None if fits else "a number out of its range"
