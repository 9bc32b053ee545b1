"""Where the time of one clip goes: CPU milliseconds of each step of our loader, and of libav's decode alone."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .clips import Layout
from .settings import FRAMES
from .summary import spread

_ROUNDS = 3


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Medians over clips of CPU milliseconds a step, each clip's smallest of three alternating rounds.

    `read` (bytes of the release, sha256 checked), `check` (the MP4's structure), `libav` (decode alone, up to the last frame
    wanted), `frames` (`decode_frames`: check, decode, resize, convert, copy), `item` (`dataset[i]`: all of it), `collate` (a
    clip's share of a batch). `convert` is what `frames` takes above `check` and `libav`; `rest` what `item` takes above
    `read` and `frames`: indices, tensors, the dictionary.
    """
    import torch

    from ..clips import UniformFrames
    from ..mp4 import inspect_mp4
    from ..torch import UnsafeVideoDataset, collate
    from ..video import choose_decoder, decode_frames

    torch.set_num_threads(1)
    size, batch = job["size"], job["batch_size"]
    dataset = UnsafeVideoDataset(str(Layout.load(Path(job["layout"])).release), config="reviewed", split=None, size=size)
    release = dataset.release
    number = min(job["clips"], len(dataset))
    times: dict[str, list[float]] = {name: [float("inf")] * number for name in ("read", "check", "libav", "frames", "item")}
    for _ in range(_ROUNDS):
        for index in range(number):
            video_id = dataset.video_ids[index]
            data = release.video_bytes(video_id)
            count = inspect_mp4(data).num_frames
            wanted = UniformFrames(FRAMES).indices(count)[0].tolist()
            steps: dict[str, Callable[[], object]] = {
                "read": partial(release.video_bytes, video_id),
                "check": partial(inspect_mp4, data),
                "libav": partial(_decode, data, wanted[-1]),
                "frames": partial(decode_frames, data, wanted, size=size),
                "item": partial(dataset.__getitem__, index),
            }
            for name, step in steps.items():
                times[name][index] = min(times[name][index], _cpu(step))
    samples = [dataset[index] for index in range(min(batch, number))]
    joined = min(_cpu(lambda: collate(samples)) for _ in range(_ROUNDS)) / len(samples)
    found = {name: [1000 * value for value in values] for name, values in times.items()}
    found["convert"] = [a - b - c for a, b, c in zip(found["frames"], found["check"], found["libav"], strict=True)]
    found["rest"] = [a - b - c for a, b, c in zip(found["item"], found["read"], found["frames"], strict=True)]
    found["collate"] = [1000 * joined] * number
    ratios = [(a + 1000 * joined) / b for a, b in zip(found["item"], found["libav"], strict=True)]
    return {
        "clips": number,
        "decoder": choose_decoder("auto")[0],
        "cpu_ms": {name: spread(values) for name, values in found.items()},
        "to_libav": spread(ratios),
    }


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
