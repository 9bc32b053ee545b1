"""WebDataset: tar shards `<split>-000000.tar`; a video is `<video_id>.mp4` and `<video_id>.json` (its record, with `sha256`).

The same selection gives the same bytes: members are sorted by `video_id` and carry no time and no owner.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import ExitStack
from pathlib import Path

from .selection import Selection

SHARD_BYTES = 500_000_000  # a shard that is full by then is closed; a video is never cut


def write(selection: Selection, folder: Path) -> None:
    """Write the shards. Without media a video is its JSON alone."""
    with ExitStack() as stack:
        shard: tarfile.TarFile | None = None
        split, number, size = "", 0, 0
        for record, data in selection.videos():
            if shard is None or record["split"] != split or size >= SHARD_BYTES:
                stack.close()
                number = number + 1 if record["split"] == split and shard is not None else 0
                split, size = record["split"], 0
                shard = stack.enter_context(
                    tarfile.open(folder / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)
                )
            if data is not None:
                size += _add(shard, f"{record['video_id']}.mp4", data)
            size += _add(shard, f"{record['video_id']}.json", json.dumps(record, ensure_ascii=False, sort_keys=True).encode())


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> int:
    member = tarfile.TarInfo(name)  # time 0, owner 0, mode 644
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))
    return len(data)
