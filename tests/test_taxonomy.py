"""The closed vocabularies: their order is stored in files, so it is frozen here."""

from __future__ import annotations

import json
import pickle

from unsafe_video_dataset import Category
from unsafe_video_dataset import taxonomy as t


def test_the_order_is_frozen() -> None:
    assert t.TAXONOMY_VERSION == "1.0"
    assert t.CATEGORIES == ("distorted_weird", "terrifying", "pornographic", "violent_bloody", "political")
    assert [category.index for category in Category] == [0, 1, 2, 3, 4]
    assert (*t.CATEGORIES, "none") == t.VOTE_KEYS
    assert t.CONFIGS == ("unsafe", "reviewed", "metadata", "annotations")
    assert t.SPLITS == ("train", "validation", "test")
    assert [g.value for g in t.Generator] == ["magictime", "animatediff", "videocrafter"]
    assert [s.value for s in t.PromptSource] == ["4chan", "lexica"]


def test_titles_and_published_counts() -> None:
    assert list(t.CATEGORY_TITLES) == list(t.CATEGORIES) == list(t.PAPER_COUNTS)
    assert t.CATEGORY_TITLES["distorted_weird"] == "Distorted/Weird"
    assert list(t.PAPER_COUNTS.values()) == [590, 579, 445, 204, 39]
    assert (t.PAPER_UNSAFE, t.PAPER_VIDEOS) == (937, 2000)


def test_a_category_is_its_name() -> None:
    assert Category.POLITICAL == "political"
    assert json.dumps([Category.POLITICAL]) == '["political"]'
    assert {Category.POLITICAL: 1}["political"] == 1  # type: ignore[index]
    assert (str(Category.POLITICAL), f"{Category.POLITICAL}") == ("political", "political")
    assert (str(t.Generator.MAGICTIME), str(t.PromptSource.FOURCHAN)) == ("magictime", "4chan")
    assert Category("terrifying") is Category.TERRIFYING
    assert pickle.loads(pickle.dumps(Category.TERRIFYING)) is Category.TERRIFYING
