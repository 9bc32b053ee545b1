"""Read the truth of a twin, for the comparison only: no stage of the pipeline reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unsafe_video_dataset.errors import InputError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Truth:
    """`items` by item, `raters` by raw name, `votes` one row an answer (`item`, `rater`, `planted`), `targets` as planned."""

    items: Mapping[str, Row]
    raters: Mapping[str, Row]
    votes: list[Row]
    targets: Mapping[str, Any]

    def original(self, item: str) -> str:
        """The item itself, or what it is a copy of."""
        return self.items[item]["copy_of"] or item


def read_truth(folder: Path) -> Truth:
    """The truth that `make_twin` wrote. Raises `InputError` where it is not there or can't be read."""
    try:
        items = pq.read_table(folder / "items.parquet").to_pylist()
        raters = pq.read_table(folder / "raters.parquet").to_pylist()
        votes = pq.read_table(folder / "votes.parquet").to_pylist()
        targets = json.loads((folder / "targets.json").read_bytes())
    except (OSError, ValueError, pa.ArrowException) as error:
        message = f"{folder} holds no truth of a twin that can be read ({type(error).__name__})."
        raise InputError(
            f"{message} Give the folder `truth` beside the recipe that `unsafe-video-build twin` wrote."
        ) from error
    return Truth({row["item"]: row for row in items}, {row["rater"]: row for row in raters}, votes, targets)
