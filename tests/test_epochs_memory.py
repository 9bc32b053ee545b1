"""Many epochs keep nothing: objects, open files, footers and known row groups are counted; no times."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from unsafe_video_dataset import RandomClip, UnsafeVideoDataset, collate  # noqa: E402

pytestmark = pytest.mark.slow
WARM, MORE = 4, 24


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_epochs_in_one_process_keep_no_object_and_no_file(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, config="reviewed", split=None, size=32, clip=RandomClip(4))
    loader = DataLoader(dataset, 4, collate_fn=collate, shuffle=True)

    def epochs(first: int, count: int) -> None:
        for epoch in range(first, first + count):
            dataset.set_epoch(epoch)
            for _ in loader:
                pass

    def counted() -> tuple[Counter[str], dict[str, int]]:
        gc.collect()
        release = dataset.release
        kept = {"footers": len(release._footers), "checked": len(release._checked), "groups": len(release._alone._known)}
        return Counter(type(one).__name__ for one in gc.get_objects()), {**kept, "files": open_files()}

    epochs(0, WARM)
    objects, kept = counted()
    tracemalloc.start()
    epochs(WARM, 2)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    epochs(WARM + 2, MORE)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    later, kept_later = counted()
    assert kept_later == kept
    more = {name: count - objects[name] for name, count in later.items() if count - objects[name] >= MORE}
    assert not more, f"as many objects more as there were epochs: {more}"
    assert grown < 1000 * MORE, f"{grown} bytes of Python objects in {MORE} epochs"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_workers_that_live_on_leave_no_file_open_in_the_loop(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, config="reviewed", split=None, size=32, clip=RandomClip(4))
    loader = DataLoader(dataset, 4, collate_fn=collate, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in range(8):
        dataset.set_epoch(epoch)
        for _ in loader:
            pass
        gc.collect()
        seen.append(open_files())
    assert len(set(seen[3:])) == 1, seen
