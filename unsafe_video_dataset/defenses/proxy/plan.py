"""What a training run of the proxy is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a run is made of; the defaults made the shipped proxy. `evaluate` is the number of test prompts a kind."""

    seed: int = 0
    videos: int = 18_000
    prompts: int = 24_000
    text_steps: int = 2_000
    text_batch: int = 96
    steps: int = 4_000
    batch: int = 384
    rate: float = 2e-3
    ema: float = 0.998
    evaluate: int = 120
