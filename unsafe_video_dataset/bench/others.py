"""Loaders with a storage format of their own: `datasets`, webdataset, litdata; and the limit of a cache, a copy in memory.

`<name>(layout, load)` gives batches; `<name>_shards` and the like write the format once, before anything is measured.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .clips import Layout
from .peers import Batch, Load
from .readers import decord_file, picks
from .settings import FRAMES

_SHARDS = 4  # as many as any number of workers that is measured by default can share evenly


def _parquet(layout: Layout) -> list[str]:
    return [str(path) for path in sorted((layout.release / "data" / "unsafe").glob("*.parquet"))]


def _hf(layout: Layout, *, streaming: bool) -> Any:
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset(
        "parquet",
        data_files=_parquet(layout),
        split="train",
        streaming=streaming,
        columns=["video_id", "video"],
        cache_dir=str(layout.root / "hf"),
    )
    return rows.cast_column("video", datasets.Video(num_ffmpeg_threads=1))


def hf_cache(layout: Layout) -> None:
    """Let `datasets` write its Arrow copy of the release's Parquet files."""
    _hf(layout, streaming=False)


class _Shape:
    """What is done with a row of `datasets`: its `Video()` feature gives a torchcodec decoder at native size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        decoder = row["video"]
        frames = decoder.get_frames_at(picks(len(decoder))).data
        resized = torch.nn.functional.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=True)
        return {"video_id": row["video_id"], "video": resized}

    def batch(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The same for a batch of columns, which is what `with_transform` hands over."""
        done = [self({"video_id": id_, "video": one}) for id_, one in zip(rows["video_id"], rows["video"], strict=True)]
        return {key: [one[key] for one in done] for key in ("video_id", "video")}


def _pairs(batches: Iterable[dict[str, Any]]) -> Iterator[Batch]:
    for batch in batches:
        yield batch["video_id"], batch["video"]


def hf_map(layout: Layout, load: Load) -> Iterator[Batch]:
    """`datasets`, map-style: an Arrow file on disk, `with_transform`."""
    rows = _hf(layout, streaming=False).with_transform(_Shape(load.size).batch)
    return _pairs(DataLoader(rows, batch_size=load.batch_size, num_workers=load.workers))


def hf_stream(layout: Layout, load: Load) -> Iterator[Batch]:
    """`datasets`, streaming from the same Parquet files. Workers share files, of which there are three."""
    rows = _hf(layout, streaming=True).map(_Shape(load.size))
    return _pairs(DataLoader(rows.with_format("torch"), batch_size=load.batch_size, num_workers=load.workers))


def webdataset_shards(layout: Layout) -> None:
    """Tar files of `<video_id>.mp4`."""
    folder = layout.root / "webdataset"
    folder.mkdir()
    for shard in range(_SHARDS):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as tar:
            for index in range(shard, len(layout.ids), _SHARDS):
                data = layout.file(index).read_bytes()
                entry = tarfile.TarInfo(f"{layout.ids[index]}.mp4")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def webdataset(layout: Layout, load: Load) -> Iterable[Batch]:
    """webdataset over local tar files, decord on the bytes."""
    wds: Any = import_module("webdataset")
    shards = [str(path) for path in sorted((layout.root / "webdataset").glob("*.tar")) if path.stat().st_size > 10_240]
    shown = wds.WebDataset(shards, shardshuffle=False, empty_check=False).to_tuple("__key__", "mp4").map(_Decode(load.size))
    loader: Iterable[Batch] = DataLoader(shown, batch_size=load.batch_size, num_workers=load.workers)
    return loader


class _Decode:
    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, row: Any) -> tuple[str, torch.Tensor]:
        key, data = (row["id"], row["mp4"]) if isinstance(row, dict) else row
        return key, decord_file(data, self.size)


def litdata_chunks(layout: Layout) -> None:
    """litdata's chunks of {id, mp4}."""
    ld: Any = import_module("litdata")
    ld.optimize(
        fn=_ReadOne(layout),
        inputs=list(range(len(layout.ids))),
        output_dir=str(layout.root / "litdata"),
        chunk_bytes="8MB",
        num_workers=1,
        verbose=False,
    )


class _ReadOne:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def __call__(self, index: int) -> dict[str, Any]:
        return {"id": self.layout.ids[index], "mp4": self.layout.file(index).read_bytes()}


def litdata(layout: Layout, load: Load) -> Iterable[Batch]:
    """litdata over its chunks, decord on the bytes."""
    ld: Any = import_module("litdata")
    rows = ld.StreamingDataset(str(layout.root / "litdata"), shuffle=False, transform=_Decode(load.size))
    loader: Iterable[Batch] = ld.StreamingDataLoader(rows, batch_size=load.batch_size, num_workers=load.workers)
    return loader


class _Memory(Dataset[Any]):
    """Decoded clips in memory; a batch is one copy of its clips into a new tensor."""

    def __init__(self, layout: Layout, size: int) -> None:
        self.ids = layout.ids
        self.clips = torch.ones((len(self.ids), FRAMES, 3, size, size), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, indices: list[int]) -> Batch:
        clips = self.clips[indices[0] : indices[-1] + 1]
        if torch.utils.data.get_worker_info() is None:
            batch = torch.empty_like(clips)
        else:  # shared memory from the start, or handing over would be a second copy
            storage = torch.UntypedStorage._new_shared(clips.numel())  # type: ignore[no-untyped-call]
            batch = torch.empty(0, dtype=torch.uint8).set_(storage).view(clips.shape)
        return [self.ids[index] for index in indices], batch.copy_(clips)


def memory(layout: Layout, load: Load) -> Iterable[Batch]:
    """The limit of a cache: every clip is copied once, in the order in which they lie in memory."""
    alive = load.again and load.workers > 0
    options: dict[str, Any] = {"batch_size": load.batch_size, "num_workers": load.workers, "persistent_workers": alive}
    loader: Iterable[Batch] = DataLoader(_Memory(layout, load.size), collate_fn=_same, **options)
    return loader


def _same(batch: Any) -> Any:
    return batch
