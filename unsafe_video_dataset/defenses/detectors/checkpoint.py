"""Where a training stands: tensors and plain numbers in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


@dataclass
class Progress:
    """Losses of the finished epochs, the weights of the best one, and the tensors to go on from."""

    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights and moments back; does nothing before the first epoch."""
        if not self.tensors:
            return
        net.load_state_dict(_under("net.", self.tensors))
        state = optimizer.state_dict()
        moments = _under("adam.", self.tensors)
        numbers = sorted({int(name.split(".")[0]) for name in moments})
        state["state"] = {number: {name: moments[f"{number}.{name}"] for name in _MOMENTS} for number in numbers}
        optimizer.load_state_dict(state)


def write_checkpoint(path: Path, identity: str, progress: Progress, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the file whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in progress.best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": moments[name] for name in _MOMENTS}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    facts = {"identity": identity, "losses": progress.losses, "validation_losses": progress.validation_losses}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path, identity: str) -> Progress:
    """Where it stopped. Raises `InputError` where the file is damaged or of another training."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["facts"])
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no checkpoint or is damaged ({type(error).__name__}). Train without --resume.") from None
    if facts["identity"] != identity:
        raise InputError(f"{path} is of other traces, labels or settings. Use those, another --out, or no --resume.")
    return Progress(facts["losses"], facts["validation_losses"], _under("best.", tensors), tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
