"""A torch Dataset over MP4 files, with one reader a codec: what people write who use no dataset package.

A reader is `(path, size) -> uint8 [FRAMES, 3, size, size]`, one thread, each in the way that its library is fastest.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..clips import UniformFrames
from .clips import Layout
from .settings import FRAMES

Reader = Callable[[Any, int], torch.Tensor]


class Files(Dataset[tuple[str, torch.Tensor]]):
    """Item i is (video_id, clip) of `raw/<i>.mp4`."""

    def __init__(self, layout: Layout, reader: Reader, size: int) -> None:
        self.layout, self.reader, self.size = layout, reader, size

    def __len__(self) -> int:
        return len(self.layout.ids)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        return self.layout.ids[index], self.reader(self.layout.file(index), self.size)


def picks(num_frames: int) -> list[int]:
    """The frame numbers that every loader takes."""
    return [int(index) for index in UniformFrames(FRAMES).indices(num_frames)[0]]


def decord_file(path: Path | bytes, size: int) -> torch.Tensor:
    """decord resizes while it decodes."""
    import decord

    source = io.BytesIO(path) if isinstance(path, bytes) else str(path)
    reader = decord.VideoReader(source, width=size, height=size, num_threads=1)
    frames = reader.get_batch(picks(len(reader)))
    array = frames.asnumpy() if hasattr(frames, "asnumpy") else np.asarray(frames)
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def torchcodec_file(path: Path, size: int) -> torch.Tensor:
    """torchcodec resizes with a transform of its own."""
    codec: Any = import_module("torchcodec.decoders")
    resize = import_module("torchcodec.transforms").Resize((size, size))
    decoder = codec.VideoDecoder(str(path), num_ffmpeg_threads=1, transforms=[resize])
    frames: torch.Tensor = decoder.get_frames_at(picks(len(decoder))).data
    return frames


def pyav_file(path: Path, size: int) -> torch.Tensor:
    """PyAV: swscale resizes and converts in one step."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        wanted = picks(stream.frames)
        kept: dict[int, Any] = {}
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                kept[index] = frame.to_ndarray(width=size, height=size, format="rgb24")
            if index == wanted[-1]:
                break
    return torch.from_numpy(np.stack([kept[index] for index in wanted])).permute(0, 3, 1, 2).contiguous()


def cv2_file(path: Path, size: int) -> torch.Tensor:
    """Decode and convert every frame of the file, keep them all, then pick and resize."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    every = np.stack(frames)
    kept = [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in every[picks(len(every))]]
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).contiguous()


def libav_only(path: Path, size: int) -> torch.Tensor:
    """The limit: decode up to the last frame wanted, convert nothing, hand out one byte."""
    import av

    with av.open(io.BytesIO(path.read_bytes()), format="mp4") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.thread_count = 1
        last = picks(stream.frames)[-1]
        for index, _ in enumerate(container.decode(stream)):
            if index == last:
                break
    return torch.zeros(1, dtype=torch.uint8)
