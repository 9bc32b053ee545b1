"""Stage `votes`: the files of the raters' answers -> quality control -> one label a video, and how far raters agree.

Answers to one content (`video_id`) belong together, whichever copy was shown. Quality control sees all answers, so that
raters are judged by everything that they did; answers to videos that an earlier stage dropped are then left out as
`video_dropped`. The stored `soft_labels` are shares of raters whatever the method, as the schema of a release says;
with Dawid-Skene the column `posterior` holds what the labels rest on. Without files of votes the labels are upstream's.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsafe_video_dataset.agreement import agreement
from unsafe_video_dataset.dawid_skene import by_category
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.records import to_table
from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.votes import SOFT_LABELS, VOTE_COUNTS, Vote, in_order, label_votes, weighed

from ..pipeline.stage import COMMON, Context, StageResult
from ..raters.answers import Answer
from ..raters.control import Controlled, control
from ..raters.files import read_votes
from ..raters.pseudonyms import key_mark, read_key
from ..raters.settings import Settings

__all__ = ["STAGE", "Settings"]

VIDEO_DROPPED = "video_dropped"
TOO_FEW = "too_few_raters"
VOTE = pa.struct(
    [
        ("rater_id", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("seconds", pa.float64()),
        ("attention_check", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("video_id", pa.string()),
        pa.field("votes", pa.list_(VOTE)),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("is_unsafe", pa.bool_()),
        pa.field("vote_counts", VOTE_COUNTS),
        pa.field("num_raters", pa.int32()),
        pa.field("soft_labels", SOFT_LABELS),
        pa.field("agreement", pa.float64()),
        pa.field("label_method", pa.string()),
        pa.field("tied", pa.list_(pa.string())),
        pa.field("posterior", SOFT_LABELS),
    ]
)


class _Votes:
    """See `pipeline.stage.Stage`."""

    name = "votes"
    version = 1
    needs = ("cluster", "ingest")
    settings = Settings

    def files(self, settings: Settings, base: Path) -> list[Path]:
        """The files of votes and of check videos. Not the key: nothing that could help to guess it is recorded."""
        return [base / name for name in (*settings.files, *([settings.check_videos] if settings.check_videos else []))]

    def secret(self, settings: Settings, base: Path) -> str:
        """A mark of the raters' key: with another key all pseudonyms are others, so the stage has to run again."""
        if not settings.files or settings.rater_ids != "keyed":
            return ""
        try:
            key = read_key(file=base / settings.key_file if settings.key_file else None, variable=settings.key_variable)
        except InputError:
            return "no key"  # the stage says what is wrong
        return key_mark(key)

    def run(self, context: Context) -> StageResult:
        """Raises `FaultsError` with every fault of all files, `InputError` where there is no key, or no label at all."""
        settings: Settings = context.settings
        ingested = context.table("ingest").to_pylist()
        items = context.kept("cluster").select(["item", "video_id"]).to_pylist()
        if not settings.files:
            return _upstream(items, ingested)
        answers = read_votes(settings, context.base, ingested)
        controlled = control(answers, settings)
        kept_ids = {row["video_id"] for row in items}
        _leave_out(controlled, {answer.video for answer in controlled.kept} - kept_ids, VIDEO_DROPPED)
        numbers = Counter(answer.video for answer in controlled.kept)
        few = {video_id: number for video_id, number in numbers.items() if number < settings.min_raters}
        _leave_out(controlled, set(few), TOO_FEW)
        if not controlled.kept:
            counts = ", ".join(f"{reason} {n}" for reason, n in controlled.counts().items()) or "the files are empty"
            raise InputError(f"No answer counts: {counts}. Look at the settings of [votes] and at its files.")
        votes = _votes(controlled.kept)
        table = _labels(items, votes, few, settings)
        _write(context.folder, controlled)
        return StageResult(table, _report(len(answers), controlled, votes, table, settings))


STAGE = _Votes()


# --- labels -----------------------------------------------------------------------------------------------------------


def _leave_out(controlled: Controlled, video_ids: set[str], reason: str) -> None:
    """Leave out the answers to these videos that still count."""
    records = {record.rater_id: record for record in controlled.raters}
    for answer in controlled.kept:
        if answer.video in video_ids:
            controlled.left_out.append((answer, reason))
            records[answer.rater_id].kept -= 1
    controlled.kept = [answer for answer in controlled.kept if answer.video not in video_ids]


def _votes(kept: list[Answer]) -> dict[str, list[Vote]]:
    """By video, sorted by video and rater as the answers are."""
    votes: dict[str, list[Vote]] = defaultdict(list)
    for answer in kept:
        names = ("rater_id", "categories", "seconds", "attention_check")
        votes[answer.video].append({name: getattr(answer, name) for name in names})
    return dict(votes)


