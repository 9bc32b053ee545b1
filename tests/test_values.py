"""Values of columns: ids are looked at byte by byte, several at once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from unsafe_video_dataset import values
from unsafe_video_dataset.errors import SchemaError


@pytest.mark.parametrize("letter", [*"/:`gGA \x00\x7f", "é", "Z"])
@pytest.mark.parametrize("at_once", [1, 3, 4096])
def test_an_id_with_one_letter_that_is_no_hex_digit(letter: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_AT_ONCE", at_once)
    good = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(7)]
    values.check_values("video", pa.table({"video_id": good}), Path("x"))
    values.check_values("video", pa.table({"group_id": [f"g{one}" for one in good]}), Path("x"))
    for place in (0, 6):
        bad = [one if index != place else one[:15] + letter for index, one in enumerate(good)]
        for name, ids in (("video_id", bad), ("group_id", [f"g{one}" for one in bad])):
            with pytest.raises(SchemaError, match=f"column {name}"):
                values.check_values("video", pa.table({name: ids}), Path("x"))


def test_names_of_a_dictionary_that_no_row_uses_are_none_of_its_values() -> None:
    indices = pa.array([0, 0, None], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["4chan", "x" * 100_000]))
    values.check_values("video", pa.table({"prompt_source": column}), Path("x"))
    with pytest.raises(SchemaError, match="prompt_source"):
        values.check_values(
            "video",
            pa.table({"prompt_source": pa.DictionaryArray.from_arrays(pa.array([1], pa.int32()), column.dictionary)}),
            Path("x"),
        )
