"""Candidates (checked videos with prompt and label) -> the records of a release: ids, groups, splits, votes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.mp4 import Mp4Info
from unsafe_video_dataset.records import Record, validate
from unsafe_video_dataset.votes import Tie, in_order, label_votes

from .group import group_ids, prompt_id
from .split import assign_splits


@dataclass
class Candidate:
    """One raw video that was read and probed. `votes` None means that `categories` is upstream's label.

    `read` gives the MP4 bytes again, so that a build never holds all videos in memory.
    """

    source_index: int
    sha256: str
    info: Mp4Info
    read: Callable[[], bytes]
    generator: str
    categories: Sequence[str]
    prompt: str | None = None
    prompt_source: str | None = None
    generation: Mapping[str, Any] | None = None
    votes: list[dict[str, Any]] | None = None

    @property
    def video_id(self) -> str:
        """First 16 hex digits of the sha256."""
        return self.sha256[:16]


@dataclass
class Assembled:
    """Records ready to be written: `videos` pairs each record (with its `split`) with the reader of its bytes."""

    videos: list[tuple[Record, Callable[[], bytes]]] = field(default_factory=list)
    annotations: list[Record] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    votes_left_out: dict[str, int] = field(default_factory=dict)
    ties: int = 0
    faults: list[Fault] = field(default_factory=list)


def assemble(
    candidates: Sequence[Candidate],
    *,
    fractions: Sequence[float],
    seed: int,
    keep_prompts: bool = True,
    tie: Tie = "negative",
) -> Assembled:
    """Label, group, split and validate. Of byte-identical videos one stays: the first by source index that has votes, if any.

    Schema faults of all records are in `.faults`; the caller refuses to write when there are any.
    """
    result = Assembled()
    group_of = _groups(candidates)
    kept = _voted(_unique(candidates, result), result)
    labelled = [(candidate, _label(candidate, tie, result)) for candidate in kept]
    groups = [group_of[candidate.video_id] for candidate in kept]
    by_group: dict[str, list[list[str]]] = defaultdict(list)
    for (_, label), group in zip(labelled, groups, strict=True):
        by_group[group].append(label["categories"])
    splits = assign_splits(by_group, fractions=fractions, seed=seed)
    for (candidate, label), group in zip(labelled, groups, strict=True):
        record = {**_facts(candidate, keep_prompts), **label, "group_id": group, "split": splits[group]}
        result.videos.append((record, candidate.read))
        result.annotations += [_annotation(record, vote) for vote in candidate.votes or []]
    result.videos.sort(key=lambda pair: pair[0]["video_id"])
    result.annotations.sort(key=lambda record: (record["video_id"], record["rater_id"]))
    result.faults += validate("video", [(None, record) for record, _ in result.videos], file="video records")
    result.faults += validate("annotation", [(None, record) for record in result.annotations], file="annotation records")
    return result


def _groups(candidates: Sequence[Candidate]) -> dict[str, str]:
    """`video_id` -> group. A duplicate that is left out still ties its prompt to its bytes."""
    ids = [candidate.video_id for candidate in candidates]
    keys = [[one.sha256] + ([prompt_id(one.prompt)] if one.prompt is not None else []) for one in candidates]
    return dict(zip(ids, group_ids(keys, ids), strict=True))


def _voted(candidates: Sequence[Candidate], result: Assembled) -> list[Candidate]:
    """Where votes make the labels, a video without a vote that counts has no label: it is left out, and listed."""
    if not any(candidate.votes for candidate in candidates):
        return list(candidates)
    for candidate in candidates:
        if not candidate.votes:
            entry = {"source_index": candidate.source_index, "video_id": candidate.video_id, "reason": "no vote that counts"}
            result.left_out.append(entry)
    return [candidate for candidate in candidates if candidate.votes]


def _unique(candidates: Sequence[Candidate], result: Assembled) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: (not one.votes, one.source_index)):
        keeper = first.setdefault(candidate.video_id, candidate)
        if keeper is not candidate:
            reason = f"exact duplicate of source_index {keeper.source_index}"
            if keeper.votes is None and set(candidate.categories) != set(keeper.categories):
                reason += ", labelled otherwise"
            result.left_out.append({"source_index": candidate.source_index, "video_id": candidate.video_id, "reason": reason})
            if candidate.votes:
                left_out = result.votes_left_out.get("exact_duplicate", 0) + len(candidate.votes)
                result.votes_left_out["exact_duplicate"] = left_out
    return list(first.values())


def _label(candidate: Candidate, tie: Tie, result: Assembled) -> Record:
    if not candidate.votes:
        categories = in_order(candidate.categories)
        empty: Record = dict.fromkeys(("votes", "vote_counts", "soft_labels", "agreement"))
        label: Record = {"categories": categories, "num_raters": 0, "label_method": "upstream", **empty}
    else:
        voted = label_votes(candidate.votes, tie=tie)
        result.ties += len(voted.tied)
        label = {key: value for key, value in vars(voted).items() if key != "tied"}
        label["label_method"] = "majority"
    return {**label, "is_unsafe": bool(label["categories"])}


def _facts(candidate: Candidate, keep_prompts: bool) -> Record:
    info = candidate.info
    return {
        "video_id": candidate.video_id,
        "prompt_id": prompt_id(candidate.prompt) if candidate.prompt is not None else None,
        "prompt": candidate.prompt if keep_prompts else None,
        "prompt_source": candidate.prompt_source,
        "generator": candidate.generator,
        "generation": dict(candidate.generation) if candidate.generation else None,
        "source_index": candidate.source_index,
        "num_frames": info.num_frames,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "duration_seconds": info.duration_seconds,
        "codec": info.codec,
        "num_bytes": info.num_bytes,
        "sha256": candidate.sha256,
    }


def _annotation(record: Record, vote: Mapping[str, Any]) -> Record:
    return {
        "video_id": record["video_id"],
        "rater_id": vote["rater_id"],
        "categories": in_order(vote["categories"]),
        "seconds": vote.get("seconds"),
        "attention_check": vote.get("attention_check"),
        "split": record["split"],
    }
