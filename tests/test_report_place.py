"""Where a report stands: revealed ones are private and leave nothing behind, one process at a time, whole or not at all."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

pytest.importorskip("PIL")

from unsafe_video_dataset.cli import main
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import folder, write_report

Capture = pytest.CaptureFixture[str]

# The command itself, which stands still once a clear sheet is on the disk, and says so.
STANDS_STILL = """
import sys, time
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.report import folder
real = folder.write_sheets

def write_sheets(*given, **named):
    sheets = real(*given, **named)
    print("written", flush=True)
    time.sleep(600)
    return sheets

folder.write_sheets = write_sheets
sys.exit(main(["report", sys.argv[1], "--out", sys.argv[2], "--reveal", "--yes", "--json"]))
"""


def started(release: Path, out: Path) -> subprocess.Popen[str]:
    """A process in the middle of a revealed report."""
    command = [sys.executable, "-c", STANDS_STILL, str(release), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    assert clear(out.parent)
    return process


def clear(folder: Path) -> list[Path]:
    return list(folder.rglob("clear-*.jpg"))


def test_one_that_is_asked_to_end_leaves_nothing(small: Path, tmp_path: Path) -> None:
    process = started(small, tmp_path / "rep")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reveal", [False, True])
def test_what_a_killed_one_leaves_goes_with_the_next_run(small: Path, tmp_path: Path, reveal: bool) -> None:
    process = started(small, tmp_path / "rep")
    left = tmp_path / ".rep.revealed"
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert (left / ".gitignore").read_text() == "*\n"
    process.kill()
    process.wait()
    assert clear(left)
    page = write_report(Release.open(small), tmp_path / "rep", reveal=reveal)
    assert [path.name for path in tmp_path.iterdir()] == ["rep"]
    assert bool(clear(page.parent)) == reveal
    assert not (page.parent / ".gitignore").exists()


def test_a_report_that_was_just_being_replaced_has_its_name_again(small: Path, tmp_path: Path) -> None:
    out = write_report(Release.open(small), tmp_path / "rep", thumbnails=False).parent
    out.rename(tmp_path / ".rep.old")  # as if killed between the two renames
    with pytest.raises(InputError, match="--overwrite"):
        write_report(Release.open(small), out, thumbnails=False)
    assert [path.name for path in tmp_path.iterdir()] == ["rep"]


def test_a_revealed_report_is_for_the_user_alone(small: Path, tmp_path: Path) -> None:
    page = write_report(Release.open(small), tmp_path / "rep", reveal=True)
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    (tmp_path / "plain").mkdir()
    blurred = write_report(Release.open(small), tmp_path / "blurred")
    assert blurred.parent.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_git_work_tree_must_ignore_a_revealed_report(small: Path, tmp_path: Path, capsys: Capture) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("/out/\n")
    flags = ["report", str(small), "--no-thumbnails", "--json"]
    assert main([*flags, "--out", str(tmp_path / "rep"), "--reveal", "--yes"]) == 2
    assert "does not ignore it" in capsys.readouterr().err
    assert not (tmp_path / "rep").exists()
    assert main([*flags, "--out", str(tmp_path / "out"), "--reveal", "--yes"]) == 0
    assert main([*flags, "--out", str(tmp_path / "rep")]) == 0  # blurred ones hold nothing to hide
    assert main(["report", "sample", *flags[2:], "--out", str(tmp_path / "s"), "--reveal", "--yes"]) == 0  # nor does the sample


@pytest.mark.parametrize("reveal", [False, True])
def test_one_process_at_a_time(small: Path, tmp_path: Path, reveal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    half = tmp_path / (".rep.revealed" if reveal else ".rep.partial")
    half.mkdir()
    with FileLock(tmp_path / ".rep.report.lock"):
        monkeypatch.setattr(folder, "write_sheets", lambda *_, **__: pytest.fail("two at once"))
        with pytest.raises(InputError, match="Another report is being written to"):
            write_report(Release.open(small), tmp_path / "rep", reveal=reveal)
        assert half.is_dir()  # the other's
