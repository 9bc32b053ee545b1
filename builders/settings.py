"""What a user chooses for an upstream release: checked before any work, recorded in the manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.records import validate
from unsafe_video_dataset.votes import Tie

from .raters.control import FailedChecks
from .split import DEFAULT_FRACTIONS

GENERATION = {"num_inference_steps": int, "guidance_scale": float, "seed": int, "scheduler": str}


@dataclass(frozen=True)
class UpstreamSettings:
    """Everything that shapes an upstream release; written to the manifest (files by name only)."""

    categories: str | None = None
    generator: str | None = None
    generation: Mapping[str, Any] | None = None
    prompt_source: str | None = None
    labels: Path | None = None
    prompts: Path | None = None
    annotations: Path | None = None
    no_prompts: bool = False
    failed_checks: FailedChecks = "rater"
    tie: Tie = "negative"
    fractions: Sequence[float] = DEFAULT_FRACTIONS
    split_seed: int = 0
    name: str = "unsafe-video"
    release_version: str = "1.0"
    source: Mapping[str, str] | None = None  # repository and commit, where the raw folder came from the Hub

    def faults(self) -> list[Fault]:
        """What does not fit the schemas of the records and the manifest that these settings go into."""
        generation = dict.fromkeys(GENERATION) | dict(self.generation or {})
        record: dict[str, Any] = {"prompt_source": self.prompt_source, "generation": generation}
        if self.generator is not None:
            record["generator"] = self.generator
        faults = validate("video", [(None, record)], file="settings")
        faults += validate("manifest", [(None, {"name": self.name, "release_version": self.release_version})], file="settings")
        faults = [fault for fault in faults if fault.field]  # the other fields are not settings
        for key, value in generation.items():
            field = f"generation.{key}"
            if isinstance(value, float) and not math.isfinite(value):
                faults.append(Fault("settings", f"found {value}", field=field, expected="a finite number"))
            elif isinstance(value, int) and abs(value) >= (1 << 31 if key == "num_inference_steps" else 1 << 63):
                faults.append(Fault("settings", "found a number that is too large", field=field, expected="a 64-bit integer"))
        return faults

    def recorded(self, mapping: Mapping[str, str], generator: str) -> dict[str, Any]:
        """The settings as JSON values for the manifest, with what was found for those that were not given."""
        return {
            "categories": dict(mapping),
            "categories_from": "published counts" if self.categories is None else "--categories",
            "generator": generator,
            "generation": dict(self.generation) if self.generation else None,
            "prompt_source": self.prompt_source,
            "prompts_left_out": self.no_prompts,
            "labels_from": "majority of votes" if self.annotations else "upstream",
            **({"failed_checks": self.failed_checks} if self.annotations else {}),
            "tie": self.tie,
            "split_fractions": list(self.fractions),
            "split_seed": self.split_seed,
            **({"source": dict(self.source)} if self.source else {}),
        }
