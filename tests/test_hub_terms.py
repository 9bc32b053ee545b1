"""Terms are shown once and again when they change; the log is the user's; purge removes every copy and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import gate_support as support
import pytest
from hub import LoopbackHub, client_env, run_client, start_client

from unsafe_video_dataset.hub.copies import remember_copy
from unsafe_video_dataset.hub.purge import purge
from unsafe_video_dataset.hub.store import Store
from unsafe_video_dataset.hub.terms import CONTENT_WARNING, LOG_NAME, log_access, read_log, terms_sha256, terms_text

COMMIT = "a" * 40
needs_pty = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
USE = (
    support.QUICK
    + support.STEP
    + """
import json, os, sys
from pathlib import Path
from unsafe_video_dataset.hub import Store, download, purge
from unsafe_video_dataset.hub.terms import read_log
def go(repo="org/data", **options):
    return str(download(repo, config="metadata", progress=False, **options))
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "release"
    support.write_sound(out, videos=10)
    return out


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def test_terms_are_asked_once_and_again_when_they_change(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    hub.repo("org/open", folder=folder)
    support.steps(hub, [lambda: hub.find("org/data").card_data.update(extra_gated_prompt="Other words.")])
    code = (
        USE
        + """
result = [attempt(go), attempt(go, "org/open"), attempt(go, accept_terms=True), attempt(go), Store("org/data").state()["terms"]]
step()
result += [attempt(go), attempt(go, accept_terms=True), attempt(go), Store("org/data").state()["terms"], read_log()]
"""
    )
    first, open_, accepted, then, kept, changed, anew, last, both, log = run_client(hub, code, tmp_path, token=token).ok()
    assert first[1]["type"] == changed[1]["type"] == "TermsNotAccepted"
    assert CONTENT_WARNING in first[1]["message"]
    assert "Use it for research on safety only." in first[1]["message"]
    assert "--accept-terms" in first[1]["message"]
    assert "Other words." in changed[1]["message"]
    assert [outcome for outcome, _ in (open_, accepted, then, anew, last)] == ["ok"] * 5, "an open repository has no terms"
    old = terms_sha256(terms_text("org/data", "Use it for research on safety only."))
    new = terms_sha256(terms_text("org/data", "Other words."))
    assert list(kept) == [old]
    assert sorted(both) == sorted([old, new])
    assert all(moment.startswith("20") for moment in both.values())
    assert [(line["repo_id"], line["terms_sha256"]) for line in log] == [
        ("org/open", None), ("org/data", old), ("org/data", old), ("org/data", new), ("org/data", new),
    ]  # fmt: skip


def test_nothing_is_fetched_before_the_terms_are_accepted(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    assert run_client(hub, USE + "result = attempt(go)", tmp_path, token=token).ok()[0] == "error"
    assert hub.log.count(kind="body") == hub.log.count(kind="resolve") == 0


def on_a_terminal(
    hub: LoopbackHub, tmp_path: Path, token: str, answer: str, asked: Callable[[], object] = lambda: None
) -> tuple[int, bytes]:
    """Exit code of a download that asks on a terminal, and all that the terminal got. `asked` runs while it asks."""
    script = support.QUICK + support.CLI["cli_hub"] + "\nsys.exit(result)"
    mine, theirs = os.openpty()
    argv = [sys.executable, "-c", script, "-", "download", "org/data", "--config", "metadata"]
    environment = client_env(hub, tmp_path, token=token)
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(mine, 4096)
    asked()
    os.write(mine, answer.encode() or b"\x04")
    with contextlib.suppress(OSError):  # how a terminal ends on Linux
        while piece := os.read(mine, 4096):
            said += piece
    code = child.wait(30)
    os.close(mine)
    assert b"Traceback" not in said
    return code, said


@needs_pty
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_the_question_on_a_terminal(hub: LoopbackHub, folder: Path, tmp_path: Path, answer: str, code: int) -> None:
    token = support.gated_repo(hub, folder)
    found, said = on_a_terminal(hub, tmp_path, token, answer)
    assert found == code, said.decode()
    assert b"Use it for research on safety only." in said
    assert said.count(b"[y/N]") == 1
    assert (b"verified" in said) is (code == 0)


@needs_pty
def test_terms_can_not_steer_the_terminal(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    hub.find("org/data").card_data["extra_gated_prompt"] = "I\x1b[2J\x1b]0;title\x07 \u202eagree"
    code, said = on_a_terminal(hub, tmp_path, token, "y\n")
    question = said.partition(b"[y/N]")[0]
    assert code == 0
    assert b"\x1b" not in question
    assert b"\x07" not in question
    assert "\u202e".encode() not in question
    assert rb"I\x1b[2J\x1b]0;title\x07 \u202eagree" in question


@needs_pty
def test_terms_that_change_while_the_question_stands_are_not_accepted(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    repo = hub.find("org/data")
    code, said = on_a_terminal(hub, tmp_path, token, "y\n", lambda: repo.card_data.update(extra_gated_prompt="Other words."))
    assert code == 1
    assert b"Other words." in said
    assert b"changed the terms while you read them" in said
    assert hub.log.count(kind="body") == 0
    state = run_client(hub, USE + 'result = Store("org/data").state()', tmp_path, token=token).ok()
    assert "terms" not in state, "nothing is recorded that nobody saw"


def test_a_hash_accepts_only_its_own_terms(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    shown = terms_sha256(terms_text("org/data", "Use it for research on safety only."))
    code = USE + "result = [attempt(go, accept_terms='0' * 64), attempt(go, accept_terms=sys.argv[2]), attempt(go)]"
    other, mine, then = run_client(hub, code, tmp_path, token=token, argv=[shown]).ok()
    assert other[1]["type"] == "TermsNotAccepted"
    assert (mine[0], then[0]) == ("ok", "ok")


def test_the_log_is_private_and_says_who_what_and_when(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    code = (
        USE
        + """
go(accept_terms=True, revision="v1.0")
os.environ["UNSAFE_VIDEO_ACCESS_LOG"] = "0"
go()
del os.environ["UNSAFE_VIDEO_ACCESS_LOG"]
go(local_files_only=True)
result = [read_log(), str(Store("org/data").root)]
"""
    )
    lines, root = run_client(hub, code, tmp_path, token=token).ok()
    assert [(line["account"], line["config"], line["how"]) for line in lines] == [
        ("reader", "metadata", "online"), ("reader", "metadata", "offline"),
    ]  # fmt: skip
    assert {line["commit"] for line in lines} == {hub.find("org/data").head}
    assert set(lines[0]) == {"when", "account", "repo_id", "commit", "config", "terms_sha256", "how"}
    path = Path(root) / LOG_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    everything = b"".join(file.read_bytes() for file in Path(root).rglob("*") if file.is_file())
    assert token.encode() not in everything, "no token is kept anywhere"
    assert b"moves slowly" not in path.read_bytes(), "and no prompt"


def test_lines_of_two_processes_do_not_mix(hub: LoopbackHub, tmp_path: Path) -> None:
    code = """
import sys
from unsafe_video_dataset.hub import Store
from unsafe_video_dataset.hub.terms import log_access
store = Store("org/data", "cache")
for number in range(400):
    log_access(store, account=sys.argv[2] * 200, commit="a" * 40, config="unsafe", terms=None, how=str(number))
"""
    clients = [start_client(hub, code, tmp_path, argv=[name]) for name in "ab"]
    for client in clients:
        client.wait().ok()
    lines = read_log(tmp_path / "cache")
    assert len(lines) == 800
    for name in "ab":
        assert [line["how"] for line in lines if line["account"] == name * 200] == [str(number) for number in range(400)]


def test_a_torn_line_does_not_take_the_next_along(tmp_path: Path) -> None:
    store = Store("org/data", tmp_path)
    (tmp_path / LOG_NAME).write_bytes(b'{"when": "2026", "acc')
    (tmp_path / LOG_NAME).chmod(0o644)
    threads = [
        threading.Thread(
            target=log_access,
            args=(store,),
            kwargs={"account": "a", "commit": COMMIT, "config": "x", "terms": None, "how": "y"},
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["config"] for line in read_log(tmp_path)] == ["x"] * 4
    assert stat.S_IMODE((tmp_path / LOG_NAME).stat().st_mode) == 0o600


def test_purge_removes_every_copy_and_nothing_else(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = support.gated_repo(hub, folder)
    hub.repo("org/other", folder=folder)
    code = (
        USE
        + """
mine, other = Path(go(accept_terms=True)), Path(go("org/other"))
from unsafe_video_dataset.hub.copies import remember_copy
arrow = Path("arrow/release/unsafe/0.0.0/abc")
arrow.mkdir(parents=True)
(arrow / "release-train.arrow").write_bytes(b"x" * 1000)
(arrow / "dataset_info.json").write_text("{}")
remember_copy(mine, arrow)
remember_copy(mine, arrow)
keep = Path("keep")
keep.mkdir()
(keep / "thesis.tex").write_text("mine")
remember_copy(mine, keep)
(Store("org/data").partial / "half").write_bytes(b"x" * 5000)
before = sum(path.stat().st_size for path in [*mine.rglob("*"), *arrow.iterdir()] if path.is_file())
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    files, size = purge("org/data")
result = {
    "files": files, "size": size, "before": before,
    "mine": mine.exists(), "folder": Store("org/data").folder.exists(), "arrow": arrow.exists(),
    "other": sorted(path.name for path in other.iterdir()), "keep": [p.name for p in keep.iterdir()],
    "warned": [str(one.message) for one in caught], "again": purge("org/data"), "log": len(read_log()),
    "terms": attempt(go),
}
"""
    )
    value = run_client(hub, code, tmp_path, token=token).ok()
    assert (value["mine"], value["folder"], value["arrow"]) == (False, False, False)
    assert value["size"] > value["before"] + 5000
    assert value["other"] == ["data", "manifest.json", "tombstones.parquet"]
    assert value["keep"] == ["thesis.tex"]
    assert "left as it is" in " ".join(value["warned"])
    assert value["again"] == [0, 0]
    assert value["log"] == 2, "the log stays"
    assert value["terms"][1]["type"] == "TermsNotAccepted"


def test_only_copies_of_downloads_are_remembered(folder: Path, tmp_path: Path) -> None:
    remember_copy(folder, tmp_path / "arrow")
    assert not list(tmp_path.iterdir())
    store = Store("org/data", tmp_path)
    store.update(revisions={"main": COMMIT})
    store.commit(COMMIT).mkdir(parents=True)
    remember_copy(store.commit(COMMIT), tmp_path / "arrow")
    assert json.loads((store.folder / "state.json").read_text())["arrow"] == {str(tmp_path / "arrow"): COMMIT}
    assert purge("org/data", cache_dir=tmp_path)[0] == 1


def test_purge_removes_decoded_clips_too(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from unsafe_video_dataset import Release, UnsafeVideoDataset

    store = Store("org/data", tmp_path / "store")
    store.update(revisions={"main": COMMIT})
    shutil.copytree(Release.open().path, store.commit(COMMIT))
    for release in (store.commit(COMMIT), folder):
        UnsafeVideoDataset(Release.open(release), cache=tmp_path / release.name, split="train", size=8)
    dataset = UnsafeVideoDataset(Release.open(store.commit(COMMIT)), cache=tmp_path / COMMIT, split="test", size=8)
    assert dataset[0]["video"].shape == dataset[1]["video"].shape
    assert dataset.cache is not None
    count, size = dataset.cache.usage()
    assert count == 2
    elsewhere = tmp_path / "not-a-cache"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("mine")
    remember_copy(store.commit(COMMIT), elsewhere, kind="frames")
    assert set(json.loads((store.folder / "state.json").read_text())["frames"]) == {str(tmp_path / COMMIT), str(elsewhere)}
    kept = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    assert purge("org/data", cache_dir=tmp_path / "store")[1] == kept + size
    assert dataset.cache.usage() == (0, 0)
    assert (elsewhere / "thesis.tex").exists()
