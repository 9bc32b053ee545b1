"""The tables of a report that are about what a defence costs, and about the guard at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..flops import LOOKS, Cost, table
from .cells import cell_of, p_of, percent_of, tflops_of
from .contenders import ETAS

Result = Mapping[str, Any]
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def cost(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["defenses"].items():
        blocked, allowed = one["cost"]["blocked"], one["cost"]["allowed"]
        rows.append(
            (
                name,
                "-" if blocked is None else f"{blocked['denoised']:.1f}",
                "-" if blocked is None else percent_of(blocked["denoised_share"]),
                "-" if blocked is None else percent_of(blocked["flops"]),
                "-" if allowed is None else f"{allowed['looks']:.1f}",
                "-" if allowed is None else percent_of(allowed["flops"]),
            )
        )
    header = (
        "defence",
        "blocked: steps",
        "blocked: share of all steps",
        "blocked: FLOPs",
        "allowed: looks",
        "allowed: FLOPs",
    )
    return "Cost, FLOPs as a share of an unguarded generation of the proxy", header, rows


def differences(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            name,
            cell_of(one["accuracy"], sign="+"),
            cell_of(one["balanced_accuracy"], sign="+"),
            p_of(one["accuracy"]["p"]),
            p_of(one["accuracy"]["p_holm"]),
        )
        for name, one in result["differences"].items()
    ]
    return "Less lvd alone, paired", ("defence", "accuracy", "balanced", "p", "p, Holm"), rows


def parity(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (rule, str(one["n"]), str(one["same_action"]), str(one["same_step"]), str(one["decodes_of_blocked"]))
        for rule, one in result["parity"].items()
    ]
    header = ("rule", "generated again, guarded", "same verdict", "same step", "decodes of blocked ones")
    return "Replay and guard", header, rows


def seconds(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for rule, one in result["parity"].items():
        for name, found in one["seconds"].items():
            if found:
                parts = (f"{1000 * found[part]:.0f}" for part in ("total", "denoise", "decode", "detect"))
                rows.append((rule, name, str(found["n"]), *parts))
    header = ("rule", "calls", "n", "ms", "denoise", "decode", "detect")
    return "Time of one guarded call on the proxy, medians", header, rows


def overhead(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["overhead"].items():
        found = one["eta-lambda"]
        title = {"proxy": "the proxy (a small MLP)", "heavy": "AnimateDiff's UNet, narrow"}.get(name, name)
        rows.append(
            (
                title,
                f"{1000 * one['cpu_seconds_alone']:.0f}",
                str(one["rounds"]),
                cell_of({**found, "value": found["ratio"]}),
                f"{100 * found['detect_share']:.2f}%",
            )
        )
    header = ("generator", "CPU ms unguarded", "rounds", "guarded / unguarded (median, 95%)", "of it in the detector")
    return "What a guard adds to an allowed generation", header, rows


def flops(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in table(_costs(result), etas=ETAS):
        saving: Any = row["saving"]
        overhead: Any = row["overhead"]
        rows.append(
            (
                f"{row['model']}, {row['video']}",
                str(row["look"]),
                tflops_of(row["denoise_step_tflops"]),
                tflops_of(row["look_tflops"]),
                *(f"{saving[eta]:.1f}x" for eta in ETAS),
                f"{100 * overhead[5]:.2g}%",
                str(row["most_steps"]),
            )
        )
    header = (
        "model",
        "look",
        "TFLOP a step",
        "TFLOP a look",
        *(f"eta {eta}" for eta in ETAS),
        "allowed, eta 5: more",
        "10x up to eta",
    )
    return "Saving of a generation stopped after eta steps, at real sizes (50 steps)", header, rows


def real_saving(result: Result) -> Table:
    """The proxy's mean step of blocking put into the real sizes' costs."""
    rows: list[tuple[str, ...]] = []
    steps = result["settings"]["sampling_steps"]
    for name, one in result["defenses"].items():
        cost = one["cost"]["blocked"]
        if one["stage"] != "latent" or cost is None:
            continue
        saved = []
        for size in _costs(result):
            for how in LOOKS:
                spent = cost["denoised"] * size.steps / steps * size.denoise_step + cost["looks"] * size.look(how)
                saved.append(f"{size.full / spent:.1f}x")
        rows.append((name, f"{cost['denoised']:.1f}", *saved))
    names = [f"{size.name}, {how}" for size in _costs(result) for how in LOOKS]
    return "The same at the mean step at which the proxy's unsafe videos were blocked", ("defence", "step", *names), rows


def _costs(result: Result) -> list[Cost]:
    return [Cost(**one) for one in result["real_sizes"]]
