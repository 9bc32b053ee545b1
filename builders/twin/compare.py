"""A run against the truth of its twin: what each stage found, missed and dropped wrongly. Tables in, figures out.

Every share stands beside the numbers that it was made of. Nothing here is used by the pipeline.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORIES

from ..raters.pseudonyms import pseudonyms, read_key
from .compare_release import compare_release, compare_split
from .compare_votes import compare_votes
from .files import KEY_FILE
from .truth import Truth, read_truth
from .verdict import verdict

STAGES = ("ingest", "probe", "quality", "dedup", "cluster", "votes")
TABLES = (*STAGES, "split")
BORDERLINE = ("soft", "slow", "dim", "blurred_slightly")


def compare(
    work: Path | Mapping[str, pa.Table],
    truth: Path,
    *,
    raters: Mapping[str, str] | None = None,
    release: Path | None = None,
) -> dict[str, Any]:
    """Every stage of a run against the truth.

    `work` is the work folder (`<stage>/table.parquet`) or the tables by stage; `raters` gives the rater id of the votes
    table for each raw name (the same names where none is given); `release` is the folder that was written, null in the
    result where none is given. JSON values; shares are null where nothing was counted. `verdict` says what is wrong.
    Raises `InputError` for a stage that is missing, a truth that can't be read, or tables of another twin.
    """
    tables = read_tables(work) if isinstance(work, Path) else dict(work)
    missing = [name for name in TABLES if name not in tables]
    if missing:
        raise InputError(f"The run has no table of {', '.join(missing)}: it is not finished. Run the recipe first.")
    known = read_truth(truth)
    items = set(tables["ingest"]["item"].to_pylist())
    if items != set(known.items):
        other = len(items ^ set(known.items))
        raise InputError(f"{other} items are in the run or in the truth only: they are not of the same twin.")
    rows = {name: {row["item"]: row for row in _light(tables[name]).to_pylist()} for name in TABLES}
    found = {
        "targets": dict(known.targets),
        "flow": _flow(rows, known),
        "probe": _probe(rows["probe"], known),
        "quality": _quality(rows["quality"], known),
        "dedup": _dedup(rows["dedup"], known),
        "cluster": _cluster(rows["cluster"], known),
        "votes": compare_votes(rows["votes"], known, raters),
        "unvoted": _unvoted(rows["votes"], known),
        "exact": _exact(rows["votes"], known),
        "split": compare_split(rows["split"], rows["ingest"], known),
        "release": None if release is None else compare_release(release, known),
    }
    return {**found, "verdict": verdict(found)}


def compare_run(raw: Path, *, work: Path | None = None) -> dict[str, Any]:
    """`compare` for the twin in the folder `raw`: its truth, key and release, and the work folder `raw/work` or another one."""
    truth = raw / "truth"
    names = pseudonyms(read_truth(truth).raters, read_key(file=raw / KEY_FILE, variable=""))
    return compare(work or raw / "work", truth, raters=names, release=raw / "release")


def read_tables(work: Path) -> dict[str, pa.Table]:
    """The tables of a work folder by stage, of the stages that are there."""
    paths = {name: work / name / "table.parquet" for name in TABLES}
    return {name: pq.read_table(path) for name, path in paths.items() if path.is_file()}


def _light(table: pa.Table) -> pa.Table:
    """Without hashes, descriptors and prompts, which take memory and mean nothing here."""
    heavy = {"hashes", "hash_quality", "hash_frames", "descriptor", "prompt", "generation"}
    return table.select([name for name in table.column_names if name not in heavy])


def detection(found: Iterable[str], wanted: Iterable[str], among: Iterable[str]) -> dict[str, Any]:
    """Precision and recall of `found` against `wanted`, both taken among the items that were looked at."""
    seen = set(among)
    hits, right = set(found) & seen, set(wanted) & seen
    both = len(hits & right)
    return {
        "n": len(seen),
        "wanted": len(right),
        "found": len(hits),
        "right": both,
        "precision": share(both, len(hits)),
        "recall": share(both, len(right)),
    }


def share(part: float, whole: float) -> float | None:
    """part / whole, None for nothing."""
    return part / whole if whole else None


def _dropped(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [item for item, row in rows.items() if not row["kept"]]


def _planted(truth: Truth, stage: str) -> list[str]:
    return [item for item, row in truth.items.items() if row["stage"] == stage]


def _by_kind(found: Iterable[str], among: Iterable[str], truth: Truth) -> dict[str, dict[str, Any]]:
    """Of each kind of planted video: how many were looked at, how many found."""
    seen = Counter(truth.items[item]["kind"] for item in among)
    hits = Counter(truth.items[item]["kind"] for item in found)
    return {kind: {"n": seen[kind], "found": hits[kind], "share": share(hits[kind], seen[kind])} for kind in sorted(seen)}


def _flow(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], truth: Truth) -> dict[str, Any]:
    """Stage by stage: how many came, were dropped, and were planned to be dropped there."""
    planned = Counter(row["stage"] for row in truth.items.values())
    return {
        name: {
            "in": len(rows[name]),
            "dropped": len(_dropped(rows[name])),
            "planned": planned[name],
            "planned_elsewhere": sum(truth.items[item]["stage"] not in (name, None) for item in _dropped(rows[name])),
            "planned_to_stay": sum(truth.items[item]["stage"] is None for item in _dropped(rows[name])),
        }
        for name in STAGES
    }


def _probe(rows: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    dropped = _dropped(rows)
    broken = _planted(truth, "probe")
    return {
        "all": detection(dropped, broken, rows),
        "kinds": _by_kind(set(dropped) & set(broken), set(broken) & set(rows), truth),
    }


def _quality(rows: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    """What the filters flagged by themselves, and what was dropped after a person's decisions."""
    flagged = [item for item, row in rows.items() if row["flags"]]
    bad = _planted(truth, "quality")
    plants = [item for item in rows if truth.items[item]["stage"] == "quality"]
    edge = [item for item in rows if truth.items[item]["kind"] in BORDERLINE]
    flags: dict[str, Counter[str]] = defaultdict(Counter)
    for item in rows:
        for flag in rows[item]["flags"] or []:
            flags[truth.items[item]["kind"]][flag] += 1
    return {
        "flagged": detection(flagged, bad, rows),
        "dropped": detection(_dropped(rows), bad, rows),
        "kinds": _by_kind(set(flagged) & set(plants), plants, truth),
        "borderline": _by_kind(set(flagged) & set(edge), edge, truth),
        "overruled": sum(row["overruled"] is not None for row in rows.values()),
        "flags": {kind: dict(sorted(counted.items())) for kind, counted in sorted(flags.items())},
        "filters": _filters(rows, truth),
    }


