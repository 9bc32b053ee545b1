"""What a person sees: tables and lines, coloured by rich on a terminal, plain everywhere else.

Plain is what a pipe or a file gets, and a terminal that says TERM=dumb: fixed-width text without escape sequences that does
not depend on the terminal's width, so the same result gives the same bytes. NO_COLOR (https://no-color.org) keeps the tables
of a terminal and leaves out every colour. Text is always taken literally: `[red]` in a name prints as `[red]`, and a
control character as its escape.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TextIO, TypeAlias

from ._tables import Table, literal, make_table, numeric_columns, plain_text
from .errors import plain

if TYPE_CHECKING:
    import rich.console
    import rich.table
    import rich.text

Tone = Literal["good", "bad", "quiet", ""]
_STYLES: dict[str, str] = {"good": "green", "bad": "bold red", "quiet": "dim", "": ""}


@dataclass(frozen=True)
class Line:
    """A line of text with a tone: `good` green, `bad` red, `quiet` dim. Only colour: the words must say it too."""

    text: str
    tone: Tone = ""


Block: TypeAlias = "Table | Line | str"


def show(*blocks: Block, stream: TextIO | None = None) -> None:
    """Print tables and texts to `stream` (default: standard output), an empty line between two of them.

    Lines of a text that start with `note:` are quiet.
    """
    out = sys.stdout if stream is None else stream
    form = form_of(out)
    if form == "plain":
        print(plain_blocks(*blocks), file=out)
        return
    console = _console(out, colour=form == "colour")
    for number, block in enumerate(blocks):
        if number:
            console.print()
        if isinstance(block, Table):
            for part in _rich_table(make_table(block.head, block.lines, title=block.title)):
                console.print(part)
        else:
            said = _rich_text(block)
            # Notes are wrapped between words. A path or a command is left to the terminal: it can be copied in one piece.
            console.print(said, soft_wrap=not said.plain.startswith("note:"))


class Report(Protocol):
    """What can be shown as one text of fixed width, and as blocks."""

    def to_text(self) -> str: ...

    def blocks(self) -> Sequence[Block]: ...


def show_report(report: Report) -> None:
    """Print a report: `to_text()` where plain is wanted, its blocks on a terminal."""
    if form_of(sys.stdout) == "plain":
        print(plain(report.to_text()), end="")
    else:
        show(*report.blocks())


def plain_blocks(*blocks: Block) -> str:
    """The plain form as one text."""
    return "\n\n".join(_plain(block) for block in blocks)


def _plain(block: Block) -> str:
    if isinstance(block, Table):
        return plain_text(make_table(block.head, block.lines, title=block.title))
    return plain(block.text if isinstance(block, Line) else block)


def tell(kind: Literal["error", "fault", "warning"], message: object) -> None:
    """Print `kind: message` to standard error; `kind` is red on a terminal with colours."""
    form = form_of(sys.stderr)
    if form != "colour":
        print(f"{kind}: {plain(str(message))}", file=sys.stderr)
        return
    from rich.text import Text

    said = Text.assemble((f"{kind}:", "bold yellow" if kind == "warning" else "bold red"), " ", plain(str(message)))
    _console(sys.stderr, colour=True).print(said, soft_wrap=True)  # a command in a message can be copied in one piece


def form_of(stream: TextIO) -> Literal["plain", "tidy", "colour"]:
    """How to print to a stream: `plain` unless it is a terminal (and not a dumb one), `tidy` there with NO_COLOR."""
    unset = "" if os.name == "nt" else "dumb"  # Windows' terminals set no TERM
    if not stream.isatty() or (os.environ.get("TERM") or unset) in ("dumb", "unknown"):
        return "plain"
    return "tidy" if os.environ.get("NO_COLOR") else "colour"


# --- inside -----------------------------------------------------------------------------------------------------------


def _console(stream: TextIO, *, colour: bool) -> rich.console.Console:
    from rich.console import Console

    # Everything that rich would guess from the environment or from the text is said: FORCE_COLOR changes nothing here, and
    # names are not taken for markup, emoji or numbers to highlight.
    return Console(
        file=stream,
        force_terminal=colour,
        color_system="auto" if colour else None,
        no_color=not colour,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _rich_table(table: Table) -> Iterator[rich.table.Table | rich.text.Text]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    if table.title:
        yield Text(table.title, style="bold")
    found = RichTable(box=SIMPLE_HEAD, header_style="bold cyan", show_edge=False, padding=(0, 1, 0, 0))
    for name, right in zip(table.head, numeric_columns(table), strict=True):
        found.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for line in table.lines:
        found.add_row(*(Text(cell, style="dim" if cell == "-" else "") for cell in line))
    yield found


def _rich_text(block: Line | str) -> rich.text.Text:
    from rich.text import Text

    if isinstance(block, Line):
        return Text(plain(block.text), style=_STYLES[block.tone])
    said = Text()
    for number, line in enumerate(plain(block).split("\n")):
        said.append(("\n" if number else "") + line, style="dim" if line.startswith("note:") else "")
    return said


__all__ = ["Block", "Line", "Table", "form_of", "literal", "plain_blocks", "show", "show_report", "tell"]
