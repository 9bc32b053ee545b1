"""The result as text: tables for a terminal, and the sections of docs/defenses.md. Names and ids only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import report_costs as costs
from .cells import cell_of, number_of, title_of
from .contenders import EARLY, ETAS, LVD, QUICK, SEQUENTIAL
from .report_costs import Result, Table

if TYPE_CHECKING:
    from ..._terminal import Block

_MAIN = ("defenses table", "defenses reading", "defenses points", "defenses cost", "defenses guard", "defenses targets")


def to_text(result: Result, *, full: bool = False) -> str:
    """Fixed-width tables for a pipe or a file: the main ones, or all where `full`."""
    from ..._console import plain_blocks

    return plain_blocks(*blocks(result, full=full)) + "\n"


def blocks(result: Result, *, full: bool = False) -> list[Block]:
    """The same as blocks for a terminal (`_terminal.show`)."""
    from ..._console import make_table

    made: list[Block] = [facts(result)]
    for name, tables in _grouped(result).items():
        if full or name in _MAIN:
            made += [make_table(header, rows, title=title) for title, header, rows in tables]
    return [*made, "\n".join(notes(result))]


def notes(result: Result) -> list[str]:
    """What a reader must know beside the tables: failures of defences, and what this run took."""
    made = [
        f"note: {name} failed on {one['failures']} of {one['all']['n']} samples, which count as blocked "
        f"({', '.join(one['failed_with'])})."
        for name, one in result["defenses"].items()
        if one.get("failures")
    ]
    took = result["took"]
    made.append(
        f"note: it took {took['seconds']:.0f} s, {took['cpu_seconds']:.0f} s of a processor, in {took['runs']} "
        f"{'run' if took['runs'] == 1 else 'runs'} into this folder."
    )
    return made


def sections(result: Result) -> dict[str, str]:
    """Marker name -> Markdown of docs/defenses.md. The same result gives the same text."""
    made = {name: _markdown(tables) for name, tables in _grouped(result).items()}
    return {"defenses facts": facts(result) + "\n", "defenses paper": against_the_paper(result) + "\n", **made}


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


def against_the_paper(result: Result) -> str:
    """The paper's two numbers beside ours, for each rule: accuracy on all samples, and denoising saved where it blocks."""
    found = []
    for name in (EARLY, LVD, SEQUENTIAL, QUICK):
        one = result["defenses"][name]
        share = one["cost"]["blocked"]["denoised_share"]["value"] if one["cost"]["blocked"] else None
        saved = f", {1 / share:.1f} times less denoising where it blocks" if share else ""
        found.append(f"{name} {cell_of(one['all']['accuracy'])}{saved}")
    return (
        "The paper reports an accuracy of 0.90 and a tenth of the time, on its own videos, labels and models; here, on the "
        f"proxy: {'; '.join(found)}. The two are not the same test: only the order of size can be compared."
    )


def _grouped(result: Result) -> dict[str, list[Table]]:
    made = {
        "defenses fidelity": [_fidelity(result)],
        "defenses table": [_main(result)],
        "defenses categories": [_categories(result)],
        "defenses strata": [_strata(result)],
        "defenses reading": [_reading(result)],
        "defenses rules": [_rules(result)],
        "defenses grid": [_grid(result)],
        "defenses points": [_points(result)],
        "defenses cost": [costs.cost(result)],
        "defenses chains": [costs.differences(result)],
        "defenses guard": [costs.parity(result), costs.seconds(result), costs.overhead(result)],
    }
    made["defenses targets"] = [_targets(result)]
    if "real_sizes" in result:
        made["defenses flops"] = [costs.flops(result), costs.real_saving(result)]
    return {name: [table for table in tables if table[2]] for name, tables in made.items()}


# --- tables -------------------------------------------------------------------------------------------------------------


