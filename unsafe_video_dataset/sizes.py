"""The size that frames are resized to: what may be given for it, and the (height, width) that it means."""

from __future__ import annotations

import operator

from .errors import FilterError
from .mp4 import DEFAULT_LIMITS, Mp4Limits

Size = int | tuple[int, int] | None
"""Frame size: s is (s, s), (height, width), None is the video's own. The aspect is not kept and nothing is cut off.

Frames are resized by a bilinear filter with antialiasing; see `decoders`."""


def height_width(size: int | tuple[int, int], *, limits: Mp4Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(height, width) in pixels. Raises `FilterError` for what is not one or two whole numbers within `limits`."""
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    try:
        height, width = (operator.index(side) for side in pair)
    except (TypeError, ValueError):
        height, width = 0, 0
    if not (1 <= height <= limits.max_height and 1 <= width <= limits.max_width):
        most = f"{limits.max_height} by {limits.max_width}"
        raise FilterError(f"size={size!r}: give one int or (height, width), each at least 1 and at most {most}.")
    return height, width
