"""Any defence on the samples of a split: prompts from the world, x0 and clips from the files of the first stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..base import Defense, GenerationInfo
from ..chain import Chain, as_chain
from .generate import Part
from .settings import BenchSettings
from .verdicts import Stage, Verdicts, chain
from .world import World


def prompts_of(world: World, part: Part) -> list[str]:
    """The prompts of samples, from the world: the files have none."""
    items = world.prompt_of()
    return [items[row["prompt_sha256"], row["seed"]].prompt for row in part.rows]


def filter_verdicts(
    name: str,
    stage: Stage,
    part: Part,
    blocked: NDArray[np.bool_],
    score: NDArray[np.float64],
    settings: BenchSettings,
    scores: NDArray[np.float64] | None = None,
    categories: tuple[str, ...] = (),
    facts: dict[str, Any] | None = None,
) -> Verdicts:
    """Verdicts of a filter: one of prompts blocks before the first step, one of videos after the last and the decode."""
    every = np.full(len(blocked), settings.sampling_steps, dtype=np.int64)
    denoised, decoded = (np.where(blocked, 0, every), ~blocked) if stage == "prompt" else (every, np.ones_like(blocked))
    looks = np.zeros_like(every)
    return Verdicts(
        name,
        stage,
        tuple(part.ids),
        blocked,
        np.asarray(score, np.float64),
        denoised,
        looks,
        decoded,
        scores,
        categories,
        facts or {},
    )


def judged_by(
    defense: Defense | Chain, world: World, part: Part, settings: BenchSettings, *, progress: bool = False
) -> Verdicts:
    """Any defence on the samples of a part: prompts from the world, x0 of the steps 1 to `early` and clips from the files.

    A latent defence that is undecided after them is asked to `finish`.
    """
    members = as_chain(defense)
    found: list[Verdicts] = []
    if members.prompt:
        said = [members.check_prompt(prompt) for prompt in prompts_of(world, part)]
        found.append(_said(members.name, "prompt", said, part, settings))
    if members.latent:
        found.append(_watched(members, part, settings, progress))
    if members.output:
        said = [members.check_video(frames) for frames in part.videos()]
        found.append(_said(members.name, "output", said, part, settings))
    return found[0] if len(found) == 1 else chain(members.name, found)


def _said(name: str, stage: Stage, said: Sequence[Any], part: Part, settings: BenchSettings) -> Verdicts:
    blocked = np.array([verdict.blocked for verdict in said])
    score = np.array([float(verdict.blocked) if verdict.score is None else verdict.score for verdict in said])
    return filter_verdicts(name, stage, part, blocked, score, settings)


def _watched(members: Chain, part: Part, settings: BenchSettings, progress: bool) -> Verdicts:
    traces = part.generated.traces.select(part.ids)
    known = traces.settings
    steps = [step for step in traces.steps if step <= settings.early]
    facts = {row["step"]: row["timestep"] for row in traces.index.slice(0, len(traces.steps)).to_pylist()}
    said, looks = [], []
    for number in tqdm(range(len(traces)), desc=members.name, unit="sample", disable=not progress):
        info = GenerationInfo(
            pipeline=known["pipeline"],
            scheduler=known["scheduler"],
            prediction_type=known["prediction_type"],
            num_steps=known["num_steps"],
            shape=tuple(known["shape"]),
            layout=known["layout"],
            x0_convention=known["x0_convention"],
            sample=number,
        )
        state, verdict, seen = members.start(info), None, 0
        for at, (step, x0) in enumerate(zip(steps, traces.x0([number] * len(steps), steps), strict=True)):
            level, seen = float(traces.log_snr[number, at]), step
            state, verdict = members.observe(state, step=step, timestep=facts[step], x0=x0, log_snr=level)
            if verdict is not None:
                break
        said.append(verdict if verdict is not None else members.finish(state))
        looks.append(seen)
    plain = _said(members.name, "latent", said, part, settings)
    at_step = np.array(looks, dtype=np.int64)
    return Verdicts(
        plain.name,
        "latent",
        tuple(traces.sample_ids),
        plain.blocked,
        plain.score,
        np.where(plain.blocked, at_step, settings.sampling_steps),
        at_step,
        ~plain.blocked,
    )
