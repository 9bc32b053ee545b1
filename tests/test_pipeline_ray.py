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
def test_an_address_without_a_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from unsafe_video_dataset.builders.pipeline.engine_ray import RayData

    with pytest.raises(InputError, match=r"No Ray cluster at 127\.0\.0\.1:1 .*Start a cluster"):
        RayData("127.0.0.1:1")
