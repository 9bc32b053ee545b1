"""The stages quality, dedup and cluster on real files: tables, reports, sheets, reviewed inputs, no order, edge cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import vision_support as support

pytest.importorskip("av")
pytest.importorskip("PIL")
pytest.importorskip("faiss")
pytest.importorskip("sklearn")

import test_vision_embed

from unsafe_video_dataset.builders.pipeline.settings import read_settings
from unsafe_video_dataset.builders.stages import cluster, dedup, quality
from unsafe_video_dataset.builders.stages.cluster import ClusterSettings
from unsafe_video_dataset.builders.stages.dedup import DedupSettings
from unsafe_video_dataset.builders.vision.quality import QualitySettings
from unsafe_video_dataset.builders.vision.synthetic import COPIES, encode, resized, scene
from unsafe_video_dataset.errors import Fault, FaultsError, InputError

STAGES = (quality.STAGE, dedup.STAGE, cluster.STAGE)
CLUSTERS = ClusterSettings(k=(2, 3), min_cluster_size=2, tiles=2)


@pytest.fixture(scope="session")
def raw() -> dict[str, bytes]:
    """Eight scenes, four copies of the first two, one file twice, and videos that no threshold lets through."""
    videos = {f"s/{number}.mp4": support.clip_bytes(number) for number in range(2, 10)}
    videos |= {"s/0.mp4": support.clip_bytes(2, "darker by a third"), "s/1.mp4": support.clip_bytes(3, "first half")}
    videos |= {"s/same.mp4": videos["s/4.mp4"], "t/4.mp4": videos["s/4.mp4"]}
    videos["s/black.mp4"] = encode(np.zeros((16, 3, 128, 128), np.uint8))
    videos["s/still.mp4"] = encode(np.repeat(scene(30)[:1], 16, axis=0))
    videos["s/one.mp4"] = encode(scene(31)[:1])
    videos["s/tall.mp4"] = encode(resized(scene(2000), 200, 96))
    return videos


def test_the_three_stages_run_after_one_another(raw: dict[str, bytes], tmp_path: Path) -> None:
    prompts = {"s/4.mp4": "p", "s/same.mp4": "q"}
    context = support.context(tmp_path, raw, None, prompts=prompts)
    reports = [support.run_stage(stage, context, given) for stage, given in zip(STAGES, (None, None, CLUSTERS), strict=True)]
    json.dumps(reports)
    assert support.rows(context.kept("quality"), "item") == sorted(set(raw) - {"s/black.mp4", "s/still.mp4", "s/one.mp4"})
    table = context.tables["dedup"]
    dropped = {row["item"]: row for row in table.to_pylist() if not row["kept"]}
    lesser = min(("s/0.mp4", "s/2.mp4"), key=lambda item: len(raw[item]))  # as many pixels and frames: more bytes stay
    assert set(dropped) == {lesser, "s/1.mp4", "s/same.mp4", "t/4.mp4"}
    assert dropped["s/same.mp4"]["reason"] == "same bytes as s/4.mp4"
    assert dropped["s/1.mp4"]["reason"].startswith("near duplicate of s/3.mp4 (closest frames")
    assert {row["keeper"] for row in dropped.values()} <= set(support.rows(context.kept("dedup"), "item"))
    assert reports[1]["exact_duplicates"] == 2
    assert reports[1]["same_bytes_other_prompt"] == 1
    assert reports[1]["near_duplicates"] == 2
    assert support.rows(context.tables["cluster"], "item") == support.rows(context.kept("dedup"), "item")
    for stage, previous in zip(STAGES, ("probe", "quality", "dedup"), strict=True):
        found = context.tables[stage.name]
        assert found.column_names[:3] == ["item", "kept", "reason"]
        assert support.rows(found, "item") == support.rows(context.kept(previous), "item")
        assert all(kept != bool(reason) for kept, reason in support.rows(found, "kept", "reason"))
        assert {path.name for path in (tmp_path / "work" / stage.name).iterdir()} == set(
            reports[STAGES.index(stage)]["sheets"]["files"]
        )
    assert "embedding" not in context.mapped  # the default takes the probe's descriptor: no second decode


def test_no_order_of_the_probes_rows_matters(raw: dict[str, bytes], tmp_path: Path) -> None:
    base = support.context(tmp_path, raw, None)
    results = []
    for seed in range(3):
        base.tables["probe"] = support.shuffled(base.tables["probe"], seed)
        base.tables["ingest"] = support.shuffled(base.tables["ingest"], seed)
        reports = [support.run_stage(stage, base, given) for stage, given in zip(STAGES, (None, None, CLUSTERS), strict=True)]
        sheets = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.glob("work/*/*.png")}
        results.append(([base.tables[stage.name] for stage in STAGES], reports, sheets))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("videos", [{}, {"s/a.mp4": 2}, {"s/a.mp4": 2, "s/b.mp4": 2, "s/c.mp4": 2}])
def test_no_video_one_video_and_the_same_three_times(videos: dict[str, int], tmp_path: Path) -> None:
    context = support.context(tmp_path, {item: support.clip_bytes(seed) for item, seed in videos.items()}, None)
    for stage in STAGES:
        support.run_stage(stage, context)
    assert support.rows(context.kept("cluster"), "item") == sorted(videos)[:1]
    assert context.tables["dedup"].num_rows == len(videos)


def test_a_decision_brings_a_video_back_and_its_faults_stop_the_stage(raw: dict[str, bytes], tmp_path: Path) -> None:
    context = support.context(tmp_path, {item: raw[item] for item in ("s/2.mp4", "s/still.mp4")}, None)
    settings = QualitySettings(decisions="decisions.csv")
    assert quality.STAGE.files(settings, tmp_path) == [tmp_path / "decisions.csv"]
    with pytest.raises(InputError, match="There is no file"):
        support.run_stage(quality.STAGE, context, settings)
    support.write_csv(tmp_path / "decisions.csv", ["item,decision,reviewer", "s/still.mp4,keep,ann", "s/2.mp4,drop,ann"])
    report = support.run_stage(quality.STAGE, context, settings)
    assert support.rows(context.kept("quality"), "item") == ["s/still.mp4"]
    assert report["overruled"] == {"drop": 1, "keep": 1}
    support.write_csv(tmp_path / "decisions.csv", ["item,decision,reviewer", "s/z.mp4,keep,ann", "s/2.mp4,burn,ann"])
    with pytest.raises(FaultsError) as error:
        support.run_stage(quality.STAGE, context, settings)
    assert len(error.value.faults) == 2


def test_what_is_near_a_threshold_is_on_the_sheet_up_to_the_limit(raw: dict[str, bytes], tmp_path: Path) -> None:
    videos = {item: raw[item] for item in ("s/2.mp4", "s/3.mp4", "s/5.mp4")}
    context = support.context(tmp_path, videos, None)
    middle = sorted(context.tables["probe"]["sharpness"].to_pylist())[1]
    report = support.run_stage(quality.STAGE, context, QualitySettings(min_sharpness=middle, margin=0.9, review=2))
    assert report["near"] == {"min_sharpness": 3}
    assert report["sheets"] == {"files": ["near-001.png"], "shown": 2, "near": 3}
    assert len(context.mapped["sheets"]) == 2


def test_a_file_that_is_gone_leaves_an_empty_tile(raw: dict[str, bytes], tmp_path: Path) -> None:
    context = support.context(tmp_path, {item: raw[item] for item in ("s/2.mp4", "s/0.mp4")}, None)
    support.run_stage(quality.STAGE, context)
    context.path("s/2.mp4").unlink()
    assert support.run_stage(dedup.STAGE, context)["sheets"]["files"] == ["groups-001.png"]


def test_hashes_of_two_kinds_are_refused(raw: dict[str, bytes], tmp_path: Path) -> None:
    context = support.context(tmp_path, {item: raw[item] for item in ("s/2.mp4", "s/3.mp4")}, None)
    support.run_stage(quality.STAGE, context)
    kinds = pa.array(["phash", "pdq"])
    place = context.tables["probe"].column_names.index("hash_kind")
    context.tables["probe"] = context.tables["probe"].set_column(place, "hash_kind", kinds)
    with pytest.raises(InputError, match=r"several kinds \(pdq 1, phash 1\)"):
        support.run_stage(dedup.STAGE, context)


def test_themes_drop_and_disagreements_are_reported(raw: dict[str, bytes], tmp_path: Path) -> None:
    videos = {item: raw[item] for item in raw if item[2:3].isdigit() and item.startswith("s/")}
    context = support.context(tmp_path, videos, None)
    for stage in STAGES[:2]:
        support.run_stage(stage, context)
    settings = ClusterSettings(k=(2,), themes="themes.csv")
    clustering = support.run_stage(cluster.STAGE, context, ClusterSettings(k=(2,)))["clustering"]
    lines = [
        "cluster,clustering,item,theme,coder,action",
        f"0,{clustering},,shapes,ann,",
        f"1,{clustering},,shapes,ann,",
        f"0,{clustering},,shapes,bo,",
        f"1,{clustering},,lines,bo,",
        ",,s/5.mp4,odd,ann,drop",
    ]
    support.write_csv(tmp_path / "themes.csv", lines)
    report = support.run_stage(cluster.STAGE, context, settings)
    assert (report["clustering"], report["coded_rows_not_reached"]) == (clustering, 0)
    rows = {row["item"]: row for row in context.tables["cluster"].to_pylist()}
    assert (rows["s/5.mp4"]["kept"], rows["s/5.mp4"]["reason"]) == (False, "dropped by theme (coder ann)")
    assert report["coders"] == ["ann", "bo"]
    assert report["agreement"][0]["videos"] == len(rows)
    assert report["agreement"][0]["disagreements"]
    assert all((row["theme"] == ["shapes"]) == (row["kmeans"] == 0) for item, row in rows.items() if item != "s/5.mp4")
    header = "cluster,clustering,theme,coder"
    support.write_csv(tmp_path / "themes.csv", [header, f"9,{clustering},x,ann", f"0,{clustering},,ann"])
    with pytest.raises(FaultsError) as error:
        support.run_stage(cluster.STAGE, context, settings)
    assert len(error.value.faults) == 2
    with pytest.raises(FaultsError, match=f"the sheets are of {'[0-9a-f]' * 8}: look at them again"):  # k is another one
        support.run_stage(cluster.STAGE, context, ClusterSettings(k=(3,), themes="themes.csv"))


def test_a_checkpoint_embeds_each_distinct_video_once(raw: dict[str, bytes], tmp_path: Path) -> None:
    test_vision_embed.make_checkpoint(tmp_path / "clip", "clip")
    context = support.context(tmp_path, {item: raw[item] for item in ("s/2.mp4", "s/3.mp4", "s/5.mp4", "s/6.mp4")}, None)
    for stage in STAGES[:2]:
        support.run_stage(stage, context)
    settings = ClusterSettings(k=(2,), checkpoint="clip", tiles=0)
    assert tmp_path / "clip" / "model.safetensors" in cluster.STAGE.files(settings, tmp_path)
    report = support.run_stage(cluster.STAGE, context, settings)
    assert report["embedder"]["name"] == "clip:clip"
    assert report["not_embedded"] == 0
    assert context.mapped["embedding"] == ["s/2.mp4", "s/3.mp4", "s/5.mp4", "s/6.mp4"]
    context.path("s/3.mp4").write_bytes(b"gone bad")
    assert support.run_stage(cluster.STAGE, context, settings)["not_embedded"] == 1
    assert dict(support.rows(context.tables["cluster"], "item", "kmeans"))["s/3.mp4"] is None


def test_settings_that_make_no_sense_are_refused() -> None:
    faults: list[Fault] = []
    table = {"phash_duplicate": 20, "phash_related": 10, "pdq_related": 200, "duplicate_share": 0.2, "min_quality": 101}
    assert read_settings(DedupSettings, table, file="r.toml", place="dedup", faults=faults) is None
    assert read_settings(ClusterSettings, {"k": [1], "tiles": -1}, file="r.toml", place="cluster", faults=faults) is None
    wrong = {"phash_duplicate", "pdq_duplicate", "related_share", "min_quality"}
    assert {fault.field for fault in faults} == {f"dedup.{name}" for name in wrong} | {"cluster.k", "cluster.tiles"}


@pytest.mark.slow
@pytest.mark.parametrize("how", COPIES)
def test_every_kind_of_copy_is_dropped_for_its_original_or_the_other_way(how: str, tmp_path: Path) -> None:
    videos = {f"s/{number}.mp4": support.clip_bytes(number) for number in range(100, 106)}
    videos |= {f"s/{number}-copy.mp4": support.clip_bytes(number, how) for number in range(100, 106)}
    context = support.context(tmp_path, videos, None)
    lenient = QualitySettings(min_frames=1, min_duration=0, min_sharpness=0, min_edge_sharpness=0, min_motion=0, review=0)
    support.run_stage(quality.STAGE, context, lenient)
    report = support.run_stage(dedup.STAGE, context, DedupSettings(review=0))
    assert (report["near_duplicates"], report["duplicate_groups"], report["largest_duplicate_group"]) == (6, 6, 2)
