"""What counts as a raw video, and names that no system should have to bear."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from unsafe_video_dataset.builders.listing import list_videos

POSIX = pytest.mark.skipif(sys.platform != "linux", reason="names that only Linux' file systems hold")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def faults(folder: Path) -> list[str]:
    return [str(fault) for fault in list_videos(folder, name="s").faults]


def test_mp4s_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.MP4", "deep/er/c.mp4", "notes.txt", "clip.mp4.part", ".hidden.mp4", "a b, c;d'e.mp4")
    found = list_videos(tmp_path, name="s")
    assert not found.faults
    assert sorted(found.files) == [".hidden.mp4", "a b, c;d'e.mp4", "a.mp4", "b.MP4", "deep/er/c.mp4"]
    assert found.others == 2


def test_nothing_to_take_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    assert faults(tmp_path) == ["s [source.folder]: no video in the folder; expected at least one *.mp4 below it"]
    assert "there is no such folder" in faults(tmp_path / "nowhere")[0]
    put(tmp_path, "file")
    assert "there is no such folder" in faults(tmp_path / "file")[0]


def test_links_out_and_links_to_folders_are_faults(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.mp4", "sub/b.mp4")
    put(tmp_path / "out", "c.mp4")
    (tmp_path / "in" / "inside.mp4").symlink_to("sub/b.mp4")
    assert faults(tmp_path / "in") == []
    (tmp_path / "in" / "out.mp4").symlink_to(tmp_path / "out" / "c.mp4")
    (tmp_path / "in" / "passwd.mp4").symlink_to("/etc/passwd")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    found = faults(tmp_path / "in")
    assert sum("link to a folder" in fault for fault in found) == 2
    assert sum("link out of the source's folder" in fault for fault in found) == 2


@POSIX
def test_names_that_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "caf\u00e9.mp4", "cafe\u0301.mp4", "tab\there.mp4", "line\nfeed.mp4", "right\u202eleft.mp4")
    (tmp_path / os.fsdecode(b"not-utf8-\xff.mp4")).write_bytes(b"x")
    found = faults(tmp_path)
    assert len(found) == 5
    assert sum("another Unicode form" in fault for fault in found) == 1
    assert sum("control characters" in fault for fault in found) == 3
    assert sum("not UTF-8" in fault for fault in found) == 1
    assert all(fault.isprintable() for fault in found)


@POSIX
def test_a_name_in_nfd_is_known_by_its_nfc_and_opened_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "cafe\u0301.mp4")
    assert list_videos(tmp_path, name="s").files == {"caf\u00e9.mp4": "cafe\u0301.mp4"}
