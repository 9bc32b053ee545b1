"""The commands that ask the Hub, each in a process of its own: what they print, their exit codes, and no token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gate_support as support
import pytest
import releases
from hub import ClientResult, LoopbackHub

from unsafe_video_dataset import Release, write_predictions
from unsafe_video_dataset.naming import UPSTREAM
from unsafe_video_dataset.taxonomy import CATEGORIES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "release"
    support.write_sound(out, videos=12)
    return out


@pytest.fixture
def hub(folder: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        support.gated_repo(hub, folder)
        yield hub


def reader(hub: LoopbackHub) -> str:
    return next(account.token for account in hub.accounts.values() if account.name == "reader")


def run(hub: LoopbackHub, tmp_path: Path, *argv: str, token: str | None = None, **env: str) -> ClientResult:
    result = support.run_cli(hub, tmp_path, *argv, token=token, env=env)
    assert "Traceback" not in result.stderr, result.stderr
    assert token is None or token not in result.stdout + result.stderr
    assert "Signature" not in result.stdout + result.stderr
    return result


def test_access(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.account("stranger", role="read")
    stranger = next(account.token for account in hub.accounts.values() if account.name == "stranger")
    granted = run(hub, tmp_path, "access", "org/data", token=reader(hub))
    assert granted.ok() == 0
    assert "reader" in granted.stdout
    denied = run(hub, tmp_path, "access", "org/data", "--json", token=stranger)
    status = json.loads(denied.stdout)
    assert (denied.ok(), status["state"], status["granted"], status["account"]) == (1, "not_requested", False, "stranger")
    assert f"{hub.endpoint}/datasets/org/data" in status["next_step"]
    anonymous = run(hub, tmp_path, "access", "org/data")
    assert (anonymous.ok(), "not logged in" in anonymous.stdout) == (1, True)
    assert run(hub, tmp_path, "access", "data").ok() == 2
    secret = support.run_cli(hub, tmp_path, "access", "org/data", "--token", "hf_verysecretindeed")
    assert secret.returncode == 2
    assert "HF_TOKEN" in secret.stderr
    assert "verysecret" not in secret.stdout + secret.stderr


def test_download(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = reader(hub)
    dry = run(hub, tmp_path, "download", "org/data", "--config", "metadata", "--dry-run", token=token)
    assert dry.ok() == 0
    assert "data/metadata/train.parquet" in dry.stdout
    assert "to fetch" in dry.stdout
    assert hub.log.count(kind="body") == 0
    plan = json.loads(run(hub, tmp_path, "download", "org/data", "--dry-run", "--json", token=token).stdout)
    assert plan["bytes_to_fetch"] == sum(file["bytes"] for file in plan["files"])
    refused = run(hub, tmp_path, "download", "org/data", token=token)
    assert (refused.ok(), refused.stdout) == (1, "")
    assert "--accept-terms" in refused.stderr
    done = run(hub, tmp_path, "download", "org/data", "--config", "all", "--accept-terms", "--json", token=token)
    found = json.loads(done.stdout)
    assert (done.ok(), found["commit"]) == (0, hub.find("org/data").head)
    assert (Path(found["folder"]) / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    offline = run(hub, tmp_path, "download", "org/data", "--offline", "--revision", "v1.0", HF_HUB_OFFLINE="1")
    assert offline.ok() == 1
    assert "not on this machine" in offline.stderr
    assert run(hub, tmp_path, "download", "org/data", "--offline", HF_HUB_OFFLINE="1").ok() == 0
    unknown = run(hub, tmp_path, "download", "org/data", "--revision", "v9", token=token)
    assert (unknown.ok(), "v9" in unknown.stderr) == (1, True)


def test_verify(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    token = reader(hub)
    sound = run(hub, tmp_path, "verify", str(folder), "--decode")
    assert sound.ok() == 0
    assert sound.stdout.splitlines()[-1].endswith("release: sound")
    assert "decoded          12" in sound.stdout
    remote = run(hub, tmp_path, "verify", "org/data", "--revision", "v1.0", "--accept-terms", "--json", token=token)
    report = json.loads(remote.stdout)
    assert (remote.ok(), report["ok"], report["videos"]) == (0, True, 12)
    shard = next(Path(report["release"]).glob("data/unsafe/train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    (Path(report["release"]) / "extra.txt").write_text("x")
    broken = run(hub, tmp_path, "verify", report["release"])
    assert broken.ok() == 1
    assert "sha256" in broken.stderr
    assert "extra.txt" in broken.stderr, "all faults at once"
    assert run(hub, tmp_path, "verify", str(folder), "--revision", "v1.0").ok() == 2
    assert run(hub, tmp_path, "verify", str(tmp_path / "nothing")).ok() == 2
    for name, env, reason in (
        ("org/missing", {}, "There is no dataset org/missing"),
        ("release/nowhere", {"HF_HUB_OFFLINE": "1"}, "The network is switched off"),
    ):
        mistyped = run(hub, tmp_path, "verify", name, token=token, **env)
        assert mistyped.ok() == 1
        assert reason in mistyped.stderr
        assert f"There is no folder '{name}' here" in mistyped.stderr, "the other thing that the name may mean"


@pytest.mark.parametrize("endpoint", ["huggingface.example", "ftp://huggingface.example", "https://"])
def test_an_endpoint_that_is_no_address_is_named(hub: LoopbackHub, tmp_path: Path, endpoint: str) -> None:
    for command in ("access", "verify"):
        refused = run(hub, tmp_path, command, "org/data", HF_ENDPOINT=endpoint)
        assert refused.ok() == 2
        assert f"HF_ENDPOINT is '{endpoint.rstrip('/')}'" in refused.stderr
        assert "must start with https://" in refused.stderr


def test_verify_lists_everything_that_is_wrong_on_the_hub(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    """Two files that arrive changed, one that the manifest does not know, one that the Hub does not list."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    gone = next(name for name in files if name.startswith("data/not_unsafe/train"))
    extra = "data/unsafe/extra-00000-of-00001.parquet"
    del files[gone]
    hub.repo("org/wrong", files={**files, extra: b"PAR1"}, gated="manual").gate("reader", "granted")
    changed = ["data/metadata/train.parquet", "data/metadata/test.parquet"]
    for name in changed:
        hub.fault("corrupt", on="body", path=name, of="org/wrong", times=None)
    found = run(hub, tmp_path, "verify", "org/wrong", "--accept-terms", "--json", token=reader(hub))
    report = json.loads(found.stdout)
    assert (found.ok(), report["ok"]) == (1, False)
    assert {gone, extra, *changed} <= {fault["file"] for fault in report["faults"]}


