"""Raw folders in the upstream layout for tests of the builders: tiny MP4s, prompts, ragged label CSVs; no network."""

from __future__ import annotations

import functools
import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import video_files

from unsafe_video_dataset.builders.cli import main
from unsafe_video_dataset.builders.settings import UpstreamSettings
from unsafe_video_dataset.taxonomy import CATEGORIES

CATEGORIES_FLAG = ",".join(f"{number}={name}" for number, name in enumerate(CATEGORIES, 1))
SETTINGS = UpstreamSettings(categories=CATEGORIES_FLAG, generator="animatediff")
FLAGS = ["--categories", CATEGORIES_FLAG, "--generator", "animatediff"]
# Twelve videos; 5, 9 and 11 are in no column.
LABELS: dict[str, list[int]] = {"1": [0, 3, 6, 10], "2": [1, 3, 7], "3": [2], "4": [8], "5": [4]}
UNSAFE = {0, 1, 2, 3, 4, 6, 7, 8, 10}


@functools.cache
def _base(size: int) -> bytes:
    return video_files.encode(video_files.shapes(2, size, size), x264="bframes=0")


def tiny(number: int, *, size: int = 16) -> bytes:
    """A small valid MP4, its bytes unique for a number: the number stands in a `free` box at the end."""
    return _base(size) + struct.pack(">I4sQ", 16, b"free", number)


def label_csv(
    labels: Mapping[str, Sequence[object]], *, header: Sequence[str] | None = None, end: str = "\r\n", bom: bool = False
) -> bytes:
    """The ragged upstream CSV: one column a category, short columns padded with empty cells."""
    columns = list(labels.values())
    length = max((len(column) for column in columns), default=0)
    rows = [[str(column[row]) if row < len(column) else "" for column in columns] for row in range(length)]
    text = end.join(",".join(row) for row in [list(header or labels), *rows]) + end
    return (b"\xef\xbb\xbf" if bom else b"") + text.encode()


def make_raw(folder: Path, *, number: int = 12, labels: Mapping[str, Sequence[object]] = LABELS, size: int = 16) -> Path:
    """A sound raw folder: `<index>.mp4`, `prompts.txt` (two videos share each third prompt), `labels.csv`."""
    folder.mkdir(parents=True)
    for index in range(number):
        (folder / f"{index}.mp4").write_bytes(tiny(index, size=size))
    write_prompts(folder, [f"shape {index - (index % 3 == 1)} that moves" for index in range(number)])
    (folder / "labels.csv").write_bytes(label_csv(labels))
    return folder


def paper_labels() -> dict[str, list[int]]:
    """Columns with the published counts in another order than the taxonomy's; their union is 0 to 936."""
    counts = {"1": 39, "2": 204, "3": 590, "4": 445, "5": 579}
    labels = {"3": list(range(590)), "5": list(range(358, 937))}
    labels |= {"4": list(range(445)), "2": list(range(100, 304)), "1": list(range(898, 937))}
    assert {name: len(listed) for name, listed in labels.items()} == counts
    return {name: labels[name] for name in counts}


def write_prompts(folder: Path, lines: Sequence[str]) -> None:
    (folder / "prompts.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run_build(*arguments: object) -> int:
    """`unsafe-video-build …` in this process; the exit code. A refused flag exits through argparse."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder: relative path -> bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(folder: Path) -> set[str]:
    """Names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def manifest(release: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((release / "manifest.json").read_text(encoding="utf-8"))
    return loaded


def rewrite_manifest(release: Path, **changes: Any) -> None:
    (release / "manifest.json").write_text(json.dumps({**manifest(release), **changes}), encoding="utf-8")


def plain_rows(release: Path, config: str, cache: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows a split as `datasets` alone loads them, without any code of ours."""
    import datasets

    loaded = datasets.load_dataset(str(release), config, cache_dir=str(cache))
    return {split: [dict(row) for row in rows] for split, rows in loaded.items()}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_raw(tmp_path / "raw")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the twelve tiny videos, with votes; read only."""
    root = tmp_path_factory.mktemp("built")
    make_raw(root / "raw")
    (root / "votes.csv").write_text(votes_csv(), encoding="utf-8")
    assert run_build("upstream", root / "raw", root / "out", *FLAGS, "--annotations", root / "votes.csv") == 0
    return root / "out"


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    """A copy of `built` that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "release"))


def votes_csv(number: int = 12) -> str:
    """Three raters a video: two say what the label CSV says, the third says none."""
    by_index = {index: [column for column, listed in LABELS.items() if index in listed] for index in range(number)}
    rows = ["index,rater_id,categories,seconds,attention_check"]
    for index, columns in by_index.items():
        said = ";".join(columns) or "none"
        rows += [f"{index},r1,{said},10,pass", f"{index},r2,{said},11.5,pass", f"{index},r3,none,,"]
    return "\n".join(rows) + "\n"
