"""Votes against the truth: which were left out, which labels are right, what is known of the raters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unsafe_video_dataset.dawid_skene import DawidSkene, by_category
from unsafe_video_dataset.reliability import ac1, ac1_parts, alpha, alpha_parts, nominal_distances
from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.votes import label_votes, pairwise_agreement, weighed

from .truth import Truth

_MIN_SEEN = 5  # a rate is compared where the rater answered on at least so many true cases of its kind
Rows = Mapping[str, Mapping[str, Any]]


def compare_votes(rows: Rows, truth: Truth, pseudonyms: Mapping[str, str] | None) -> dict[str, Any]:
    """Quality control, labels of both aggregators, raters' estimated rates, agreement: rows of the votes stage by item."""
    kept = {item: row for item, row in rows.items() if row["kept"]}
    votes = {item: row["votes"] for item, row in kept.items()}
    majority = {item: label_votes(given) for item, given in votes.items()}
    fits = by_category(votes)
    by_skill = weighed(majority, fits, tie="negative")
    stated = {item: list(row["categories"]) for item, row in kept.items()}
    planned = {item: truth.items[item]["label"] for item in kept}
    both = {
        "majority": {item: label.categories for item, label in majority.items()},
        "dawid_skene": {item: label.categories for item, label in by_skill.items()},
    }
    return {
        "videos": len(kept),
        "label_methods": dict(sorted(Counter(row["label_method"] for row in kept.values()).items())),
        "control": _control(kept, truth, pseudonyms),
        "as_planned": {"n": len(kept), "right": sum(stated[item] == planned[item] for item in kept)},
        "accuracy": {name: _accuracy(labels, truth) for name, labels in both.items()},
        "planned_wrong": _planned_wrong(both, planned, truth),
        "raters": _raters(fits, votes, truth, pseudonyms),
        "agreement": _agreement(votes),
    }


def _names(truth: Truth, pseudonyms: Mapping[str, str] | None) -> dict[str, str]:
    """Rater id in the tables -> raw name."""
    return {(pseudonyms or {}).get(name, name): name for name in truth.raters}


def _control(kept: Rows, truth: Truth, pseudonyms: Mapping[str, str] | None) -> dict[str, Any]:
    """Answers left out, by what was planted: an answer counts if its rater stands among the votes of the video."""
    names = _names(truth, pseudonyms)
    counted = {(item, names.get(vote["rater_id"], vote["rater_id"])) for item, row in kept.items() for vote in row["votes"]}
    planted: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for vote in truth.votes:
        if vote["item"] not in kept or vote["planted"] == "duplicate":  # of two equal answers one counts
            continue
        planted[vote["planted"]] += 1
        left_out[vote["planted"]] += (vote["item"], vote["rater"]) not in counted
    bad = sum(number for kind, number in planted.items() if kind != "valid")
    found = sum(left_out.values())
    right = found - left_out["valid"]
    return {
        "answers": sum(planted.values()),
        "bad": bad,
        "left_out": found,
        "right": right,
        "precision": right / found if found else None,
        "recall": right / bad if bad else None,
        "kinds": {kind: {"n": planted[kind], "left_out": left_out[kind]} for kind in sorted(planted)},
    }


def _accuracy(labels: Mapping[str, Sequence[str]], truth: Truth) -> dict[str, Any]:
    """For each category, and for unsafe at all: right answers, precision, recall and F1 against what the video shows."""
    answers = {name: {item: name in given for item, given in labels.items()} for name in CATEGORIES}
    real = {name: {item: name in truth.items[item]["truth"] for item in labels} for name in CATEGORIES}
    answers["unsafe"] = {item: bool(given) for item, given in labels.items()}
    real["unsafe"] = {item: bool(truth.items[item]["truth"]) for item in labels}
    figures: dict[str, Any] = {}
    for name in (*CATEGORIES, "unsafe"):
        pairs = [(answers[name][item], real[name][item]) for item in labels]
        hits = sum(given and true for given, true in pairs)
        given, true = sum(one for one, _ in pairs), sum(one for _, one in pairs)
        figures[name] = {
            "n": len(pairs),
            "positives": true,
            "errors": sum(one != other for one, other in pairs),
            "accuracy": sum(one == other for one, other in pairs) / len(pairs) if pairs else None,
            "precision": hits / given if given else None,
            "recall": hits / true if true else None,
            "f1": 2 * hits / (given + true) if given + true else None,
        }
    same = sum(list(given) == list(truth.items[item]["truth"]) for item, given in labels.items())
    figures["all_categories"] = {"n": len(labels), "right": same, "accuracy": same / len(labels) if labels else None}
    return figures


