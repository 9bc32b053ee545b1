"""`unsafe-video-build sample`: the embedded harmless release, drawn and voted on by a seeded script."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from tqdm import tqdm

from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.taxonomy import CATEGORIES, Generator, PromptSource
from unsafe_video_dataset.votes import in_order

from .assemble import Candidate, assemble
from .folder import refuse_existing
from .motifs import GROUNDS, MOTIFS, NEUTRAL, draw, encode
from .write import ReleaseInfo, write_release

SAMPLE_SEED = 7
FRACTIONS = (0.6, 0.15, 0.25)
NUM_RATERS = 40
VIDEOS_A_PROMPT = 2
# Label sets of the 32 unsafe prompts: the paper's order of frequency, a third of the videos in two categories.
_SINGLE = {"distorted_weird": 5, "terrifying": 5, "pornographic": 4, "violent_bloody": 4, "political": 4}
_DOUBLE = {
    ("distorted_weird", "terrifying"): 3,
    ("distorted_weird", "pornographic"): 2,
    ("terrifying", "violent_bloody"): 2,
    ("pornographic", "violent_bloody"): 1,
    ("distorted_weird", "political"): 1,
    ("violent_bloody", "political"): 1,
}
_NEUTRAL_PROMPTS = 16
# How a motif looks, how many raters see it, and how much worse than usual they see it: harder motifs draw more votes.
_LOOKS = {"bold": (1.0, 5, 0.0), "soft": (0.65, 6, 0.06), "faint": (0.4, 7, 0.16)}


def build_sample(out: Path, *, seed: int = SAMPLE_SEED, overwrite: bool = False, progress: bool = True) -> dict[str, Any]:
    """Draw 96 videos of two videos a prompt, let 40 simulated raters vote, write the release; returns its manifest."""
    refuse_existing(out, overwrite=overwrite)
    rng = np.random.default_rng(seed)
    skill = rng.uniform(0.86, 0.97, size=(NUM_RATERS, 2))  # each rater's sensitivity and specificity on bold motifs
    plan = _plan(rng)
    candidates = []
    for index in tqdm(range(len(plan) * VIDEOS_A_PROMPT), desc="drawing", unit="video", disable=not progress):
        number, take = divmod(index, VIDEOS_A_PROMPT)
        candidates.append(_candidate(index, plan[number], (number + take) % len(Generator), number, skill, rng))
    assembled = assemble(candidates, fractions=FRACTIONS, seed=seed)
    info = ReleaseInfo(
        name="sample",
        builder="sample",
        license="apache-2.0",
        harmless=True,
        settings={"seed": seed, "split_fractions": list(FRACTIONS), "split_seed": seed, "tie": "negative"},
        created_by={"av": av.__version__, "numpy": np.__version__},
    )
    return write_release(out, assembled, info, overwrite=overwrite, progress=progress)


def _plan(rng: np.random.Generator) -> list[tuple[tuple[str, ...], str, str]]:
    """One (motif names, look, ground) a prompt, in a shuffled order; no two prompts are the same."""
    sets: list[tuple[str, ...]] = [(name,) for name, count in _SINGLE.items() for _ in range(count)]
    sets += [pair for pair, count in _DOUBLE.items() for _ in range(count)]
    sets += [(list(NEUTRAL)[number % len(NEUTRAL)],) for number in range(_NEUTRAL_PROMPTS)]
    used: dict[tuple[str, ...], int] = {}
    looks = [(look, ground) for look in _LOOKS for ground in GROUNDS]
    plan = []
    for names in sets:
        step = used[names] = used.get(names, int(rng.integers(len(looks)))) + 5  # 5 and 12 share no factor: no repeat
        plan.append((names, *looks[step % len(looks)]))
    return [plan[number] for number in rng.permutation(len(plan))]


def _candidate(
    index: int,
    planned: tuple[tuple[str, ...], str, str],
    generator: int,
    number: int,
    skill: np.ndarray[Any, np.dtype[np.float64]],
    rng: np.random.Generator,
) -> Candidate:
    names, look, ground = planned
    contrast, num_raters, haze = _LOOKS[look]
    motifs = [(MOTIFS | NEUTRAL)[name] for name in names]
    seed = int(rng.integers(1 << 31))
    data = encode(draw([motif for _, motif in motifs], GROUNDS[ground], contrast=contrast, rng=np.random.default_rng(seed)))
    raters = np.sort(rng.choice(NUM_RATERS, size=num_raters, replace=False))
    truth = in_order(name for name in names if name in MOTIFS)
    return Candidate(
        source_index=index,
        sha256=hashlib.sha256(data).hexdigest(),
        info=inspect_mp4(data, name=f"sample video {index}"),
        read=partial(bytes, data),
        generator=[one.value for one in Generator][generator],
        generation={"num_inference_steps": None, "guidance_scale": None, "seed": seed, "scheduler": None},
        categories=truth,
        prompt=f"{' beside '.join(phrase for phrase, _ in motifs)}, {look}, on a {ground} ground",
        prompt_source=[one.value for one in PromptSource][number % len(PromptSource)],
        votes=[_vote(int(rater), truth, skill[rater] - haze, rng) for rater in raters],
    )


def _vote(rater: int, truth: Sequence[str], skill: Any, rng: np.random.Generator) -> dict[str, Any]:
    """One simulated answer: a shown category is seen with the rater's sensitivity, another one named by mistake."""
    sensitivity, specificity = skill
    mistake = (1 - specificity) / 2
    seen = [name for name in CATEGORIES if rng.random() < (sensitivity if name in truth else mistake)]
    seconds = float(np.round(np.exp(rng.normal(2.5, 0.5)), 1))
    return {"rater_id": f"r{rater + 1:02d}", "categories": seen, "seconds": seconds, "attention_check": True}
