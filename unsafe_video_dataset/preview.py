"""Pictures of a release that are safe to look at: small, grey and blurred in the image itself, unless `reveal` is given."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter

from .clips import UniformFrames
from .errors import FilterError
from .mp4 import inspect_mp4
from .release import Release
from .video import decode_frames

TILE = 96  # pixels, the longer side of a frame on a sheet
_BLUR = 1 / 7  # of a tile: shapes melt, only light and dark remain
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


def strip(
    data: bytes,
    name: str,
    *,
    frames: int = 4,
    reveal: bool = False,
    isolate: bool = False,
    tile: int = TILE,
    label: bool = True,
    background: str = "white",
) -> Image.Image:
    """`frames` evenly spread frames of one MP4 side by side, `name` above them: an RGB image of `frames` * `tile` by
    `tile` + 14 pixels (without `label`: no name, `tile` pixels high).

    Grey and blurred beyond recognition unless `reveal`; `isolate` decodes in a child process. Raises `DecodeError`.
    """
    top = _LABEL if label else 0
    picture = Image.new("RGB", (frames * tile, tile + top), background)
    if label:
        ImageDraw.Draw(picture).text((2, 1), name, fill="black")
    indices, _ = UniformFrames(frames).indices(inspect_mp4(data, name=name).num_frames)
    for place, frame in enumerate(decode_frames(data, [int(index) for index in indices], name=name, isolate=isolate)):
        image = Image.fromarray(frame.transpose(1, 2, 0))
        image.thumbnail((tile, tile))
        if not reveal:
            image = image.convert("L").filter(ImageFilter.GaussianBlur(tile * _BLUR)).convert("RGB")
        picture.paste(image, (place * tile + (tile - image.width) // 2, top + (tile - image.height) // 2))
    return picture
