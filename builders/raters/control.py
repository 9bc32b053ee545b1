"""Quality control of votes: which answers count, which do not, and the first reason why not. Nothing is lost.

Rules run in the order of `REASONS`: first what is wrong with an answer alone, then answers of one rater to one video,
then raters, on what is left of them. The result is a function of the set of answers, not of their order.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from unsafe_video_dataset.taxonomy import CATEGORIES, NONE

from .answers import NO_CHOICE, PREVIEW, SKIPPED, Answer

Group = list[Answer]
FailedChecks = Literal["answer", "rater", "keep"]
CHECK_VIDEO = "check_video"  # an answer to a video that is only there as an attention check
REASONS = (
    PREVIEW,
    SKIPPED,
    NO_CHOICE,
    CHECK_VIDEO,
    "contradiction",
    "attention_check",
    "too_fast",
    "duplicate_same",
    "duplicate_differs",
    "rater_attention",
    "rater_few_answers",
    "rater_same_answer",
    "rater_agreement",
)


@dataclass(frozen=True)
class Rules:
    """What counts. 0 switches a floor off.

    `empty`: an answer without any choice is left out, or taken for `none`. `contradictions`: `none` beside a category is
    left out, or one of the two is believed. `failed_checks`: leave out the answer, or the rater with more than
    `max_failed_checks` of them, or keep them. `min_seconds`: answers given in less. `duplicates`: a rater who answers a
    video again in the same way has one vote; where the answers differ all of them are left out, or the first or last in
    time counts (all are left out where the file gives no time, or the same).
    `min_answers`: raters with fewer. `same_answer`: raters with at least that many answers, all the same (off by default:
    a diligent rater of harmless videos answers `none` every time).
    `min_agreement`: raters whose share of answers that agree with the others is below it, by a one-sided exact binomial
    test at level `agreement_level`. An answer is compared where at least two others rated the video, and agrees if it is
    the strict majority of the others in every category in which they are not tied. Raters are not weighed again
    after others have left.
    """

    empty: Literal["leave_out", "none"] = "leave_out"
    contradictions: Literal["leave_out", "none", "categories"] = "leave_out"
    failed_checks: FailedChecks = "answer"
    max_failed_checks: int = 0
    min_seconds: float = 1.0
    duplicates: Literal["leave_out", "first", "last"] = "leave_out"
    min_answers: int = 0
    same_answer: int = 0
    min_agreement: float = 0.0
    agreement_level: float = 0.01

    def problems(self) -> list[tuple[str, str]]:
        """(field, message) of each value that can't be."""
        found = [
            (name, "must be at least 0")
            for name in ("max_failed_checks", "min_seconds", "min_answers", "same_answer", "min_agreement")
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0)
        ]
        found += [("min_agreement", "must be below 1")] if self.min_agreement >= 1 else []
        return found + ([] if 0 < self.agreement_level < 1 else [("agreement_level", "must be between 0 and 1")])


@dataclass
class RaterRecord:
    """A rater: answers in all, those that failed a check, those compared with others and those of them that agree."""

    rater_id: str
    answers: int = 0
    failed_checks: int = 0
    compared: int = 0
    agreed: int = 0
    kept: int = 0
    reason: str = ""


