"""Run a recipe: each stage that is not done, or whose inputs, settings or version changed, in order.

What decides a stage is its name, version and settings, the sha256 of the tables that it reads and of its files, and for the
votes the raters' key (hashed, inside the fingerprint); no path of the machine and no clock. The code itself does not count:
a stage's version goes up when its code gives other results. A stage with `always = True` (ingest) runs in every run, as
nothing but reading them says whether raw files changed; if its table comes out the same, later stages are still done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa

from unsafe_video_dataset.errors import FilterError, InputError, IntegrityError, one_of
from unsafe_video_dataset.integrity import sha256_file

from .candidates import candidates, count_check, same_items, summary, summary_text
from .context import RunContext
from .engine import ENGINES, Engine, open_engine
from .fingerprint import fingerprint
from .recipe import Recipe, read_recipe
from .stage import Executor, Failure, Stage
from .work import Done, Work, check_table, json_bytes, table_bytes, write_atomic

In = TypeVar("In")
Out = TypeVar("Out")
Action = Literal["ran", "skipped", "would run", "would skip", "left out"]


@dataclass
class StageRun:
    """What happened to a stage. `worked` and `reused` are answers worked out now and taken from the journal.

    `died` items have no answer as their process died each time: nothing is known of them, and the next run tries them again.
    """

    stage: str
    action: Action
    why: str
    rows: int | None = None
    kept: int | None = None
    worked: int = 0
    reused: int = 0
    failures: int = 0
    died: int = 0
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)


@dataclass
class RunReport:
    """What a run did, stage by stage. `seconds` are of this run; all else is in the work folder, too."""

    recipe: str
    work: Path
    out: Path
    stages: list[StageRun] = field(default_factory=list)

    def stage(self, name: str) -> StageRun:
        """The run of a stage. Raises `KeyError` for a name that is not there."""
        return {one.stage: one for one in self.stages}[name]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "recipe": self.recipe,
            "work": str(self.work),
            "out": str(self.out),
            "stages": [vars(one) for one in self.stages],
        }


def run_recipe(
    path: Path,
    *,
    start: str | None = None,
    only: str | None = None,
    dry_run: bool = False,
    engine: Engine | str = "process",
    workers: int | None = None,
    progress: bool = True,
    stages: Sequence[Stage] | None = None,
    executor: Executor | None = None,
) -> RunReport:
    """Run what has to run, or with `dry_run` only say it.

    `start` does that stage and all later ones anew, what they remember included. `only` runs one stage, if what it needs
    is done. `stages` are by default all that there are; `executor` is one of the caller's own instead of `engine`.

    Raises `FaultsError` for a recipe or input with faults, `FilterError` for a name that is not there, `InputError` where
    `only` lacks a stage before it or another run is at work, `StorageError` for a full or read-only disk,
    `IntegrityError` for a stage that made a table that can't be, `ChecksumError` for a raw file that changed meanwhile.
    A stage that raises is not done; the next run goes on with it.
    """
    recipe = read_recipe(path, stages=stages)
    one_of(engine, ENGINES, "engine")
    if workers is not None and workers < 1:
        raise FilterError(f"workers={workers}: give at least 1.")
    names = [stage.name for stage in recipe.stages]
    for name, what in ((start, "from"), (only, "only")):
        if name is not None:
            one_of(name, names, what)
    if start is not None and only not in (None, start):
        raise InputError(f"--from {start} --only {only}: give one of them, or the same stage to both to run it anew.")
    work = Work(recipe.work)
    plan = _Plan(recipe, work, forced=set() if start is None else set(names[names.index(start) :]), only=only)
    report = RunReport(recipe.file.name, recipe.work, recipe.out)
    if dry_run:
        report.stages = plan.foretell()
        return report
    with work.lock(), ExitStack() as stack:
        plan.check_only()
        for stage in recipe.stages:
            one = plan.look(stage)
            if one.action == "would run":
                executor = executor or _Lazy(engine, workers, [source.path(recipe.base) for source in recipe.sources], stack)
                _run_stage(one, stage, recipe, work, executor, plan, progress=progress)
            report.stages.append(one)
        _write_summary(recipe, work, plan)
    return report


class _Lazy:
    """The engine, opened when a stage first maps something: starting Ray takes seconds, and many runs need none."""

    def __init__(self, engine: str, workers: int | None, folders: list[Path], stack: ExitStack) -> None:
        self._engine, self._workers, self._folders, self._stack = engine, workers, folders, stack
        self._executor: Executor | None = None

    def map(self, function: Callable[[In], Out], items: Sequence[tuple[str, In]]) -> Iterator[tuple[str, Out | Failure]]:
        if self._executor is None:
            engine = open_engine(self._engine, workers=self._workers, folders=self._folders)
            self._executor = self._stack.enter_context(engine)
        return self._executor.map(function, items)


class _Plan:
    """Which stages are to run, and why."""

    def __init__(self, recipe: Recipe, work: Work, *, forced: set[str], only: str | None) -> None:
        self.recipe, self.work, self.forced, self.only = recipe, work, forced, only

    def look(self, stage: Stage) -> StageRun:
        """What is to be done with a stage as things are now: "would run", "skipped" or "left out"."""
        if self.only not in (None, stage.name):
            return self._counted(StageRun(stage.name, "left out", f"--only {self.only}"), self.work.done(stage.name))
        why = "forced by --from" if stage.name in self.forced else self.why_run(stage)
        if why is None and getattr(stage, "always", False):
            why = "looks at the raw files in every run"
        done = self.work.done(stage.name)
        if why is None and done is not None and done.died:
            why = f"tries {done.died} items again whose process died"
        if why is not None:
            return StageRun(stage.name, "would run", why)
        skipped = StageRun(stage.name, "skipped", "done, and nothing that decides it changed")
        skipped.report = self.work.report(stage.name)
        return self._counted(skipped, done)

    def foretell(self) -> list[StageRun]:
        """`look` for all stages without running any. A stage that reads the table of one that runs may have to run."""
        found: list[StageRun] = []
        runs: dict[str, str] = {}  # stage -> "surely" or "maybe" gives another table
        for stage in self.recipe.stages:
            one = self.look(stage)
            before = [name for name in stage.needs if name in runs]
            if one.action == "skipped":
                sure = [name for name in before if runs[name] == "surely"]
                one.action = "would run" if sure else "would skip"
                if sure:
                    one.why = f"reads {', '.join(sure)}, which runs; skipped if that gives the table it gave before"
                elif before:
                    one.why += f"; runs if {', '.join(before)} gives another table"
            if one.action == "would run":
                runs[stage.name] = "maybe" if one.why.startswith(("looks", "tries")) else "surely"
            elif one.action == "would skip" and before:
                runs[stage.name] = "maybe"
            found.append(one)
        return found

    def check_only(self) -> None:
        """Raise `InputError` where the one stage that shall run needs one that is not done."""
        stage = next((stage for stage in self.recipe.stages if stage.name == self.only), None)
        wanted = set(stage.needs if stage else ())
        for earlier in reversed(self.recipe.stages):
            if earlier.name in wanted:
                wanted.update(earlier.needs)
        for earlier in self.recipe.stages:
            why = self.why_run(earlier) if earlier.name in wanted else None
            if why is not None:
                fix = f"Run without --only, or first: --only {earlier.name}"
                raise InputError(f"Stage {self.only} needs {earlier.name}, which is not done ({why}). {fix}")

    def why_run(self, stage: Stage) -> str | None:
        """Why a stage has to run; None if it is done and nothing that decides it changed."""
        done = self.work.done(stage.name)
        if done is None:
            if (self.work.stage(stage.name) / "done.json").is_file():
                return "its table is gone, or not the one that it made"
            begun = (self.work.stage(stage.name) / "journal").is_dir()
            return "was not finished" if begun else "has not run yet"
        try:
            same = done.fingerprint == self.fingerprint(stage)
        except IntegrityError:
            return "what it needs is not done"
        if not same:
            return "its settings, files, version, key or the tables it reads changed"
        missing = [path.name for path in self._outputs(stage) if not path.exists()]
        return f"{', '.join(missing)} is not there" if missing else None

    def fingerprint(self, stage: Stage) -> str:
        """sha256 of all that decides a stage's table. Raises `IntegrityError` where a stage that it needs is not done."""
        base, settings = self.recipe.base, self.recipe.settings[stage.name]
        tables = {}
        for name in stage.needs:
            done = self.work.done(name)
            if done is None:
                raise IntegrityError(f"Stage {stage.name} needs {name}, which is not done.")
            tables[name] = done.table
        seen = self.recipe.stages if getattr(stage, "records_all", False) else [stage]
        named = {path for one in seen for path in one.files(self.recipe.settings[one.name], base)}
        files = {self._name(path): sha256_file(path) if path.is_file() else None for path in named}
        decides = [self.recipe.settings[one.name] for one in seen]
        secret = getattr(stage, "secret", None)
        hidden = [] if secret is None else [secret(settings, base)]
        return fingerprint([stage.name, stage.version, settings, decides, tables, files, *hidden], base=base)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.recipe.base).as_posix() if path.is_relative_to(self.recipe.base) else path.name

    def _outputs(self, stage: Stage) -> list[Path]:
        """Paths outside of the work folder that a stage makes (optional method `outputs(settings, base)`)."""
        method = getattr(stage, "outputs", None)
        return list(method(self.recipe.settings[stage.name], self.recipe.base)) if method else []

    @staticmethod
    def _counted(one: StageRun, done: Done | None) -> StageRun:
        if done is not None:
            one.rows, one.kept, one.died = done.rows, done.kept, done.died
        return one


