"""From an item of the plan to the bytes of its file: sound, spoiled, or a copy. Pure: the same item, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from unsafe_video_dataset.video import decode_frames

from .codec import QUANTISER, encode_fast
from .scene import NUM_FRAMES, Frames, Scene, make_scene, render

PACE = {"slow": 0.12, "near_static": 0.01}
_FINE = 18  # quantiser of soft pictures: at the usual one its noise would be most of their detail
Draws = np.random.Generator


@dataclass(frozen=True)
class Task:
    """What decides a file: the twin's seed, the item's number (its own draws), scene, categories and kind."""

    seed: int
    number: int
    scene: int
    categories: tuple[str, ...]
    kind: str


def scene_of(task: Task) -> Scene:
    """The scene that a task draws."""
    return make_scene(task.seed, task.scene, task.categories, pace=PACE.get(task.kind, 1.0))


def make_bytes(task: Task) -> bytes:
    """The file of one item. `exact` is not made here: it is its original's file."""
    rng = np.random.default_rng([task.seed, 2, task.number])
    if task.kind in _BYTES:
        return _BYTES[task.kind](task, rng)
    if task.kind in _COPIES:
        data = encode_fast(render(scene_of(task)))
        frames, quantiser = _COPIES[task.kind](decode_frames(data, decoder="pyav").transpose(0, 2, 3, 1), rng)
        return _smaller(np.ascontiguousarray(frames), quantiser, len(data))
    if task.kind in _FRAMES:
        soft = task.kind in ("blurred", "blurred_slightly", "soft")
        return encode_fast(_FRAMES[task.kind](task, rng), quantiser=_FINE if soft else QUANTISER)
    return encode_fast(render(scene_of(task)))


# -- frames of a bad or borderline video


def _blur(frames: Frames, radius: float) -> Frames:
    blurred = [np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))) for image in frames]
    return np.stack(blurred)


def _scale(frames: Frames, gain: float, offset: float = 0.0) -> Frames:
    return np.asarray(np.clip(frames * np.float32(gain) + np.float32(offset), 0, 255), dtype=np.uint8)


def _blurred(low: float, high: float) -> Callable[[Task, Draws], Frames]:
    return lambda task, rng: _blur(render(scene_of(task)), rng.uniform(low, high))


def _dimmed(low: float, high: float) -> Callable[[Task, Draws], Frames]:
    return lambda task, rng: _scale(render(scene_of(task)), rng.uniform(low, high))


def _static(task: Task, rng: Draws) -> Frames:
    return np.repeat(render(scene_of(task), num_frames=1), NUM_FRAMES, axis=0)


def _frozen(task: Task, rng: Draws) -> Frames:
    """Moves at first, then stops."""
    return render(scene_of(task))[np.minimum(np.arange(NUM_FRAMES), rng.integers(2, 6))]


def _black(task: Task, rng: Draws) -> Frames:
    """All black, or black from an early frame on."""
    frames = render(scene_of(task))
    frames[int(rng.integers(0, 6)) * int(rng.integers(0, 2)) :] = 0
    return frames


def _bright(task: Task, rng: Draws) -> Frames:
    return 255 - _scale(255 - render(scene_of(task)), rng.uniform(0.04, 0.1))


def _too_short(task: Task, rng: Draws) -> Frames:
    return render(scene_of(task), num_frames=int(rng.integers(3, 7)))


def _too_long(task: Task, rng: Draws) -> Frames:
    """Two to three times the length, there and back."""
    frames = render(scene_of(task))
    back = np.concatenate([frames, frames[::-1], frames])
    return back[: int(rng.integers(2 * NUM_FRAMES + 8, 3 * NUM_FRAMES + 1))]


_FRAMES: dict[str, Callable[[Task, Draws], Frames]] = {
    "blurred": _blurred(5.0, 8.0),
    "blurred_slightly": _blurred(1.3, 2.2),
    "soft": _blurred(0.5, 1.0),
    "static": _static,
    "frozen": _frozen,
    "black": _black,
    "dark": _dimmed(0.04, 0.09),
    "dim": _dimmed(0.28, 0.4),
    "bright": _bright,
    "too_short": _too_short,
    "too_long": _too_long,
}


