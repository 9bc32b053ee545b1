"""Where a report may stand: a folder that appears whole, made by one process at a time, private where it is revealed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..export.place import alone

MARKER = "data/release.js"  # what a folder must hold to be taken for a report
_IGNORED = ".gitignore"  # in an unfinished revealed folder: a git work tree around it never takes it in


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise `InputError` unless `out` is new or empty, or is a report that `overwrite` may replace."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder. Give a new folder as --out.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MARKER).is_file() or not (out / "index.html").is_file():
        raise InputError(f"{out} is not empty and holds no report. Give a new folder as --out.")
    if not overwrite:
        raise InputError(f"{out} holds a report. Give a new folder as --out, or --overwrite to replace it.")


@contextmanager
def appearing(out: Path, *, reveal: bool, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, that gets the name `out` when the block ends well.

    It stands beside `out`: `.<name>.partial`, which stays when the block fails, so that the next run goes on with it; with
    `reveal` `.<name>.revealed`, for the user alone, which goes. What a killed run left of the latter goes with every run.
    Raises `InputError` where another process writes a report to the same place.
    """
    revealed, old = (out.with_name(f".{out.name}.{ending}") for ending in ("revealed", "old"))
    partial = revealed if reveal else out.with_name(f".{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone(out.with_name(f".{out.name}.report.lock"), f"Another report is being written to {out}."):
        _recover(out, old, revealed)
        refuse_existing(out, overwrite=overwrite)
        partial.mkdir(exist_ok=True, mode=0o700 if reveal else 0o777)
        try:
            if reveal:
                partial.chmod(0o700)
                (partial / _IGNORED).write_text("*\n", encoding="ascii")
            yield partial
            (partial / _IGNORED).unlink(missing_ok=True)
            refuse_existing(out, overwrite=overwrite)  # somebody may have been here meanwhile
            _put(out, partial, old)
        finally:
            if reveal:  # no clear frames are left behind in a hidden folder
                shutil.rmtree(partial, ignore_errors=True)


# --- inside -----------------------------------------------------------------------------------------------------------


def _recover(out: Path, old: Path, revealed: Path) -> None:
    """After a run that was killed: clear frames go, and a report that was just being replaced has its name again."""
    shutil.rmtree(revealed, ignore_errors=True)
    if old.is_dir() and not out.exists():
        old.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def _put(out: Path, partial: Path, old: Path) -> None:
    if out.exists():
        out.replace(old)
    try:
        partial.replace(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
