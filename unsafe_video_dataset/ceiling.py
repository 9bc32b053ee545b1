"""The human ceiling: each rater's answer against the label of the other raters of the same video (leave one rater out).

A rater is scored as the model is, on the same number of videos: the answers on a video share its weight of one, so a video
with many raters counts no more than another. The model is scored against the very same labels, which fewer raters gave
than the split's own: only that pair is comparable. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .estimates import Design, minus
from .metrics import FPRS
from .scores import Ceiling
from .taxonomy import CATEGORIES

Floats = NDArray[np.float64]
Vote = Mapping[str, Any]
_ONE_POINT = "a yes/no answer has one operating point, so no rate of false positives can be asked for"
_INFINITE = "a yes/no answer has no finite cross-entropy"


@dataclass(frozen=True)
class Answers:
    """One row an answer: the video's position [m], the `answer` 0/1 and the `label` of the others [m, k], `share` [m] =
    1 / answers of its video, and the rater."""

    video: NDArray[np.int64]
    answer: Floats
    label: Floats
    share: Floats
    rater: tuple[str, ...]

    def part(self, mask: NDArray[np.bool_]) -> Answers:
        """The answers on the videos of `mask`, their positions among these."""
        kept = mask[self.video]
        place = (np.cumsum(mask) - 1)[self.video[kept]]
        raters = tuple(name for name, taken in zip(self.rater, kept, strict=True) if taken)
        return Answers(place, self.answer[kept], self.label[kept], self.share[kept], raters)


def leave_one_out(votes: Sequence[Sequence[Vote] | None], *, target: str, tie: str = "negative") -> Answers:
    """Answers of the videos with two votes or more, in the order of the videos and of their sorted `rater_id`s.

    `votes`: for each video its votes (`rater_id`, `categories` as class indices), or None. `target` 'multilabel': a category
    each, labelled where more than half of the others chose it (`tie` decides at exactly half); 'binary': one column, whether
    any category was chosen and is labelled; 'soft': the label is the share of the others.
    """
    video, answer, label, share, raters = [], [], [], [], []
    for place, given in enumerate(votes):
        ordered = sorted(given or (), key=lambda vote: str(vote["rater_id"]))
        if len(ordered) < 2:
            continue
        said = np.array([[index in vote["categories"] for index in range(len(CATEGORIES))] for vote in ordered], float)
        others = (said.sum(axis=0) - said) / (len(ordered) - 1)
        if target != "soft":
            others = ((others > 0.5) | ((others == 0.5) & (tie == "positive"))).astype(float)
        if target == "binary":
            said, others = said.max(axis=1, keepdims=True), others.max(axis=1, keepdims=True)
        video += [place] * len(ordered)
        answer.append(said)
        label.append(others)
        share += [1 / len(ordered)] * len(ordered)
        raters += [str(vote["rater_id"]) for vote in ordered]
    width = 1 if target == "binary" else len(CATEGORIES)
    empty = [np.zeros((0, width))]
    place_of = np.array(video, dtype=np.int64)
    return Answers(place_of, np.concatenate(answer or empty), np.concatenate(label or empty), np.array(share), tuple(raters))


def human_ceiling(design: Design, answers: Answers, scores: Floats, thresholds: Floats, *, where: str = "the split") -> Ceiling:
    """The ceiling of `design`'s videos and the model's `scores` [n, k] beside it; see `Ceiling`. `where` they are."""
    if not len(answers.video):
        return Ceiling(reason=f"no video of {where} has two votes, so there is no human to compare with")
    label = answers.label if design.soft else answers.label.astype(np.int64)
    base = replace(
        design,
        truth=label,
        groups=design.groups[answers.video],
        weights=design.weights[:, answers.video],
        share=answers.share,
    )
    undefined = {"cross_entropy": _INFINITE} if design.soft else dict.fromkeys(FPRS, _ONE_POINT)
    people = replace(base, undefined=undefined)
    theirs = people.samples(answers.answer, np.full(label.shape[1], 0.5))  # 1 is yes, 0 is no
    mine = base.samples(scores[answers.video], thresholds)
    return Ceiling(
        n=len(np.unique(answers.video)),
        answers=len(answers.video),
        raters=len(set(answers.rater)),
        human=people.rows(theirs),
        model=base.rows(mine),
        differences=people.rows(minus(mine, theirs)),
    )