# -- copies: from the decoded frames of the original, to fewer bytes, pixels or frames than it has


def _resize(frames: Frames, width: int, height: int) -> Frames:
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height), bilinear)) for image in frames])


def _lighten(frames: Frames, rng: Draws) -> Frames:
    if rng.random() < 0.3:
        return _scale(frames, rng.uniform(0.75, 0.9))
    return _scale(frames, rng.uniform(1.0, 1.2), rng.uniform(8, 25))


def _trim(frames: Frames, rng: Draws, most: int) -> Frames:
    cut = int(rng.integers(1, most + 1))
    start = int(rng.integers(0, cut + 1))
    return frames[start : len(frames) - (cut - start)]


def _smaller(frames: Frames, quantiser: int, size: int) -> bytes:
    """The video in fewer bytes than `size`: of two equals the original, with more bytes, is the better one to keep."""
    while len(data := encode_fast(frames, quantiser=quantiser)) >= size and quantiser < 51:
        quantiser += 1
    return data


def _reencoded(frames: Frames, rng: Draws) -> tuple[Frames, int]:
    return frames, int(rng.integers(28, 39))


def _resized(frames: Frames, rng: Draws) -> tuple[Frames, int]:
    width, height = (int(side) for side in rng.choice([64, 80, 96, 112], 2))
    return _resize(frames, width, height), QUANTISER


def _brightened(frames: Frames, rng: Draws) -> tuple[Frames, int]:
    return _lighten(frames, rng), QUANTISER + 2


def _trimmed(frames: Frames, rng: Draws) -> tuple[Frames, int]:
    return _trim(frames, rng, 4), QUANTISER


def _reworked(frames: Frames, rng: Draws) -> tuple[Frames, int]:
    return _resize(_lighten(_trim(frames, rng, 3), rng), 80, 80), 32


_COPIES: dict[str, Callable[[Frames, Draws], tuple[Frames, int]]] = {
    "reencoded": _reencoded,
    "resized": _resized,
    "brightened": _brightened,
    "trimmed": _trimmed,
    "reworked": _reworked,
}


# -- files that no decoder may take


def _truncated(task: Task, rng: Draws) -> bytes:
    data = encode_fast(render(scene_of(task)))
    return data[: int(len(data) * rng.uniform(0.1, 0.95))]


def _corrupt_header(task: Task, rng: Draws) -> bytes:
    """A sound file in whose index one box is overwritten; its size stays."""
    data = bytearray(encode_fast(render(scene_of(task))))
    box = [b"moov", b"trak", b"stsd", b"stsz", b"stco"][int(rng.integers(5))]
    place = data.rindex(box)
    data[place : place + 4] = b"\xff" * 4
    return bytes(data)


def _zero_bytes(task: Task, rng: Draws) -> bytes:
    """Nothing, or as many zeros as a video has bytes: what a full disk leaves."""
    return bytes(int(rng.integers(5_000, 20_000)) * int(rng.integers(0, 2)))


def _not_mp4(task: Task, rng: Draws) -> bytes:
    texts = [
        f"<!DOCTYPE html><title>Sign in</title><p>Request {task.number}\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{task.number:064x}\nsize 20000\n",
        f'{{"error": "not found", "request": {task.number}}}\n',
        f"#EXTM3U\n# an empty playlist, {task.number}\n",
        f"moving shapes, take {task.number}\n" * 40,
    ]
    return texts[int(rng.integers(len(texts)))].encode()


_BYTES: dict[str, Callable[[Task, Draws], bytes]] = {
    "truncated": _truncated,
    "corrupt_header": _corrupt_header,
    "zero_bytes": _zero_bytes,
    "not_mp4": _not_mp4,
}
