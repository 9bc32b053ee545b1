"""Where the time of one clip goes: CPU milliseconds of each step of our loader, and of libav's decode alone."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .clips import Layout
from .settings import FRAMES
from .summary import spread

_ROUNDS = 3


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Medians over batches of a clip's CPU milliseconds a step, each batch's smallest of three alternating rounds.

    `read` (bytes of the release, sha256 checked), `check` (the MP4's structure), `libav` (decode alone, up to the last frame
    wanted), `frames` (`decode_frames`: check, decode, resize, convert, copy), `batch` (what a DataLoader asks for: the items of
    a batch, collated). `convert` is what `frames` takes above `check` and `libav`; `rest` what `batch` takes above `read` and
    `frames`: indices, tensors, dictionaries, stacking.
    """
    import torch

    from ..clips import UniformFrames
    from ..mp4 import inspect_mp4
    from ..torch import UnsafeVideoDataset, collate
    from ..video import choose_decoder, decode_frames

    torch.set_num_threads(1)
    size = job["size"]
    dataset = UnsafeVideoDataset(str(Layout.load(Path(job["layout"])).release), config="reviewed", split=None, size=size)
    number = min(job["clips"], len(dataset))
    batches = [list(range(number))[start : start + job["batch_size"]] for start in range(0, number, job["batch_size"])]
    times = {name: [float("inf")] * len(batches) for name in ("read", "check", "libav", "frames", "batch")}
    for _ in range(_ROUNDS):
        for place, indices in enumerate(batches):
            ids = [dataset.video_ids[index] for index in indices]
            clips = [dataset.release.video_bytes(video_id) for video_id in ids]
            wanted = [UniformFrames(FRAMES).indices(inspect_mp4(data).num_frames)[0].tolist() for data in clips]
            pairs = list(zip(clips, wanted, strict=True))
            steps: dict[str, Callable[[], object]] = {
                "read": partial(_each, [partial(dataset.release.video_bytes, video_id) for video_id in ids]),
                "check": partial(_each, [partial(inspect_mp4, data) for data in clips]),
                "libav": partial(_each, [partial(_decode, data, frames[-1]) for data, frames in pairs]),
                "frames": partial(_each, [partial(decode_frames, data, frames, size=size) for data, frames in pairs]),
                "batch": lambda indices=indices: collate(dataset.__getitems__(indices)),  # type: ignore[misc]
            }
            for name, step in steps.items():
                times[name][place] = min(times[name][place], _cpu(step) / len(indices))
    found = {name: [1000 * value for value in values] for name, values in times.items()}
    found["convert"] = [a - b - c for a, b, c in zip(found["frames"], found["check"], found["libav"], strict=True)]
    found["rest"] = [a - b - c for a, b, c in zip(found["batch"], found["read"], found["frames"], strict=True)]
    ratios = [whole / alone for whole, alone in zip(found["batch"], found["libav"], strict=True)]
    return {
        "clips": number,
        "decoder": choose_decoder("auto")[0],
        "cpu_ms": {name: spread(values) for name, values in found.items()},
        "to_libav": spread(ratios),
    }


def _each(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        step()


def _cpu(step: Callable[[], object]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def _decode(data: bytes, last: int) -> None:
    import av

    with av.open(io.BytesIO(data), format="mp4") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.thread_count = 1
        for index, _ in enumerate(container.decode(stream)):
            if index == last:
                return
