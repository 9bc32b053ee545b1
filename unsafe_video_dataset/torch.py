"""PyTorch datasets over a release: decoded clips with targets, and how to batch them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from .batch import OneBuffer, batch_buffer
from .batch import Sample as Sample
from .batch import collate as collate
from .cache import FrameCache, as_cache
from .clip_file import clip_key
from .clips import Clip, UniformFrames
from .columns import Texts, list_parents
from .errors import DecodeError, FilterError, one_of
from .filters import checked_filters
from .isolate import ChildLimits
from .mp4 import DEFAULT_LIMITS
from .release import SAMPLE, Release
from .sizes import Size, height_width
from .taxonomy import CATEGORIES, VOTE_KEYS
from .video import Decoder, choose_decoder, decode_frames, decoder_version

Target = Literal["multilabel", "soft", "binary", "votes"]
OnError = Literal["raise", "mask"]
_TARGET_COLUMNS = {"multilabel": "categories", "soft": "soft_labels", "binary": "is_unsafe", "votes": "vote_counts"}


class UnsafeVideoDataset(Dataset[Sample]):
    """Clips of the videos of one split, decoded when they are asked for.

    `release` is `"sample"`, a release folder, a `Release`, or a repository on the Hub (`"org/repo"`; `revision` to
    `accept_terms` are for these, see `hub.download`); `config` `"unsafe"` or `"reviewed"`; the filters are those of
    `Release.metadata`. `clip` picks frames (`clips`); `size` is an int (square) or (height, width): every frame is resized
    to exactly that. Targets: `"multilabel"` float32 [5] of 0 and 1; `"soft"` float32 [5], shares of raters; `"binary"` float32
    [], 1 for unsafe; `"votes"` int64 [6], raters for each category and for none.

    An item is `{"video": uint8 [T, 3, H, W] RGB, or what transform makes of it; "mask": bool [T], False for padding;
    "target": Tensor; "video_id": str}`, and `"prompt"` with `return_prompt`. What a random clip takes depends on (seed, epoch,
    video_id) alone, not on workers or order. With `on_error="mask"` a video that can't be decoded comes as zeros with
    an all-False mask; wrong bytes (`ChecksumError`) always raise. `isolate` decodes in a child process with limits (True, or
    `isolate.ChildLimits`), each worker in its own.

    `cache`, a folder or a `FrameCache`, keeps decoded clips on disk for later epochs. It is a second copy of the videos, so
    there is none unless you ask for one. It needs a clip that takes the same frames in every epoch (`FilterError` for
    `RandomClip`, unless the `FrameCache` has `random_clips=True`). Withdrawn videos are removed from it.

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
        cache: FrameCache | str | os.PathLike[str] | None = None,
    ) -> None:
        one_of(config, ("unsafe", "reviewed"), "config")
        one_of(target, get_args(Target), "target")
        one_of(on_error, get_args(OnError), "on_error")
        if seed < 0:
            raise FilterError(f"seed={seed} must be 0 or more.")
        choose_decoder(decoder)  # a decoder that is not there is said here, not in a worker
        if size is not None:
            height_width(size)
        if clip is not None and (isinstance(clip, type) or not callable(getattr(clip, "indices", None))):
            raise FilterError(f"clip={clip!r} picks no frames. Give a clip, such as UniformFrames(16) or CenterClip(16).")
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
        checked_filters(release.manifest["counts"], is_unsafe=is_unsafe)  # below it may be overruled by the config
        self.release = release
        self.clip = clip if clip is not None else UniformFrames(16)
        self.size = size
        self.transform = transform
        self.target_transform = target_transform
        self.decoder = decoder
        self.on_error = on_error
        self.seed = seed
        self.isolate = isolate
        self._filters: dict[str, Any] = {
            "categories": categories,
            "generators": generators,
            "prompt_sources": prompt_sources,
            "is_unsafe": True if config == "unsafe" else is_unsafe,
            "min_raters": min_raters,
            "min_agreement": min_agreement,
        }
        self._split = split
        self.cache = as_cache(cache)
        columns = ["video_id", "num_frames", _TARGET_COLUMNS[target]]
        columns += ["prompt"] if return_prompt else []
        columns += ["sha256"] if self.cache is not None else []
        columns += ["height", "width"] if size is None else []
        table = self._read(columns)
        self.video_ids = Texts(table["video_id"])
        self.targets = _targets(table, target, self.release.name)
        self._num_frames = table["num_frames"].to_numpy()
        self._native = np.stack([table[name].to_numpy() for name in ("height", "width")], axis=1) if size is None else None
        self._prompts = Texts(table["prompt"]) if return_prompt else None
        if self.cache is not None:
            self._keep_clips(self.cache, Texts(table["sha256"]))
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # seen by workers that live on between epochs

    def __len__(self) -> int:
        return len(self.video_ids)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch random clips are drawn for; call it before each epoch, as with `DistributedSampler`."""
        self._epoch.fill_(epoch)

    @functools.cached_property
    def group_ids(self) -> Texts:
        """`group_id` of each video (prompt and near duplicates), in the order of `video_ids`; read when first asked for."""
        return Texts(self._read(["group_id"])["group_id"])

    def __getitem__(self, index: int) -> Sample:
        return self._item(index, None)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """The items of a batch. Where all clips have one shape they are decoded, or read from the cache, to their rows of one
        tensor, which `collate` hands on as it is: in a worker it lies in shared memory from the start."""
        shape = self._batch_shape(indices)
        if shape is None or type(self).__getitem__ is not UnsafeVideoDataset.__getitem__:
            return [self[index] for index in indices]
        clips = batch_buffer(shape)
        rows = list(clips)
        samples = OneBuffer(self._item(index, row) for index, row in zip(indices, rows, strict=True))
        samples.clips, samples.rows = clips, rows
        return samples

    def _batch_shape(self, indices: Sequence[int]) -> tuple[int, ...] | None:
        if self.size is None or self.transform is not None or not len(indices):
            return None
        length = getattr(self.clip, "n", None)  # of a clip that gives as many frames for every video
        if not isinstance(length, int):
            return None
        return len(indices), length, 3, *height_width(self.size)

    def _item(self, index: int, out: torch.Tensor | None) -> Sample:
        video_id = self.video_ids[index]
        index = index % len(self)
        rng = np.random.default_rng([self.seed, int(self._epoch), int(video_id, 16)])
        indices, mask = self.clip.indices(int(self._num_frames[index]), rng)
        if out is not None and len(out) != len(indices):
            out = None  # a clip of one's own, whose `n` is something else
        frames, mask = self._frames(index, video_id, indices, mask, out)
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

    def _frames(self, index: int, video_id: str, indices: Any, mask: Any, out: torch.Tensor | None) -> tuple[torch.Tensor, Any]:
        place = None if out is None else out.numpy()
        frames, mask = self._pixels(index, video_id, indices, mask, place)
        return torch.from_numpy(frames) if out is None else out, mask

    def _pixels(self, index: int, video_id: str, indices: Any, mask: Any, place: Any) -> tuple[Any, Any]:
        """The clip, from the cache or decoded, and its mask; in `place` [T, 3, H, W] where there is one."""
        key = None
        if self.cache is not None:
            self.release.refuse_withdrawn(video_id)
            size = None if self.size is None else height_width(self.size)
            key = clip_key(self._sha256[index], indices, size, self._version)
            kept = self.cache.get(key, out=place)
            if kept is not None:
                return kept, mask
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
                out=place,
            )
        except DecodeError:
            if self.on_error == "raise":
                raise
            height, width = self._native_size(index) if self.size is None else height_width(self.size)
            if height * width * 3 * len(indices) > DEFAULT_LIMITS.max_decoded_bytes:
                raise  # a release may state any size
            frames = np.empty((len(indices), 3, height, width), np.uint8) if place is None else place
            frames[...] = 0
            return frames, np.zeros(len(indices), dtype=np.bool_)
        if self.cache is not None and key is not None:
            self.cache.put(key, frames)
        return frames, mask

    def _native_size(self, index: int) -> tuple[int, int]:
        assert self._native is not None  # read where no size is given
        height, width = self._native[index]
        return int(height), int(width)

    def _read(self, columns: Sequence[str]) -> Any:
        """Columns of the selection, always in the same order of rows."""
        return self.release.metadata(self._split, columns=columns, **self._filters)

    def _keep_clips(self, cache: FrameCache, sha256: Texts) -> None:
        if not cache.random_clips:
            try:
                self.clip.indices(1, None)
            except FilterError as error:
                raise FilterError(
                    f"{type(self.clip).__name__} takes other frames in each epoch: its clips would fill the cache and hardly"
                    " ever be used. Leave cache= out, or give FrameCache(path, random_clips=True)."
                ) from error
        from .hub.copies import remember_copy

        self._sha256 = sha256
        self._version = decoder_version(self.decoder)
        cache.forget(self.release.tombstones)
        remember_copy(self.release.path, cache.path, kind="frames")


def _targets(table: Any, target: Target, name: str) -> torch.Tensor:
    """All targets of the selection, in its order: [N, 5], [N, 6] or [N]."""
    column = table[_TARGET_COLUMNS[target]].combine_chunks()
    if target == "binary":
        return torch.from_numpy(column.to_numpy(zero_copy_only=False).astype(np.float32))
    if target == "multilabel":
        hot = np.zeros(table.num_rows * len(CATEGORIES), np.float32)
        hot[list_parents(column) * len(CATEGORIES) + column.flatten().to_numpy()] = 1
        return torch.from_numpy(hot.reshape(-1, len(CATEGORIES)))
    if column.null_count:
        raise FilterError(
            f"target={target!r} needs rater votes, and {column.null_count} of {len(column)} videos of release {name} have none."
            " Use target='multilabel', or min_raters=1 to leave them out."
        )
    keys, kind = (CATEGORIES, np.float32) if target == "soft" else (VOTE_KEYS, np.int64)
    return torch.from_numpy(np.stack([column.field(key).to_numpy() for key in keys], axis=1).astype(kind))
