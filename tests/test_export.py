"""`export`: what each format holds, read back by plain means; refusals; `purge`. The tools themselves: test_export_tools.py."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import releases

from unsafe_video_dataset.cli import main
from unsafe_video_dataset.cli_export import FORMATS as CLI_FORMATS
from unsafe_video_dataset.errors import FilterError, InputError, IntegrityError, StorageError
from unsafe_video_dataset.export import FORMATS, ExportReport, export, place, webdataset
from unsafe_video_dataset.hub.purge import purge
from unsafe_video_dataset.hub.store import Store
from unsafe_video_dataset.records import from_table
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

PLAIN = sorted(set(FORMATS) - {"lance"})  # lance needs its library
COMMIT = "a" * 40
Run = Callable[..., ExportReport]


def run(release: Path | Release | str, out: Path, to: str, **options: Any) -> ExportReport:
    return export(release, out, to=to, progress=False, **options)  # type: ignore[arg-type]


def records(release: Path | Release, split: str | None = None, **filters: Any) -> dict[str, dict[str, Any]]:
    opened = release if isinstance(release, Release) else Release.open(release)
    return {row["video_id"]: row for row in from_table("metadata", opened.metadata(split, **filters))}


def texts(folder: Path) -> str:
    """Everything in a folder but the media."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".tar":
            with tarfile.open(path) as shard:
                for member in shard.getmembers():
                    content = shard.extractfile(member)
                    assert content is not None
                    found += [content.read().decode()] if member.name.endswith(".json") else []
        elif path.is_file() and path.suffix != ".mp4":
            found.append(path.read_text(encoding="utf-8"))
    return "\n".join(found)


# -- each format


