"""An `EvalReport` for people: fixed-width text for a terminal, Markdown for a page. Numbers and ids, never prompts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ._tables import Table, markdown_table, plain_text
from .errors import plain
from .metrics import FPRS
from .scores import Comparison, Estimate, EvalReport, Row, Slice
from .taxonomy import CATEGORIES

WIDTH = 120
LEAST = 16  # of the first column: the tables of one report line up
TITLES = {
    "ap": "AP",
    "auroc": "AUROC",
    "f1": "F1",
    "tpr_at_1_fpr": "TPR at 1% FPR",
    "tpr_at_5_fpr": "TPR at 5% FPR",
    "cross_entropy": "cross-entropy",
    "brier": "Brier",
    "jensen_shannon": "Jensen-Shannon",
    "ece": "ECE",
    "decisions": "decisions",
}


def to_text(report: EvalReport) -> str:
    """Fixed-width tables of at most 120 columns, notes and evidence."""
    return as_text(list(tables(report)), notes(report), evidence(report))


def blocks(report: EvalReport) -> list[Table | str]:
    """Tables, then notes and evidence as texts, for a terminal that wraps them itself."""
    return [*tables(report), "\n".join(f"note: {note}" for note in notes(report)), "\n".join(evidence(report))]


def as_text(found: Sequence[Table], said: Sequence[str], evidence: Sequence[str]) -> str:
    """Tables, then notes in lines of at most 120 columns, then lines of evidence."""
    blocks = "\n\n".join(plain_text(table, rule=False, least=LEAST) for table in found)
    return "\n".join([blocks, "", *(wrapped(f"note: {note}") for note in said), *evidence]) + "\n"


def one_line(name: str) -> str:
    """A name that anybody may have written, without line ends and characters that act on a terminal or a page."""
    return plain(" ".join(name.split())).replace("<", "&lt;").replace("`", "'")


def wrapped(text: str) -> str:
    """A text in lines of at most 120 columns."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def to_markdown(report: EvalReport) -> str:
    """The same tables, notes and evidence as Markdown."""
    name = one_line(report.model or "unnamed model")
    parts = [f"# {name} on {report.release} {report.release_version}, {report.split} ({report.target})"]
    for table in tables(report):
        parts += [f"## {table.title[0].upper()}{table.title[1:]}"] if table.title else []
        parts.append(markdown_table(table))
    parts.append("\n".join(f"- {note}" for note in notes(report)))
    parts.append("\n".join(f"> {line}  " for line in evidence(report)))
    return "\n\n".join(part for part in parts if part) + "\n"


def cell(found: Estimate, sign: str = "") -> str:
    """'0.812 [0.700, 0.901]', '0.812 [-]' without an interval, '-' without a value."""
    if found.value is None:
        return "-"
    interval = "[-]" if found.low is None else f"[{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
    return f"{found.value:{sign}.3f} {interval}"


def tables(report: EvalReport) -> Iterator[Table]:
    """The report's tables, the model's own first."""
    shown = [name for name in TITLES if name in report.rows[0].metrics and name not in FPRS]
    yield _table("", report.rows, shown)
    if report.target != "soft":
        yield _operating_points(report)
    for other in [report.majority, *([report.baseline] if report.baseline else [])]:
        for title, rows, sign in ((other.name, other.rows, ""), (f"model - {other.name}", other.differences, "+")):
            if brief := [row for row in rows if row.name not in CATEGORIES]:
                yield _table(title, brief, shown, sign)
    if report.baseline and report.baseline.tests:
        yield _tests(report.baseline)
    ceiling = report.ceiling
    if ceiling.human:
        yield _table("human (a rater against the other raters)", ceiling.human, shown)
        yield _table("model against the same labels", ceiling.model, shown)
        yield _table("model - human", [row for row in ceiling.differences if row.name not in CATEGORIES], shown, "+")
    for by in dict.fromkeys(part.by for part in report.slices):
        yield _sliced(by, [part for part in report.slices if part.by == by], shown)


