"""One decoded clip as a file: it comes back as it went in, and nothing else comes back at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from unsafe_video_dataset.clip_file import ClipKey, clip_key, file_bytes, read_clip, write_clip

KEY = clip_key("ab" * 32, [0, 2], (4, 6), "a decoder")
CLIP = np.arange(2 * 3 * 4 * 6, dtype=np.uint8).reshape(2, 3, 4, 6)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "clip"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    write_clip(file, KEY, CLIP)
    os.close(file)
    return path


def read(path: Path, key: ClipKey = KEY, out: np.ndarray | None = None) -> np.ndarray | None:
    file = os.open(path, os.O_RDONLY)
    try:
        return read_clip(file, key, out)
    finally:
        os.close(file)


def test_a_clip_comes_back(stored: Path) -> None:
    assert stored.stat().st_size == file_bytes(CLIP)
    found = read(stored)
    assert found is not None
    assert np.array_equal(found, CLIP)
    place = np.empty_like(CLIP)
    assert read(stored, out=place) is place
    assert np.array_equal(place, CLIP)


def test_another_key_another_shape_and_damage_give_nothing(stored: Path) -> None:
    assert read(stored, clip_key("ab" * 32, [0, 2], (4, 6), "another decoder")) is None
    assert read(stored, out=np.empty((2, 3, 6, 4), np.uint8)) is None
    whole = stored.read_bytes()
    for changed in (b"", whole[:20], whole[:-1], whole + b"0", whole[:-1] + bytes([whole[-1] ^ 1]), b"0" + whole[1:]):
        stored.write_bytes(changed)
        assert read(stored) is None


def test_all_that_decides_the_pixels_is_in_the_key() -> None:
    keys = {
        clip_key(sha256, indices, size, version).digest
        for sha256 in ("ab" * 32, "cd" * 32)
        for indices in ([0, 2], [2, 0], [0])
        for size in ((4, 6), None)
        for version in ("1", "2")
    }
    assert len(keys) == 24
