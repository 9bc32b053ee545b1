"""The journal: what was appended comes back, whatever happened to its end."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.builders.pipeline import journal as module
from unsafe_video_dataset.builders.pipeline.journal import KEY_BYTES, Journal, decode, encode


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()[:KEY_BYTES]


def filled(folder: Path, numbers: range) -> Journal:
    journal = Journal(folder)
    for number in numbers:
        assert journal.append(key(number), {"number": number, "data": bytes([number % 256]) * 9}) == answer(number)
    journal.close()
    return journal


def answer(number: int) -> dict[str, Any]:
    return {"number": number, "data": bytes([number % 256]) * 9}


def test_values_come_back_as_they_were() -> None:
    narrow = [float(x) for x in np.linspace(-3, 7, 50, dtype=np.float32)]
    values = {
        "none": None, "yes": True, "whole": 2**70, "float": 0.1, "nan": math.nan, "inf": -math.inf, "text": "Ünï\n\U0001f600",
        "bytes": [b"", b"\x00\xff"], "nested": {"a": [{"b": [1, 2.5, None]}]}, "narrow": narrow, "wide": [0.1] * 20,
        "zeros": [-0.0] * 9, "nans": [math.nan] * 9, "large": [1e300] * 9, "mixed": [1, 2.0] * 9, "empty": [],
    }  # fmt: skip
    back = decode(encode(values))
    assert repr(back) == repr(values)
    assert len(encode({"x": narrow * 20})) < 5 * 1000 + 100
    assert decode(encode({"a": np.float32(0.5), "b": np.arange(3), "c": (1, 2), "d": np.bool_(True)})) == {
        "a": 0.5, "b": [0, 1, 2], "c": [1, 2], "d": True,
    }  # fmt: skip


@pytest.mark.parametrize("value", [{1: 2}, {"$bytes": "x"}, {"a": {"$f32": 1}}, {"a": object()}, {"a": {1, 2}}])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_torn_end_is_dropped_wherever_it_tore(tmp_path: Path) -> None:
    filled(tmp_path / "whole", range(3))
    (path,) = (tmp_path / "whole").iterdir()
    third = path.stat().st_size
    filled(tmp_path / "whole", range(3, 4))
    data = path.read_bytes()
    for length in range(third, len(data)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:length])
        found = Journal(folder).read({key(n) for n in range(4)})
        assert found == {key(n): answer(n) for n in range(3)}
        assert (folder / path.name).stat().st_size == third
        journal = Journal(folder)
        journal.append(key(3), answer(3))
        journal.close()
        assert journal.read({key(n) for n in range(4)}) == {key(n): answer(n) for n in range(4)}


def test_a_flipped_bit_ends_the_file_but_gives_no_wrong_answer(tmp_path: Path) -> None:
    filled(tmp_path, range(20))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    wanted = {key(n) for n in range(20)}
    for place in range(0, len(data), 37):
        broken = bytearray(data)
        broken[place] ^= 0x10
        path.write_bytes(broken)
        found = Journal(tmp_path).read(wanted)
        assert found == {key(n): answer(n) for n in range(len(found))}
        assert len(found) < 20


def test_few_files_for_many_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 10_000)
    for start in range(0, 2000, 100):  # twenty runs that were killed
        filled(tmp_path, range(start, start + 100))
    files = sorted(tmp_path.iterdir())
    assert 5 < len(files) < 30
    assert max(path.stat().st_size for path in files) < 11_000
    assert Journal(tmp_path).read({key(5), key(1999), b"x" * KEY_BYTES}) == {key(5): answer(5), key(1999): answer(1999)}
    assert Journal(tmp_path / "nowhere").read({key(1)}) == {}


def test_the_last_answer_of_a_key_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(key(1), answer(1))
    journal.append(key(1), answer(2))
    journal.close()
    assert journal.read([key(1)]) == {key(1): answer(2)}
