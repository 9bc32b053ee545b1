"""A denial of the Hub closes every copy, whoever met it; a state that can't be read keeps them closed; flags that hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gate_support as support
import pytest
from hub import LoopbackHub, run_client

from unsafe_video_dataset.cli import main
from unsafe_video_dataset.hub.terms import LOG_NAME, terms_sha256, terms_text

USE = (
    support.QUICK
    + support.STEP
    + """
import os, warnings
from pathlib import Path
from unsafe_video_dataset.hub import Store, access, download, open_release, plan_download, verify
from unsafe_video_dataset.hub.purge import purge_all
from unsafe_video_dataset.hub.terms import read_log
def go(config="metadata", **options):
    return str(download("org/data", config=config, progress=False, **options))
def offline(**options):
    return attempt(go, local_files_only=True, **options)
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "release"
    support.write_sound(out, videos=10)
    return out


@pytest.fixture
def hub(folder: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        support.gated_repo(hub, folder)
        yield hub


def token(hub: LoopbackHub) -> str:
    return next(iter(hub.accounts))


def test_whoever_meets_a_denial_closes_every_copy(hub: LoopbackHub, tmp_path: Path) -> None:
    repo = hub.find("org/data")
    support.steps(hub, [lambda: repo.gate("reader", "revoked"), lambda: repo.gate("reader", "granted")] * 4)
    code = (
        USE
        + """
def stream():
    step()
    return stream.release.video_bytes(stream.video)
ways = {
    "access": lambda: (step(), access("org/data").raise_for_denial()),
    "dry run": lambda: (step(), plan_download("org/data", config="metadata")),
    "verify": lambda: (step(), verify("org/data", progress=False)),
    "stream": stream,
}
result = {}
for name, way in ways.items():
    go(accept_terms=True)
    go(cache_dir="elsewhere", accept_terms=True)
    stream.release = open_release("org/data", stream=True)
    stream.video = stream.release.metadata(is_unsafe=True)["video_id"][0].as_py()
    before = [offline(), offline(cache_dir="elsewhere")]
    met = attempt(way)
    result[name] = [before, met, [offline(), offline(cache_dir="elsewhere")]]
    step()
"""
    )
    found = run_client(hub, code, tmp_path, token=token(hub)).ok()
    assert len(found) == 4
    for name, (before, met, after) in found.items():
        assert [kind for kind, _ in before] == ["ok", "ok"], name
        assert met[1]["type"] == "AccessRejected", (name, met)
        assert [value["type"] for _, value in after] == ["AccessError"] * 2, (name, after)
        assert all("last denied access" in value["message"] for _, value in after)


def test_a_state_that_cannot_be_read_keeps_the_copy_closed(hub: LoopbackHub, tmp_path: Path) -> None:
    code = (
        USE
        + """
folder = go(accept_terms=True)
commit = Path(folder).name
state = Store("org/data").folder / "state.json"
good = state.read_text()
result = {"commit": commit}
for name, text in {"cut": good[:40], "empty": "", "list": "[]", "other": '{"access": 3}'}.items():
    state.write_text(text)
    result[name] = offline(revision=commit)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result["allowed"] = offline(revision=commit, allow_cached=True)
    result["warned"] = [str(one.message) for one in caught]
result["terms"] = attempt(go)
result["not asked"] = offline(revision=commit)
result["anew"] = attempt(go, accept_terms=True)
result["then"] = offline()
result["left"] = purge_all("org/data").left
go(accept_terms=True)
state.unlink()
result["gone"] = offline(revision=commit)
"""
    )
    found = run_client(hub, code, tmp_path, token=token(hub)).ok()
    for name in ("cut", "empty", "list", "other"):
        kind, value = found[name]
        assert (kind, value["type"]) == ("error", "StorageError"), name
        assert "state.json can't be read" in value["message"]
        assert "unsafe-video download org/data" in value["message"]
    assert found["allowed"][0] == "ok"
    assert "not known what the Hub last said" in found["warned"][0]
    assert found["terms"][1]["type"] == "TermsNotAccepted", "the record of them is gone too"
    for name in ("not asked", "gone"):
        assert found[name][1]["type"] == "AccessError", "no record is no leave"
        assert "is not known here" in found[name][1]["message"]
    assert (found["anew"][0], found["then"][0]) == ("ok", "ok")
    assert "state.json.damaged can't be read" in found["left"][0]


def test_flags_of_the_offline_kind_hold_for_sizes_and_streams(hub: LoopbackHub, tmp_path: Path) -> None:
    repo = hub.find("org/data")
    support.steps(hub, [lambda: None, lambda: repo.gate("reader", "revoked")])
    code = (
        USE
        + """
def first(**options):
    release = open_release("org/data", stream=True, progress=False, **options)
    video = release.metadata(is_unsafe=True)["video_id"][0].as_py()
    return [type(release).__name__, len(release.video_bytes(video))]
result = {"nothing here": attempt(plan_download, "org/data", local_files_only=True)}
go(accept_terms=True)
step()
plan = plan_download("org/data", local_files_only=True)
result["sizes"] = [bool(plan.bytes_to_fetch), len(plan.here), len(plan.fetch)]
result["incomplete"] = attempt(first, local_files_only=True)
step()
result["denied"] = [attempt(first), attempt(first, allow_cached=True)]
"""
    )
    found = run_client(hub, code, tmp_path, token=token(hub)).ok()
    asked = support.requests_by_step(hub)
    assert found["nothing here"][1]["type"] == "OfflineError"
    missing, here, to_fetch = found["sizes"]
    assert (missing, here) == (True, 5)
    assert to_fetch >= 3
    assert found["incomplete"][1]["type"] == "OfflineError"
    assert asked[0] == [], "nothing is asked of the network"
    assert [value["type"] for _, value in found["denied"]] == ["AccessRejected", "OfflineError"]
    assert "missing or damaged here" in found["denied"][1][1]["message"]


def test_a_stream_opens_the_copy_where_the_hub_says_no_and_the_user_allows_it(hub: LoopbackHub, tmp_path: Path) -> None:
    support.steps(hub, [lambda: hub.find("org/data").gate("reader", "revoked")])
    code = (
        USE
        + """
def first(**options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        release = open_release("org/data", stream=True, progress=False, **options)
        video = release.metadata(is_unsafe=True)["video_id"][0].as_py()
        return [type(release).__name__, len(release.video_bytes(video)) > 0, [str(one.message) for one in caught]]
"""
    )
    more = """
go("unsafe", accept_terms=True)
result = [first(allow_cached=True)]
step()
result += [first(allow_cached=True), attempt(first)]
"""
    online, copy, refused = run_client(hub, code + more, tmp_path, token=token(hub)).ok()
    assert online == ["RemoteRelease", True, []], "with access it is a stream as ever"
    assert copy[:2] == ["Release", True]
    assert "Opening the copy of org/data" in copy[2][0]
    assert refused[1]["type"] == "AccessRejected"
    hub.log.clear()
    hub.find("org/data").gate("reader", "granted")
    offline = run_client(hub, code + "result = first(allow_cached=True)", tmp_path, env={"HF_HUB_OFFLINE": "1"}).ok()
    assert offline[:2] == ["Release", True]
    assert hub.log.count() == 0


def test_the_log_keeps_the_terms_of_each_commit(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    repo = hub.find("org/data")
    first = repo.head

    def change() -> None:
        repo.card_data["extra_gated_prompt"] = "Other words."
        repo.commit({"NEWS.md": b"news"})

    support.steps(hub, [change])
    code = (
        USE
        + """
first = Path(go(accept_terms=True)).name
step()
second = Path(go(accept_terms=True)).name
offline(revision=first), offline(revision=second)
open_release("org/data", stream=True, revision=second, progress=False)
result = [[line["how"], line["commit"], line["terms_sha256"]] for line in read_log()]
"""
    )
    lines = run_client(hub, code, tmp_path, token=token(hub)).ok()
    old = terms_sha256(terms_text("org/data", "Use it for research on safety only."))
    new = terms_sha256(terms_text("org/data", "Other words."))
    assert lines == [
        ["online", first, old], ["online", repo.head, new], ["offline", first, old], ["offline", repo.head, new],
        ["online", repo.head, new], ["stream", repo.head, new],
    ]  # fmt: skip


def test_the_table_of_the_log_shows_terms_and_counts_what_it_can_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = '{"when": "2026", "account": "reader", "repo_id": "org/data", "commit": "c", "terms_sha256": "0123456789abcdef"}\n'
    (tmp_path / LOG_NAME).write_text('{"when": "20\n' + line + "[]\n\n")
    assert main(["log", "--cache-dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "terms" in said.out.splitlines()[0]
    assert "0123456789ab " in said.out
    assert said.err == "warning: 2 lines of the log can't be read and are not shown\n"
