"""Thumbnails: nothing to recognise in the files unless revealed; resumed, reused, and a video that does not decode counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases
from report_support import hostile_release

pytest.importorskip("PIL")

from PIL import Image

from unsafe_video_dataset.errors import ChecksumError, MissingDependency
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import thumbnails
from unsafe_video_dataset.report.thumbnails import SIDE, STRIP, Sheets, describe, write_sheets


def draw(release: Release, folder: Path, ids: list[str] | None = None, **given: Any) -> Sheets:
    return write_sheets(release, ids or releases.ids(release), folder, **{"progress": False, "reuse": None, **given})


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def tiles(sheet: np.ndarray, number: int) -> list[np.ndarray]:
    """The frames of the first `number` strips of a sheet."""
    columns = sheet.shape[1] // STRIP[0]
    found = []
    for place in range(number):
        y, x = place // columns * STRIP[1], place % columns * STRIP[0]
        found += [sheet[y : y + SIDE, x + SIDE * frame : x + SIDE * (frame + 1)] for frame in range(3)]
    return found


def edges(tile: np.ndarray) -> float:
    inner = tile[2:-2, 2:-2].mean(axis=2)
    return float((np.diff(inner, axis=0) ** 2).mean() + (np.diff(inner, axis=1) ** 2).mean())


@pytest.fixture(scope="module")
def drawn(sample: Release, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sheets, Path, Sheets]:
    ids = releases.ids(sample, "test")[:12]
    hidden, clear = (tmp_path_factory.mktemp(name) for name in ("hidden", "clear"))
    return hidden, draw(sample, hidden, ids), clear, draw(sample, clear, ids, reveal=True)


def test_frames_are_small_grey_and_blurred_in_the_file(drawn: tuple[Path, Sheets, Path, Sheets]) -> None:
    hidden, sheets, clear, revealed = drawn
    with Image.open(hidden / sheets.names[0]) as picture:
        assert picture.mode == "L"  # there is no colour in the file to bring back
        assert picture.size == (4 * STRIP[0], 3 * STRIP[1])
    veiled, plain = pixels(hidden / sheets.names[0]), pixels(clear / revealed.names[0])
    assert np.ptp(plain, axis=2).max() > 20
    for dull, sharp in zip(tiles(veiled, 12), tiles(plain, 12), strict=True):
        assert edges(dull) < edges(sharp) / 10
        spectrum = np.abs(np.fft.fft2(dull[..., 0] - dull[..., 0].mean()))
        high = spectrum[SIDE // 8 : -SIDE // 8, SIDE // 8 : -SIDE // 8]
        assert (high**2).sum() < 0.02 * (spectrum**2).sum() + SIDE**2 * SIDE**2  # what is left there is JPEG's rounding
        assert np.abs(np.diff(dull[..., 0], axis=1)).max() < 12


def test_the_files_say_nothing_else(drawn: tuple[Path, Sheets, Path, Sheets]) -> None:
    hidden, sheets, _, _ = drawn
    assert [path.name for path in hidden.iterdir()] == list(sheets.names)
    with Image.open(hidden / sheets.names[0]) as picture:
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "comment"}


def test_sheets_of_64_in_the_order_of_the_ids(sample: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "PER_SHEET", 5)
    ids = releases.ids(sample, "test")[:12]
    sheets = draw(sample, tmp_path, ids)
    assert len(sheets.names) == 3
    with Image.open(tmp_path / sheets.names[2]) as last:
        assert last.size == (2 * STRIP[0], STRIP[1])
    one = draw(sample, tmp_path / "one", [ids[6]])
    alone, among = pixels(tmp_path / "one" / one.names[0]), pixels(tmp_path / sheets.names[1])
    assert np.abs(alone - among[: STRIP[1], STRIP[0] : 2 * STRIP[0]]).max() < 6
    assert describe(sheets) is not None
    assert describe(Sheets()) is None


def test_a_run_that_was_stopped_goes_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "PER_SHEET", 6)
    release, made = Release.open(small), []
    strip = thumbnails._strip

    def counted(video_id: str, data: bytes, *, reveal: bool) -> Any:
        made.append(video_id)
        if len(made) > 13:
            raise KeyboardInterrupt
        return strip(video_id, data, reveal=reveal)

    monkeypatch.setattr(thumbnails, "_strip", counted)
    with pytest.raises(KeyboardInterrupt):
        draw(release, tmp_path / "a")
    left = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(left) == 2  # whole sheets, and no partial file
    made.clear()
    monkeypatch.setattr(thumbnails, "_strip", lambda video_id, data, *, reveal: made.append(video_id))
    sheets = draw(release, tmp_path / "a")
    assert len(made) == 12
    assert set(left) < set(sheets.names)
    made.clear()
    assert draw(release, tmp_path / "b", reuse=tmp_path / "a") == sheets
    assert not made
    assert draw(release, tmp_path / "b", reveal=True, reuse=tmp_path / "a").names != sheets.names
    assert len(made) == 24  # a veiled sheet is no clear one, nor the other way


def test_a_video_that_does_not_decode_is_counted(tmp_path: Path) -> None:
    release = Release.open(hostile_release(tmp_path / "r"))
    sheets = draw(release, tmp_path / "t")
    broken = [row["video_id"] for row in release.metadata().to_pylist() if row["source_index"] == 2]
    assert sheets.broken == frozenset(broken)
    place = releases.ids(release).index(broken[0])
    sheet = pixels(tmp_path / "t" / sheets.names[0])
    assert np.abs(tiles(sheet, 12)[3 * place] - 128).max() < 4  # the background
    assert draw(release, tmp_path / "t").broken == sheets.broken  # known without decoding again


def test_a_video_that_is_not_the_one_of_the_release(copy: Path, tmp_path: Path) -> None:
    def edit(rows: releases.Rows) -> None:
        rows[0]["video"]["bytes"] = releases.tiny(99)

    releases.edit_rows(copy, releases.data_file(copy), edit)
    with pytest.raises(ChecksumError):
        draw(Release.open(copy), tmp_path / "t")


def test_no_decoder_is_no_broken_video(sample: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingDependency("no decoder")

    monkeypatch.setattr("unsafe_video_dataset.preview.decode_frames", missing)
    with pytest.raises(MissingDependency):
        draw(sample, tmp_path, releases.ids(sample)[:1])
