"""The code blocks of README and docs/: found, run, and their shown output compared. `python tests/docs_code.py` renews it.

Every block is run, unless a comment right above it says otherwise (a reader of the page does not see it). What is not
run clones, installs, logs in, needs a reader's own model, or takes long and is run by another test with fewer steps:

    <!-- code: slow -->                   run with the slow tests
    <!-- code: asks the Hub -->           run with the slow tests, against a Hub on this machine
    <!-- code: not run: reason -->        checked: commands, options, files, names that are imported
    <!-- code: another project -->        somebody else's library: checked to be Python, no more
    <!-- code: output -->                 what the block before prints; `…` stands for anything

In Python a line that ends in `# -> text` shows what its expression gives.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unsafe_video_dataset.records import validate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = ("unsafe-video", "unsafe-video-build")
MARKS = ("slow", "asks the Hub", "not run: ", "another project", "output")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- code: (.+?) -->\s*$")


@dataclass
class Block:
    """One fenced block: `text` without its indent, `line` where it begins, `mark` of the comment above, `output` if shown."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    output: str | None = None

    @property
    def where(self) -> str:
        """`page:line`, as an editor opens it."""
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether the default tests run it."""
        return self.language in ("python", "bash") and not self.mark


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order; those that are marked as output are with the block that they belong to."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()].rstrip("\n") + "\n")
        name = mark[1] if mark else ""
        block = Block(
            page.relative_to(ROOT).as_posix(),
            text[: match.start()].count("\n") + 1,
            match["language"],
            textwrap.dedent(match["body"]),
            name,
        )
        if not any(name == known or (known.endswith(": ") and name.startswith(known)) for known in ("", *MARKS)):
            raise AssertionError(f"{block.where}: the mark {name!r} is not known; one of {', '.join(MARKS)}")
        if name == "output":
            assert found, f"{block.where}: an output of no block"
            found[-1].output = block.text
        else:
            found.append(block)
    return found


# --- run -------------------------------------------------------------------------------------------------------------


@dataclass
class Runner:
    """Runs the blocks of one page in the current folder: one namespace, in order. `words`: placeholder -> meaning."""

    words: Mapping[str, str] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=lambda: {"__name__": "__docs__"})

    def run(self, block: Block) -> str:
        """What a block prints. Raises `AssertionError` for a command that fails or a `# ->` that is not so."""
        text = block.text
        for word, value in self.words.items():
            text = re.sub(rf"\b{re.escape(word)}\b", lambda _, value=value: value, text)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if block.language == "python":
                self._python(block, text)
            else:
                for command, expected in commands(text):
                    code = call(command)
                    assert code == expected, f"{block.where}: {shlex.join(command)} ends with {code}"
        return printed.getvalue()

    def _python(self, block: Block, text: str) -> None:
        lines = text.splitlines()
        tree = ast.parse(text, filename=block.where)
        ast.increment_lineno(tree, block.line)
        for node in tree.body:
            last = lines[(node.end_lineno or 0) - block.line - 1]
            shown = last.rsplit("# -> ", 1)[1] if "# -> " in last else None
            if shown is None or not isinstance(node, ast.Expr):
                exec(compile(ast.Module([node], []), block.where, "exec"), self.space)
            else:
                value = eval(compile(ast.Expression(node.value), block.where, "eval"), self.space)
                where = f"{block.page}:{node.end_lineno}"
                assert alike(shown, repr(value)), f"{where}: it gives {value!r}, and the page says {shown}"


def commands(text: str) -> list[tuple[list[str], int]]:
    """The commands of a shell block as words, with the exit code that a comment `# exit code 1` says; else it is 0.

    `~` at the start of a word is the home folder; `> file` stays in the words.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        code = re.search(r"# exit code (\d)", line)
        found += [(part, int(code[1]) if code else 0) for part in _and(shlex.split(line, comments=True)) if part]
    return found


