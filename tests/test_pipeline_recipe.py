"""Recipes: read with defaults, refused with every fault at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline_support as support
import pytest

from unsafe_video_dataset.builders.pipeline.recipe import Recipe, ReleaseSettings, read_recipe
from unsafe_video_dataset.builders.pipeline.registry import ORDER, all_stages, check_order
from unsafe_video_dataset.builders.pipeline.source import Source, Sources
from unsafe_video_dataset.errors import FaultsError, FilterError, InputError

FULL = """
[release]
name = "twin"
version = "2.1"
out = "made/release"
work = "made/work"
prompts = "leave_out"
license = "CC0"
[[source]]
name = "one"
folder = "raw/one"
generator = "magictime"
prompt_source = "4chan"
sidecar = "generation.csv"
[[source]]
name = "two"
folder = "raw/two"
layout = "upstream"
generator = "animatediff"
categories = "1=distorted_weird,2=terrifying,3=pornographic,4=violent_bloody,5=political"
[half]
modulo = 3
"""


def read(folder: Path, text: str | bytes) -> Recipe:
    path = folder / "recipe.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_recipe(path, stages=support.QUICK)


def faults(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        read(folder, text)
    return [str(fault) for fault in caught.value.faults]


def test_a_recipe_comes_back_with_its_defaults(tmp_path: Path) -> None:
    recipe = read(tmp_path, FULL)
    assert recipe.release == ReleaseSettings("twin", "2.1", "made/release", "made/work", "leave_out", "CC0")
    assert (recipe.work, recipe.out) == (tmp_path / "made" / "work", tmp_path / "made" / "release")
    assert recipe.sources[0] == Source("one", "raw/one", "folder", "magictime", "4chan", "generation.csv")
    assert recipe.settings == {"ingest": Sources(recipe.sources), "half": support.HalfSettings(modulo=3)}
    assert read(tmp_path, b"\xef\xbb\xbf" + support.RECIPE.encode()).settings["half"] == support.HalfSettings()


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        stray = 1
        [release]
        version = 2
        prompts = "hide"
        [[source]]
        name = "../up"
        folder = "raw/a"
        layout = "sideways"
        [[source]]
        name = "b"
        folder = "raw/b"
        generator = "Magic Time"
        labels = "l.csv"
        colour = "red"
        [half]
        modulo = "two"
        [haff]
        """,
    )
    text = "\n".join(found)
    for expected in (
        "[release.version]: 2; expected a text",
        "[release.prompts]: 'hide'; expected one of keep, leave_out",
        "[release.name]: missing",
        "[source 1 (../up).layout]: 'sideways'",
        "[source 2 (b)]: no setting 'colour'",
        "[half.modulo]: 'two'; expected a whole number",
        "no table [haff]; expected [half]?",
        "no table [stray]",
    ):
        assert expected in text
    assert len(found) == 8


def test_values_are_checked_once_the_kinds_are_right(tmp_path: Path) -> None:
    text = "\n".join(
        faults(
            tmp_path,
            """
            [release]
            name = ""
            out = ""
            [[source]]
            name = "a/b"
            folder = "raw/a"
            generator = "Magic Time"
            labels = "l.csv"
            [[source]]
            name = "b"
            folder = "raw/b"
            layout = "upstream"
            categories = "1=terrifying"
            """,
        )
    )
    for field in (
        "release.name",
        "release.out",
        "(a/b).name",
        "(a/b).generator",
        "(a/b).labels",
        "(b).generator",
        "(b).categories",
    ):
        assert f"{field}]" in text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[release]\nname = ?", r"recipe.toml:2: not TOML"),
        (b"name = '\xff'", "is not UTF-8"),
        ("release = 3", r"\[release\]: 3; expected a table"),
        ("[release]\nname='a'\nsource = []", r"no source"),
        ("[release]\nname='a'", r"at least one \[\[source\]\]"),
        ("source = ['a']\n[release]\nname='a'", "not a list of tables"),
    ],
)
def test_texts_that_are_no_recipe(text: str | bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match=why):
        read(tmp_path, text)


def sources(*pairs: tuple[str, str], **release: str) -> str:
    tables = "".join(f'[[source]]\nname = "{name}"\nfolder = "{folder}"\ngenerator = "g"\n' for name, folder in pairs)
    return '[release]\nname = "a"\n' + "".join(f'{key} = "{value}"\n' for key, value in release.items()) + tables


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (sources(("a", "raw/a"), ("A", "raw/b")), "2 sources have the name 'a'"),
        (sources(("a", "raw"), ("b", "raw/../raw")), "the folders of 'a' and 'b' overlap"),
        (sources(("a", "raw"), ("b", "raw/b")), "the folders of 'a' and 'b' overlap"),
        (sources(("a", "raw"), out="raw/out"), r"\[release.out\].*source 'a'"),
        (sources(("a", "work/raw")), r"\[release.work\].*source 'a'"),
        (sources(("a", "raw"), out="work/out"), r"\[release.out\].*that of work"),
        (sources(("a", "raw"), work="."), r"\[release.work\].*"),
    ],
)
def test_folders_and_names_must_not_meet(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match=why):
        read(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no recipe"):
        read_recipe(tmp_path / "recipe.toml")


def test_the_stages_that_there_are_fit_together() -> None:
    stages = all_stages()
    assert [stage.name for stage in stages][:2] == ["ingest", "probe"]
    assert [stage.name for stage in stages] == [name for name in ORDER if name in {stage.name for stage in stages}]
    check_order(stages)


@dataclass(frozen=True)
class Lost:
    name: str = "lost"
    version: int = 1
    needs: tuple[str, ...] = ("later",)
    settings: type[support.HalfSettings] = support.HalfSettings

    def files(self, settings: Any, base: Path) -> list[Path]:
        return []

    def run(self, context: Any) -> Any:
        raise NotImplementedError


def test_stages_in_an_order_that_can_not_be_are_refused() -> None:
    with pytest.raises(FilterError, match="needs later, which does not come before it"):
        check_order([Lost()])
    with pytest.raises(FilterError, match="stands twice"):
        check_order([support.Made(), support.Made()])
