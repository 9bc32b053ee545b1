"""Does the proxy show what it was asked for? Counted by the oracle, with n and intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from .model import STEPS, generate
from .oracle import Reading, read
from .prompts import Prompt, Sizes, prompt_set, strata


def wilson(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (95% by default), (0, 1) where n is 0. Wilson 1927, JASA 22:209."""
    if n == 0:
        return 0.0, 1.0
    p, square = hits / n, z * z / n
    middle, half = p + square / 2, z * math.sqrt(p * (1 - p) / n + square / (4 * n))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def share(hits: int, n: int) -> dict[str, Any]:
    """A share as it stands in reports: `hits`, `n`, `value`, and the interval's `low` and `high`."""
    low, high = wilson(hits, n)
    return {"hits": hits, "n": n, "value": round(hits / n, 4) if n else None, "low": round(low, 4), "high": round(high, 4)}


def readings(
    pipe: Any, prompts: Sequence[Prompt], *, steps: int = STEPS, batch_size: int = 32, progress: bool = False, **call: Any
) -> list[Reading]:
    """Generate every prompt with its seed and let the oracle read the videos."""
    found: list[Reading] = []
    with tqdm(total=len(prompts), desc="generating", unit="video", disable=not progress) as bar:
        for start in range(0, len(prompts), batch_size):
            rows = prompts[start : start + batch_size]
            videos = generate(
                pipe, [p.text for p in rows], seeds=[p.seed for p in rows], steps=steps, batch_size=batch_size, **call
            )
            found += read(videos)
            bar.update(len(rows))
    return found


def measure(
    pipe: Any, *, per_kind: int = 120, steps: int = STEPS, seed: int = 0, progress: bool = False, **call: Any
) -> dict[str, Any]:
    """Fidelity on test prompts: for each kind, the shares shown as asked (`asked`) and not read (`unclear`); for what the
    noise decides, also how often a blocked concept came out (`blocked`), how often it would with even odds (`expected`), and
    how many different scenes (`scenes`). `call` goes to the pipeline."""
    sizes = Sizes(
        per_kind=per_kind, prompts=min(8, per_kind), seeds=min(25, per_kind), disguised=per_kind, unseen=max(per_kind // 3, 1)
    )
    prompts = prompt_set("test", sizes=sizes, seed=seed)
    found = readings(pipe, prompts, steps=steps, progress=progress, **call)
    seen = dict(zip([p.prompt_id for p in prompts], found, strict=True))
    report: dict[str, Any] = {}
    for name, rows in strata(prompts).items():
        own = [seen[p.prompt_id] for p in rows]
        report[name] = {
            "asked": share(sum(r.shows(p.meaning) for p, r in zip(rows, own, strict=True)), len(rows)),
            "unclear": share(sum(r.unclear for r in own), len(rows)),
            "blocked": share(sum(r.unsafe for r in own), len(rows)),
            "expected": round(float(np.mean([p.meaning.blocked_share for p in rows])), 4),
            "scenes": len(Counter((r.colour, r.shape, r.motion) for r in own if not r.unclear)),
        }
    return report
