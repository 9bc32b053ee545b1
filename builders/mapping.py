"""Which label column is which category: named by the user, or found by the paper's published counts."""

from __future__ import annotations

from collections.abc import Mapping

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORIES, PAPER_COUNTS, PAPER_UNSAFE, PAPER_VIDEOS

from .raw import COLUMNS, RawFolder


def parse_categories(text: str) -> dict[str, str]:
    """`"1=terrifying,2=political,…"` -> column -> category. Raises `InputError` unless it names all five, each once."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    mapping = {name.strip().removeprefix("group"): category.strip() for name, _, category in pairs}
    if sorted(mapping) != list(COLUMNS) or sorted(mapping.values()) != sorted(CATEGORIES) or len(pairs) != len(COLUMNS):
        raise InputError(
            f"--categories {text!r} must name each column 1 to 5 and each category once: "
            + ",".join(f"{column}=<category>" for column in COLUMNS)
            + f" with the categories {', '.join(CATEGORIES)}."
        )
    return mapping


def fits_paper(raw: RawFolder) -> bool:
    """True if column counts, their union, the videos and the prompts are those that were published."""
    union = set().union(*raw.labels.values())
    prompts = PAPER_VIDEOS if raw.prompts is None else len(raw.prompts)
    return (
        sorted(len(indices) for indices in raw.labels.values()) == sorted(PAPER_COUNTS.values())
        and len(union) == PAPER_UNSAFE
        and len(raw.videos) == prompts == PAPER_VIDEOS
    )


def map_by_paper_counts(raw: RawFolder) -> dict[str, str]:
    """Column -> category by the published counts, which are all different. Raises `InputError` where they don't fit.

    No public text says which column is which category; the card's counts a category are the only evidence.
    """
    if fits_paper(raw):
        by_count = {count: category for category, count in PAPER_COUNTS.items()}
        return {column: by_count[len(indices)] for column, indices in raw.labels.items()}
    union = set().union(*raw.labels.values())
    prompts = "no prompt file" if raw.prompts is None else f"{len(raw.prompts)} prompts"
    seen = ", ".join(f"{column}: {len(indices)}" for column, indices in raw.labels.items()) or "no columns"
    published = ", ".join(f"{category}: {count}" for category, count in PAPER_COUNTS.items())
    raise InputError(
        f"The label columns can't be mapped by the paper's counts.\n"
        f"  seen:      {seen}; union {len(union)}; {len(raw.videos)} videos, {prompts}\n"
        f"  published: {published}; union {PAPER_UNSAFE}; {PAPER_VIDEOS} videos, {PAPER_VIDEOS} prompts\n"
        f"Name the columns: --categories " + ",".join(f"{c}=<category>" for c in COLUMNS) + f" ({', '.join(CATEGORIES)})."
    )


def labels_by_index(raw: RawFolder, mapping: Mapping[str, str]) -> dict[int, set[str]]:
    """Video index -> the categories whose columns list it."""
    labels: dict[int, set[str]] = {index: set() for index in raw.videos}
    for column, indices in raw.labels.items():
        for index in indices:
            labels.setdefault(index, set()).add(mapping[column])
    return labels
