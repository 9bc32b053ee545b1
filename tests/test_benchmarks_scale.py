"""The plan of docs/scale.md: known laws of growth are found again, and the page is a function of the committed figures."""

from __future__ import annotations

import inspect
import json
import math
import sys
from typing import Any

import benchmarks_support as support
import pytest

fit, plans, pages = support.load("scale_fit"), support.load("scale_plan"), support.load("scale_page")
SIZES = (700, 1400, 2800, 5600)


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads((support.ROOT / "docs" / "scale.json").read_bytes())


def figures(**changes: float) -> dict[str, Any]:
    """Stages whose costs follow known laws: 10 ms of CPU and 40 kB a video each, unless changed; cores that are squares."""
    stages = []
    for n in SIZES:
        for stage in ("ingest", "probe", "quality", "dedup", "cluster", "votes", "split", "write"):
            rows = n if stage in ("ingest", "probe") else n // 2
            cost = {"cpu_seconds": 2 + changes.get(stage, 0.01) * rows, "peak_bytes": 1e8 + 4e4 * n, "disk_bytes": 1e3 * rows}
            stages.append({"videos": n, "stage": stage, "rows": rows, "load": 1.0, **cost})
    cores = [
        {"core": name, "n": n, "cpu_seconds": 1e-8 * n * n, "grown_bytes": 100 * n}
        for name in support.load("scale_cores").CORES
        for n in (10_000, 20_000, 40_000)
    ]
    sheets = [{**row, "cpu_seconds": row["cpu_seconds"] + 3} for row in stages[-8:] if row["stage"] in ("quality", "dedup")]
    return {
        "target": 10_000_000,
        "workers": 2,
        "machine": "a machine",
        "stages": stages,
        "cores": cores,
        "sheets": sheets,
        "hashes_a_row": 16.0,
    }


def test_a_line_is_found_again_though_one_size_was_spoiled() -> None:
    values = [2 + 0.01 * n for n in SIZES]
    found = fit.line(SIZES, values)
    assert (found.fixed, found.slope) == pytest.approx((2, 0.01))
    assert found.at(1_000_000) == pytest.approx(10_002)
    assert found.reaches(10_002) == pytest.approx(1_000_000)
    sizes, values = [*SIZES, 11_200], [*values, 2 + 0.01 * 11_200]
    values[1] *= 3
    spoiled = fit.line(sizes, values)
    assert spoiled.slope == pytest.approx(0.01)
    assert spoiled.fixed == pytest.approx(2)


def test_what_does_not_grow_has_no_limit() -> None:
    for values in ([3.0] * 4, [5.0, 4.0, 3.0, 2.0]):
        found = fit.line(SIZES, values)
        assert found.slope == 0
        assert found.reaches(1e9) == math.inf
    with pytest.raises(ValueError, match="two sizes"):
        fit.line([5, 5], [1.0, 2.0])


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_a_power_is_found_again(power: float) -> None:
    sizes = (100, 1_000, 10_000, 20_000, 40_000)
    found = fit.power(sizes, [1e-6 * n**power for n in sizes], least=1e-12)
    assert found.power == pytest.approx(power)
    assert found.at(1e6) == pytest.approx(1e-6 * 1e6**power)
    assert found.reaches(found.at(1e6)) == pytest.approx(1e6)
    with pytest.raises(ValueError, match="at least"):
        fit.power(sizes, [0.0] * 5, least=0.02)


def test_what_is_linear_in_its_rows_stays_linear() -> None:
    """A stage that gets a part of the raw videos is fitted against that part, and no power is read into it."""
    write = next(one for one in plans.plan(figures(write=0.004), 10_000_000) if one.stage == "write")
    assert write.rows == 5_000_000
    assert write.cpu_seconds == pytest.approx(2 + 0.004 * 5e6)
    assert write.hours == pytest.approx(write.cpu_seconds / 3600)
    assert [part.power for part in write.parts] == [1.0]


