"""The comparison as a Markdown page: tables of figures, each with the numbers that it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unsafe_video_dataset.taxonomy import CATEGORIES, CATEGORY_TITLES

from .verdict import dropped

Figures = Mapping[str, Any]


def page(found: Figures) -> str:
    """The result of `compare` as Markdown. The same figures give the same text; it has ids and no prompts."""
    parts = [
        "# A run against its twin's truth",
        _intro(found),
        "## Verdict",
        _verdict(found),
        "## Counts at the end",
        _counts(found["exact"], found["release"]),
        _unvoted(found["unvoted"]),
        "## Stage by stage",
        _flow(found["flow"]),
        "## Decodability",
        _detections([("broken files", found["probe"]["all"])]),
        _kinds(found["probe"]["kinds"], "planted"),
        "## Quality",
        _quality(found["quality"]),
        "## Duplicates",
        _dedup(found["dedup"]),
        "## Themes and clusters",
        _cluster(found["cluster"]),
        "## Votes",
        _votes(found["votes"]),
        "## Splits and folds",
        _split(found["split"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with three decimals, None as a dash."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _intro(found: Figures) -> str:
    targets = found["targets"]
    return (
        f"{targets['videos']} videos of moving shapes, {sum(targets['raters'].values())} simulated raters, "
        f"{targets['votes']} answers, seed {targets['seed']}. The twin has the totals of arXiv 2407.12581 at its scale. "
        "What the paper's own cut consisted of is not known to us: how many videos are planted of each kind is the twin's "
        "choice, and the shares below are about these plants, not about real videos. `votes.csv`, `decisions.csv` and "
        "`themes.csv` stand for people, and are written from the truth."
    )


def _verdict(found: Figures) -> str:
    judged = found["verdict"]
    rows = []
    for stage, floors in judged["floors"].items():
        figures = dropped(found, stage)
        rows += [(stage, what, floor, figures[what]) for what, floor in floors.items()]
    said = [f"- **{one}**" for one in judged["sentences"]] or ["Every floor is reached, and the counts are the planned ones."]
    return table(("dropped by", "", "at least", "found"), rows) + "\n\n" + "\n".join(said)


def _counts(exact: Figures, release: Figures | None) -> str:
    found, wanted = exact["found"], exact["wanted"]
    columns = [wanted, found] + ([] if release is None else [release["found"]])
    rows = [(name, *(column[name] for column in columns)) for name in ("reviewed", "unsafe")]
    rows += [(CATEGORY_TITLES[name], *(column["categories"][name] for column in columns)) for name in CATEGORIES]
    header = ("", "planned", "after the votes", "in the release")[: len(columns) + 1]
    same = "The same videos as planned are left." if exact["same_videos"] else "**Other videos than planned remain.**"
    return table(header, rows) + "\n\n" + same


def _unvoted(kinds: Figures) -> str:
    """What the counts at the end owe to the votes, which only videos that are to stay have."""
    why = (
        "These counts do not prove that the filters work: simulated raters answered on the videos that are to stay, so what "
        f"an earlier stage missed leaves without a vote. {sum(kinds.values())} plants left only because nobody voted on them"
    )
    if not kinds:
        return f"{why}."
    return f"{why}:\n\n" + table(("planted, left only because nobody voted on them", "videos"), kinds.items())


def _flow(flow: Figures) -> str:
    header = ("stage", "in", "dropped", "planned here", "dropped, planned for another stage", "dropped, planned to stay")
    keys = ("in", "dropped", "planned", "planned_elsewhere", "planned_to_stay")
    return table(header, [(name, *(row[key] for key in keys)) for name, row in flow.items()])


def _detections(rows: Iterable[tuple[str, Figures]]) -> str:
    header = ("", "looked at", "planted", "found", "right", "precision", "recall")
    keys = ("n", "wanted", "found", "right", "precision", "recall")
    return table(header, [(name, *(row[key] for key in keys)) for name, row in rows])


def _kinds(kinds: Figures, what: str) -> str:
    return table((what, "n", "found", "share"), [(kind, row["n"], row["found"], row["share"]) for kind, row in kinds.items()])


def _quality(found: Figures) -> str:
    flags = [(kind, ", ".join(f"{name} {number}" for name, number in row.items())) for kind, row in found["flags"].items()]
    filters = [(name, row["found"], row["right"], row["precision"]) for name, row in found["filters"].items()]
    return "\n\n".join(
        [
            "What the filters say by themselves, and what is dropped after a person's decisions "
            f"({found['overruled']} videos were decided on).",
            _detections([("flagged", found["flagged"]), ("dropped", found["dropped"])]),
            _kinds(found["kinds"], "planted, flagged"),
            "Borderline videos, whose fate a person decides (`blurred_slightly` is to go, the others stay):",
            _kinds(found["borderline"], "borderline, flagged"),
            table(("filter", "flagged", "planted for quality", "precision"), filters),
            table(("kind", "flags"), flags),
        ]
    )


def _dedup(found: Figures) -> str:
    pairs, kept = found["pairs"], found["original_kept"]
    header = ("pairs", "the same scene", "put together", "right", "precision", "recall", "false merges")
    keys = ("n", "wanted", "found", "right", "precision", "recall", "false_merges")
    return "\n\n".join(
        [
            table(header, [tuple(pairs[key] for key in keys)]),
            _kinds(found["kinds"], "copies put with their original"),
            _detections([("dropped", found["dropped"])]),
            f"The original stays in {kept['found']} of {kept['n']} groups of copies that hold it.",
        ]
    )


def _cluster(found: Figures) -> str:
    purity = (
        f"{found['clusters']} k-means clusters; the commonest true label set of its cluster is that of "
        f"{_cell(found['purity'])} of the videos ({_cell(found['purity_of_one_cluster'])} if all were one cluster)."
    )
    themes = "`themes.csv` is written from the truth: this row says that the file is obeyed, and nothing of the clusters."
    return "\n\n".join([_detections([("dropped by both coders", found["dropped"])]), themes, purity])


def _split(found: Figures) -> str:
    rows = [(what, row["n"], row["across_splits"], row["across_folds"]) for what, row in found.items()]
    what = "A scene is an original with its copies, found or not, by the truth."
    return table(("", "n", "in more than one split", "in more than one fold"), rows) + "\n\n" + what


def _votes(found: Figures) -> str:
    control, wrong, planned = found["control"], found["planned_wrong"], found["as_planned"]
    kinds = [(kind, row["n"], row["left_out"]) for kind, row in control["kinds"].items()]
    names = [*CATEGORIES, "unsafe"]
    accuracy = [
        (name, method, *(row[key] for key in ("n", "positives", "errors", "accuracy", "precision", "recall", "f1")))
        for name in names
        for method, figures in found["accuracy"].items()
        for row in [figures[name]]
    ]
    whole = [(method, *figures["all_categories"].values()) for method, figures in found["accuracy"].items()]
    rates = [(rate, *(found["raters"][rate][key] for key in _CLOSENESS)) for rate in ("sensitivity", "specificity")]
    agreement = [(name, row["n"], row["share"], row["alpha"], row["ac1"]) for name, row in found["agreement"]["pairs"].items()]
    return "\n\n".join(
        [
            f"Quality control left out {control['left_out']} of {control['answers']} answers to the videos that remain; "
            f"{control['bad']} were planted to be left out: precision {_cell(control['precision'])}, recall "
            f"{_cell(control['recall'])}.",
            table(("answers", "n", "left out"), kinds),
            f"The labels are the planned ones for {planned['right']} of {planned['n']} videos. Against what the videos show:",
            table(("", "aggregator", "n", "positives", "errors", "accuracy", "precision", "recall", "F1"), accuracy),
            table(("all five categories right", "n", "right", "accuracy"), whole),
            f"In {wrong['n']} videos the planned majority is wrong in one category; Dawid-Skene has {wrong['dawid_skene']} of "
            f"them right, the majority {wrong['majority']}.",
            f"Rates of honest raters by Dawid-Skene against the known ones, a rater and category, with at least "
            f"{found['raters']['least_cases']} cases:",
            table(("rate", "n", "correlation", "mean absolute error", "the same if all raters had the mean"), rates),
            "How far raters agree: the share of pairs of raters who do, and two coefficients that allow for chance:",
            table(("category", "videos", "pairs that agree", "Krippendorff's alpha", "Gwet's AC1"), agreement),
        ]
    )


_CLOSENESS = ("n", "correlation", "mean_absolute_error", "mean_absolute_error_of_the_mean")
