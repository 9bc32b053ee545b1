"""Which videos are good enough to be rated: thresholds on the measures, what is near one, and a person's decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from ..pipeline.stage import COMMON
from .decisions import Ruling

Side = Literal["at least", "at most"]


@dataclass(frozen=True)
class QualitySettings:
    """Thresholds on the measures of `measure.py`. In a recipe 0 switches a minimum off and 1 the maximum of a share.

    The defaults are for clips of about two seconds of text-to-video models, measured at 128x128: they drop what shows
    nothing (black, flat, stopped, a blur), not what is merely ugly. On 24 real clips of two such models sharpness runs from 633
    to 3,602 and edge_sharpness from 1.4 to 2.7; frozen_fraction reaches 0.6 where 12 frames a second were doubled to 25, so
    a clip that stops is told by its longest freeze.
    """

    min_frames: int | None = 8
    max_frames: int | None = None
    min_duration: float | None = 0.5  # seconds
    max_duration: float | None = 60.0
    min_pixels: int | None = None  # width times height
    min_sharpness: float | None = (
        20.0  # a Gaussian blur by 2 of 128 pixels gives real clips 6 to 24; faint pictures have less too
    )
    min_edge_sharpness: float | None = 0.2  # the same blur, whatever the contrast: 0.16 to 0.25
    min_brightness: float | None = 0.04
    max_brightness: float | None = 0.97
    min_contrast: float | None = 0.015
    min_motion: float | None = 0.0004  # a tenth of a grey level: static
    max_frozen: float | None = 0.9
    max_freeze: float | None = 0.5
    max_black: float | None = 0.3
    max_white: float | None = 0.3
    max_blank: float | None = 0.3
    margin: float = 0.15  # of a threshold: nearer values go on the review sheet
    decisions: str | None = None
    review: int = 96  # most videos on the review sheets
    reveal: bool = False  # sheets with clear frames: the maker's own choice, on their own machine

    def problems(self) -> list[tuple[str, str]]:
        """What makes no sense, for `read_settings`."""
        found = [(name, "below 0") for name, *_ in _RULES if (getattr(self, name) or 0) < 0]
        found += [(name, "above 1, and it is a share") for name in _SHARES if (getattr(self, name) or 0) > 1]
        for low, high in (("min_frames", "max_frames"), ("min_duration", "max_duration"), ("min_brightness", "max_brightness")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                found.append((low, f"{least} is over {high} ({most})"))
        if not 0 <= self.margin < 1:
            found.append(("margin", f"{self.margin} is not from 0 to 1"))
        if self.review < 0:
            found.append(("review", f"{self.review} is below 0"))
        return found


# setting, measure, side, unit for a person
_RULES: tuple[tuple[str, str, Side, str], ...] = (
    ("min_frames", "num_frames", "at least", ""),
    ("max_frames", "num_frames", "at most", ""),
    ("min_duration", "duration_seconds", "at least", " s"),
    ("max_duration", "duration_seconds", "at most", " s"),
    ("min_pixels", "pixels", "at least", ""),
    ("min_sharpness", "sharpness", "at least", ""),
    ("min_edge_sharpness", "edge_sharpness", "at least", ""),
    ("min_brightness", "brightness", "at least", ""),
    ("max_brightness", "brightness", "at most", ""),
    ("min_contrast", "contrast", "at least", ""),
    ("min_motion", "motion", "at least", ""),
    ("max_frozen", "frozen_fraction", "at most", ""),
    ("max_freeze", "longest_freeze", "at most", ""),
    ("max_black", "black_fraction", "at most", ""),
    ("max_white", "white_fraction", "at most", ""),
    ("max_blank", "blank_fraction", "at most", ""),
)
_COUNTED = ("num_frames", "duration_seconds", "pixels")  # exact: nothing that a look at the frames could change
_SHARES = tuple(name for name, measure, *_ in _RULES if measure.endswith(("_fraction", "_freeze", "brightness")))

SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("flags", pa.list_(pa.string())),
        pa.field("near", pa.list_(pa.string())),
        pa.field("overruled", pa.string()),
    ]
)


def decide(rows: pa.Table, settings: QualitySettings, decisions: Mapping[str, Ruling]) -> pa.Table:
    """A table of `SCHEMA`, sorted by item, for the rows of the probe's table (all of them readable videos).

    `flags` names the thresholds that a video fails and `near` those that its value lies within the margin of, on either side
    (of measures of frames; lengths and sizes are exact).
    A decision overrules what the thresholds say; `overruled` holds it, also where they say the same. `reason` gives the first
    failed threshold with value and limit, or who dropped it.
    """
    found = [_row(row, settings, decisions.get(row["item"])) for row in rows.to_pylist()]
    return pa.Table.from_pylist(sorted(found, key=lambda row: row["item"]), schema=SCHEMA)


def _row(row: Mapping[str, Any], settings: QualitySettings, ruling: Ruling | None) -> dict[str, Any]:
    values = {**row, "pixels": row["width"] * row["height"]}
    flags, near, reasons = [], [], []
    for name, measure, side, unit in _RULES:
        limit = getattr(settings, name)
        if limit is None:
            continue
        value = values[measure]
        if value < limit if side == "at least" else value > limit:
            flags.append(name)
            reasons.append(f"{measure} {value:.4g}{unit} is not {side} {limit:g}{unit}")
        if measure not in _COUNTED and abs(value - limit) <= settings.margin * min(
            limit, 1 - limit if name in _SHARES else limit
        ):
            near.append(name)
    kept = not flags
    reason = "; ".join(reasons) or None
    if ruling is not None:
        kept = ruling.decision == "keep"
        reason = None if kept else f"dropped by {ruling.reviewer}" + (f": {ruling.reason}" if ruling.reason else "")
    return {
        "item": row["item"],
        "kept": kept,
        "reason": reason,
        "flags": flags,
        "near": near,
        "overruled": ruling.decision if ruling else None,
    }


def describe(row: Mapping[str, Any], settings: QualitySettings, names: list[str]) -> str:
    """The values of the named thresholds on one line, for a sheet: `sharpness 19 (min 20)`."""
    values = {**row, "pixels": row["width"] * row["height"]}
    lines = []
    for name, measure, side, _ in _RULES:
        if name in names:
            lines.append(
                f"{measure} {values[measure]:.3g} ({'min' if side == 'at least' else 'max'} {getattr(settings, name):g})"
            )
    return ", ".join(lines)
