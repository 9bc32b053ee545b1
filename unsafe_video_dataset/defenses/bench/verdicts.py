"""The second stage's files: what one defence says of every sample of a split, by sample id. No prompt, no frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError, IntegrityError
from .generate import write_table

Stage = Literal["prompt", "latent", "output", "chain"]
_KEY = b"unsafe_video_verdicts"
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("action", pa.string()),
        ("score", pa.float64()),
        ("denoised", pa.int32()),
        ("looks", pa.int32()),
        ("decoded", pa.bool_()),
        ("scores", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Verdicts:
    """One defence on n samples. `blocked` bool [n]; `score` float64 [n], higher is less safe; `scores` float64 [n, K] by
    category, None where the defence has none. What it cost: `denoised` int [n], evaluations of the denoiser; `looks` int [n],
    of a latent detector; `decoded` bool [n], whether the VAE's decoder ran. `facts`: operating point, training seed."""

    name: str
    stage: Stage
    sample_ids: tuple[str, ...]
    blocked: NDArray[np.bool_]
    score: NDArray[np.float64]
    denoised: NDArray[np.int64]
    looks: NDArray[np.int64]
    decoded: NDArray[np.bool_]
    scores: NDArray[np.float64] | None = None
    categories: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {len(getattr(self, name)) for name in ("sample_ids", "blocked", "score", "denoised", "looks", "decoded")}
        if len(sizes) != 1 or len(set(self.sample_ids)) != len(self.sample_ids):
            raise InputError(f"Verdicts of {self.name}: columns of lengths {sorted(sizes)}, or a sample twice.")
        if self.scores is not None and self.scores.shape != (len(self.sample_ids), len(self.categories)):
            raise InputError(f"Verdicts of {self.name}: scores {self.scores.shape} for {len(self.categories)} categories.")

    def of(self, sample_ids: Sequence[str]) -> Verdicts:
        """The same for these samples in this order. Raises `InputError` where one is missing."""
        place = {name: i for i, name in enumerate(self.sample_ids)}
        missing = [name for name in sample_ids if name not in place]
        if missing:
            raise InputError(f"{self.name} gave no verdict on {len(missing)} of {len(sample_ids)} samples, {missing[0]} first.")
        at = np.array([place[name] for name in sample_ids], dtype=np.int64)
        return Verdicts(
            self.name,
            self.stage,
            tuple(sample_ids),
            self.blocked[at],
            self.score[at],
            self.denoised[at],
            self.looks[at],
            self.decoded[at],
            None if self.scores is None else self.scores[at],
            self.categories,
            self.facts,
        )

    def save(self, path: Path) -> None:
        """Write a Parquet file, one row a sample."""
        rows = [
            {
                "sample_id": name,
                "action": "block" if self.blocked[i] else "allow",
                "score": float(self.score[i]),
                "denoised": int(self.denoised[i]),
                "looks": int(self.looks[i]),
                "decoded": bool(self.decoded[i]),
                "scores": None if self.scores is None else self.scores[i].tolist(),
            }
            for i, name in enumerate(self.sample_ids)
        ]
        about = {"name": self.name, "stage": self.stage, "categories": self.categories, "facts": dict(self.facts)}
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True).encode()}), path)

    @classmethod
    def read(cls, path: Path) -> Verdicts:
        """Read what `save` wrote. Raises `InputError` without a file, `IntegrityError` where it isn't one of these."""
        if not path.is_file():
            raise InputError(f"There is no file {path}. `unsafe-video defend bench` writes the verdicts.")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            about = json.loads((table.schema.metadata or {})[_KEY])
            column = {name: table[name].to_pylist() for name in table.column_names}
            rows = column["scores"]
            return cls(
                about["name"],
                about["stage"],
                tuple(column["sample_id"]),
                np.array([action == "block" for action in column["action"]], dtype=bool),
                np.array(column["score"], dtype=np.float64),
                np.array(column["denoised"], dtype=np.int64),
                np.array(column["looks"], dtype=np.int64),
                np.array(column["decoded"], dtype=bool),
                None if not about["categories"] else np.array(rows, dtype=np.float64).reshape(-1, len(about["categories"])),
                tuple(about["categories"]),
                about["facts"],
            )
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise IntegrityError(
                f"{path} is no verdict file or is damaged ({type(error).__name__}). Run the stage anew."
            ) from None


def chain(name: str, members: Sequence[Verdicts]) -> Verdicts:
    """The members one after another, by stage: the first that blocks ends the generation, and later ones cost nothing.

    At most one latent member. The score is the highest of the members' ranks among the samples, since
    their scales differ.
    """
    if not members or sum(one.stage == "latent" for one in members) > 1 or any(one.stage == "chain" for one in members):
        raise InputError("A chain needs members: prompt and output defences, and at most one latent one.")
    order = sorted(members, key=lambda one: ("prompt", "latent", "output").index(one.stage))
    ids = order[0].sample_ids
    order = [one.of(ids) for one in order]
    blocked = np.zeros(len(ids), dtype=bool)
    denoised = looks = np.zeros(len(ids), dtype=np.int64)
    decoded = np.zeros(len(ids), dtype=bool)
    for one in order:
        denoised = np.where(blocked, denoised, one.denoised)  # of an allowed sample: all steps, at any stage
        looks = np.where(blocked, looks, np.maximum(looks, one.looks))
        decoded = np.where(blocked, decoded, one.decoded)
        blocked = blocked | one.blocked
    return Verdicts(
        name,
        "chain",
        ids,
        blocked,
        np.max([_ranks(one.score) for one in order], axis=0),
        np.asarray(denoised),
        np.asarray(looks),
        np.asarray(decoded),
        facts={"members": [one.name for one in order]},
    )


def _ranks(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of samples with a lower score, ties one half: in [0, 1]."""
    ordered = np.sort(score)
    return np.asarray((np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / (2 * len(score)))
