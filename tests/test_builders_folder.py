"""A release appears whole or not at all: faults in the middle, kills, full disks, two builds at once, --overwrite."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders_support import FLAGS, SETTINGS, make_raw, manifest, names, raw, run_build, tree

from unsafe_video_dataset.builders import build_upstream, folder, write
from unsafe_video_dataset.builders.folder import new_folder, refuse_existing
from unsafe_video_dataset.errors import InputError

__all__ = ["raw"]

COMMAND = [sys.executable, "-m", "unsafe_video_dataset.builders.cli", "upstream"]


# --- new_folder ------------------------------------------------------------------------------------------------------


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with new_folder(out) as folder_:
        assert not out.exists()
        assert folder_.parent.parent == out.parent  # one file system: a rename, not a copy
        (folder_ / "file").write_text("x")
    assert tree(out) == {"file": b"x"}
    assert names(out.parent) == {"out"}
    plain = tmp_path / "plain"
    plain.mkdir()
    assert out.stat().st_mode == plain.stat().st_mode


def test_a_fault_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        with new_folder(tmp_path / "out") as folder_:
            (folder_ / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert names(tmp_path) == set()


def test_the_current_folder_can_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with new_folder(Path()) as folder_:
        (folder_ / "file").write_text("x")
    assert tree(tmp_path / "empty") == {"file": b"x"}
    assert names(tmp_path) == {"empty"}


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder_:
        (folder_ / "file").write_text("x")
    assert names(tmp_path / "out") == {"file"}


@pytest.mark.parametrize("name", ["out[1]", "o*t", "out with spaces", "-out", "出力"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    with new_folder(tmp_path / name):
        pass
    assert names(tmp_path) == {name}


def test_two_in_one_process_do_not_disturb_each_other(tmp_path: Path) -> None:
    def both() -> None:
        with new_folder(tmp_path / "out") as first:
            (first / "file").write_text("first")
            with new_folder(tmp_path / "out") as second:
                assert first.is_dir()  # not taken for a leftover
                (second / "file").write_text("second")

    with pytest.raises(InputError, match="exists and is not empty"):
        both()
    assert tree(tmp_path) == {"out/file": b"second"}


def test_what_appears_at_the_last_moment_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "refuse_existing", lambda out, *, overwrite: None)  # it looked just before

    def late() -> None:
        with new_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "file").write_text("theirs")

    with pytest.raises(InputError, match="was made by another build in the meantime"):
        late()
    assert tree(tmp_path) == {"out/file": b"theirs"}


def test_a_kill_between_the_two_renames_keeps_the_old_release(built_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(built_copy)
    with monkeypatch.context() as patch:
        patch.setattr(folder.shutil, "rmtree", lambda *a, **k: None)  # as if killed: nothing is cleaned up
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if self.name in ("new", "old"):
                raise OSError(errno.EIO, "as if killed")
            return rename(self, target)

        patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="as if killed"), new_folder(built_copy, overwrite=True):
            pass
    assert not built_copy.exists()
    with pytest.raises(InputError, match="exists and is not empty"), new_folder(built_copy):
        pass
    assert tree(built_copy) == before
    assert names(built_copy.parent) == {"raw", "out"}


@pytest.fixture
def built_copy(raw: Path, tmp_path: Path) -> Path:
    build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    return tmp_path / "out"


# --- OUT exists ------------------------------------------------------------------------------------------------------


def test_out_exists(built_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(built_copy)
    assert run_build("upstream", built_copy.parent / "raw", built_copy, *FLAGS) == 2
    assert "exists and is not empty. Give a new folder, or --overwrite" in capsys.readouterr().err
    assert tree(built_copy) == before


def test_overwrite_replaces_a_release(built_copy: Path) -> None:
    assert run_build("upstream", built_copy.parent / "raw", built_copy, *FLAGS, "--overwrite", "--name", "second") == 0
    assert manifest(built_copy)["name"] == "second"
    assert names(built_copy.parent) == {"raw", "out"}


def test_a_failed_overwrite_keeps_the_release(built_copy: Path) -> None:
    before = tree(built_copy)
    (built_copy.parent / "raw" / "3.mp4").write_bytes(b"")
    assert run_build("upstream", built_copy.parent / "raw", built_copy, *FLAGS, "--overwrite") == 2
    assert tree(built_copy) == before


def test_out_is_a_file_or_a_link(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(raw)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "dangling"):
        for flags in ([], ["--overwrite"]):
            assert run_build("upstream", raw, tmp_path / name, *FLAGS, *flags) == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert len(names(raw)) == 14


def _other_manifest(out: Path) -> None:
    (out / "manifest.json").write_text('{"name": "a web app", "icons": []}')


def _broken_manifest(out: Path) -> None:
    (out / "manifest.json").write_text("{")


def _more_files(out: Path) -> None:
    (out / "notes.md").write_text("mine")


def _raw_inside(out: Path) -> None:
    make_raw(out / "raw")


def _git_inside(out: Path) -> None:
    (out / ".git").mkdir()
    (out / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


@pytest.mark.parametrize("damage", [_other_manifest, _broken_manifest, _more_files, _raw_inside, _git_inside])
def test_overwrite_never_deletes_what_is_not_of_a_release(built_copy: Path, damage: Callable[[Path], None]) -> None:
    damage(built_copy)
    before = tree(built_copy)
    assert run_build("upstream", built_copy.parent / "raw", built_copy, *FLAGS, "--overwrite") == 2
    assert run_build("sample", built_copy, "--overwrite") == 2
    assert tree(built_copy) == before


def test_raw_is_never_overwritten(raw: Path) -> None:
    before = tree(raw)
    assert run_build("upstream", raw, raw, *FLAGS, "--overwrite") == 2
    assert tree(raw) == before


def test_out_may_stand_in_raw(raw: Path) -> None:
    assert run_build("upstream", raw, raw / "out", *FLAGS) == 0
    assert run_build("upstream", raw, raw / "out", *FLAGS, "--overwrite") == 0


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder.os.path, "ismount", lambda path: True)
    with pytest.raises(InputError, match="is a mount point"):
        refuse_existing(tmp_path / "out", overwrite=False)


# --- the disk, the user, the machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["_write_videos", "_write_table", "_write_tombstones", "write_card", "write_croissant", "_files"]
)
def test_a_full_disk_leaves_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, place, full)
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert names(tmp_path) == {"raw"}


def test_a_full_disk_in_the_middle_of_a_file(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pq.ParquetWriter.write_table
    calls = iter(range(100))

    def write_table(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS) == 1
    assert names(tmp_path) == {"raw"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and mount and umount):
        pytest.skip("a small disk can be mounted by root only")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


def test_a_real_full_disk(small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = make_raw(tmp_path / "raw", size=64)
    assert run_build("upstream", raw, small_disk / "out", *FLAGS) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert names(small_disk) == set()


def test_a_parent_that_can_not_be_written(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert run_build("upstream", raw, tmp_path / "file" / "out", *FLAGS) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert run_build("upstream", raw, tmp_path / "locked" / "out", *FLAGS) == 1
        assert "Permission denied" in capsys.readouterr().err


_SLOW = """
import sys, time
from unsafe_video_dataset.builders import cli, write
original = write._write_table
def slow(*arguments):
    original(*arguments)
    print("in the middle", flush=True)
    time.sleep(60)
