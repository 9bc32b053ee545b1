"""The figures of docs/dedup.md: a small generated set, and the real clips where they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import vision_support as support

pytest.importorskip("av")
pytest.importorskip("PIL")
pytest.importorskip("faiss")
pytest.importorskip("pdqhash")

from unsafe_video_dataset.builders.vision.quality import QualitySettings, decide
from unsafe_video_dataset.builders.vision.synthetic import COPIES
from unsafe_video_dataset.video import decode_frames

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "clips"
needs_clips = pytest.mark.skipif(not (CLIPS / "prompts.txt").is_file(), reason="needs the real clips in ../shared/clips")


def load() -> Any:
    name = "benchmarks_dedup"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "dedup.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def clips(indices: list[int] | None = None, size: int | None = None) -> dict[str, np.ndarray]:
    return {path.stem: decode_frames(path.read_bytes(), indices, size=size) for path in sorted(CLIPS.glob("*.mp4"))}


def test_a_small_generated_set_has_every_copy_and_no_false_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load()
    todo = benchmark.jobs(48)
    assert len(todo) == 48
    assert {how for _, how in todo} == {"", *COPIES}
    papers = [bool(how) for _, how in benchmark.jobs(5607)]
    assert (papers.count(False), papers.count(True)) == (4707, 900)  # what docs/dedup.md says
    made = {job: benchmark.make(job) for job in todo}
    films = [benchmark._hashed(f"{n:05d}{'-' + how if how else ''}", one, "phash") for (n, how), one in made.items()]
    tight, loose = benchmark.DedupSettings().thresholds("phash")
    matches = benchmark.find_matches(films, tight, loose, kind="phash", min_quality=50)
    groups = benchmark.group(films, matches, tight, loose)
    assert all(groups.duplicate[f"{n:05d}"] == groups.duplicate[f"{n:05d}-{how}"] for n, how in todo if how)
    assert len(set(groups.duplicate.values())) == sum(not how for _, how in todo)


@needs_clips
def test_real_clips_are_all_different_and_light_copies_are_found() -> None:
    rows = load().measure_clips(clips([0, 3, 6, 9], 128), copies=["brighter by a quarter"])
    for row in rows:
        assert (row["clips"], row["duplicate_share"], row["related_share"]) == (24, 0.0, 0.0)
        assert row["found"] == row["copies"] == 24


@needs_clips
@pytest.mark.slow
def test_real_clips_give_the_table_of_the_page() -> None:
    benchmark = load()
    table = benchmark.clips_table(benchmark.measure_clips(clips()))
    assert table in (ROOT / "docs" / "dedup.md").read_text(encoding="utf-8")


@needs_clips
@pytest.mark.slow
def test_no_real_clip_fails_the_default_thresholds_of_quality() -> None:
    rows = [support.probe_row(path.name, path.read_bytes()) for path in sorted(CLIPS.glob("*.mp4"))]
    table = decide(pa.Table.from_pylist(rows, schema=support.PROBE), QualitySettings(), {})
    assert support.rows(table, "flags", "near") == [([], [])] * 24


def test_the_page_says_the_defaults_that_the_stage_has() -> None:
    page = (ROOT / "docs" / "dedup.md").read_text(encoding="utf-8")
    given = load().DedupSettings()
    assert f"({given.phash_duplicate} of 64 and {given.pdq_duplicate} of 256 bits)" in page
    assert f"({given.phash_related} and {given.pdq_related} bits)" in page
    for kind in ("phash", "pdq"):
        assert f"| {kind} | **{given.thresholds(kind)[0].distance} bits** (default) |" in page


def test_filling_the_page_keeps_the_rest_of_it() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert load().fill(page, "x", "new\n") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
