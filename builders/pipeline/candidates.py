"""Every raw file and what became of it: which stage dropped it, and why. Nothing is lost without a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unsafe_video_dataset.errors import IntegrityError

SCHEMA = pa.schema([("item", pa.string()), ("video_id", pa.string()), ("stage", pa.string()), ("reason", pa.string())])
_NAMED = {"same bytes as ": "same bytes as another file", "near duplicate of ": "near duplicate of another video"}
_SIZES = re.compile(r"\b\d[\d,]*(?= (?:bytes|are there))")
_REASONS = 12  # the most frequent ones are listed in a report


def candidates(tables: Mapping[str, pa.Table]) -> pa.Table:
    """One row for each row of the first table, sorted by item: the stage that dropped it and why, both null if none did.

    `tables` are the stages' tables in the order of the stages, the first one being ingest.
    """
    first = next(iter(tables.values()))
    dropped: dict[str, tuple[str, str]] = {}
    for stage, table in tables.items():
        gone = table.select(["item", "kept", "reason"]).filter(pc.invert(table["kept"]))
        for item, reason in zip(gone["item"].to_pylist(), gone["reason"].to_pylist(), strict=True):
            dropped.setdefault(item, (stage, reason))
    items = first["item"].to_pylist()
    fates = [dropped.get(item, (None, None)) for item in items]
    return pa.table([items, first["video_id"], [s for s, _ in fates], [r for _, r in fates]], schema=SCHEMA).sort_by("item")


def general(reason: str | None) -> str | None:
    """A reason without the other file that it names: what a release may say, and what can be counted."""
    for start, said in _NAMED.items():
        if reason is not None and reason.startswith(start):
            return said
    return reason


def _reasons(table: pa.Table) -> Counter[str]:
    """How many were dropped for what: by flags where the stage has them, else by the reason without names, sizes and fixes."""
    flags = table["flags"].to_pylist() if "flags" in table.column_names else [None] * table.num_rows
    counted: Counter[str] = Counter()
    for reason, flagged in zip(table["reason"].to_pylist(), flags, strict=True):
        if reason is None:
            continue
        plain = general(reason) or ""
        counted[", ".join(flagged) if flagged else _SIZES.sub("N", plain.partition(". ")[0])] += 1
    return counted


def count_check(tables: Mapping[str, pa.Table], rows: pa.Table) -> None:
    """Raise `IntegrityError` unless each stage has just the items that the one before it kept, and all add up to the input."""
    before: str | None = None
    for stage, table in tables.items():
        if before is not None:
            same_items(stage, table, before, tables[before])
        before = stage
    expected = _kept(tables[before]) if before is not None else set()
    total = next(iter(tables.values())).num_rows
    fates = Counter(rows["stage"].to_pylist())
    released = fates.pop(None, 0)
    if rows.num_rows != total or released != len(expected) or released + sum(fates.values()) != total:
        counted = f"{sum(fates.values())} dropped, {len(expected)} kept by the last stage, {total} at the start"
        raise IntegrityError(f"The counts of the stages do not add up: {counted}. Please report this.")


def same_items(stage: str, table: pa.Table, before: str, earlier: pa.Table) -> None:
    """Raise `IntegrityError` unless a stage's table has just the items that the stage before it kept."""
    items, expected = set(table["item"].to_pylist()), _kept(earlier)
    if items != expected:
        lost, extra = sorted(expected - items), sorted(items - expected)
        found = [f"{len(lost)} lost ({_some(lost)})"] if lost else []
        found += [f"{len(extra)} that should not be there ({_some(extra)})"] if extra else []
        raise IntegrityError(f"Stage {stage} has not the items that {before} kept: {'; '.join(found)}. Please report this.")


def _kept(table: pa.Table) -> set[str]:
    return set(table.filter(table["kept"])["item"].to_pylist())


def summary(
    tables: Mapping[str, pa.Table],
    rows: pa.Table,
    reports: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    version: str,
    died: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The counts of every stage as JSON values, the most frequent reasons of each, and the stages' own reports.

    `died`: stage -> items without an answer because their process died.
    """
    stages = []
    for stage, table in tables.items():
        kept = int(pc.sum(table["kept"].cast(pa.int64())).as_py() or 0)
        reasons = _reasons(table)
        most = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        stages.append(
            {
                "stage": stage,
                "in": table.num_rows,
                "kept": kept,
                "dropped": table.num_rows - kept,
                "died": (died or {}).get(stage, 0),
                "reasons": dict(most[:_REASONS]),
                "other_reasons": len(most[_REASONS:]),
                "report": dict(reports.get(stage, {})),
            }
        )
    return {
        "name": name,
        "version": version,
        "input": rows.num_rows,
        "left": rows["stage"].null_count,
        "last_stage": list(tables)[-1],
        "stages": stages,
    }


def summary_text(facts: Mapping[str, Any]) -> str:
    """`summary` as Markdown, for a person."""
    lines = [
        f"# {facts['name']} {facts['version']}: what became of {facts['input']:,} videos",
        "",
        "| stage | in | kept | dropped |",
        "|---|--:|--:|--:|",
        *(f"| {one['stage']} | {one['in']:,} | {one['kept']:,} | {one['dropped']:,} |" for one in facts["stages"]),
        "",
        f"{facts['input']:,} = {facts['input'] - facts['left']:,} dropped + {facts['left']:,} kept by {facts['last_stage']}."
        " Each dropped video is in `candidates.parquet` with its stage and reason.",
    ]
    for one in facts["stages"]:
        if one["died"]:
            lines += [
                "",
                f"{one['died']:,} items of {one['stage']} have no answer as their process died. Run again to try them.",
            ]
    for one in facts["stages"]:
        if one["reasons"]:
            lines += ["", f"## {one['stage']}: why {one['dropped']:,} were dropped", ""]
            lines += [f"- {count:,}: {_escaped(reason)}" for reason, count in one["reasons"].items()]
            if one["other_reasons"]:
                lines.append(f"- and {one['other_reasons']:,} other reasons")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Plain text in Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (" …" if len(items) > 3 else "")
