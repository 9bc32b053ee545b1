"""`--print-completion`: the scripts, and words completed by a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unsafe_video_dataset._completion import SHELLS, completion
from unsafe_video_dataset.builders import cli as build_cli
from unsafe_video_dataset.cli import main, make_parser

BASH = shutil.which("bash")
ASK = """
source "$1"
shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
handler=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$handler" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bash script of each command line, as the command prints it."""
    folder, found = tmp_path_factory.mktemp("completion"), {}
    for name, module in (
        ("unsafe-video", "unsafe_video_dataset.cli"),
        ("unsafe-video-build", "unsafe_video_dataset.builders.cli"),
    ):
        command = [sys.executable, "-m", module, "--print-completion", "bash"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        found[name] = folder / name
        found[name].write_text(done.stdout)
    return found


def complete(script: Path, *words: str, cwd: Path) -> list[str]:
    """What bash offers for the last word."""
    if BASH is None:
        pytest.skip("bash is not installed")
    done = subprocess.run([BASH, "--norc", "-c", ASK, "-", str(script), *words], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


def test_a_real_bash_completes_commands_flags_choices_and_paths(scripts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "my_release").mkdir()
    (tmp_path / "my.jsonl").write_text("")
    ask = lambda *words: complete(scripts["unsafe-video"], "unsafe-video", *words, cwd=tmp_path)  # noqa: E731
    assert ask("ev") == ["evaluate"]
    assert ask("evaluate", "--thr") == ["--threshold"]
    assert ask("evaluate", "--split", "va") == ["validation"]
    assert ask("export", "sample", "out", "--to", "l") == ["labelstudio", "lance"]
    assert ask("info", "my") == ["my_release"]
    assert set(ask("evaluate", "my")) == {"my.jsonl", "my_release"}
    assert ask("train", "--epo") == ["--epochs"], "the flags that need torch are there too"
    build = complete(scripts["unsafe-video-build"], "unsafe-video-build", "up", cwd=tmp_path)
    assert build == ["upstream"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_command(shell: str) -> None:
    script = completion(make_parser(), shell=shell)
    assert all(command in script for command in ("info", "leaderboard", "export", "verify"))
    assert "twin" in completion(build_cli.make_parser(), shell=shell)
    assert "==SUPPRESS==" not in script


def test_a_shell_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", "abacus"])
    assert stopped.value.code == 2
    assert "bash" in capsys.readouterr().err
