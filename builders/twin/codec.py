"""Frames to the twin's MP4 bytes: fast, and the same bytes for the same frames.

x264 at a constant quantiser has nothing that looks ahead or measures a rate: no look-ahead threads, no macroblock tree, no
scene cuts, one thread. So it may use assembly, which the sample's encoder may not (see `motifs.encode`).
"""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import av
import numpy as np
from numpy.typing import NDArray

from .scene import FPS, Frames

QUANTISER = 24
# The preset leaves out deblocking; without it the edges of blocks make a blurred picture look sharp.
_STEADY = "no-mbtree=1:rc-lookahead=0:sync-lookahead=0:scenecut=0:keyint=16:deblock=0,0"


def encode_fast(frames: Frames, *, quantiser: int = QUANTISER, fps: int = FPS) -> bytes:
    """H.264 MP4 bytes of frames uint8 [T, H, W, 3] (RGB), H and W even; `quantiser` 1 (fine) to 51 (coarse)."""
    sink = BytesIO()
    with av.open(sink, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {
            "qp": str(quantiser),
            "preset": "ultrafast",
            "tune": "zerolatency",
            "flags": "+bitexact",
            "threads": "1",
            "x264-params": _STEADY,
        }
        for planes in yuv420p(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return sink.getvalue()


def yuv420p(frames: Frames) -> NDArray[np.uint8]:
    """RGB [T, H, W, 3] as planes of 4:2:0 below one another, [T, H * 3 / 2, W]; BT.601, limited range, in whole numbers."""
    count, height, width, _ = frames.shape
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    light = (66 * red + 129 * green + 25 * blue + 128 >> 8) + 16
    corners = frames[:, 0::2].astype(np.uint16) + frames[:, 1::2]
    small = (corners[:, :, 0::2] + corners[:, :, 1::2] + 2 >> 2).astype(np.int32)
    red, green, blue = (small[..., channel] for channel in range(3))
    first = (-38 * red - 74 * green + 112 * blue + 128 >> 8) + 128
    second = (112 * red - 94 * green - 18 * blue + 128 >> 8) + 128
    planes = [part.reshape(count, -1).astype(np.uint8) for part in (light, first, second)]
    return np.concatenate(planes, axis=1).reshape(count, height * 3 // 2, width)
