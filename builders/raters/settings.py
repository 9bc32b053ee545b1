"""Section `[votes]` of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from unsafe_video_dataset.dawid_skene import SMOOTHING
from unsafe_video_dataset.taxonomy import CATEGORIES, NONE
from unsafe_video_dataset.votes import Method, Tie

from .answers import Key
from .control import Rules


@dataclass(frozen=True)
class Settings(Rules):
    """Section `[votes]`. The rules of quality control are those of `raters.control.Rules`.

    `codes`: a choice's text in the files -> category or `none`. `key`: what names a video in wide and Label Studio files
    (a long CSV says so by its columns); `source`: where `file` and `index` are looked up, if there are several.
    `checks`: question -> right answer (wide, Label Studio). `check_videos`: a CSV of videos with a known answer.
    `rater_ids`: `keyed` hashes them with the key in `key_file` or the environment; `given` says that they are pseudonyms.
    `min_raters`: votes that a video needs. `unsafe`: the rule; a release knows no other than a category.
    """

    files: tuple[str, ...] = ()
    format: Literal["long", "wide", "label_studio"] = "long"
    codes: dict[str, str] = field(default_factory=dict)
    key: Key = "video_id"
    source: str = ""
    question: str = "categories"
    question_prefix: str = "Q_"
    rater_column: str = "ResponseId"
    checks: dict[str, str] = field(default_factory=dict)
    check_videos: str | None = None
    rater_ids: Literal["keyed", "given"] = "keyed"
    key_file: str | None = None
    key_variable: str = "UNSAFE_VIDEO_RATER_KEY"
    method: Method = "majority"
    smoothing: float = SMOOTHING
    tie: Tie = "negative"
    min_raters: int = 1
    unsafe: Literal["any_category"] = "any_category"
    bootstrap: int = 1000
    seed: int = 0

    def problems(self) -> list[tuple[str, str]]:
        """(field, message) of each value that can't be."""
        wrong = sorted(set(self.codes.values()) - {*CATEGORIES, NONE})
        found = [("codes", f"{name!r} is no category; use {', '.join((*CATEGORIES, NONE))}") for name in wrong]
        found += [("min_raters", "must be at least 1")] if self.min_raters < 1 else []
        found += [("smoothing", "must be at least 0")] if not 0 <= self.smoothing < math.inf else []
        found += [(name, "must be at least 0") for name in ("bootstrap", "seed") if getattr(self, name) < 0]
        if self.checks and self.format == "long":
            found.append(("checks", "a long CSV has a column attention_check instead"))
        return [*super().problems(), *found]
