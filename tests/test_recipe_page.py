"""docs/recipe.md: its settings are those of the code, and its recipe is one."""

from __future__ import annotations

import re
from pathlib import Path

import recipe_reference

from unsafe_video_dataset.builders.pipeline.recipe import read_recipe


def test_the_settings_are_those_of_the_code() -> None:
    page = recipe_reference.PAGE.read_text(encoding="utf-8")
    assert page == recipe_reference.page_with(recipe_reference.reference()), "run: python tests/recipe_reference.py"


def test_the_recipe_on_the_page_can_be_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", recipe_reference.PAGE.read_text(encoding="utf-8"), flags=re.S)
    (tmp_path / "recipe.toml").write_text(block, encoding="utf-8")
    for name in re.findall(r'^folder = "(.*?)"', block, flags=re.M):
        (tmp_path / name).mkdir(parents=True)
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert [source.name for source in recipe.sources] == ["magictime-4chan", "videocrafter-lexica"]
    assert recipe.settings["votes"].method == "dawid_skene"
