"""`index.html` and the colours of the page, from the template in `assets/` and the facts of a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from ..palette import CATEGORY_COLORS, GREY, SEQUENTIAL_STOPS
from ..release import Release
from ..report_text import cell
from ..taxonomy import CATEGORIES, CATEGORY_TITLES, SPLITS
from . import charts, form
from .charts import escape
from .facts import Facts
from .models import BOOTSTRAP, CurveSet, Model
from .rows import Rows

SCRIPTS = ("store.js", "select.js", "votes.js", "list.js", "detail.js", "download.js", "main.js")
ASSETS = ("page.css", *SCRIPTS)
_SHOWN_METRICS = (("ap", "AP"), ("auroc", "AUROC"), ("f1", "F1"))


@dataclass(frozen=True)
class Page:
    """Everything that `index.html` says."""

    release: Release
    rows: Rows
    facts: Facts
    models: Sequence[Model]
    curves: Sequence[CurveSet]
    revealed: bool
    pictures: bool
    broken: int


def asset(name: str) -> str:
    """The text of a file of `assets/`."""
    return resources.files(__package__).joinpath("assets").joinpath(name).read_text(encoding="utf-8")


def palette_css() -> str:
    """The palette of every figure as classes: `fill-<category>`, `line-<category>`, and the steps of the heat map.

    'unsafe' is in the page's ink (`page.css`), and what is not unsafe is grey: a category's colour stands for it alone here.
    """
    colours = {**CATEGORY_COLORS, "none": GREY, "not_unsafe": GREY}
    lines = [f":root {{ {' '.join(f'--c-{name}: {colour};' for name, colour in colours.items())} }}"]
    for name in colours:
        lines.append(f".fill-{name} {{ fill: var(--c-{name}); background-color: var(--c-{name}); }}")
        lines.append(f".line-{name} {{ stroke: var(--c-{name}); }}")
    lines += [f".heat-{step} {{ fill: {colour}; }}" for step, colour in enumerate(SEQUENTIAL_STOPS)]
    return "\n".join(lines) + "\n"


def index_html(page: Page, data: Sequence[str]) -> str:
    """The page; `data` are the scripts of `data/` that it loads at its start, in order.

    Names of the release are escaped; prompts, paths and addresses are not on it.
    """
    mark = "REVEALED: clear frames and prompts. Do not pass this page on." if page.revealed else ""
    slots = {
        "title": escape(f"{'REVEALED: ' if page.revealed else ''}{page.release.name} {page.release.version}"),
        "heading": escape(page.release.name),
        "version": escape(page.release.version),
        "lead": escape(_lead(page)),
        "mark": f'<p class="mark" role="note">{escape(mark)}</p>' if mark else "",
        "body_class": "revealed" if page.revealed else "",
        "pictures": escape(_pictures(page)),
        "charts": "".join(_charts(page.facts)),
        "curves_link": '<a href="#predictions">Predictions</a>' if page.models else "",
        "curves": _predictions(page),
        "filters": form.filters(page.facts, page.rows),
        "sorts": form.sorts(models=bool(page.models)),
        "model_choice": form.model_choice(page.models),
        "scripts": "".join(f'<script src="{escape(name)}" defer></script>\n' for name in _in_order(data)),
    }
    return Template(asset("page.html")).substitute(slots)


# --- inside -----------------------------------------------------------------------------------------------------------


def _lead(page: Page) -> str:
    """Counts of the videos that are shown: what a tombstone withdrew counts nowhere, although the manifest counts it."""
    table = page.rows.table
    raters = {vote["rater_id"] for row in table for vote in row["votes"] or []}
    return (
        f"{len(table):,} reviewed videos, {sum(row['is_unsafe'] for row in table):,} of them unsafe; "
        f"{sum(row['num_raters'] for row in table):,} votes of {len(raters):,} raters; "
        f"{len({row['group_id'] for row in table}):,} groups. Manifest {page.release.manifest_sha256[:12]}."
    )


def _in_order(data: Sequence[str]) -> list[str]:
    """The store takes the data in; everything else reads it."""
    return [SCRIPTS[0], *(f"data/{name}" for name in data), *SCRIPTS[1:]]


def _pictures(page: Page) -> str:
    if not page.pictures:
        return "This page was made without thumbnails."
    how = (
        "Frames are clear and prompts are shown."
        if page.revealed
        else "Frames are small, grey and blurred in the files themselves."
    )
    if page.broken:
        verb = "video does not decode and has" if page.broken == 1 else "videos do not decode and have"
        how += f" {page.broken:,} {verb} no picture."
    return how


def _charts(facts: Facts) -> list[str]:
    names = [CATEGORY_TITLES[name] for name in CATEGORIES]
    counts, shares = facts.together
    made = [
        charts.bars("categories", "Categories", facts.categories, note="A video may be in several categories."),
        charts.matrix("together", "Categories together", names, counts, shares, note="Colour: share of the row's videos."),
        charts.bars("generators", "Generators", facts.generators),
        charts.bars("sources", "Prompt sources", facts.sources),
        charts.bars("splits", "Splits", facts.splits),
        charts.bars("votes", "Votes a video", facts.votes),
        charts.bars("agreement", "Agreement", facts.agreement, note="Share of rater pairs that agree, a video."),
        charts.bars("lengths", "Lengths", facts.lengths),
    ]
    if facts.alpha:
        lines = [[name, cell(value)] for name, value in facts.alpha]
        note = (
            "Krippendorff's alpha with 95% intervals, bootstrap over videos, seed 0. 1: all agree; 0: as by chance. "
            "[-]: no interval."
        )
        made.append(charts.table("alpha", "Agreement of raters", ["", "alpha [95%]"], lines, note=note))
    return made


def _predictions(page: Page) -> str:
    if not page.models:
        return ""
    sets = []
    for number, found in enumerate(page.curves):
        parts = []
        what = f"{found.config}, {found.split}, {found.videos:,} videos, target {found.target}"
        of = "" if found.target == "multilabel" else ", unsafe or not"
        several = len(found.names) > 1
        band = "" if several else f" Bands: 95%, point by point, {BOOTSTRAP:,} bootstrap replicates over groups, seed 0."
        note = f"{what}.{band} Grey dashes: what knows nothing."
        parts.append(
            charts.curves(
                f"pr-{number}",
                f"Precision and recall{of}",
                "recall",
                "precision",
                found.precision_recall,
                found.names,
                note=note,
            )
        )
        parts.append(
            charts.curves(
                f"roc-{number}", f"ROC{of}", "false positive rate", "true positive rate", found.roc, found.names, note=note
            )
        )
        lines: list[list[str]] = []
        for name, rows in found.metrics:
            lines += [[name]] if several else []
            for row in rows:
                title = CATEGORY_TITLES.get(row.name, row.name)
                lines.append([title, *(cell(row.metrics[key]) for key, _ in _SHOWN_METRICS)])
        note = f"{what}. 95% intervals, {BOOTSTRAP:,} replicates over groups, seed 0; F1 at threshold 0.5."
        head = ["", *(f"{title} [95%]" for _, title in _SHOWN_METRICS)]
        parts.append(charts.table(f"scores-{number}", f"Scores{of}", head, lines, note=note))
        sets.append(f'<div class="figures">{"".join(parts)}</div>')
    drawn = {name for found in page.curves for name in found.names}
    left = [model for model in page.models if model.name not in drawn]
    for model in left:
        text = (
            f"{model.name} predicts {len(model.records):,} videos. Curves need the predictions of exactly one split "
            "(its unsafe videos, or all of them)."
        )
        sets.append(f'<p class="note">{escape(text)}</p>')
    return (
        '<section id="predictions" aria-labelledby="predictions-title" tabindex="-1">'
        '<h2 id="predictions-title">Predictions</h2>'
        f"{''.join(sets)}</section>"
    )


def release_script_data(page: Page, sheets: dict[str, Any] | None) -> dict[str, Any]:
    """What the scripts of the page know of the release: names, sizes, where the chunks and pictures are."""
    from .rows import CHUNK, DETAIL_CHUNK

    return {
        "name": page.release.name,
        "version": page.release.version,
        "manifest": page.release.manifest_sha256,
        "revealed": page.revealed,
        "total": len(page.rows.table),
        "chunk": CHUNK,
        "detailChunk": DETAIL_CHUNK,
        "sheets": sheets,
        "categories": [{"key": name, "title": CATEGORY_TITLES[name]} for name in CATEGORIES],
        "splits": list(SPLITS),
        "generators": list(page.rows.generators),
        "sources": list(page.rows.sources),
        "models": [model.name for model in page.models],
    }
