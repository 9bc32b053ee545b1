"""A detector of your own, as a `Detector`: so that it can be calibrated, replayed and guarded with like the trained ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..lvd import accepted
from .card import Card
from .detector import Detector

_LIMIT = 12.0


class CallableNet(nn.Module):
    """Asks a callable about one x0 after another; its scores in [0, 1] become logits in [-12, 12]."""

    def __init__(self, check: Callable[..., object], categories: Sequence[str]) -> None:
        super().__init__()
        self.check, self.categories = check, tuple(categories)
        self._asked = accepted(check)

    def forward(self, x0: Tensor, *, log_snr: Tensor, step: Tensor) -> Tensor:
        """Logits float [B, categories]."""
        rows = []
        for one, level, number in zip(x0, log_snr.tolist(), step.tolist(), strict=True):
            given = {"log_snr": level, "step": int(number), "timestep": float("nan")}
            if "timestep" in self._asked:
                raise InputError("A wrapped detector is asked about traces by log_snr and step; it can't have a timestep.")
            rows.append(self._scores(self.check(one, **{name: given[name] for name in self._asked})))
        return torch.logit(torch.tensor(rows, dtype=torch.float64)).clamp(-_LIMIT, _LIMIT).float()

    def _scores(self, result: Any) -> list[float]:
        if hasattr(result, "tolist"):
            result = result.tolist()
        if isinstance(result, Mapping):
            missing = sorted(set(self.categories) ^ set(result))
            if missing:
                raise InputError(f"The detector's scores and its categories differ in {', '.join(map(str, missing))}.")
            values = [result[name] for name in self.categories]
        else:
            values = list(result) if isinstance(result, Sequence) and not isinstance(result, str) else [result]
        values = [float(value) for value in values]
        if len(values) != len(self.categories) or not all(0 <= value <= 1 for value in values):
            raise InputError(
                f"The detector gave {len(values)} scores for {len(self.categories)} categories, or some out of [0, 1]."
            )
        return values


def wrap(
    check: Callable[..., object], *, categories: Sequence[str] = ("unsafe",), kind: Mapping[str, Any] | None = None
) -> Detector:
    """A `Detector` of a callable of one x0 [C, T, H, W] that gives scores in [0, 1]: a number, a bool, a sequence or a mapping.

    Parameters called `step` or `log_snr` are filled by name. `kind` (`Traces.kind()`) says which x0 it reads; without one it is
    not checked. It can't be saved: its calibration can (`detector.card.to_json()`).
    """
    return Detector(CallableNet(check, categories), Card("callable", tuple(categories), dict(kind or {}), {}, ()))
