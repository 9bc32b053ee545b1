"""Pictures of a release: nothing to recognise unless it is asked for, ids only, nothing from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

pytest.importorskip("PIL")

from unsafe_video_dataset import contact_sheet
from unsafe_video_dataset.errors import FilterError, TombstonedError
from unsafe_video_dataset.preview import TILE
from unsafe_video_dataset.release import Release


def tile(sheet: Any) -> np.ndarray:
    """The first frame on a sheet of one video, without its frame and label."""
    pixels = np.asarray(sheet).astype(float)
    return pixels[6 + 14 : 6 + 14 + TILE, 6 : 6 + TILE]


def edges(pixels: np.ndarray) -> float:
    """Energy of the differences between neighbouring pixels, without the tile's border."""
    inner = pixels[2:-2, 2:-2].mean(axis=2)
    return float((np.diff(inner, axis=0) ** 2).mean() + (np.diff(inner, axis=1) ** 2).mean())


def test_frames_are_grey_and_blurred_unless_revealed(sample: Release) -> None:
    colours = []
    for video_id in releases.ids(sample, "test")[:6]:
        hidden = tile(contact_sheet(sample, [video_id], frames=2))
        clear = tile(contact_sheet(sample, [video_id], frames=2, reveal=True))
        assert (hidden == hidden[..., :1]).all()
        colours.append(np.ptp(clear, axis=2).max())
        assert edges(hidden) < edges(clear) / 30
        assert np.abs(np.diff(hidden[..., 0], axis=1)).max() < 8
        spectrum = np.abs(np.fft.fft2(hidden[..., 0] - hidden[..., 0].mean()))
        high = spectrum[TILE // 8 : -TILE // 8, TILE // 8 : -TILE // 8]
        assert (high**2).sum() < 0.01 * (spectrum**2).sum()
    assert max(colours) > 20


def test_a_sheet_has_a_place_for_each_video(sample: Release) -> None:
    ids = releases.ids(sample, "test")[:5]
    sheet = contact_sheet(sample, ids, frames=3, columns=2)
    assert sheet.mode == "RGB"
    assert sheet.size == (6 + 2 * (3 * TILE + 6), 6 + 3 * (TILE + 14 + 6))
    assert contact_sheet(sample, ids[:1], columns=9).size == contact_sheet(sample, ids[:1], columns=1).size
    assert np.array_equal(np.asarray(sheet), np.asarray(contact_sheet(sample, ids, frames=3, columns=2)))


def test_videos_that_are_not_square_and_short(small: Path) -> None:
    release = Release.open(small)
    assert contact_sheet(release, releases.ids(release)[:2], frames=6).size[0] > 6 * TILE


@pytest.mark.parametrize(
    "given", [{"video_ids": []}, {"frames": 0}, {"columns": 0}, {"video_ids": ["0" * 16]}, {"columns": -1}]
)
def test_what_makes_no_sheet(sample: Release, given: dict[str, Any]) -> None:
    ids = given.pop("video_ids", releases.ids(sample)[:1])
    with pytest.raises(FilterError):
        contact_sheet(sample, ids, **given)


def test_a_withdrawn_video_is_not_shown(copy: Path) -> None:
    from test_release import withdraw

    gone = releases.ids(copy)[0]
    withdraw(copy, gone)
    with pytest.raises(TombstonedError):
        contact_sheet(Release.open(copy), [gone])
