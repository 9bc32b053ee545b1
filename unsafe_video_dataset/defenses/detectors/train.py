"""Train a detector on traces. What comes out is a function of the traces, their labels and the settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ...errors import InputError
from ...metrics import auroc
from ...ranks import find_device
from ..traces import AnyTraces, Traces, open_traces
from .card import Card, versions
from .checkpoint import Progress, read_checkpoint, write_checkpoint
from .detector import Detector, build
from .folds import Folds, balanced, folds
from .latent import LatentConfig

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a training. `fractions` are those of train, validation and test groups.

    `negatives` is how many safe samples there may be for each unsafe one; see `folds.balanced`. `steps` are the denoising
    steps trained on, None for all recorded ones. A pass takes each sample at one step after the other, all of them once.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    width: int = 24
    negatives: float = 3.0
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    steps: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "epochs": (1, 100_000),
            "batch_size": (1, 65_536),
            "learning_rate": (1e-9, 10),
            "weight_decay": (0, 10),
            "negatives": (0, 1e6),
            "seed": (0, 2**31 - 1),
        }
        bad = [
            f"{name} from {low:g} to {high:g}" for name, (low, high) in limits.items() if not low <= getattr(self, name) <= high
        ]
        if bad:
            raise InputError(f"Settings out of range; give {'; '.join(bad)}.")


@dataclass(frozen=True)
class Trained:
    """The detector of the best epoch (lowest validation loss), its folds, and the losses of each epoch."""

    detector: Detector
    folds: Folds
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]


def train(
    traces: AnyTraces,
    *,
    out: str | Path,
    settings: Settings | None = None,
    categories: Sequence[str] | None = None,
    card: Card | None = None,
    net: nn.Module | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = True,
) -> Trained:
    """Train on the labelled samples of the train split and write detector and checkpoint into `out`.

    `categories` in the order of the scores; by default those that the labels name. `net` with its `card` trains another
    network (`PerStepVideoMAE`). `resume` goes on after the last finished epoch and ends with the same weights.
    Raises `InputError` where the labels can't be split, or a checkpoint of other settings or traces is resumed.
    """
    settings, where = settings or Settings(), find_device(device)
    traces, out = open_traces(traces).labelled(), Path(out)
    names = tuple(categories or traces.categories)
    if not names:
        raise InputError("All samples are labelled safe: a detector needs unsafe ones to learn from.")
    parts = folds(traces, seed=settings.seed, fractions=settings.fractions)
    chosen = traces.select(balanced(traces, parts.train, ratio=settings.negatives, seed=settings.seed))
    held_out = traces.select(parts.validation)
    fit, check = _Data(chosen, names, settings), _Data(held_out, names, settings)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # the first weights; the caller's randomness stays as it was
        if net is None:
            config = LatentConfig.for_shape(traces.shape, len(names), width=settings.width)
            card = Card("latent", names, traces.kind(), config.to_dict(), fit.steps)
            net = build(card)
            mean, std = fit.scale()
            net.set_scale(mean, std)  # type: ignore[operator]
            net.set_prior(torch.tensor(fit.targets.mean(axis=0), dtype=torch.float32))  # type: ignore[operator]
            card.latent_scale.update(mean=mean.tolist(), std=std.tolist())
    if card is None or card.categories != names:
        raise InputError(f"A net needs its card, with the categories {', '.join(names)}.")
    net = net.to(where)
    out.mkdir(parents=True, exist_ok=True)
    identity = _identity(traces, names, settings, card)
    state = read_checkpoint(out / CHECKPOINT, identity) if resume and (out / CHECKPOINT).is_file() else Progress()
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    state.restore(net, optimizer)
    bar = tqdm(range(len(state.losses), settings.epochs), desc="training", unit="epoch", disable=not progress)
    for epoch in bar:
        state.losses.append(_epoch(net, optimizer, fit, settings, epoch, where))
        loss, area = _check(net, check, settings, where)
        if not state.validation_losses or loss < min(state.validation_losses):
            state.best = {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}
        state.validation_losses.append(loss)
        write_checkpoint(out / CHECKPOINT, identity, state, net, optimizer)
        bar.set_postfix(loss=f"{state.losses[-1]:.3f}", validation=f"{loss:.3f}", auroc="-" if area is None else f"{area:.3f}")
    net.load_state_dict(state.best)
    training = {
        **{"settings": asdict(settings), "traces_sha256": traces.sha256, "labels_sha256": traces.labels_sha256()},
        **{"samples": len(chosen), "positives": fit.targets.sum(axis=0).tolist(), "identity_sha256": identity},
        "best_epoch": int(np.argmin(state.validation_losses)) + 1,
    }
    groups = tuple(sorted(set(chosen.group_ids)))
    made = {**vars(card), "training": training, "train_groups": groups, "versions": versions(), "calibration": None}
    detector = Detector(net, Card(**made)).save(out)
    return Trained(detector, parts, tuple(state.losses), tuple(state.validation_losses))


class _Data:
    """Samples at steps, as tensors a batch at a time."""

    def __init__(self, traces: Traces, names: Sequence[str], settings: Settings) -> None:
        self.traces = traces
        self.steps = traces.steps if settings.steps is None else tuple(sorted(set(settings.steps)))
        self.targets = traces.targets(names)
        self.log_snr = {step: traces.log_snr[:, i] for i, step in enumerate(traces.steps)}
        unknown = set(self.steps) - set(traces.steps)
        if unknown or not self.steps:
            raise InputError(f"Steps {sorted(unknown)} were not recorded; the traces have {list(traces.steps)}.")
        self.pairs = np.array([(sample, step) for sample in range(len(traces)) for step in self.steps], dtype=np.int64)

    def batch(self, at: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(x0, log_snr, step, target) of these pairs."""
        samples, steps = self.pairs[at, 0], self.pairs[at, 1]
        x0 = self.traces.x0(samples.tolist(), steps.tolist()).to(device)
        levels = torch.tensor([self.log_snr[int(s)][i] for i, s in zip(samples, steps, strict=True)], dtype=torch.float32)
        target = torch.tensor(self.targets[samples], dtype=torch.float32)
        return x0, levels.to(device), torch.tensor(steps).to(device), target.to(device)

    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all pairs, float32 [C]."""
        total = squares = torch.zeros(self.traces.shape[0], dtype=torch.float64)
        count = 0
        for start in range(0, len(self.pairs), 64):
            x0 = self.batch(np.arange(start, min(start + 64, len(self.pairs))), torch.device("cpu"))[0]
            flat = x0.transpose(0, 1).flatten(1).double()
            total, squares, count = total + flat.sum(1), squares + flat.square().sum(1), count + flat.shape[1]
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float()


def _epoch(
    net: nn.Module, optimizer: torch.optim.Optimizer, data: _Data, settings: Settings, epoch: int, device: torch.device
) -> float:
    """One pass; the mean loss."""
    net.train()
    order = np.random.default_rng([settings.seed, epoch]).permutation(len(data.pairs))
    starts = range(0, len(order), settings.batch_size)
    total = 0.0
    for number, start in enumerate(starts):
        done = (epoch + number / len(starts)) / settings.epochs
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, 20 * done + 0.05) * (1 + np.cos(np.pi * done)) / 2
        at = order[start : start + settings.batch_size]
        x0, log_snr, step, target = data.batch(at, device)
        loss = nn.functional.binary_cross_entropy_with_logits(net(x0, log_snr=log_snr, step=step), target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        total += float(loss.detach()) * len(at)
    return total / len(order)


@torch.no_grad()
def _check(net: nn.Module, data: _Data, settings: Settings, device: torch.device) -> tuple[float, float | None]:
    """Validation loss, and AUROC of the highest score against any category (None where one class is missing)."""
    net.eval()
    logits, targets = [], []
    for start in range(0, len(data.pairs), settings.batch_size):
        x0, log_snr, step, target = data.batch(np.arange(start, min(start + settings.batch_size, len(data.pairs))), device)
        logits.append(net(x0, log_snr=log_snr, step=step).float().cpu())
        targets.append(target.cpu())
    score, truth = torch.cat(logits), torch.cat(targets)
    loss = float(nn.functional.binary_cross_entropy_with_logits(score, truth))
    area = auroc(truth.bool().any(1).numpy(), score.amax(1).numpy())
    return loss, None if np.isnan(area) else area


def _identity(traces: Traces, names: Sequence[str], settings: Settings, card: Card) -> str:
    """sha256 of what a training depends on: a checkpoint of another one isn't gone on with."""
    parts = [traces.sha256, traces.labels_sha256(), list(names), asdict(settings), card.architecture, card.config]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
