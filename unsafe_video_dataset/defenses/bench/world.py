"""What is benchmarked: a pipeline, the prompts of three splits, and a judge of what comes out. The shipped one is the proxy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Split = Literal["train", "validation", "test"]
Labels = Sequence["tuple[str, ...] | None"]


@dataclass(frozen=True)
class Item:
    """One video to generate. `stratum` is what a report tells apart (letters, digits, `_`); `group_id` keeps what shares a
    prompt together; `specified`: whether the prompt says all, or leaves the choice to the noise; `lookalike`: harmless, and
    near to something blocked, by its prompt."""

    prompt: str
    seed: int
    split: Split
    stratum: str
    group_id: str
    specified: bool = True
    lookalike: bool = False

    @property
    def prompt_sha256(self) -> str:
        """sha256 of the prompt's UTF-8, in hex."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class World:
    """`load` makes the pipeline, `call` are the arguments of every call (plain JSON values, without prompt and generator).

    `label(videos)`: uint8 [N, T, H, W, 3] -> for each the categories that it shows, () for a safe one, None where the judge
    can't tell: such videos are counted, and are evidence for nothing. `keywords`: the terms of the keyword filter; see
    `filters.KeywordFilter`. `model` names the weights; `fidelity` is what is known of how well it follows prompts, as
    `proxy.measure` gives it. Raises `InputError` where a prompt and seed stand twice, a group in two
    splits, or a split is empty.
    """

    name: str
    load: Callable[[], Any]
    items: tuple[Item, ...]
    label: Callable[[NDArray[np.uint8]], Labels]
    categories: tuple[str, ...]
    call: Mapping[str, Any]
    keywords: Mapping[str, Sequence[Any]]
    model: str = ""
    strata: tuple[str, ...] = ()
    fidelity: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = {(item.prompt, item.seed) for item in self.items}
        splits: dict[str, set[str]] = {}
        for item in self.items:
            splits.setdefault(item.group_id, set()).add(item.split)
        torn = sum(len(found) > 1 for found in splits.values())
        missing = {"train", "validation", "test"} - {item.split for item in self.items}
        if len(keys) != len(self.items) or torn or missing:
            raise InputError(
                f"World {self.name}: {len(self.items) - len(keys)} repeated items, {torn} groups in two splits, splits without "
                f"items: {', '.join(sorted(missing)) or 'none'}. Each needs to be zero."
            )
        if not self.strata:
            object.__setattr__(self, "strata", tuple(dict.fromkeys(item.stratum for item in self.items)))

    def prompt_of(self) -> dict[tuple[str, int], Item]:
        """(sha256 of the prompt, seed) -> its item: how files without prompts are joined to them."""
        return {(item.prompt_sha256, item.seed): item for item in self.items}


STRATA = {
    "direct": "plain words",
    "synonym": "synonyms",
    "misleading": "misleading words",
    "disguised": "disguised spelling",
    "unseen": "words unknown to the generator",
    "under": "under-specified",
    "many_seeds": "one prompt, many seeds",
}
"""The proxy's strata and their titles."""

_KEYWORDS: dict[str, list[list[str]]] = {
    # plain words and the first synonym of each: what an operator without the generator's word list would write down
    "red_square": [[c, s] for c in ("red", "crimson") for s in ("square", "box")],
    "falling_circle": [[s, m] for s in ("circle", "disc") for m in ("falls", "falling", "drops", "dropping")],
    "yellow_fall": [[c, m] for c in ("yellow", "golden") for m in ("falls", "falling", "drops", "dropping")],
    "red_left": [[c, m] for c in ("red", "crimson") for m in ("left", "west")],
}


def proxy_world(*, sampling_steps: int = 50, scale: float = 1.0, seed: int = 0, folder: Path | None = None) -> World:
    """The shipped proxy: `scale` of each of its prompt sets (groups with many seeds keep their number of seeds).

    `folder`: other weights than the shipped ones. Raises `MissingDependency` without diffusers.
    """
    from ..proxy import prompts as proxy_prompts
    from ..proxy.model import WEIGHTS, load_proxy, settings
    from ..proxy.oracle import read
    from ..proxy.shapes import CONCEPTS

    def label(videos: NDArray[np.uint8]) -> Labels:
        return [None if reading.unclear else reading.categories for reading in read(videos)]

    found: dict[tuple[str, int], Item] = {}
    splits: tuple[Split, ...] = get_args(Split)
    for split in splits:
        full = proxy_prompts.SIZES[split]
        sizes = proxy_prompts.Sizes(
            per_kind=round(full.per_kind * scale),
            prompts=max(2, round(full.prompts * scale)),
            seeds=full.seeds,
            disguised=round(full.disguised * scale),
            unseen=round(full.unseen * scale),
        )
        for prompt in proxy_prompts.prompt_set(split, sizes=sizes, seed=seed):
            item = Item(
                prompt.text,
                prompt.seed,
                split,
                prompt.kind if prompt.stratum == "main" else prompt.stratum,
                prompt.group,
                specified=None not in (prompt.meaning.colour, prompt.meaning.shape, prompt.meaning.motion),
                lookalike=_lookalike(prompt),
            )
            found.setdefault((item.prompt, item.seed), item)
    weights, about = (folder or WEIGHTS) / "proxy.safetensors", (folder or WEIGHTS) / "proxy.json"
    return World(
        name="proxy",
        load=lambda: load_proxy(folder=folder),
        items=tuple(found.values()),
        label=label,
        categories=tuple(CONCEPTS),
        call={name: value for name, value in settings(steps=sampling_steps).items() if name != "output_type"},
        keywords=_KEYWORDS,
        model=hashlib.sha256(weights.read_bytes()).hexdigest()[:16] if weights.is_file() else "",
        strata=tuple(STRATA),
        fidelity=json.loads(about.read_text(encoding="utf-8")).get("fidelity", {}) if about.is_file() else {},
    )


def _lookalike(prompt: Any) -> bool:
    """Asks for a harmless scene that becomes a blocked one when its colour turns into the next one of the rainbow, or in
    words that name a blocked one."""
    from ..proxy.shapes import COLOURS, categories

    meaning = prompt.meaning
    if meaning.blocked_share > 0 or None in (meaning.colour, meaning.shape, meaning.motion):
        return False
    at = COLOURS.index(meaning.colour)
    near = [COLOURS[i] for i in (at - 1, at + 1) if 0 <= i < len(COLOURS)]
    return prompt.kind == "misleading" or any(categories(colour, meaning.shape, meaning.motion) for colour in near)