def _labels(
    items: list[dict[str, Any]], votes: Mapping[str, list[Vote]], few: Mapping[str, int], settings: Settings
) -> pa.Table:
    """Labels rest on the votes that go into the release alone, so that anyone can work them out again."""
    labels = {video_id: label_votes(given, tie=settings.tie) for video_id, given in votes.items()}
    other = labels
    if settings.method == "dawid_skene":
        other = weighed(labels, by_category(votes, smoothing=settings.smoothing), tie=settings.tie)
    rows = []
    for item in items:
        if item["video_id"] not in votes:
            number = few.get(item["video_id"], 0)
            reason = f"fewer than {settings.min_raters} votes" if number else "no vote that counts"
            rows.append({**item, "kept": False, "reason": reason, "num_raters": number})
            continue
        label, final = labels[item["video_id"]], other[item["video_id"]]
        rows.append(
            {
                **item,
                "kept": True,
                "votes": votes[item["video_id"]],
                "categories": final.categories,
                "is_unsafe": bool(final.categories),
                "vote_counts": label.vote_counts,
                "num_raters": label.num_raters,
                "soft_labels": label.soft_labels,
                "agreement": label.agreement,
                "label_method": settings.method,
                "tied": final.tied,
                "posterior": final.soft_labels if settings.method == "dawid_skene" else None,
            }
        )
    return _table(rows)


def _upstream(items: list[dict[str, Any]], ingested: list[dict[str, Any]]) -> StageResult:
    """Labels that came with the videos. Of exact copies with different labels any category counts, and is counted."""
    given: dict[str, list[list[str]]] = defaultdict(list)
    for row in ingested:
        if row["upstream_categories"] is not None and row["video_id"]:
            given[row["video_id"]].append(in_order(row["upstream_categories"]))
    if not any(item["video_id"] in given for item in items):
        raise InputError(
            "There are no labels: no files of votes, and no source with labels. "
            'Name the votes: [votes] files = ["votes.csv"]; or give a source layout = "upstream" with its label CSV.'
        )
    rows = []
    for item in items:
        if item["video_id"] not in given:
            rows.append({**item, "kept": False, "reason": "no label", "num_raters": 0})
            continue
        names = in_order(name for one in given[item["video_id"]] for name in one)
        label = {"categories": names, "is_unsafe": bool(names), "num_raters": 0, "label_method": "upstream", "tied": []}
        rows.append({**item, "kept": True, **label})
    differ = sum(len({tuple(one) for one in given.get(item["video_id"], [])}) > 1 for item in items)
    table = _table(rows)
    return StageResult(table, {"label_method": "upstream", **_counts(table), "copies_labelled_otherwise": differ})


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["item"])), schema=SCHEMA)


# --- report -----------------------------------------------------------------------------------------------------------


def _counts(table: pa.Table) -> dict[str, Any]:
    rows = table.select(["kept", "reason", "categories", "is_unsafe", "tied"]).to_pylist()
    kept = [row for row in rows if row["kept"]]
    return {
        "videos": len(rows),
        "kept": len(kept),
        "left_out": dict(sorted(Counter(row["reason"] for row in rows if not row["kept"]).items())),
        "unsafe": sum(row["is_unsafe"] for row in kept),
        "categories": {name: sum(name in row["categories"] for row in kept) for name in CATEGORIES},
        "ties": sum(len(row["tied"]) for row in kept),
    }


def _report(
    answers: int, controlled: Controlled, votes: Mapping[str, list[Vote]], table: pa.Table, settings: Settings
) -> dict[str, Any]:
    """Counts, and the agreement of the answers that count: `answers_kept` and those left out add up to `answers`."""
    rows = [{"video_id": video_id, **vote} for video_id, given in votes.items() for vote in given]
    found = agreement(
        to_table("annotation", rows),
        bootstrap=settings.bootstrap,
        seed=settings.seed,
        tie=settings.tie,
        smoothing=settings.smoothing,
    )
    out = Counter(record.reason for record in controlled.raters if record.reason)
    return {
        "label_method": settings.method,
        **_counts(table),
        "answers": answers,
        "answers_kept": len(controlled.kept),
        "answers_left_out": controlled.counts(),
        "raters": len(controlled.raters),
        "raters_kept": sum(record.kept > 0 for record in controlled.raters),
        "raters_left_out": dict(sorted(out.items())),
        "unsafe_rule": settings.unsafe,
        "agreement": found.to_dict(),
    }


def _write(folder: Path, controlled: Controlled) -> None:
    """`raters.csv` and `left_out.csv` to look at: never a pseudonym beside the line of a file that holds the rater's id."""
    raters = [asdict(record) for record in controlled.raters]
    places = [{"file": a.file, "line": a.line, "reason": why} for a, why in controlled.left_out]
    places.sort(key=lambda row: (row["file"], row["line"], row["reason"]))
    for name, fields, rows in (
        ("raters.csv", ["rater_id", "answers", "failed_checks", "compared", "agreed", "kept", "reason"], raters),
        ("left_out.csv", ["file", "line", "reason"], places),
    ):
        path = folder / name
        part = path.with_name(f"{name}.part")
        with part.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        part.replace(path)
