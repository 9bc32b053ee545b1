"""Read the upstream layout: a folder of `<index>.mp4`, a prompt file, a label CSV. Every fault is collected, none raised.

Video `i.mp4` belongs to line `i` (0-based) of the prompt file. The label CSV has a header `1..5` or `group1..group5` and
ragged columns of video indices: a column lists the videos of one category, a row means nothing.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from unsafe_video_dataset.errors import Fault, InputError

_VIDEO_NAME = re.compile(r"(0|[1-9][0-9]{0,8})\.mp4")
_COLUMN_NAME = re.compile(r"(?:group)?\s*([1-5])")
_WHOLE_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?")
COLUMNS = ("1", "2", "3", "4", "5")


@dataclass
class RawFolder:
    """What the files say, before anything is joined. `labels` maps a column name to its video indices, each with its line."""

    root: Path
    videos: dict[int, Path]
    prompts: list[str] | None
    prompts_file: Path | None
    labels: dict[str, dict[int, int]]
    labels_file: Path
    faults: list[Fault] = field(default_factory=list)


def read_raw_folder(root: Path, *, labels: Path | None = None, prompts: Path | None = None) -> RawFolder:
    """Read the three parts. Raises `InputError` where a part can't be found; what is wrong inside them is in `faults`."""
    if not root.is_dir():
        raise InputError(f"There is no folder {root}. Give the folder that holds the `<index>.mp4` files.")
    videos, faults = find_videos(root)
    labels_file = labels or _find_labels(root)
    columns, more = read_labels(labels_file)
    prompts_file = prompts or _find_prompts(root)
    lines: list[str] | None = None
    if prompts_file is not None:
        lines, prompt_faults = read_prompts(prompts_file)
        more += prompt_faults
    return RawFolder(root, videos, lines, prompts_file, columns, labels_file, faults + more)


def find_videos(root: Path) -> tuple[dict[int, Path], list[Fault]]:
    """Index -> MP4 file, from `root` or its only subfolder with MP4s; other MP4 names and gaps in 0..N-1 are faults."""
    inside = sorted({path.parent for path in root.glob("*/*.mp4")})
    faults = []
    folder = root
    if any(root.glob("*.mp4")):
        expected = "the MP4s of one folder"
        faults = [Fault(path.name, "a subfolder with more MP4s", expected=expected) for path in inside]
    elif len(inside) == 1:
        folder = inside[0]
    else:
        found = f"{len(inside)} subfolders with MP4 files" if inside else "none"
        raise InputError(f"{root} has no `<index>.mp4` files (found {found}). Give the folder that holds them.")
    videos: dict[int, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() == ".mp4"):
        match = _VIDEO_NAME.fullmatch(path.name)
        if not path.is_file():
            faults.append(Fault(path.name, "not a file", expected="an MP4"))
        elif match is None:
            faults.append(Fault(path.name, "extra MP4", expected="a name `<index>.mp4`, index from 0 without leading zeros"))
        else:
            videos[int(match[1])] = path
    return videos, faults


def read_prompts(file: Path) -> tuple[list[str], list[Fault]]:
    """Lines of the prompt file (LF or CRLF, BOM or none); blank lines at its end don't count."""
    text, faults = read_text(file)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines, faults


def read_labels(file: Path) -> tuple[dict[str, dict[int, int]], list[Fault]]:
    """Column name (`"1"` to `"5"`) -> video index -> its line; and what is wrong with header, cells and repeats."""
    text, faults = read_text(file)
    rows, csv_faults = read_rows(text, file=file.name)
    faults += csv_faults
    first = rows[0][1] if rows else []
    header = [_column(cell) for cell in first]
    if sorted(name or "" for name in header) != list(COLUMNS):
        found = f"no label header ({len(first)} cells)" if rows else "no header (the file is empty)"
        return {}, [*faults, Fault(file.name, found, line=1, expected="1,2,3,4,5 or group1,…,group5")]
    columns: dict[str, dict[int, int]] = {name: {} for name in COLUMNS}
    for line, row in rows[1:]:
        if any(cell.strip() for cell in row[len(header) :]):
            faults.append(Fault(file.name, f"{len(row)} cells", line=line, expected=f"at most {len(header)}"))
        for name, cell in zip(header, row, strict=False):
            if name is None or not cell.strip():
                continue
            index = whole_number(cell)
            if index is None:
                message = f"{cell.strip()[:40]!r} is not an index"
                faults.append(Fault(file.name, message, line=line, field=f"column {name}", expected="a whole number from 0"))
            elif index in columns[name]:
                message = f"index {index} stands twice (first in line {columns[name][index]})"
                faults.append(Fault(file.name, message, line=line, field=f"column {name}", expected="each index once"))
            else:
                columns[name][index] = line
    return columns, faults


def whole_number(cell: str) -> int | None:
    """The index in a cell, `12` or `12.0`; None for anything else."""
    match = _WHOLE_NUMBER.fullmatch(cell.strip())
    return int(match[1]) if match else None


def read_rows(text: str, *, file: str) -> tuple[list[tuple[int, list[str]]], list[Fault]]:
    """(line, cells) of each row of a CSV; a row that can't be read ends it and is a fault."""
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = []
    try:
        for row in reader:
            rows.append((reader.line_num, row))
    except csv.Error as error:
        return rows, [Fault(file, f"not CSV ({error})", line=reader.line_num, expected="cells with commas between them")]
    return rows, []


def _column(cell: str) -> str | None:
    match = _COLUMN_NAME.fullmatch(cell.strip().lower())
    return match[1] if match else None


def read_text(file: Path) -> tuple[str, list[Fault]]:
    """UTF-8 text of a file without its BOM, bad bytes replaced and a fault. Raises `InputError` for no file."""
    if not file.is_file():
        raise InputError(f"There is no file {file}.")
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return data.decode("utf-8-sig", "replace"), [Fault(file.name, "not UTF-8", line=line, expected="UTF-8 text")]


def _find_labels(root: Path) -> Path:
    """The only CSV of the folder whose header is a label header."""
    found = [path for path in sorted(root.glob("*.csv")) if _has_label_header(path)]
    if len(found) != 1:
        seen = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{root} needs one label CSV with the header 1,2,3,4,5 (found: {seen}). Name it with --labels FILE.")
    return found[0]


def _has_label_header(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        start = lines.readline(1000).decode("utf-8-sig", "replace")
    rows, _ = read_rows(start, file=file.name)
    return bool(rows) and sorted(_column(cell) or "" for cell in rows[0][1]) == list(COLUMNS)


def _find_prompts(root: Path) -> Path | None:
    """`prompts.txt`, or else the only text file of the folder; none is for the caller to judge."""
    if (root / "prompts.txt").is_file():
        return root / "prompts.txt"
    found = sorted(root.glob("*.txt"))
    if len(found) > 1:
        raise InputError(f"{root} has {len(found)} text files. Name the prompt file with --prompts FILE.")
    return found[0] if found else None
