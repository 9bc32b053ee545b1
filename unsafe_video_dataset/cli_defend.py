"""`unsafe-video defend`: record a pipeline's x0, train a detector on it, calibrate it, and try rules on its votes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, make_table, print_json, show
from .cli_defend_record import add_record, numbers
from .errors import InputError

SPLITS = ("train", "validation", "test", "all")


def add_commands(commands: Any, *more: Callable[[Any], None]) -> None:
    """Add `defend` with its verbs; each of `more` adds verbs of its own to the same list."""
    parser = commands.add_parser(
        "defend",
        help="defences inside a video pipeline: record, train, calibrate, replay",
        description="Latent Variable Defense: a detector reads a pipeline's x0 while it denoises, a rule stops it early.",
        **epilog("unsafe-video defend replay out/traces --detector out/detector"),
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (add_record, _add_train, _add_calibrate, _add_replay, *more):
        add(verbs)


# --- train ------------------------------------------------------------------------------------------------------------


def _add_train(verbs: Any) -> None:
    parser = verbs.add_parser(
        "train",
        help="train the latent detector on traces, and calibrate it",
        description="Train the latent detector on the train split of recorded traces (a prompt's samples stay together), then "
        "calibrate it on the validation split.",
        **epilog("unsafe-video defend train out/traces --out out/detector --epochs 20"),
    )
    parser.add_argument("traces", type=Path, metavar="TRACES")
    parser.add_argument("--out", type=Path, default=Path("out/detector"), metavar="DIR")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="table: video_id or sample_id, and categories or is_unsafe")
    parser.add_argument("--categories", metavar="A,B", help="categories in the order of the scores (default: the labels')")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument(
        "--architecture",
        choices=("latent", "videomae"),
        default="latent",
        help="'latent' reads x0 itself; 'videomae', the paper's layout, decodes it: one VideoMAE a step and category",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="videomae: a local VideoMAE that all of them start from")
    _add_pipeline(parser)
    parser.add_argument("--width", type=int, default=24, help="features of the network, a multiple of 8")
    parser.add_argument(
        "--negatives", type=float, default=3.0, help="safe samples an unsafe one, those of its own prompt first"
    )
    parser.add_argument("--steps", metavar="N,A-B", help="denoising steps to train on (default: all recorded)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target-fpr", type=_fpr, default=0.05, metavar="P|best", help="of a vote on a safe x0 (default 0.05)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")
    add_json(parser)
    parser.set_defaults(call=_train)


def _train(arguments: argparse.Namespace) -> int:
    training, calibration = load_module("defenses.detectors.train"), load_module("defenses.detectors.calibrate")
    loud, traces = not arguments.json, _traces(arguments)
    settings = training.Settings(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        width=arguments.width,
        negatives=arguments.negatives,
        steps=None if arguments.steps is None else tuple(numbers(arguments.steps, "--steps")),
        seed=arguments.seed,
    )
    names = None if arguments.categories is None else [name.strip() for name in arguments.categories.split(",")]
    net = _videomae(arguments, traces, names, settings) if arguments.architecture == "videomae" else {}
    how = {**net, "device": arguments.device, "resume": arguments.resume, "progress": loud}
    trained = training.train(traces, out=arguments.out, settings=settings, categories=names, **how)
    detector = calibration.calibrate(trained.detector, traces, target_fpr=arguments.target_fpr, progress=loud).save(
        arguments.out
    )
    votes = load_module("defenses.trace_votes").replay(traces, detector, split="validation", progress=loud)
    return _show(
        arguments, detector, votes, {"losses": list(trained.losses), "validation_losses": list(trained.validation_losses)}
    )


def _videomae(arguments: argparse.Namespace, traces: Any, names: list[str] | None, settings: Any) -> dict[str, Any]:
    """The network of the paper's layout and its card, for the traces' steps."""
    if arguments.checkpoint is None or arguments.pipeline is None:
        raise InputError(
            "--architecture videomae needs --checkpoint DIR (a local VideoMAE in safetensors) and --pipeline PIPELINE, "
            "with the VAE that decodes x0."
        )
    made = load_module("defenses.detectors.videomae").PerStepVideoMAE.from_checkpoint(
        arguments.checkpoint,
        steps=settings.steps or traces.steps,
        categories=names or traces.labelled().categories,
        decode=_decoder(arguments),
    )
    return {"net": made, "card": made.card(traces.kind())}


# --- calibrate --------------------------------------------------------------------------------------------------------


def _add_calibrate(verbs: Any) -> None:
    parser = verbs.add_parser(
        "calibrate",
        help="choose a detector's thresholds anew, on validation samples",
        description="Choose temperatures, thresholds and evidence on samples that the detector was not trained on.",
        **epilog("unsafe-video defend calibrate out/traces --detector out/detector --target-fpr 0.01"),
    )
    _add_detector(parser, split="validation")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the calibrated detector goes (default: in place)")
    parser.add_argument("--target-fpr", type=_fpr, default=0.05, metavar="P|best", help="of a vote on a safe x0 (default 0.05)")
    add_json(parser)
    parser.set_defaults(call=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    calibration, votes = load_module("defenses.detectors.calibrate"), load_module("defenses.trace_votes")
    traces, detector, how = _traces(arguments), _detector(arguments), _how(arguments)
    made = calibration.calibrate(detector, traces, target_fpr=arguments.target_fpr, **how)
    made = made.save(arguments.out or arguments.detector)
    return _show(arguments, made, votes.replay(traces, made, **how), {})


# --- replay -----------------------------------------------------------------------------------------------------------


def _add_replay(verbs: Any) -> None:
    parser = verbs.add_parser(
        "replay",
        help="a detector's votes on recorded x0, and what every rule makes of them",
        description="Ask a detector about recorded x0 and print the eta x lambda table, without generating anything.",
        **epilog("unsafe-video defend replay out/traces --detector out/detector --etas 1-10 --lambdas 0.4,0.6 --split test"),
    )
    _add_detector(parser, split="all")
    parser.add_argument("--etas", metavar="N,A-B", help="default: every number of recorded steps")
    parser.add_argument("--lambdas", default="0.2,0.4,0.6,0.8,1", metavar="L,L")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the votes as Parquet")
    add_json(parser)
    parser.set_defaults(call=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    traces, detector = _traces(arguments), _detector(arguments)
    replaying = load_module("defenses.trace_votes")
    etas = None if arguments.etas is None else numbers(arguments.etas, "--etas")
    etas = replaying.checked_etas(etas, traces.steps)  # before anything is scored
    lams = [load_module("defenses.rule").exact_lambda(part.strip()) for part in arguments.lambdas.split(",")]
    votes = replaying.replay(traces, detector, **_how(arguments))
    cells = votes.table(etas=etas, lams=lams)
    tests, why = _sequential(detector, votes)
    if arguments.out is not None:
        votes.save(arguments.out)
    if arguments.json:
        return _show(arguments, detector, votes, {"table": [cell.to_dict() for cell in cells], "sequential": tests})
    _show(arguments, detector, votes, {})
    header = ("eta", "steps", "lambda", "needed", "accuracy", "TPR", "TNR", "mean step", "blocked at")
    rows = [(c.eta, _first(votes.steps, c.eta), c.lam, c.needed, *_rates(c.to_dict())) for c in cells]
    steps = "" if votes.steps == tuple(range(1, len(votes.steps) + 1)) else f" --steps {','.join(map(str, votes.steps))}"
    said = [f"note: eta counts recorded steps. To run one: unsafe-video defend run … --eta ETA --lambda LAMBDA{steps}"]
    blocks: list[Any] = [make_table(header, rows)]
    if tests:
        head = ("alpha = beta", *header[4:])
        blocks.append(make_table(head, [(row["alpha"], *_rates(row)) for row in tests], title="Sequential test"))
        said.append(
            "note: to run one: unsafe-video defend run … --rule sequential --alpha ALPHA, with as many steps as recorded"
        )
    else:
        said.append(f"note: no sequential test: {why}")
    show(*blocks, "\n".join(said))
    return 0


def _sequential(detector: Any, votes: Any) -> tuple[list[dict[str, Any]], str]:
    """What sequential tests make of the votes, or why there are none."""
    try:
        return votes.sequential(detector.evidence()), ""
    except InputError as error:
        return [], str(error)


def _first(steps: tuple[int, ...], count: int) -> str:
    """The first so many steps, as they are typed."""
    chosen = steps[:count]
    if chosen == tuple(range(chosen[0], chosen[0] + count)) and count > 2:
        return f"{chosen[0]}-{chosen[-1]}"
    return ",".join(map(str, chosen))


def _rates(row: dict[str, Any]) -> list[str]:
    return [_share(row[name]) for name in ("accuracy", "tpr", "tnr", "mean_step", "mean_step_blocked")]


# --- what the verbs share ---------------------------------------------------------------------------------------------


def _add_detector(parser: argparse.ArgumentParser, *, split: str) -> None:
    parser.add_argument("traces", type=Path, metavar="TRACES")
    parser.add_argument("--detector", type=Path, default=Path("out/detector"), metavar="DIR")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="table: video_id or sample_id, and categories or is_unsafe")
    parser.add_argument("--split", choices=SPLITS, default=split, help=f"as drawn in training (default {split})")
    parser.add_argument("--any-scheduler", action="store_true", help="take traces of another scheduler than it was trained on")
    _add_pipeline(parser)
    parser.add_argument("--device", default="cpu")


def _add_pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pipeline",
        metavar="PIPELINE",
        help="videomae: the recorded pipeline (proxy, a folder, module:function), for its VAE",
    )


def _decoder(arguments: argparse.Namespace) -> Any:
    """What shows frames of an x0; None where no pipeline is given."""
    if arguments.pipeline is None:
        return None
    pipelines = load_module("defenses.pipelines")
    return pipelines.decoder_of(pipelines.load_pipeline(arguments.pipeline, device=arguments.device))


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"split": arguments.split, "any_scheduler": arguments.any_scheduler, "progress": not arguments.json}


def _traces(arguments: argparse.Namespace) -> Any:
    traces = load_module("defenses.traces").Traces.open(arguments.traces)
    return traces if arguments.labels is None else traces.with_labels(arguments.labels)


def _detector(arguments: argparse.Namespace) -> Any:
    load = load_module("defenses.detectors.detector").Detector.load
    return load(arguments.detector, device=arguments.device, decode=_decoder(arguments))


def _show(arguments: argparse.Namespace, detector: Any, votes: Any, more: dict[str, Any]) -> int:
    """The detector's calibration and its report step by step, on the votes given."""
    found, steps = detector.card.calibration, votes.by_step()
    facts = {"samples": len(votes.sample_ids), "unsafe": int(votes.unsafe.sum()), **votes.facts}
    if arguments.json:
        limits = {"thresholds": detector.thresholds, "calibrated": found is not None}
        print_json({"categories": list(detector.categories), **limits, "votes": facts, "steps": steps, **more})
        return 0
    shown = ", ".join(f"{name} {limit:.3f}" for name, limit in detector.thresholds.items())
    said = [f"{facts['samples']} samples ({facts['split']}), {facts['unsafe']} unsafe; thresholds {shown}"]
    if facts["trained_on"]:
        said.append(
            f"note: {facts['trained_on']} of their groups were trained on; these scores are too good. Use --split test."
        )
    header = ("step", "log-SNR", "AUROC", "accuracy", "TPR", "FPR", *detector.categories)
    rows = [
        (
            *(row["step"], f"{row['log_snr']:.2f}", _share(row["auroc"]), _share(row["accuracy"]), _share(row["tpr"])),
            *(_share(row["fpr"]), *(_share(row["auroc_by_category"][name]) for name in detector.categories)),
        )
        for row in steps
    ]
    show("\n".join(said), make_table(header, rows))
    return 0


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _fpr(text: str) -> float | None:
    if text == "best":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 up to 1, nor 'best'")
    return value
