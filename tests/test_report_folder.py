"""The folder of a report: whole or not at all, no prompt or address in it, hostile text as text, the gate before revealing."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import releases
from report_support import all_text, calls, hostile_release, only, predict

pytest.importorskip("PIL")

from unsafe_video_dataset import cli_open
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.errors import FilterError, InputError
from unsafe_video_dataset.manifest import read_manifest
from unsafe_video_dataset.palette import CATEGORY_COLORS, SEQUENTIAL, SEQUENTIAL_STOPS
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import folder, thumbnails, write_report
from unsafe_video_dataset.report.page import ASSETS, SCRIPTS, asset, palette_css

Capture = pytest.CaptureFixture[str]


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on hostile prompts, with predictions of a hostile name, not revealed."""
    place = tmp_path_factory.mktemp("hostile")
    release = hostile_release(place / "release")
    named = predict(release, place / "<img src=x onerror=alert(3)>.jsonl", unsafe_only=False)
    return write_report(Release.open(release), place / "out", predictions=[named]).parent


@pytest.fixture(scope="module")
def revealed(hostile: Path) -> Path:
    return write_report(Release.open(hostile.parent / "release"), hostile.parent / "clear", reveal=True).parent


# -- what is in it


def test_files_of_a_report(hostile: Path) -> None:
    assert {path.name for path in hostile.iterdir()} == {"index.html", "palette.css", "data", "thumbs", *ASSETS}
    names = sorted(path.name for path in (hostile / "data").iterdir())
    assert names == ["croissant.js", "detail-0000.js", "release.js", "rows-0000.js", "scores-0.js"]
    for name in names:
        assert len(calls(hostile / "data" / name)) == 1
    info = only(hostile / "data" / "release.js")[0]
    assert [path.name for path in (hostile / "thumbs").iterdir()] == info["sheets"]["files"]
    assert [path.name for path in hostile.parent.iterdir() if path.name.startswith(".")] == []