@dataclass
class Controlled:
    """`kept` and `left_out` (with the first reason) are all answers, each once; both sorted by video and rater."""

    kept: list[Answer] = field(default_factory=list)
    left_out: list[tuple[Answer, str]] = field(default_factory=list)
    raters: list[RaterRecord] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Answers left out by reason, in the order of the rules."""
        counted = Counter(reason for _, reason in self.left_out)
        return {reason: counted[reason] for reason in [*REASONS, *sorted(counted.keys() - set(REASONS))] if counted[reason]}


def control(answers: Iterable[Answer], rules: Rules) -> Controlled:
    """Apply the rules. `video` and `rater_id` of the answers are identities: one text a video, one a rater."""
    ordered = sorted(answers, key=_order)
    result = Controlled()
    records = {rater: RaterRecord(rater) for rater in sorted({answer.rater_id for answer in ordered})}
    for answer in ordered:
        records[answer.rater_id].answers += 1
        records[answer.rater_id].failed_checks += answer.attention_check is False
    left = _distinct([one for answer in ordered if (one := _alone(answer, rules, result))], rules, result)
    left = _leave(left, _by_own_answers(left, records, rules), records, result)
    if rules.min_agreement > 0:
        left = _leave(left, _by_agreement(left, records, rules), records, result)
    for answer in left:
        records[answer.rater_id].kept += 1
    result.kept, result.raters = left, list(records.values())
    result.left_out.sort(key=lambda pair: _order(pair[0]))
    return result


def _order(answer: Answer) -> tuple[object, ...]:
    """By video and rater, then by all that an answer says, so that equal answers are the only ones that can swap."""
    time = (answer.submitted is None, answer.submitted or 0)
    seconds = (answer.seconds is None, answer.seconds or 0.0)
    check = {None: 0, True: 1, False: 2}[answer.attention_check]
    place = (answer.file, answer.line)
    return (answer.video, answer.rater_id, time, answer.categories, seconds, check, answer.excluded, place)


def _alone(answer: Answer, rules: Rules, result: Controlled) -> Answer | None:
    """The answer as it counts, judged by itself; None where it is left out."""
    reason = answer.excluded
    if reason == NO_CHOICE and rules.empty == "none":
        reason, answer = "", replace(answer, excluded="")
    if not reason and NONE in answer.categories:
        if rules.contradictions == "leave_out":
            reason = "contradiction"
        else:
            names = [] if rules.contradictions == "none" else [name for name in answer.categories if name != NONE]
            answer = replace(answer, categories=names)
    if not reason and rules.failed_checks == "answer" and answer.attention_check is False:
        reason = "attention_check"
    if not reason and answer.seconds is not None and answer.seconds < rules.min_seconds:
        reason = "too_fast"
    if reason:
        result.left_out.append((answer, reason))
    return None if reason else answer


def _distinct(answers: Sequence[Answer], rules: Rules, result: Controlled) -> list[Answer]:
    """One answer a rater and video."""
    groups: dict[tuple[str, str], Group] = defaultdict(list)
    for answer in answers:
        groups[answer.video, answer.rater_id].append(answer)
    kept = []
    for group in groups.values():
        keeper, reason = _keeper(group, rules)
        result.left_out += [(answer, reason) for answer in group if answer is not keeper]
        kept += [keeper] if keeper else []
    return kept


def _keeper(group: Group, rules: Rules) -> tuple[Answer | None, str]:
    if all(answer.categories == group[0].categories for answer in group):
        return group[0], "duplicate_same"
    times = [answer.submitted for answer in group if answer.submitted is not None]
    if rules.duplicates == "leave_out" or len(times) < len(group):
        return None, "duplicate_differs"
    best = min(times) if rules.duplicates == "first" else max(times)
    there = [answer for answer in group if answer.submitted == best]
    clear = all(answer.categories == there[0].categories for answer in there)
    return there[0] if clear else None, "duplicate_differs"


def _leave(
    answers: Sequence[Answer], reasons: dict[str, str], records: dict[str, RaterRecord], result: Controlled
) -> list[Answer]:
    """Without the answers of raters who have a reason to be left out."""
    for rater, reason in reasons.items():
        records[rater].reason = reason
    result.left_out += [(answer, reasons[answer.rater_id]) for answer in answers if answer.rater_id in reasons]
    return [answer for answer in answers if answer.rater_id not in reasons]


def _by_own_answers(answers: Sequence[Answer], records: dict[str, RaterRecord], rules: Rules) -> dict[str, str]:
    given: dict[str, Group] = defaultdict(list)
    for answer in answers:
        given[answer.rater_id].append(answer)
    reasons = {}
    for rater, record in records.items():
        own = given[rater]
        if rules.failed_checks == "rater" and record.failed_checks > rules.max_failed_checks:
            reasons[rater] = "rater_attention"
        elif len(own) < rules.min_answers:
            reasons[rater] = "rater_few_answers"
        elif 0 < rules.same_answer <= len(own) and len({tuple(answer.categories) for answer in own}) == 1:
            reasons[rater] = "rater_same_answer"
    return reasons


def _by_agreement(answers: Sequence[Answer], records: dict[str, RaterRecord], rules: Rules) -> dict[str, str]:
    by_video: dict[str, Group] = defaultdict(list)
    for answer in answers:
        by_video[answer.video].append(answer)
    for group in by_video.values():
        others = len(group) - 1
        if others < 2:
            continue
        counts = Counter(name for answer in group for name in answer.categories)
        for answer in group:
            yes = {name: counts[name] - (name in answer.categories) for name in CATEGORIES}
            agrees = all((2 * n > others) == (name in answer.categories) for name, n in yes.items() if 2 * n != others)
            records[answer.rater_id].compared += 1
            records[answer.rater_id].agreed += agrees
    return {
        rater: "rater_agreement"
        for rater, record in records.items()
        if record.compared and lower_tail(record.agreed, record.compared, rules.min_agreement) < rules.agreement_level
    }


def lower_tail(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes) for X binomial(trials, rate) with 0 < rate < 1, summed exactly in logarithms."""
    log = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(rate) + (trials - k) * math.log1p(-rate)
        for k in range(successes + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(value) for value in log))
