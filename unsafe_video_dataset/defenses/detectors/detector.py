"""A trained detector: a network with its card. Called with one x0 it gives a probability for each category."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._console import write_text
from ...errors import ChecksumError, InputError, IntegrityError
from ...integrity import sha256_file
from ...ranks import find_device
from ..base import GenerationInfo
from ..base import Tensor as AnyTensor
from ..evidence import Evidence
from ..lvd import LatentVariableDefense, Votes
from ..rule import Lambda, StepRule
from ..traces import Traces, mismatch
from .card import Card
from .latent import LatentConfig, LatentNet

WEIGHTS, CARD = "detector.safetensors", "detector.json"
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Detector:
    """A network (x0, log_snr, step -> logits) and its card. In eval mode always; the weights stay where they are."""

    net: nn.Module
    card: Card

    def __post_init__(self) -> None:
        self.net.eval().requires_grad_(False)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the scores, in order."""
        return self.card.categories

    @property
    def thresholds(self) -> dict[str, float]:
        """By category, from the calibration; 0.5 without one."""
        found = self.card.calibration
        return dict.fromkeys(self.categories, 0.5) if found is None else dict(found.thresholds)

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU where there are none."""
        weight = next(self.net.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    @torch.no_grad()
    def logits(self, x0: Tensor, *, log_snr: Tensor | Sequence[float], step: Tensor | Sequence[int]) -> Tensor:
        """Raw logits float32 [B, categories], on the CPU, of x0 float [B, C, T, H, W]; `log_snr` and `step` are [B]."""
        where = x0.device if self.card.architecture == "callable" else self.device
        levels = torch.as_tensor(log_snr, dtype=torch.float32, device=where)
        steps = torch.as_tensor(step, dtype=torch.int64, device=where)
        made: Tensor = self.net(x0.to(where), log_snr=levels, step=steps)
        return made.float().cpu()

    def probabilities(self, logits: Tensor) -> Tensor:
        """sigmoid(logits / temperature), float64 [..., categories]."""
        found = self.card.calibration
        scale = [1.0 if found is None else found.temperature[name] for name in self.categories]
        return (logits.double() / torch.tensor(scale, dtype=torch.float64)).sigmoid()

    def evidence(self) -> Evidence:
        """What the scores of its steps say for a sequential test: `SequentialTest(detector.evidence())` is a rule.

        Raises `InputError` without a calibration.
        """
        if self.card.calibration is None:
            raise InputError("This detector isn't calibrated: `unsafe-video defend calibrate` does it.")
        return Evidence.from_dict(self.card.calibration.evidence)

    def __call__(self, x0: AnyTensor, *, step: int, log_snr: float) -> dict[str, float]:
        """Probability of each category for one x0 [C, T, H, W]: what `LatentVariableDefense` asks of a detector."""
        scores = self.probabilities(self.logits(x0[None], log_snr=[log_snr], step=[step]))[0]
        return dict(zip(self.categories, scores.tolist(), strict=True))

    def defense(
        self,
        *,
        eta: int = 5,
        lam: Lambda = 0.6,
        rule: StepRule | None = None,
        steps: Sequence[int] | None = None,
        name: str = "lvd",
        any_scheduler: bool = False,
    ) -> LatentVariableDefense:
        """The Latent Variable Defense with this detector, its thresholds and its way of reading x0.

        `steps`: those that vote, the first `eta` of them; by default every step, and for a detector with one network a step
        those that it has a network for.

        It refuses (`DetectorMismatch`) a pipeline with x0 of another kind than it was trained on; see `traces.mismatch`.
        """
        if rule is None and steps is None and self.card.architecture == "videomae":
            steps = self.card.steps
        return _TrainedDefense(self, eta=eta, lam=lam, rule=rule, steps=steps, name=name, any_scheduler=any_scheduler)

    def to(self, device: str | torch.device) -> Detector:
        """The same detector with its weights on a device."""
        self.net.to(device)
        return self

    def check(self, traces: Traces, *, any_scheduler: bool = False) -> None:
        """Raise `DetectorMismatch` where these traces are of another kind than those it was trained on."""
        traces.check_kind(self.card.kind, any_scheduler=any_scheduler)

    def save(self, folder: str | Path) -> Detector:
        """Write `detector.safetensors` and `detector.json`; returns the detector with the weights' sha256 in its card.

        Raises `InputError` for a wrapped callable, which is code.
        """
        from safetensors.torch import save_file

        if self.card.architecture == "callable":
            raise InputError("A wrapped callable can't be saved: keep its code, and card.to_json() for the calibration.")

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / WEIGHTS
        partial = folder / f".{WEIGHTS}.{os.getpid()}"
        try:
            state = {name: value.detach().cpu().contiguous() for name, value in self.net.state_dict().items()}
            save_file(state, partial)
            card = replace(self.card, weights_sha256=sha256_file(partial))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        write_text(folder / CARD, card.to_json())
        return replace(self, card=card)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", decode: Decode | None = None) -> Detector:
        """A saved detector. `decode` (x0 [C, T, H, W] -> frames) is needed by those that look at frames.

        Raises `InputError` where there is none, `ChecksumError` where the weights are not those of the card.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder, where = Path(folder), find_device(device)
        card = Card.read(folder / CARD)
        file = folder / WEIGHTS
        if not file.is_file() or sha256_file(file) != card.weights_sha256:
            raise ChecksumError(f"{file} is missing or not the file that {CARD} names. Copy the folder again, or train anew.")
        try:
            net = build(card, decode=decode)
            net.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise IntegrityError(f"{file} does not fit its card ({type(error).__name__}). Train anew.") from None
        return cls(net.to(where), card)


def build(card: Card, *, decode: Decode | None = None) -> nn.Module:
    """The network that a card describes, with its first weights."""
    if card.architecture == "latent":
        return LatentNet(LatentConfig(**card.config))
    if card.architecture == "callable":
        raise InputError("A wrapped callable isn't stored: wrap it again.")
    from .videomae import PerStepVideoMAE

    if decode is None:
        raise InputError("This detector looks at frames: pass decode=, from frames_decoder(pipe.vae), or --pipeline.")
    return PerStepVideoMAE.from_dict(card.config, decode=decode)


class _TrainedDefense(LatentVariableDefense):
    """An LVD that knows which x0 its detector was trained on."""

    def __init__(self, detector: Detector, *, any_scheduler: bool, **options: Any) -> None:
        self.kind: Mapping[str, Any] = detector.card.kind
        self.any_scheduler = any_scheduler
        super().__init__(
            detector,
            threshold=detector.thresholds,
            categories=detector.categories,
            x0_convention=detector.card.kind.get("x0_convention", "scheduler"),
            **options,
        )

    def start(self, info: GenerationInfo) -> Votes:
        """See `LatentDefense.start`."""
        given: dict[str, Any] = {
            "x0_convention": info.x0_convention,
            "scheduler": info.scheduler,
            "prediction_type": info.prediction_type,
        }
        given["channels"] = info.shape[0]
        mismatch(self.kind, given, any_scheduler=self.any_scheduler, where=info.pipeline)
        return super().start(info)
