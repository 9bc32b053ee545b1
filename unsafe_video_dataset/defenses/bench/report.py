"""The result as text: tables for a terminal, and the sections of docs/defenses.md. Names and ids only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..flops import LOOKS, Cost, table
from .world import STRATA

Result = Mapping[str, Any]
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
_ETAS = (1, 2, 3, 5, 10, 20)
_MAIN = ("defenses table", "defenses reading", "defenses points", "defenses cost", "defenses guard", "defenses targets")


def to_text(result: Result, *, full: bool = False) -> str:
    """Fixed-width tables for a terminal: the main ones, or all where `full`."""
    from ..._console import text_table

    parts = [facts(result)]
    for name, tables in _grouped(result).items():
        if full or name in _MAIN:
            parts += [f"{title}\n\n{text_table(header, rows)}" for title, header, rows in tables]
    return "\n\n".join(parts) + "\n"


def sections(result: Result) -> dict[str, str]:
    """Marker name -> Markdown of docs/defenses.md. The same result gives the same text."""
    made = {name: _markdown(tables) for name, tables in _grouped(result).items()}
    return {"defenses facts": facts(result) + "\n", **made}


def facts(result: Result) -> str:
    """What was measured: samples, seeds, versions."""
    samples, settings, generated = result["samples"], result["settings"], result["generated"]
    unclear = sum(generated["unclear"].values())
    return (
        f"World {result['world']['name']}, weights {result['world']['model'] or 'unnamed'}; {settings['sampling_steps']} steps "
        f"of sampling. {generated['n']} videos generated, {unclear} of them unclear to the judge and left out. Test set: "
        f"{samples['n']} videos of {samples['groups']} prompts, {samples['unsafe']} unsafe; {samples['mixed_groups']} prompts "
        f"gave both. "
        f"Training seeds {', '.join(map(str, settings['seeds']))}; {settings['bootstrap']} bootstrap replicates over prompts. "
        f"torch {result['versions']['torch']}, diffusers {result['versions']['diffusers']}."
    )


def _grouped(result: Result) -> dict[str, list[Table]]:
    made = {
        "defenses table": [_main(result)],
        "defenses categories": [_categories(result)],
        "defenses strata": [_strata(result)],
        "defenses reading": [_reading(result)],
        "defenses rules": [_rules(result)],
        "defenses points": [_points(result)],
        "defenses cost": [_cost(result)],
        "defenses chains": [_differences(result)],
        "defenses guard": [_parity(result), _seconds(result), _overhead(result)],
    }
    made["defenses targets"] = [_targets(result)]
    if "real_sizes" in result:
        made["defenses flops"] = [_flops(result), _real_saving(result)]
    return {name: [table for table in tables if table[2]] for name, tables in made.items()}


# --- tables -------------------------------------------------------------------------------------------------------------


def _targets(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in result["targets"]:
        less = one["wanted"] < 2 and one["wanted"] > 1
        said = "met" if one["met"] else "not met"
        sure = "whole interval" if one["surely"] else "value only" if one["met"] else ""
        rows.append((one["target"], f"{'<' if less else '>='} {one['wanted']:g}", _cell(one), str(one["n"]), said, sure))
    return "Targets", ("target", "wanted", "found (95%)", "n", "", "by"), rows


def _main(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["defenses"].items():
        found = one["all"]
        steps = one["cost"]["blocked"]
        rows.append(
            (
                name,
                one["stage"],
                *(_cell(found[metric]) for metric in ("accuracy", "balanced_accuracy", "tpr", "tnr", "auroc", "ap")),
                "-" if steps is None else f"{steps['denoised']:.1f}",
            )
        )
    header = ("defence", "stage", "accuracy", "balanced", "TPR", "TNR", "AUROC", "AP", "steps until blocked")
    return "All test samples", header, rows


def _categories(result: Result) -> Table:
    names = result["world"]["categories"]
    rows: list[tuple[str, ...]] = [
        (name, *(_cell(one["categories"][category][metric]) for category in names for metric in ("auroc", "ap")))
        for name, one in result["defenses"].items()
        if one["categories"]
    ]
    header = ("defence", *(f"{category.replace('_', ' ')} {metric}" for category in names for metric in ("AUROC", "AP")))
    return "By category", header, rows


def _strata(result: Result) -> Table:
    names = [name for name in result["samples"]["strata"] if name not in ("specified", "open")]
    rows: list[tuple[str, ...]] = [
        (name, *(_cell(one["strata"][stratum]["accuracy"]) for stratum in names)) for name, one in result["defenses"].items()
    ]
    counts = result["samples"]["strata"]
    return "Accuracy by kind of prompt", ("defence", *(f"{_title(name)} (n={counts[name]})" for name in names)), rows


def _reading(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            name,
            _cell(one["strata"]["specified"]["accuracy"]),
            _cell(one["strata"]["open"]["accuracy"]),
            _cell(one["within_prompt"]),
            _cell(one["lookalikes"]),
        )
        for name, one in result["defenses"].items()
    ]
    header = ("defence", "accuracy, prompt says all", "accuracy, noise decides", "AUROC within a prompt", "TNR on look-alikes")
    return "Does it read the video, or the prompt?", header, rows


def _rules(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, curve in result["curves"].items():
        for row in curve:
            if row["eta"] in _ETAS or row["eta"] == curve[-1]["eta"]:
                rows.append(
                    (
                        name,
                        str(row["eta"]),
                        _cell(row["all"]["accuracy"]),
                        _cell(row["strata"]["specified"]["accuracy"]),
                        _cell(row["strata"]["open"]["accuracy"]),
                        _number(row["blocked_at"]),
                        _number(row["allowed_at"]),
                    )
                )
    header = ("rule", "eta, step or cut", "accuracy", "prompt says all", "noise decides", "blocked at step", "allowed at step")
    return "The rules, each at its best point on validation", header, rows


def _points(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["defenses"].items():
        for seed, point in enumerate(one.get("points", ())):
            limit = max(point["thresholds"].values(), default=None)
            rows.append(
                (
                    name,
                    str(result["settings"]["seeds"][seed]),
                    str(point["eta"]),
                    point["lam"] if point["rule"] == "eta-lambda" else "-",
                    "-" if limit is None else f"{limit:.3f}",
                    "-" if point["alpha"] is None else f"{point['alpha']:g}",
                    f"{point['accuracy']:.3f}",
                    f"{one['all']['accuracy']['seeds'][seed]:.3f}",
                )
            )
    header = ("defence", "seed", "eta", "lambda", "threshold", "alpha = beta", "accuracy on validation", "on test")
    return "Operating points, chosen on validation for each training seed", header, rows


def _cost(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["defenses"].items():
        blocked, allowed = one["cost"]["blocked"], one["cost"]["allowed"]
        rows.append(
            (
                name,
                "-" if blocked is None else f"{blocked['denoised']:.1f}",
                "-" if blocked is None else _percent(blocked["denoised_share"]),
                "-" if blocked is None else _percent(blocked["flops"]),
                "-" if allowed is None else f"{allowed['looks']:.1f}",
                "-" if allowed is None else _percent(allowed["flops"]),
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


def _differences(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            name,
            _cell(one["accuracy"], sign="+"),
            _cell(one["balanced_accuracy"], sign="+"),
            _p(one["accuracy"]["p"]),
            _p(one["accuracy"]["p_holm"]),
        )
        for name, one in result["differences"].items()
    ]
    return "Less lvd alone, paired", ("defence", "accuracy", "balanced", "p", "p, Holm"), rows


def _parity(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (rule, str(one["n"]), str(one["same_action"]), str(one["same_step"]), str(one["decodes_of_blocked"]))
        for rule, one in result["parity"].items()
    ]
    header = ("rule", "generated again, guarded", "same verdict", "same step", "decodes of blocked ones")
    return "Replay and guard", header, rows


def _seconds(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for rule, one in result["parity"].items():
        for name, found in one["seconds"].items():
            if found:
                parts = (f"{1000 * found[part]:.0f}" for part in ("total", "denoise", "decode", "detect"))
                rows.append((rule, name, str(found["n"]), *parts))
    header = ("rule", "calls", "n", "ms", "denoise", "decode", "detect")
    return "Time of one guarded call on the proxy, medians", header, rows


def _overhead(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["overhead"].items():
        found = one["eta-lambda"]
        title = {"proxy": "the proxy (a small MLP)", "heavy": "AnimateDiff's UNet, narrow"}.get(name, name)
        rows.append(
            (
                title,
                f"{1000 * one['cpu_seconds_alone']:.0f}",
                str(one["rounds"]),
                f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})",
                f"{100 * found['detect_share']:.2f}%",
            )
        )
    header = ("generator", "CPU ms unguarded", "rounds", "guarded / unguarded (quartiles)", "of it in the detector")
    return "What a guard adds to an allowed generation", header, rows


def _flops(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in table(_costs(result), etas=_ETAS):
        saving: Any = row["saving"]
        overhead: Any = row["overhead"]
        rows.append(
            (
                f"{row['model']}, {row['video']}",
                str(row["look"]),
                _tflops(row["denoise_step_tflops"]),
                _tflops(row["look_tflops"]),
                *(f"{saving[eta]:.1f}x" for eta in _ETAS),
                f"{100 * overhead[5]:.2g}%",
                str(row["most_steps"]),
            )
        )
    header = (
        "model",
        "look",
        "TFLOP a step",
        "TFLOP a look",
        *(f"eta {eta}" for eta in _ETAS),
        "allowed, eta 5: more",
        "10x up to eta",
    )
    return "Saving of a generation stopped after eta steps, at real sizes (50 steps)", header, rows


def _real_saving(result: Result) -> Table:
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


# --- cells --------------------------------------------------------------------------------------------------------------


def _title(name: str) -> str:
    return STRATA.get(name, name.replace("_", " "))


def _cell(found: Mapping[str, Any], sign: str = "") -> str:
    if found["value"] is None:
        return "-"
    digits = 1 if found["value"] >= 2 else 6 if 1 < found["value"] < 1.001 else 3
    text = f"{found['value']:{sign}.{digits}f}"
    return text if found["low"] is None else f"{text} ({found['low']:{sign}.{digits}f} to {found['high']:{sign}.{digits}f})"


def _percent(found: Mapping[str, Any]) -> str:
    text = f"{100 * found['value']:.1f}%"
    return text if found["low"] is None else f"{text} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.01" if value < 0.01 else f"{value:.2f}"


def _tflops(value: Any) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _markdown(tables: Sequence[Table]) -> str:
    made = []
    for title, header, rows in tables:
        lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        made.append("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n")
    return "\n".join(made)