def test_purge_and_log(hub: LoopbackHub, tmp_path: Path) -> None:
    run(hub, tmp_path, "download", "org/data", "--config", "metadata", "--accept-terms", token=reader(hub)).ok()
    assert run(hub, tmp_path / "new", "log").stdout == "The log is empty: no repository was opened here.\n"
    log = run(hub, tmp_path, "log")
    assert log.ok() == 0
    assert "org/data" in log.stdout
    assert json.loads(run(hub, tmp_path, "log", "--json").stdout)[0]["account"] == "reader"
    removed = json.loads(run(hub, tmp_path, "purge", "org/data", "--json").stdout)
    assert removed["files"] >= 5
    assert removed["bytes"] > 10_000
    again = run(hub, tmp_path, "purge", "org/data").stdout
    assert "Removed 0 files" in again
    assert "There is no copy here" in again
    assert run(hub, tmp_path, "purge", "../up").ok() == 2


def test_every_command_that_reads_a_release_takes_the_terms(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    """Without `--accept-terms` it is refused with that word; with it (once) a repository works as a folder does."""
    ids = releases.ids(Release.open(folder), "test", is_unsafe=True)
    scores = dict.fromkeys(CATEGORIES, 0.5)
    write_predictions(tmp_path / "mine.jsonl", [{"video_id": one, "scores": scores} for one in ids])
    mine, quick = str(tmp_path / "mine.jsonl"), ("--bootstrap", "0", "--json")
    train = ("--epochs", "1", "--size", "16", "--num-frames", "2", "--out", str(tmp_path / "train"), "--json")
    for number, command in enumerate(
        (
            ("info", "org/data", "--json"),
            ("evaluate", mine, "--release", "org/data", *quick),
            ("leaderboard", mine, "--release", "org/data", *quick),
            ("train", "--release", "org/data", *train),
        )
    ):
        own = tmp_path / str(number)  # a machine of its own, on which nothing is accepted yet
        refused = run(hub, own, *command, token=reader(hub))
        assert (refused.ok(), "add --accept-terms to the command" in refused.stderr) == (1, True), command
        accept = ("--accept-terms", "--revision", "v1.0", "--cache-dir", str(own / "cache"))
        done = run(hub, own, *command, *accept, token=reader(hub))
        assert (done.ok(), bool(json.loads(done.stdout))) == (0, True), done.stderr
        assert (own / "cache" / "org--data").is_dir()
    wrong = run(hub, tmp_path, "info", "sample", "--revision", "v1.0")
    assert (wrong.ok(), "--revision is for repositories" in wrong.stderr) == (2, True)


def test_raw_upstream_files_are_said_to_be_no_release(hub: LoopbackHub, tmp_path: Path) -> None:
    """`access` of the paper's data names the builder, and `verify` fetches nothing of what is no release."""
    hub.repo(UPSTREAM, files={"0.mp4": b"no video", "prompts.txt": b"a shape"}, gated="manual").gate("reader", "granted")
    build = f"unsafe-video-build upstream {UPSTREAM} OUT"
    status = json.loads(run(hub, tmp_path, "access", UPSTREAM, "--json", token=reader(hub)).stdout)
    assert (status["state"], build in status["next_step"]) == ("granted", True)
    before = hub.log.count(kind="body")
    found = run(hub, tmp_path, "verify", UPSTREAM, "--accept-terms", token=reader(hub))
    assert (found.ok(), build in found.stderr, hub.log.count(kind="body")) == (1, True, before)


def test_export_from_the_hub_goes_with_purge(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    """A gated release is exported by its name, with the terms accepted; `purge` finds the copy wherever it stands."""
    out, token = tmp_path / "elsewhere" / "tasks", reader(hub)
    refused = run(hub, tmp_path, "export", "org/data", str(out), "--to", "labelstudio", token=token)
    assert (refused.ok(), "--accept-terms" in refused.stderr, out.exists()) == (1, True, False)
    accept = ("--accept-terms", "--json")
    done = run(hub, tmp_path, "export", "org/data", str(out), "--to", "labelstudio", "--split", "train", *accept, token=token)
    report = json.loads(done.stdout)
    assert (done.ok(), report["media"]) == (0, True)
    assert len(list(out.glob("media/*.mp4"))) == report["videos"] > 0
    stray = run(hub, tmp_path, "export", "org/data", str(tmp_path / "csv"), "--to", "csv", *accept, token=token)
    assert stray.ok() == 0
    stranger = run(hub, tmp_path, "export", "org/data", str(tmp_path / "no"), "--to", "csv", "--accept-terms")
    assert (stranger.ok(), (tmp_path / "no").exists()) == (1, False)
    removed = json.loads(run(hub, tmp_path, "purge", "org/data", "--json").stdout)
    assert removed["files"] > report["files"]
    assert not out.exists()
    assert not (tmp_path / "csv").exists()


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from unsafe_video_dataset.cli_hub import add_commands

    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    for command in ("access", "download", "verify", "purge", "log"):
        with pytest.raises(SystemExit):
            parser.parse_args([command, "--help"])
        said = capsys.readouterr().out
        assert f"example:\n  unsafe-video {command}" in said
        assert "--token" not in said
