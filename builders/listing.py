"""The videos below a folder: plain files `*.mp4` under names that every system can hold. Nothing is opened here."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from unsafe_video_dataset.errors import Fault, unprintable


@dataclass
class Listing:
    """Path in the folder in Unicode NFC, `/` between parts -> the path as it is on disk. `others` counts other files."""

    files: dict[str, str] = field(default_factory=dict)
    others: int = 0
    faults: list[Fault] = field(default_factory=list)


def list_videos(folder: Path, *, name: str) -> Listing:
    """All `*.mp4` (in any case) below a folder; faults, with `name` before each file, for what can't be taken.

    Faults: no folder or no video; links out of the folder and links to folders (what they hold would be left out in
    silence); names that are not UTF-8, hold control characters, or differ from another only in their Unicode form.
    """
    found = Listing()
    if not folder.is_dir():
        found.faults.append(Fault(name, "there is no such folder", field="source.folder", expected="a folder of videos"))
        return found
    inside = folder.resolve()

    def unreadable(error: OSError) -> None:
        place = _shown(os.path.relpath(error.filename, folder))
        found.faults.append(Fault(f"{name}/{place}", f"can't be listed ({error.strerror})", expected="a readable folder"))

    for root, folders, files in os.walk(folder, onerror=unreadable, followlinks=False):
        here = Path(root)
        for one in sorted(folders):
            if (here / one).is_symlink():
                place = _shown((here / one).relative_to(folder).as_posix())
                expected = "the folder itself, or a [[source]] of its own"
                found.faults.append(Fault(f"{name}/{place}", "is a link to a folder", expected=expected))
        for one in sorted(files):
            if one.lower().endswith(".mp4"):
                _take(found, here / one, folder, inside, name)
            else:
                found.others += 1
    if not found.files and not found.faults:
        found.faults.append(
            Fault(name, "no video in the folder", field="source.folder", expected="at least one *.mp4 below it")
        )
    return found


def _take(found: Listing, file: Path, folder: Path, inside: Path, name: str) -> None:
    path = file.relative_to(folder).as_posix()
    place = f"{name}/{_shown(path)}"
    try:
        path.encode()
    except UnicodeEncodeError:
        found.faults.append(Fault(place, "the name is not UTF-8", expected="another name"))
        return
    if unprintable(path):
        found.faults.append(Fault(place, "control characters in the name", expected="another name"))
        return
    if file.is_symlink() and not file.resolve().is_relative_to(inside):
        found.faults.append(Fault(place, "is a link out of the source's folder", expected="the file itself"))
        return
    key = unicodedata.normalize("NFC", path)
    if key in found.files:
        message = "another file has the same name in another Unicode form (NFC and NFD)"
        found.faults.append(Fault(place, message, expected="names that differ to the eye"))
        return
    found.files[key] = path


def _shown(path: str) -> str:
    """A name of a file, which may hold anything, on one line."""
    letters = (one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in path[:200])
    return "".join(letters)
