"""Any defence on the samples of a split: prompts from the world, x0 and clips from the files of the first stage."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import GenerationBlocked
from ..base import Defense, GenerationInfo, Verdict, X0Convention
from ..chain import Chain, as_chain
from ..failsafe import failsafe
from ..guard import guard
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

    A latent defence that is undecided after them is asked to `finish`. One that reads x0 in another convention than the files
    hold it in is guarded with: every sample is generated again. What a defence raises is a block of that sample, as in a guard
    (its text is not kept: it may hold the prompt); `facts` count these failures.
    """
    members = failsafe(as_chain(defense), "closed")
    found: list[Verdicts] = []
    if members.prompt:
        said = [members.check_prompt(prompt) for prompt in prompts_of(world, part)]
        found.append(_said(members.name, "prompt", said, part, settings))
    if members.latent:
        ours = part.generated.traces.settings["x0_convention"]
        others = {getattr(member, "x0_convention", ours) for member in as_chain(defense).latent} - {ours}
        found.append(
            _guarded(members.name, as_chain(defense), others.pop(), world, part, settings, progress)
            if others
            else _watched(members, part, settings, progress)
        )
    if members.output:
        said = [members.check_video(frames) for frames in part.videos()]
        found.append(_said(members.name, "output", said, part, settings))
    if len(found) == 1:
        return found[0]
    failures = [name for one in found for name in one.facts.get("failed_with", ())]
    made = chain(members.name, found)
    count = sum(one.facts.get("failures", 0) for one in found)
    return replace(made, facts={**made.facts, **({"failures": count, "failed_with": failures} if count else {})})


def _said(name: str, stage: Stage, said: Sequence[Verdict], part: Part, settings: BenchSettings) -> Verdicts:
    blocked = np.array([verdict.blocked for verdict in said])
    score = np.array([float(verdict.blocked) if verdict.score is None else verdict.score for verdict in said])
    return filter_verdicts(name, stage, part, blocked, score, settings, facts=_failures(said))


def _failures(said: Sequence[Verdict]) -> dict[str, Any]:
    """How many verdicts are failures, and the kinds of errors; what an error said is left out."""
    notes = [verdict.note for verdict in said if verdict.decided_by == "fail-closed"]
    kinds = sorted({note.partition(" failed with ")[2].partition(":")[0] for note in notes})
    return {"failures": len(notes), "failed_with": kinds} if notes else {}


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
    return _latent(members.name, traces.sample_ids, said, looks, settings)


def _guarded(
    name: str,
    defense: Chain,
    convention: X0Convention,
    world: World,
    part: Part,
    settings: BenchSettings,
    progress: bool,
) -> Verdicts:
    """The latent members in a guard on the world's own pipeline, up to the end of sampling, nothing decoded."""
    import torch

    pipe = world.load()
    if hasattr(pipe, "set_progress_bar_config"):
        pipe.set_progress_bar_config(disable=True)
    watched = guard(pipe, Chain(*defense.latent, name=name), x0_convention=convention)
    said = []
    rows = zip(prompts_of(world, part), part.values("seed").tolist(), strict=True)
    for prompt, seed in tqdm(rows, desc=name, total=len(part.rows), unit="sample", disable=not progress):
        drawn = torch.Generator("cpu").manual_seed(int(seed))
        with watched, contextlib.suppress(GenerationBlocked):
            pipe(prompt=prompt, generator=drawn, output_type="latent", **world.call)
        said.append(watched.last.verdicts[0])
    looks = [verdict.step or settings.sampling_steps for verdict in said]
    return _latent(name, part.ids, said, looks, settings)


def _latent(name: str, ids: Sequence[str], said: Sequence[Verdict], looks: Sequence[int], settings: BenchSettings) -> Verdicts:
    blocked = np.array([verdict.blocked for verdict in said])
    score = np.array([float(verdict.blocked) if verdict.score is None else verdict.score for verdict in said])
    at_step = np.array(looks, dtype=np.int64)
    denoised = np.where(blocked, at_step, settings.sampling_steps)
    return Verdicts(name, "latent", tuple(ids), blocked, score, denoised, at_step, ~blocked, facts=_failures(said))
