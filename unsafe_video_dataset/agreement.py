"""How far raters agree, and what follows for the labels: one report from a table of annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .dawid_skene import SMOOTHING, DawidSkene, by_category
from .errors import InputError
from .metrics import bootstrap_weights
from .reliability import ac1, ac1_parts, alpha, alpha_parts, masi_distances, nominal_distances, raw_agreement, resampled
from .scores import Estimate
from .taxonomy import CATEGORIES
from .votes import Label, Tie, Vote, label_votes, votes_by_video, weighed

SETS = "set"  # the whole answer, as a set of categories
ALL = "mean"  # the mean over the categories
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NO_PAIR, _NO_VARIATION = "no video has two votes", "all answers are the same"


@dataclass(frozen=True)
class Fit:
    """How Dawid-Skene ended for a category; `majority_only` and `dawid_skene_only` are videos that one of them labels."""

    prevalence: float
    iterations: int
    converged: bool
    majority_only: tuple[str, ...]
    dawid_skene_only: tuple[str, ...]


@dataclass(frozen=True)
class Rater:
    """A rater's votes, and by category the sensitivity and specificity of Dawid-Skene; None where nothing says."""

    rater_id: str
    votes: int
    sensitivity: dict[str, float | None]
    specificity: dict[str, float | None]


