"""ingest: rows and ids of real files, all faults of all sources at once, nothing trusted but the bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import builders_support
import pipeline_support as support
import pyarrow as pa
import pytest
from builders_support import CATEGORIES_FLAG, built, tiny

from unsafe_video_dataset.builders.group import prompt_id
from unsafe_video_dataset.builders.pipeline.stage import Failure
from unsafe_video_dataset.builders.pipeline.work import Work
from unsafe_video_dataset.builders.stages.ingest import SCHEMA, Ingest
from unsafe_video_dataset.errors import FaultsError

__all__ = ["built"]  # a fixture


class Here:
    """An executor in this process."""

    def map(self, function: Any, items: Any) -> Any:
        yield from ((item, function(argument)) for item, argument in items)


def ingest(recipe: Path, executor: Any = None) -> pa.Table:
    support.run(recipe, [Ingest()], executor=executor or Here())
    return Work(recipe.parent / "work").table("ingest")


def faults(recipe: Path) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        ingest(recipe)
    assert not (recipe.parent / "work" / "ingest" / "done.json").exists()
    return [str(fault) for fault in caught.value.faults]


def source(name: str, folder: str, **more: str) -> str:
    keys = {"name": name, "folder": folder, "generator": "animatediff", **more}
    return "[[source]]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items() if value)


def recipe_of(folder: Path, *sources: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text('[release]\nname = "small"\n' + "".join(sources))
    return folder / "recipe.toml"


def put(folder: Path, files: dict[str, bytes | str]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def test_a_row_for_every_file_of_two_layouts(tmp_path: Path) -> None:
    put(tmp_path / "one", {"b.mp4": tiny(1), "sub/a.mp4": tiny(2), "copy.mp4": tiny(1), "notes.txt": "x"})
    put(tmp_path / "one", {"s.csv": "file,prompt,seed,generator\nb.mp4,a ball,7,\nsub/a.mp4,,,videocrafter\n"})
    builders_support.make_raw(tmp_path / "two")
    more = {"layout": "upstream", "categories": CATEGORIES_FLAG, "prompt_source": "lexica"}
    table = ingest(recipe_of(tmp_path, source("one", "one", sidecar="s.csv"), source("two", "two", **more)))
    assert table.schema == SCHEMA
    rows = {row["item"]: row for row in table.to_pylist()}
    assert list(rows) == sorted(rows)
    assert len(rows) == 3 + 12
    sha256 = hashlib.sha256(tiny(1)).hexdigest()
    assert rows["one/b.mp4"] == {
        "item": "one/b.mp4", "kept": True, "reason": None, "source": "one", "path": "b.mp4", "source_index": None,
        "sha256": sha256, "video_id": sha256[:16], "num_bytes": len(tiny(1)), "generator": "animatediff",
        "prompt_source": None, "prompt": "a ball", "prompt_id": prompt_id("a ball"),
        "generation": {"num_inference_steps": None, "guidance_scale": None, "seed": 7, "scheduler": None},
        "upstream_categories": None,
    }  # fmt: skip
    assert rows["one/copy.mp4"]["video_id"] == sha256[:16]
    assert (rows["one/copy.mp4"]["prompt"], rows["one/copy.mp4"]["generation"]) == (None, None)
    assert rows["one/sub/a.mp4"]["generator"] == "videocrafter"
    third = rows["two/3.mp4"]
    assert third["upstream_categories"] == ["distorted_weird", "terrifying"]
    assert (third["source_index"], third["prompt"], third["prompt_source"]) == (3, "shape 3 that moves", "lexica")
    assert rows["two/5.mp4"]["upstream_categories"] == []
    report = Work(tmp_path / "work").report("ingest")
    assert (report["videos"], report["distinct_files"], report["unreadable"]) == (15, 12, 0)
    assert report["sources"]["one"] == {
        "videos": 3, "other_files": 2, "without_sidecar_row": 1, "sidecar_columns_not_used": [],
    }  # fmt: skip


def test_upstream_rows_are_those_of_the_upstream_builder(tmp_path: Path, built: Path) -> None:
    """The same prompts and labels by file as `unsafe-video-build upstream` joins them."""
    from unsafe_video_dataset.release import Release

    builders_support.make_raw(tmp_path / "raw")
    table = ingest(recipe_of(tmp_path, source("s", "raw", layout="upstream", categories=CATEGORIES_FLAG)))
    mine = {row["video_id"]: (row["source_index"], row["prompt"]) for row in table.to_pylist()}
    theirs = Release.open(built).metadata().to_pylist()
    assert mine == {row["video_id"]: (row["source_index"], row["prompt"]) for row in theirs}


def test_all_faults_of_all_sources_at_once(tmp_path: Path) -> None:
    put(tmp_path / "one", {"a.mp4": tiny(1)})
    put(tmp_path / "one", {"s.csv": "file,seed\na.mp4,x\ngone.mp4,1\na.mp4,2\n"})
    put(tmp_path / "three", {"0.mp4": tiny(2), "2.mp4": tiny(3), "prompts.txt": "p\n", "l.csv": "1,2,3,4,5\n9,,,,\n"})
    (tmp_path / "one" / "link.mp4").symlink_to(tmp_path / "three" / "0.mp4")
    put(tmp_path / "four", {"a.mp4": tiny(4)})
    put(tmp_path / "five", {"x.txt": ""})
    recipe = recipe_of(
        tmp_path,
        source("one", "one", sidecar="s.csv"),
        source("two", "nowhere"),
        source("three", "three", layout="upstream", categories=CATEGORIES_FLAG),
        source("four", "four", generator="", sidecar="none.csv"),
        source("five", "five"),
    )
    text = "\n".join(faults(recipe))
    for expected in (
        "one/link.mp4: is a link out of the source's folder",
        "one/s.csv:2 [seed]: 'x' is not a whole number",
        "one/s.csv:3 [file]: 'gone.mp4' is not in the folder",
        "one/s.csv:4 [file]: 'a.mp4' stands twice (first in line 2)",
        "two [source.folder]: there is no such folder",
        "three/2.mp4: extra MP4",
        "three/prompts.txt: 1 prompts for 2 videos",
        "three/l.csv:2 [column 1]: index 9 is out of range",
        "four/none.csv [source.sidecar]: there is no such sidecar",
        "four [source.generator]: no generator for 1 videos (a.mp4)",
        "five [source.folder]: no video in the folder",
    ):
        assert expected in text, expected


def test_upstream_without_labels_or_mapping_says_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "raw", {"0.mp4": tiny(1), "prompts.txt": "p\n"})
    recipe = recipe_of(tmp_path, source("s", "raw", layout="upstream"))
    assert "needs one label CSV" in faults(recipe)[0]
    put(tmp_path / "raw", {"l.csv": "1,2,3,4,5\n0,,,,\n"})
    (found,) = faults(recipe)
    assert "can't be mapped by the paper's counts" in found
    assert 'categories = "1=<category>' in found


def test_a_sidecar_may_add_generation_to_the_upstream_layout_but_no_prompt(tmp_path: Path) -> None:
    builders_support.make_raw(tmp_path / "raw")
    more = {"layout": "upstream", "categories": CATEGORIES_FLAG, "sidecar": "s.csv", "labels": "labels.csv"}
    recipe = recipe_of(tmp_path, source("s", "raw", **more))
    put(tmp_path / "raw", {"s.csv": "file,seed\n0.mp4,5\n"})
    assert ingest(recipe)["generation"][0].as_py()["seed"] == 5
    put(tmp_path / "raw", {"s.csv": "file,prompt\n0.mp4,other\n"})
    assert "is given by the upstream layout itself" in faults(recipe)[0]


def test_what_can_not_be_read_is_a_row_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path / "raw", {"a.mp4": tiny(1), "empty.mp4": b""})
    (tmp_path / "raw" / "nowhere.mp4").symlink_to("gone.mp4")
    os.mkfifo(tmp_path / "raw" / "pipe.mp4")  # opening it would wait for ever
    rows = {row["item"]: row for row in ingest(recipe_of(tmp_path, source("s", "raw"))).to_pylist()}
    for name in ("s/nowhere.mp4", "s/pipe.mp4"):
        assert rows[name]["reason"] == "unreadable file: not a plain file, or a link to nowhere"
        assert (rows[name]["kept"], rows[name]["sha256"], rows[name]["num_bytes"]) == (False, None, None)
    assert (rows["s/empty.mp4"]["kept"], rows["s/empty.mp4"]["num_bytes"]) == (True, 0)


def test_every_run_reads_the_files_again_whatever_their_time_says(tmp_path: Path) -> None:
    put(tmp_path / "raw", {"a.mp4": tiny(1), "b.mp4": tiny(2)})
    recipe = recipe_of(tmp_path, source("s", "raw"))
    before = ingest(recipe)
    path = tmp_path / "raw" / "a.mp4"
    facts = path.stat()
    path.write_bytes(tiny(3))  # as long as before
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    after = ingest(recipe)
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    assert path.stat().st_size == facts.st_size
    assert before["sha256"][0] != after["sha256"][0]
    assert before["sha256"][1] == after["sha256"][1]


class Dying(Here):
    """Loses batches, and the process of one file for good."""

    def map(self, function: Any, items: Any) -> Any:
        for item, paths in items:
            lost = len(paths) > 1 or paths[0].name == "0007.mp4"
            yield item, Failure("the process died") if lost else function(paths)


def test_a_batch_that_is_lost_is_read_file_by_file(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=70)
    table = ingest(recipe, Dying())
    assert table["kept"].to_pylist() == [n != 7 for n in range(70)]
    assert table["reason"][7].as_py() == "unreadable file: the process died"


def test_the_same_files_in_another_place_give_the_same_bytes(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=5)
    ingest(recipe)
    other = tmp_path / "other" / "recipe.toml"
    shutil.copytree(recipe.parent / "raw", other.parent / "elsewhere")
    other.write_text(support.RECIPE.replace('"raw"', '"elsewhere"'))
    ingest(other)
    assert support.table_files(recipe) == support.table_files(other)
