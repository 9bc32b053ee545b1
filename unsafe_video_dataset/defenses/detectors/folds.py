"""Which samples train, choose and test a detector. A group is never parted; nothing depends on the order of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..trace_requests import SPLITS
from ..traces import Traces


@dataclass(frozen=True)
class Folds:
    """Sample ids of each split, sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def folds(traces: Traces, *, seed: int = 0, fractions: Sequence[float] = (0.6, 0.2, 0.2)) -> Folds:
    """Splits of labelled traces: those of the index where every sample has one, else drawn by group.

    Drawn ones part mixed groups (safe and unsafe samples), unsafe and safe ones each by `fractions` (train, validation, test),
    in the order of a hash of (seed, group). Raises `InputError` where a group would be parted, train or validation has no safe
    or no unsafe sample, or the fractions are none.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or not fractions[0] > 0 < fractions[1]:
        raise InputError(
            f"fractions={list(fractions)} must be three shares that sum to 1, those of train and validation above 0."
        )
    ids, groups = traces.sample_ids, traces.group_ids
    unsafe = dict(zip(ids, traces.unsafe().tolist(), strict=True))
    given = traces.samples["split"].to_pylist()
    by_group: dict[str, list[str]] = {}
    for sample, group in zip(ids, groups, strict=True):
        by_group.setdefault(group, []).append(sample)
    if all(given):
        where: dict[str, str] = {}
        for group, split in zip(groups, given, strict=True):
            if where.setdefault(group, split) != split:
                raise InputError(f"Group {group} stands in two splits: the same prompt would be trained and tested on.")
    elif any(given):
        raise InputError(
            f"{sum(not split for split in given)} of {len(given)} samples have no split: give all of them one, or none."
        )
    else:
        where = _drawn(by_group, unsafe, seed, fractions)
    made = {
        split: tuple(sorted(s for g, members in by_group.items() if where[g] == split for s in members)) for split in SPLITS
    }
    for split in SPLITS[:2]:
        kinds = {unsafe[sample] for sample in made[split]}
        if len(kinds) < 2:
            lacking = "unsafe" if True not in kinds else "safe"
            raise InputError(
                f"The {split} split has no {lacking} sample ({len(by_group)} groups in all). Record more prompts of that kind."
            )
    return Folds(**made)


def balanced(traces: Traces, samples: Sequence[str], *, ratio: float = 3.0, seed: int = 0) -> list[str]:
    """Samples to train on: all unsafe ones, and safe ones of the same groups before any other, at most `ratio` an unsafe one.

    Safe samples of the same prompt are what keeps a detector from learning the prompt. All of these are taken, even over the
    ratio; the rest are drawn in the order of a hash of (seed, sample).
    """
    wanted = set(samples)
    rows = [row for row in zip(traces.sample_ids, traces.group_ids, traces.unsafe().tolist(), strict=True) if row[0] in wanted]
    mixed = {group for _, group, unsafe in rows if unsafe}
    positive = [sample for sample, _, unsafe in rows if unsafe]
    near = [sample for sample, group, unsafe in rows if not unsafe and group in mixed]
    far = sorted((s for s, group, unsafe in rows if not unsafe and group not in mixed), key=lambda s: _hash(seed, s))
    room = max(0, int(np.ceil(ratio * len(positive))) - len(near))
    return sorted(positive + near + far[:room])


def _drawn(by_group: dict[str, list[str]], unsafe: dict[str, bool], seed: int, fractions: Sequence[float]) -> dict[str, str]:
    where: dict[str, str] = {}
    strata: dict[tuple[bool, bool], list[str]] = {}
    for group, members in by_group.items():
        found = {unsafe[sample] for sample in members}
        strata.setdefault((True in found, False in found), []).append(group)
    for names in strata.values():
        names.sort(key=lambda group: _hash(seed, group))
        first = max(1, round(fractions[0] * len(names)))
        second = first + max(min(1, len(names) - first), round(fractions[1] * len(names)))
        for i, group in enumerate(names):
            where[group] = SPLITS[0] if i < first else SPLITS[1] if i < second else SPLITS[2]
    return where


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
