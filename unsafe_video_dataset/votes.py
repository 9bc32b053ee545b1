"""Rater votes -> labels, soft labels and agreement. Each category is a separate yes/no question to each rater.

Majority of votes, as the paper labels its videos (arXiv 2407.12581, section 4), with an explicit rule for ties. Results
do not depend on the order of the rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal, get_args

import pyarrow as pa

from .errors import Fault, FaultsError, SchemaError, one_of
from .records import from_table
from .taxonomy import CATEGORIES, NONE

Tie = Literal["negative", "positive"]
Method = Literal["majority"]
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


def aggregate(annotations: pa.Table, *, method: Method = "majority", tie: Tie = "negative") -> pa.Table:
    """One row a video from a table of annotations (`video_id`, `rater_id`, `categories` as class indices).

    Columns: `video_id`, `categories` list<string>, `is_unsafe` (any category given), `vote_counts`, `num_raters`,
    `soft_labels`, `agreement`, `tied` list<string>; sorted by `video_id`. Raises `FaultsError` with every vote that can't
    count (see `label_votes`), `SchemaError` for a table without these columns.
    """
    one_of(method, get_args(Method), "method")
    needed = ["video_id", "rater_id", "categories"]
    if missing := [name for name in needed if name not in annotations.column_names]:
        raise SchemaError(f"The annotations have no column {', '.join(missing)}. Use `Release.annotations()`.")
    by_video: dict[str, list[Vote]] = defaultdict(list)
    for row in from_table("annotation", annotations.select(needed)):
        by_video[row["video_id"]].append(row)
    faults = [fault for video_id in sorted(by_video) for fault in _vote_faults(by_video[video_id], f"video {video_id}")]
    if faults:
        raise FaultsError("These votes give no labels", faults)
    rows = []
    for video_id in sorted(by_video):
        label = label_votes(by_video[video_id], tie=tie)
        rows.append(
            {
                "video_id": video_id,
                "categories": label.categories,
                "is_unsafe": bool(label.categories),
                "vote_counts": label.vote_counts,
                "num_raters": label.num_raters,
                "soft_labels": label.soft_labels,
                "agreement": label.agreement,
                "tied": label.tied,
            }
        )
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("categories", pa.list_(pa.string())),
            ("is_unsafe", pa.bool_()),
            ("vote_counts", pa.struct([(name, pa.int32()) for name in (*CATEGORIES, NONE)])),
            ("num_raters", pa.int32()),
            ("soft_labels", pa.struct([(name, pa.float64()) for name in CATEGORIES])),
            ("agreement", pa.float64()),
            ("tied", pa.list_(pa.string())),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)
