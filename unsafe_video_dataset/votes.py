"""Rater votes -> labels, soft labels and agreement. Each category is a separate yes/no question to each rater.

Majority of votes, as the paper labels its videos (arXiv 2407.12581, section 4), or Dawid-Skene, which weighs raters by
their estimated error rates; both with an explicit rule for ties. Results do not depend on the order of the rows.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any, Literal, get_args

import pyarrow as pa

from .dawid_skene import SMOOTHING, TOLERANCE, DawidSkene, by_category
from .errors import Fault, FaultsError, InputError, SchemaError, one_of
from .records import from_table
from .taxonomy import CATEGORIES, NONE

Tie = Literal["negative", "positive"]
Method = Literal["majority", "dawid_skene"]
VOTE_COUNTS = pa.struct([(name, pa.int32()) for name in (*CATEGORIES, NONE)])
SOFT_LABELS = pa.struct([(name, pa.float64()) for name in CATEGORIES])
Vote = Mapping[str, Any]  # {"rater_id": str, "categories": [names]}


@dataclass(frozen=True)
class Label:
    """What the votes on one video say. `tied` lists the categories that exactly half of the raters chose."""

    categories: list[str]
    votes: list[dict[str, Any]]
    vote_counts: dict[str, int]
    num_raters: int
    soft_labels: dict[str, float]
    agreement: float | None
    tied: list[str]


def label_votes(votes: Sequence[Vote], *, tie: Tie = "negative") -> Label:
    """The majority label of one video.

    A category is given when more than half of the raters chose it; at exactly half, `tie` decides. Raises `FaultsError`
    for no vote at all, a rater who votes twice, or a vote for something that is no category.
    """
    one_of(tie, get_args(Tie), "tie")
    faults = _vote_faults(votes, "votes")
    if faults:
        raise FaultsError("These votes give no label", faults)
    number = len(votes)
    chosen = {name: sum(name in vote["categories"] for vote in votes) for name in CATEGORIES}
    tied = [name for name, count in chosen.items() if 2 * count == number]
    ordered = sorted(votes, key=lambda vote: str(vote["rater_id"]))
    return Label(
        categories=[name for name, n in chosen.items() if 2 * n > number or (tie == "positive" and 2 * n == number)],
        votes=[{"rater_id": vote["rater_id"], "categories": in_order(vote["categories"])} for vote in ordered],
        vote_counts={**chosen, NONE: sum(not vote["categories"] for vote in votes)},
        num_raters=number,
        soft_labels={name: count / number for name, count in chosen.items()},
        agreement=pairwise_agreement(list(chosen.values()), number),
        tied=tied,
    )


def _vote_faults(votes: Sequence[Vote], place: str) -> list[Fault]:
    if not votes:
        return [Fault(place, "no vote", expected="at least one")]
    counted = Counter(str(vote["rater_id"]) for vote in votes)
    faults = [Fault(place, f"rater {rater} voted {n} times", expected="one vote") for rater, n in counted.items() if n > 1]
    for vote in votes:
        for name in sorted(set(map(str, vote["categories"])) - set(CATEGORIES)):
            message = f"rater {vote['rater_id']} chose {name!r}"
            faults.append(Fault(place, message, field="categories", expected=f"any of {', '.join(CATEGORIES)}"))
    return faults


def in_order(categories: Iterable[str]) -> list[str]:
    """Category names in taxonomy order, each once."""
    wanted = set(categories)
    return [name for name in CATEGORIES if name in wanted]


def pairwise_agreement(counts: Sequence[int], num_raters: int) -> float | None:
    """Share of rater pairs that give the same answer, averaged over categories, 0 to 1; None with fewer than two raters.

    For one category chosen by k of n raters: (C(k, 2) + C(n - k, 2)) / C(n, 2), the observed agreement of Fleiss (1971).
    """
    pairs = comb(num_raters, 2)
    if not pairs or not counts:
        return None
    return sum(comb(k, 2) + comb(num_raters - k, 2) for k in counts) / (pairs * len(counts))


def aggregate(
    annotations: pa.Table,
    *,
    method: Method = "majority",
    tie: Tie = "negative",
    min_raters: int = 1,
    smoothing: float = SMOOTHING,
) -> pa.Table:
    """One row a video from a table of annotations (`video_id`, `rater_id`, `categories` as class indices).

    Columns: `video_id`, `categories` list<string>, `is_unsafe` (any category given), `vote_counts`, `num_raters`,
    `soft_labels`, `agreement`, `tied` list<string>, `label_method`; sorted by `video_id`. Videos with fewer than
    `min_raters` votes have no row.

    `majority`: as `label_votes`; soft labels are shares of raters. `dawid_skene`: a category is given where its posterior
    is above one half, and soft labels are the posteriors (a release stores shares of raters whatever the method: see
    `schema/video.schema.json`); posteriors within EM's tolerance of one half are tied, and `tie` decides; `smoothing` as
    in `dawid_skene.by_category`. Counts and agreement are facts of the votes with both.

    Raises `FaultsError` with every vote that can't count (see `label_votes`), `SchemaError` for a table without these
    columns, `FilterError` or `InputError` for an option that is not known. Warns where EM stopped at its limit.
    """
    one_of(method, get_args(Method), "method")
    if min_raters < 1:
        raise InputError(f"min_raters={min_raters!r} must be at least 1.")
    by_video = votes_by_video(annotations)
    labels = {video_id: label_votes(votes, tie=tie) for video_id, votes in by_video.items()}
    if method == "dawid_skene":
        labels = weighed(labels, by_category(by_video, smoothing=smoothing), tie=tie)
    rows = [
        {
            "video_id": video_id,
            "categories": label.categories,
            "is_unsafe": bool(label.categories),
            "vote_counts": label.vote_counts,
            "num_raters": label.num_raters,
            "soft_labels": label.soft_labels,
            "agreement": label.agreement,
            "tied": label.tied,
            "label_method": method,
        }
        for video_id, label in labels.items()
        if label.num_raters >= min_raters
    ]
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("categories", pa.list_(pa.string())),
            ("is_unsafe", pa.bool_()),
            ("vote_counts", VOTE_COUNTS),
            ("num_raters", pa.int32()),
            ("soft_labels", SOFT_LABELS),
            ("agreement", pa.float64()),
            ("tied", pa.list_(pa.string())),
            ("label_method", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def votes_by_video(annotations: pa.Table) -> dict[str, list[Vote]]:
    """The votes of each video, by sorted `video_id`, from a table as `aggregate` takes it. Raises as `aggregate`."""
    needed = ["video_id", "rater_id", "categories"]
    if missing := [name for name in needed if name not in annotations.column_names]:
        raise SchemaError(f"The annotations have no column {', '.join(missing)}. Use `Release.annotations()`.")
    by_video: dict[str, list[Vote]] = defaultdict(list)
    for row in from_table("annotation", annotations.select(needed)):
        by_video[row["video_id"]].append(row)
    faults = [fault for video_id in sorted(by_video) for fault in _vote_faults(by_video[video_id], f"video {video_id}")]
    if faults:
        raise FaultsError("These votes give no labels", faults)
    return {video_id: by_video[video_id] for video_id in sorted(by_video)}


def weighed(labels: Mapping[str, Label], fits: Mapping[str, DawidSkene], *, tie: Tie) -> dict[str, Label]:
    """The labels by the posteriors of `fits` (see `aggregate`); all else of a label stays. Warns where EM did not converge."""
    open_ = [name for name, fit in fits.items() if not fit.converged]
    if open_:
        warnings.warn(f"Dawid-Skene did not converge for {', '.join(open_)}: their labels may still move.", stacklevel=3)
    posteriors = {name: dict(zip(fit.units, fit.posterior[:, 1].tolist(), strict=True)) for name, fit in fits.items()}
    result = {}
    for video_id, label in labels.items():
        soft = {name: posteriors[name][video_id] for name in CATEGORIES}
        tied = [name for name, value in soft.items() if abs(value - 0.5) <= TOLERANCE]
        given = [n for n, value in soft.items() if (tie == "positive" if n in tied else value > 0.5)]
        result[video_id] = replace(label, categories=given, soft_labels=soft, tied=tied)
    return result
