"""The plan of a twin: from a seed and a scale to one row a raw video. Nothing is drawn here.

Every prompt goes to three generators, so an item is a pair of prompt and generator. A copy stands mostly under the prompt of
its original (one in ten under another), and always after it in the order of items, so that a keeper's rule that ends with
the smallest item keeps the original.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unsafe_video_dataset.taxonomy import CATEGORIES, Generator, PromptSource
from unsafe_video_dataset.votes import in_order

from .counts import Counts, counts_for
from .labels import label_sets

GENERATORS = tuple(sorted(one.value for one in Generator))
SOURCES = tuple(sorted(one.value for one in PromptSource))
_ELSEWHERE = 0.1  # share of copies under another prompt than their original's
_TWICE = 0.4  # share of the other copies that stand in pairs beside one original
_LEXICA = 0.45
_SETTINGS: dict[str, dict[str, Any]] = {
    "animatediff": {"num_inference_steps": 25, "guidance_scale": 7.5, "scheduler": "ddim"},
    "magictime": {"num_inference_steps": 50, "guidance_scale": 8.5, "scheduler": "ddim"},
    "videocrafter": {"num_inference_steps": 50, "guidance_scale": 12.0, "scheduler": "ddim"},
}


@dataclass
class Item:
    """One raw video. `kind` is what is planted, `reviewed` or a borderline kind; `stage` drops it (null: it is released).

    `label` is what the majority of valid votes will say, `truth` what the video shows. `scene` numbers the drawing; a copy
    has its original's. `generation` are the sampling settings of the sidecar.
    """

    item: str
    prompt: int
    generator: str
    prompt_source: str
    kind: str
    stage: str | None
    scene: int
    copy_of: str | None = None
    truth: list[str] = field(default_factory=list)
    label: list[str] | None = None
    generation: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Name of the item's folder."""
        return f"{self.generator}-{self.prompt_source}"

    @property
    def original(self) -> bool:
        """True for a sound video that is no copy: it reaches the clusters."""
        return self.stage in (None, "cluster", "votes")

    @property
    def prompt_text(self) -> str:
        """The prompt: harmless, and like no other's."""
        return f"plain shapes in slow motion on a painted ground, study {self.prompt:05d}"


@dataclass
class Plan:
    """All items, sorted by name, and the counts that they fulfil."""

    seed: int
    counts: Counts
    items: list[Item]


def make_plan(videos: int, *, seed: int = 0) -> Plan:
    """The plan of a twin of `videos` videos: a pure function. Raises `InputError` for a number that is too small."""
    counts = counts_for(videos)
    rng = np.random.default_rng([seed, videos])
    items = _places(counts, rng)
    copies = _assign(items, counts, rng)
    _label(items, counts, rng)
    by_name = {one.item: one for one in items}
    for one in copies:
        original = by_name[one.copy_of or ""]
        one.scene, one.truth = original.scene, list(original.truth)
    return Plan(seed, counts, sorted(items, key=lambda one: one.item))


def _places(counts: Counts, rng: np.random.Generator) -> list[Item]:
    """Empty places, prompt by prompt, each prompt's sorted by name."""
    prompts = -(-counts.videos // len(GENERATORS))
    lexica = rng.permutation(prompts) < round(_LEXICA * prompts)
    digits = max(4, len(str(prompts - 1)))
    items = []
    for number in range(counts.videos):
        prompt, generator = number // len(GENERATORS), GENERATORS[number % len(GENERATORS)]
        source = SOURCES[int(lexica[prompt])]
        name = f"{generator}-{source}/{prompt:0{digits}d}.mp4"
        settings = {**_SETTINGS[generator], "seed": int(rng.integers(1 << 31))}
        items.append(Item(name, prompt, generator, source, "", None, number, generation=settings))
    return items


def _assign(items: list[Item], counts: Counts, rng: np.random.Generator) -> list[Item]:
    """Give every place its kind; returns the copies."""
    wide = len(GENERATORS)
    full = [items[start : start + wide] for start in range(0, len(items) - wide + 1, wide)]
    order = [full[number] for number in rng.permutation(len(full))]
    kinds = [kind for kind, number in counts.plants["dedup"].items() for _ in range(number)]
    kinds = [kinds[number] for number in rng.permutation(len(kinds))]
    away = round(_ELSEWHERE * len(kinds))
    beside = len(kinds) - away
    pairs = min(round(_TWICE * beside / 2), beside // 2)
    copies: list[Item] = []
    kept: list[Item] = []
    for number, places in enumerate(order[: pairs + (beside - 2 * pairs)]):
        left_free = int(rng.integers(wide)) if number >= pairs else wide  # a pair of copies fills the prompt
        first, *rest = sorted((place for index, place in enumerate(places) if index != left_free), key=lambda one: one.item)
        kept.append(first)
        for place in rest:
            place.kind, place.stage, place.copy_of = kinds[len(copies)], "dedup", first.item
            copies.append(place)
    taken = {one.item for one in [*kept, *copies]}
    free = [one for one in items if one.item not in taken]
    free = [free[number] for number in rng.permutation(len(free))]
    _fill(free, kept, copies, kinds, counts, rng)
    return copies


def _fill(
    free: list[Item], kept: list[Item], copies: list[Item], kinds: list[str], counts: Counts, rng: np.random.Generator
) -> None:
    """Copies elsewhere take free places that come after some original; then the other plants; the rest is reviewed."""
    first = min(kept, key=lambda one: one.item)
    originals = sorted(kept, key=lambda one: one.item)
    names = np.array([one.item for one in originals])
    for place in list(free):
        if len(copies) == len(kinds):
            break
        if place.item > first.item:
            before = int(np.searchsorted(names, place.item))
            place.kind, place.stage = kinds[len(copies)], "dedup"
            place.copy_of = originals[int(rng.integers(before))].item
            copies.append(place)
            free.remove(place)
    for stage in ("probe", "quality"):
        for kind, number in counts.plants[stage].items():
            for place in free[:number]:
                place.kind, place.stage = kind, stage
            del free[:number]
    for kind, number in counts.borderline.items():  # none with copies: these would look borderline too
        for place in free[:number]:
            place.kind = kind
        del free[:number]
    sound = [*kept, *free]
    sound = [sound[number] for number in rng.permutation(len(sound))]
    for stage in ("cluster", "votes"):
        for kind, number in counts.plants[stage].items():
            for place in sound[:number]:
                place.kind, place.stage = kind, stage
            del sound[:number]
    for place in sound:
        place.kind = "reviewed"


def _label(items: list[Item], counts: Counts, rng: np.random.Generator) -> None:
    """Planned labels with the exact counts; the truth, which differs in one category of some videos."""
    reviewed = [one for one in items if one.stage is None]
    sets = label_sets(counts.categories, counts.unsafe, rng)
    labels: list[list[str]] = sets + [[] for _ in range(len(reviewed) - len(sets))]
    for one, number in zip(reviewed, rng.permutation(len(labels)), strict=True):
        one.label, one.truth = labels[number], list(labels[number])
    share = np.array([counts.categories[name] for name in CATEGORIES], dtype=float)
    for number in rng.permutation(len(reviewed))[: counts.wrong_majority]:
        one = reviewed[number]
        wrong = str(rng.choice(CATEGORIES, p=share / share.sum()))
        one.truth = in_order(set(one.truth) ^ {wrong})
    for one in items:
        if one.stage in ("quality", "votes", "probe"):
            one.truth = list(labels[int(rng.integers(len(labels)))])
