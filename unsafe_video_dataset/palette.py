"""One colour a category, the same in every figure; other colours for everything that is no category.

Both sets can be told apart by colour-blind readers. Categories: M. Okabe and K. Ito, Color Universal Design (2008),
https://jfly.uni-koeln.de/color/. The rest: P. Tol, Colour Schemes (2021), "muted", https://personal.sron.nl/~pault/.
No other file of the package names a colour, but for the style sheet of the report's page.
"""

from __future__ import annotations

from .taxonomy import CATEGORIES

BLACK, GREY, WHITE = "#000000", "#767676", "#ffffff"
GRID, EMPTY, BEHIND = "#e4e4e4", "#ececec", "#808080"
"""Lines of a grid, a cell of a heat map without a value, what is behind a frame."""
CATEGORY_COLORS: dict[str, str] = dict(
    zip(CATEGORIES, ("#0072B2", "#E69F00", "#CC79A7", "#D55E00", "#009E73"), strict=True)
)  # blue, orange, reddish purple, vermillion, bluish green
COLORS: dict[str, str] = {**CATEGORY_COLORS, "unsafe": "#D55E00", "not_unsafe": "#56B4E9", "macro": BLACK, "micro": GREY}
"""A colour for each row of a report; `unsafe` and `not_unsafe` never stand beside categories."""
INDIGO, CYAN, TEAL, OLIVE, ROSE, WINE = "#332288", "#88CCEE", "#44AA99", "#999933", "#CC6677", "#882255"
SERIES: tuple[str, ...] = (INDIGO, ROSE, TEAL, WINE, OLIVE, CYAN)
"""For what is no category: loaders, defences, rules, steps. None of them is a category's colour."""
HUMAN, CHANCE = BLACK, GREY
MARKERS: dict[str, str] = dict(zip(CATEGORIES, ("o", "s", "^", "D", "v"), strict=True))
"""A marker a category too, so that no figure rests on colour alone."""
SEQUENTIAL = "cividis"
"""matplotlib's map for heat maps: even in lightness, and the same to colour-blind readers."""
SEQUENTIAL_STOPS: tuple[str, ...] = (
    "#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838",
)  # fmt: skip
"""The same map at 0, 1/8, …, 1, for pages that are drawn without matplotlib."""
