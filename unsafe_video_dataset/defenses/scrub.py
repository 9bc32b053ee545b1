"""Leave nothing behind of a generation that may not be released: frames of a traceback, scheduler memory, finished output."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import DefenseNotAttached
from .base import Frames

Snapshot = dict[str, Any]


def snapshot(obj: Any) -> Snapshot:
    """The object's attributes as they are now; lists are copied, since schedulers shift them in place."""
    return {name: list(value) if isinstance(value, list) else value for name, value in vars(obj).items()}


def restore(obj: Any, before: Snapshot) -> None:
    """Give an object the attributes that it had; those that came since are gone."""
    attributes = vars(obj)
    for name in set(attributes) - set(before):
        del attributes[name]
    attributes.update(before)


def clear_traceback(error: BaseException | None) -> None:
    """Empty the local variables of every frame that an exception, its cause and its context went through.

    Whoever catches or logs the exception still sees files and lines, but reaches no latent. Frames still running (ours and the
    caller's) keep theirs.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            try:
                frame.clear()
            except RuntimeError:  # still running
                continue
            # diffusers calls `locals()` for callbacks: until Python 3.12 the frame keeps that dict
            if isinstance(frame.f_locals, dict):
                frame.f_locals.clear()
        if error.__cause__ is not None:
            clear_traceback(error.__cause__)
        error = error.__context__


def zero_rows(value: Any, rows: Sequence[int], shape: tuple[int, ...]) -> Any:
    """A copy of a tensor whose first axis is that of `shape`, with these rows zero; anything else as it is, lists item by item.

    A copy, not in place: the first sample may be the caller's own `latents`.
    """
    if isinstance(value, torch.Tensor):
        if value.ndim == len(shape) and value.shape[:1] == shape[:1] and value.is_floating_point():
            value = value.clone()
            value[list(rows)] = 0
        return value
    if isinstance(value, list):
        return [zero_rows(item, rows, shape) for item in value]
    return value


def zero_memory(scheduler: Any, rows: Sequence[int], shape: tuple[int, ...]) -> None:
    """Zero these rows in what a multistep scheduler remembers of earlier steps."""
    for name, value in list(vars(scheduler).items()):
        if isinstance(value, (torch.Tensor, list)):
            cleaned = zero_rows(value, rows, shape)
            if cleaned is not value:
                setattr(scheduler, name, cleaned)


def zero_result(result: Any, rows: Sequence[int], shape: tuple[int, ...]) -> Any:
    """The same for what `scheduler.step` returned: a tuple or diffusers' output class."""
    if isinstance(result, tuple):
        return tuple(zero_rows(item, rows, shape) for item in result)
    for name in list(result.keys()):
        result[name] = zero_rows(result[name], rows, shape)
    return result


def frames_of(output: Any) -> Any:
    """The videos (or images) in a pipeline's output. Raises `DefenseNotAttached` where it has none that we know."""
    for name in ("frames", "images"):
        if hasattr(output, name):
            return getattr(output, name)
    if isinstance(output, tuple) and output:
        return output[0]
    raise DefenseNotAttached(
        f"A {type(output).__name__} has neither frames nor images: its videos can't be checked or blanked."
    )


def blank_rows(output: Any, rows: Sequence[int]) -> Any:
    """The output with the videos of these samples replaced by black ones (zeros where it holds latents).

    What else it holds, one a sample, is silenced as well (LTX-2 makes sound), but for flags and texts.
    """
    count = len(frames_of(output))
    if isinstance(output, tuple):
        return tuple(_blank(item, rows, count) for item in output)
    for name in list(output.keys() if hasattr(output, "keys") else vars(output)):
        value = _blank(output[name] if hasattr(output, "keys") else getattr(output, name), rows, count)
        if hasattr(output, "keys"):
            output[name] = value
        else:
            setattr(output, name, value)
    return output


def _blank(value: Any, rows: Sequence[int], count: int) -> Any:
    """A copy with these of `count` samples black; anything that is not one a sample as it is."""
    if (
        isinstance(value, (str, bytes))
        or not hasattr(value, "__len__")
        or getattr(value, "ndim", 1) == 0
        or len(value) != count
    ):
        return value
    if isinstance(value, (np.ndarray, torch.Tensor)):
        blank: Any = value.copy() if isinstance(value, np.ndarray) else value.clone()
        blank[list(rows)] = 0
        return blank
    return [_black(item) if i in set(rows) else item for i, item in enumerate(value)] if isinstance(value, list) else value


def videos_of(output: Any) -> list[Frames]:
    """Every finished video as uint8 [T, H, W, 3], whatever the `output_type` (pil, np or pt).

    Raises `DefenseNotAttached` on latents: what has not been decoded can't be looked at.
    """
    frames = frames_of(output)
    if isinstance(frames, torch.Tensor):  # [B, T, C, H, W] in [0, 1], or images [B, C, H, W]
        if frames.ndim == 4:
            frames = frames[:, None]
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise DefenseNotAttached("An output filter can't look at latents. Ask for output_type 'pil', 'np' or 'pt'.")
        frames = frames.permute(0, 1, 3, 4, 2).float().cpu().numpy()
    return [_uint8(video) for video in frames]


def _uint8(video: Any) -> Frames:
    array = np.stack([np.asarray(frame) for frame in video]) if isinstance(video, list) else np.asarray(video)
    if array.ndim == 3 and array.shape[-1] == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] != 3:
        raise DefenseNotAttached(
            f"A video of shape {list(array.shape)} is not [T, H, W, 3]: an output filter can't look at it."
        )
    if array.dtype == np.uint8:
        return array
    return np.asarray((array.clip(0, 1) * 255).round(), dtype=np.uint8)


def _black(video: Any) -> Any:
    if isinstance(video, (list, tuple)):
        return type(video)(_black(frame) for frame in video)
    if isinstance(video, (np.ndarray, torch.Tensor)):
        return np.zeros_like(video) if isinstance(video, np.ndarray) else torch.zeros_like(video)
    if video is None or isinstance(video, (bool, int, float, str)):
        return video
    from PIL import Image

    return Image.new(video.mode, video.size)
