"""What both command lines share: tables, JSON, examples in `--help`, exit codes, no traceback for a user's mistake."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ._completion import COMPLETION, add_completion
from ._tables import Table, make_table, text_table
from ._terminal import Line, plain_blocks, show, show_report, tell
from .errors import FilterError, InputError, MissingDependency, UnsafeVideoError, missing_extra, unprintable

__all__ = [
    "COMPLETION",
    "Line",
    "Table",
    "add_completion",
    "add_json",
    "epilog",
    "load_module",
    "make_table",
    "plain_blocks",
    "print_json",
    "run",
    "show",
    "show_report",
    "tell",
    "text_table",
    "usable_folder",
    "write_text",
]


def run(call: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command. 0 done; 1 a check failed or something broke on the way; 2 the input or a flag can't be used."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that can't show a character must not end a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return call(arguments)
    except UnsafeVideoError as error:
        tell("error", error)
        return 2 if isinstance(error, (InputError, FilterError, MissingDependency)) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # full disk, no permission: the path and the reason are all that helps
        tell("error", error)
        return 1


def epilog(example: str) -> dict[str, Any]:
    """Arguments for `add_parser` that show an example at the end of `--help`."""
    return {"epilog": f"example:\n  {example}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object for machines")


def print_json(value: Any) -> None:
    """Print a value as JSON; refuses NaN, which is not JSON. Characters that act on a terminal are written as escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    if unprintable(text, keep="\n"):  # JSON itself escapes only what is below U+0020
        text = "".join(f"\\u{ord(one):04x}" if unprintable(one, keep="\n") else one for one in text)
    print(text)


def load_module(name: str) -> Any:
    """A module of this package whose dependencies are an extra; `MissingDependency` says which extra."""
    try:
        return import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        raise missing_extra(error, "This") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def usable_folder(path: Path, flag: str) -> None:
    """Raise `InputError` unless files can be written to a folder, or to one made there. Nothing is left."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    probe = path / f".probe-{uuid.uuid4().hex}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{flag} {str(path)!r} can't be used as a folder to write to ({reason}). Give another one.") from error
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not made after all
                folder.rmdir()