def _run_stage(
    one: StageRun, stage: Stage, recipe: Recipe, work: Work, executor: Executor, plan: _Plan, *, progress: bool
) -> None:
    begun = time.perf_counter()
    decided = plan.fingerprint(stage)
    work.begin(stage.name, forget=stage.name in plan.forced)
    context = RunContext(recipe, stage, work, executor, progress=progress)
    result = stage.run(context)
    table = check_table(stage.name, result.table)
    if stage.needs:
        before = work.table(stage.needs[0])
        same_items(stage.name, table, stage.needs[0], before)
    if plan.fingerprint(stage) != decided:
        raise IntegrityError(f"A file that stage {stage.name} reads changed while it ran. Run again.")
    done = work.finish(stage.name, decided, table, result.report, died=len(context.died))
    one.action, one.rows, one.kept, one.report = "ran", done.rows, done.kept, result.report
    one.worked, one.reused, one.failures, one.died = context.worked, context.reused, context.failures, done.died
    one.seconds = round(time.perf_counter() - begun, 3)


def _write_summary(recipe: Recipe, work: Work, plan: _Plan) -> None:
    """`candidates.parquet`, `report.json` and `report.md` of the stages that are done, from the first on."""
    tables: dict[str, pa.Table] = {}
    for stage in recipe.stages:
        if plan.why_run(stage) is not None:
            break
        tables[stage.name] = work.table(stage.name)
    if not tables:
        return
    rows = candidates(tables)
    count_check(tables, rows)
    facts = summary(
        tables,
        rows,
        {name: work.report(name) for name in tables},
        died={name: done.died for name in tables if (done := work.done(name)) is not None},
        name=recipe.release.name,
        version=recipe.release.version,
    )
    write_atomic(work.folder / "candidates.parquet", table_bytes(rows))
    write_atomic(work.folder / "report.json", json_bytes(facts))
    write_atomic(work.folder / "report.md", summary_text(facts).encode())
