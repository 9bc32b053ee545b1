"""What a stage is: it reads tables of earlier stages and its settings, and gives one table and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

In = TypeVar("In")
Out = TypeVar("Out")

# The first columns of every stage's table: the raw file (`<source>/<path in it>`, `/` between parts, never a position),
# whether it goes on, and why not. Tables are sorted by `item`.
COMMON = [pa.field("item", pa.string()), pa.field("kept", pa.bool_()), pa.field("reason", pa.string())]


@dataclass(frozen=True)
class Failure:
    """A function that raised, or a process that died, as a value. `error` is one line without paths of the machine."""

    error: str


@dataclass(frozen=True)
class StageResult:
    """`table` has one row an item that reached the stage (kept by all stages before), first columns `COMMON`.

    `report` holds JSON values: figures of the stage, none that depends on the machine or the clock.
    """

    table: pa.Table
    report: dict[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Maps a pure function over ids. Errors come back as values; the order of the answers means nothing."""

    def map(self, function: Callable[[In], Out], items: Sequence[tuple[str, In]]) -> Iterator[tuple[str, Out | Failure]]:
        """(id, answer) for each (id, argument), as they are done. `function` must pickle."""


class Context(Protocol):
    """What a stage is given."""

    base: Path  # the recipe's folder: relative paths of settings start here
    folder: Path  # the stage's own folder, for sheets and other files to look at; emptied before a run
    settings: Any  # the stage's settings, an instance of its `Settings`
    progress: bool

    def table(self, stage: str) -> pa.Table:
        """The finished table of an earlier stage."""

    def kept(self, stage: str) -> pa.Table:
        """Its rows with `kept` true."""

    def report(self, stage: str) -> dict[str, Any]:
        """The report of an earlier stage."""

    def path(self, item: str) -> Path:
        """Where the raw file of an item lies."""

    def map(
        self, function: Callable[[In], Mapping[str, Any]], items: Sequence[tuple[str, In]], *, what: str
    ) -> dict[str, Mapping[str, Any] | Failure]:
        """Answers by id. They are kept as they come (JSON values, or bytes): after a kill only the others are worked out."""


class Stage(Protocol):
    """A named step. `version` goes up when the code gives other results for the same inputs."""

    name: str
    version: int
    needs: tuple[str, ...]  # the stages whose tables it reads; the first is the one whose kept items it takes
    settings: type[Any]  # a frozen dataclass, see `settings.py`

    def files(self, settings: Any, base: Path) -> list[Path]:
        """Files beside the raw videos that decide the result (votes, decisions, themes); they need not exist."""

    # Optional: `secret(settings, base)` is a text that decides the result and is written nowhere (a mark of a key): only the
    # fingerprint holds it. `always = True` runs in every run; `journal = False` remembers no answers; `records_all = True`
    # is decided by the settings and files of all stages; `outputs(settings, base)` are paths outside of the work folder
    # that it makes.

    def run(self, context: Context) -> StageResult:
        """Do it. Raises `FaultsError` for input that can't be used, with every fault."""
