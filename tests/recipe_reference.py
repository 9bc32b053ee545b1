"""The settings table of docs/recipe.md, from the settings classes themselves: `python tests/recipe_reference.py` writes it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from unsafe_video_dataset.builders.pipeline.recipe import ReleaseSettings
from unsafe_video_dataset.builders.pipeline.registry import all_stages
from unsafe_video_dataset.builders.pipeline.source import Source

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
START, END = "<!-- settings: python tests/recipe_reference.py -->", "<!-- end of settings -->"


def reference() -> str:
    """One section a table of the recipe: what it is, and each key with its default."""
    kinds: dict[str, Any] = {"[release]": ReleaseSettings, "[[source]]": Source}
    kinds |= {f"[{stage.name}]": stage.settings for stage in all_stages() if stage.name not in ("ingest", "write")}
    return "\n\n".join(_section(name, kind) for name, kind in kinds.items())


def _section(name: str, kind: Any) -> str:
    about = " ".join(inspect.getdoc(kind).split())  # type: ignore[union-attr]
    comments = {key: text for base in reversed(kind.__mro__[:-1]) for key, text in _comments(base).items()}
    lines = [f"### `{name}`", "", about.replace("|", "\\|"), "", "| key | default | |", "|---|---|---|"]
    for one in dataclasses.fields(kind):
        lines.append(f"| `{one.name}` | {_default(one)} | {comments.get(one.name, '').replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _default(one: Any) -> str:
    if one.default is not dataclasses.MISSING:
        value = one.default
    elif one.default_factory is not dataclasses.MISSING:
        value = one.default_factory()
    else:
        return "(needed)"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value!r}`"


def _comments(kind: Any) -> dict[str, str]:
    """The comment behind each field in the class's source."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    found = {}
    for node in ast.parse("\n".join(lines)).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = " ".join(line.partition("#")[2].strip() for line in lines[node.lineno - 1 : node.end_lineno])
            found[node.target.id] = text.strip()
    return found


def page_with(text: str) -> str:
    """docs/recipe.md, the reference between its markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    return f"{before}{START}\n\n{text}\n\n{rest[rest.index(END) :]}"


if __name__ == "__main__":
    PAGE.write_text(page_with(reference()), encoding="utf-8")
    sys.stdout.write(f"{reference().count(chr(10))} lines\n")
