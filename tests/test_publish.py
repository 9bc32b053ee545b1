"""Publishing a release: gated before the first byte, whole or not tagged, and only behind the owner's answers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gate_support as support
import pytest
from hub import LoopbackHub, run_client

from unsafe_video_dataset.builders.checklist import QUESTIONS, read_checklist, write_template
from unsafe_video_dataset.builders.publish import publish
from unsafe_video_dataset.errors import FaultsError, FilterError, InputError, NotLoggedIn
from unsafe_video_dataset.release import Release


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    support.write_sound(folder / "v1", videos=20)
    support.write_sound(folder / "v2", videos=16, first=8, version="2.0")
    return folder


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound / "v1", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def answered(path: Path, **changes: str) -> Path:
    """A checklist with an answer to everything."""
    answers = dict.fromkeys(QUESTIONS, "An answer in the owner's words.")
    answers |= {"withdrawal_contact": "Write to withdrawals@example.org.", **changes}
    lines = [f"{key} = {json.dumps(text)}" for key, text in answers.items()]
    path.write_text("\n".join([*lines, 'reviewers = ["A. Reviewer"]']), encoding="utf-8")
    return path


PUBLISH = (
    support.QUICK
    + support.STEP
    + """
import dataclasses, json, sys
from pathlib import Path
from unsafe_video_dataset.builders.publish import publish, summary
def go(folder="out", **options):
    published = publish(Path(folder), "org/data", checklist=Path("checklist.toml"), **options)
    return {**published.to_dict(), "summary": summary(published)}
"""
)


def test_publishes_gated_first_and_verified(hub: LoopbackHub, out: Path, sound: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    sha256 = hashlib.sha256(answered(tmp_path / "checklist.toml").read_bytes()).hexdigest()
    shutil.copytree(sound / "v2", tmp_path / "v2")
    support.write_sound(tmp_path / "other", videos=12)
    code = PUBLISH + "result = [go(), attempt(go, 'other'), go('v2', public=True), go()]"
    first, other, second, again = run_client(hub, code, tmp_path, token=owner.token).ok()
    repo = hub.find("org/data")
    assert (repo.gated, repo.private, sorted(repo.tags)) == ("manual", False, ["v1.0", "v2.0"])
    assert first["private"] is True
    assert second["private"] is False
    assert "private" in first["summary"]
    kinds = [entry.kind for entry in hub.log.select(repo="org/data") + hub.log.select(kind="create")]
    order = [(entry.number, entry.kind) for entry in hub.log.select()]
    gate = next(number for number, kind in order if kind == "settings")
    assert gate < min(number for number, kind in order if kind in ("preupload", "lfs_batch", "lfs_upload", "commit"))
    assert min(number for number, kind in order if kind == "tag") > max(n for n, k in order if k == "commit" and n < 40)
    assert kinds.count("commit") == 2
    for tag, folder in (("v1.0", out), ("v2.0", tmp_path / "v2")):
        files = repo.commits[repo.tags[tag]].files
        local = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert {path: blob.read() for path, blob in files.items() if path != ".gitattributes"} == local, (
            "no stale file, no other"
        )
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["checklist_sha256"] == sha256
    assert first["manifest_sha256"] == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    assert Release.open(out).verify().ok
    assert (other[0], other[1]["type"]) == ("error", "RevisionError")
    assert "v1.0" in other[1]["message"]
    assert again["commit"] == first["commit"], "the same release again changes nothing"


def test_a_dry_run_sends_and_writes_nothing(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    value = run_client(hub, PUBLISH + "result = go(dry_run=True)", tmp_path, token=owner.token).ok()
    assert value["commit"] is None
    assert value["tag"] == "v1.0"
    assert "Nothing was sent" in value["summary"]
    assert hub.log.select() == []
    assert {path: path.read_bytes() for path in before} == before


def test_a_refused_publish_leaves_the_release_as_it_was(hub: LoopbackHub, out: Path, sound: Path, tmp_path: Path) -> None:
    """A tag with other files, a gate that does not hold, a repository with other things, an upload that breaks off."""
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    hub.repo("org/data", folder=sound / "v2").tag("v1.0")

    def gate_is_open() -> None:
        del hub.find("org/data").tags["v1.0"]
        hub.fault("status", on="settings", status=503, times=None)

    def other_things() -> None:
        hub.find("org/data").commit({"thesis.pdf": b"mine"})

    def breaks_off() -> None:
        hub.find("org/data").commit({"thesis.pdf": None})
        hub.fault("corrupt", on="body", path="manifest.json", times=None)

    support.steps(hub, [gate_is_open, other_things, breaks_off, lambda: None])
    code = PUBLISH + "result = [attempt(go)]\nfor _ in range(4):\n    step()\n    result.append(attempt(go))"
    *refused, last = run_client(hub, code, tmp_path, token=owner.token, timeout=120).ok()
    assert [value["type"] for _, value in refused] == ["RevisionError", "HubUnavailable", "InputError", "ChecksumError"]
    assert last[0] == "ok", last
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path in before}
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {out / "manifest.json"}, "and that only by the last, which was published"


@pytest.mark.parametrize("place", ["settings", "commit"])
def test_a_release_is_signed_off_only_when_it_is_published(hub: LoopbackHub, out: Path, tmp_path: Path, place: str) -> None:
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")
    before = (out / "manifest.json").read_bytes()
    hub.fault("status", on=place, status=503, times=None)
    value = run_client(hub, PUBLISH + "result = attempt(go)", tmp_path, token=owner.token).ok()
    assert value[1]["type"] == "HubUnavailable"
    assert (out / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if "manifest" in path.name) == [], "and nothing is left beside it"


def test_who_may_not_publish(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    reader = hub.account("reader", role="read", orgs=("org",))
    stranger = hub.account("stranger")
    answered(tmp_path / "checklist.toml")
    code = PUBLISH + "result = [attempt(go, token=token) for token in (False, *sys.argv[2:])]"
    argv = [reader.token, stranger.token, "hf_thisisnotatokenofanyone"]
    results = run_client(hub, code, tmp_path, argv=argv).ok()
    assert [value["type"] for _, value in results] == ["NotLoggedIn", "AccessError", "AccessError", "InvalidToken"]
    assert not any(token in value["message"] for _, value in results for token in argv)
    assert hub.repos == {}
    offline = run_client(hub, PUBLISH + "result = attempt(go)", tmp_path, token=stranger.token, env={"HF_HUB_OFFLINE": "1"})
    assert offline.ok()[1]["type"] == "OfflineError"


# Where a fault stays until the call gives up; the next call goes on from there.
PLACES = ("refs", "create", "settings", "repo_info", "preupload", "lfs_batch", "lfs_upload", "commit", "tree", "tag")


@pytest.mark.parametrize("name", ["status", "rate_limit", "reset", "captive"])
def test_faults_are_typed_and_a_rerun_goes_on(hub: LoopbackHub, out: Path, tmp_path: Path, name: str) -> None:
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")
    settings: dict[str, dict[str, Any]] = {"rate_limit": {"retry_after": 0}, "reset": {"after": None}}
    options = settings.get(name, {})
    silent = ("settings", "lfs_upload", "tag") if name == "captive" else ()  # what a 200 says there is asked again, elsewhere
    places = [place for place in PLACES if place not in silent]

    def switch_on(place: str) -> None:
        hub.fault(name, on=place, times=None, **options)

    support.steps(hub, [*(lambda place=place: switch_on(place) for place in places), lambda: None])  # type: ignore[misc]
    code = """
