"""What stands beside a detector's weights: everything that is needed to know what its scores mean. Plain JSON, no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ...errors import InputError, IntegrityError, one_of
from ..evidence import Evidence

FORMAT = 1
Architecture = Literal["latent", "videomae", "callable"]


@dataclass(frozen=True)
class Calibration:
    """Chosen on validation samples, which the detector was not trained on.

    `temperature` and `thresholds` by category: a step votes unsafe where sigmoid(logit / temperature) >= threshold for any
    category. `votes_fpr` is the share of safe validation x0 with a positive vote, `target_fpr` what it was to stay under.
    `evidence` is that of the highest score of each recorded step, for a sequential test: see `evidence.Evidence`; it names the
    steps, and of how many.
    """

    temperature: dict[str, float]
    thresholds: dict[str, float]
    target_fpr: float | None
    votes_fpr: float
    evidence: dict[str, Any]
    samples: int
    groups: int
    labels_sha256: str

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Calibration:
        """From JSON values."""
        Evidence.from_dict(value["evidence"])  # refuses what is damaged
        return cls(**value)


@dataclass(frozen=True)
class Card:
    """A detector's papers.

    `kind`: x0_convention, scheduler, prediction_type and channels of the x0 that it was trained on. `config` makes the network.
    `latent_scale`: mean and standard deviation of each channel. `steps`: those it was trained on. `training`: settings, seed,
    sha256 of traces and labels, counts, best epoch. `train_groups`: ids of the groups trained on (hashes, not prompts), so that
    nobody calibrates or tests on them unawares.
    """

    architecture: Architecture
    categories: tuple[str, ...]
    kind: dict[str, Any]
    config: dict[str, Any]
    steps: tuple[int, ...]
    latent_scale: dict[str, list[float]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    train_groups: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        one_of(self.architecture, get_args(Architecture), "Card(architecture)")
        if not self.categories or len(set(self.categories)) != len(self.categories):
            raise InputError("A detector needs at least one category, each once.")

    def calibrated(self, calibration: Calibration) -> Card:
        """The same with this calibration."""
        return replace(self, calibration=calibration)

    def to_json(self) -> str:
        """JSON text; refuses NaN."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Card:
        """From a file. Raises `InputError` where there is none, `IntegrityError` where it is no card of this version."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("format") != FORMAT:
                raise ValueError("another format")
            value["calibration"] = None if value["calibration"] is None else Calibration.from_dict(value["calibration"])
            for name in ("categories", "steps", "train_groups"):
                value[name] = tuple(value[name])
            return cls(**value)
        except OSError:
            raise InputError(
                f"{path.parent} is no detector: it has no {path.name}. `unsafe-video defend train` makes one."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{path} is no detector card of this version ({type(error).__name__}). Train anew.") from None


def versions() -> dict[str, str]:
    """Versions of what a detector's numbers depend on."""
    from importlib import metadata

    found = {}
    for name in ("unsafe-video-dataset", "torch", "diffusers", "safetensors", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
