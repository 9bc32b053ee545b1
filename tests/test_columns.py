"""Columns as sequences: like lists, but for what they take."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pyarrow as pa
import pytest

from unsafe_video_dataset.columns import Texts, all_differ, encoded, fixed_bytes, lines_sha256, list_parents

LIST = ["b", "a", None, "c", "a"]


@pytest.mark.parametrize("column", [pa.array(LIST), pa.chunked_array([LIST[:2], LIST[2:]]), pa.array(["x", *LIST]).slice(1)])
def test_it_is_like_a_list(column: pa.Array) -> None:
    texts = Texts(column)
    assert len(texts) == 5
    assert list(texts) == LIST == texts
    assert [texts[index] for index in range(-5, 5)] == LIST * 2
    assert texts[np.int64(1)] == "a"
    for cut in (slice(1, 3), slice(None, None, -2), slice(4, 1), slice(-2, None)):
        assert texts[cut] == LIST[cut]
    assert "c" in texts
    assert None in texts
    assert "d" not in texts
    assert 3 not in texts
    assert texts.index("a") == 1
    assert texts.index("a", 2) == 4
    assert texts.index(None) == 2
    assert texts.count("a") == 2
    for wrong in (("d",), ("b", 1), ("a", 2, 4)):
        with pytest.raises(ValueError, match="not in the column"):
            texts.index(*wrong)
    for wrong_index in (5, -6):
        with pytest.raises(IndexError, match="5 rows"):
            texts[wrong_index]
    with pytest.raises(TypeError):
        texts["a"]  # type: ignore[call-overload]
    assert texts != LIST[:4]
    assert texts != [*LIST[:4], "z"]
    assert texts == Texts(pa.array(LIST))
    assert texts != 3
    assert pickle.loads(pickle.dumps(texts)) == texts
    assert repr(texts) == "<5 texts: 'b', 'a', None, …>"


def test_parents_of_list_elements() -> None:
    lists = pa.array([[1, 2], [], [3]])
    assert list_parents(lists).tolist() == [0, 0, 2]
    assert list_parents(pa.array([[9], *lists.to_pylist()]).slice(1)).tolist() == [0, 0, 2]


def test_fixed_bytes() -> None:
    found = fixed_bytes(pa.array(["zz", "ab", "cd"]).slice(1), 2)
    assert found is not None
    assert found.tolist() == [b"ab", b"cd"]
    for other in (["ab", "c"], ["abc", "d"], ["ab", None], []):
        assert fixed_bytes(pa.array(other, pa.string()), 2) is None


@pytest.mark.parametrize(
    ("ids", "differ"),
    [
        (["0" * 16, "0" * 15 + "1", "f" * 16], True),
        (["f" * 16, "0" * 16], True),  # not in order, and yet not twice
        (["0" * 16, "0" * 16], False),
        (["f" * 16, "0" * 16, "f" * 16], False),
        (["00000000ffffffff", "0000000100000000", "0000000100000000"], False),
        (["1", "22", "1"], False),
        (["1"], True),
        ([], True),
    ],
)
def test_all_differ(ids: list[str], differ: bool) -> None:
    assert all_differ(pa.chunked_array([ids[:1], ids[1:]], pa.string()), 16) is differ


@pytest.mark.parametrize("texts", [["0a", "1b", "2c"], ["g1", "longer", ""], ["é", "zz"], ["x"]])
def test_texts_as_bytes_and_the_hash_of_their_lines(texts: list[str]) -> None:
    expected = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    for given in (texts, Texts(pa.array(texts)), Texts(pa.array(["left out", *texts]).slice(1))):
        found = encoded(given)
        assert found.tolist() == [text.encode() for text in texts]
        assert lines_sha256(found) == expected
    assert lines_sha256(encoded([])) == hashlib.sha256().hexdigest()
