"""What is printed: plain in a pipe, tidy in a real terminal (a pty), coloured unless NO_COLOR; hostile text is literal."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unsafe_video_dataset import _console
from unsafe_video_dataset._tables import literal, make_table, markdown_table, numeric_columns, plain_text
from unsafe_video_dataset._terminal import Line, form_of, plain_blocks, show, tell
from unsafe_video_dataset.builders import cli as build_cli
from unsafe_video_dataset.cli import make_parser

ESCAPE = "\x1b["
HOSTILE = "[red]a[/red] :smile: \x1b[31mb\x9b1m\u202ec\r\n\td"
WRITTEN = r"[red]a[/red] :smile: \x1b[31mb\x9b1m\u202ec  d"
SAID = f"""
from unsafe_video_dataset._console import Line, make_table, show, tell
show(make_table(("name", "n"), [({HOSTILE!r}, 1), ("long " * 30, 22)], title="t"), Line({HOSTILE!r}, "good"), "note: x")
tell("error", {HOSTILE!r})
"""


def in_terminal(*command: str, columns: int = 80, **environment: str) -> str:
    """stdout and stderr of a command that has a terminal of its own."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    keep = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    env = {**keep, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment}
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=env)
    os.close(side)
    found = b""
    try:
        while piece := os.read(main, 65536):
            found += piece
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(main)
        process.wait(timeout=60)
    return found.decode().replace("\r\n", "\n")


def in_pipe(*command: str, **environment: str) -> tuple[str, str]:
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, timeout=120)
    return done.stdout, done.stderr


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -- a real terminal, a real pipe


def test_a_terminal_gets_colours_and_hostile_text_stays_text() -> None:
    said = in_terminal(sys.executable, "-c", SAID)
    assert "\x1b[1;36mname" in said
    assert "\x1b[32m" in said, "a good line is green"
    assert "\x1b[1;31merror:\x1b[0m" in said
    bare = without_colours(said)
    assert ESCAPE not in bare
    assert "\x9b" not in bare
    assert "\u202e" not in bare
    assert bare.count(WRITTEN) == 1
    assert bare.count(r"[red]a[/red] :smile: \x1b[31mb\x9b1m\u202ec\r") == 2, "outside a table lines stay lines"
    assert max(map(len, bare.splitlines())) <= 80, "long cells are folded, nothing is cut"
    assert bare.count("long") == 30


def test_no_color_keeps_the_table_and_leaves_out_every_escape() -> None:
    said = in_terminal(sys.executable, "-c", SAID, NO_COLOR="1", FORCE_COLOR="1")
    assert "\x1b" not in said
    assert "─" in said
    assert WRITTEN in said
    assert ESCAPE in in_terminal(sys.executable, "-c", SAID, NO_COLOR=""), "an empty NO_COLOR is none"


def test_a_dumb_terminal_gets_what_a_pipe_gets() -> None:
    out, err = in_pipe(sys.executable, "-c", SAID)
    assert in_terminal(sys.executable, "-c", SAID, TERM="dumb") == out + err


def test_a_pipe_gets_the_same_bytes_whatever_the_environment_says() -> None:
    out, err = in_pipe(sys.executable, "-c", SAID)
    assert "\x1b" not in out + err
    assert (
        err
        == "error: "
        + HOSTILE.replace("\x1b", r"\x1b").replace("\x9b", r"\x9b").replace("\u202e", r"\u202e").replace("\r", r"\r")
        + "\n"
    )
    row = next(line for line in out.splitlines() if line.startswith("long"))
    assert row.split() == ["long"] * 30 + ["22"], "no width cuts or wraps a line"
    forced = in_pipe(sys.executable, "-c", SAID, FORCE_COLOR="1", CLICOLOR_FORCE="1", COLUMNS="40", TTY_COMPATIBLE="1")
    assert forced == (out, err)


def test_commands_in_a_terminal_and_in_a_pipe(small: Path) -> None:
    command = [sys.executable, "-m", "unsafe_video_dataset.cli"]
    said = in_terminal(*command, "verify", str(small), columns=40)
    assert f"\x1b[32m{small}: sound" in said, "a long path stays in one piece"
    out, err = in_pipe(*command, "verify", str(small))
    assert (out.splitlines()[-1], err) == (f"{small}: sound", "")
    assert in_pipe(*command, "verify", str(small), COLUMNS="20") == (out, err)
    wrong = in_terminal(*command, "info", "missing")
    assert wrong.startswith("\x1b[1;31merror:\x1b[0m There is no release folder 'missing'")


def test_plain_output_does_not_load_rich() -> None:
    code = f"import sys\n{SAID}\nprint('rich' in sys.modules)"
    assert in_pipe(sys.executable, "-c", code)[0].endswith("False\n")


# -- the forms


@pytest.mark.parametrize(
    ("tty", "environment", "form"),
    [
        (False, {"TERM": "xterm"}, "plain"),
        (True, {"TERM": "xterm"}, "colour"),
        (True, {"TERM": "xterm", "NO_COLOR": "0"}, "tidy"),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, "colour"),
        (True, {"TERM": "dumb"}, "plain"),
        (True, {}, "plain"),
    ],
)
def test_which_form(tty: bool, environment: dict[str, str], form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return tty

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert form_of(Stream()) == form


def test_tables() -> None:
    table = make_table(("name", "n", "share", "mixed"), [("a|b", 5, "-", "-"), ("c", "1,200", "+0.5", "x")], title="t")
    assert numeric_columns(table) == [False, True, True, False]
    assert plain_text(table) == (
        "t\nname      n  share  mixed\n----  -----  -----  -----\na|b       5      -  -\nc     1,200   +0.5  x"
    )
    assert plain_text(table, rule=False, least=6).splitlines()[1] == "name        n  share  mixed"
    assert markdown_table(table).splitlines()[1:3] == ["| --- | ---: | ---: | ---: |", "| a\\|b | 5 | - | - |"]
    assert plain_text(make_table(("a", "b"), [])) == "a  b\n-  -"
    assert literal(HOSTILE) == WRITTEN
    assert literal(None) == "None"


def test_blocks_have_an_empty_line_between_them(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = (make_table(("a",), [(1,)]), "text", Line("line", "bad"))
    show(*blocks)
    captured = capsys.readouterr()
    assert captured.out == "a\n-\n1\n\ntext\n\nline\n" == plain_blocks(*blocks) + "\n"
    tell("fault", "x")
    assert capsys.readouterr().err == "fault: x\n"


def test_json_holds_no_character_that_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _console.print_json({"é": HOSTILE})
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x9b\u202e\r")
    assert json.loads(out) == {"é": HOSTILE}
    assert "é" in out


# -- both command lines


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, those below a command too."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name, parser
    for action in below:
        for word, command in action.choices.items():
            yield from commands(command, f"{name} {word}".strip())


@pytest.mark.parametrize("make", [make_parser, build_cli.make_parser], ids=["unsafe-video", "unsafe-video-build"])
def test_every_command_has_json(make: object) -> None:
    found = dict(commands(make()))  # type: ignore[operator]
    assert len(found) > 5
    assert [name for name, command in found.items() if "--json" not in command.format_help()] == []
