"""What the benchmark was to reach, row by row: every measure of a target, those that fail as well. From the result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..flops import Cost, Look
from .contenders import EARLY, LVD, QUICK, SEQUENTIAL

RULES = (EARLY, LVD, SEQUENTIAL, QUICK)
SLOWER = 1.02
SHARE = 0.02
CHEAPER = 10.0
_NOISE = "at step 1 the noise has not decided yet: see the curve of single steps"
_MLP = "the proxy's denoiser is a small MLP: a look at x0 costs about as much as one of its steps"
_ONE = "too few measurements for an interval"
_OPEN = "the interval reaches to the other side of what is wanted"
_NAMES = {"proxy": "the proxy", "heavy": "AnimateDiff's UNet, narrow"}


def targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a target and measure: `target`, `wanted`, `less` (what is to stay below), the estimate, `outcome` and `why`.

    The outcome is `met` or `not met` where the whole interval (of what is counted and not measured, the value) is on that side
    of what is wanted, else `not decided`. `why` is the reason of both.
    """
    return [*_accuracies(result), *_savings(result), *_allowed(result)]


def _accuracies(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name in RULES:
        strata = result["defenses"][name]["strata"]
        rows.append(_row(f"accuracy on fully specified prompts, {name}", 0.95, strata["specified"]["accuracy"]))
        rows.append(_row(f"accuracy on under-specified prompts, {name}", 0.90, strata["open"]["accuracy"], why=_NOISE))
    return rows


def _savings(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A blocked generation, beside a full one: in evaluations of the denoiser, and in all FLOPs of the proxy."""
    rows = []
    measured = (
        ("denoising", "denoised_share", "it looks longer, for accuracy"),
        ("FLOPs on the proxy, all told,", "flops", _MLP),
    )
    for what, measure, why in measured:
        for name in RULES:
            cost = result["defenses"][name]["cost"]["blocked"]
            if cost and cost[measure]["value"]:
                row = f"{what} saved on blocked generations, {name} (times)"
                rows.append(_row(row, CHEAPER, _inverse(cost[measure]), why=why))
    return rows


def _allowed(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An allowed generation, beside an unguarded one: FLOPs on the proxy and at real sizes, and time on both generators."""
    rows = []
    for name in RULES:
        cost = result["defenses"][name]["cost"]["allowed"]
        if cost:
            what = f"FLOPs of an allowed generation, the proxy, {name} (times)"
            rows.append(_row(what, SLOWER, cost["flops"], less=True, why=_MLP))
    looks: tuple[tuple[Look, str], ...] = (
        ("latent", ""),
        ("decoder", "each look decodes x0 and asks five VideoMAEs"),
    )
    eta = max(point["eta"] for point in result["defenses"][LVD]["points"])
    for size in result.get("real_sizes", ()):
        for look, why in looks:
            found = {"value": 1 + Cost(**size).overhead(eta, look), "low": None, "high": None, "n": 1}
            what = f"FLOPs of an allowed generation, {size['name']}, {eta} looks, {look} (times)"
            rows.append(_row(what, SLOWER, found, less=True, why=why, counted=True))
    for name, timed in (result.get("overhead") or {}).items():
        found, looked = timed["eta-lambda"], f", {timed['eta']} looks" if "eta" in timed else ""
        generator, n = _NAMES.get(name, name), timed["rounds"]
        ratio = {"value": found["ratio"], "low": found["low"], "high": found["high"], "n": n}
        share = {"value": found["detect_share"], "low": found.get("detect_low"), "high": found.get("detect_high"), "n": n}
        why = _MLP if name == "proxy" else ""
        rows.append(_row(f"time of an allowed generation, {generator}{looked} (times)", SLOWER, ratio, less=True, why=why))
        rows.append(_row(f"share of it spent in the detector, {generator}{looked}", SHARE, share, less=True, why=why))
    return rows


def _inverse(share: Mapping[str, Any]) -> dict[str, Any]:
    ends = {"low": share["high"], "high": share["low"]}
    return {"value": 1 / share["value"], **{name: 1 / end if end else None for name, end in ends.items()}, "n": share["n"]}


def _row(
    what: str, wanted: float, found: Mapping[str, Any], *, less: bool = False, why: str = "", counted: bool = False
) -> dict[str, Any]:
    ends = [found["value"] if found[end] is None else found[end] for end in ("low", "high")]
    if found["low"] is None and not counted:
        ends = [None]  # one measurement decides nothing
    sides = {None if end is None else (end < wanted if less else end >= wanted) for end in ends}
    outcome = "met" if sides == {True} else "not met" if sides == {False} else "not decided"
    return {
        "target": what,
        "wanted": wanted,
        "less": less,
        **{name: found[name] for name in ("value", "low", "high", "n")},
        "outcome": outcome,
        "why": {"met": "", "not met": why, "not decided": _ONE if None in ends else _OPEN}[outcome],
    }
