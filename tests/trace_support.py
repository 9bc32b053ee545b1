"""Traces whose concepts are planted, so that a training can be seen to learn them."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from unsafe_video_dataset.defenses.trace_store import TraceStore
from unsafe_video_dataset.defenses.traces import Traces


def planted(
    folder: Path,
    samples: int = 96,
    *,
    groups: int = 24,
    steps: int = 4,
    channels: int = 4,
    size: int = 8,
    seed: int = 0,
    strength: float = 1.0,
) -> Traces:
    """Traces of noise in which `bright` samples have a patch in channel 0 and `wide` ones a stripe in channel 1.

    The patch is fainter at early steps, as in a real generation. Every fourth group is safe throughout; in the others a sample
    has each concept with probability 0.4, so that most groups are mixed.
    """
    settings = {
        "format": 1,
        "pipeline": "Planted",
        "model": "",
        "scheduler": "DDIMScheduler",
        "prediction_type": "epsilon",
        "x0_convention": "scheduler",
        "num_steps": steps,
        "steps": list(range(1, steps + 1)),
        "shape": [channels, 4, size, size],
        "layout": "CTHW",
        "precision": "fp16",
        "finished": True,
        "call": {},
    }
    store = TraceStore(folder, settings)
    draw = torch.Generator().manual_seed(seed)
    for number in range(samples):
        group = number % groups
        found = [name for name in ("bright", "wide") if group % 4 and float(torch.rand(1, generator=draw)) < 0.4]
        place = int(torch.randint(0, size - 3, (1,), generator=draw))
        x0 = torch.randn(steps, *settings["shape"], generator=draw) * 0.5
        facts: list[list[float]] = []
        for step in range(steps):
            added = strength * (0.5 + 1.5 * (step + 1) / steps)
            if "bright" in found:
                x0[step, 0, :, place : place + 3, place : place + 3] += added
            if "wide" in found:
                x0[step, 1, :, place, :] += added
            log_snr = -4.0 + 6.0 * step / steps
            facts.append([step + 1, 999.0 - 200 * step, log_snr, math.exp(-log_snr / 2)])
        sample = f"{number:016x}"
        store.add(
            {
                "sample_id": sample,
                "video_id": None,
                "prompt_sha256": f"{group:064x}",
                "group_id": f"g{group:02d}",
                "prompt_kind": ("direct", "under-specified")[group % 2],
                "split": None,
                "seed": number,
                **{name: settings[name] for name in ("pipeline", "scheduler", "prediction_type", "x0_convention", "num_steps")},
                "categories": sorted(found),
                "steps": facts,
            },
            x0.half(),
        )
    store.finish(shard_samples=40)
    return Traces.open(folder)
