"""What is exported: rows of a release's metadata, and on demand the MP4 bytes of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from ..records import from_table
from ..release import Release
from ..taxonomy import NONE

Record = dict[str, Any]
_ROWS = 1024  # translated at a time


@dataclass(frozen=True)
class Selection:
    """Videos of a release, sorted by split and `video_id`; withdrawn ones are not among them.

    `table` has the columns of a metadata row and `split`, without `prompt` unless prompts were asked for. `media` says
    whether bytes may be read.
    """

    release: Release
    table: pa.Table
    media: bool
    prompts: bool
    progress: bool = False
    title: str = field(default="export")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def num_bytes(self) -> int:
        """Bytes of the MP4 files of the selection, by the metadata."""
        return int(sum(self.table["num_bytes"].to_pylist())) if len(self) else 0

    def records(self) -> Iterator[Record]:
        """One JSON record a video: categories are names. No bytes."""
        for start in range(0, len(self), _ROWS):
            yield from from_table("metadata", self.table.slice(start, _ROWS))

    def videos(self) -> Iterator[tuple[Record, bytes | None]]:
        """Each record with its MP4 file (None without media), sha256 checked; row groups are read once. Shows a bar."""
        ids = set(self.table["video_id"].to_pylist()) if self.media else set()
        read: dict[str, bytes] = {}
        total = self.num_bytes if self.media else len(self)
        unit: dict[str, Any] = {"unit": "B", "unit_scale": True} if self.media else {"unit": " videos"}
        with tqdm(total=total, desc=self.title, disable=not self.progress, **unit) as bar:
            for record in self.records():
                video_id = record["video_id"]
                if self.media and video_id not in read:
                    read |= self.release.group_videos(video_id, ids)
                data = read.pop(video_id, None)
                yield record, data
                ids.discard(video_id)  # a group that is read again brings no video twice
                bar.update(len(data) if data is not None else 1)

    def write_media(self, folder: Path) -> Iterator[Record]:
        """Write `media/<video_id>.mp4` below `folder` (without media: nothing) and hand out the records."""
        if self.media:
            (folder / "media").mkdir()
        for record, data in self.videos():
            if data is not None:
                (folder / media_name(record)).write_bytes(data)
            yield record


def media_name(record: Record) -> str:
    """Where the formats with loose files keep a video: `media/<video_id>.mp4`."""
    return f"media/{record['video_id']}.mp4"


def answer(vote: Record) -> list[str]:
    """The categories of a rater's vote; `none` where the rater chose none of them."""
    return list(vote["categories"]) or [NONE]