def notes(report: EvalReport) -> list[str]:
    """What has no value or interval, and why; what the numbers rest on."""
    found = []
    if report.target == "multilabel":
        found.append("macro is the mean over " + (", ".join(report.macro_categories) or "no category"))
    if report.target == "soft":
        found.append("lower is better; n counts the videos with votes")
    elif report.threshold_source == "validation":
        found.append("thresholds were chosen on the validation split alone: the highest F1 there, a category each")
    else:
        found.append(f"the threshold is {report.threshold:g}, fixed, not chosen: give validation predictions to choose it")
    found += [f"{other.name}: {other.reason}" for other in (report.majority, report.baseline) if other and other.reason]
    if report.ceiling.reason:
        found.append(f"human ceiling: {report.ceiling.reason}")
    else:
        found.append(_ceiling_note(report))
    if report.ceiling.human and report.target != "soft":
        found.append("human: yes or no is one operating point, so AP and AUROC say less of a rater than of a model; compare F1")
    # Which values and intervals exist depends on the labels alone: the model's rows speak for the others too.
    for reason in dict.fromkeys(e.reason for row in report.rows for e in row.metrics.values() if e.reason):
        where = [row.name for row in report.rows if any(reason == e.reason for e in row.metrics.values())]
        found.append(f"{', '.join(where)}: {reason}")
    found += [f"human ceiling: {part.ceiling.reason}" for part in report.slices if part.ceiling.reason and report.ceiling.human]
    for row in report.rows:
        first = next(iter(row.metrics.values()))
        if first.low is not None and first.replicates < report.bootstrap:
            found.append(f"{row.name}: intervals from the {first.replicates} replicates that have both classes")
    return [*found, *report.notes]


def evidence(report: EvalReport) -> list[str]:
    """Release, split, predictions, seed, versions: what it takes to compute the report again."""
    commit = f", commit {report.release_commit[:12]}" if report.release_commit else ""
    cut = "no threshold"
    if report.threshold_source == "validation":
        cut = f"thresholds from validation {str(report.validation_sha256)[:12]}"
    elif report.threshold is not None:
        cut = f"threshold {report.threshold:g}"
    return [
        f"release {report.release} {report.release_version} (manifest {report.manifest_sha256[:12]}{commit}), "
        f"split {report.split} ({report.split_sha256[:12]}), config {report.config}",
        f"target {report.target}, {report.n} videos in {report.groups} groups, {cut}, "
        f"bootstrap {report.bootstrap}, seed {report.seed}",
        f"predictions {report.predictions_sha256[:12]}, package {report.package_version}, numpy {report.numpy_version}, "
        f"Python {report.python_version}",
    ]


# --- inside -----------------------------------------------------------------------------------------------------------


def _table(title: str, rows: Sequence[Row], shown: Sequence[str], sign: str = "") -> Table:
    counted = any(row.positives is not None for row in rows)
    head = ("", "n", *(("positives",) if counted else ()), *(f"{TITLES[name]} [95%]" for name in shown))
    lines = []
    for row in rows:
        positives = ("-" if row.positives is None else str(row.positives),) if counted else ()
        lines.append((row.name, str(row.n), *positives, *(cell(row.metrics[name], sign) for name in shown)))
    return Table(title, head, tuple(lines))


def _operating_points(report: EvalReport) -> Table:
    head = ("", *(f"{TITLES[name]} [95%]" for name in FPRS), "threshold of F1")
    lines = []
    for row in report.rows:
        cut = f"{report.thresholds[row.name]:.3f}" if row.name in report.thresholds else "-"
        lines.append((row.name, *(cell(row.metrics[name]) for name in FPRS), cut))
    return Table("operating points", head, tuple(lines))


def _tests(other: Comparison) -> Table:
    by_name: dict[str, dict[str, str]] = {}
    for test in other.tests:
        if test.metric in FPRS:
            continue
        text = "-" if test.p is None else f"{test.p:.4f}" + ("" if test.p_holm is None else f" ({test.p_holm:.4f})")
        if test.only_first is not None:
            text += f" {test.only_first}:{test.only_second}"
        by_name.setdefault(test.name, {})[test.metric] = text
    metrics = list(dict.fromkeys(test.metric for test in other.tests if test.metric not in FPRS))
    head = ("", *(f"{TITLES[m]}" if m != "decisions" else "McNemar" for m in metrics))
    lines = tuple((name, *(found.get(metric, "-") for metric in metrics)) for name, found in by_name.items())
    return Table(f"p of no difference to {other.name} (corrected by Holm over the categories)", head, lines)


def _sliced(by: str, parts: Sequence[Slice], shown: Sequence[str]) -> Table:
    beside = "f1" if "f1" in shown else "brier"  # what a rater's yes or no has a value of
    head = (by, "n", "row", *(f"{TITLES[name]} [95%]" for name in shown), f"human {TITLES[beside]} [95%]")
    lines = []
    for part in parts:
        people = {row.name: cell(row.metrics[beside]) for row in part.ceiling.human}
        for row in part.rows:
            if row.name not in CATEGORIES and row.name != "micro":
                own = (cell(row.metrics[name]) for name in shown)
                lines.append((part.value, str(part.n), row.name, *own, people.get(row.name, "-")))
    return Table(f"by {by.replace('_', ' ')}", head, tuple(lines))


def _ceiling_note(report: EvalReport) -> str:
    ceiling = report.ceiling
    return (
        f"human: {ceiling.answers} answers of {ceiling.raters} raters on the {ceiling.n} videos with two votes or more, each "
        "against the label of the others; videos count once"
    )
