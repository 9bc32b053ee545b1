"""Clusters of vectors: k-means with k chosen by stated criteria, and HDBSCAN. Numbers depend on no row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.errors import MissingDependency

_COMPONENTS = 32  # of the principal components that clusters are made in
_SAMPLE = 2000  # most rows for the silhouette
_TIE = 0.02  # scores this close are the same: the smaller k wins


@dataclass(frozen=True)
class KScore:
    """How well k clusters fit. silhouette: -1 to 1. stability: mean adjusted Rand index of resampled runs, at most 1."""

    k: int
    silhouette: float
    stability: float

    @property
    def score(self) -> float:
        """The mean of both."""
        return (self.silhouette + self.stability) / 2


@dataclass(frozen=True)
class Clusters:
    """A number for each video_id: `kmeans` from 0, `hdbscan` from 0 with -1 for noise; bigger clusters come first."""

    kmeans: dict[str, int] = field(default_factory=dict)
    hdbscan: dict[str, int] = field(default_factory=dict)
    scores: tuple[KScore, ...] = ()
    k: int = 0

    def table(self) -> list[dict[str, Any]]:
        """The scores for each k tried, as JSON values, 4 decimals."""
        return [{key: round(value, 4) for key, value in {**asdict(one), "score": one.score}.items()} for one in self.scores]


def cluster(
    vectors: NDArray[np.float32],
    video_ids: Sequence[str],
    *,
    ks: Sequence[int],
    min_cluster_size: int = 10,
    resamples: int = 4,
    seed: int = 0,
) -> Clusters:
    """Clusters of float32 [N, D], a row for each distinct video_id.

    Rows are sorted by video_id and brought to at most 32 principal components. For each k of `ks` that is below N: the
    silhouette of k-means (on at most 2,000 rows), and its stability: k-means on random halves, each labelling all rows,
    compared with the labels of the whole by the adjusted Rand index (Hubert and Arabie 1985). k is the smallest whose mean of
    both is within 0.02 of the best. HDBSCAN (scikit-learn) runs on the same components. Clusters are numbered by size, then
    by their smallest video_id. Fewer than three distinct vectors are one cluster. Raises `MissingDependency`.
    """
    if len(set(video_ids)) != len(video_ids) or len(video_ids) != len(vectors):
        raise ValueError("clusters need one row for each distinct video_id")
    if not len(video_ids):
        return Clusters()
    order = sorted(range(len(video_ids)), key=lambda place: video_ids[place])
    names = [video_ids[place] for place in order]
    data = np.asarray(vectors, np.float64)[order]
    distinct = len(np.unique(data, axis=0))
    if distinct < 3:
        return Clusters(dict.fromkeys(names, 0), dict.fromkeys(names, 0), (), 1)
    small = _components(data, seed)
    scores, labels = [], {}
    for k in sorted({k for k in ks if 2 <= k < distinct}) or [2]:
        labels[k] = _fit(small, k, seed).labels_
        scores.append(_score(small, labels[k], k, resamples, seed))
    best = max(score.score for score in scores)
    k = next(score.k for score in scores if score.score >= best - _TIE)
    return Clusters(
        kmeans=_renumber(labels[k], names),
        hdbscan=_renumber(_hdbscan(small, min_cluster_size), names),
        scores=tuple(scores),
        k=k,
    )


def _sklearn() -> Any:
    try:
        import sklearn.cluster
        import sklearn.decomposition
        import sklearn.metrics
    except ModuleNotFoundError as error:
        raise MissingDependency("Clusters need scikit-learn: pip install 'unsafe-video-dataset[build]'") from error
    return sklearn


def _components(data: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    number = min(_COMPONENTS, *data.shape)
    found = _sklearn().decomposition.PCA(number, svd_solver="full", random_state=seed).fit_transform(data)
    rounded: NDArray[np.float64] = np.round(found, 6)  # last digits differ with the number of BLAS threads
    return rounded


def _fit(data: NDArray[np.float64], k: int, seed: int) -> Any:
    return _sklearn().cluster.KMeans(k, n_init=4, random_state=seed).fit(data)


def _score(data: NDArray[np.float64], labels: NDArray[np.int32], k: int, resamples: int, seed: int) -> KScore:
    metrics = _sklearn().metrics
    rng = np.random.default_rng([seed, k])
    rows = np.sort(rng.permutation(len(data))[:_SAMPLE])
    some = len(set(labels[rows].tolist()))
    silhouette = float(metrics.silhouette_score(data[rows], labels[rows])) if 1 < some < len(rows) else 0.0
    found = []
    for number in range(resamples):
        half = np.sort(rng.permutation(len(data))[: max(k, len(data) // 2)])
        other = _fit(data[half], k, seed + number + 1).predict(data) if len(np.unique(data[half], axis=0)) >= k else None
        found.append(0.0 if other is None else float(metrics.adjusted_rand_score(labels, other)))
    return KScore(k, silhouette, float(np.mean(found)) if found else 0.0)


def _hdbscan(data: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    if len(data) < max(size, 2):
        return np.full(len(data), -1)
    found = _sklearn().cluster.HDBSCAN(min_cluster_size=max(size, 2), copy=True).fit(data)
    labels: NDArray[np.int64] = found.labels_
    return labels


def _renumber(labels: NDArray[Any], names: Sequence[str]) -> dict[str, int]:
    """Sorted names -> cluster numbers by size, then smallest name; noise stays -1."""
    members: dict[int, list[str]] = {}
    for label, name in zip(labels.tolist(), names, strict=True):
        members.setdefault(label, []).append(name)
    ranked = sorted((one for one in members if one >= 0), key=lambda label: (-len(members[label]), members[label][0]))
    number = {label: place for place, label in enumerate(ranked)} | {-1: -1}
    return {name: number[label] for label, group in members.items() for name in group}