@dataclass(frozen=True)
class AgreementReport:
    """What `agreement` found. Intervals are 95%, from a bootstrap over videos.

    `raw`: share of agreeing rater pairs, mean over videos: a category, `mean` over them, and `set` for equal sets.
    `alpha`: Krippendorff's alpha, nominal a category, and `set` with the MASI distance. `ac1`: Gwet's AC1 a category.
    `votes_per_video`, `votes_per_rater`: number of votes -> how many videos (raters) have it. `ties`: videos a category
    where exactly half said yes, and `any` of them. `below`: level -> share of the videos with two votes whose agreement
    (mean over the categories) is below it. `fits`: Dawid-Skene a category. `table`: one row a rater, by id.
    """

    videos: int
    votes: int
    raters: int
    bootstrap: int
    seed: int
    tie: str
    smoothing: float
    raw: dict[str, Estimate]
    alpha: dict[str, Estimate]
    ac1: dict[str, Estimate]
    votes_per_video: dict[str, int]
    votes_per_rater: dict[str, int]
    ties: dict[str, int]
    below: dict[str, float]
    fits: dict[str, Fit]
    table: tuple[Rater, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; no NaN."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def __str__(self) -> str:
        width = 24
        lines = [f"{self.videos} videos, {self.votes} votes, {self.raters} raters"]
        lines += [f"{'':<18}" + "".join(f"{name:<{width}}" for name in ("raw [95%]", "alpha [95%]", "AC1 [95%]")) + "ties"]
        for name in (*CATEGORIES, ALL, SETS):
            cells = "".join(f"{_cell(of.get(name)):<{width}}" for of in (self.raw, self.alpha, self.ac1))
            lines.append(f"{name:<18}{cells}{self.ties.get(name, '')}".rstrip())
        lines += ["", "Dawid-Skene       prevalence  iterations  majority only  Dawid-Skene only"]
        for name, fit in self.fits.items():
            end = "" if fit.converged else "  did not converge"
            counts = f"{len(fit.majority_only):>15}{len(fit.dawid_skene_only):>18}"
            lines.append(f"{name:<18}{fit.prevalence:>10.3f}{fit.iterations:>12}{counts}{end}")
        below = ", ".join(f"{level}: {share:.1%}" for level, share in self.below.items()) or "no video has two votes"
        lines += [
            "",
            f"votes a video: {_spread(self.votes_per_video)}; votes a rater: {_spread(self.votes_per_rater)}",
            f"videos with agreement below {below}; with a tie: {self.ties['any']} ({self.ties['any'] / self.videos:.1%})",
            f"set: answers as sets, alpha with the MASI distance; bootstrap {self.bootstrap} over videos, seed {self.seed}",
        ]
        return "\n".join(lines)


def agreement(
    annotations: pa.Table, *, bootstrap: int = 1000, seed: int = 0, tie: Tie = "negative", smoothing: float = SMOOTHING
) -> AgreementReport:
    """Agreement of the raters of a table of annotations (`video_id`, `rater_id`, `categories` as class indices).

    `bootstrap` replicates draw whole videos with replacement; 0 gives no intervals. `tie` and `smoothing` as in
    `aggregate`, for the comparison of majority and Dawid-Skene. The same votes in any order give the same report. Raises
    as `aggregate`, and `InputError` for no vote at all.
    """
    votes = votes_by_video(annotations)
    if not votes:
        raise InputError("There is no vote: agreement needs at least one.")
    labels = {video_id: label_votes(given, tie=tie) for video_id, given in votes.items()}
    fits = by_category(votes, smoothing=smoothing)
    weights = bootstrap_weights(list(votes), replicates=bootstrap, seed=seed)
    number = np.array([label.num_raters for label in labels.values()])
    raw, alphas, ac1s = {}, {}, {}
    for name in CATEGORIES:
        yes = np.array([label.vote_counts[name] for label in labels.values()])
        counts = np.column_stack([number - yes, yes])
        raw[name] = _estimate(ac1_parts(counts), raw_agreement, weights, _NO_PAIR)
        ac1s[name] = _estimate(ac1_parts(counts), ac1, weights, _NO_PAIR)
        alphas[name] = _alpha(counts, nominal_distances(2), weights)
    means = np.array([label.agreement if label.agreement is not None else 0.0 for label in labels.values()])
    raw[ALL] = _estimate(np.column_stack([means, number >= 2]), raw_agreement, weights, _NO_PAIR)
    sets, counts = _set_counts(votes)
    raw[SETS] = _estimate(ac1_parts(counts), raw_agreement, weights, _NO_PAIR)
    alphas[SETS] = _alpha(counts, masi_distances(sets), weights)
    by_rater = Counter(str(vote["rater_id"]) for given in votes.values() for vote in given)
    ties = {name: sum(name in label.tied for label in labels.values()) for name in CATEGORIES}
    return AgreementReport(
        videos=len(votes),
        votes=int(number.sum()),
        raters=len(by_rater),
        bootstrap=bootstrap,
        seed=seed,
        tie=tie,
        smoothing=smoothing,
        raw=raw,
        alpha=alphas,
        ac1=ac1s,
        votes_per_video=_histogram(number.tolist()),
        votes_per_rater=_histogram(list(by_rater.values())),
        ties={**ties, "any": sum(bool(label.tied) for label in labels.values())},
        below={f"{level:g}": _round(float((means[number >= 2] < level).mean())) for level in LEVELS if (number >= 2).any()},
        fits=_fits(labels, fits, tie),
        table=_raters(by_rater, fits),
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _alpha(counts: NDArray[np.int64], distances: NDArray[np.float64], weights: NDArray[np.int32]) -> Estimate:
    reason = _NO_VARIATION if (counts.sum(axis=1) >= 2).any() else _NO_PAIR
    return _estimate(alpha_parts(counts, distances), lambda sums: alpha(sums, distances), weights, reason)


def _estimate(
    parts: NDArray[np.float64],
    coefficient: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    weights: NDArray[np.int32],
    reason: str,
) -> Estimate:
    """The coefficient with its percentile interval over the replicates in which it exists."""
    value = float(coefficient(parts.sum(axis=0)))
    if not np.isfinite(value):
        return Estimate(None, None, None, reason)
    found = coefficient(resampled(parts, weights))
    found = found[np.isfinite(found)]
    if not len(found):
        return Estimate(_round(value), None, None, "no bootstrap replicate" if not len(weights) else reason)
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(_round(value), _round(float(low)), _round(float(high)), replicates=len(found))


def _round(value: float) -> float:
    """9 decimals: a matrix product may differ in its last bits from machine to machine."""
    return round(value, 9) + 0.0


def _set_counts(votes: Mapping[str, Sequence[Vote]]) -> tuple[list[frozenset[str]], NDArray[np.int64]]:
    """The sets that were answered, and how many raters of each video gave each, int64 [videos, sets]."""
    answers = [Counter(frozenset(vote["categories"]) for vote in given) for given in votes.values()]
    sets = sorted({one for counted in answers for one in counted}, key=sorted)
    return sets, np.array([[counted[one] for one in sets] for counted in answers], dtype=np.int64)


def _histogram(numbers: Sequence[int]) -> dict[str, int]:
    return {str(number): times for number, times in sorted(Counter(numbers).items())}


def _fits(labels: Mapping[str, Label], fits: Mapping[str, DawidSkene], tie: Tie) -> dict[str, Fit]:
    other = weighed(labels, fits, tie=tie)
    found = {}
    for name, fit in fits.items():
        majority = {video_id for video_id, label in labels.items() if name in label.categories}
        posterior = {video_id for video_id, label in other.items() if name in label.categories}
        only = tuple(sorted(majority - posterior)), tuple(sorted(posterior - majority))
        found[name] = Fit(_round(float(fit.prevalence[1])), fit.iterations, fit.converged, *only)
    return found


def _raters(by_rater: Mapping[str, int], fits: Mapping[str, DawidSkene]) -> tuple[Rater, ...]:
    def rates(kind: str, position: int) -> dict[str, float | None]:
        values = {name: float(getattr(fit, kind)[position]) for name, fit in fits.items()}
        return {name: _round(value) if np.isfinite(value) else None for name, value in values.items()}

    ids = next(iter(fits.values())).raters
    return tuple(Rater(id_, by_rater[id_], rates("sensitivity", n), rates("specificity", n)) for n, id_ in enumerate(ids))


def _cell(found: Estimate | None) -> str:
    if found is None:
        return ""
    if found.value is None:
        return "-"
    return f"{found.value:.3f} [-]" if found.low is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _spread(histogram: Mapping[str, int]) -> str:
    numbers = np.repeat([int(number) for number in histogram], list(histogram.values()))
    low, middle, high = np.quantile(numbers, [0, 0.5, 1])
    return f"{low:g} to {high:g} (median {middle:g})"
