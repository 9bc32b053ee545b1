"""The folder that a run writes into: never a release, and never something that is not a folder."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError


def refuse_out(out: Path) -> None:
    """Raise `InputError` if `out` can't take a run's files: it holds a release, or it or a parent of it is a file."""
    if (out / "manifest.json").exists():
        raise InputError(f"{out} holds a release, and files that are not in its manifest would spoil it. Give another folder.")
    first = next((place for place in (out, *out.parents) if place.exists()), None)
    if first is not None and not first.is_dir():
        raise InputError(f"{out} can't be a folder: {first} is a file. Give another folder.")


def make_out(out: Path) -> None:
    """Create `out` where it is not there yet. Raises what `refuse_out` does."""
    refuse_out(out)
    out.mkdir(parents=True, exist_ok=True)
