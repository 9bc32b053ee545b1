"""The form above the list: order, model, and the filters that a release has values for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..taxonomy import CATEGORIES, SPLITS
from .charts import escape
from .facts import Facts
from .models import Model
from .rows import Rows


def sorts(*, models: bool) -> str:
    """Options of the order; with `models` errors come first."""
    found = [
        ("release", "Split, then id"),
        ("id", "Id"),
        ("disagreement", "Disagreement first"),
        ("agreement", "Agreement first"),
        ("votes", "Most votes first"),
        ("few", "Fewest votes first"),
        ("long", "Longest first"),
    ]
    return _options([("errors", "Errors of the model first"), *found] if models else found)


def model_choice(models: Sequence[Model]) -> str:
    """Which model's scores are shown, and the threshold of its errors; nothing without models."""
    if not models:
        return ""
    choices = _options([(str(number), model.name) for number, model in enumerate(models)])
    return (
        f'<label>Scores of <select id="model">{choices}</select></label>'
        '<label>Threshold <input id="threshold" type="number" min="0" max="1" step="0.01" value="0.5"></label>'
    )


def filters(facts: Facts, rows: Rows) -> str:
    """Groups of check boxes: categories, splits, generators, prompt sources, each with its number of videos."""
    categories = [
        (str(place), facts.categories[place].label, facts.categories[place].total) for place in range(len(CATEGORIES))
    ]
    together = '<label class="check"><input type="checkbox" id="all-categories"> all of these together</label>'
    groups = [
        _checks("category", "Categories", categories, extra=together),
        _checks("split", "Splits", _counted(rows, "split", SPLITS)),
        _checks("generator", "Generators", _counted(rows, "generator", rows.generators)),
    ]
    if rows.sources:
        groups.append(_checks("source", "Prompt sources", _counted(rows, "prompt_source", rows.sources, start=1)))
    return "".join(groups)


# --- inside -----------------------------------------------------------------------------------------------------------


def _options(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<option value="{escape(value)}">{escape(title)}</option>' for value, title in pairs)


def _counted(rows: Rows, column: str, names: Sequence[str], *, start: int = 0) -> list[tuple[str, str, int]]:
    totals = Counter(row[column] for row in rows.table)
    return [(str(place + start), name, totals[name]) for place, name in enumerate(names)]


def _checks(name: str, title: str, choices: Sequence[tuple[str, str, int]], *, extra: str = "") -> str:
    lines = []
    for value, label, total in choices:
        dot = f'<span class="swatch fill-{CATEGORIES[int(value)]}"></span>' if name == "category" else ""
        lines.append(
            f'<label class="check"><input type="checkbox" name="{name}" value="{escape(value)}"> {dot}'
            f'<bdi>{escape(label)}</bdi> <span class="count">{total:,}</span></label>'
        )
    return f"<fieldset><legend>{escape(title)}</legend>{''.join(lines)}{extra}</fieldset>"
