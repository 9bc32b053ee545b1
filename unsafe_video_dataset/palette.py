"""One colour a category, the same in every figure. Okabe and Ito's palette, which colour-blind readers can tell apart.

Source: M. Okabe and K. Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from .taxonomy import CATEGORIES

BLACK, GREY = "#000000", "#767676"
CATEGORY_COLORS: dict[str, str] = dict(
    zip(CATEGORIES, ("#0072B2", "#E69F00", "#CC79A7", "#D55E00", "#009E73"), strict=True)
)  # blue, orange, reddish purple, vermillion, bluish green
COLORS: dict[str, str] = {**CATEGORY_COLORS, "unsafe": "#D55E00", "not_unsafe": "#56B4E9", "macro": BLACK, "micro": GREY}
"""A colour for each row of a report; `unsafe` and `not_unsafe` never stand beside categories."""
HUMAN, CHANCE = BLACK, GREY
MARKERS: dict[str, str] = dict(zip(CATEGORIES, ("o", "s", "^", "D", "v"), strict=True))
"""A marker a category too, so that no figure rests on colour alone."""
SEQUENTIAL = "cividis"
"""matplotlib's map for heat maps: even in lightness, and the same to colour-blind readers."""
SEQUENTIAL_STOPS: tuple[str, ...] = (
    "#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838",
)  # fmt: skip
"""The same map at 0, 1/8, …, 1, for pages that are drawn without matplotlib."""
