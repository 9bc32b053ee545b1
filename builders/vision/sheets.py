"""Contact sheets for a person: blurred frames, ids and values as text, so many tiles a page, so many pages and no more."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

FRAMES = 4
PER_PAGE = 24
_GAP = 8
_LINE = 14
_HEAD = 24
_LONGEST = 250  # letters of a line: no more fit


@dataclass(frozen=True)
class Tile:
    """One video on a sheet: its id, lines of text under its frames, and its strip as PNG bytes (None: it could not be made)."""

    name: str
    lines: tuple[str, ...] = ()
    strip: bytes | None = None


@dataclass(frozen=True)
class StripJob:
    """What a strip is made from; pickles. `name` is written above the frames."""

    path: str
    name: str
    frames: int = FRAMES
    reveal: bool = False


def make_strip(job: StripJob) -> dict[str, Any]:
    """`{"png": bytes}` of a file's strip (`preview.strip`), decoded in a child process. Raises `DecodeError`, `OSError`."""
    from unsafe_video_dataset.preview import strip

    sink = io.BytesIO()
    data = Path(job.path).read_bytes()
    strip(data, job.name, frames=job.frames, reveal=job.reveal, isolate=True).save(sink, "PNG")
    return {"png": sink.getvalue()}


def write_sheets(
    folder: Path, stem: str, sections: Sequence[tuple[str, Sequence[Tile]]], *, columns: int = 2, per_page: int = PER_PAGE
) -> list[str]:
    """Write `<stem>-001.png` and so on: each section is a heading and its tiles. Returns the file names.

    A section that does not fit goes on on the next page under its heading. Text that is too long for its tile is cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, page in enumerate(_pages(sections, per_page), 1):
        name = f"{stem}-{number:03d}.png"
        partial = folder / f".{name}"
        _draw(page, columns).save(partial, "PNG")
        partial.replace(folder / name)
        names.append(name)
    return names


def _pages(sections: Sequence[tuple[str, Sequence[Tile]]], per_page: int) -> list[list[tuple[str, list[Tile]]]]:
    pages: list[list[tuple[str, list[Tile]]]] = []
    room = 0
    for heading, tiles in sections:
        left, first = list(tiles), True
        while left:
            if room < min(len(left), 4) or not pages:  # no heading with a lonely tile at a page's end
                pages.append([])
                room = per_page
            pages[-1].append((heading if first else f"{heading} (more)", left[:room]))
            taken = min(room, len(left))
            left, room, first = left[taken:], room - taken, False
    return pages


def _draw(page: Sequence[tuple[str, Sequence[Tile]]], columns: int) -> Image.Image:
    from PIL import Image, ImageDraw

    from unsafe_video_dataset.preview import TILE

    columns = min(columns, max(len(tiles) for _, tiles in page))
    width = FRAMES * TILE
    blank = TILE + _LINE
    lines = [max(len(tile.lines) for tile in tiles) for _, tiles in page]
    heights = [
        _HEAD + -(-len(tiles) // columns) * (blank + count * _LINE + _GAP)
        for (_, tiles), count in zip(page, lines, strict=True)
    ]
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, sum(heights) + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    top = 0
    for (heading, tiles), count, height in zip(page, lines, heights, strict=True):
        pen.rectangle((0, top, sheet.width, top + _HEAD - 6), fill=(228, 232, 240))
        pen.text((_GAP, top + 3), _cut(pen, heading, sheet.width - 2 * _GAP), fill="black")
        for number, tile in enumerate(tiles):
            x = _GAP + number % columns * (width + _GAP)
            y = top + _HEAD + number // columns * (blank + count * _LINE + _GAP)
            _tile(sheet, pen, tile, x, y, width, blank)
        top += height
    return sheet


def _tile(sheet: Image.Image, pen: Any, tile: Tile, x: int, y: int, width: int, blank: int) -> None:
    from PIL import Image

    if tile.strip is None:
        pen.rectangle((x, y, x + width - 1, y + blank - 1), outline=(160, 160, 160))
        pen.text((x + 4, y + 2), _cut(pen, tile.name, width - 8), fill="black")
        pen.text((x + 4, y + 2 + _LINE), "no frames", fill=(120, 120, 120))
    else:
        sheet.paste(Image.open(io.BytesIO(tile.strip)), (x, y))
    for row, line in enumerate(tile.lines):
        pen.text((x + 2, y + blank + row * _LINE), _cut(pen, line, width - 4), fill=(60, 60, 60))


def _cut(pen: Any, text: str, width: int) -> str:
    """What fits of a text; Pillow's built-in font has Latin-1 only."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    if pen.textlength(text[:_LONGEST]) <= width and len(text) <= _LONGEST:
        return text
    fits = [length for length in range(min(len(text), _LONGEST)) if pen.textlength(text[:length] + "...") <= width]
    return text[: max(fits, default=0)] + "..."


def strips(answers: Mapping[str, Any]) -> dict[str, bytes]:
    """The strips among the answers of `context.map`; a file that failed has none."""
    return {name: answer["png"] for name, answer in answers.items() if isinstance(answer, Mapping)}