write._write_table = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_killed_build_leaves_nothing_that_lasts(raw: Path, tmp_path: Path) -> None:
    arguments = ["upstream", str(raw), str(tmp_path / "out"), *FLAGS]
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    (partial,) = names(tmp_path) - {"raw"}
    assert partial.startswith(".out.partial-")
    with new_folder(tmp_path / "another"):  # another place: not its business
        assert partial in names(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert names(tmp_path) == {"raw", "another", partial}
    assert run_build(*arguments) == 0
    assert names(tmp_path) == {"raw", "another", "out"}
    assert run_build("check", tmp_path / "out") == 0


def test_a_running_build_is_not_taken_for_a_leftover(raw: Path, tmp_path: Path) -> None:
    arguments = ["upstream", str(raw), str(tmp_path / "out"), *FLAGS]
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW.replace("sleep(60)", "sleep(0.7)"), *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    assert run_build(*arguments) == 0
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2  # it finds at its end that another one was faster
    assert "exists and is not empty" in err
    assert names(tmp_path) == {"raw", "out"}
    assert run_build("check", tmp_path / "out") == 0


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_two_processes_at_once(raw: Path, tmp_path: Path, flags: list[str]) -> None:
    command = [*COMMAND, str(raw), str(tmp_path / "out"), *FLAGS, *flags]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    codes = sorted(code for _, code in results)
    assert codes[0] == 0
    assert codes[1] in (0, 2)  # 0 where one began after the other had ended, with --overwrite
    assert not any("Traceback" in err for err, _ in results)
    assert names(tmp_path) == {"raw", "out"}
    assert run_build("check", tmp_path / "out") == 0


def test_a_leftover_old_beside_a_good_release_goes(built_copy: Path) -> None:
    partial = built_copy.parent / ".out.partial-abc"
    (partial / "old").mkdir(parents=True)
    before = tree(built_copy)
    with pytest.raises(InputError), new_folder(built_copy):
        pass
    assert tree(built_copy) == before
    assert not partial.exists()


def test_the_command_line_ends_with_no_traceback_when_stopped(raw: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "upstream", str(raw), str(tmp_path / "out"), *FLAGS], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("\nstopped\n")
    assert "Traceback" not in err
    assert names(tmp_path) == {"raw"}
