"""Runs: what is done is skipped, what changed runs, what was killed goes on with the same bytes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pipeline_support as support
import pyarrow as pa
import pytest
from builders_support import tiny
from pipeline_support import Half, Made, run, table_files

from unsafe_video_dataset.builders.pipeline.run import run_recipe
from unsafe_video_dataset.builders.pipeline.stage import Failure, Stage, StageResult
from unsafe_video_dataset.builders.stages.ingest import Ingest
from unsafe_video_dataset.errors import FilterError, InputError, IntegrityError, MissingDependency


class Here:
    """An executor in this process that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def map(self, function: Any, items: Any) -> Any:
        for item, argument in reversed(items):  # the order of answers must mean nothing
            self.asked.append(item)
            yield item, function(argument)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return support.make_recipe(tmp_path / "base", number=0)


def quick(recipe: Path, stages: list[Stage] | None = None, **options: Any) -> tuple[dict[str, str], int]:
    """Stage -> action, and how many items were asked for."""
    here = Here()
    report = run(recipe, support.QUICK if stages is None else stages, executor=here, **options)
    return {one.stage: one.action for one in report.stages}, len(here.asked)


def test_a_finished_stage_is_skipped_until_something_that_decides_it_changes(recipe: Path) -> None:
    assert quick(recipe) == ({"ingest": "ran", "half": "ran"}, 10)
    files = table_files(recipe)
    assert quick(recipe) == ({"ingest": "skipped", "half": "skipped"}, 0)
    assert table_files(recipe) == files
    base = recipe.parent
    (base / "half.txt").write_text("a file that the stage reads")  # the answers stay, the stage runs
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 0)
    (base / "half.txt").write_text("another text")
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 0)
    recipe.write_text(support.RECIPE + "[half]\nmodulo = 3\n")
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 10)
    assert quick(recipe, [Made(), Half(version=2)]) == ({"ingest": "skipped", "half": "ran"}, 10)
    assert quick(recipe, [Made(11), Half(version=2)]) == ({"ingest": "skipped", "half": "skipped"}, 0)
    assert quick(recipe, [Made(11, version=2), Half(version=2)]) == ({"ingest": "ran", "half": "ran"}, 1)
    recipe.write_text(support.RECIPE)
    assert quick(recipe, [Made(10), Half()]) == ({"ingest": "ran", "half": "ran"}, 0)  # all answers were there before
    (base / "half.txt").unlink()
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 0)
    assert table_files(recipe) == files


def test_a_folder_that_was_moved_is_still_done(recipe: Path) -> None:
    quick(recipe)
    moved = recipe.parent.parent / "moved"
    recipe.parent.rename(moved)
    assert quick(moved / recipe.name) == ({"ingest": "skipped", "half": "skipped"}, 0)
    files = table_files(moved / recipe.name)
    assert not [name for name, data in files.items() if str(moved.parent).encode() in data]


def test_from_does_all_anew_what_is_remembered_included(recipe: Path) -> None:
    quick(recipe)
    assert quick(recipe, start="half") == ({"ingest": "skipped", "half": "ran"}, 10)
    assert quick(recipe, start="ingest") == ({"ingest": "ran", "half": "ran"}, 10)
    with pytest.raises(FilterError, match="ingest, half"):
        quick(recipe, start="hlaf")


def test_only_runs_one_stage_and_refuses_without_what_it_needs(recipe: Path) -> None:
    with pytest.raises(InputError, match=r"Stage half needs ingest, which is not done \(has not run yet\).*--only ingest"):
        quick(recipe, only="half")
    assert quick(recipe, only="ingest") == ({"ingest": "ran", "half": "left out"}, 0)
    assert quick(recipe, only="half") == ({"ingest": "left out", "half": "ran"}, 10)
    assert quick(recipe, only="half") == ({"ingest": "left out", "half": "skipped"}, 0)
    assert quick(recipe, only="half", start="half") == ({"ingest": "left out", "half": "ran"}, 10)
    with pytest.raises(InputError, match="its settings, files, version"):
        quick(recipe, [Made(version=2), Half()], only="half")
    with pytest.raises(InputError, match="give one of them"):
        quick(recipe, only="half", start="ingest")