def _and(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word == "&&":
            yield part
            part = []
        else:
            part.append(word)
    yield part


def entry_point(name: str) -> Any:
    """The function behind an installed command."""
    (found,) = metadata.entry_points(group="console_scripts", name=name)
    return found.load()


def call(command: list[str]) -> int:
    """Run one of our commands by its entry point, in this process, or torchrun or mkdir; the exit code."""
    command = [str(Path(word).expanduser()) if word.startswith("~/") else word for word in command]
    if ">" in command:
        *command, _, file = command
        with Path(file).open("w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
            return call(command)
    if command[:2] == ["mkdir", "-p"]:
        Path(command[2]).mkdir(parents=True, exist_ok=True)
        return 0
    if command[0] == "torchrun":
        done = subprocess.run([sys.executable, "-m", "torch.distributed.run", *command[1:]], stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        return done.returncode
    assert command[0] in COMMANDS, f"{command[0]} is none of our commands: mark the block"
    try:
        return int(entry_point(command[0])(command[1:]))
    except SystemExit as error:  # argparse
        return int(error.code or 0)


def alike(shown: str, real: str) -> bool:
    """Whether a text is what is shown, blanks at line ends aside; `…` stands for anything."""

    def trimmed(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).strip()

    pattern = ".*?".join(re.escape(part) for part in trimmed(shown).split("…"))
    return re.fullmatch(pattern, trimmed(real), flags=re.DOTALL) is not None


# --- check without running -------------------------------------------------------------------------------------------


def check(block: Block) -> None:
    """Checks of a block that is not run: `AssertionError` where it names what is not there."""
    if block.language == "bash":
        for command, _ in commands(block.text):
            check_command(command, block.where)
    elif block.language == "python":
        tree = ast.parse(block.text, filename=block.where)
        if block.mark != "another project":
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unsafe_video_dataset"):
                    module = import_module(node.module or "")
                    for name in node.names:
                        below = hasattr(module, "__path__") and find_spec(f"{node.module}.{name.name}")  # a module of it
                        there = hasattr(module, name.name) or below
                        assert there, f"{block.where}: {node.module} has no {name.name}"
    elif block.language == "json":
        records = [(number, json.loads(line)) for number, line in enumerate(block.text.splitlines(), 1)]
        faults = validate("prediction", records, file=block.where)  # the only records that a page shows so far
        assert not faults, f"{block.where}: {faults[0]}"
    else:
        assert block.language in ("text", "toml"), f"{block.where}: the language {block.language!r} is not known here"


def check_command(command: list[str], where: str) -> None:
    """One command of a block that is not run."""
    head, *rest = command
    if head in COMMANDS:
        parses(command, where)
    elif head in ("python", "python3") and rest[:1] != ["-m"]:
        script = ROOT / rest[0]
        assert script.is_file(), f"{where}: there is no {rest[0]}"
        text = script.read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in options(rest[1:])), f"{where}: {rest[0]} has not all of {options(rest[1:])}"
    elif head == "torchrun":
        module = rest[rest.index("-m") + 1]
        flags = rest[rest.index("-m") + 2 :]
        assert module == "unsafe_video_dataset.baseline", f"{where}: torchrun of {module}"
        parses(["unsafe-video", "train", *flags], where)
    elif head == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert rest[0] in targets, f"{where}: no target {rest[0]}"
    elif head == "pip":
        known = metadata.metadata("unsafe-video-dataset").get_all("Provides-Extra") or []
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(rest)):
            missing = set(extra.split(",")) - set(known)
            assert not missing, f"{where}: no extra {missing}"
    else:
        assert head in ("git", "cd", "hf", "export", "mkdir"), f"{where}: {head} is not known here"


def options(words: list[str]) -> list[str]:
    """The words that are options, without values."""
    return [word.split("=", 1)[0] for word in words if word.startswith("--")]


def parses(command: list[str], where: str) -> None:
    """One of our commands goes through its own parser, and its help lists every option; nothing is done."""
    command = command[: command.index(">")] if ">" in command else command
    main = entry_point(command[0])
    space = import_module(main.__module__)
    real, printed = space.run, io.StringIO()
    space.run = lambda *_: 0
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            assert main(command[1:]) == 0
    except SystemExit as error:
        if error.code in (0, None):  # it prints something and ends, as --help does
            return
        raise AssertionError(f"{where}: {shlex.join(command)} is refused: {printed.getvalue()}") from error
    finally:
        space.run = real
    with contextlib.redirect_stdout(printed):
        for words in (command[1:2], command[1:3]):  # `defend` has commands of its own
            with contextlib.suppress(SystemExit):
                main([*words, "--help"])
    for option in options(command[2:]):
        assert re.search(rf"(^|[\s\[]){option}\b", printed.getvalue()), f"{where}: the help of {command[1]} has no {option}"


# --- renew -----------------------------------------------------------------------------------------------------------


def renewed(page: Path, runner: Runner) -> str:
    """The page, each output that is no longer so replaced by the real one."""
    text, place = page.read_text(encoding="utf-8"), 0
    for block in blocks(page):
        if block.runs:
            printed = runner.run(block)
            if block.output is not None:
                shown = f"```text\n{block.output}```"
                real = shown if alike(block.output, printed) else f"```text\n{printed.strip(chr(10))}\n```"
                place = text.index(shown, place)
                text = text[:place] + real + text[place + len(shown) :]
                place += len(real)
    return text


if __name__ == "__main__":
    import tempfile

    import conftest  # noqa: F401  # sets where the Hugging Face libraries keep things, before they are imported
    from docs_material import given

    for each in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            after = renewed(each, Runner(given(each.name, Path(folder))))
            os.chdir(ROOT)
        if after != each.read_text(encoding="utf-8"):
            each.write_text(after, encoding="utf-8")
            print(f"renewed {each.relative_to(ROOT)}")