def test_machines_are_what_time_or_memory_asks_for_whichever_is_more() -> None:
    by_memory = next(one for one in plans.plan(figures(), 10_000_000) if one.stage == "probe")
    assert by_memory.machines == math.ceil((1e8 + 4e4 * 1e7) / plans.MACHINE_BYTES) == 6
    assert by_memory.hours == pytest.approx((2 + 1e5) / 6 / 16 / 3600)
    by_time = next(one for one in plans.plan(figures(probe=10.0), 10_000_000) if one.stage == "probe")
    assert by_time.machines == math.ceil(1e8 / 16 / 86_400) == 73
    assert by_memory.fits == pytest.approx((plans.MACHINE_BYTES - 1e8) / 4e4, rel=1e-6)
    alone = next(one for one in plans.plan(figures(), 10_000_000) if one.stage == "votes")
    assert alone.machines == 1
    assert alone.memory > plans.MACHINE_BYTES


def test_cores_are_added_with_their_own_power() -> None:
    found = {one.stage: one for one in plans.plan(figures(), 10_000_000)}
    search = next(part for part in found["dedup"].parts if part.name == "search_all")
    assert search.of == 5e6 * 16
    assert search.power == pytest.approx(2)
    assert search.cpu_seconds == pytest.approx(1e-8 * (8e7) ** 2)
    assert next(part for part in found["cluster"].parts if part.name == "hdbscan").cpu_seconds == pytest.approx(2.5e5)
    videos, stage, what = plans.breaks_first(list(found.values()))[0]
    assert (stage, what) == ("dedup", "a day")
    assert plans.Laws(figures()).wall("dedup", videos) == pytest.approx(86_400, rel=1e-6)
    assert found["dedup"].hours == pytest.approx((found["dedup"].cpu_seconds - search.cpu_seconds * 15 / 16) / 3600)


def test_the_page_says_what_does_not_fit() -> None:
    text = pages.page(figures())
    assert text == pages.page(figures())
    assert "10,000,000 videos do not fit in 64 GiB" in text
    assert "| probe | 10,000,000 |" in text
    assert "1 of 512 GiB" in text
    assert "not known" not in text
    assert "3.0 s to quality, 3.0 s to dedup" in text


def test_the_committed_page_is_that_of_the_committed_figures(committed: Any) -> None:
    assert (support.ROOT / "docs" / "scale.md").read_text(encoding="utf-8") == pages.page(committed)


def test_the_committed_figures_are_of_every_stage_and_core(committed: Any) -> None:
    stages = {row["stage"] for row in committed["stages"]}
    assert stages == {"ingest", "probe", "quality", "dedup", "cluster", "votes", "split", "write"}
    for stage in stages:
        assert len({row["videos"] for row in committed["stages"] if row["stage"] == stage}) >= 4
    laws = plans.Laws(committed)
    assert set(laws.cores) == set(support.load("scale_cores").CORES)
    assert all(lines["cpu"].slope > 0 and lines["memory"].slope > 0 for lines in laws.stages.values())
    sizes = {core: [row["n"] for row in committed["cores"] if row["core"] == core] for core in laws.cores}
    assert max(sizes["search_all"]) >= 300_000
    assert max(sizes["search_buckets"]) >= 100_000


def test_every_pair_is_compared_because_that_is_quicker(committed: Any) -> None:
    seconds = {(row["core"], row["n"]): row["cpu_seconds"] for row in committed["cores"]}
    sizes = [n for core, n in seconds if core == "search_buckets" and ("search_all", n) in seconds]
    assert len(sizes) >= 3
    assert all(seconds["search_all", n] < seconds["search_buckets", n] for n in sizes)
    assert inspect.signature(support.load("scale_cores").near_pairs).parameters["exhaustive"].default is True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_core_can_be_measured() -> None:
    pytest.importorskip("faiss")
    pytest.importorskip("sklearn")
    cores = support.load("scale_cores")
    for name in cores.CORES:
        found = cores._measure(name, 200)
        assert (found["core"], found["n"]) == (name, 200)
        assert found["cpu_seconds"] >= 0