def test_nothing_leads_out_of_the_folder(hostile: Path) -> None:
    page = Page((hostile / "index.html").read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "style")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            if name in attributes:
                there = attributes[name] or ""
                assert there.startswith("#") or (hostile / there).is_file()
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    text = (hostile / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:", text)
    assert str(hostile.parent / "release") not in all_text(hostile)


def test_scripts_make_no_html_from_text_and_ask_for_nothing() -> None:
    for name in SCRIPTS:
        code = asset(name)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|fetch\(|XMLHttpRequest|import\(|"
            r"WebSocket|EventSource|sendBeacon|localStorage|cookie|setAttribute\(\"(on|style)",
            code,
        ), name
    assert "url(" not in asset("page.css")
    assert "@import" not in asset("page.css")


def test_no_prompt_without_reveal(hostile: Path, revealed: Path) -> None:
    assert "alert(1)" not in all_text(hostile)
    rows = only(revealed / "data" / "detail-0000.js")[1]
    assert all("</script><img src=x onerror=alert(1)>" in row[10] for row in rows)
    assert all("\\u202e" in row[10] and "\u202e" not in row[10] for row in rows)  # it can't turn the text around
    assert "alert(1)" not in (revealed / "index.html").read_text()
    assert "<img" not in (revealed / "data" / "detail-0000.js").read_text()


def test_hostile_names_are_text(hostile: Path, copy: Path, tmp_path: Path) -> None:
    page = Page((hostile / "index.html").read_text(encoding="utf-8"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert "&lt;img src=x onerror=alert(3)&gt;" in (hostile / "index.html").read_text()
    assert only(hostile / "data" / "release.js")[0]["models"] == ["<img src=x onerror=alert(3)>"]
    release = Release.open(copy)
    release.manifest["name"] = "</title><script>alert(4)</script>\u202e"  # the schema refuses it in a file
    text = write_report(release, tmp_path / "out", thumbnails=False).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "\u202e" not in text


def test_marked_only_where_revealed(hostile: Path, revealed: Path) -> None:
    assert "REVEALED" in (revealed / "index.html").read_text().split("<body")[0]
    assert 'class="mark" role="note"' in (revealed / "index.html").read_text()
    assert only(revealed / "data" / "release.js")[0]["revealed"] is True
    assert "REVEALED" not in (hostile / "index.html").read_text()
    assert only(hostile / "data" / "release.js")[0]["revealed"] is False
    assert all(path.name.startswith("clear-") for path in (revealed / "thumbs").iterdir())
    assert not any(path.name.startswith("clear-") for path in (hostile / "thumbs").iterdir())


def test_what_does_not_decode_is_said(hostile: Path) -> None:
    assert "1 video does not decode and has no picture" in (hostile / "index.html").read_text()


def test_charts_have_titles_and_tables(hostile: Path) -> None:
    page = Page((hostile / "index.html").read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-labelledby"] in ids
    assert [tag for tag, _ in page.tags].count("figure") == 12  # 9 of the release, PR, ROC and scores of the model


def test_a_release_without_votes_prompts_or_croissant(unvoted: Path, tmp_path: Path) -> None:
    page = write_report(Release.open(unvoted), tmp_path / "out", thumbnails=False)
    assert "Agreement of raters" not in page.read_text()
    assert "made without thumbnails" in page.read_text()
    assert not (page.parent / "thumbs").exists()
    copy = Path(shutil.copytree(unvoted, tmp_path / "copy"))
    (copy / "croissant.json").unlink()
    bare = write_report(Release.open(copy), tmp_path / "out2", thumbnails=False)
    assert only(bare.parent / "data" / "croissant.js") == [None]


def test_the_croissant_has_no_examples(sample: Release, tmp_path: Path) -> None:
    page = write_report(sample, tmp_path / "out", thumbnails=False, bootstrap=0)
    found = only(page.parent / "data" / "croissant.js")[0]
    assert found == json.loads((sample.path / "croissant.json").read_text(encoding="utf-8"))  # ours has none
    assert folder._without_examples({"@context": {"examples": 1}, "a": [{"examples": ["a prompt"], "b": 2}]}) == {
        "@context": {"examples": 1},
        "a": [{"b": 2}],
    }


def test_a_withdrawn_video_is_not_shown(copy: Path, tmp_path: Path) -> None:
    from test_release import withdraw

    gone = releases.ids(copy)[0]
    withdraw(copy, gone)
    page = write_report(Release.open(copy), tmp_path / "out")
    assert gone not in only(page.parent / "data" / "rows-0000.js")[1]["id"]
    assert only(page.parent / "data" / "release.js")[0]["total"] == 23
    rows = Release.open(copy).metadata().to_pylist()
    votes = [vote for row in rows for vote in row["votes"]]
    said = f"23 reviewed videos, {sum(row['is_unsafe'] for row in rows)} of them unsafe; {len(votes)} votes of "
    said += f"{len({vote['rater_id'] for vote in votes})} raters; {len({row['group_id'] for row in rows})} groups."
    assert said in page.read_text()


def test_one_palette() -> None:
    css = palette_css()
    for name, colour in CATEGORY_COLORS.items():
        assert f"--c-{name}: {colour};" in css
        assert f".fill-{name} {{ fill: var(--c-{name})" in css
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.colors import to_hex

    colours = [to_hex(matplotlib.colormaps[SEQUENTIAL](step / 8)) for step in range(9)]
    assert tuple(colours) == SEQUENTIAL_STOPS


# -- the folder


def test_the_same_input_gives_the_same_files(small: Path, tmp_path: Path) -> None:
    one, other = (write_report(Release.open(small), tmp_path / name).parent for name in "ab")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert [path.relative_to(other) for path in sorted(other.rglob("*")) if path.is_file()] == files
    for path in files:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path


def test_what_may_be_replaced(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, out = Release.open(small), tmp_path / "out"
    write_report(release, out)
    with pytest.raises(InputError, match="--overwrite"):
        write_report(release, out)
    (out / "left").write_text("x")
    monkeypatch.setattr(thumbnails, "_draw", lambda *_, **__: pytest.fail("drawn again"))
    write_report(release, out, overwrite=True)
    assert not (out / "left").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds no report"):
        write_report(release, tmp_path / "mine", overwrite=True)
    with pytest.raises(InputError, match="not a folder"):
        write_report(release, tmp_path / "mine" / "thesis.txt", overwrite=True)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(InputError, match="not a folder"):
        write_report(release, tmp_path / "link", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine", "out"]


@pytest.mark.parametrize("reveal", [False, True])
def test_a_run_that_breaks_leaves_the_old_report(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reveal: bool
) -> None:
    release, out = Release.open(small), tmp_path / "out"
    before = write_report(release, out).read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "index_html", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(release, out, overwrite=True, reveal=reveal)
    assert (out / "index.html").read_bytes() == before
    left = [path.name for path in tmp_path.iterdir() if path.name != "out"]
    assert left == ([] if reveal else [".out.partial"])  # clear frames are not left behind
    monkeypatch.undo()
    write_report(release, out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sheets_of_another_run_do_not_get_in(small: Path, tmp_path: Path) -> None:
    stale = tmp_path / ".out.partial" / "thumbs"
    stale.mkdir(parents=True)
    (stale / "clear-0123456789abcdef.jpg").write_bytes(b"a clear frame")
    page = write_report(Release.open(small), tmp_path / "out")
    assert not (page.parent / "thumbs" / "clear-0123456789abcdef.jpg").exists()


def test_a_release_of_metadata_alone(copy: Path, tmp_path: Path) -> None:
    releases.edit_manifest(copy, lambda manifest: manifest.update(configs=["metadata"]))
    with pytest.raises(FilterError, match="--no-thumbnails"):
        write_report(Release.open(copy), tmp_path / "out")
    assert write_report(Release.open(copy), tmp_path / "out", thumbnails=False).is_file()


# -- the command


def test_the_command(small: Path, tmp_path: Path, capsys: Capture) -> None:
    file = predict(small, tmp_path / "a.jsonl")
    flags = ["report", str(small), "--out", str(tmp_path / "r"), "--predictions", str(file), "--no-thumbnails"]
    assert main([*flags, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"page": str(tmp_path / "r" / "index.html"), "revealed": False}
    assert main(flags) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*flags, "--overwrite"]) == 0
    assert "Open it in a browser" in capsys.readouterr().out


@pytest.mark.parametrize("taken", ["sample", "{small}", "org/repo"])
def test_a_release_behind_predictions_is_found_out(small: Path, tmp_path: Path, capsys: Capture, taken: str) -> None:
    file, taken = predict(small, tmp_path / "a.jsonl"), taken.format(small=small)
    assert main(["report", "--out", str(tmp_path / "r"), "--predictions", str(file), taken]) == 2
    assert f"Give RELEASE first: unsafe-video report {taken} --predictions" in capsys.readouterr().err
    assert main(["report", "--out", str(tmp_path / "r"), "--predictions", "no/such.jsonl"]) == 2
    assert "There is no file of predictions" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "more", "code", "said"),
    [
        (io.StringIO("yes\n"), [], 2, "Add --yes"),  # no terminal: a pipe can't answer
        (Terminal("no\n"), [], 2, "Nothing was written"),
        (Terminal("\n"), [], 2, "Nothing was written"),
        (Terminal(""), [], 2, "Nothing was written"),
        (Terminal("yes\n"), [], 0, "Type yes to go on"),
        (io.StringIO(""), ["--yes"], 0, ""),
    ],
)
def test_reveal_asks_once(
    small: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    stdin: io.StringIO,
    more: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    out = tmp_path / "r"
    assert main(["report", str(small), "--out", str(out), "--reveal", "--no-thumbnails", *more]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("Type yes") == (1 if isinstance(stdin, Terminal) else 0)
    assert out.exists() == (code == 0)
    if code == 0:
        assert "REVEALED" in (out / "index.html").read_text()


def test_yes_alone_reveals_nothing(small: Path, tmp_path: Path) -> None:
    assert main(["report", str(small), "--out", str(tmp_path / "r"), "--yes", "--no-thumbnails", "--json"]) == 0
    assert "REVEALED" not in (tmp_path / "r" / "index.html").read_text()


def test_the_flags_of_a_repository(small: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(path: str, **options: object) -> Release:
        asked.append((path, options))
        return Release(small, *read_manifest(small))

    monkeypatch.setattr(cli_open.Release, "open", hub)
    flags = ["--revision", "v1.0", "--cache-dir", str(tmp_path / "store"), "--accept-terms"]
    assert main(["report", "org/repo", "--out", str(tmp_path / "r"), "--no-thumbnails", "--json", *flags]) == 0
    ((path, options),) = asked
    assert path == "org/repo"
    assert options["revision"] == "v1.0"
    assert options["cache_dir"] == tmp_path / "store"
    assert options["accept_terms"] is True
    assert main(["report", str(small), "--out", str(tmp_path / "s"), "--revision", "v1.0"]) == 2
    assert "--revision is for repositories" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["report", "org/repo", "--token", "hf_secret"])
    assert "does not belong on the command line" in capsys.readouterr().err
