"""Pages of the site that are not written in docs/: files of the repository's root, and the help of both command lines."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
COPIES = {"security.md": "SECURITY.md", "datasheet.md": "DATASHEET.md", "changelog.md": "CHANGELOG.md"}


@event_priority(100)
def on_config(config: Any) -> Any:
    """Let mkdocstrings read the sources as they lie when installed: the builders are a part of the package."""
    place = Path(tempfile.mkdtemp(prefix="unsafe-video-docs-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    package = place / "unsafe_video_dataset"
    for source, target in ((ROOT / "unsafe_video_dataset", package), (ROOT / "builders", package / "builders")):
        shutil.copytree(source, target, ignore=lambda folder, names: [n for n in names if _no_code(Path(folder, n))])
    config.plugins["mkdocstrings"].config["handlers"]["python"]["paths"] = [str(place)]
    return config


def on_post_page(output: str, **_: Any) -> str:
    """The theme's search is a dialog without a name; screen readers need one."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _no_code(path: Path) -> bool:
    return path.name == "__pycache__" or (path.is_file() and path.suffix != ".py")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the generated pages; every build makes them anew, so none can be out of date."""
    for page, source in COPIES.items():
        files.append(File.generated(config, page, content=_copied(ROOT / source)))
    files.append(File.generated(config, "cli.md", content=_command_lines()))
    files.append(File.generated(config, "api/defend.md", content=_defenses()))
    return files


def _copied(source: Path) -> str:
    """The file's text; its links to docs/ and to other files of the root lead to pages of the site."""
    text = source.read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"`docs/(\w+\.md)`", r"[\1](\1)", text)
    for page, name in COPIES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


def _defenses() -> str:
    """api/defend.md: every public name of the defences, by the module that it is in."""
    from unsafe_video_dataset import defenses

    lines = ["# Defences", "", "`from unsafe_video_dataset.defenses import LatentVariableDefense`, and so on.", ""]
    for home, name in sorted((home, name) for name, home in defenses._HOMES.items()):
        if home != ".errors":  # these have a page
            lines += [f"::: {defenses.__name__}.{home}.{name}", ""]
    return "\n".join(lines)


def _command_lines() -> str:
    """cli.md: what `--help` says of every command, at a fixed width."""
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    from unsafe_video_dataset import cli
    from unsafe_video_dataset.builders import cli as builders_cli

    lines = ["# Command line", "", "What `--help` says of each command. `--json` prints one object for machines.", ""]
    for main in (cli.main, builders_cli.main):
        for title, text in _helps(main):
            lines += [f"## {title}" if " " not in title else f"### {title}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def _helps(main: Any, words: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(name, help) of a command and, below it, of all that it lists."""
    text = _help(main, [*words])
    found = [(" ".join([text.split()[1], *words]), text)]
    listed = re.search(r"^positional arguments:\n(.*?)^options:", text, flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"^    ([a-z-]+)(?: |$)", listed[1] if listed else "", flags=re.MULTILINE):
        found += _helps(main, (*words, command))
    return found


def _help(main: Any, words: list[str]) -> str:
    """What the real entry point prints for `--help`, no line longer than a page is wide."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    lines = [textwrap.wrap(line, 80, subsequent_indent=_indent(line)) or [""] for line in printed.getvalue().splitlines()]
    return "\n".join(part for wrapped in lines for part in wrapped)


def _indent(line: str) -> str:
    """The blanks that a line begins with, and two more for an example that goes on."""
    blanks = len(line) - len(line.lstrip())
    return " " * (blanks + 2 if blanks else 0)
