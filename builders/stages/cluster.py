"""Stage 5: clusters to look at, and the themes that people gave them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unsafe_video_dataset.errors import FaultsError

from ..pipeline.names import Names
from ..pipeline.stage import COMMON, Context, StageResult
from ..vision.clusters import Clusters, cluster
from ..vision.embed import ShapeDescriptor, load_embedder
from ..vision.sheets import Tile, write_sheets
from ..vision.themes import Themes, agreement, digest, read_themes
from .tables import draw_strips, probed

SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("video_id", pa.string()),
        pa.field("kmeans", pa.int32()),
        pa.field("hdbscan", pa.int32()),
        pa.field("theme", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ClusterSettings:
    """`k`: numbers of clusters to try. `checkpoint`: a folder of VideoMAE or CLIP, relative to the recipe; without it the
    descriptor without weights. `themes.csv` names clusters by k-means number and `clustering`, the digest that the sheets
    and the report name. `tiles` videos a cluster are drawn."""

    k: tuple[int, ...] = (4, 6, 8, 10, 12, 16, 20, 24)
    min_cluster_size: int = 10
    resamples: int = 4
    seed: int = 0
    checkpoint: str | None = None
    themes: str | None = None
    tiles: int = 8
    review: int = 192
    reveal: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """What makes no sense, for `read_settings`."""
        found = [("k", f"{k} is below 2") for k in self.k if k < 2] or ([] if self.k else [("k", "no number to try")])
        least = {"min_cluster_size": 2, "resamples": 1, "seed": 0, "tiles": 0, "review": 0}
        return found + [
            (name, f"{getattr(self, name)} is below {low}") for name, low in least.items() if getattr(self, name) < low
        ]


@dataclass(frozen=True)
class EmbedJob:
    """What a worker embeds; pickles."""

    path: str
    checkpoint: str


def embed_file(job: EmbedJob) -> dict[str, Any]:
    """`{"vector": [float, …]}` of a file, decoded in a child process. Raises `DecodeError`, `InputError`, `OSError`."""
    from unsafe_video_dataset.video import decode_frames

    path = Path(job.path)
    frames = decode_frames(path.read_bytes(), name=path.name, isolate=True)
    return {"vector": [float(value) for value in load_embedder(job.checkpoint).embed(frames)]}


@dataclass(frozen=True)
class ClusterStage:
    """See `vision/clusters.py` for how k is chosen and `vision/themes.py` for the file."""

    name: str = "cluster"
    version: int = 1
    needs: tuple[str, ...] = ("dedup", "probe", "ingest")
    settings: type[Any] = ClusterSettings

    def files(self, settings: ClusterSettings, base: Path) -> list[Path]:
        """The themes, and the files of the checkpoint."""
        found = [base / settings.themes] if settings.themes else []
        if settings.checkpoint:
            found += sorted(path for path in (base / settings.checkpoint).glob("*") if path.is_file())
        return found

    def run(self, context: Context) -> StageResult:
        """A row for each item; blurred sheets of each cluster. Raises `FaultsError`, `InputError`, `MissingDependency`."""
        settings: ClusterSettings = context.settings
        rows = probed(context, "dedup", ["video_id", "descriptor"])
        items = dict(zip(rows["item"].to_pylist(), rows["video_id"].to_pylist(), strict=True))
        vectors, how, failed = _vectors(context, rows, items)
        names = sorted(vectors)
        data = np.stack([vectors[name] for name in names]) if names else np.zeros((0, 0), np.float32)
        clusters = cluster(
            data,
            names,
            ks=settings.k,
            min_cluster_size=settings.min_cluster_size,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        themes = Themes()
        if settings.themes:
            known = Names.of(context.table("ingest"))
            themes = read_themes(context.base / settings.themes, clusters=clusters.kmeans, items=items, names=known)
            if themes.faults:
                fix = "Mend the themes and run again; nothing was written."
                raise FaultsError(f"{settings.themes} can't be used", themes.faults, fix=fix)
        found = [_row(item, name, clusters, themes) for item, name in sorted(items.items())]
        sheets = _sheets(context, settings, items, clusters, dict(zip(names, data, strict=True)))
        report = {
            "videos": len(found),
            "kept": sum(row["kept"] for row in found),
            "embedder": how,
            "not_embedded": failed,
            "clustering": digest(clusters.kmeans),
            "k": clusters.k,
            "k_chosen_by": "the smallest k whose mean of silhouette and stability is within 0.02 of the best",
            "scores": clusters.table(),
            "kmeans_sizes": _sizes(clusters.kmeans),
            "hdbscan_sizes": _sizes(clusters.hdbscan),
            "coders": sorted(themes.coded),
            "coded": len(set().union(*themes.coded.values())) if themes.coded else 0,
            "themes": dict(sorted(Counter(theme for row in found for theme in row["theme"] or []).items())),
            "dropped_by_theme": len(themes.dropped),
            "coded_rows_not_reached": themes.not_reached,
            "agreement": agreement(themes),
            "sheets": sheets,
        }
        return StageResult(pa.Table.from_pylist(found, schema=SCHEMA), report)


def _vectors(
    context: Context, rows: pa.Table, items: Mapping[str, str]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any], int]:
    """video_id -> vector, what made them, and how many videos have none."""
    checkpoint = context.settings.checkpoint
    if checkpoint is None:
        made = zip(rows["video_id"].to_pylist(), rows["descriptor"].to_pylist(), strict=True)
        default = ShapeDescriptor()
        how = {"name": default.name, "version": default.version, "dim": default.dim, "weights": "none"}
        return {name: np.array(values, np.float32) for name, values in made}, how, 0
    folder = str(context.base / checkpoint)
    embedder = load_embedder(folder)  # here first: a folder that is no checkpoint is one error, not one a video
    first: dict[str, str] = {}
    for item, name in sorted(items.items()):
        first.setdefault(name, item)
    jobs = [(item, EmbedJob(str(context.path(item)), folder)) for item in first.values()]
    answers = context.map(embed_file, jobs, what="embedding")
    vectors = {
        name: np.array(answers[item]["vector"], np.float32)  # type: ignore[index]
        for name, item in first.items()
        if isinstance(answers[item], Mapping)
    }
    how = {"name": embedder.name, "version": embedder.version, "dim": embedder.dim, "weights": "checkpoint"}
    return vectors, how, len(first) - len(vectors)


def _row(item: str, name: str, clusters: Clusters, themes: Themes) -> dict[str, Any]:
    coder = themes.dropped.get(name)
    return {
        "item": item,
        "kept": coder is None,
        "reason": None if coder is None else f"dropped by theme (coder {coder})",
        "video_id": name,
        "kmeans": clusters.kmeans.get(name),
        "hdbscan": clusters.hdbscan.get(name),
        "theme": themes.of(name),
    }


def _sizes(numbers: Mapping[str, int]) -> dict[str, int]:
    return {str(number): count for number, count in sorted(Counter(numbers.values()).items())}


def _sheets(
    context: Context,
    settings: ClusterSettings,
    items: Mapping[str, str],
    clusters: Clusters,
    vectors: Mapping[str, NDArray[np.float32]],
) -> dict[str, Any]:
    """A sheet a k-means cluster: the videos nearest its mean first. Returns file names and counts for the report."""
    smallest: dict[str, str] = {}
    for item, name in sorted(items.items()):
        smallest.setdefault(name, item)
    members: dict[int, list[str]] = defaultdict(list)
    for name, number in sorted(clusters.kmeans.items()):
        members[number].append(name)
    chosen, room = {}, settings.review
    for number, names in sorted(members.items()):
        mean = np.mean([vectors[name].astype(np.float64) for name in names], axis=0)
        away = {name: round(float(np.linalg.norm(vectors[name] - mean)), 4) for name in names}
        chosen[number] = sorted(names, key=lambda name: (away[name], name))[: min(settings.tiles, room)]
        room -= len(chosen[number])
    pictures = draw_strips(context, [smallest[name] for names in chosen.values() for name in names], reveal=settings.reveal)
    files = []
    for number, names in chosen.items():
        tiles = [
            Tile(smallest[name], (f"{name} hdbscan {clusters.hdbscan[name]}",), pictures.get(smallest[name])) for name in names
        ]
        size = f"{len(members[number])} videos, the {len(tiles)} nearest its mean"
        heading = f"cluster {number} (clustering {digest(clusters.kmeans)}): {size}"
        files += write_sheets(context.folder, f"cluster-{number:02d}", [(heading, tiles)])
    return {"files": files, "shown": settings.review - room, "videos": len(clusters.kmeans)}


STAGE = ClusterStage()
