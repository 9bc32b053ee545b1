"""The upstream layout straight from the Hub, and a release built from it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import gate_support as support
import pytest
from hub import LoopbackHub, run_client

from unsafe_video_dataset.builders.fetch_raw import add_source, open_raw
from unsafe_video_dataset.errors import InputError

FETCH = (
    support.QUICK
    + support.STEP
    + """
import sys
from pathlib import Path
from unsafe_video_dataset.builders.fetch_raw import fetch_raw
def go(**options):
    return str(fetch_raw("org/data", accept_terms=True, progress=False, **options))
"""
)
BUILD = """
import argparse, json
from unsafe_video_dataset.builders.fetch_raw import add_source, open_raw
from unsafe_video_dataset.builders.upstream import UpstreamSettings, build_upstream
from unsafe_video_dataset.release import Release
parser = argparse.ArgumentParser()
parser.add_argument("raw", type=Path)
parser.add_argument("--json", action="store_true")
add_source(parser)
def build(out, *argv):
    raw, source = open_raw(parser.parse_args([*argv, "--json"]))
    pairs = ("distorted_weird", "terrifying", "pornographic", "violent_bloody", "political")
    columns = ",".join(f"{number}={name}" for number, name in enumerate(pairs, 1))
    settings = UpstreamSettings(categories=columns, generator="magictime")
    build_upstream(raw, Path(out), settings, progress=False)
    return [source, Release.open(out).verify().ok, Release.open(out).manifest_sha256]
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def test_every_file_of_the_commit_and_a_release_from_it(hub: LoopbackHub, tmp_path: Path) -> None:
    """What is built from the repository and from a local folder with the same files is the same release."""
    files = {**support.raw_files(), "README.md": b"# Raw\n"}
    token = support.gated_repo(hub, files=files)
    pinned = hub.find("org/data").head
    hub.find("org/data").commit({"0.mp4": support.tiny(99)}, title="another first video")
    local = tmp_path / "local"
    local.mkdir()
    for name, data in files.items():
        (local / name).write_bytes(data)
    code = (
        FETCH
        + BUILD
        + f"""
result = {{
    "folder": go(revision="v1.0"),
    "files": {{p.name: p.read_bytes().hex() for p in Path(go(revision="v1.0")).iterdir()}},
    "remote": build("out", "org/data", "--revision", "v1.0", "--accept-terms"),
    "local": build("same", {str(local)!r}),
    "moved": build("other", "org/data", "--accept-terms"),
    "unknown": attempt(go, revision="v9"),
}}
"""
    )
    value = run_client(hub, code, tmp_path, token=token, timeout=120).ok()
    assert value["folder"].endswith(pinned)
    assert value["files"] == {name: data.hex() for name, data in files.items()}
    assert value["remote"][:2] == [{"repo_id": "org/data", "commit": pinned}, True]
    assert value["local"] == [None, True, value["remote"][2]]
    assert value["moved"][0]["commit"] == hub.find("org/data").head
    assert value["moved"][2] != value["remote"][2]
    assert value["unknown"][1]["type"] == "RevisionError"
    bodies = hub.log.select(kind="body", status=200, method="GET")
    assert len(bodies) == len(files) + 1, "each file once; of the second commit the one that changed"


def test_wrong_bytes_and_denials(hub: LoopbackHub, tmp_path: Path) -> None:
    token = support.gated_repo(hub, files=support.raw_files())
    hub.account("stranger", role="read")
    support.steps(
        hub,
        [
            lambda: hub.fault("corrupt", on="body", path="3.mp4"),
            lambda: hub.fault("corrupt", on="body", path="5.mp4", times=None),
            lambda: hub.fault("reset", on="body", path="5.mp4", after=100),
            lambda: hub.find("org/data").gate("reader", "revoked"),
        ],
    )
    code = (
        FETCH
        + """
result = []
for number in (1, 2, 3, 4):
    step()
    result.append(attempt(go, cache_dir="one" if number == 1 else "two"))
    if result[-1][0] == "ok":
        result[-1] = ["ok", sorted(path.name for path in Path(result[-1][1]).iterdir())]
"""
    )
    once, lasting, mended, revoked = run_client(hub, code, tmp_path, token=token).ok()
    assert once == mended == ["ok", sorted(support.raw_files())]
    assert lasting[1]["type"] == "ChecksumError"
    assert "5.mp4" in lasting[1]["message"]
    assert revoked[1]["type"] == "AccessRejected"


def test_a_release_is_not_raw(hub: LoopbackHub, tmp_path: Path) -> None:
    support.write_sound(tmp_path / "release", videos=10)
    token = support.gated_repo(hub, tmp_path / "release")
    value = run_client(hub, FETCH + "result = attempt(go)", tmp_path, token=token).ok()
    assert value[1]["type"] == "InputError"
    assert "load_dataset('org/data')" in value[1]["message"]


def test_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("raw", type=Path)
    parser.add_argument("--json", action="store_true")
    add_source(parser)
    assert open_raw(parser.parse_args([str(tmp_path)])) == (tmp_path, None)
    with pytest.raises(InputError, match="--revision is for repositories"):
        open_raw(parser.parse_args([str(tmp_path), "--revision", "v1"]))
    with pytest.raises(SystemExit):
        parser.parse_args(["org/data", "--token", "hf_secretsecret"])
    said = capsys.readouterr().err
    assert "HF_TOKEN" in said
    assert "secretsecret" not in said
    shutil.rmtree(tmp_path)
