"""The experiment on negatives: out of fold by group, and a planted source is found out; the page holds all its rows."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from unsafe_video_dataset import Release

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def negatives() -> Any:
    spec = importlib.util.spec_from_file_location("negatives", ROOT / "benchmarks" / "negatives.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_detector_that_can_only_learn_the_source(negatives: Any) -> None:
    rng = np.random.default_rng(0)
    source = np.array(["4chan", "lexica"] * 60)
    unsafe = rng.random(120) < 0.5
    groups = np.array([f"g{number // 2}" for number in range(120)])
    features = rng.normal(size=(120, 3))
    features[:, 0] += 4 * (source == "lexica")  # nothing in the features says what is unsafe
    first = source == "4chan"
    areas = {}
    for where in ("4chan", "lexica"):
        scores = [negatives.out_of_fold(features, unsafe, source, groups, where, repeat=0)]
        made = (unsafe & first) | (~unsafe & (source == where))
        areas[where] = [negatives.area(unsafe, scores, chosen, groups)[0] for chosen in (made, first)]
        areas[where].append(negatives.area(first, scores, ~unsafe, groups)[0])
    assert areas["lexica"][0] > 0.95
    assert abs(areas["lexica"][1] - 0.5) < 0.2
    assert areas["lexica"][2] > 0.95
    assert abs(areas["4chan"][0] - 0.5) < 0.2


def test_no_group_is_scored_by_a_detector_that_saw_it(negatives: Any) -> None:
    """Features name the group and say nothing else: out of fold they are worth nothing."""
    groups = np.array([f"g{number // 4:02d}" for number in range(120)])
    features = (groups[:, None] == np.unique(groups)[None]).astype(float)
    unsafe = np.array([number // 4 % 2 == 0 for number in range(120)])
    source = np.array(["4chan", "lexica"] * 60)
    scores = [negatives.out_of_fold(features, unsafe, source, groups, "4chan", repeat=0)]
    assert negatives.area(unsafe, scores, np.ones(120, bool), groups)[0] < 0.75


def test_the_page(negatives: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- experiment -->\nold\n<!-- /experiment -->\nafter\n")
    negatives.put(page, "new")
    assert page.read_text() == "before\n<!-- experiment -->\nnew\n<!-- /experiment -->\nafter\n"
    text = (ROOT / "docs" / "negatives.md").read_text(encoding="utf-8")
    looks = re.findall(r"^\| (as drawn|tint \d+%) \| (in-domain|another source) \|", text, re.MULTILINE)
    expected = [f"tint {tint:.0%}" if tint else "as drawn" for tint in negatives.TINTS]
    assert looks == [(look, kind) for look in expected for kind in ("in-domain", "another source")]


def test_the_page_is_that_of_the_result_beside_it(negatives: Any) -> None:
    kept = ROOT / "docs" / "negatives.json"
    if not kept.is_file():
        pytest.skip("no result is kept yet: run benchmarks/negatives.py DIR --page docs/negatives.md")
    result = json.loads(kept.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "negatives.md").read_text(encoding="utf-8")
    assert f"<!-- experiment -->\n{negatives.to_markdown(result)}\n<!-- /experiment -->" in page
    assert result["manifest_sha256"][:12] in page


@pytest.mark.slow
def test_a_run_writes_page_and_result_with_the_table_of_the_page(
    negatives: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TINTS": (0.0, 0.5), "REPEATS": 1, "BOOTSTRAP": 5}.items():
        monkeypatch.setattr(negatives, name, value)
    page = tmp_path / "negatives.md"
    text = (ROOT / "docs" / "negatives.md").read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    release = Release.open("sample")
    assert negatives.main(["--release", str(release.path), "--page", str(page)]) == 0
    result = json.loads((tmp_path / "negatives.json").read_text(encoding="utf-8"))
    assert result["manifest_sha256"] == release.manifest_sha256
    assert release.manifest_sha256[:12] in page.read_text(encoding="utf-8")
    assert sum(result["counts"].values()) == release.manifest["counts"]["videos"]

    def shape(page: str) -> tuple[str, set[int], set[str]]:
        lines = [line for line in page.splitlines() if line.startswith("|")]
        return lines[0], {line.count("|") for line in lines}, {line.split("|")[2].strip() for line in lines[2:]}

    assert shape(page.read_text(encoding="utf-8")) == shape(text)
