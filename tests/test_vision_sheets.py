"""Sheets for a person: blurred, paged, every tile once, odd names and missing frames drawn all the same."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("av")

from PIL import Image

from unsafe_video_dataset.builders.vision.sheets import StripJob, Tile, make_strip, write_sheets
from unsafe_video_dataset.builders.vision.synthetic import encode, resized, scene
from unsafe_video_dataset.errors import UnsupportedVideo
from unsafe_video_dataset.preview import TILE, strip


def strip_of(tmp_path: Path, frames: np.ndarray, *, reveal: bool = False) -> np.ndarray:
    path = tmp_path / "a.mp4"
    path.write_bytes(encode(frames))
    made = make_strip(StripJob(str(path), "s/a.mp4", reveal=reveal))
    return np.asarray(Image.open(io.BytesIO(made["png"]))).astype(float)


def test_a_strip_is_grey_and_blurred_unless_revealed(tmp_path: Path) -> None:
    hidden, clear = strip_of(tmp_path, scene(3)), strip_of(tmp_path, scene(3), reveal=True)
    assert hidden.shape == clear.shape == (TILE + 14, 4 * TILE, 3)
    assert (hidden[14:] == hidden[14:, :, :1]).all()
    inner = slice(20, 14 + TILE - 6), slice(6, TILE - 6)

    def edges(picture: np.ndarray) -> float:
        return float((np.diff(picture[inner].mean(axis=2), axis=1) ** 2).mean())

    assert edges(hidden) < edges(clear) / 20
    assert np.ptp(clear[14:], axis=2).max() > 20


@pytest.mark.parametrize("shape", [(200, 96), (64, 220), (16, 16)])
def test_portrait_wide_and_tiny_frames_keep_their_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    picture = strip_of(tmp_path, resized(scene(1), *shape))[14:, :TILE].mean(axis=2)
    rows, columns = np.nonzero(picture < 250)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.1)


def test_a_file_that_is_no_video_is_refused_before_any_decoder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UnsupportedVideo):
        make_strip(StripJob(str(tmp_path / "a.mp4"), "s/a.mp4"))


def test_one_frame_fills_its_strip() -> None:
    picture = np.asarray(strip(encode(scene(2)[:1]), "one", frames=4))
    assert (picture[14:, :TILE] == picture[14:, 3 * TILE :]).all()


def tiles(count: int) -> list[Tile]:
    return [Tile(f"s/{number}.mp4", ("sharpness 19 (min 20)",)) for number in range(count)]


@pytest.mark.parametrize(("count", "pages"), [(0, 0), (1, 1), (24, 1), (25, 2), (60, 3)])
def test_pages_hold_every_tile_once(tmp_path: Path, count: int, pages: int) -> None:
    names = write_sheets(tmp_path, "near", [("near min_sharpness", tiles(count))], per_page=24)
    assert names == [f"near-{number + 1:03d}.png" for number in range(pages)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_sections_share_a_page_until_it_is_full(tmp_path: Path) -> None:
    sections = [(f"group {number}", tiles(3)) for number in range(10)]
    assert len(write_sheets(tmp_path, "groups", sections, per_page=12)) == 3
    assert write_sheets(tmp_path, "none", []) == []


def test_long_and_odd_names_stay_inside_their_tile(tmp_path: Path) -> None:
    odd = Tile("s/" + "w" * 300 + "\u6ce2.mp4", ("x" * 500, "\u2028\U0001f600"))
    (name,) = write_sheets(tmp_path, "odd", [("h" * 400, [odd, odd])])
    image = Image.open(tmp_path / name)
    assert image.width == 2 * (4 * TILE + 8) + 8
    assert (np.asarray(image)[30:, -6:] == 255).all()


def test_the_same_tiles_give_the_same_bytes(tmp_path: Path) -> None:
    (first,), (second,) = (write_sheets(tmp_path / name, "x", [("h", tiles(3))]) for name in ("a", "b"))
    assert (tmp_path / "a" / first).read_bytes() == (tmp_path / "b" / second).read_bytes()
