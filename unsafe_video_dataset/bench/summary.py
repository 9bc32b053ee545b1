"""From measured rounds to medians, spreads and ratios. Pure functions of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MEASURES: dict[str, bool] = {
    "clips_per_second": True,
    "cpu_ms_a_clip": False,
    "first_batch_seconds": False,
    "peak_bytes": False,
}
"""What is measured of a loader -> whether more is better."""


def measures(run: Mapping[str, Any]) -> dict[str, float | None]:
    """The measures of one run, from its `clips`, `seconds`, `cpu_seconds`, `first_batch_seconds` and `peak_bytes`."""
    clips = run["clips"]
    return {
        "clips_per_second": clips / run["seconds"] if run["seconds"] > 0 else None,
        "cpu_ms_a_clip": 1000 * run["cpu_seconds"] / clips,
        "first_batch_seconds": run["first_batch_seconds"],
        "peak_bytes": run["peak_bytes"] or None,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles (linear interpolation between ranks)."""
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
    return {"median": float(middle), "low": float(low), "high": float(high)}


def summarize(runs: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a loader and number of workers, in the order of `kinds` (loader -> `"ours"`, `"peer"`, `"limit"`, `"memory"`).

    `to_best_peer` and `to_limit` are medians over rounds of the ratio within one round, so that a machine that slows down
    between rounds changes neither. The best peer is that with the best median of the measure at that number of workers;
    the limit is the loader of kind `"limit"` (`"memory"`, the limit of a cache, is in `to_memory`). A ratio is
    loader / reference whichever is better, so for CPU, seconds and bytes below 1 is better. None where there is nothing
    to compare with. `quartiles` holds the spread of each of these ratios over the rounds.
    """
    table: dict[tuple[int, str], dict[int, dict[str, float | None]]] = {}
    for run in runs:
        table.setdefault((run["workers"], run["peer"]), {})[run["round"]] = measures(run)
    rows = []
    for workers in sorted({key[0] for key in table}):
        here = {name: table[workers, name] for name in kinds if (workers, name) in table}
        for name, rounds in here.items():
            row: dict[str, Any] = {"peer": name, "kind": kinds[name], "workers": workers, "rounds": len(rounds)}
            for measure, more in MEASURES.items():
                values = [found for one in rounds.values() if (found := one[measure]) is not None]
                best = best_peer(here, kinds, measure, more=more)
                row[measure] = (
                    None
                    if not values
                    else {
                        **spread(values),
                        "best_peer": best,
                        "to_best_peer": _ratio(rounds, here.get(best or ""), measure),
                        "to_limit": _ratio(rounds, _of_kind(here, kinds, "limit"), measure),
                        "to_memory": _ratio(rounds, _of_kind(here, kinds, "memory"), measure),
                        "quartiles": {
                            "to_best_peer": _ratios(rounds, here.get(best or ""), measure),
                            "to_limit": _ratios(rounds, _of_kind(here, kinds, "limit"), measure),
                            "to_memory": _ratios(rounds, _of_kind(here, kinds, "memory"), measure),
                        },
                    }
                )
            rows.append(row)
    return rows


Rounds = Mapping[int, Mapping[str, float | None]]


def best_peer(here: Mapping[str, Rounds], kinds: Mapping[str, str], measure: str, *, more: bool) -> str | None:
    """The loader of kind `"peer"` with the best median of a measure; None where none has it."""
    medians = {
        name: spread(values)["median"]
        for name, rounds in here.items()
        if kinds[name] == "peer" and (values := [v for one in rounds.values() if (v := one[measure]) is not None])
    }
    if not medians:
        return None
    return (max if more else min)(medians, key=lambda name: (medians[name], name))


def _of_kind(here: Mapping[str, Rounds], kinds: Mapping[str, str], kind: str) -> Rounds | None:
    return next((rounds for name, rounds in here.items() if kinds[name] == kind), None)


def _ratio(mine: Rounds, reference: Rounds | None, measure: str) -> float | None:
    found = _ratios(mine, reference, measure)
    return None if found is None else found["median"]


def _ratios(mine: Rounds, reference: Rounds | None, measure: str) -> dict[str, float] | None:
    """Spread over the rounds that both have."""
    found = []
    for number, one in mine.items():
        top, bottom = one[measure], (reference or {}).get(number, {}).get(measure)
        if top is not None and bottom:
            found.append(top / bottom)
    return spread(found) if found else None


def slope(values: Sequence[float], *, skip: int = 0) -> dict[str, float] | None:
    """Least-squares slope a step with its 95% interval (Student's t), the first `skip` values left out.

    None for fewer than 4 values: an interval of so few says nothing. The interval takes the residuals as independent; where
    memory moves in steps it is too narrow, so look at the values too.
    """
    y = np.asarray(values[skip:], dtype=np.float64)
    n = len(y)
    if n < 4:
        return None
    x = np.arange(n) - (n - 1) / 2
    square = float((x**2).sum())
    found = float((x * y).sum()) / square
    rest = y - y.mean() - found * x
    error = math.sqrt(float((rest**2).sum()) / (n - 2) / square)
    reach = t_quantile(n - 2) * error
    return {"slope": found, "low": found - reach, "high": found + reach, "values": float(n)}


def t_quantile(degrees: int) -> float:
    """97.5% quantile of Student's t, by the expansion in 1/degrees (Abramowitz and Stegun 26.7.5); within 1% from 3 on.

    Two degrees, where the expansion is off by more, have the exact value 4.303.
    """
    if degrees < 3:
        return 4.303
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
