"""docs/paper-run.md: the committed figures show what they must, and a command's cost holds all that it started."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import benchmarks_support as support
import pytest

pages = support.load("paper_page")


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads((support.ROOT / "docs" / "paper-run.json").read_bytes())


def test_the_committed_page_is_that_of_the_committed_figures(committed: Any) -> None:
    assert (support.ROOT / "docs" / "paper-run.md").read_text(encoding="utf-8") == pages.page(committed)


def test_three_runs_made_one_release(committed: Any) -> None:
    steps = committed["steps"]
    assert committed["scale"] == "paper"
    assert steps["make"]["videos"] == 5607
    hashes = {steps[name]["manifest_sha256"] for name in ("pool", "ray", "killed")}
    assert len(hashes) == 1
    assert steps["train"]["manifest_sha256"] in hashes
    assert all((steps[name]["videos"], steps[name]["unsafe"]) == (2112, 937) for name in ("pool", "ray", "killed"))
    assert steps["compare"]["exact"]["same_counts"]
    assert steps["compare"]["exact"]["same_videos"]


def test_every_kill_hit_an_unfinished_stage(committed: Any) -> None:
    kills = committed["steps"]["killed"]["kills"]
    assert len({one["stage"] for one in kills}) >= 4
    for one in kills:
        assert one["returncode"] == -9
        assert one["stage_done"] is False
    for one in committed["steps"]["journals"].values():
        assert one["answers"] == one["different"] > 0


def test_its_user_can_check_load_and_train(committed: Any) -> None:
    steps = committed["steps"]
    for name in ("check", "verify"):
        assert steps[name]["ok"]
        assert steps[name]["decoded"] == 2112
    rows = steps["load"]["rows"]
    assert sum(rows["unsafe"].values()) == 937
    assert sum(rows["reviewed"].values()) == sum(rows["metadata"].values()) == 2112
    assert sum(rows["annotations"].values()) == steps["check"]["annotations"]
    assert {row["name"] for row in steps["train"]["rows"]} >= {"distorted_weird", "terrifying", "macro"}


def test_a_page_tells_of_releases_that_differ(committed: Any) -> None:
    other = json.loads(json.dumps(committed))
    other["steps"]["ray"]["manifest_sha256"] = "0" * 64
    assert "**The manifests differ**" in pages.page(other)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and adopts orphans")


@LINUX
def test_a_cost_holds_what_outlives_its_parent() -> None:
    """Measured in a process of its own: it waits for all of its children."""
    code = """
        import sys
        sys.path.append(sys.argv[1])
        from process_cost import measured
        BURN = "import time\\nx = bytearray(50_000_000)\\nwhile time.process_time() < 0.5: pass"
        ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN!r}])"
        cost = measured([sys.executable, "-c", ORPHAN])
        assert cost.returncode == 0, cost.errors
        assert cost.cpu_seconds >= 0.5, cost
        assert cost.peak_bytes > 50_000_000, cost
        killed = measured([sys.executable, "-c", "import time; time.sleep(60)"], watch=lambda process: process.kill())
        assert killed.returncode == -9
    """
    call = [sys.executable, "-c", textwrap.dedent(code), support.ROOT / "benchmarks"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@LINUX
def test_a_small_twin_goes_all_the_way(tmp_path: Path) -> None:
    for name in ("av", "faiss", "sklearn", "ray", "torch"):
        pytest.importorskip(name)
    script, page = support.ROOT / "benchmarks" / "paper.py", tmp_path / "page.md"
    words = [tmp_path / "out", "--scale", "60", "--epochs", "1", "--page", page]
    for _ in range(2):  # the second time nothing is left to do
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    result = json.loads(page.with_suffix(".json").read_bytes())
    assert page.read_text(encoding="utf-8") == pages.page(result)
    assert len({result["steps"][name]["manifest_sha256"] for name in ("pool", "ray", "killed")}) == 1