def _filters(rows: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    """Each filter alone: of what it flagged, how much is a plant for quality (of any kind)."""
    names = sorted({flag for row in rows.values() for flag in row["flags"] or []})
    found = {}
    for name in names:
        hits = [item for item, row in rows.items() if name in (row["flags"] or [])]
        right = sum(truth.items[item]["stage"] == "quality" for item in hits)
        found[name] = {"found": len(hits), "right": right, "precision": share(right, len(hits))}
    return found


def _dedup(rows: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    """Pairs of videos that were put together against pairs that show the same scene."""
    real, made = _groups(rows, truth.original), _groups(rows, lambda item: rows[item]["duplicate_group"])
    true_pairs, made_pairs = _pairs(real), _pairs(made)
    right = true_pairs & made_pairs
    copies = [item for item in rows if truth.items[item]["copy_of"] in rows]
    together = [
        item for item in copies if rows[item]["duplicate_group"] == rows[truth.items[item]["copy_of"]]["duplicate_group"]
    ]
    keepers = [members for members in real.values() if len(members) > 1 and truth.original(members[0]) in rows]
    kept = sum(rows[truth.original(members[0])]["kept"] for members in keepers)
    merged = sorted({item for pair in made_pairs - true_pairs for item in pair})
    return {
        "pairs": {
            "n": len(rows) * (len(rows) - 1) // 2,
            "wanted": len(true_pairs),
            "found": len(made_pairs),
            "right": len(right),
            "precision": share(len(right), len(made_pairs)),
            "recall": share(len(right), len(true_pairs)),
            "false_merges": len(made_pairs - true_pairs),
        },
        "dropped": detection(_dropped(rows), _planted(truth, "dedup"), rows),
        "kinds": _by_kind(together, copies, truth),
        "original_kept": {"n": len(keepers), "found": kept, "share": share(kept, len(keepers))},
        "falsely_merged_items": merged[:20],
    }


def _groups(rows: Mapping[str, Mapping[str, Any]], key: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in sorted(rows):
        groups[key(item)].append(item)
    return groups


def _pairs(groups: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    return {pair for members in groups.values() for pair in itertools.combinations(members, 2)}


def _cluster(rows: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    """What the themes dropped, and how pure the k-means clusters are in the true label sets (share of the commonest set)."""
    sets: dict[Any, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for item, row in rows.items():
        sets[row["kmeans"]][tuple(truth.items[item]["truth"])] += 1
    commonest = sum(counted.most_common(1)[0][1] for counted in sets.values())
    overall = Counter(tuple(truth.items[item]["truth"]) for item in rows)
    return {
        "dropped": detection(_dropped(rows), _planted(truth, "cluster"), rows),
        "clusters": len(sets),
        "purity": share(commonest, len(rows)),
        "purity_of_one_cluster": share(overall.most_common(1)[0][1] if overall else 0, len(rows)),
    }


def _unvoted(votes: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, int]:
    """Plants for earlier stages that were missed there and left only because nobody voted on them, a kind."""
    left = (truth.items[item] for item, row in votes.items() if not row["kept"])
    return dict(sorted(Counter(one["kind"] for one in left if one["stage"] not in (None, "votes")).items()))


def _exact(votes: Mapping[str, Mapping[str, Any]], truth: Truth) -> dict[str, Any]:
    """The final counts against the targets."""
    kept = [row for row in votes.values() if row["kept"]]
    counted = Counter(name for row in kept for name in row["categories"])
    found = {
        "reviewed": len(kept),
        "unsafe": sum(bool(row["is_unsafe"]) for row in kept),
        "categories": {name: counted[name] for name in CATEGORIES},
    }
    wanted = {key: truth.targets[key] for key in found}
    planned = {item for item, row in truth.items.items() if row["stage"] is None}
    same = planned == {row["item"] for row in kept}
    return {"found": found, "wanted": wanted, "same_counts": found == wanted, "same_videos": same}
