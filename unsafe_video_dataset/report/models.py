"""Predictions files beside the votes: scores a video for the page, and curves where a file covers one split exactly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ..curves import precision_recall, roc
from ..errors import Fault, FaultsError, InputError
from ..estimates import make_design
from ..predictions import read_predictions
from ..records import Record
from ..release import Release
from ..scores import Row
from ..task import EvalConfig, EvalTarget, open_task
from ..taxonomy import CATEGORIES, CATEGORY_TITLES, SPLITS
from ..thresholds import FIXED
from .charts import Line, Panel
from .chunks import call
from .rows import Rows

UNIT = 10_000  # scores on the page are whole numbers of this
BOOTSTRAP, SEED = 1000, 0


@dataclass(frozen=True)
class Model:
    """One predictions file: the name it is shown by, its records by `video_id`, and the split that it covers (if it does)."""

    name: str
    records: dict[str, Record]
    task: tuple[EvalConfig, str] | None


@dataclass(frozen=True)
class CurveSet:
    """PR and ROC panels of all models that cover one split, and each model's row of metrics a label."""

    config: EvalConfig
    split: str
    target: EvalTarget
    names: tuple[str, ...]
    videos: int
    precision_recall: tuple[Panel, ...]
    roc: tuple[Panel, ...]
    metrics: tuple[tuple[str, tuple[Row, ...]], ...]


def read_models(paths: Sequence[str | os.PathLike[str]], rows: Rows) -> list[Model]:
    """Read the files. Raises `FaultsError` for invalid records, a file without any, and videos that the release has not."""
    there = set(rows.ids)
    models: list[Model] = []
    faults = []
    names = _names(paths)
    for path, name in zip(paths, names, strict=True):
        records = {record["video_id"]: record for record in read_predictions(path)}
        if not records:
            faults.append(Fault(str(path), "no predictions", expected="at least one record"))
        if strange := sorted(set(records) - there):
            listed = ", ".join(strange[:10]) + (", …" if len(strange) > 10 else "")
            found = f"{len(strange)} predictions are for videos that the release does not have: {listed}"
            faults.append(Fault(str(path), found, field="video_id", expected="videos of this release"))
        models.append(Model(name, records, _covers(set(records), rows)))
    if faults:
        raise FaultsError("The predictions are not for this release", faults, fix="Give the release that was predicted.")
    return models


def score_script(number: int, model: Model, rows: Rows) -> str:
    """Script `scores(number, {rows, scores, unsafe})`: row numbers, five scores each (-1: none), and the unsafe score each.

    Scores are in ten-thousandths, rounded down: a score at or above a threshold of four decimals stays so.
    """
    places = [place for place, row in enumerate(rows.table) if row["video_id"] in model.records]
    found = [model.records[rows.table[place]["video_id"]] for place in places]
    scores = [_units((record.get("scores") or {}).get(name)) for record in found for name in CATEGORIES]
    unsafe = [_units(record.get("unsafe_score")) for record in found]
    return call("scores", number, {"rows": places, "scores": scores, "unsafe": unsafe})


def curve_sets(release: Release, models: Sequence[Model]) -> list[CurveSet]:
    """Curves of the models that cover the same split: 'multilabel' where all have scores, else 'binary' on reviewed videos."""
    found = []
    for config, split in dict.fromkeys(model.task for model in models if model.task is not None):
        group = [model for model in models if model.task == (config, split)]
        scored = [model for model in group if all(record.get("scores") for record in model.records.values())]
        judged = [model for model in group if all(record.get("unsafe_score") is not None for record in model.records.values())]
        if scored:
            found.append(_curves(release, scored, config, split, "multilabel"))
        if judged and config == "reviewed":
            found.append(_curves(release, judged, config, split, "binary"))
    return found


# --- inside -----------------------------------------------------------------------------------------------------------


def _names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """What each file is called on the page: its name without the ending, and as many folders as tell it from the others.

    No more of a path than that goes on a page that others may see. Raises `InputError` for a file that is given twice.
    """
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise InputError("The same predictions file was given twice. Give each file once.")
    whole = [Path(path).absolute() for path in paths]  # a link is called by its own name
    return [_shortest(path, [other for other in whole if other != path]) for path in whole]


def _shortest(path: Path, others: Sequence[Path]) -> str:
    endings = ((keep, depth) for depth in range(1, len(path.parts) + 1) for keep in (False, True))
    for keep, depth in endings:  # `scores`, then `scores.jsonl`, then `a/scores`, …
        if all(_ending(path, depth, keep) != _ending(other, depth, keep) for other in others):
            return _ending(path, depth, keep)
    return path.name


def _ending(path: Path, depth: int, keep: bool) -> str:
    shown = path if keep else path.with_suffix("")
    return "/".join(shown.parts[-depth:])


def _covers(ids: set[str], rows: Rows) -> tuple[EvalConfig, str] | None:
    options: tuple[EvalConfig, ...] = ("unsafe", "reviewed")
    for config in options:
        for split in SPLITS:
            members = {
                row["video_id"] for row in rows.table if row["split"] == split and (row["is_unsafe"] or config != "unsafe")
            }
            if ids and ids == members:
                return config, split
    return None


def _units(score: float | None) -> int:
    return -1 if score is None else int(Decimal(repr(float(score))) * UNIT)


def _curves(
    release: Release, models: Sequence[Model], config: EvalConfig, split: str, target: Literal["multilabel", "binary"]
) -> CurveSet:
    task = open_task(release, config=config, split=split, target=target)
    design = make_design(task.truth, task.names, task.groups, bootstrap=BOOTSTRAP, seed=SEED)
    scores = [task.scores(list(model.records.values()))[0] for model in models]
    lines: dict[str, list[list[Line]]] = {"pr": [], "roc": []}
    for label in range(len(task.names)):
        for key, make in (("pr", precision_recall), ("roc", roc)):
            drawn = [make(task.truth[:, label], one[:, label], design.weights) for one in scores]
            lines[key].append([Line(models[n].name, n, curve) for n, curve in enumerate(drawn) if curve is not None])
    positives = [int(task.truth[:, label].sum()) for label in range(len(task.names))]

    def panels(key: str) -> tuple[Panel, ...]:
        return tuple(
            Panel(
                CATEGORY_TITLES.get(name, name),
                f"fill-{name}",
                lines[key][label],
                positives[label] / len(task.rows) if key == "pr" else None,
                f"{positives[label]} of {len(task.rows)}",
            )
            for label, name in enumerate(task.names)
        )

    cuts = [FIXED] * len(task.names)
    metrics: list[tuple[str, tuple[Row, ...]]] = []
    for model, one in zip(models, scores, strict=True):
        metrics.append((model.name, design.rows(design.samples(one, _array(cuts)))))
    names = tuple(model.name for model in models)
    return CurveSet(config, split, target, names, len(task.rows), panels("pr"), panels("roc"), tuple(metrics))


def _array(values: Sequence[float]) -> Any:
    import numpy as np

    return np.asarray(values, dtype=np.float64)
