"""`purge` finds every copy: in every cache folder that was used, and what other parts of the package made from a download."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gate_support as support
import pytest
from hub import LoopbackHub, run_client

from unsafe_video_dataset import Release
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.hub import roots
from unsafe_video_dataset.hub.purge import purge, purge_all
from unsafe_video_dataset.hub.store import Store

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own: cache folders of other tests are not known there."""
    monkeypatch.setattr(roots.constants, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Store:
    """`small` as if it had been downloaded into a folder that is not the default one."""
    store = Store("org/data", tmp_path / "store")
    store.update(revisions={"main": COMMIT}, access={"granted": True})
    shutil.copytree(small, store.commit(COMMIT))
    return store


@pytest.fixture
def hub(small: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        support.gated_repo(hub, small)
        yield hub


def test_every_cache_folder_is_purged_and_logged(hub: LoopbackHub, tmp_path: Path) -> None:
    token = next(iter(hub.accounts))
    code = (
        support.QUICK
        + """
import os
from pathlib import Path
from unsafe_video_dataset.hub import download, purge
from unsafe_video_dataset.hub.terms import read_log
def go(**where):
    return str(download("org/data", config="metadata", progress=False, accept_terms=True, **where))
folders = [go(), go(cache_dir="elsewhere")]
os.environ["UNSAFE_VIDEO_CACHE"] = "scratch"
folders += [go()]
del os.environ["UNSAFE_VIDEO_CACHE"]
seen = len(read_log())
one = purge("org/data", cache_dir="elsewhere")
left = [Path(folder).exists() for folder in folders]
files, _ = purge("org/data")
result = [len(set(folders)), seen, one[0], left, files, [Path(folder).exists() for folder in folders], purge("org/data")]
"""
    )
    number, seen, one, left, files, there, again = run_client(hub, code, tmp_path, token=token).ok()
    assert (number, seen) == (3, 3)
    assert one >= 5
    assert left == [True, False, True], "--cache-dir means that one alone"
    assert files == 2 * one
    assert there == [False] * 3
    assert again == [0, 0]


def test_a_folder_that_cannot_be_noted_is_warned_of(tmp_path: Path, home: Path) -> None:
    home.write_text("a file where the home folder should be")
    with pytest.warns(UserWarning, match=r"will not find it by itself.*--cache-dir"):
        Store("org/data", tmp_path / "store").make_folders()


def test_a_damaged_list_of_folders_is_told(store: Store, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = home / "unsafe-video-dataset" / roots.INDEX_NAME
    assert [json.loads(line) for line in index.read_text().split()] == [str(store.root)]
    store.make_folders()
    assert len(index.read_text().split()) == 1, "written once"
    index.write_text(f'"/half{index.read_text()}')  # a torn line does not take the next along
    assert main(["purge", "org/data"]) == 1
    said = capsys.readouterr()
    assert "1 lines that can't be read" in said.err
    assert not store.folder.exists()
    assert main(["purge", "org/data", "--cache-dir", str(store.root)]) == 0


def test_rows_of_a_process_that_was_killed_go_with_purge(store: Store, tmp_path: Path) -> None:
    code = f"""
import os, sys
from unsafe_video_dataset import Release
from unsafe_video_dataset.hf import ReleaseBuilder
write = ReleaseBuilder._generate_tables
def killed(self, files):
    yield from write(self, files)
    if "test" in files[0]:
        os._exit(9)
ReleaseBuilder._generate_tables = killed
ReleaseBuilder(Release.open({str(store.commit(COMMIT))!r}), cache_dir={str(tmp_path / "arrow")!r}).download_and_prepare()
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=240).returncode == 9
    assert list((tmp_path / "arrow").rglob("*.arrow"))
    assert purge_all("org/data").left == []
    assert not list((tmp_path / "arrow").rglob("*.arrow"))
    assert not list((tmp_path / "arrow").rglob("*_checked.lock"))


@pytest.mark.parametrize("damage", ["cut", "aside"])
def test_records_that_cannot_be_read_are_told(store: Store, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    (store.folder / "state.json").write_text('{"arrow": {"/so')
    if damage == "aside":  # as after the Hub answered anew
        store.renew_state()
        assert store.state() == {}
    assert main(["purge", "org/data", "--json"]) == 1
    said = capsys.readouterr()
    assert "can't be read: copies of org/data" in said.err
    assert json.loads(said.out)["left"]
    assert not store.folder.exists()


@pytest.mark.parametrize("reveal", [False, True])
def test_reports_of_a_download_go_with_purge(store: Store, small: Path, tmp_path: Path, reveal: bool) -> None:
    pytest.importorskip("PIL")
    from unsafe_video_dataset.report import write_report

    downloaded = Release.open(store.commit(COMMIT))
    for name in ("plain", "mixed"):
        write_report(downloaded, tmp_path / name, reveal=reveal, bootstrap=0)
    write_report(Release.open(small), tmp_path / "local", thumbnails=False, bootstrap=0)
    (tmp_path / "mixed" / "thesis.tex").write_text("mine")
    stopped = tmp_path / ".plain.partial" / "thumbs"
    stopped.mkdir(parents=True)
    (stopped / "half.jpg").write_bytes(b"x")
    done = purge_all("org/data")
    assert not (tmp_path / "plain").exists()
    assert not stopped.parent.exists()
    assert [path.name for path in (tmp_path / "mixed").rglob("*")] == ["thesis.tex"]
    assert (tmp_path / "local" / "index.html").is_file()
    assert [sentence.split(" holds")[0] for sentence in done.left] == [str(tmp_path / "mixed")]


def test_a_release_that_was_built_from_a_download_is_listed_and_stays(tmp_path: Path) -> None:
    from unsafe_video_dataset.builders.cli import main as build

    store, out = Store("org/raw", tmp_path / "store"), tmp_path / "mine"
    store.update(revisions={"main": COMMIT}, access={"granted": True})
    store.commit(COMMIT).mkdir(parents=True)
    for name, data in support.raw_files().items():
        (store.commit(COMMIT) / name).write_bytes(data)
    names = "1=distorted_weird,2=terrifying,3=pornographic,4=violent_bloody,5=political"
    argv = ["upstream", str(store.commit(COMMIT)), str(out), "--generator", "magictime", "--categories", names]
    assert build(argv) == 0
    for _ in range(2):  # the second purge says so too
        with pytest.warns(UserWarning, match="mine is a release that you built from org/raw.*remove it yourself"):
            purge("org/raw")
        assert not store.commit(COMMIT).exists()
        assert (out / "manifest.json").is_file()
    shutil.rmtree(out)
    assert purge_all("org/raw").left == []
    assert not store.folder.exists()