def test_a_dry_run_says_what_would_run_and_writes_nothing(recipe: Path) -> None:
    def foretold(**options: Any) -> dict[str, tuple[str, str]]:
        report = run(recipe, support.QUICK, dry_run=True, **options)
        return {one.stage: (one.action, one.why) for one in report.stages}

    assert {name: action for name, (action, _) in foretold().items()} == {"ingest": "would run", "half": "would run"}
    assert not (recipe.parent / "work").exists()
    quick(recipe)
    files = table_files(recipe)
    assert {name: action for name, (action, _) in foretold().items()} == {"ingest": "would skip", "half": "would skip"} or (
        foretold()["ingest"][0] == "skipped"
    )
    assert foretold(start="half")["half"] == ("would run", "forced by --from")
    assert foretold(start="ingest")["half"][0] == "would run"
    assert table_files(recipe) == files
    assert quick(recipe) == ({"ingest": "skipped", "half": "skipped"}, 0)


def test_a_stage_that_raises_is_not_done_and_the_next_run_goes_on(recipe: Path) -> None:
    recipe.write_text(support.RECIPE + "[half]\nfail = true\n")
    with pytest.raises(RuntimeError, match="this stage is broken"):
        quick(recipe)
    assert not (recipe.parent / "work" / "half" / "done.json").exists()
    recipe.write_text(support.RECIPE)
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 10)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda table: table.slice(1), "1 lost"),
        (lambda table: pa.concat_tables([table, table]), "an item stands twice"),
        (lambda table: table.drop_columns(["reason"]), "first columns"),
    ],
)
def test_a_stage_that_loses_items_stops_the_run(edit: Any, why: str, recipe: Path) -> None:
    with pytest.raises(IntegrityError, match=why):
        quick(recipe, [Made(), Half(edit=edit)])


def test_a_stage_that_loses_items_is_not_done_and_nothing_runs_after_it(recipe: Path) -> None:
    with pytest.raises(IntegrityError, match="Stage half has not the items that ingest kept: 1 lost"):
        quick(recipe, [Made(), Half(edit=lambda table: table.slice(1)), Half(name="after", needs=("half",))])
    assert not [name for name in ("half/done.json", "after") if (recipe.parent / "work" / name).exists()]


def test_a_table_that_was_touched_is_made_again(recipe: Path) -> None:
    quick(recipe)
    files = table_files(recipe)
    path = recipe.parent / "work" / "half" / "table.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    assert run(recipe, support.QUICK, dry_run=True).stage("half").why == "its table is gone, or not the one that it made"
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 0)
    assert table_files(recipe) == files


@dataclasses.dataclass(frozen=True)
class Greedy(Half):
    """Reads what it does not need, gives an id twice, or changes its own file."""

    fault: str = ""

    def run(self, context: Any) -> StageResult:
        if self.fault == "reads":
            context.table("half")
        if self.fault == "twice":
            context.map(support.double, [("a", 1), ("a", 2)], what="x")
        if self.fault == "changes":
            (context.base / "half.txt").write_text("changed")
        return super().run(context)


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        ("reads", IntegrityError, "which is not in its `needs`"),
        ("twice", ValueError, "an id twice"),
        ("changes", IntegrityError, "changed while it ran"),
    ],
)
def test_a_stage_that_breaks_the_contract_is_told(fault: str, kind: type[Exception], why: str, recipe: Path) -> None:
    with pytest.raises(kind, match=why):
        quick(recipe, [Made(), Greedy(fault=fault)])


@dataclasses.dataclass(frozen=True)
class Writer(Half):
    def outputs(self, settings: Any, base: Path) -> list[Path]:
        return [base / "made.txt"]

    def run(self, context: Any) -> StageResult:
        (context.base / "made.txt").write_text("made")
        return super().run(context)


def test_a_stage_whose_output_is_gone_runs_again(recipe: Path) -> None:
    stages: list[Stage] = [Made(), Writer()]
    quick(recipe, stages)
    assert quick(recipe, stages) == ({"ingest": "skipped", "half": "skipped"}, 0)
    (recipe.parent / "made.txt").unlink()
    report = run(recipe, stages, executor=Here())
    assert (report.stage("half").action, report.stage("half").why) == ("ran", "made.txt is not there")


