"""The videos of a release as compact columns for the page, in chunks: what is filtered and sorted, and what one video shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, plain
from ..records import Record
from ..release import Release
from ..taxonomy import SPLITS, VOTE_KEYS
from .chunks import call, mask, packed

CHUNK = 2_500  # rows of a chunk of columns: the first is enough for a first view
DETAIL_CHUNK = 256
MOST = 100_000
_COLUMNS = [
    "video_id", "split", "is_unsafe", "categories", "generator", "prompt_source", "vote_counts", "num_raters", "agreement",
    "num_frames", "duration_seconds",
]  # fmt: skip
_DETAILS = [
    "video_id", "prompt_id", "group_id", "width", "height", "fps", "codec", "num_bytes", "source_index", "label_method",
    "votes",
]  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """The videos of the page in its order (split, then id), and the names that their columns count in."""

    table: list[Record]
    generators: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def ids(self) -> list[str]:
        """`video_id` of every row."""
        return [row["video_id"] for row in self.table]


def read_rows(release: Release, *, reveal: bool = False) -> Rows:
    """All reviewed videos; prompts are read only with `reveal`. Raises `InputError` for more than 100,000 videos."""
    if release.manifest["counts"]["videos"] > MOST:
        number = release.manifest["counts"]["videos"]
        raise InputError(f"A report shows at most {MOST:,} videos, and release {release.name} has {number:,}. See `info`.")
    columns = [*dict.fromkeys([*_COLUMNS, *_DETAILS])] + (["prompt"] if reveal else [])
    found: list[Record] = release.metadata(columns=columns).to_pylist()
    found.sort(key=lambda row: (SPLITS.index(row["split"]), row["video_id"]))
    sources = sorted({row["prompt_source"] for row in found if row["prompt_source"] is not None})
    return Rows(found, tuple(sorted({row["generator"] for row in found})), tuple(sources))


def column_chunks(rows: Rows, broken: frozenset[str] = frozenset()) -> Iterator[str]:
    """Scripts `rows(first row, columns)`, one a chunk of 2,500. `broken`: ids of videos that do not decode."""
    for start in range(0, len(rows.table), CHUNK):
        part = rows.table[start : start + CHUNK]
        yield call("rows", start, _columns(part, rows, broken))


def detail_chunks(rows: Rows) -> Iterator[str]:
    """Scripts `detail(number, rows)`, one a chunk of 256: facts and answers of one video, and its prompt where it was read."""
    for number, start in enumerate(range(0, len(rows.table), DETAIL_CHUNK)):
        yield call("detail", number, [_detail(row) for row in rows.table[start : start + DETAIL_CHUNK]])


# --- inside -----------------------------------------------------------------------------------------------------------


def _columns(part: Sequence[Record], rows: Rows, broken: frozenset[str]) -> dict[str, Any]:
    return {
        "id": "".join(row["video_id"] for row in part),
        "split": packed([SPLITS.index(row["split"]) for row in part]),
        "unsafe": packed([int(row["is_unsafe"]) for row in part]),
        "categories": packed([mask(row["categories"]) for row in part]),
        "generator": packed([rows.generators.index(row["generator"]) for row in part]),
        "source": packed([_place(rows.sources, row["prompt_source"]) for row in part]),
        "votes": packed([(row["vote_counts"] or {}).get(key) or 0 for row in part for key in VOTE_KEYS]),
        "raters": packed([row["num_raters"] for row in part]),
        "agreement": [-1 if row["agreement"] is None else round(1000 * row["agreement"]) for row in part],
        "frames": packed([row["num_frames"] for row in part]),
        "ms": [round(1000 * row["duration_seconds"]) for row in part],
        "broken": packed([int(row["video_id"] in broken) for row in part]),
    }


def _place(names: Sequence[str], value: str | None) -> int:
    return names.index(value) + 1 if value is not None else 0


def _detail(row: Record) -> list[Any]:
    answers = Counter(mask(vote["categories"]) for vote in row["votes"] or [])
    found = [
        row["prompt_id"], row["group_id"], row["width"], row["height"], row["fps"], row["codec"], row["num_bytes"],
        row["source_index"], row["label_method"], sorted(answers.items(), key=lambda pair: (-pair[1], pair[0])),
    ]  # fmt: skip
    return [*found, plain(row["prompt"])] if row.get("prompt") is not None else found
