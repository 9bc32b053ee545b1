"""`--print-completion SHELL`: a static script of shtab, so that completing a word starts no Python."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

COMPLETION = "--print-completion"
SHELLS = ("bash", "zsh", "tcsh")
_FOLDERS = frozenset({"cache_dir", "out", "plots", "clips", "raw", "old", "new", "release"})


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the flag to a command line's main parser."""
    parser.add_argument(
        COMPLETION, action=_Print, choices=SHELLS, metavar="|".join(SHELLS), help="print a completion script for a shell"
    )


class _Print(argparse.Action):
    """Print the script for the whole parser and end."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, option: Any = None) -> None:
        print(completion(parser, shell=str(shell)))
        parser.exit(0)


def completion(parser: argparse.ArgumentParser, *, shell: str) -> str:
    """The script for one of `SHELLS`: commands, flags, closed choices, and files or folders where a path is asked for."""
    import shtab

    _say_what_is_a_path(parser, shtab)
    return str(shtab.complete(parser, shell=shell))


def _say_what_is_a_path(parser: argparse.ArgumentParser, shtab: Any) -> None:
    for action in parser._actions:  # argparse has no public list of them; shtab reads the same one
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                _say_what_is_a_path(command, shtab)
        elif action.choices is None and (action.type is Path or action.dest in _FOLDERS):
            action.complete = shtab.DIRECTORY if action.dest in _FOLDERS else shtab.FILE  # type: ignore[attr-defined]
