"""Sets of prompts with seeds, for training, choosing and testing a defence on the proxy. The same call gives the same set.

No sentence pattern is in two splits, so a defence that learned one split's sentences meets new ones in the next (the
generator knows them all). Strata:

- `main`: the four kinds of prompt, as many of each; about half of those that say all should come out blocked
- `many_seeds`: under-specified prompts that can come out either way, each with many seeds: the prompt tells nothing there
- `disguised`: prompts of the kinds `direct` and `synonym`, respelled to get past a filter of words
- `unseen`: direct prompts with words that the generator was never trained on
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ...errors import InputError, one_of
from .language import DISGUISES, KINDS, TEMPLATES, UNSEEN, Kind, Meaning, Template, disguise
from .shapes import SCENES, Scene

Split = Literal["train", "validation", "test"]
Stratum = Literal["main", "many_seeds", "disguised", "unseen"]


@dataclass(frozen=True)
class Prompt:
    """One generation to make. `prompt_id` is of the text and the seed, `group` of the text alone: what shares a text stays
    together. `how` names the disguise, empty without one."""

    text: str
    seed: int
    kind: Kind
    split: Split
    stratum: Stratum
    meaning: Meaning
    how: str = ""

    @property
    def prompt_id(self) -> str:
        """16 hex digits; what reports show in place of the text."""
        return _digest(self.text, self.seed)

    @property
    def group(self) -> str:
        """16 hex digits, the same for every seed of a text."""
        return _digest(self.text)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x00".join(map(str, parts)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Sizes:
    """How many generations: `per_kind` of each of the four kinds, `prompts` x `seeds` with many seeds, and the others."""

    per_kind: int = 120
    prompts: int = 8
    seeds: int = 25
    disguised: int = 120
    unseen: int = 40


SIZES: dict[str, Sizes] = {
    "train": Sizes(per_kind=250, prompts=12, seeds=25, disguised=100, unseen=0),
    "validation": Sizes(per_kind=100, prompts=6, seeds=20, disguised=60, unseen=0),
    "test": Sizes(per_kind=120, prompts=8, seeds=25, disguised=120, unseen=40),
}


def prompt_set(split: Split, *, sizes: Sizes | None = None, seed: int = 0) -> list[Prompt]:
    """The prompts of a split, in a fixed order. `seed` draws another set of the same make.

    Raises `InputError` where `split` is none of the three, or a size is less than 0.
    """
    one_of(split, get_args(Split), "prompt_set(split)")
    sizes = sizes or SIZES[split]
    if min(sizes.per_kind, sizes.prompts, sizes.seeds, sizes.disguised, sizes.unseen) < 0:
        raise InputError(f"Sizes are 0 or more; got {sizes}.")
    found = [prompt for kind in KINDS for prompt in _main(split, kind, sizes.per_kind, seed)]
    found += _many_seeds(split, sizes.prompts, sizes.seeds, seed)
    rng = _rng(split, "disguised", seed)
    for i in range(sizes.disguised):
        (plain,) = _draw(split, ("direct", "synonym")[i % 2], 1, rng)
        how = DISGUISES[i // 2 % len(DISGUISES)]
        text = disguise(plain[0], how, rng=rng)
        found.append(Prompt(text, _seed(rng), ("direct", "synonym")[i % 2], split, "disguised", plain[1], how))
    rng = _rng(split, "unseen", seed)
    for text, meaning in _draw(split, "direct", sizes.unseen, rng):
        words = [UNSEEN.get(word.strip(","), word) for word in text.split(" ")]
        found.append(Prompt(" ".join(words), _seed(rng), "direct", split, "unseen", meaning, "unseen"))
    return found


def _main(split: Split, kind: Kind, count: int, seed: int) -> list[Prompt]:
    rng = _rng(split, kind, seed)
    return [Prompt(text, _seed(rng), kind, split, "main", meaning) for text, meaning in _draw(split, kind, count, rng)]


def _many_seeds(split: Split, prompts: int, seeds: int, seed: int) -> list[Prompt]:
    rng = _rng(split, "many_seeds", seed)
    texts: dict[str, Meaning] = {}
    for _ in range(1000):
        if len(texts) >= prompts:
            break
        ((text, meaning),) = _draw(split, "under", 1, rng)
        if 0.3 <= meaning.blocked_share <= 0.8:
            texts.setdefault(text, meaning)
    return [
        Prompt(text, _seed(rng), "under", split, "many_seeds", meaning) for text, meaning in texts.items() for _ in range(seeds)
    ]


def _draw(split: Split, kind: str, count: int, rng: np.random.Generator) -> list[tuple[str, Meaning]]:
    """Texts of a kind with their meaning. Scenes are blocked half the time; four of five under-specified prompts can come out
    either way, most of them blocked in three of ten seeds or more."""
    templates = [template for template in TEMPLATES if template.kind == kind and template.part == split]
    found = []
    for _ in range(count):
        want = rng.random()
        for _ in range(50):
            template = templates[int(rng.integers(len(templates)))]
            meaning = _meaning(template, rng)
            share = meaning.blocked_share
            if kind == "under" and (want > 0.8 or (0.3 if want < 0.5 else 0.01) <= share < 1):
                break
            if kind != "under" and (share >= 0.5) == (want < 0.5):
                break
        found.append((template.fill(meaning, rng=rng), meaning))
    return found


def _meaning(template: Template, rng: np.random.Generator) -> Meaning:
    scene: Scene = SCENES[int(rng.integers(len(SCENES)))]
    return template.meaning(scene.colour, scene.shape, scene.motion)


def _rng(split: str, what: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *f"{split}/{what}".encode()])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def strata(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """The prompts by what a report tells apart: the kinds of `main`, then the other strata, empty ones left out."""
    names: list[str] = [*KINDS, "many_seeds", "disguised", "unseen"]
    rows = {name: [p for p in prompts if (p.kind if p.stratum == "main" else p.stratum) == name] for name in names}
    return {name: row for name, row in rows.items() if row}
