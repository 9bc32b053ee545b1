"""What a detector says about recorded x0, step by step: stored once, then any rule can be tried on it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import InputError, IntegrityError
from ..metrics import auroc
from . import rule
from .evidence import Evidence
from .rule import Cell, Lambda
from .sequential import SequentialTest

if TYPE_CHECKING:
    from .detectors import Detector
    from .traces import AnyTraces

_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("video_id", pa.string()),
        ("group_id", pa.string()),
        ("prompt_kind", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("step", pa.int32()),
        ("log_snr", pa.float64()),
        ("scores", pa.list_(pa.float64())),
        ("vote", pa.bool_()),
    ]
)
LAMBDAS = ("0.2", "0.4", "0.6", "0.8", "1")
_KEY = b"unsafe_video_votes"


@dataclass(frozen=True)
class StepVotes:
    """Votes bool [N, S] and scores float64 [N, S, K] of N samples, S steps, K categories; rows sorted by sample id.

    `labels` bool [N, K]; `unsafe` bool [N]. `facts`: thresholds, sha256 of weights and traces, the split.
    """

    sample_ids: tuple[str, ...]
    video_ids: tuple[str | None, ...]
    group_ids: tuple[str, ...]
    prompt_kinds: tuple[str | None, ...]
    steps: tuple[int, ...]
    categories: tuple[str, ...]
    labels: NDArray[np.bool_]
    log_snr: NDArray[np.float64]
    scores: NDArray[np.float64]
    votes: NDArray[np.bool_]
    facts: dict[str, Any]

    @property
    def unsafe(self) -> NDArray[np.bool_]:
        """bool [N]: any category."""
        return np.asarray(self.labels.any(axis=1))

    @property
    def score(self) -> NDArray[np.float64]:
        """float64 [N, S]: the highest of a step's scores, what a `StepRule` is given."""
        return np.asarray(self.scores.max(axis=2))

    def table(self, *, etas: Sequence[int] | None = None, lams: Sequence[Lambda] = LAMBDAS) -> list[Cell]:
        """The eta x lambda table (`rule.replay`); by default of all etas. `eta` counts recorded steps, the mean steps are
        denoising steps.

        Raises `InputError` for an eta above their number.
        """
        etas = checked_etas(etas, self.steps)
        return rule.replay(self.votes, self.unsafe, etas=etas, lams=lams, steps=self.steps)

    def sequential(self, evidence: Evidence, *, alphas: Sequence[float] = (0.01, 0.05, 0.1)) -> list[dict[str, Any]]:
        """What sequential tests on the evidence make of these scores, one row an error rate (alpha = beta).

        Raises `InputError` where the evidence is about other steps, or generations of another length.
        """
        about = (evidence.at, evidence.num_steps)
        if about != (self.steps, self.facts.get("num_steps")):
            raise InputError(
                f"The evidence is about steps {list(evidence.at)} of {evidence.num_steps}, these votes are about "
                f"{list(self.steps)} of {self.facts.get('num_steps')}: calibrate on traces of these steps."
            )
        rows = []
        for alpha in alphas:
            unsafe, seen, complete = SequentialTest(evidence, alpha=alpha, beta=alpha).decide_all(self.score)
            rows.append({"alpha": alpha, **rule.rates_of(unsafe, np.asarray(self.steps)[seen - 1], complete, self.unsafe)})
        return rows

    def by_step(self) -> list[dict[str, Any]]:
        """One row a step: AUROC of the score (any category, and each), and accuracy, TPR and FPR of its votes.

        An AUROC is None where one class is missing.
        """
        rows = []
        for i, step in enumerate(self.steps):
            areas = {name: _none(auroc(self.labels[:, k], self.scores[:, i, k])) for k, name in enumerate(self.categories)}
            votes, unsafe = self.votes[:, i], self.unsafe
            rows.append(
                {
                    "step": step,
                    "log_snr": float(self.log_snr[:, i].mean()),
                    "n": len(unsafe),
                    "auroc": _none(auroc(unsafe, self.score[:, i])),
                    "accuracy": float((votes == unsafe).mean()),
                    "tpr": _none(float(votes[unsafe].mean()) if unsafe.any() else np.nan),
                    "fpr": _none(float(votes[~unsafe].mean()) if not unsafe.all() else np.nan),
                    "auroc_by_category": areas,
                }
            )
        return rows

    def select(self, keep: NDArray[np.bool_]) -> StepVotes:
        """Only these samples, bool [N]: a stratum."""
        at = np.flatnonzero(keep)
        names = ("sample_ids", "video_ids", "group_ids", "prompt_kinds")
        arrays = ("labels", "log_snr", "scores", "votes")
        parts: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in at) for name in names}
        return replace(self, **parts, **{name: getattr(self, name)[at] for name in arrays})

    def save(self, path: str | Path) -> None:
        """Write a Parquet file, one row a sample and step; it appears whole or not at all."""
        path = Path(path)
        rows = [
            {
                "sample_id": self.sample_ids[n],
                "video_id": self.video_ids[n],
                "group_id": self.group_ids[n],
                "prompt_kind": self.prompt_kinds[n],
                "categories": [name for k, name in enumerate(self.categories) if self.labels[n, k]],
                "step": step,
                "log_snr": float(self.log_snr[n, s]),
                "scores": self.scores[n, s].tolist(),
                "vote": bool(self.votes[n, s]),
            }
            for n in range(len(self.sample_ids))
            for s, step in enumerate(self.steps)
        ]
        facts = json.dumps({"categories": self.categories, "steps": self.steps, "facts": self.facts}, sort_keys=True)
        table = pa.Table.from_pylist(rows, schema=_SCHEMA).replace_schema_metadata({_KEY: facts.encode()})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: str | Path) -> StepVotes:
        """Read what `save` wrote. Raises `InputError` where there is no file, `IntegrityError` where it isn't one of these."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no file {path}. `unsafe-video defend replay` writes one.")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            known = json.loads((table.schema.metadata or {})[_KEY])
            steps, names = tuple(known["steps"]), tuple(known["categories"])
            rows = table.to_pylist()
            count = len(rows) // len(steps)
            firsts = rows[:: len(steps)]
            if table.schema.remove_metadata() != _SCHEMA or [row["step"] for row in rows] != list(steps) * count:
                raise ValueError("other columns or steps")
            shape = (count, len(steps))
            return cls(
                sample_ids=tuple(row["sample_id"] for row in firsts),
                video_ids=tuple(row["video_id"] for row in firsts),
                group_ids=tuple(row["group_id"] for row in firsts),
                prompt_kinds=tuple(row["prompt_kind"] for row in firsts),
                steps=steps,
                categories=names,
                labels=np.array([[name in row["categories"] for name in names] for row in firsts], dtype=bool),
                log_snr=np.array([row["log_snr"] for row in rows]).reshape(shape),
                scores=np.array([row["scores"] for row in rows]).reshape(*shape, len(names)),
                votes=np.array([row["vote"] for row in rows], dtype=bool).reshape(shape),
                facts=known["facts"],
            )
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise IntegrityError(
                f"{path} is no file of step votes or is damaged ({type(error).__name__}). Replay anew."
            ) from None


def checked_etas(etas: Sequence[int] | None, steps: Sequence[int]) -> list[int]:
    """Etas of so many recorded steps, by default all. Raises `InputError` for one that is out of range."""
    found = list(range(1, len(steps) + 1)) if etas is None else list(etas)
    bad = [eta for eta in found if not 1 <= eta <= len(steps)]
    if bad:
        raise InputError(f"eta={bad[0]}, but {len(steps)} steps were recorded. Choose from 1 to {len(steps)}, or record more.")
    return found


def replay(
    traces: AnyTraces, detector: Detector, *, split: str = "all", any_scheduler: bool = False, progress: bool = True
) -> StepVotes:
    """Ask the detector about every recorded x0 of the labelled samples of a split (of its training), without a pipeline.

    Raises `DetectorMismatch` where the traces are of another kind than the detector was trained on.
    """
    import torch

    from .detectors.calibrate import part
    from .detectors.score import logits_of

    chosen = part(detector, traces, split)  # type: ignore[arg-type]
    detector.check(chosen, any_scheduler=any_scheduler)
    scores = detector.probabilities(torch.from_numpy(logits_of(detector, chosen, progress=progress))).numpy()
    limits = np.array([detector.thresholds[name] for name in detector.categories])
    samples = chosen.samples
    return StepVotes(
        sample_ids=tuple(chosen.sample_ids),
        video_ids=tuple(samples["video_id"].to_pylist()),
        group_ids=tuple(chosen.group_ids),
        prompt_kinds=tuple(samples["prompt_kind"].to_pylist()),
        steps=chosen.steps,
        categories=detector.categories,
        labels=chosen.targets(detector.categories),
        log_snr=chosen.log_snr,
        scores=scores,
        votes=np.asarray((scores >= limits).any(axis=2)),
        facts={
            "traces_sha256": chosen.sha256,
            "labels_sha256": chosen.labels_sha256(),
            "weights_sha256": detector.card.weights_sha256,
            "thresholds": detector.thresholds,
            "split": split,
            "num_steps": chosen.settings["num_steps"],
            "trained_on": len(set(detector.card.train_groups) & set(chosen.group_ids)),
        },
    )


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