def test_csv(small: Path, tmp_path: Path) -> None:
    report = run(small, tmp_path / "o", "csv", config="reviewed", prompts=True)
    want = records(small)
    with (tmp_path / "o/videos.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["video_id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == want.keys()
    for video_id, row in rows.items():
        record = want[video_id]
        assert row["categories"] == ";".join(record["categories"])
        assert row["is_unsafe"] == str(record["is_unsafe"]).lower()
        assert (row["prompt"], row["sha256"], float(row["agreement"] or 0)) == (
            record["prompt"], record["sha256"], record["agreement"] or 0,
        )  # fmt: skip
        assert {name: int(row[f"votes_{name}"]) for name in record["vote_counts"]} == record["vote_counts"]
        assert {name: float(row[f"share_{name}"]) for name in CATEGORIES} == record["soft_labels"]
    with (tmp_path / "o/votes.csv").open(encoding="utf-8", newline="") as file:
        votes = list(csv.DictReader(file))
    assert len(votes) == report.votes == sum(len(record["votes"]) for record in want.values())
    for vote in votes:
        given = next(one for one in want[vote["video_id"]]["votes"] if one["rater_id"] == vote["rater_id"])
        assert vote["categories"] == (";".join(given["categories"]) or "none")
    assert (report.media, report.media_bytes) == (False, 0), "CSV holds no media, whatever is asked for"


def test_webdataset(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path / "o", "webdataset", config="reviewed")
    want, release = records(small), Release.open(small)
    seen = []
    for shard in sorted((tmp_path / "o").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
            assert all((member.mtime, member.uid, member.mode) == (0, 0, 0o644) for member in tar.getmembers())
        for name in [name for name in members if name.endswith(".json")]:
            record = json.loads(members[name])
            assert name == f"{record['video_id']}.json"
            assert {**record, "prompt": None} == {**want[record["video_id"]], "prompt": None}
            data = members[f"{record['video_id']}.mp4"]
            assert data == release.video_bytes(record["video_id"])
            assert hashlib.sha256(data).hexdigest() == record["sha256"]
            assert shard.name.startswith(record["split"])
            seen.append(record["video_id"])
    assert sorted(seen) == sorted(want)


def test_webdataset_shards_are_cut_between_videos_and_are_the_same_bytes(
    big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD_BYTES", 300_000)
    for out in ("a", "b"):
        run(big, tmp_path / out, "webdataset", split="train")
    shards = sorted((tmp_path / "a").glob("*.tar"))
    assert [shard.name for shard in shards[:2]] == ["train-000000.tar", "train-000001.tar"]
    names = []
    for shard in shards:
        assert shard.read_bytes() == (tmp_path / "b" / shard.name).read_bytes()
        with tarfile.open(shard) as tar:
            names += tar.getnames()
            stems = [name.split(".")[0] for name in tar.getnames()]
        assert all(stems.count(stem) == 2 for stem in stems)
        assert shard.stat().st_size < 400_000
    assert len(set(names)) == len(names) == 2 * len(records(big, "train", is_unsafe=True))


def test_label_studio(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path / "o", "labelstudio", split="test")
    want, release = records(small, "test", is_unsafe=True), Release.open(small)
    tasks = json.loads((tmp_path / "o/tasks.json").read_text())
    choices = [one.get("value") for one in ElementTree.parse(tmp_path / "o/labeling_config.xml").iter("Choice")]
    assert len(choices) == 6
    assert sorted(task["data"]["video_id"] for task in tasks) == sorted(want)
    for task in tasks:
        record = want[task["data"]["video_id"]]
        name = task["data"]["video"].removeprefix("/data/local-files/?d=")
        assert (tmp_path / "o" / name).read_bytes() == release.video_bytes(record["video_id"])
        given = {one["result"][0]["meta"]["text"][0]: one["result"][0]["value"]["choices"] for one in task["annotations"]}
        assert given.keys() == {vote["rater_id"] for vote in record["votes"]}
        assert all(set(chosen) <= set(choices) and chosen for chosen in given.values())
        assert "completed_by" not in task["annotations"][0], "Label Studio knows its own users only"
        assert not any(one["ground_truth"] for one in task["annotations"]), "left out, Label Studio takes it for true"
        (label,) = task["predictions"]
        assert len(label["result"][0]["value"]["choices"]) == len(record["categories"])
        assert label.get("score") == record["agreement"]


def test_label_studio_votes_come_back_through_the_builder(small: Path, tmp_path: Path) -> None:
    """What Label Studio adds when it exports (ids, users) put in; the reader of raters' answers then finds the same votes."""
    from unsafe_video_dataset.builders.raters.label_studio import read_label_studio
    from unsafe_video_dataset.export.label_studio import TITLES

    run(small, tmp_path / "o", "labelstudio", config="reviewed")
    tasks = json.loads((tmp_path / "o/tasks.json").read_text())
    for number, task in enumerate(tasks):
        task["id"] = number
        for place_, annotation in enumerate(task["annotations"]):
            annotation |= {"id": 100 * number + place_, "completed_by": annotation["result"][0]["meta"]["text"][0]}
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    reading = read_label_studio(tmp_path / "export.json", names={title: name for name, title in TITLES.items()}, checks={})
    assert reading.faults == []
    found = {(one.video, one.rater_id): set(one.categories) for one in reading.answers}
    want = {(i, vote["rater_id"]): set(vote["categories"]) for i, row in records(small).items() for vote in row["votes"]}
    assert found == want


def test_fiftyone(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path / "o", "fiftyone", generators=["magictime"])
    want = records(small, is_unsafe=True, generators=["magictime"])
    samples = json.loads((tmp_path / "o/samples.json").read_text())["samples"]
    assert {one["video_id"] for one in samples} == want.keys()
    for one in samples:
        record = want[one["video_id"]]
        data = (tmp_path / "o" / one["filepath"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"] == record["sha256"]
        assert [label["label"] for label in one["categories"]["classifications"]] == record["categories"]
        assert one["metadata"]["total_frame_count"] == record["num_frames"]
    assert "version" not in json.loads((tmp_path / "o/metadata.json").read_text())


def test_lance_says_what_to_install(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        import lance  # noqa: F401
    except ImportError:
        assert main(["export", str(small), str(tmp_path / "o"), "--to", "lance"]) == 2
        assert "unsafe-video-dataset[export]" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
    else:
        assert run(small, tmp_path / "o", "lance").videos


# -- what goes along


@pytest.mark.parametrize("to", PLAIN)
def test_prompts_only_on_request_and_media_may_stay(small: Path, tmp_path: Path, to: str) -> None:
    rows = records(small, is_unsafe=True)
    prompts = {row["prompt"] for row in rows.values()}
    report = run(small, tmp_path / "a", to, media=False)
    assert not [path for path in (tmp_path / "a").rglob("*") if path.suffix == ".mp4"]
    assert (report.media, report.media_bytes, report.prompts) == (False, 0, False)
    assert not [prompt for prompt in prompts if prompt in texts(tmp_path / "a")]
    assert report.bytes < 200_000
    run(small, tmp_path / "b", to, prompts=True)
    assert all(prompt in texts(tmp_path / "b") for prompt in prompts)
    ids = texts(tmp_path / "b")
    assert all(video_id in ids for video_id in rows)


@pytest.mark.parametrize("to", PLAIN)
def test_a_release_without_votes_and_prompts(unvoted: Path, tmp_path: Path, to: str) -> None:
    report = run(unvoted, tmp_path / "o", to, config="reviewed", prompts=True)
    assert (report.videos, report.votes) == (24, 0)


@pytest.mark.parametrize("to", PLAIN)
def test_withdrawn_videos_are_not_exported(copy: Path, tmp_path: Path, to: str) -> None:
    """Not even where a release still holds their rows and bytes."""
    gone = releases.ids(copy, "train", is_unsafe=True)[0]
    schema = pq.read_schema(copy / "tombstones.parquet")
    row = {**dict.fromkeys(schema.names), "video_id": gone, "reason": "on request", "date": "2026-01-01"}
    releases.edit_rows(copy, "tombstones.parquet", lambda rows: [*rows, row], schema=schema)
    report = run(copy, tmp_path / "o", to)
    assert report.videos == len(releases.ids(copy, is_unsafe=True))
    assert gone not in texts(tmp_path / "o")
    assert not list((tmp_path / "o").rglob(f"{gone}*"))


def test_each_row_group_is_read_once(big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, reads = Release.open(big), []
    read = Release.read_group
    monkeypatch.setattr(
        Release,
        "read_group",
        lambda self, path, group, columns: reads.append((path, group)) or read(self, path, group, columns),
    )
    run(release, tmp_path / "o", "fiftyone", config="reviewed")
    assert len(reads) == len(set(reads)) > 5


# -- the folder


def test_the_list_of_files_is_whole_and_the_folder_private(small: Path, tmp_path: Path) -> None:
    report = run(small, tmp_path / "deep/er/o", "labelstudio")
    listed = json.loads((tmp_path / "deep/er/o/export.json").read_text())
    found = {
        path.relative_to(tmp_path / "deep/er/o").as_posix(): path.stat().st_size
        for path in (tmp_path / "deep/er/o").rglob("*.*")
    }
    assert listed["files"] == {name: size for name, size in found.items() if name != "export.json"}
    assert (report.files, report.bytes) == (len(found), sum(found.values()))
    assert (listed["manifest_sha256"], listed["votes"]) == (Release.open(small).manifest_sha256, report.votes)
    assert stat.S_IMODE((tmp_path / "deep/er/o").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["o"], "nothing is left beside it"


def test_what_is_there_is_replaced_only_if_it_is_an_export_and_on_request(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    run(small, out, "labelstudio")
    with pytest.raises(InputError, match="--overwrite"):
        run(small, out, "csv")
    run(small, out, "csv", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "videos.csv", "votes.csv"]
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        run(small, out, "csv", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("mine")
    with pytest.raises(InputError, match="is not an export"):
        run(small, tmp_path / "other", "csv", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not a folder"):
        run(small, tmp_path / "file", "csv", overwrite=True)
    (tmp_path / "empty").mkdir()
    assert run(small, tmp_path / "empty", "csv").videos


def test_a_failure_leaves_nothing_and_keeps_what_was_there(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    run(copy, out, "csv")
    before = (out / "videos.csv").read_bytes()
    shard = copy / releases.data_file(copy)
    releases.corrupt(shard, b"ftypisom")
    with pytest.raises(IntegrityError):
        run(copy, out, "webdataset", overwrite=True)
    assert (out / "videos.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_export_left_goes_with_the_next(small: Path, tmp_path: Path) -> None:
    left = tmp_path / place.partial_name(tmp_path / "o")
    (left / "new").mkdir(parents=True)
    (left / "new/half.mp4").write_bytes(b"x")
    run(small, tmp_path / "o", "csv")
    assert not left.exists()


def test_two_exports_to_one_place(small: Path, tmp_path: Path) -> None:
    with place.appearing(tmp_path / "o", overwrite=False), pytest.raises(InputError, match="Another export"):
        run(small, tmp_path / "o", "csv")


def test_no_room(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="--no-media"):
        run(small, tmp_path / "o", "fiftyone")
    assert list(tmp_path.iterdir()) == []


def test_a_git_repository_takes_media_and_prompts_only_where_it_ignores_them(small: Path, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    tree = tmp_path / "tree"
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    (tree / ".gitignore").write_text("out/\n")
    for options in ({}, {"media": False, "prompts": True}):
        with pytest.raises(InputError, match="git repository"):
            run(small, tree / "data/o", "labelstudio", **options)
    assert not (tree / "data").exists()
    assert run(small, tree / "out/o", "labelstudio").media
    assert run(small, tree / "data/o", "labelstudio", media=False).videos
    assert run("sample", tree / "data/sample", "labelstudio").media, "the sample is harmless"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "abacus"}, "webdataset"),
        ({"to": "csv", "config": "metadata"}, "unsafe, reviewed"),
        ({"to": "csv", "split": "dev"}, "validation"),
        ({"to": "csv", "categories": ["nope"]}, "terrifying"),
        ({"to": "csv", "min_raters": 99}, "passes"),
    ],
)
def test_names_that_are_not_there(small: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(FilterError, match=words):
        export(small, tmp_path / "o", progress=False, **options)
    assert list(tmp_path.iterdir()) == []


# -- purge


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Store:
    """`small` as if it had been downloaded."""
    store = Store("org/data", tmp_path / "store")
    store.update(revisions={"main": COMMIT})
    shutil.copytree(small, store.commit(COMMIT))
    return store


def test_purge_removes_exports_of_a_download_and_nothing_else(store: Store, small: Path, tmp_path: Path) -> None:
    release = Release.open(store.commit(COMMIT))
    run(release, tmp_path / "a", "fiftyone")
    run(release, tmp_path / "b", "webdataset")
    run(small, tmp_path / "local", "csv")
    (tmp_path / "b/thesis.tex").write_text("mine")
    left = tmp_path / place.partial_name(tmp_path / "b") / "new"
    left.mkdir(parents=True)
    (left / "half.mp4").write_bytes(b"x")
    with pytest.warns(UserWarning, match="other files than its export"):
        files, _ = purge("org/data", cache_dir=tmp_path / "store")
    assert files > 30
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["thesis.tex", "export.json", "videos.csv", "votes.csv"]
    )
    assert not (tmp_path / "a").exists()


def test_an_export_that_was_killed_goes_with_purge(store: Store, tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from unsafe_video_dataset.export import export
write, seen = Path.write_bytes, []
def killed(self, data):
    seen.append(self)
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)
Path.write_bytes = killed
export({str(store.commit(COMMIT))!r}, {str(tmp_path / "o")!r}, to="fiftyone", progress=False)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    assert len(list(tmp_path.glob(".o.export-partial/new/media/*.mp4"))) == 3
    assert not (tmp_path / "o").exists()
    purge("org/data", cache_dir=tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_purge_follows_no_listed_name_out_of_the_export(store: Store, tmp_path: Path) -> None:
    run(Release.open(store.commit(COMMIT)), tmp_path / "a", "csv")
    (tmp_path / "mine.txt").write_text("mine")
    listed = json.loads((tmp_path / "a/export.json").read_text())
    listed["files"] |= {"../mine.txt": 4, str(tmp_path / "mine.txt"): 4}
    (tmp_path / "a/export.json").write_text(json.dumps(listed))
    purge("org/data", cache_dir=tmp_path / "store")
    assert (tmp_path / "mine.txt").exists()
    assert not (tmp_path / "a").exists()


# -- the command


def test_the_command(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            ["export", str(small), str(tmp_path / "o"), "--to", "labelstudio", "--split", "test", "--categories", "terrifying"]
        )
        == 0
    )
    captured = capsys.readouterr()
    rows = records(small, "test", is_unsafe=True, categories=["terrifying"])
    assert ["videos", str(len(rows))] in [line.split() for line in captured.out.splitlines()]
    assert "It holds videos in clear" in captured.out
    assert "Next: start Label Studio" in captured.out
    assert "to labelstudio" in captured.err, "a bar"
    assert main(["export", str(small), str(tmp_path / "p"), "--to", "csv", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["format"], report["videos"], captured.err) == ("csv", len(records(small, is_unsafe=True)), "")
    assert main(["export", str(small), str(tmp_path / "p"), "--to", "csv"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(small), str(tmp_path / "q"), "--to", "csv", "--revision", "v1"]) == 2
    assert "prompt" not in report["next_step"]


def test_the_command_knows_every_format() -> None:
    assert sorted(CLI_FORMATS) == sorted(FORMATS)


def test_the_next_step_names_shards_that_are_there(small: Path, tmp_path: Path) -> None:
    for split, first in (("test", "test"), (None, "train")):
        out = tmp_path / first
        report = run(small, out, "webdataset", split=split)
        assert f"glob.glob('{out}/{first}-*.tar')" in report.next_step
        assert list(out.glob(f"{first}-*.tar"))
    assert "database" in run(small, tmp_path / "f", "fiftyone", media=False).next_step


def test_every_filter_has_its_flag(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert main(["export", str(small), str(out), "--to", "csv", "--prompt-sources", "lexica", "--json"]) == 0
    assert json.loads((out / "export.json").read_text())["filters"] == {"prompt_sources": ["lexica"]}
    rows = list(csv.DictReader((out / "videos.csv").open()))
    assert {row["video_id"] for row in rows} == records(small, is_unsafe=True, prompt_sources=["lexica"]).keys()


STANDS_STILL = """
import sys, time
from importlib import import_module
from unsafe_video_dataset.cli import main

def write_list(folder, facts):
    print(sum(1 for _ in folder.rglob("*.mp4")), flush=True)
    time.sleep(600)

import_module("unsafe_video_dataset.export.run").write_list = write_list
sys.exit(main(["export", sys.argv[1], sys.argv[2], "--to", "fiftyone", "--json"]))
"""


def test_an_export_that_is_asked_to_end_leaves_nothing(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STANDS_STILL, str(small), str(tmp_path / "o")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0  # videos in clear are on the disk
    process.terminate()
    assert process.wait() == 130
    assert list(tmp_path.iterdir()) == []
