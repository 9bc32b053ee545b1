"""What is to be predicted: the videos of one split, their labels or shares of votes, groups and attributes, by `video_id`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .errors import FilterError, one_of
from .predictions import Predictions, covered
from .records import Record
from .taxonomy import CATEGORIES, SPLITS

EvalConfig = Literal["unsafe", "reviewed"]
EvalTarget = Literal["multilabel", "binary", "soft"]
SLICES = ("generator", "prompt_source", "agreement")
AGREEMENT_BINS = ((0.7, "below 0.7"), (0.8, "0.7 to 0.8"), (0.9, "0.8 to 0.9"), (float("inf"), "0.9 to 1"))
_LIGHT = ["video_id", "is_unsafe", "categories", "group_id", "split"]
_MORE = ["video_id", "votes", "soft_labels", "generator", "prompt_source", "agreement", "label_method"]


class ReleaseLike(Protocol):
    """What `evaluate` needs of a `Release`."""

    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def manifest_sha256(self) -> str: ...
    def metadata(self, split: str | None = None, *, columns: Sequence[str] | None = None) -> pa.Table: ...


@dataclass(frozen=True)
class Task:
    """The videos of one split of a config. `rows` are scored, sorted by `video_id`; `members` are all of the split (for the
    target 'soft' a video without votes is predicted, but can't be scored). Make one with `open_task`."""

    release: ReleaseLike
    config: str
    split: str
    target: str
    rows: list[Record]
    members: list[Record]
    everything: list[Record]

    @property
    def names(self) -> tuple[str, ...]:
        """The labels: five categories, or 'unsafe'."""
        return ("unsafe",) if self.target == "binary" else CATEGORIES

    @cached_property
    def truth(self) -> NDArray[Any]:
        """Labels [n, k]: int64 0/1, or float64 shares of votes for the target 'soft'."""
        return _truth(self.rows, self.target)

    @property
    def groups(self) -> list[str]:
        """The group of each video."""
        return [str(row["group_id"]) for row in self.rows]

    @property
    def votes(self) -> list[list[Record] | None]:
        """The votes of each video, None where there are none."""
        return [row["votes"] for row in self.rows]

    @property
    def tie(self) -> str:
        """The release's rule for a category that exactly half of the raters chose."""
        return str(self.release.manifest.get("settings", {}).get("tie", "negative"))

    @property
    def split_sha256(self) -> str:
        """sha256 of the sorted `video_id`s of the split in this config, each followed by a line feed."""
        return hashlib.sha256("".join(row["video_id"] + "\n" for row in self.members).encode()).hexdigest()

    @property
    def commit(self) -> str | None:
        """The Hub commit that the release was downloaded from: its folder stands in `commits` or `snapshots` under its name."""
        path = getattr(self.release, "path", None)
        folder = Path(path) if path is not None else Path()
        known = folder.parent.name in ("commits", "snapshots") and len(folder.name) == 40
        return folder.name if known and set(folder.name) <= set("0123456789abcdef") else None

    def scores(self, predictions: Predictions) -> tuple[NDArray[np.float64], list[Record]]:
        """Scores [n, k] of the rows, and all records; `FaultsError` unless each member is predicted once and nothing else."""
        records = covered(predictions, self.members, self.everything, target=self.target, split=self.split, config=self.config)
        by_id = {record["video_id"]: record for record in records}
        if self.target == "binary":
            table = [[by_id[row["video_id"]]["unsafe_score"]] for row in self.rows]
        else:
            table = [[by_id[row["video_id"]]["scores"][name] for name in CATEGORIES] for row in self.rows]
        return np.array(table, dtype=np.float64), records

    def prior(self) -> NDArray[np.float64] | None:
        """Mean label of the train split [k]; None where it has no video (with votes)."""
        train = [row for row in self.everything if row["split"] == "train" and (row["is_unsafe"] or self.config == "reviewed")]
        if train and self.target == "soft":
            train = _with_votes(_joined(self.release, train, "train"))
        return np.asarray(_truth(train, self.target).mean(axis=0, dtype=np.float64)) if train else None

    def values(self, by: str) -> list[str | None]:
        """The value of each video for a slice: 'generator', 'prompt_source', or a bin of 'agreement'."""
        if one_of(by, SLICES, "slice") != "agreement":
            return [row[by] for row in self.rows]
        found = [row["agreement"] for row in self.rows]
        return [None if v is None else next(name for limit, name in AGREEMENT_BINS if v < limit) for v in found]


def open_task(
    release: str | os.PathLike[str] | ReleaseLike,
    *,
    config: EvalConfig = "unsafe",
    split: str = "test",
    target: EvalTarget = "multilabel",
) -> Task:
    """The task of one split. Raises `FilterError` for an unknown option, an empty split, a target that can't be."""
    one_of(config, get_args(EvalConfig), "config")
    one_of(split, SPLITS, "split")
    if one_of(target, get_args(EvalTarget), "target") == "binary" and config == "unsafe":
        raise FilterError(
            "target='binary' needs videos of both classes, and every video of config='unsafe' is unsafe. Use config='reviewed'."
        )
    if isinstance(release, (str, os.PathLike)):
        from .release import Release

        release = Release.open(release, config="metadata")
    everything: list[Record] = release.metadata(None, columns=_LIGHT).to_pylist()
    chosen = sorted((row for row in everything if row["is_unsafe"] or config == "reviewed"), key=lambda r: r["video_id"])
    members = [row for row in chosen if row["split"] == split]
    if not members:
        counts = ", ".join(f"{name} {sum(row['split'] == name for row in chosen)}" for name in SPLITS)
        raise FilterError(f"split={split!r} of config={config!r} has no videos. Videos a split: {counts}. Choose another.")
    members = _joined(release, members, split)
    rows = _with_votes(members) if target == "soft" else members
    if not rows:
        raise FilterError(
            f"target='soft' needs rater votes, and no video of split={split!r} has any. Use target='multilabel' or 'binary'."
        )
    return Task(release, config, split, target, rows, members, everything)


def _joined(release: ReleaseLike, rows: list[Record], split: str) -> list[Record]:
    more = {row["video_id"]: row for row in release.metadata(split, columns=_MORE).to_pylist()}
    return [{**row, **more[row["video_id"]]} for row in rows]


def _with_votes(rows: list[Record]) -> list[Record]:
    return [row for row in rows if row["votes"]]


def _truth(rows: Sequence[Record], target: str) -> NDArray[Any]:
    if target == "binary":
        return np.array([[bool(row["is_unsafe"])] for row in rows], dtype=np.int64).reshape(-1, 1)
    if target == "soft":
        shares = [[row["soft_labels"][name] for name in CATEGORIES] for row in rows]
        return np.array(shares, dtype=np.float64).reshape(-1, len(CATEGORIES))
    truth = [[index in row["categories"] for index in range(len(CATEGORIES))] for row in rows]
    return np.array(truth, dtype=np.int64).reshape(-1, len(CATEGORIES))