class Failing(Here):
    """Gives `Failure`s in place of answers."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error

    def map(self, function: Any, items: Any) -> Any:
        for item, _ in items:
            yield item, Failure(self.error)


def test_workers_that_can_not_work_drop_no_video(recipe: Path) -> None:
    with pytest.raises(MissingDependency, match=r"workers of stage half can't work.*No module named 'av'"):
        run(recipe, support.QUICK, executor=Failing("ModuleNotFoundError: No module named 'av'"))
    assert quick(recipe) == ({"ingest": "skipped", "half": "ran"}, 10)


def test_flags_are_checked(recipe: Path) -> None:
    with pytest.raises(FilterError, match="workers=0"):
        run_recipe(recipe, workers=0, stages=support.QUICK)
    with pytest.raises(FilterError, match="process, ray"):
        run_recipe(recipe, engine="dask", stages=support.QUICK)


def test_the_report_is_json(recipe: Path) -> None:
    report = run(recipe, support.QUICK, executor=Here())
    assert json.loads(json.dumps(report.to_dict()))["stages"][1]["report"] == {"doubled": 10}
    with pytest.raises(KeyError):
        report.stage("nope")
    assert (recipe.parent / "work" / "half" / "files" / "sheet.txt").read_text() == "to look at"


def test_an_answer_for_an_item_is_not_used_for_other_bytes_under_its_name(tmp_path: Path) -> None:
    """`Half` maps over items and gives numbers as arguments, not the sha256 of the files."""
    recipe = support.make_recipe(tmp_path / "base", number=4)
    stages: list[Stage] = [Ingest(), Half()]
    assert run(recipe, stages, executor=Here()).stage("half").worked == 4
    (recipe.parent / "raw" / "0002.mp4").write_bytes(tiny(9))
    one = run(recipe, stages, executor=Here()).stage("half")
    assert (one.worked, one.reused) == (1, 3)


# -- real videos, real processes


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A recipe of 6 videos that has run without a stop."""
    recipe = support.make_recipe(tmp_path / "whole")
    run(recipe)
    return recipe


def test_killed_and_gone_on_gives_the_same_bytes_and_decodes_nothing_twice(done: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "killed" / "recipe.toml"
    shutil.copytree(done.parent / "raw", recipe.parent / "raw")
    shutil.copy(done, recipe)
    log = tmp_path / "log"
    process = support.start(recipe, log, sleep=0.3)
    kept = support.kill_after(process, recipe, 2)
    assert 2 <= kept < 6
    before = support.calls(log)
    second = support.start(recipe, log)
    out, error = second.communicate(timeout=120)
    assert second.returncode == 0, error
    assert table_files(recipe) == table_files(done)
    assert out.split() == [str(6 - kept), str(kept)]
    assert support.calls(log) == before + 6 - kept
    if Path("/proc").is_dir():
        assert support.wait_for_none_in(process.pid) == []


def test_two_runs_at_once_refuse_each_other(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=3)
    log = tmp_path / "log"
    first = support.start(recipe, log, sleep=1)
    while not support.calls(log) and first.poll() is None:
        pass
    with pytest.raises(InputError, match="Another run works in"):
        run(recipe)
    _, error = first.communicate(timeout=120)
    assert first.returncode == 0, error
    assert run(recipe).stage("probe").action == "skipped"


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {path!r})
if __name__ == "__main__":
    import pipeline_support
    from unsafe_video_dataset.errors import StorageError
    from test_pipeline_run import Here
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    try:
        pipeline_support.run(Path(sys.argv[1]), [pipeline_support.Made(200), pipeline_support.Half()], executor=Here())
    except StorageError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_disk_that_is_full_stops_the_run_and_the_next_goes_on(recipe: Path) -> None:
    code = FULL_DISK.format(path=str(Path(__file__).parent), limit=6000)
    full = subprocess.run([sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, timeout=60)
    assert "journal can't be written" in full.stdout, full.stderr
    assert "Make room" in full.stdout
    stages: list[Stage] = [Made(200), Half()]
    actions, asked = quick(recipe, stages)
    assert actions == {"ingest": "skipped", "half": "ran"}
    assert 0 < asked < 150  # what was written before the disk was full is used
    files = table_files(recipe)
    quick(recipe, stages, start="ingest")
    assert table_files(recipe) == files
