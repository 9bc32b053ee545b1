"""Read `decisions.csv`: by item or video_id, what a person keeps or drops against the thresholds. Every fault is collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from unsafe_video_dataset.errors import Fault

from ..pipeline.names import Names
from ..raw import read_rows, read_text

Decision = Literal["keep", "drop"]
COLUMNS = ("decision", "reviewer", "reason")


@dataclass(frozen=True)
class Ruling:
    """One decision that stands. `reason` is the reviewer's, in their words."""

    decision: Decision
    reviewer: str
    reason: str


def read_table(
    file: Path, *, needed: Sequence[str], optional: Sequence[str] = (), one_of: Sequence[str] = ()
) -> tuple[list[tuple[int, dict[str, str]]], list[Fault]]:
    """(line, cells by column) of a reviewed CSV, blank lines left out; what is wrong with its header and rows.

    Every row has exactly one of the columns `one_of` filled. Raises `InputError` for no file.
    """
    text, faults = read_text(file)
    rows, more = read_rows(text, file=file.name)
    faults += more
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in rows[0][1]] if rows else []
    known = [*one_of, *needed, *optional]
    expected = f"the columns {', '.join(needed)} and {' or '.join(one_of)}; optionally {', '.join(optional) or 'none'}"
    bad = [f"no column {name}" for name in needed if name not in header]
    if one_of and not set(one_of) & set(header):
        bad.append(f"no column {' or '.join(one_of)}")
    bad += [f"column {name!r} is not known" for name in header if name not in known]
    bad += [f"column {name} stands twice" for name in known if header.count(name) > 1]
    faults += [Fault(file.name, message, line=1, expected=expected) for message in bad]
    if bad:
        return [], faults
    found = []
    for line, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            faults.append(Fault(file.name, f"{len(row)} cells", line=line, expected=f"{len(header)}, as the header"))
            continue
        cells = dict.fromkeys(known, "") | {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        filled = [name for name in one_of if cells[name]]
        if one_of and len(filled) != 1:
            message = f"{' and '.join(filled) if filled else 'none'} given"
            faults.append(Fault(file.name, message, line=line, field=" or ".join(one_of), expected="exactly one of them"))
            continue
        found.append((line, cells))
    return found, faults


def read_decisions(
    file: Path, *, items: Mapping[str, str], names: Names | None = None
) -> tuple[dict[str, Ruling], list[Fault]]:
    """item -> the ruling on it. `items` maps every item that reached the stage to its video_id, which means all its items.

    Columns: `item` or `video_id`, `decision` (keep or drop), `reviewer`, and optionally `reason`. Faults: what is not there,
    what is neither keep nor drop, no reviewer, and an item ruled on in both ways. What is in `names` and did not reach the
    stage is no fault: `names.not_reached` counts it.
    """
    names = names or Names()
    rows, faults = read_table(file, needed=("decision", "reviewer"), optional=("reason",), one_of=("item", "video_id"))
    by_video: dict[str, list[str]] = {}
    for item, video_id in sorted(items.items()):
        by_video.setdefault(video_id, []).append(item)
    rulings: dict[str, Ruling] = {}
    lines: dict[str, int] = {}
    for line, cells in rows:
        decision = cells["decision"].lower()
        if decision not in ("keep", "drop"):
            faults.append(Fault(file.name, f"{decision[:40]!r}", line=line, field="decision", expected="keep or drop"))
            continue
        if not cells["reviewer"]:
            faults.append(Fault(file.name, "empty", line=line, field="reviewer", expected="who decided"))
        which = "item" if cells["item"] else "video_id"
        name = cells[which]
        targets = ([name] if name in items else []) if which == "item" else by_video.get(name.lower(), [])
        if not targets:
            expected = "one that the recipe ingests"
            missing = Fault(file.name, f"no {which} {name[:80]}", line=line, field=which, expected=expected)
            names.miss(which, name if which == "item" else name.lower(), missing)
        for item in targets:
            old = rulings.get(item)
            if old is not None and old.decision != decision:
                message = f"{item} is to {decision}, and to {old.decision} in line {lines[item]}"
                faults.append(Fault(file.name, message, line=line, field="decision", expected="one decision an item"))
            elif old is None:
                rulings[item] = Ruling(cast(Decision, decision), cells["reviewer"], cells["reason"])
                lines[item] = line
    return rulings, faults + names.faults()
