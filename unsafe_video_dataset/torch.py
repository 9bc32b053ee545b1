"""PyTorch datasets over a release: decoded clips with targets, and how to batch them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from .clips import Clip, UniformFrames
from .errors import DecodeError, FilterError, InputError, one_of
from .isolate import ChildLimits
from .mp4 import DEFAULT_LIMITS
from .release import SAMPLE, Release
from .taxonomy import CATEGORIES, VOTE_KEYS
from .video import Decoder, Size, choose_decoder, decode_frames

Target = Literal["multilabel", "soft", "binary", "votes"]
OnError = Literal["raise", "mask"]
Sample = dict[str, Any]
_COLUMNS = ("video_id", "group_id", "num_frames", "height", "width", "is_unsafe", "categories", "soft_labels", "vote_counts")


class UnsafeVideoDataset(Dataset[Sample]):
    """Clips of the videos of one split, decoded when they are asked for.

    `release` is `"sample"`, a release folder, a `Release`, or a repository on the Hub (`"org/repo"`; `revision` to
    `accept_terms` are for these, see `hub.download`); `config` `"unsafe"` or `"reviewed"`; the filters are those of
    `Release.metadata`. `clip` picks frames (`clips`); `size` is an int (square) or (height, width): every frame is resized
    to exactly that. Targets: `"multilabel"` float32 [5] of 0 and 1; `"soft"` float32 [5], shares of raters; `"binary"` float32
    [], 1 for unsafe; `"votes"` int64 [6], raters for each category and for none.

    An item is `{"video": uint8 [T, 3, H, W] RGB, or what `transform` makes of it; "mask": bool [T], False for padding;
    "target": Tensor; "video_id": str}`, and `"prompt"` with `return_prompt`. What a random clip takes depends on (seed, epoch,
    video_id) alone, not on workers or order. With `on_error="mask"` a video that can't be decoded comes as zeros with
    an all-False mask; wrong bytes (`ChecksumError`) always raise. `isolate` decodes in a child process with limits (True, or
    `isolate.ChildLimits`), each worker in its own.

    Raises `FilterError` for unknown names, an empty selection, or targets that need votes where there are none.
    """

    def __init__(
        self,
        release: Release | str | os.PathLike[str] = SAMPLE,
        *,
        config: Literal["unsafe", "reviewed"] = "unsafe",
        split: str | None = "train",
        clip: Clip | None = None,
        size: Size = None,
        target: Target = "multilabel",
        transform: Callable[[torch.Tensor], Any] | None = None,
        target_transform: Callable[[torch.Tensor], Any] | None = None,
        categories: Sequence[str] | None = None,
        generators: Sequence[str] | None = None,
        prompt_sources: Sequence[str] | None = None,
        is_unsafe: bool | None = None,
        min_raters: int | None = None,
        min_agreement: float | None = None,
        return_prompt: bool = False,
        decoder: Decoder = "auto",
        on_error: OnError = "raise",
        seed: int = 0,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        allow_cached: bool = False,
        accept_terms: bool = False,
        isolate: bool | ChildLimits = False,
    ) -> None:
        one_of(config, ("unsafe", "reviewed"), "config")
        one_of(target, get_args(Target), "target")
        one_of(on_error, get_args(OnError), "on_error")
        if seed < 0:
            raise FilterError(f"seed={seed} must be 0 or more.")
        choose_decoder(decoder)  # a decoder that is not there is said here, not in a worker
        if config == "unsafe" and is_unsafe is False:
            raise FilterError("config='unsafe' holds unsafe videos only; use config='reviewed' with is_unsafe=False.")
        if not isinstance(release, Release):
            how: dict[str, Any] = {
                "revision": revision,
                "token": token,
                "local_files_only": local_files_only,
                "allow_cached": allow_cached,
            }
            how |= {"cache_dir": cache_dir, "accept_terms": accept_terms, "config": config, "split": split}
            release = Release.open(release, **how)
        self.release = release
        self.clip = clip if clip is not None else UniformFrames(16)
        self.size = size
        self.transform = transform
        self.target_transform = target_transform
        self.decoder = decoder
        self.on_error = on_error
        self.seed = seed
        self.isolate = isolate
        table = self.release.metadata(
            split,
            columns=[*_COLUMNS, "prompt"] if return_prompt else _COLUMNS,
            categories=categories,
            generators=generators,
            prompt_sources=prompt_sources,
            is_unsafe=True if config == "unsafe" else is_unsafe,
            min_raters=min_raters,
            min_agreement=min_agreement,
        )
        self.video_ids: list[str] = table["video_id"].to_pylist()
        self.group_ids: list[str] = table["group_id"].to_pylist()
        self.targets = _targets(table, target, self.release.name)
        self._num_frames = table["num_frames"].to_numpy()
        self._native = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1)
        self._prompts: list[str | None] | None = table["prompt"].to_pylist() if return_prompt else None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # seen by workers that live on between epochs

    def __len__(self) -> int:
        return len(self.video_ids)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch random clips are drawn for; call it before each epoch, as with `DistributedSampler`."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Sample:
        video_id = self.video_ids[index]
        index = index % len(self)
        rng = np.random.default_rng([self.seed, int(self._epoch), int(video_id, 16)])
        indices, mask = self.clip.indices(int(self._num_frames[index]), rng)
        frames, mask = self._frames(index, video_id, indices, mask)
        target = self.targets[index]
        sample: Sample = {
            "video": self.transform(frames) if self.transform else frames,
            "mask": torch.from_numpy(mask),
            "target": self.target_transform(target) if self.target_transform else target,
            "video_id": video_id,
        }
        if self._prompts is not None:
            sample["prompt"] = self._prompts[index]
        return sample

    def _frames(self, index: int, video_id: str, indices: Any, mask: Any) -> tuple[torch.Tensor, Any]:
        data = self.release.video_bytes(video_id)
        try:
            frames = decode_frames(
                data,
                [int(frame) for frame in indices],
                size=self.size,
                decoder=self.decoder,
                name=video_id,
                num_frames=int(self._num_frames[index]),
                isolate=self.isolate,
            )
        except DecodeError:
            if self.on_error == "raise":
                raise
            height, width = self._native[index] if self.size is None else np.broadcast_to(self.size, 2)
            if int(height) * int(width) * 3 * len(indices) > DEFAULT_LIMITS.max_decoded_bytes:
                raise  # a release may state any size
            frames = np.zeros((len(indices), 3, int(height), int(width)), dtype=np.uint8)
            mask = np.zeros(len(indices), dtype=np.bool_)
        return torch.from_numpy(frames), mask


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Batch items of `UnsafeVideoDataset`: tensors are stacked, strings listed.

    `video` [B, T, 3, H, W], `mask` bool [B, T]. Clips of different length are padded with zeros at the end and masked. Raises
    `InputError` for frames of different size.
    """
    if not samples:
        raise InputError("An empty list can't be collated.")
    videos = [sample["video"] for sample in samples]
    if len({tuple(video.shape[1:]) for video in videos}) > 1:
        shapes = sorted({tuple(video.shape[1:]) for video in videos})
        raise InputError(f"Frames differ in size ({shapes}). Give UnsafeVideoDataset a size=, e.g. size=224.")
    length = max(video.shape[0] for video in videos)
    batch: dict[str, Any] = {
        "video": torch.stack([_pad(video, length) for video in videos]),
        "mask": torch.stack([_pad(sample["mask"], length) for sample in samples]),
        "target": torch.stack([torch.as_tensor(sample["target"]) for sample in samples]),
    }
    return batch | {key: [sample[key] for sample in samples] for key in samples[0] if key not in batch}


def _pad(tensor: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - tensor.shape[0]
    return tensor if not missing else torch.cat([tensor, tensor.new_zeros((missing, *tensor.shape[1:]))])


def _targets(table: Any, target: Target, name: str) -> torch.Tensor:
    """All targets of the selection, in its order: [N, 5], [N, 6] or [N]."""
    if target == "binary":
        return torch.tensor(table["is_unsafe"].to_pylist(), dtype=torch.float32)
    if target == "multilabel":
        hot = torch.zeros((table.num_rows, len(CATEGORIES)))
        for row, indices in enumerate(table["categories"].to_pylist()):
            hot[row, indices] = 1
        return hot
    column, keys, dtype = (
        ("soft_labels", CATEGORIES, torch.float32) if target == "soft" else ("vote_counts", VOTE_KEYS, torch.int64)
    )
    rows = table[column].to_pylist()
    without = sum(row is None for row in rows)
    if without:
        raise FilterError(
            f"target={target!r} needs rater votes, and {without} of {len(rows)} videos of release {name} have none. "
            "Use target='multilabel', or min_raters=1 to leave them out."
        )
    return torch.tensor([[row[key] for key in keys] for row in rows], dtype=dtype)
