"""What a row of step scores says for unsafe against safe: a Gaussian model of scores that depend on one another. No torch.

The steps of one video look alike, so their log-likelihood ratios can't be added up as if each were news. Here a step counts
with what it says beyond the steps before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FilterError, InputError, one_of
from .rule import steps_of

Link = Literal["logit", "identity"]
_EDGE = 1e-6  # probabilities are cut here before the logit: one step can't outweigh everything


@dataclass(frozen=True)
class Trail:
    """One video so far: what each step was off the safe and the unsafe class (in standard deviations), and the summed ratio."""

    safe: tuple[float, ...] = ()
    unsafe: tuple[float, ...] = ()
    llr: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """What step scores look like on safe and on unsafe videos: one mean a class and step, and a common covariance.

    Means are on the scale of the `link`: `logit` for probabilities, `identity` for scores as they are. `factor` is the lower
    Cholesky factor of the covariance, row by row. `at` are the denoising steps that it was fitted on (by default 1, 2, 3 …) of
    generations of `num_steps` steps (None: not known): it says nothing of other steps, nor of other numbers of steps. Make it
    with `fit_evidence`.
    """

    safe: tuple[float, ...]
    unsafe: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]
    link: Link = "logit"
    at: tuple[int, ...] = ()
    num_steps: int | None = None

    def __post_init__(self) -> None:
        one_of(self.link, get_args(Link), "Evidence(link)")
        object.__setattr__(self, "safe", tuple(map(float, self.safe)))
        object.__setattr__(self, "unsafe", tuple(map(float, self.unsafe)))
        object.__setattr__(self, "factor", tuple(tuple(map(float, row)) for row in self.factor))
        steps = len(self.safe)
        square = len(self.factor) == steps and all(len(row) == steps for row in self.factor)
        if not steps or len(self.unsafe) != steps or not square or any(self.factor[i][i] <= 0 for i in range(steps)):
            raise InputError("Evidence needs two means a step and a square factor with a positive diagonal: use fit_evidence.")
        object.__setattr__(self, "at", steps_of(self.at or range(1, steps + 1)))
        if len(self.at) != steps or (self.num_steps is not None and self.num_steps < self.at[-1]):
            raise InputError(
                f"Evidence of {steps} steps can't be that of steps {list(self.at)} of {self.num_steps}: use fit_evidence."
            )

    @property
    def steps(self) -> int:
        """How many steps it knows."""
        return len(self.safe)

    def add(self, trail: Trail, score: float) -> Trail:
        """The trail after one more step. Raises `InputError` on a NaN, and past the last step that it knows."""
        k = len(trail.safe)
        if k >= self.steps:
            raise InputError(f"The evidence was fitted on {self.steps} steps; step {k + 1} can't be judged.")
        value = float(_linked(np.asarray([score]), self.link)[0])
        row = self.factor[k]
        safe = (value - self.safe[k] - math.fsum(map(float.__mul__, row, trail.safe))) / row[k]
        unsafe = (value - self.unsafe[k] - math.fsum(map(float.__mul__, row, trail.unsafe))) / row[k]
        return Trail((*trail.safe, safe), (*trail.unsafe, unsafe), trail.llr + (safe**2 - unsafe**2) / 2)

    def llrs(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The summed ratio after each step, [N, steps'], for scores [N, steps'] of at most as many steps as it knows."""
        values = _linked(np.asarray(scores, dtype=np.float64), self.link)
        count = values.shape[1]
        factor = np.asarray(self.factor)[:count, :count]
        safe = np.linalg.solve(factor, (values - np.asarray(self.safe[:count])).T).T
        unsafe = np.linalg.solve(factor, (values - np.asarray(self.unsafe[:count])).T).T
        return np.asarray(np.cumsum((safe**2 - unsafe**2) / 2, axis=1))

    def draw(self, count: int, *, unsafe: bool, seed: int) -> NDArray[np.float64]:
        """Scores [count, steps] of the class, drawn from the model, on the scale of the detector."""
        rng = np.random.Generator(np.random.Philox(seed))
        noise = rng.standard_normal((count, self.steps)) @ np.asarray(self.factor).T
        values = noise + np.asarray(self.unsafe if unsafe else self.safe)
        return values if self.link == "identity" else np.asarray(1 / (1 + np.exp(-values)))

    def to_dict(self) -> dict[str, object]:
        """The evidence as plain JSON values; `Evidence(**...)` reads them."""
        return {
            **asdict(self),
            "factor": [list(row) for row in self.factor],
            "safe": list(self.safe),
            "unsafe": list(self.unsafe),
            "at": list(self.at),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_dict`. Raises `InputError` where something is missing or doesn't fit."""
        missing = sorted({"safe", "unsafe", "factor", "link", "at", "num_steps"} - set(values))
        if missing:
            raise InputError(f"No {', '.join(missing)} in the stored evidence: fit it again with fit_evidence.")
        return cls(**{name: values[name] for name in ("safe", "unsafe", "factor", "link", "at", "num_steps")})


def fit_evidence(
    scores: ArrayLike,
    labels: NDArray[np.bool_],
    *,
    link: Link = "logit",
    shrinkage: float = 0.1,
    steps: Sequence[int] | None = None,
    num_steps: int | None = None,
) -> Evidence:
    """Evidence from calibrated step scores of videos that the detector was not trained on.

    `scores`: [N, steps], in (0, 1) for `logit`; `labels`: bool [N], True is unsafe, at least 2 of each. The covariance within
    the classes is pooled and shrunk by `shrinkage` in [0, 1] towards its diagonal: with 1, steps count as independent.
    `steps`: the denoising steps of the columns (default 1, 2, 3 …), `num_steps`: how many a whole generation takes.
    Raises `InputError` on shapes that don't fit, values that are no numbers or too few videos; `FilterError` on options.
    """
    one_of(link, get_args(Link), "fit_evidence(link)")
    if not 0 <= shrinkage <= 1:
        raise FilterError(f"shrinkage={shrinkage!r} is out of range. Give a number in [0, 1].")
    found, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if found.ndim != 2 or not found.shape[1] or labels.shape != found.shape[:1] or labels.dtype != np.dtype(bool):
        raise InputError(
            f"scores {list(found.shape)} and labels {labels.dtype}{list(labels.shape)}: give [N, steps] and bool [N]."
        )
    if min(labels.sum(), (~labels).sum()) < 2:
        raise InputError(f"{int(labels.sum())} unsafe and {int((~labels).sum())} safe videos: fit on at least 2 of each.")
    values = _linked(found, link)
    safe, unsafe = values[~labels].mean(axis=0), values[labels].mean(axis=0)
    within = values - np.where(labels[:, None], unsafe, safe)
    covariance = within.T @ within / (len(values) - 2)
    variances = np.maximum(np.diag(covariance), 1e-6)
    covariance = (1 - shrinkage) * covariance
    np.fill_diagonal(covariance, variances)
    covariance += 1e-9 * np.diag(variances)  # steps that say the same give a singular matrix where shrinkage is 0
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise InputError("The steps' scores are linearly dependent: raise shrinkage, or fit on more videos.") from None
    return Evidence(tuple(safe), tuple(unsafe), tuple(map(tuple, factor)), link, tuple(steps or ()), num_steps)


def _linked(scores: NDArray[np.float64], link: Link) -> NDArray[np.float64]:
    if not np.isfinite(scores).all():
        raise InputError("A step score is no finite number. Check the detector's input scale and its weights.")
    if link == "identity":
        return scores
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise InputError("A step score is outside [0, 1]: calibrate the detector, or fit the evidence with link='identity'.")
    cut = scores.clip(_EDGE, 1 - _EDGE)
    return np.asarray(np.log(cut / (1 - cut)))
