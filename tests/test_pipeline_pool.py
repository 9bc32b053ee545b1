"""The process pool: errors as values, dead workers, no orphans. Real processes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pipeline_support as support
import pytest

from unsafe_video_dataset.builders.pipeline.engine import open_engine
from unsafe_video_dataset.builders.pipeline.pool import DIED, ProcessPool, failure
from unsafe_video_dataset.builders.pipeline.stage import Failure
from unsafe_video_dataset.errors import FilterError, InputError

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")


def test_answers_errors_and_deaths_come_back_as_values() -> None:
    tasks = [(f"i{n}", ("work", n)) for n in range(30)]
    tasks[3] = ("i3", ("raise", 3))
    tasks[7], tasks[20] = ("i7", ("exit", 7)), ("i20", ("segfault", 20))
    tasks[25], tasks[26] = ("i25", ("sys.exit", 25)), ("i26", ("unpicklable", 26))
    with ProcessPool(2) as pool:
        answers = dict(pool.map(support.moody, tasks))
        assert len(answers) == 30
        assert answers.pop("i3") == Failure("ValueError: no answer to 3 in secret.txt")
        assert [answers.pop(name) for name in ("i7", "i20")] == [Failure(DIED)] * 2
        assert answers.pop("i25") == Failure("SystemExit: 1")
        unpicklable = answers.pop("i26")
        assert isinstance(unpicklable, Failure)
        assert "pickle" in unpicklable.error
        assert answers == {name: {"twice": 2 * number} for name, (_, number) in tasks if name in answers}
        assert list(pool.map(support.double, [("again", 4)])) == [("again", {"twice": 8})]
        assert list(pool.map(support.double, [])) == []


def test_a_second_death_by_chance_is_no_end_and_no_life_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [("a", ("work", 1)), ("b", ("exit", 2))]
    one = ProcessPool._one
    lives = iter([False, True])

    def unlucky(pool: ProcessPool, function: Any, *arguments: Any) -> Any:
        """As if the process that proves the machine sound was killed once, too."""
        return one(pool, function, *arguments) if arguments or next(lives) else None

    monkeypatch.setattr(ProcessPool, "_one", unlucky)
    with ProcessPool(2) as pool:
        assert dict(pool.map(support.moody, tasks)) == {"a": {"twice": 2}, "b": Failure(DIED)}
        lives = iter([False] * 3)
        with pytest.raises(InputError, match="die at once"):
            list(pool.map(support.moody, tasks))


def test_a_function_that_does_not_pickle_is_the_callers_error() -> None:
    with ProcessPool(1) as pool, pytest.raises((pickle.PicklingError, AttributeError)):
        list(pool.map(lambda n: {"n": n}, [("a", 1)]))


def test_names_and_numbers_are_checked() -> None:
    with pytest.raises(FilterError, match="process, ray"):
        open_engine("dask")
    with pytest.raises(FilterError, match="at least 1"):
        ProcessPool(0)


def test_a_failure_is_one_line_without_paths() -> None:
    assert failure(FileNotFoundError(2, "No such file or directory", "/secret/place")).error.endswith(
        "No such file or directory"
    )
    assert failure(ValueError("\n\nfirst /a/b/c.txt line\nsecond")) == Failure("ValueError: first c.txt line")
    assert failure(KeyError()) == Failure("KeyError")
    assert "\x1b" not in failure(ValueError("\x1b[31m")).error
    assert len(failure(ValueError("x" * 1000)).error) == 300


SLEEPY = """
import sys
sys.path.insert(0, {path!r})
if __name__ == "__main__":
    import pipeline_workers
    from unsafe_video_dataset.builders.pipeline.pool import ProcessPool
    with ProcessPool(2) as pool:
        for item, _ in pool.map(pipeline_workers.moody, [("a", ("work", 1))] + [(str(n), ("sleep", n)) for n in range(9)]):
            print("ready", flush=True)
"""


def _sleepy(folder: Path) -> subprocess.Popen[str]:
    script = folder / "sleepy.py"
    script.write_text(SLEEPY.format(path=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@LINUX
@pytest.mark.parametrize("how", ["ctrl-c", "kill -9", "terminate"])
def test_no_process_is_left_when_the_driver_ends(how: str, tmp_path: Path) -> None:
    process = _sleepy(tmp_path)
    assert len(support.alive_in(process.pid)) >= 3  # the driver, two workers
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    else:
        process.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert support.wait_for_none_in(process.pid) == []


@LINUX
def test_workers_end_when_the_rest_is_not_wanted() -> None:
    with ProcessPool(2) as pool:
        answers = pool.map(support.moody, [("a", ("work", 1)), *((str(n), ("sleep", n)) for n in range(8))])
        assert next(answers) == ("a", {"twice": 2})
        begun = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        assert list(pool.map(support.double, [("b", 2)])) == [("b", {"twice": 4})]
        assert time.monotonic() - begun < 30