def _planned_wrong(
    both: Mapping[str, Mapping[str, Sequence[str]]], planned: Mapping[str, Sequence[str] | None], truth: Truth
) -> dict[str, Any]:
    """The videos whose planned majority is wrong, and how many of them each aggregator gets right in every category."""
    wrong = [item for item, label in planned.items() if label is not None and label != truth.items[item]["truth"]]
    right = {name: sum(labels[item] == truth.items[item]["truth"] for item in wrong) for name, labels in both.items()}
    return {"n": len(wrong), **right}


def _raters(
    fits: Mapping[str, DawidSkene],
    votes: Mapping[str, Sequence[Mapping[str, Any]]],
    truth: Truth,
    pseudonyms: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Estimated sensitivity and specificity against the known ones, of raters with enough cases; and a plain baseline.

    The baseline gives every rater the mean of the estimates: an estimate is worth something where its error is smaller.
    """
    names = _names(truth, pseudonyms)
    seen: Counter[tuple[str, str, bool]] = Counter()
    for item, given in votes.items():
        for vote in given:
            for name in CATEGORIES:
                seen[vote["rater_id"], name, name in truth.items[item]["truth"]] += 1
    figures = {}
    for rate, case in (("sensitivity", True), ("specificity", False)):
        estimated, known = [], []
        for name, fit in fits.items():
            values = getattr(fit, rate)
            for rater, value in zip(fit.raters, values.tolist(), strict=True):
                raw = names.get(rater)
                if raw is None or not math.isfinite(value) or seen[rater, name, case] < _MIN_SEEN:
                    continue
                if truth.raters[raw]["honest"]:
                    estimated.append(value)
                    known.append(truth.raters[raw][rate][name])
        figures[rate] = _closeness(np.array(estimated), np.array(known))
    return {"least_cases": _MIN_SEEN, **figures}


def _closeness(estimated: Any, known: Any) -> dict[str, Any]:
    number = len(estimated)
    varies = number > 2 and float(np.std(estimated)) > 0 and float(np.std(known)) > 0
    return {
        "n": number,
        "correlation": float(np.corrcoef(estimated, known)[0, 1]) if varies else None,
        "mean_absolute_error": float(np.abs(estimated - known).mean()) if number else None,
        "mean_absolute_error_of_the_mean": float(np.abs(estimated.mean() - known).mean()) if number else None,
    }


def _agreement(votes: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Votes a video; a category: the share of pairs of raters that agree, Krippendorff's alpha and Gwet's AC1."""
    sizes = Counter(len(given) for given in votes.values())
    pairs = {}
    for name in CATEGORIES:
        counts = [(sum(name in vote["categories"] for vote in given), len(given)) for given in votes.values()]
        values = [value for yes, number in counts if (value := pairwise_agreement([yes], number)) is not None]
        raters = np.array([(number - yes, yes) for yes, number in counts]).reshape(-1, 2)
        pairs[name] = {
            "n": len(values),
            "share": sum(values) / len(values) if values else None,
            "alpha": _finite(alpha(alpha_parts(raters, nominal_distances(2)).sum(axis=0), nominal_distances(2))),
            "ac1": _finite(ac1(ac1_parts(raters).sum(axis=0))),
        }
    return {"votes_a_video": {str(size): number for size, number in sorted(sizes.items())}, "pairs": pairs}


def _finite(value: Any) -> float | None:
    """Null for a coefficient that does not exist, as where all answers are the same."""
    return float(value) if math.isfinite(value) else None
