"""recipe.toml -> a checked `Recipe`: sources, release, the settings of every stage; all faults at once."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unsafe_video_dataset.errors import Fault, FaultsError, InputError
from unsafe_video_dataset.records import validate

from .registry import all_stages, check_order
from .settings import read_settings
from .source import Source, Sources, source_faults
from .stage import Stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class ReleaseSettings:
    """`[release]`: what is made and where. `out` and `work` are relative to the recipe."""

    name: str
    version: str = "1.0"
    out: str = "release"
    work: str = "work"
    prompts: Literal["keep", "leave_out"] = "keep"
    license: str | None = None
    datasheet: str | None = None  # the owner's own text, with markers for the figures
    harmless: bool = False  # moving shapes and the like: the card says so
    tombstones: str | None = None  # `tombstones.parquet` of an earlier release: these videos stay withdrawn

    def problems(self) -> list[tuple[str, str]]:
        """(field, message) of each value that can't be used."""
        keys = {"name": "name", "release_version": "version"}
        record = {"name": self.name, "release_version": self.version}
        faults = [fault for fault in validate("manifest", [(None, record)], file="") if fault.field in keys]
        found = [(keys[fault.field or ""], f"{fault.message}; expected {fault.expected}") for fault in faults]
        return found + [(name, "is empty") for name in ("out", "work") if not getattr(self, name)]


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read. `settings` holds an instance of its `settings` class for every stage, by name."""

    file: Path
    release: ReleaseSettings
    sources: tuple[Source, ...]
    stages: tuple[Stage, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The recipe's folder: relative paths in it start here."""
        return self.file.parent

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.base / self.release.work

    @property
    def out(self) -> Path:
        """The folder of the release."""
        return self.base / self.release.out


def read_recipe(path: Path, *, stages: Sequence[Stage] | None = None) -> Recipe:
    """Read a recipe for these stages (default: all that there are).

    A stage whose `settings` class is `Sources` gets the `[[source]]` tables, one with `ReleaseSettings` gets `[release]`;
    every other one gets the table of its name, or its defaults. Raises `InputError` for no file, `FaultsError` with all
    that is wrong in it.
    """
    chosen = tuple(all_stages() if stages is None else stages)
    check_order(chosen)
    if not path.is_file():
        raise InputError(f"There is no recipe {path}. Give a TOML file with [release] and [[source]].")
    faults: list[Fault] = []
    tables = _parse(path)
    release = read_settings(
        ReleaseSettings, _table(tables, "release", path, faults), file=path.name, place="release", faults=faults
    )
    sources = _sources(tables.get("source"), path, faults)
    settings: dict[str, Any] = {}
    for stage in chosen:
        if stage.settings is Sources:
            settings[stage.name] = Sources(sources, release.tombstones if release is not None else None)
        elif stage.settings is ReleaseSettings:
            settings[stage.name] = release
        else:
            table = _table(tables, stage.name, path, faults)
            settings[stage.name] = read_settings(stage.settings, table, file=path.name, place=stage.name, faults=faults)
    known = ["release", "source", *(stage.name for stage in chosen if stage.settings not in (Sources, ReleaseSettings))]
    for name in tables:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"[{near[0]}]?" if near else f"one of {', '.join(known)}"
            faults.append(Fault(path.name, f"no table [{name}]", field=name, expected=hint))
    if release is not None:
        faults += _place_faults(path, release, sources)
    if faults or release is None:
        raise FaultsError(f"{path.name} can't be used; nothing was run", faults)
    return Recipe(path.absolute(), release, sources, chosen, settings)


def _parse(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        return loaded
    except UnicodeDecodeError as error:
        fault = Fault(path.name, f"byte {error.start} is not UTF-8", expected="UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        fault = Fault(path.name, f"not TOML: {error}", line=int(found[1]) if found else None, expected="key = value")
    raise FaultsError(f"{path.name} can't be read", [fault])


def _table(tables: dict[str, Any], name: str, path: Path, faults: list[Fault]) -> dict[str, Any]:
    table = tables.get(name, {})
    if isinstance(table, dict):
        return table
    faults.append(Fault(path.name, f"{table!r:.80}", field=name, expected=f"a table [{name}]"))
    return {}


def _sources(found: Any, path: Path, faults: list[Fault]) -> tuple[Source, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        message = "no source" if not found else "not a list of tables"
        faults.append(Fault(path.name, message, field="source", expected="at least one [[source]] with name and folder"))
        return ()
    read = []
    for number, table in enumerate(found, 1):
        place = f"source {number}" + (f" ({table['name']})" if isinstance(table.get("name"), str) else "")
        read.append(read_settings(Source, table, file=path.name, place=place, faults=faults))
    sources = tuple(source for source in read if source is not None)
    faults += source_faults(sources, file=path.name, base=path.absolute().parent)
    return sources


def _place_faults(path: Path, release: ReleaseSettings, sources: Sequence[Source]) -> list[Fault]:
    """A folder that is written must not hold, or lie in, one that is read; nor each other."""
    base = path.absolute().parent
    written = {name: (base / getattr(release, name)).resolve() for name in ("out", "work")}
    faults = []
    for name, folder in written.items():
        others = [(f"source {source.name!r}", source.path(base).resolve()) for source in sources]
        others += [("work", written["work"])] if name == "out" else []
        for what, other in others:
            if folder.is_relative_to(other) or other.is_relative_to(folder):
                message = f"the folder overlaps with that of {what}"
                faults.append(Fault(path.name, message, field=f"release.{name}", expected="a folder of its own"))
        if release.tombstones is not None and (base / release.tombstones).resolve().is_relative_to(folder):
            message = f"the file lies in `{name}`, which is replaced"
            faults.append(Fault(path.name, message, field="release.tombstones", expected="a copy beside the recipe"))
        if base.resolve().is_relative_to(folder):
            message = "the folder holds the recipe"
            faults.append(Fault(path.name, message, field=f"release.{name}", expected="a folder of its own"))
    return faults
