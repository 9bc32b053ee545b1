"""`load_dataset`, `Release.open`, `UnsafeVideoDataset` and the commands with the name of a repository, end to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import LoopbackHub, run_client

from unsafe_video_dataset.release import locate

LOAD = """
import datasets
datasets.disable_progress_bars()
from unsafe_video_dataset import Release, UnsafeVideoDataset, load_dataset
def rows(**options):
    return [(row["video_id"], len(row["video"])) for row in load_dataset("org/data", accept_terms=True, **options)]
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        repo = running.repo("org/data", gated="manual")
        repo.commit_folder(locate("sample"))
        repo.tag("v1.0")
        running.reader_token = running.account("reader").token  # type: ignore[attr-defined]
        repo.gate("reader", "granted")
        yield running


def client(hub: LoopbackHub, code: str, tmp_path: Path) -> Any:
    return run_client(hub, LOAD + code, tmp_path, token=hub.reader_token)  # type: ignore[attr-defined]


def test_every_way_in_gives_the_same_rows(hub: LoopbackHub, tmp_path: Path) -> None:
    done = client(
        hub,
        """
local = [(row["video_id"], len(row["video"])) for row in load_dataset(split="test")]
loaded, streamed = rows(split="test", revision="v1.0"), rows(split="test", streaming=True)
items = UnsafeVideoDataset("org/data", split="test", size=32)
opened = Release.open("org/data", revision="v1.0")
same = local == loaded == streamed
ids = items.video_ids == [video for video, _ in local]
result = [same, ids, tuple(items[0]["video"].shape), len(opened.video_bytes(local[0][0]))]
""",
        tmp_path,
    )
    same, ids, shape, size = done.ok()
    assert same
    assert ids
    assert tuple(shape) == (16, 3, 32, 32)
    assert size > 1000


def test_a_release_knows_what_was_downloaded(hub: LoopbackHub, tmp_path: Path) -> None:
    done = client(
        hub,
        """
opened = Release.open("org/data", accept_terms=True)
refused = attempt(opened.annotations)
part, whole = opened.verify(), Release.open("org/data", config="all").verify()
votes = Release.open("org/data", config="annotations").annotations().num_rows
result = [refused, part.ok, part.left_out > 0, whole.ok, whole.left_out, votes > 0]
""",
        tmp_path,
    )
    refused, *rest = done.ok()
    assert refused[1]["type"] == "FilterError"
    assert "config='annotations'" in refused[1]["message"]
    assert rest == [True, True, True, 0, True]


@pytest.mark.parametrize("flags", [[], ["--no-thumbnails"]])
def test_a_report_has_its_votes(hub: LoopbackHub, tmp_path: Path, flags: list[str]) -> None:
    pytest.importorskip("PIL")
    client(hub, 'result = Release.open("org/data", config="metadata", accept_terms=True).name', tmp_path).ok()
    code = """
import sys
from unsafe_video_dataset.cli import main
result = main(sys.argv[2:])
"""
    argv = ["report", "org/data", "--out", "page", *flags]
    done = run_client(hub, code, tmp_path, token=hub.reader_token, argv=argv, timeout=120)  # type: ignore[attr-defined]
    assert done.ok() == 0, done.stderr
    assert "alpha" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_a_config_downloads_what_it_needs(hub: LoopbackHub, tmp_path: Path) -> None:
    client(hub, 'result = rows(split="test")', tmp_path).ok()
    fetched = {entry.file for entry in hub.log.select(kind="body")}
    assert not [file for file in fetched if file and ("not_unsafe" in file or "annotations" in file or file.endswith(".md"))]


def test_terms_are_asked_for_and_a_denial_closes_the_cache(hub: LoopbackHub, tmp_path: Path) -> None:
    first = client(hub, 'load_dataset("org/data")', tmp_path)
    assert first.error.type == "TermsNotAccepted"
    client(hub, 'result = rows(split="test")', tmp_path).ok()
    hub.find("org/data").gate("reader", "revoked")
    denied = client(hub, 'load_dataset("org/data", split="test")', tmp_path)
    assert denied.error.type in ("AccessRejected", "AccessNotRequested")
    assert "purge org/data" in denied.error.message
    offline = client(hub, 'load_dataset("org/data", split="test", local_files_only=True)', tmp_path)
    assert offline.error.type == "AccessError"
    kept = client(hub, 'result = len(load_dataset("org/data", split="test", allow_cached=True))', tmp_path)
    assert kept.ok() > 0
    assert "Opening the copy of org/data" in kept.stderr


def test_offline_is_the_pinned_revision_or_nothing(hub: LoopbackHub, tmp_path: Path) -> None:
    client(hub, 'result = rows(split="test", revision="v1.0")', tmp_path).ok()
    hub.log.clear()
    again = client(hub, 'result = rows(split="test", revision="v1.0", local_files_only=True)', tmp_path)
    assert again.ok()
    other = client(hub, 'load_dataset("org/data", revision="v2.0", local_files_only=True)', tmp_path)
    assert other.error.type == "OfflineError"
    assert "v2.0" in other.error.message
    missing = client(hub, 'load_dataset("org/data", "annotations", revision="v1.0", local_files_only=True)', tmp_path)
    assert missing.error.type == "OfflineError"
    assert "data/annotations" in missing.error.message
    assert not hub.log.count()


def test_purge_takes_the_rows_that_datasets_cached_too(hub: LoopbackHub, tmp_path: Path) -> None:
    client(hub, 'result = rows(split="test")', tmp_path).ok()
    assert list(tmp_path.rglob("*.arrow"))
    client(hub, 'from unsafe_video_dataset import purge\nresult = purge("org/data")', tmp_path).ok()
    assert not list(tmp_path.rglob("*.arrow"))
    assert not list(tmp_path.rglob("*.parquet"))
