"""Themes: what two coders said, how far they agree, and every fault of the file at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import vision_support
from hypothesis import given
from hypothesis import strategies as st

from unsafe_video_dataset.builders.pipeline.names import Names
from unsafe_video_dataset.builders.vision.themes import Themes, agreement, digest, kappa, read_themes

CLUSTERS = {"a" * 16: 0, "b" * 16: 0, "c" * 16: 1, "d" * 16: 1}
ITEMS = {f"s/{name[0]}.mp4": name for name in CLUSTERS}
A, B, C, D = sorted(CLUSTERS)


def read(
    tmp_path: Path,
    *lines: str,
    header: str = "cluster,video_id,item,theme,coder,action",
    clustering: str = digest(CLUSTERS),
    names: Names | None = None,
) -> Themes:
    """The lines, with the clustering in those that name a cluster."""
    lines = tuple(f"{line},{'' if line.startswith(',') else clustering}" for line in lines)
    file = vision_support.write_csv(tmp_path / "themes.csv", [f"{header},clustering", *lines])
    return read_themes(file, clusters=CLUSTERS, items=ITEMS, names=names)


def test_a_video_stands_before_its_cluster_and_rows_add_up(tmp_path: Path) -> None:
    themes = read(tmp_path, "0,,,Waves;dusk,ann,", "0,,,sea,ann,", f",{B},,storm,ann,", ",,s/c.mp4,dogs,ann,")
    assert not themes.faults
    assert (themes.of(A), themes.of(B), themes.of(C), themes.of(D)) == (["dusk", "sea", "waves"], ["storm"], ["dogs"], None)


def test_only_what_all_coders_say_is_a_theme(tmp_path: Path) -> None:
    themes = read(tmp_path, "0,,,waves;dusk,ann,", "0,,,waves;night,bo,", "1,,,dogs,ann,", "1,,,cats,bo,")
    assert themes.of(A) == ["waves"]
    assert themes.of(C) == []


def test_drop_holds_for_a_cluster_but_not_for_a_video_that_its_coder_coded(tmp_path: Path) -> None:
    themes = read(tmp_path, "0,,,blank,ann,drop", f",{B},,waves,ann,", ",,s/c.mp4,broken,bo,drop")
    assert themes.dropped == {A: "ann", C: "bo"}


def test_every_fault_is_found_at_once(tmp_path: Path) -> None:
    themes = read(
        tmp_path,
        "7,,,waves,ann,",  # 2: no cluster
        f",{'f' * 16},,waves,ann,",  # 3: no video
        ",,s/z.mp4,waves,ann,",  # 4: no item
        "0,,,,ann,",  # 5: no theme
        "0,,,waves,,",  # 6: no coder
        "0,,,waves,ann,burn",  # 7: action
        f"0,{A},,waves,ann,",  # 8: two targets
        "1,,,dogs,ann,",
        "1,,,Dogs,ann,",  # 10: again
        "1,,,cats,ann,drop",
        "1,,,birds,ann,keep",  # 12: keep and drop
    )
    assert sorted(fault.line or 0 for fault in themes.faults) == [2, 3, 4, 5, 6, 7, 8, 10, 12]


def test_a_cluster_number_with_a_sign_or_zero_is_no_other_cluster(tmp_path: Path) -> None:
    themes = read(tmp_path, "00,,,waves,ann,", "-1,,,waves,ann,", "1.0,,,waves,ann,")
    assert [fault.line for fault in themes.faults] == [2, 3, 4]


def test_a_cluster_row_of_another_clustering_or_of_none_is_a_fault(tmp_path: Path) -> None:
    now = digest(CLUSTERS)
    other = digest({**CLUSTERS, A: 1})
    assert now != other
    assert digest(dict(reversed(CLUSTERS.items()))) == now
    for said in (other, ""):
        themes = read(tmp_path, "1,,,dogs,ann,drop", f",{A},,waves,ann,", clustering=said)
        (fault,) = themes.faults
        assert fault.line == 2
        assert f"then write {now}" in fault.message
        assert "code the videos by item" in fault.message
        assert themes.dropped == {}


def test_a_coded_video_that_was_dropped_before_is_counted_and_no_fault(tmp_path: Path) -> None:
    early = {"s/e.mp4": "e" * 16}
    names = Names(frozenset({*ITEMS, *early}), frozenset({*CLUSTERS, *early.values()}))
    lines = ("0,,,waves,ann,", ",,s/e.mp4,dogs,ann,drop", f",{'E' * 16},,dogs,bo,")
    themes = read(tmp_path, *lines, names=names)
    assert (themes.faults, themes.not_reached) == ([], 2)
    assert set(themes.coded) == {"ann"}
    assert [fault.line for fault in read(tmp_path, *lines, ",,s/z.mp4,cats,ann,", names=names).faults] == [5]


def test_rows_about_withdrawn_videos_without_a_file_are_no_faults_as_many_as_there_are(tmp_path: Path) -> None:
    def names() -> Names:
        return Names(frozenset(ITEMS), frozenset(CLUSTERS), spare=1)

    gone = (",,s/gone.mp4,dogs,ann,", ",,s/gone.mp4,dogs,bo,")
    themes = read(tmp_path, *gone, names=names())
    assert (themes.faults, themes.not_reached) == ([], 2)
    assert len(read(tmp_path, *gone, ",,s/other.mp4,dogs,ann,", names=names()).faults) == 3
    assert len(read(tmp_path, *gone, f",{'f' * 16},,dogs,ann,", names=names()).faults) == 3


def test_agreement_is_of_the_videos_that_both_coded(tmp_path: Path) -> None:
    themes = read(
        tmp_path,
        "0,,,waves,ann,", "1,,,dogs,ann,", f",{A},,waves,bo,", f",{B},,waves;dusk,bo,", f",{C},,cats,bo,",
    )  # fmt: skip
    (found,) = agreement(themes)
    assert (found["coders"], found["videos"]) == (["ann", "bo"], 3)
    assert found["same_set"] == round(1 / 3, 4)
    assert found["disagreements"] == [
        {"video_id": B, "theme": "dusk", "coder": "bo"},
        {"video_id": C, "theme": "cats", "coder": "bo"},
        {"video_id": C, "theme": "dogs", "coder": "ann"},
    ]
    assert found["raw"] == round(9 / 12, 4)  # 3 videos by cats, dogs, dusk, waves; three answers differ
    assert found["themes"]["waves"] == {"raw": 1.0, "kappa": 1.0, "n": 3}


def test_three_coders_give_three_pairs_and_one_gives_none(tmp_path: Path) -> None:
    assert agreement(read(tmp_path, "0,,,waves,ann,")) == []
    three = read(tmp_path, "0,,,waves,ann,", "1,,,waves,bo,", "0,,,waves,cy,")
    pairs = {tuple(one["coders"]): one for one in agreement(three)}
    assert set(pairs) == {("ann", "bo"), ("ann", "cy"), ("bo", "cy")}
    assert (pairs["ann", "bo"]["videos"], pairs["ann", "bo"]["raw"], pairs["ann", "bo"]["kappa"]) == (0, None, None)
    assert pairs["ann", "cy"]["kappa"] is None  # both say yes to everything: chance agrees fully


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_kappa_is_scikit_learns(answers: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    ours = kappa(answers)
    left, right = zip(*answers, strict=True)
    if len(set(left) | set(right)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(float(metrics.cohen_kappa_score(left, right)), abs=1e-4)


def test_no_order_of_the_rows_matters(tmp_path: Path) -> None:
    lines = ["0,,,waves,ann,", f",{B},,storm,ann,drop", "0,,,waves,bo,", "1,,,dogs,bo,drop", "1,,,dogs,ann,"]
    expected = read(tmp_path, *lines)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(lines))
        assert read(tmp_path, *[lines[place] for place in order]) == expected
