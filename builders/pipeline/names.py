"""Names of videos in files that people wrote, beside the tables: which of them are unknown, which just did not get so far.

A coded or decided video may have been dropped by an earlier stage, or withdrawn: that is no fault of the file. Only a name
that ingest never saw is. Where raw files of withdrawn videos are gone, as many items may be unknown as there are such videos.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from unsafe_video_dataset.errors import Fault

from .withdrawn import WITHOUT_FILE


@dataclass
class Names:
    """What ingest saw. `not_reached` counts the rows about videos that did not reach the stage that reads them."""

    items: frozenset[str] = frozenset()
    video_ids: frozenset[str] = frozenset()
    spare: int = 0
    not_reached: int = 0
    _unknown: list[tuple[str, Fault]] = field(default_factory=list)

    @classmethod
    def of(cls, ingest: pa.Table) -> Names:
        """Of the table of ingest."""
        items = frozenset(ingest["item"].to_pylist())
        ids = frozenset(ingest["video_id"].to_pylist()) - {None}
        return cls(items, ids, spare=sum(item.startswith(WITHOUT_FILE) for item in items))

    def miss(self, which: str, name: str, fault: Fault) -> None:
        """A row about a video, by its `item` or `video_id`, that is not among those that reached the stage."""
        if name in (self.items if which == "item" else self.video_ids):
            self.not_reached += 1
        else:
            self._unknown.append((name if which == "item" else "", fault))

    def faults(self) -> list[Fault]:
        """A fault for each row whose video is unknown; none where they are no more than the withdrawn ones without a file."""
        strange = {name for name, _ in self._unknown}
        if "" not in strange and len(strange) <= self.spare:
            self.not_reached += len(self._unknown)
            self._unknown = []
        return [fault for _, fault in self._unknown]
