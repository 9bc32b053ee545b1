"""Tables of cells, and the two forms of them that never change with a terminal: fixed width, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import plain


@dataclass(frozen=True)
class Table:
    """A title ('' for none), the names of the columns, and lines of cells. Every cell is one line of text, taken literally."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def make_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Table:
    """A table of any values: each becomes one line of text that can't act on a terminal (see `literal`)."""
    return Table(literal(title), tuple(map(literal, head)), tuple(tuple(map(literal, row)) for row in rows))


def literal(value: object) -> str:
    """A value as one line: control and direction characters as escapes, line ends and tabs as spaces. Nothing else changes."""
    text = plain(" ".join(str(value).splitlines()))
    return text.replace("\t", " ")


def plain_lines(table: Table, *, rule: bool = True, least: int = 0) -> list[str]:
    """The lines of a table, columns padded with spaces; columns of numbers are aligned to the right. No width limit.

    `rule`: dashes below the head. `least`: the least width of the first column, in characters.
    """
    widths = [max(len(line[column]) for line in (table.head, *table.lines)) for column in range(len(table.head))]
    widths[0] = max(widths[0], least)
    right = numeric_columns(table)

    def line(values: Sequence[str]) -> str:
        parts = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return [line(table.head), *([line(["-" * width for width in widths])] if rule else []), *map(line, table.lines)]


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers alone ('-' stands for one that is missing)."""
    found = []
    for column in range(len(table.head)):
        cells = [line[column] for line in table.lines if line[column] != "-"]
        found.append(bool(cells) and all(map(_numeric, cells)))
    return found


def _numeric(text: str) -> bool:
    digits = text.lstrip("+-").rstrip("%").replace(".", "", 1).replace(",", "")
    return digits.isascii() and digits.isdigit()


def plain_text(table: Table, *, rule: bool = True, least: int = 0) -> str:
    """Title (where there is one) and lines."""
    return "\n".join([*([table.title] if table.title else []), *plain_lines(table, rule=rule, least=least)])


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Header and rows as a fixed-width table."""
    return plain_text(make_table(header, rows))


def markdown_table(table: Table) -> str:
    """One table as Markdown, the first column text and the others aligned to the right; pipes in cells are escaped."""
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    lines = [table.head, tuple(rule), *table.lines]
    return "\n".join("| " + " | ".join(cell.strip().replace("|", "\\|") for cell in line) + " |" for line in lines)
