"""Clusters: planted ones are found, numbers depend on no order, k comes from stated criteria; edge cases are clusters too."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

from unsafe_video_dataset.builders.vision.clusters import cluster
from unsafe_video_dataset.errors import MissingDependency


def planted(sizes: list[int], *, dim: int = 20, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, list[str], list[int]]:
    """Vectors around far centres, an id for each (in a mixed order), and which centre it is."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(sizes), dim)) * 3
    truth = [number for number, size in enumerate(sizes) for _ in range(size)]
    data = centres[truth] + rng.normal(size=(len(truth), dim)) * spread
    names = [f"{number:016x}" for number in rng.permutation(len(truth))]
    return data.astype(np.float32), names, truth


def test_planted_clusters_are_found_and_numbered_by_size() -> None:
    data, names, truth = planted([40, 30, 20])
    found = cluster(data, names, ks=(2, 3, 4, 5), min_cluster_size=5)
    assert found.k == 3
    assert [found.kmeans[name] for name in names] == truth
    assert [found.hdbscan[name] for name in names] == truth
    table = {row["k"]: row for row in found.table()}
    assert set(table) == {2, 3, 4, 5}
    assert table[3]["stability"] == 1.0
    assert table[3]["silhouette"] == max(row["silhouette"] for row in table.values())


def test_equal_sizes_are_numbered_by_their_smallest_id() -> None:
    data, names, truth = planted([15, 15])
    found = cluster(data, names, ks=(2,), min_cluster_size=5)
    first = truth[names.index(min(names))]
    assert all((found.kmeans[name] == 0) == (one == first) for name, one in zip(names, truth, strict=True))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3))
def test_no_order_of_the_rows_matters(shuffle: int, seed: int) -> None:
    data, names, _ = planted([9, 7, 5, 5], spread=2.5, seed=seed)  # overlapping: the hard case
    order = np.random.default_rng(shuffle).permutation(len(names))
    expected = cluster(data, names, ks=(2, 3, 4), min_cluster_size=3)
    assert cluster(data[order], [names[place] for place in order], ks=(4, 3, 2), min_cluster_size=3) == expected


def test_noise_is_noise() -> None:
    data, names, _ = planted([30, 30])
    lonely = np.concatenate([data, np.full((1, 20), 90, np.float32)])
    found = cluster(lonely, [*names, "f" * 16], ks=(2, 3), min_cluster_size=5)
    assert found.hdbscan["f" * 16] == -1
    assert sorted(set(found.hdbscan.values())) == [-1, 0, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_videos_are_clusters_too(count: int) -> None:
    data, names, _ = planted([count])
    found = cluster(data, names, ks=(4, 8))
    assert set(found.kmeans) == set(found.hdbscan) == set(names)
    assert found.k in ({1} if count < 3 else {2, 4})


def test_no_video_and_all_the_same() -> None:
    assert cluster(np.zeros((0, 5), np.float32), [], ks=(2,)).kmeans == {}
    same = cluster(np.ones((6, 5), np.float32), list("abcdef"), ks=(2, 3))
    assert set(same.kmeans.values()) == set(same.hdbscan.values()) == {0}


def test_ids_must_be_distinct() -> None:
    with pytest.raises(ValueError, match="distinct video_id"):
        cluster(np.ones((2, 3), np.float32), ["a", "a"], ks=(2,))


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(MissingDependency, match=r"pip install 'unsafe-video-dataset\[build\]'"):
        cluster(np.eye(5, dtype=np.float32), list("abcde"), ks=(2,))


@pytest.mark.slow
def test_the_papers_size() -> None:
    data, names, _ = planted([300, 250, 200, *[100] * 13, 62], dim=264, spread=0.8)
    found = cluster(data, names, ks=(4, 6, 8, 10, 12, 16, 20, 24))
    assert len(found.kmeans) == 2112
