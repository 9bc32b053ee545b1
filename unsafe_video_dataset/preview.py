"""Pictures of a release that are safe to look at: small, grey and blurred in the image itself, unless `reveal` is given."""

from __future__ import annotations

import base64
import html
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from .clips import UniformFrames
from .errors import FilterError
from .mp4 import inspect_mp4
from .release import Release
from .taxonomy import CATEGORIES, CATEGORY_TITLES
from .video import decode_frames

TILE = 96  # pixels, the longer side of a frame on a sheet
_BLUR = TILE / 7  # of a frame: shapes melt, only light and dark remain
_LABEL = 14


def contact_sheet(
    release: Release, video_ids: Sequence[str], *, frames: int = 4, columns: int = 4, reveal: bool = False
) -> Image.Image:
    """A sheet with `frames` evenly spread frames of each video in a row of tiles, its id above them.

    Frames are grey and blurred beyond recognition; `reveal=True` shows them as they are. Ids are the only text. Raises
    `FilterError` for no ids or an unknown one.
    """
    if not video_ids or min(frames, columns) < 1:
        raise FilterError("A contact sheet needs at least one video_id, one frame and one column.")
    cells = [strip(release.video_bytes(video_id), video_id, frames=frames, reveal=reveal) for video_id in video_ids]
    width, height = cells[0].size
    columns = min(columns, len(cells))
    sheet = Image.new("RGB", (columns * (width + 6) + 6, -(-len(cells) // columns) * (height + 6) + 6), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (6 + number % columns * (width + 6), 6 + number // columns * (height + 6)))
    return sheet


def strip(data: bytes, name: str, *, frames: int = 4, reveal: bool = False, isolate: bool = False) -> Image.Image:
    """`frames` evenly spread frames of one MP4 side by side, `name` above them: an image of `frames` * 96 by 110 pixels.

    Grey and blurred beyond recognition unless `reveal`; `isolate` decodes in a child process. Raises `DecodeError`.
    """
    picture = Image.new("RGB", (frames * TILE, TILE + _LABEL), "white")
    ImageDraw.Draw(picture).text((2, 1), name, fill="black")
    indices, _ = UniformFrames(frames).indices(inspect_mp4(data, name=name).num_frames)
    for place, frame in enumerate(decode_frames(data, [int(index) for index in indices], name=name, isolate=isolate)):
        image = Image.fromarray(frame.transpose(1, 2, 0))
        image.thumbnail((TILE, TILE))
        if not reveal:
            image = image.convert("L").filter(ImageFilter.GaussianBlur(_BLUR)).convert("RGB")
        picture.paste(image, (place * TILE + (TILE - image.width) // 2, _LABEL + (TILE - image.height) // 2))
    return picture


def write_report(release: Release, out: Path, *, videos: int = 48, reveal: bool = False) -> Path:
    """Write `out/index.html`: what the release holds, and a contact sheet of its first `videos` videos.

    The page is one file, opens from disk and asks for nothing from the network; it holds no prompts. Returns its path.
    """
    if videos < 1:
        raise FilterError(f"videos={videos} must be at least 1.")
    table = release.metadata()
    ids = table["video_id"].to_pylist()[:videos]
    sheet = io.BytesIO()
    contact_sheet(release, ids, columns=2, reveal=reveal).save(sheet, "PNG")
    picture = base64.b64encode(sheet.getvalue()).decode()
    how = "clear frames" if reveal else "grey and blurred"
    sections = "".join(
        f"<section><h2>{title}</h2>{_html_table(head, rows)}</section>" for title, head, rows in _facts(release, table)
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(release.name)} {html.escape(release.version)}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 0 2rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ padding: .2rem .4rem; border-bottom: 1px solid #8886; text-align: left; }}
td + td, th + th {{ text-align: right; font-variant-numeric: tabular-nums; }}
h2 {{ font-size: 1rem; margin: 1.5rem 0 .3rem; }} img {{ max-width: 100%; height: auto; }}
</style></head><body>
<h1>{html.escape(release.name)} {html.escape(release.version)}</h1>
<p>{table.num_rows} reviewed videos, {release.manifest["counts"]["unsafe"]} of them unsafe.
Manifest {release.manifest_sha256[:12]}.</p>
<main>{sections}</main>
<h2>First {len(ids)} videos ({how})</h2>
<img alt="Contact sheet of {len(ids)} videos, {how}" src="data:image/png;base64,{picture}">
</body></html>
"""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    partial = out / f".index.html.{os.getpid()}"
    partial.write_text(page, encoding="utf-8")
    return partial.replace(path)


def _facts(release: Release, table: Any) -> list[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    counts = release.manifest["counts"]
    votes = sorted(Counter(table["num_raters"].to_pylist()).items())
    known = [value for value in table["agreement"].to_pylist() if value is not None]
    tenths = Counter(min(int(10 * value), 9) for value in known)
    agreement = [(f"{10 * tenth} to {10 * tenth + 10}%", number) for tenth, number in sorted(tenths.items())]
    frames = sorted(Counter(table["num_frames"].to_pylist()).items())
    sets = Counter(" + ".join(CATEGORY_TITLES[CATEGORIES[i]] for i in row) or "none" for row in table["categories"].to_pylist())
    return [
        (
            "Categories",
            ("category", "videos"),
            [(CATEGORY_TITLES[name], n) for name, n in counts["categories"].items()],
        ),
        ("Together", ("categories of a video", "videos"), list(sets.most_common())),
        (
            "Splits",
            ("split", "unsafe", "not"),
            [(s, n["unsafe"], n["not_unsafe"]) for s, n in counts["splits"].items()],
        ),
        ("Generators", ("generator", "videos"), list(counts["generators"].items())),
        ("Prompt sources", ("source", "videos"), list(counts["prompt_sources"].items())),
        ("Votes", ("votes a video", "videos"), list(votes)),
        ("Agreement", ("share of agreeing pairs", "videos"), [*agreement, ("not known", table.num_rows - len(known))]),
        ("Length", ("frames", "videos"), list(frames)),
    ]


def _html_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"
