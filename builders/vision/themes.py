"""Thematic coding as a reviewed file: people look at clusters or videos and name themes; nothing is named automatically.

`themes.csv`: `cluster`, `video_id` or `item`; `theme`, one or several joined by `;`; `coder`; and optionally `action`
(`drop` takes the videos out). Rows of one coder on one target add up. What a coder says of a video stands before
what they say of its cluster. A video has the themes on which all coders who coded it agree.

A cluster's number means something in one clustering only: rows about clusters also need `clustering`, the digest that the
sheets and the report name. With other videos, another seed or k it is another one, and such rows are faults.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault

from ..pipeline.names import Names
from .decisions import read_table


@dataclass
class Themes:
    """`coded`: coder -> video_id -> their themes; `dropped`: video_id -> who drops it; and what is wrong with the file."""

    coded: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    not_reached: int = 0  # rows about videos that an earlier stage dropped
    faults: list[Fault] = field(default_factory=list)

    def of(self, video_id: str) -> list[str] | None:
        """The themes on which all coders of this video agree, sorted; None where nobody coded it."""
        said = [videos[video_id] for videos in self.coded.values() if video_id in videos]
        return sorted(frozenset.intersection(*said)) if said else None


def digest(clusters: Mapping[str, int]) -> str:
    """8 hex digits that name a clustering: the same for the same videos with the same numbers."""
    rows = "".join(f"{video_id} {number}\n" for video_id, number in sorted(clusters.items()))
    return hashlib.sha256(rows.encode()).hexdigest()[:8]


def read_themes(file: Path, *, clusters: Mapping[str, int], items: Mapping[str, str], names: Names | None = None) -> Themes:
    """Read the file. `clusters`: video_id -> its number; `items`: item -> video_id, of what reached the stage.

    Faults: a target that is not there, a cluster of another clustering, no theme or coder, an unknown action, a theme given
    twice by a coder, and a target that one coder both keeps and drops. An empty action says nothing. A drop of a cluster
    does not hold for a video that its coder coded on its own. A video in `names` that did not reach the stage is no fault,
    but counted. Raises `InputError` for no file.
    """
    themes, names = Themes(), names or Names()
    clustering = digest(clusters)
    rows, themes.faults = read_table(
        file, needed=("theme", "coder"), optional=("action", "clustering"), one_of=("cluster", "video_id", "item")
    )
    said: dict[tuple[str, bool, str], dict[str, int]] = {}  # coder, own row or its cluster's, video_id -> theme -> line
    acts: dict[tuple[str, bool, str], tuple[str, int]] = {}
    for line, cells in rows:
        own = not cells["cluster"]
        targets, message = _targets(cells, clusters, items, clustering)
        found = [name.strip().lower() for name in cells["theme"].split(";") if name.strip()]
        bad = [message] if message and not own else []
        bad += [f"no {name}" for name in ("theme", "coder") if not cells[name]]
        action = cells["action"].lower()
        if action not in ("", "keep", "drop"):
            bad.append(f"action {action[:40]!r}")
        themes.faults += [Fault(file.name, one, line=line, expected=_EXPECTED) for one in bad]
        if bad:
            continue
        if message:
            which = "item" if cells["item"] else "video_id"
            name = cells["item"] or cells["video_id"].lower()
            names.miss(which, name, Fault(file.name, message, line=line, expected=_EXPECTED))
        for video_id in targets:
            key = (cells["coder"], own, video_id)
            mine = said.setdefault(key, {})
            again = [name for name in found if name in mine]
            before, where = acts.setdefault(key, (action, line)) if action else ("", line)
            if again or before != action:
                what = f"theme {again[0][:40]!r} again" if again else f"action {action}, and {before}"
                target = video_id if own else f"cluster {cells['cluster']}"
                earlier = mine[again[0]] if again else where
                expected = "one statement a coder and target"
                themes.faults.append(Fault(file.name, f"{target}: {what} (line {earlier})", line=line, expected=expected))
                break
            mine |= dict.fromkeys(found, line)
    themes.faults += names.faults()
    themes.not_reached = names.not_reached
    for (coder, _, video_id), given in sorted(said.items()):  # a cluster's rows first, then a video's own over them
        themes.coded.setdefault(coder, {})[video_id] = frozenset(given)
    for (coder, own, video_id), (action, _) in sorted(acts.items()):
        if action == "drop" and (own or (coder, True, video_id) not in said):
            themes.dropped.setdefault(video_id, coder)
    return themes


_EXPECTED = "a cluster with its clustering, or a video_id or item of the recipe; a theme, a coder; action keep, drop or empty"


def _targets(
    cells: Mapping[str, str], clusters: Mapping[str, int], items: Mapping[str, str], clustering: str
) -> tuple[list[str], str | None]:
    """The video_ids that a row is about, or why there are none."""
    if cells["cluster"]:
        if cells["clustering"].lower() != clustering:
            given = f"is {cells['clustering'][:16]!r}" if cells["clustering"] else "is missing"
            look = f"`clustering` {given}, the sheets are of {clustering}: look at them again, then write {clustering}"
            return [], f"cluster {cells['cluster'][:16]}: {look}; or code the videos by item or video_id, which stay"
        found = sorted(name for name, number in clusters.items() if str(number) == cells["cluster"])
        return found, None if found else f"no cluster {cells['cluster'][:40]}"
    if cells["item"]:
        name = items.get(cells["item"])
        return ([name], None) if name else ([], f"no item {cells['item'][:80]}")
    name = cells["video_id"].lower()
    return ([name], None) if name in clusters or name in set(items.values()) else ([], f"no video_id {name[:40]}")


def agreement(themes: Themes) -> list[dict[str, Any]]:
    """For each two coders, over the videos that both coded: figures as JSON values, 4 decimals.

    Themes are taken one by one, as yes or no a video (several may be true). raw: share of (video, theme) answers that are the
    same. kappa: Cohen's (1960) over those answers, pooled over themes; null where chance alone gives full agreement. By
    theme the same, with n. same_set: share of videos with exactly the same themes. `disagreements` lists video_id, theme and
    which coder gave it.
    """
    found = []
    for left, right in itertools.combinations(sorted(themes.coded), 2):
        a, b = themes.coded[left], themes.coded[right]
        videos = sorted(set(a) & set(b))
        names = sorted(set().union(*(a[video] | b[video] for video in videos)))
        answers = {name: [(name in a[video], name in b[video]) for video in videos] for name in names}
        pooled = [answer for name in names for answer in answers[name]]
        found.append(
            {
                "coders": [left, right],
                "videos": len(videos),
                "raw": _raw(pooled),
                "kappa": kappa(pooled),
                "same_set": _raw([(1, int(a[video] == b[video])) for video in videos]),
                "themes": {
                    name: {"raw": _raw(answers[name]), "kappa": kappa(answers[name]), "n": len(videos)} for name in names
                },
                "disagreements": [
                    {"video_id": video, "theme": name, "coder": left if name in a[video] else right}
                    for video in videos
                    for name in sorted(a[video] ^ b[video])
                ],
            }
        )
    return found


def _raw(answers: list[tuple[Any, Any]]) -> float | None:
    return round(sum(a == b for a, b in answers) / len(answers), 4) if answers else None


def kappa(answers: list[tuple[Any, Any]]) -> float | None:
    """Cohen's kappa of pairs of answers, (observed - expected) / (1 - expected); None where expected agreement is 1."""
    if not answers:
        return None
    count = len(answers)
    values = {value for answer in answers for value in answer}
    sums = [(sum(a == value for a, _ in answers), sum(b == value for _, b in answers)) for value in values]
    expected = sum(a * b for a, b in sums) / count**2
    observed = sum(a == b for a, b in answers) / count
    return None if expected == 1 else round((observed - expected) / (1 - expected), 4)