def _targets(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in result["targets"]:
        wanted = f"{'<' if one['less'] else '>='} {one['wanted']:g}"
        rows.append((one["target"], wanted, cell_of(one), str(one["n"]), one["outcome"], one["why"]))
    return "Targets", ("target", "wanted", "found (95%)", "n", "", "why"), rows


def _fidelity(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["world"].get("fidelity", {}).items():
        shares = (cell_of(one[share]) for share in ("asked", "unclear", "blocked"))
        rows.append((title_of(name), str(one["asked"]["n"]), *shares, f"{one['expected']:.3f}", str(one["scenes"])))
    header = ("prompts", "n", "shown as asked", "unclear", "blocked concept shown", "blocked concept expected", "scenes")
    return "Does the generator show what was asked for?", header, rows


def _grid(result: Result) -> Table:
    cells = {(cell["eta"], cell["lam"]): cell for cell in result["grid"]}
    etas, lams = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    rows: list[tuple[str, ...]] = []
    for eta in etas:
        found = [cells[eta, lam] for lam in lams]
        rows.append((str(eta), *(f"{cell_of(cell['accuracy'])}; {number_of(cell['blocked_at'])}" for cell in found)))
    return "Accuracy; mean step of blocking, for every eta and lambda", ("eta", *(f"lambda {lam}" for lam in lams)), rows


def _main(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in result["defenses"].items():
        found = one["all"]
        steps = one["cost"]["blocked"]
        rows.append(
            (
                name,
                one["stage"],
                *(cell_of(found[metric]) for metric in ("accuracy", "balanced_accuracy", "tpr", "tnr", "auroc", "ap")),
                "-" if steps is None else f"{steps['denoised']:.1f}",
            )
        )
    header = ("defence", "stage", "accuracy", "balanced", "TPR", "TNR", "AUROC", "AP", "steps until blocked")
    return "All test samples", header, rows


def _categories(result: Result) -> Table:
    names = result["world"]["categories"]
    rows: list[tuple[str, ...]] = [
        (name, *(cell_of(one["categories"][category][metric]) for category in names for metric in ("auroc", "ap")))
        for name, one in result["defenses"].items()
        if one["categories"]
    ]
    header = ("defence", *(f"{category.replace('_', ' ')} {metric}" for category in names for metric in ("AUROC", "AP")))
    return "By category", header, rows


def _strata(result: Result) -> Table:
    names = [name for name in result["samples"]["strata"] if name not in ("specified", "open")]
    rows: list[tuple[str, ...]] = [
        (name, *(cell_of(one["strata"][stratum]["accuracy"]) for stratum in names)) for name, one in result["defenses"].items()
    ]
    counts = result["samples"]["strata"]
    return "Accuracy by kind of prompt", ("defence", *(f"{title_of(name)} (n={counts[name]})" for name in names)), rows


def _reading(result: Result) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            name,
            cell_of(one["strata"]["specified"]["accuracy"]),
            cell_of(one["strata"]["open"]["accuracy"]),
            cell_of(one["within_prompt"]),
            cell_of(one["lookalikes"]),
        )
        for name, one in result["defenses"].items()
    ]
    header = ("defence", "accuracy, prompt says all", "accuracy, noise decides", "AUROC within a prompt", "TNR on look-alikes")
    return "Does it read the video, or the prompt?", header, rows


def _rules(result: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, curve in result["curves"].items():
        for row in curve:
            if row["eta"] in ETAS or row["eta"] == curve[-1]["eta"]:
                rows.append(
                    (
                        name,
                        str(row["eta"]),
                        cell_of(row["all"]["accuracy"]),
                        cell_of(row["strata"]["specified"]["accuracy"]),
                        cell_of(row["strata"]["open"]["accuracy"]),
                        number_of(row["blocked_at"]),
                        number_of(row["allowed_at"]),
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


# --- Markdown -----------------------------------------------------------------------------------------------------------


def _markdown(tables: Sequence[Table]) -> str:
    made = []
    for title, header, rows in tables:
        lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        made.append("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n")
    return "\n".join(made)
