"""The second stage: train what must be trained, choose operating points on validation, write each defence's verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._console import write_text
from ...errors import InputError
from ..base import Defense
from ..chain import Chain
from ..detectors.calibrate import calibrate
from ..detectors.detector import Detector
from ..detectors.train import Settings, train
from ..filters.keyword import KeywordFilter
from ..filters.ngram import NgramFilter
from ..filters.video import CARD, WEIGHTS, FitSettings, Sees, VideoFilter
from ..trace_votes import LAMBDAS, StepVotes, replay
from . import points as rules
from .generate import Generated, Part
from .judged import filter_verdicts, judged_by, prompts_of
from .points import Point
from .settings import BenchSettings
from .thresholds import best_limit
from .verdicts import Stage, Verdicts, chain
from .world import World

LVD, EARLY, SINGLE, SEQUENTIAL = "lvd", "lvd (eta <= 5)", "lvd (single step)", "lvd (sequential)"
QUICK, QUICK_SHARE = "lvd (sequential, 10x)", 0.1  # blocked ones end within a tenth of the sampling steps, in the mean
ETAS = (1, 2, 3, 5, 10, 20)
CHAINS = (("keyword", LVD), ("ngram", LVD), (LVD, "clip filter"), ("keyword", LVD, "clip filter"))


@dataclass
class Contenders:
    """`verdicts`: name -> one a training seed, on the test split. `points`: name -> the chosen point of each seed; `curves`:
    rule -> for each seed the best point for each eta (step, cut). `grid`: for each seed the best threshold for each eta and
    lambda. `votes`: split -> step votes of each seed."""

    detectors: list[Detector] = field(default_factory=list)
    votes: dict[str, list[StepVotes]] = field(default_factory=lambda: {"validation": [], "test": []})
    verdicts: dict[str, list[Verdicts]] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    curves: dict[str, list[list[Point]]] = field(default_factory=dict)
    grid: list[list[Point]] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)

    def first_points(self) -> dict[str, Any]:
        """The points of the first training seed, as plain JSON values: what guarded generations are made with."""
        return {name: listed[0].to_dict() for name, listed in self.points.items()}


def contend(
    world: World,
    generated: Generated,
    settings: BenchSettings,
    out: Path,
    *,
    extra: Sequence[Defense | Chain] = (),
    progress: bool = True,
) -> Contenders:
    """Everything that takes part, `extra` defences too. Detectors that were trained for this folder are not trained again.

    Raises `InputError` where an extra defence has the name of another.
    """
    made = Contenders()
    _latent(made, generated, settings, out, progress)
    _filters(made, world, generated, settings, out, progress)
    test = generated.part("test")
    for members in CHAINS:
        seeds = max(len(made.verdicts[name]) for name in members)
        made.verdicts[" + ".join(members)] = [
            chain(" + ".join(members), [_seed(made.verdicts[name], seed) for name in members]) for seed in range(seeds)
        ]
    for defense in extra:
        found = judged_by(defense, world, test, settings, progress=progress)
        if found.name in made.verdicts:
            raise InputError(f"Two defences are called {found.name!r}: give yours another name.")
        made.verdicts[found.name] = [found]
    for name, listed in made.verdicts.items():
        for seed, one in enumerate(listed):
            one.of(test.ids).save(out / "verdicts" / f"{slug(name)}-{seed}.parquet")
    kept = {name: [point.to_dict() for point in listed] for name, listed in made.points.items()}
    write_text(out / "points.json", json.dumps(kept, indent=1) + "\n")
    return made


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "defense"


def _seed(listed: Sequence[Verdicts], seed: int) -> Verdicts:
    return listed[min(seed, len(listed) - 1)]


# --- the latent defences ------------------------------------------------------------------------------------------------


def _latent(made: Contenders, generated: Generated, settings: BenchSettings, out: Path, progress: bool) -> None:
    labelled = generated.traces.labelled()
    for seed in settings.seeds:
        detector = _detector(labelled, settings, seed, out / "detectors" / f"seed-{seed}", progress)
        made.detectors.append(detector)
        for split in ("validation", "test"):
            path = out / "votes" / f"seed-{seed}-{split}.parquet"
            votes = StepVotes.read(path) if path.is_file() else None
            if votes is None or votes.facts["weights_sha256"] != detector.card.weights_sha256:
                votes = replay(labelled, detector, split=split, progress=progress)
                votes.save(path)
            made.votes[split].append(votes)
        validation = made.votes["validation"][-1]
        etas = range(1, settings.early + 1)
        curves = {
            "eta-lambda": rules.eta_lambda(validation, etas=etas),
            "single step": rules.single_steps(validation),
            "sequential": rules.sequential(validation, cuts=etas),
        }
        made.grid.append(rules.grid(validation, etas=[eta for eta in ETAS if eta <= settings.early], lams=LAMBDAS))
        for name, curve in curves.items():
            made.curves.setdefault(name, []).append(curve)
        chosen = {
            LVD: rules.cheapest(curves["eta-lambda"]),
            EARLY: rules.cheapest([point for point in curves["eta-lambda"] if point.eta <= 5]),
            SINGLE: rules.cheapest([point for point in curves["single step"] if point.eta <= settings.early]),
            SEQUENTIAL: rules.cheapest(curves["sequential"]),
            QUICK: rules.sequential_within(validation, cuts=etas, most=QUICK_SHARE * settings.sampling_steps),
        }
        for name, point in chosen.items():
            made.points.setdefault(name, []).append(point)
            made.verdicts.setdefault(name, []).append(latent_verdicts(name, point, made.votes["test"][-1], settings, seed))


def _detector(labelled: Any, settings: BenchSettings, seed: int, folder: Path, progress: bool) -> Detector:
    wanted = Settings(epochs=settings.epochs, steps=settings.train_steps, seed=seed)
    if all((folder / name).is_file() for name in ("detector.json", "detector.safetensors")):
        found = Detector.load(folder)
        known = found.card.training
        same = known.get("settings", {}).get("epochs") == wanted.epochs and known.get("traces_sha256") == labelled.sha256
        if same and found.card.calibration is not None and known["settings"]["seed"] == seed:
            return found
    trained = train(
        labelled, out=folder, settings=wanted, resume=(folder / "checkpoint.safetensors").is_file(), progress=progress
    )
    return calibrate(trained.detector, labelled, progress=progress).save(folder)


def latent_verdicts(name: str, point: Point, votes: StepVotes, settings: BenchSettings, seed: int) -> Verdicts:
    """A point's verdicts on votes. A blocked generation ends at the step of its decision, an allowed one goes on to the end;
    the detector looks until the rule is certain (a single step: once)."""
    blocked, step, score = point.decide(votes)
    return Verdicts(
        name,
        "latent",
        votes.sample_ids,
        blocked,
        np.asarray(score, dtype=np.float64),
        np.where(blocked, step, settings.sampling_steps),
        np.ones_like(step) if point.rule == "single step" else step,
        ~blocked,
        point.category_scores(votes),
        votes.categories,
        {"point": point.to_dict(), "training_seed": seed},
    )


# --- filters ------------------------------------------------------------------------------------------------------------


def _filters(made: Contenders, world: World, generated: Generated, settings: BenchSettings, out: Path, progress: bool) -> None:
    parts = {split: generated.part(split) for split in ("train", "validation", "test")}
    targets = {split: part.targets(world.categories) for split, part in parts.items()}
    prompts = {split: prompts_of(world, part) for split, part in parts.items()}
    test = parts["test"]
    keyword = KeywordFilter(world.keywords)
    made.filters["keyword"] = keyword
    made.verdicts["keyword"] = [_prompt_verdicts(keyword, prompts["test"], test, settings)]

    ngram = NgramFilter.fit(prompts["train"], targets["train"], categories=world.categories)
    scores = ngram.probabilities(prompts["validation"])
    ngram.thresholds = _limits(scores, targets["validation"], world.categories)
    ngram.save(out / "filters" / "ngram")
    made.filters["ngram"] = ngram
    made.verdicts["ngram"] = [
        _scored("ngram", "prompt", ngram.probabilities(prompts["test"]), ngram.thresholds, test, settings)
    ]
    videos: dict[str, NDArray[np.uint8]] | None = None
    sights: tuple[Sees, ...] = ("frame", "clip")
    for sees in sights:
        name, folder = f"{sees} filter", out / "filters" / sees
        videos = videos or {split: part.videos() for split, part in parts.items()}
        if all((folder / name).is_file() for name in (CARD, WEIGHTS)):
            found = VideoFilter.load(folder, name=name)
        else:
            more = 4 if sees == "frame" else 1  # a pass shows it one frame of each clip
            fit = FitSettings(epochs=more * settings.filter_epochs, shrink=2, seed=settings.seed)
            found = VideoFilter.fit(
                videos["train"], targets["train"], sees=sees, categories=world.categories, settings=fit, progress=progress
            )
            found.thresholds = _limits(found.probabilities(videos["validation"]), targets["validation"], world.categories)
            found.save(folder)
        made.filters[name] = found
        made.verdicts[name] = [_scored(name, "output", found.probabilities(videos["test"]), found.thresholds, test, settings)]


def _limits(scores: NDArray[np.float64], targets: NDArray[np.bool_], categories: Sequence[str]) -> dict[str, float]:
    limit = best_limit(np.asarray(scores.max(axis=1)), np.asarray(targets.any(axis=1)))
    return dict.fromkeys(categories, limit)


def _scored(
    name: str,
    stage: Stage,
    scores: NDArray[np.float64],
    thresholds: dict[str, float],
    part: Part,
    settings: BenchSettings,
) -> Verdicts:
    limits = np.array(list(thresholds.values()))
    blocked = np.asarray((scores >= limits).any(axis=1))
    facts = {"thresholds": thresholds}
    return filter_verdicts(name, stage, part, blocked, scores.max(axis=1), settings, scores, tuple(thresholds), facts)


def _prompt_verdicts(keyword: KeywordFilter, prompts: Sequence[str], part: Part, settings: BenchSettings) -> Verdicts:
    found = [keyword.check_prompt(prompt) for prompt in prompts]
    scores = np.array([[float(name in verdict.categories) for name in keyword.categories] for verdict in found])
    blocked = np.array([verdict.blocked for verdict in found])
    return filter_verdicts("keyword", "prompt", part, blocked, scores.max(axis=1), settings, scores, keyword.categories, {})