import huggingface_hub.utils._http as http
http.time = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
result = []
for _ in range(int(sys.argv[2])):
    step()
    result.append(attempt(go))
"""
    argv = [str(len(places) + 1)]
    *refused, last = run_client(hub, PUBLISH + code, tmp_path, token=owner.token, argv=argv, timeout=120).ok()
    for place, (outcome, value) in zip(places, refused, strict=True):
        assert outcome == "error", place
        assert "HubUnavailable" in value["mro"], (place, value)
        assert owner.token not in value["message"]
        assert "Signature" not in value["message"]
        assert "ublish" in value["message"] or "try again" in value["message"].lower(), value["message"]
    assert last[0] == "ok", last
    repo = hub.find("org/data")
    assert (repo.tags["v1.0"], repo.gated, repo.private) == (last[1]["commit"], "manual", True)
    uploads = [entry.file for entry in hub.log.select(kind="lfs_upload", status=200)]
    assert len(uploads) == len(set(uploads)), "what was uploaded is not uploaded twice"
    assert max(map(len, support.requests_by_step(hub))) < 90


def test_nothing_is_tagged_that_came_back_wrong(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")
    hub.fault("corrupt", on="body", path="manifest.json", times=None)
    value = run_client(hub, PUBLISH + "result = attempt(go)", tmp_path, token=owner.token).ok()
    assert (value[0], value[1]["type"]) == ("error", "ChecksumError")
    assert hub.find("org/data").tags == {}


def test_a_repository_that_is_not_gated_gets_no_byte(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    answered(tmp_path / "checklist.toml")

    def still_open(reply: Any) -> Any:
        hub.find("org/data").gated = False
        return reply

    hub.fault("rewrite", on="settings", edit=still_open, times=None)
    value = run_client(hub, PUBLISH + "result = attempt(go)", tmp_path, token=owner.token).ok()
    assert value[1]["type"] == "HubUnavailable"
    assert "not gated" in value[1]["message"]
    assert hub.log.count(kind="preupload") == hub.log.count(kind="lfs_upload") == hub.log.count(kind="commit") == 0


def test_a_repository_with_other_files_is_left_alone(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    hub.repo("org/data", {"0.mp4": b"0", "1.mp4": b"1", "README.md": b"# Mine\n"})
    before = hub.find("org/data").head
    answered(tmp_path / "checklist.toml")
    value = run_client(hub, PUBLISH + "result = attempt(go)", tmp_path, token=owner.token).ok()
    assert value[1]["type"] == "InputError"
    assert "0.mp4, 1.mp4" in value[1]["message"]
    assert hub.find("org/data").head == before


def test_the_checklist_is_never_uploaded(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    inside = answered(out / "release_checklist.toml")
    with pytest.raises(FaultsError, match="not in the manifest"):
        publish(out, "org/data", checklist=inside, token=False)
    inside.rename(tmp_path / "checklist.toml")
    (out / ".cache").mkdir()
    (out / ".cache" / "notes.txt").write_text("not of the release")
    run_client(hub, PUBLISH + "result = go()", tmp_path, token=owner.token).ok()
    repo = hub.find("org/data")
    assert not [path for path in repo.commits[repo.head].files if "checklist" in path or "notes" in path]


def test_refuses_until_every_question_is_answered(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "checklist.toml"
    with pytest.raises(InputError, match="--init-checklist"):
        publish(out, "org/data", checklist=path)
    write_template(path)
    with pytest.raises(InputError, match="exists"):
        write_template(path)
    with pytest.raises(FaultsError) as caught:
        publish(out, "org/data", checklist=path, dry_run=True)
    assert [fault.field for fault in caught.value.faults] == [*QUESTIONS, "reviewers"], "all at once"
    assert all(question in str(caught.value) for question in QUESTIONS.values())
    for answer in ("TODO", "todo: ask", "tbd", "…", "   ", "N/A", "xxx"):
        with pytest.raises(FaultsError, match="licence"):
            read_checklist(answered(path, licence=answer))
    for contact in ("Ask the authors.", "@ours", "http://", "me@here"):
        with pytest.raises(FaultsError, match="has no address that a person could write to"):
            read_checklist(answered(path, withdrawal_contact=contact))
    assert read_checklist(answered(path, withdrawal_contact="The form at https://example.org/withdraw")).answers
    path.write_text("licence = 3\nother = 'x'\nreviewers = ['', 'B']\n")
    with pytest.raises(FaultsError) as caught:
        read_checklist(path)
    assert {"licence", "reviewers", "other"} <= {fault.field for fault in caught.value.faults}
    path.write_text("licence = ")
    with pytest.raises(InputError, match="not TOML"):
        read_checklist(path)
    found = read_checklist(answered(path))
    assert (found.reviewers, len(found.answers)) == (["A. Reviewer"], len(QUESTIONS))


def test_refuses_what_is_not_sound(out: Path, tmp_path: Path) -> None:
    checklist = answered(tmp_path / "checklist.toml")
    with pytest.raises(FilterError, match="owner/name"):
        publish(out, "data", checklist=checklist)
    with pytest.raises(NotLoggedIn, match="hf auth login"):
        publish(out, "org/data", checklist=checklist, token=False)
    shard = next(out.glob("data/unsafe/train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    with pytest.raises(FaultsError, match="sha256"):
        publish(out, "org/data", checklist=checklist, dry_run=True)


def test_refuses_a_card_without_a_gate(out: Path, tmp_path: Path) -> None:
    card = (out / "README.md").read_text(encoding="utf-8").replace("extra_gated_prompt:", "extra_prompt:").encode()
    (out / "README.md").write_bytes(card)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in manifest["files"] if entry["path"] == "README.md")
    entry.update(bytes=len(card), sha256=hashlib.sha256(card).hexdigest())
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match="extra_gated"):
        publish(out, "org/data", checklist=answered(tmp_path / "checklist.toml"), dry_run=True)


def test_command(hub: LoopbackHub, out: Path, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))

    def run(*argv: str) -> Any:
        return support.run_cli(hub, tmp_path, "publish", *argv, token=owner.token, module="cli_publish")

    made = run("--init-checklist")
    assert made.ok() == 0
    assert "Answer every question" in made.stdout
    refused = run("out", "org/data")
    assert refused.ok() == 2
    assert "not answered" in refused.stderr
    assert "Traceback" not in refused.stderr
    answered(tmp_path / "release_checklist.toml")
    dry = run("out", "org/data", "--dry-run", "--json")
    assert (dry.ok(), json.loads(dry.stdout)["commit"]) == (0, None)
    assert run().ok() == 2
    done = run("out", "org/data")
    assert done.ok() == 0
    assert "gated, verified; private" in done.stdout
    assert owner.token not in done.stdout + done.stderr
    support.write_sound(tmp_path / "other", videos=12)
    assert run("other", "org/data").ok() == 1
    assert "unsafe-video-build publish OUT org/repo" in run("--help").stdout
