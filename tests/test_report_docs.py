"""docs/report.md: what it says of the files is so, its Python runs, and its table is one that the benchmark wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from unsafe_video_dataset.report.thumbnails import FRAMES, SIDE

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "report.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_frames_are_those_of_the_page() -> None:
    assert FRAMES == 3
    assert f"Three frames a video, {SIDE} pixels each, grey and blurred" in TEXT


def test_every_flag_of_the_command_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unsafe_video_dataset.cli", "report", "--help"], capture_output=True, text=True, timeout=120
    )
    about_it = TEXT.split("<!-- costs")[0]  # what is behind it is of the benchmark
    for flag in re.findall(r"--[a-z-]+", about_it):
        if flag != "--" and not flag.startswith("---"):
            assert flag in done.stdout, flag


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, done.stdout.strip()).is_file()


def test_the_table_is_whole() -> None:
    table = TEXT.split("<!-- costs: written by benchmarks/report.py -->")[1].split("<!-- /costs -->")[0]
    videos = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert videos == ["96", "2,112", "10,000"]
    flags = re.findall(r"`python benchmarks/report.py ([^`]+)`", table)[0].split()
    script = (DOCUMENT.parents[1] / "benchmarks" / "report.py").read_text(encoding="utf-8")
    assert all(f'"{flag}"' in script for flag in flags if flag.startswith("--"))
