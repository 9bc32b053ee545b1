"""Memory over many epochs with workers that live on: flat, or how much an epoch adds."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .clips import Layout
from .process import tree_bytes
from .summary import slope


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes of the process tree after each epoch, and the slope an epoch with its interval, the first third left out.

    Allocators and workers take in the first epochs what they keep.
    Random clips (another one each epoch), so that nothing is the same twice. Proportional shares (PSS) on Linux.
    """
    import torch
    from torch.utils.data import DataLoader

    from ..clips import RandomClip
    from ..torch import UnsafeVideoDataset, collate

    torch.set_num_threads(1)
    release = str(Layout.load(Path(job["layout"])).release)
    dataset = UnsafeVideoDataset(release, config="reviewed", split=None, size=job["size"], clip=RandomClip(8))
    workers = job["workers"]
    loader: Any = DataLoader(dataset, 4, num_workers=workers, collate_fn=collate, shuffle=True, persistent_workers=workers > 0)
    seen = []
    for epoch in range(job["epochs"]):
        dataset.set_epoch(epoch)
        clips = sum(len(batch["video_id"]) for batch in loader)
        if clips != len(dataset):
            raise RuntimeError(f"epoch {epoch} gave {clips} of {len(dataset)} clips")
        gc.collect()
        seen.append(tree_bytes(os.getpid()))
    skipped = len(seen) // 3
    return {"workers": workers, "clips": len(dataset), "bytes": seen, "skipped": skipped, "slope": slope(seen, skip=skipped)}
