"""One phase of the proxy's training: AdamW with a mean of late weights, and a checkpoint that the same command goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...errors import InputError
from .plan import Settings


def run_phase(
    module: nn.Module,
    name: str,
    steps: int,
    rate: float,
    ema: float,
    settings: Settings,
    saved: Path,
    progress: bool,
    save_every: int,
    loss_of: Any,
) -> list[float]:
    """AdamW, a short warm-up, then down to 0 along a straight line; the module ends with the mean of its late weights (`ema`).

    Losses returned are means over blocks of `save_every` steps.
    """
    parameters = dict(module.named_parameters())
    mean = {key: value.detach().clone() for key, value in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    losses: list[float] = []
    first = _restore(saved, name, settings, parameters, mean, optimizer, losses)
    block: list[float] = []
    module.train()
    for step in tqdm(range(first, steps), desc=name, initial=first, total=steps, unit="step", disable=not progress):
        generator = torch.Generator().manual_seed((settings.seed * 2 + (name == "text")) * 10_000_019 + step)
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / 100, (steps - step) / (0.7 * steps), 1)
        optimizer.zero_grad()
        loss = loss_of(generator)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        keep = min(ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in parameters.items():
                mean[key].lerp_(value, 1 - keep)
        block.append(float(loss.detach()))
        if (step + 1) % save_every == 0 or step + 1 == steps:
            losses.append(round(float(np.mean(block)), 5))
            block = []
            _save(saved, name, settings, step + 1, parameters, mean, optimizer, losses)
    with torch.no_grad():
        for key, value in parameters.items():
            value.copy_(mean[key])
    module.eval()
    return losses


def _tensors(parameters: dict[str, Any], mean: dict[str, Tensor], optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    for key, value in parameters.items():
        yield f"value.{key}", value.detach()
        yield f"mean.{key}", mean[key]
        for moment in ("exp_avg", "exp_avg_sq"):
            if value in optimizer.state:
                yield f"{moment}.{key}", optimizer.state[value][moment]


def _save(
    saved: Path,
    name: str,
    settings: Settings,
    step: int,
    parameters: dict[str, Any],
    mean: dict[str, Tensor],
    optimizer: Any,
    losses: list[float],
) -> None:
    from safetensors.torch import save_file

    saved.mkdir(parents=True, exist_ok=True)
    about = {"step": str(step), "losses": json.dumps(losses), "settings": json.dumps(asdict(settings), sort_keys=True)}
    tensors = {key: value.contiguous() for key, value in _tensors(parameters, mean, optimizer)}
    save_file(tensors, saved / f"{name}.tmp", metadata=about)
    (saved / f"{name}.tmp").replace(saved / f"{name}.safetensors")


def _restore(
    saved: Path,
    name: str,
    settings: Settings,
    parameters: dict[str, Any],
    mean: dict[str, Tensor],
    optimizer: Any,
    losses: list[float],
) -> int:
    """Put a phase back to where its checkpoint is; the number of steps done, 0 without one."""
    from safetensors import safe_open

    path = saved / f"{name}.safetensors"
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as stored:
        about = stored.metadata()
        if json.loads(about["settings"]) != asdict(settings):
            raise InputError(f"{path.name} in {saved.name}/ is of other settings. Train into another folder, or delete it.")
        losses += json.loads(about["losses"])
        step = int(about["step"])
        with torch.no_grad():
            for key, value in parameters.items():
                value.copy_(stored.get_tensor(f"value.{key}"))
                mean[key].copy_(stored.get_tensor(f"mean.{key}"))
                if f"exp_avg.{key}" not in stored.keys():  # noqa: SIM118 (no mapping): never had a gradient
                    continue
                moments = {moment: stored.get_tensor(f"{moment}.{key}") for moment in ("exp_avg", "exp_avg_sq")}
                optimizer.state[value] = {"step": torch.tensor(float(step)), **moments}
    return step
