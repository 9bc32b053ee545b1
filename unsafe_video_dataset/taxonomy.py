"""The closed vocabularies: categories, generators, prompt sources, splits, configs. Their order is frozen.

Source: arXiv 2407.12581 (NDSS 2025) for categories, models and prompt sources. A class index is a category's position in
`CATEGORIES`; it is stored in Parquet, so a change of order needs a new `TAXONOMY_VERSION`.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, get_args

TAXONOMY_VERSION = "1.0"


class Category(str, Enum):
    """The five categories of unsafe videos, in the paper's order. A category is a `str`: `"political"` works everywhere."""

    DISTORTED_WEIRD = "distorted_weird"
    TERRIFYING = "terrifying"
    PORNOGRAPHIC = "pornographic"
    VIOLENT_BLOODY = "violent_bloody"
    POLITICAL = "political"

    def __str__(self) -> str:
        return self.value  # in a file of predictions, say; an enum's own would be `Category.POLITICAL`

    @property
    def index(self) -> int:  # type: ignore[override]
        """Class index, 0 to 4, as stored in a release."""
        return CATEGORIES.index(self.value)


class Generator(str, Enum):
    """The text-to-video models of the paper. A release may name others; these are the known ones."""

    MAGICTIME = "magictime"
    ANIMATEDIFF = "animatediff"
    VIDEOCRAFTER = "videocrafter"

    def __str__(self) -> str:
        return self.value


class PromptSource(str, Enum):
    """Where the paper's prompts came from. A release may name others, or none."""

    FOURCHAN = "4chan"
    LEXICA = "lexica"

    def __str__(self) -> str:
        return self.value


Config = Literal["unsafe", "reviewed", "metadata", "annotations"]
Split = Literal["train", "validation", "test"]

CATEGORIES: tuple[str, ...] = tuple(category.value for category in Category)
CATEGORY_TITLES: dict[str, str] = dict(
    zip(CATEGORIES, ("Distorted/Weird", "Terrifying", "Pornographic", "Violent/Bloody", "Political"), strict=True)
)
NONE = "none"  # a rater's answer 'none of the categories'
VOTE_KEYS: tuple[str, ...] = (*CATEGORIES, NONE)  # the fields of `vote_counts`, in order
CONFIGS: tuple[str, ...] = get_args(Config)
SPLITS: tuple[str, ...] = get_args(Split)

# Published counts of the upstream label file: videos a category, their union, and videos in all.
PAPER_COUNTS: dict[str, int] = dict(zip(CATEGORIES, (590, 579, 445, 204, 39), strict=True))
PAPER_UNSAFE = 937
PAPER_VIDEOS = 2000
