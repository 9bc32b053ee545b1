"""docs/protocol.md holds what its generator writes, and the intervals cover what the page says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="not a checkout")


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("protocol_page", ROOT / "benchmarks" / "protocol.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["protocol_page"] = module
    spec.loader.exec_module(module)
    return module


def between(page: str, name: str) -> str:
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def covered(page: str) -> list[tuple[str, str, str, float]]:
    """(videos, bootstrap over, metric, share of intervals that hold) of the page's table."""
    rows = [line.strip("| ").split(" | ") for line in between(page, "coverage").splitlines()[2:]]
    return [(row[0], row[2], row[3], float(row[6].split("%")[0]) / 100) for row in rows]


def test_the_examples_are_what_the_generator_writes(generator: Any) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert between(page, "example") == generator.example()
    assert between(page, "leaderboard") == generator.board()


def test_the_page_says_what_its_table_says(generator: Any) -> None:
    rows = covered(generator.PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 15
    for videos, over, metric, share in rows:
        if over == "videos (wrong)":
            assert share < 0.85 or metric not in ("AP", "AUROC")
        elif videos == "20":
            assert 0.75 <= share <= 1
        else:
            assert 0.88 <= share <= 0.99, (videos, over, metric)


def test_the_population_is_right(generator: Any) -> None:
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    label, score, _ = generator.draw(generator.Case(200_000, 0.3), 1)
    truth = generator.population(0.3)
    assert average_precision_score(label, score) == pytest.approx(truth["ap"], abs=0.01)
    assert roc_auc_score(label, score) == pytest.approx(truth["auroc"], abs=0.01)
    assert f1_score(label, score >= 0.5) == pytest.approx(truth["f1"], abs=0.01)


def test_test_sets_follow_from_the_seed_and_groups_share_their_label(generator: Any) -> None:
    case = generator.Case(40, 0.5, size=4)
    once, again, other = generator.draw(case, 1), generator.draw(case, 1), generator.draw(case, 2)
    assert (once[1] == again[1]).all()
    assert (once[1] != other[1]).any()
    assert all(len({label for label, g in zip(once[0], once[2], strict=True) if g == group}) == 1 for group in set(once[2]))


def test_intervals_cover_at_n_100(generator: Any) -> None:
    # 60 test sets: a true coverage of 0.93 gives fewer than 50 once in 1000 runs; the seeds are fixed.
    rows = {row["metric"]: row for row in generator.coverage(generator.Case(100, 0.3), 60, progress=False)}
    assert rows["auroc"]["of"] == 60
    assert rows["auroc"]["held"] >= 50
    assert rows["ap"]["held"] >= 50


@pytest.mark.slow
def test_the_whole_coverage_table(generator: Any) -> None:
    rows = [row for case in generator.CASES for row in generator.coverage(case, progress=False)]
    page = generator.PAGE.read_text(encoding="utf-8")
    assert re.sub(r"\s+", " ", between(page, "coverage")) == re.sub(r"\s+", " ", generator.coverage_table(rows))
