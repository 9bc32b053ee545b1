"""The loaders that are compared, each behind one signature: `open(layout, load)` gives batches of (ids, uint8 [B, T, 3, H, W]).

Every loader takes the same frames (`UniformFrames`), resizes in its own best way, runs one thread a process and goes through
the clips once, in its own order. Nothing is imported before a loader is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..decoders import status
from .clips import Layout

Kind = Literal["ours", "peer", "limit", "memory"]
Batch = tuple[list[str], Any]


@dataclass(frozen=True)
class Load:
    """How a loader is to run. `cache` is the folder of decoded clips, `again` keeps workers alive for more epochs."""

    workers: int = 0
    batch_size: int = 8
    size: int = 224
    cache: str | None = None
    again: bool = False


@dataclass(frozen=True)
class Peer:
    """One loader. `modules` are what it imports; `install` says how to get them, as a sentence.

    `later` measures epochs after the first, workers alive; `pixels` is False where no clip comes out (a limit).
    """

    name: str
    title: str
    kind: Kind
    open: Callable[[Layout, Load], Iterable[Batch]]
    modules: tuple[str, ...]
    install: str
    prepare: Callable[[Layout, Load], None] | None = None
    cached: bool = False
    later: bool = False
    pixels: bool = True

    def missing(self) -> str | None:
        """One sentence that says what to install, or None where the loader can run. Really imports what it needs."""
        for module in self.modules:
            if module in ("decord", "av", "torchcodec"):
                said = status({"av": "pyav"}.get(module, module))
                if not said.startswith("ok"):
                    return f"{self.title} is left out: {said.rstrip('.')}; {self.install}."
                continue
            try:
                importlib.import_module(module)
            except Exception as error:  # a broken package may raise anything
                what = f"{error.name or module} is not installed" if isinstance(error, ModuleNotFoundError) else _first(error)
                return f"{self.title} is left out: {what}; {self.install}."
        return None


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


def _ours(layout: Layout, load: Load) -> Iterable[Batch]:
    from torch.utils.data import DataLoader

    from ..torch import UnsafeVideoDataset

    more: dict[str, Any] = {} if load.cache is None else {"cache": load.cache}
    dataset = UnsafeVideoDataset(str(layout.release), config="reviewed", split=None, size=load.size, **more)
    loader: Iterable[Batch] = DataLoader(dataset, collate_fn=_pair, **_options(load))
    return loader


def _pair(samples: Sequence[dict[str, Any]]) -> Batch:
    from ..torch import collate

    batch = collate(samples)
    return batch["video_id"], batch["video"]


def _options(load: Load) -> dict[str, Any]:
    options = {"batch_size": load.batch_size, "num_workers": load.workers}
    return options | ({"persistent_workers": True} if load.again and load.workers else {})


def _plain(name: str) -> Callable[[Layout, Load], Iterable[Batch]]:
    def open_(layout: Layout, load: Load) -> Iterable[Batch]:
        from torch.utils.data import DataLoader

        from . import readers

        dataset = readers.Files(layout, getattr(readers, name), load.size)
        loader: Iterable[Batch] = DataLoader(dataset, **_options(load))
        return loader

    return open_


def _others(name: str) -> Callable[[Layout, Load], Iterable[Batch]]:
    def open_(layout: Layout, load: Load) -> Iterable[Batch]:
        from . import others

        batches: Iterable[Batch] = getattr(others, name)(layout, load)
        return batches

    return open_


def _write(name: str) -> Callable[[Layout, Load], None]:
    def prepare(layout: Layout, load: Load) -> None:
        from . import others

        getattr(others, name)(layout)

    return prepare


def _fill_cache(layout: Layout, load: Load) -> None:
    for _ in _ours(layout, replace(load, cache=str(cache_folder(layout)))):
        pass


def cache_folder(layout: Layout) -> Path:
    """Where the filled cache of a layout is, for the loaders of later epochs."""
    return layout.root / "cache"


_TRAIN = "run: pip install 'unsafe-video-dataset[train]'"
INSTALL = "run: pip install 'unsafe-video-dataset[bench]'"
_LITDATA = (
    "run: pip install litdata (it asks for torchvision; without: pip install --no-deps litdata lightning-utilities boto3)"
)
_CODEC = "run: pip install 'unsafe-video-dataset[torchcodec]', and install FFmpeg 4 to 7 from your system's packages"

_ALL = (
    Peer("ours", "this package, first epoch", "ours", _ours, ("torch",), _TRAIN),
    Peer("ours-fill", "this package, cache=, first epoch", "ours", _ours, ("torch",), _TRAIN, cached=True),
    Peer(
        "ours-cache",
        "this package, cache=, later epochs",
        "ours",
        _ours,
        ("torch",),
        _TRAIN,
        _fill_cache,
        cached=True,
        later=True,
    ),
    Peer("decord", "torch Dataset, decord", "peer", _plain("decord_file"), ("torch", "decord"), _TRAIN),
    Peer("torchcodec", "torch Dataset, torchcodec", "peer", _plain("torchcodec_file"), ("torch", "torchcodec"), _CODEC),
    Peer("pyav", "torch Dataset, PyAV", "peer", _plain("pyav_file"), ("torch", "av"), _TRAIN),
    Peer(
        "hf-map",
        "datasets Video(), map-style",
        "peer",
        _others("hf_map"),
        ("datasets", "torchcodec"),
        _CODEC,
        _write("hf_cache"),
    ),
    Peer("hf-stream", "datasets Video(), streaming", "peer", _others("hf_stream"), ("datasets", "torchcodec"), _CODEC),
    Peer(
        "webdataset",
        "webdataset, decord",
        "peer",
        _others("webdataset"),
        ("webdataset", "decord"),
        INSTALL,
        _write("webdataset_shards"),
    ),
    Peer("litdata", "litdata, decord", "peer", _others("litdata"), ("litdata", "decord"), _LITDATA, _write("litdata_chunks")),
    Peer("read-all", "SafeSora's shape: cv2 reads all, then picks", "peer", _plain("cv2_file"), ("torch", "cv2"), INSTALL),
    Peer("limit", "limit: libav decodes, nothing else", "limit", _plain("libav_only"), ("torch", "av"), _TRAIN, pixels=False),
    Peer(
        "memory",
        "limit: copies of decoded clips in memory",
        "memory",
        _others("memory"),
        ("torch",),
        _TRAIN,
        later=True,
        pixels=False,
    ),
)
PEERS: dict[str, Peer] = {peer.name: peer for peer in _ALL}
