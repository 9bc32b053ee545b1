"""Real guarded generations: that a replay says what a guard does, what each part of a call takes, what a guard slows down."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ...errors import GenerationBlocked
from ..base import LatentDefense
from ..guard import guard
from ..lvd import LatentVariableDefense
from .generate import Part
from .judged import prompts_of
from .points import Point
from .verdicts import Verdicts
from .world import World


def defense_of(detector: Any, point: Point, *, name: str) -> LatentVariableDefense:
    """What goes into a guard: the detector with a point's thresholds and rule."""
    return LatentVariableDefense(
        detector,
        rule=point.step_rule(),
        threshold=point.thresholds or 0.5,
        categories=detector.categories,
        x0_convention=detector.card.kind["x0_convention"],
        name=name,
    )


def parity(
    world: World,
    pipe: Any,
    part: Part,
    defense: LatentDefense,
    replayed: Verdicts,
    *,
    count: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Generate `count` samples again, one at a time, with the guard in place, and compare with the replay of their traces.

    Half of them are samples that the replay blocks. Gives `n`, `same_action`, `same_step`, the ids that differ, and medians of
    seconds of blocked and allowed calls: all, denoising, decoding, detecting.
    """
    replayed = replayed.of(part.ids)
    order = sorted(range(len(part.rows)), key=lambda i: hashlib.sha256(part.ids[i].encode()).digest())
    blocked = [i for i in order if replayed.blocked[i]][: count // 2]
    chosen = blocked + [i for i in order if not replayed.blocked[i]][: count - len(blocked)]
    prompts = prompts_of(world, part)
    calls: dict[str, list[Any]] = {"blocked": [], "allowed": []}
    differ: list[str] = []
    steps_differ = 0
    watched = guard(pipe, defense)
    for i in tqdm(chosen, desc="guarded", unit="video", disable=not progress):
        with watched, contextlib.suppress(GenerationBlocked):
            _call(pipe, world, prompts[i], part.rows[i]["seed"])
        report = watched.last
        verdict = report.verdicts[0]
        calls["blocked" if verdict.blocked else "allowed"].append(report)
        if verdict.blocked != bool(replayed.blocked[i]):
            differ.append(part.ids[i])
        steps_differ += verdict.step != int(replayed.looks[i])
    return {
        "n": len(chosen),
        "same_action": len(chosen) - len(differ),
        "same_step": len(chosen) - steps_differ,
        "differ": sorted(differ),
        "decodes_of_blocked": sum(report.decodes for report in calls["blocked"]),
        "seconds": {name: _seconds(reports) for name, reports in calls.items()},
    }


def _seconds(reports: Sequence[Any]) -> dict[str, float] | None:
    if not reports:
        return None
    rows = np.array(
        [[r.seconds, r.seconds - r.decode_seconds - r.detect_seconds, r.decode_seconds, r.detect_seconds] for r in reports]
    )
    middle = np.median(rows, axis=0).tolist()
    return {"n": len(reports), **dict(zip(("total", "denoise", "decode", "detect"), middle, strict=True))}


def overhead(
    call: Callable[[], Any], pipe: Any, defenses: Mapping[str, LatentDefense], *, rounds: int, progress: bool = True
) -> dict[str, Any]:
    """What an allowed generation takes under each defence over what it takes alone: medians of ratios over alternating rounds.

    Every round runs the call alone and under each defence; the order turns from round to round. What is compared is the
    processor time of this process, all threads together, which other work on the machine blurs less than the clock.
    `low` and `high` are the ends of the median's 95% interval (see `median_interval`), None in too few rounds. `detect_share`
    is the share of a guarded call's own seconds that was spent in the defence, with its own interval.
    """
    names = ["alone", *defenses]
    taken: dict[str, list[float]] = {name: [] for name in names}
    share: dict[str, list[float]] = {name: [] for name in defenses}
    call()  # the first call of anything is slow
    for number in tqdm(range(rounds), desc="overhead", unit="round", disable=not progress):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            if name == "alone":
                began = time.process_time()
                call()
                taken[name].append(time.process_time() - began)
                continue
            watched = guard(pipe, defenses[name])
            with watched:
                began = time.process_time()
                call()
                taken[name].append(time.process_time() - began)
            share[name].append(watched.last.detect_seconds / watched.last.seconds)
    alone = np.array(taken["alone"])
    made: dict[str, Any] = {"rounds": rounds, "cpu_seconds_alone": float(np.median(alone))}
    for name in defenses:
        ratios = np.array(taken[name]) / alone
        low, high = median_interval(ratios.tolist())
        made[name] = {
            "ratio": float(np.median(ratios)),
            "low": low,
            "high": high,
            "detect_share": float(np.median(share[name])),
            **dict(zip(("detect_low", "detect_high"), median_interval(share[name]), strict=True)),
        }
    return made


def median_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95% interval of a median that the values themselves give, whatever their distribution; (None, None) of less than 6.

    The k-th smallest and k-th largest value, with the largest k for which a fair coin thrown n times gives less than k heads
    with a chance of at most 2.5%. Source: W. J. Conover, Practical Nonparametric Statistics (1999), section 3.2.
    """
    ordered, n = sorted(values), len(values)
    below, k = 0.0, 0
    while below + math.comb(n, k) / 2**n <= 0.025:
        below, k = below + math.comb(n, k) / 2**n, k + 1
    return (ordered[k - 1], ordered[n - k]) if k else (None, None)


def allowed_call(world: World, pipe: Any, part: Part, replayed: Verdicts) -> Callable[[], Any]:
    """A call of the pipeline that the defence allows."""
    replayed = replayed.of(part.ids)
    at = int(np.flatnonzero(~replayed.blocked)[0])
    prompt, seed = prompts_of(world, part)[at], part.rows[at]["seed"]
    return lambda: _call(pipe, world, prompt, seed)


def _call(pipe: Any, world: World, prompt: str, seed: int, **more: Any) -> Any:
    import torch

    given = {**world.call, "output_type": "np", **more}
    return pipe(prompt=prompt, generator=torch.Generator("cpu").manual_seed(int(seed)), **given)
