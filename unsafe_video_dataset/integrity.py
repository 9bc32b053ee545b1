"""Verify a release: every file against the manifest, every row against its schema, every video against its sha256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Fault, FaultsError
from .footer import BadFooter, read_footer
from .rows import row_faults

if TYPE_CHECKING:
    from .release import Release


@dataclass
class VerifyReport:
    """What a check saw. `ok` when nothing is wrong; `faults` lists everything that is. `left_out`: files that were not
    downloaded, so not checked."""

    release: str
    files: int = 0
    videos: int = 0
    annotations: int = 0
    decoded: int = 0
    left_out: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when no fault was found."""
        return not self.faults

    def raise_for_faults(self) -> None:
        """Raise `FaultsError` with all faults, if there are any."""
        if self.faults:
            raise FaultsError(f"Release {self.release} is not sound", self.faults, fix="Get or build the release anew.")

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**vars(self), "ok": self.ok, "faults": [fault.to_dict() for fault in self.faults]}


def sha256_file(path: Path) -> str:
    """sha256 of a file, in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def verify(release: Release, *, decode: bool = False) -> VerifyReport:
    """Check a release and report every fault.

    Files: all there, none extra, size, sha256 and rows as in the manifest. Rows: schema, ids unique and sorted, MP4 bytes
    against sha256, MP4 structure, the same facts in data and metadata files, labels and counts that follow from the votes,
    no withdrawn video, no group in two splits or folds, `candidates.parquet` of these very videos, counts as in the
    manifest. `decode` also decodes each video and compares its frames (needs the `video` extra), in a child process with
    limits (`isolate`): a file on which the codec crashes or hangs is one fault, and the rest is checked.

    Of a release that was opened by its name on the Hub, what was not asked for is no fault: the report counts it
    (`left_out`), and what needs all files (counts, votes against annotations) is left out. `hub.verify` checks everything.
    """
    report = VerifyReport(release=str(release.path))
    report.faults, unreadable = _file_faults(release, report)
    report.faults += row_faults(release, report, unreadable, decode=decode)
    return report


def _file_faults(release: Release, report: VerifyReport) -> tuple[list[Fault], set[str]]:
    """The faults, and the files that rows can't be read from."""
    faults: list[Fault] = []
    unreadable: set[str] = set()
    listed = {entry["path"]: entry for entry in release.manifest["files"]}
    if len(listed) < len(release.manifest["files"]):
        faults.append(Fault("manifest.json", "a file is listed twice", field="files", expected="each file once"))
    for name, entry in sorted(listed.items()):
        path = release.path / name
        if path.is_symlink() or not path.resolve().is_relative_to(release.path.resolve()):
            faults.append(Fault(name, "is a link or leads out of the release", expected="a plain file"))
            unreadable.add(name)
        elif not path.is_file() and release.part is not None and not release.part.holds(name):
            report.left_out += 1
            unreadable.add(name)
        elif not path.is_file():
            faults.append(Fault(name, "missing", expected=f"{entry['bytes']} bytes"))
            unreadable.add(name)
        else:
            report.files += 1
            if path.stat().st_size != entry["bytes"]:
                faults.append(Fault(name, f"{path.stat().st_size} bytes", expected=f"{entry['bytes']} bytes"))
            elif (found := sha256_file(path)) != entry["sha256"]:
                faults.append(Fault(name, f"sha256 {found}", expected=f"sha256 {entry['sha256']}"))
            if path.suffix == ".parquet":
                faults += _footer_faults(path, name, entry["rows"], unreadable)
    for path in sorted(release.path.rglob("*")):
        name = path.relative_to(release.path).as_posix()
        plain = path.is_file() or path.is_symlink()
        if plain and name not in listed and name != "manifest.json" and not _ignored(name):
            faults.append(Fault(name, "is not in the manifest", expected="no file that the manifest does not list"))
    return faults, unreadable


def _footer_faults(path: Path, name: str, rows: int | None, unreadable: set[str]) -> list[Fault]:
    try:
        found = read_footer(path).num_rows
    except (BadFooter, OSError) as error:
        unreadable.add(name)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return [Fault(name, f"can't be read: {reason}", expected="a Parquet file")]
    return [] if found == rows else [Fault(name, f"{found} rows", expected=f"{rows} rows")]


def _ignored(name: str) -> bool:
    """Files that Git and the Hub's client put beside a release."""
    return name == ".gitattributes" or name.startswith((".git/", ".cache/"))
