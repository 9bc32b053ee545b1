"""Items put together to a batch, without a copy where their clips lie in one buffer already."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch

from .errors import InputError

Sample = dict[str, Any]


class OneBuffer(list[Sample]):
    """Items whose clips are the rows of one tensor [B, T, 3, H, W]: `collate` need not copy them."""

    clips: torch.Tensor
    rows: list[torch.Tensor]


def batch_buffer(shape: tuple[int, ...]) -> torch.Tensor:
    """An uninitialised uint8 tensor; in a worker of a DataLoader in shared memory, where the batch has to go anyway."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # as torch's own default_collate does
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Batch items of `UnsafeVideoDataset`: tensors are stacked, strings listed.

    `video` [B, T, 3, H, W], `mask` bool [B, T]. Clips of different length are padded with zeros at the end and masked. Raises
    `InputError` for frames of different size.
    """
    if not samples:
        raise InputError("An empty list can't be collated.")
    videos = [sample["video"] for sample in samples]
    whole = isinstance(samples, OneBuffer) and all(map(operator.is_, videos, samples.rows))
    if len({tuple(video.shape[1:]) for video in videos}) > 1:
        shapes = sorted({tuple(video.shape[1:]) for video in videos})
        raise InputError(f"Frames differ in size ({shapes}). Give UnsafeVideoDataset a size=, e.g. size=224.")
    length = max(video.shape[0] for video in videos)
    batch: dict[str, Any] = {
        "video": samples.clips if whole else torch.stack([_pad(video, length) for video in videos]),  # type: ignore[attr-defined]
        "mask": torch.stack([_pad(sample["mask"], length) for sample in samples]),
        "target": torch.stack([torch.as_tensor(sample["target"]) for sample in samples]),
    }
    return batch | {key: [sample[key] for sample in samples] for key in samples[0] if key not in batch}


def _pad(tensor: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - tensor.shape[0]
    return tensor if not missing else torch.cat([tensor, tensor.new_zeros((missing, *tensor.shape[1:]))])
