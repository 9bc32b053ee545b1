"""What a stage is given while it runs: its settings, tables of earlier stages, and a map that remembers answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from tqdm import tqdm

from unsafe_video_dataset.errors import IntegrityError, MissingDependency

from .fingerprint import fingerprint
from .journal import KEY_BYTES
from .pool import DIED
from .recipe import Recipe
from .stage import Executor, Failure, Stage
from .work import Work, kept_rows, storing

In = TypeVar("In")
# No item is to blame for these: as rows they would drop every video.
_NOT_THE_ITEMS = ("ModuleNotFoundError:", "ImportError:", "MissingDependency:")


class RunContext:
    """The `Context` of one stage in one run. `worked` and `reused` count answers of `map`, `failures` the `Failure`s.

    `died` are the ids whose process died, and which have no answer since.
    """

    def __init__(self, recipe: Recipe, stage: Stage, work: Work, executor: Executor, *, progress: bool) -> None:
        self.recipe = recipe
        self.base = recipe.base
        self.folder = work.files(stage.name)
        self.settings: Any = recipe.settings[stage.name]
        self.progress = progress
        self.worked = self.reused = self.failures = 0
        self.died: set[str] = set()
        self._stage, self._work, self._executor = stage, work, executor

    def table(self, stage: str) -> pa.Table:
        """The finished table of an earlier stage, which must stand in `needs`."""
        if stage not in self._stage.needs:
            raise IntegrityError(f"Stage {self._stage.name} reads {stage}, which is not in its `needs`. Please report this.")
        return self._work.table(stage)

    def kept(self, stage: str) -> pa.Table:
        """Its rows with `kept` true."""
        return kept_rows(self.table(stage))

    def report(self, stage: str) -> dict[str, Any]:
        """The report of an earlier stage."""
        self.table(stage)
        return self._work.report(stage)

    def path(self, item: str) -> Path:
        """Where the raw file of an item lies. Raises `KeyError` for an item that is not of this recipe."""
        return self._paths[item]

    @functools.cached_property
    def _paths(self) -> dict[str, Path]:
        table = self._work.table("ingest")
        folders = {source.name: source.path(self.base) for source in self.recipe.sources}
        columns = (table[name].to_pylist() for name in ("item", "source", "path"))
        return {item: folders[source] / path for item, source, path in zip(*columns, strict=True) if source is not None}

    @functools.cached_property
    def _contents(self) -> dict[str, str | None]:
        """Item -> sha256 of its raw file, by ingest."""
        if self._stage.name == "ingest":
            return {}
        table = self._work.table("ingest")
        if "sha256" not in table.column_names:
            return {}
        return dict(zip(table["item"].to_pylist(), table["sha256"].to_pylist(), strict=True))

    def map(
        self, function: Callable[[In], Mapping[str, Any]], items: Sequence[tuple[str, In]], *, what: str
    ) -> dict[str, Mapping[str, Any] | Failure]:
        """Answers by id, in the order of `items`. Each is kept in the stage's journal as it comes.

        An answer is used again for the same id, argument, function, settings and version of the stage, and where the id
        is an item, the same bytes of its raw file. What else decides the answer must stand in the argument. `Failure`s
        are not kept. A stage with `journal = False` asks anew in every run. Raises `ValueError` for an id that stands twice.
        """
        if len({item for item, _ in items}) < len(items):
            raise ValueError(f"Stage {self._stage.name} gives an id twice to map ({what}).")
        if not getattr(self._stage, "journal", True):
            answers: dict[str, Mapping[str, Any] | Failure] = {}
            for item, answer in self._answers(function, items, what, len(items)):
                answers[item] = answer
            return {item: answers[item] for item, _ in items}
        return self._remembered(function, items, what)

    def _remembered(
        self, function: Callable[[In], Mapping[str, Any]], items: Sequence[tuple[str, In]], what: str
    ) -> dict[str, Mapping[str, Any] | Failure]:
        decides = [self._stage.name, self._stage.version, self.settings, function, what]
        prefix = fingerprint(decides, base=self.base)
        contents = self._contents
        keys = {
            item: bytes.fromhex(fingerprint([prefix, item, contents.get(item), one], base=self.base))[:KEY_BYTES]
            for item, one in items
        }
        journal = self._work.journal(self._stage.name)
        with storing(self._work.stage(self._stage.name) / "journal"):
            known = journal.read(set(keys.values()))
        answers: dict[str, Mapping[str, Any] | Failure] = {}
        answers.update({item: known[key] for item, key in keys.items() if key in known})
        self.reused += len(answers)
        rest = [pair for pair in items if pair[0] not in answers]
        try:
            for item, answer in self._answers(function, rest, what, len(items)):
                if not isinstance(answer, Failure):
                    with storing(self._work.stage(self._stage.name) / "journal"):
                        answer = journal.append(keys[item], answer)
                answers[item] = answer
        finally:
            journal.close()
        return {item: answers[item] for item, _ in items}

    def _answers(
        self, function: Callable[[In], Mapping[str, Any]], items: Sequence[tuple[str, In]], what: str, total: int
    ) -> Any:
        bar = tqdm(total=total, initial=total - len(items), desc=f"{self._stage.name}: {what}", disable=not self.progress)
        with bar:
            for item, answer in self._executor.map(function, items) if items else ():
                self.worked += 1
                if isinstance(answer, Failure) and answer.error.startswith(_NOT_THE_ITEMS):
                    message = f"The workers of stage {self._stage.name} can't work: {answer.error}"
                    raise MissingDependency(f"{message}. Install on every machine what this one has.")
                self.failures += isinstance(answer, Failure)
                dead = isinstance(answer, Failure) and answer.error == DIED
                (self.died.add if dead else self.died.discard)(item)
                yield item, answer
                bar.update()
