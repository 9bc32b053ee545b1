"""Ray Data: the same bytes as the process pool, dead workers, a lost node, resume. A cluster of two nodes on loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pipeline_support as support
import pytest

from unsafe_video_dataset.builders.pipeline.pool import DIED
from unsafe_video_dataset.builders.pipeline.ray_nodes import Alone
from unsafe_video_dataset.builders.pipeline.stage import Failure
from unsafe_video_dataset.errors import InputError, MissingDependency

HERE = str(Path(__file__).parent)


def test_without_ray_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from unsafe_video_dataset.builders.pipeline.engine import open_engine\n"
        "open_engine('ray')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"{MissingDependency.__name__}: --engine ray needs Ray: pip install 'unsafe-video-dataset[ray]'" in done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Any], Path]]:
    """A head that computes nothing, two nodes of one core each, in processes of their own, and the log of their calls."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    log = tmp_path_factory.mktemp("cluster") / "log"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": HERE, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        patch.setenv(support.LOG, str(log))  # workers have the environment of their node
        patch.setenv("PIPELINE_TEST_SLEEP", "0.3")
        store = {"object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
        nodes = [made.add_node(num_cpus=1, **store) for _ in range(2)]
        made.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", made.address)
        patch.delenv(support.LOG)
        patch.delenv("PIPELINE_TEST_SLEEP")
        yield made, nodes, log
        made.shutdown()


@pytest.mark.slow
def test_answers_errors_and_deaths_come_back_as_values(cluster: Any) -> None:
    from unsafe_video_dataset.builders.pipeline.engine_ray import RayData

    tasks = [(f"i{n}", ("work", n)) for n in range(40)]
    tasks[3], tasks[7], tasks[30] = ("i3", ("raise", 3)), ("i7", ("exit", 7)), ("i30", ("segfault", 30))
    with RayData() as ray:
        answers = dict(ray.map(support.moody, tasks))
        assert len(answers) == 40
        assert answers.pop("i3") == Failure("ValueError: no answer to 3 in secret.txt")
        assert [answers.pop("i7"), answers.pop("i30")] == [Failure(DIED)] * 2
        assert answers == {name: {"twice": 2 * number} for name, (_, number) in tasks if name in answers}
        assert list(ray.map(support.double, [])) == []


@pytest.mark.slow
def test_a_killed_driver_goes_on_and_a_lost_node_changes_no_byte(cluster: Any, tmp_path: Path) -> None:
    number = 160  # answers come in bursts where the machine is busy: some must be left to do
    whole = support.make_recipe(tmp_path / "whole", number=number)
    (whole.parent / "raw" / "bad.mp4").write_bytes(b"no video")
    support.run(whole)  # the process pool
    recipe = support.make_recipe(tmp_path / "ray", number=number)
    (recipe.parent / "raw" / "bad.mp4").write_bytes(b"no video")

    made, nodes, log = cluster
    first = support.start(recipe, log, engine="ray")
    kept = support.kill_after(first, recipe, 16, timeout=180)  # at least one task's answers
    assert 16 <= kept < number
    time.sleep(1)  # Ray ends what still runs for a driver that is gone
    log.unlink()

    second = support.start(recipe, log, engine="ray")
    killer = threading.Thread(target=_lose, args=(made, nodes[1], log))
    killer.start()
    out, error = second.communicate(timeout=300)
    killer.join()
    assert second.returncode == 0, error[-3000:]
    assert support.table_files(recipe) == support.table_files(whole)
    assert out.splitlines()[-1].split() == [str(number + 1 - kept), str(kept)]
    # What was decoded and not counted as worked out was lost with the node: its task, and what it had not handed over.
    assert support.calls(log) <= number + 1 - kept + 32


def _lose(cluster: Any, node: Any, log: Path) -> None:
    """Kill a node, hard, while both are at work."""
    end = time.monotonic() + 180
    while support.calls(log) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.slow
def test_a_node_that_does_not_see_the_raw_files_stops_the_run(cluster: Any, tmp_path: Path) -> None:
    from unsafe_video_dataset.builders.pipeline import engine_ray
    from unsafe_video_dataset.builders.pipeline.engine_ray import RayData

    with RayData(folders=[tmp_path / "none"]) as ray, pytest.raises(InputError, match=r"does not see .*none, a folder of raw"):
        list(ray.map(support.double, [("a", 1)]))
    with pytest.MonkeyPatch.context() as patch, RayData(folders=[tmp_path / "none"]) as ray:
        patch.setattr(engine_ray, "look_at_nodes", lambda *_: None)  # a node that joins after they were looked at
        with pytest.raises(InputError, match="A node can't reach the raw files: FileNotFoundError"):
            list(ray.map(support.double, [(str(n), n) for n in range(20)]))
    with RayData(folders=[tmp_path]) as ray:
        assert list(ray.map(support.double, [("a", 1)])) == [("a", {"twice": 2})]


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "unsafe_video_dataset":
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.slow
def test_a_node_without_the_package_stops_the_run(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    (tmp_path / "driver.py").write_text(DRIVER.format(path=HERE, block=str(tmp_path)))
    done = subprocess.run([sys.executable, str(tmp_path / "driver.py")], capture_output=True, text=True, timeout=180)
    first, second = done.stdout.splitlines()[-2:]
    assert first.startswith("MissingDependency: Node "), done.stderr[-2000:]
    assert " can't work: ModuleNotFoundError: No module named 'unsafe_video_dataset" in first
    assert second.startswith("MissingDependency: A node can't run the tasks of this stage: ")
    assert "No module named 'unsafe_video_dataset'" in second


DRIVER = """
import os, sys
os.environ |= {{"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": {block!r}}}
from ray.cluster_utils import Cluster
node = {{"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.wait_for_nodes()
sys.path.insert(0, {path!r})
from unsafe_video_dataset.builders.pipeline import engine_ray
from unsafe_video_dataset.errors import MissingDependency
import pipeline_workers
look = engine_ray.look_at_nodes
for one in (look, lambda *_: None):  # the second as if the node had joined later
    engine_ray.look_at_nodes = one
    try:
        with engine_ray.RayData(cluster.address) as ray:
            print(dict(ray.map(pipeline_workers.double, [("a", 1), ("b", 2)])))
    except MissingDependency as error:
        print(f"{{type(error).__name__}}: {{error}}", flush=True)
cluster.shutdown()
"""


class Scripted:
    """Stands in for Ray: `get` raises what stands in the script, one after the other, then runs the task."""

    def __init__(self, *script: Exception) -> None:
        self.exceptions = pytest.importorskip("ray").exceptions
        self.script, self.asked = list(script), 0

    def remote(self, function: Any) -> Any:
        return Call(function)

    def get(self, call: Any) -> Any:
        self.asked += 1
        if self.script:
            raise self.script.pop(0)
        return call()


class Call:
    def __init__(self, function: Any) -> None:
        self.function = function

    def options(self, **_: Any) -> Call:
        return self

    def remote(self, *arguments: Any) -> Any:
        return lambda: self.function(*arguments)


def _echo(row: dict[str, Any]) -> dict[str, Any]:
    return {"item": row["item"], "answer": row["argument"]}


def test_an_item_whose_worker_dies_is_tried_again_and_then_to_blame() -> None:
    errors = pytest.importorskip("ray").exceptions
    died = [errors.WorkerCrashedError() for _ in range(3)]
    ray = Scripted(*died[:2])
    assert list(Alone(ray, _echo).map([("a", 1), ("b", 2)])) == [("a", 1), ("b", 2)]
    ray = Scripted(*died)
    assert list(Alone(ray, _echo, ahead=1).map([("a", 1), ("b", 2)])) == [("a", Failure(DIED)), ("b", 2)]


def test_where_nothing_lives_no_item_is_to_blame() -> None:
    errors = pytest.importorskip("ray").exceptions
    ray = Scripted(*(errors.OutOfMemoryError("killed") for _ in range(4)))
    with pytest.raises(InputError, match="No worker of the Ray cluster lives long enough"):
        list(Alone(ray, _echo).map([("a", 1), ("b", 2)]))


@pytest.mark.slow
def test_an_address_without_a_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from unsafe_video_dataset.builders.pipeline.engine_ray import RayData

    with pytest.raises(InputError, match=r"No Ray cluster at 127\.0\.0\.1:1 .*Start a cluster"):
        RayData("127.0.0.1:1")
