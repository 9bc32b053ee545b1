"""`unsafe-video-build diff`: what changed from one release to the next, by `video_id`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from unsafe_video_dataset._console import Table, make_table, plain_blocks
from unsafe_video_dataset.records import from_table
from unsafe_video_dataset.release import Release

# What a change of each column is called; columns of no group changed "otherwise".
_KINDS: dict[str, tuple[str, ...]] = {
    "relabelled": ("categories", "is_unsafe", "label_method"),
    "resplit": ("split",),
    "regrouped": ("group_id",),
    "revoted": ("votes", "vote_counts", "num_raters", "soft_labels", "agreement"),
    "reprompted": ("prompt", "prompt_id", "prompt_source"),
}


@dataclass
class ReleaseDiff:
    """Ids by kind of change. `relabelled` and `resplit` map an id to [before, after]; `withdrawn` are the removed ones that
    stand in the new release's tombstones."""

    old: str
    new: str
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    relabelled: dict[str, list[list[str]]] = field(default_factory=dict)
    resplit: dict[str, list[str]] = field(default_factory=dict)
    regrouped: list[str] = field(default_factory=list)
    revoted: list[str] = field(default_factory=list)
    reprompted: list[str] = field(default_factory=list)
    otherwise: dict[str, list[str]] = field(default_factory=dict)
    unchanged: int = 0

    @property
    def same(self) -> bool:
        """True if both hold the same videos with the same records."""
        return not any(value for key, value in vars(self).items() if key not in ("old", "new", "unchanged"))

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON values."""
        return {**asdict(self), "same": self.same}

    def __str__(self) -> str:
        return plain_blocks(*self.blocks())

    def blocks(self) -> list[Table]:
        """One table, for a terminal."""
        names = ("added", "removed", "withdrawn", "relabelled", *(name for name in _KINDS if name != "relabelled"), "otherwise")
        rows = [(name, len(getattr(self, name)), ", ".join(list(getattr(self, name))[:3])) for name in names]
        head = (f"{self.old} -> {self.new}", "videos", "first")
        return [make_table(head, [*rows, ("unchanged", self.unchanged, "")])]


def diff(old: Release, new: Release) -> ReleaseDiff:
    """Compare the metadata of two releases. Prompts are compared, never shown."""
    before, after = _records(old), _records(new)
    found = ReleaseDiff(f"{old.name} {old.version}", f"{new.name} {new.version}")
    found.added = sorted(after.keys() - before.keys())
    found.removed = sorted(before.keys() - after.keys())
    found.withdrawn = [video_id for video_id in found.removed if video_id in new.tombstones]
    known = {column for columns in _KINDS.values() for column in columns}
    for video_id in sorted(before.keys() & after.keys()):
        one, other = before[video_id], after[video_id]
        changed = {column for column in one.keys() | other.keys() if one.get(column) != other.get(column)}
        if not changed:
            found.unchanged += 1
        if changed & set(_KINDS["relabelled"]):
            found.relabelled[video_id] = [_label(one), _label(other)]
        if "split" in changed:
            found.resplit[video_id] = [one["split"], other["split"]]
        for kind in ("regrouped", "revoted", "reprompted"):
            if changed & set(_KINDS[kind]):
                getattr(found, kind).append(video_id)
        if changed - known:
            found.otherwise[video_id] = sorted(changed - known)
    return found


def _records(release: Release) -> dict[str, Mapping[str, Any]]:
    return {record["video_id"]: record for record in from_table("metadata", release.metadata())}


def _label(record: Mapping[str, Any]) -> list[str]:
    return [*record["categories"], f"({record['label_method']})"]
