"""`unsafe-video defend run`: generate prompts with defences in place."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from ._console import Line, add_json, epilog, load_module, print_json, show
from .cli_defend_record import PROXY, numbers
from .errors import InputError


def add_verbs(verbs: Any) -> None:
    """Add `run` to the verbs of `defend`."""
    parser = verbs.add_parser(
        "run",
        help="generate prompts with defences in place",
        description="Generate each prompt with each seed under the given defences. One line a video: its id, the verdict, the "
        "step, the time. With --out each verdict is kept as soon as it is there, and the videos that are allowed (frames as "
        ".npy); blocked ones leave a verdict only.",
        **epilog("unsafe-video defend run proxy --prompts prompts.txt --detector out/detector --eta 5 --lambda 0.6"),
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="'proxy', a local diffusers folder, or module:function")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help=".txt, one a line, or .jsonl")
    parser.add_argument("--seeds", default="0", metavar="N,A-B", help="seeds for each prompt (default 0)")
    parser.add_argument("--detector", type=Path, metavar="DIR", help="latent detector, from `defend train`")
    parser.add_argument("--rule", choices=("eta-lambda", "sequential"), default="eta-lambda")
    parser.add_argument("--eta", type=int, help="steps looked at (default 5; of a sequential test all of its calibration)")
    parser.add_argument("--lambda", dest="lam", default="0.6", help="share of them that must vote unsafe (default 0.6)")
    parser.add_argument(
        "--steps", metavar="N,A-B", help="the steps that vote, the first --eta of them (default: from the first step on)"
    )
    parser.add_argument("--alpha", type=float, default=0.05, help="error rates of the sequential test (default 0.05)")
    parser.add_argument("--keywords", type=Path, metavar="FILE", help="prompt filter: JSON {category: [terms]}")
    parser.add_argument("--ngram", type=Path, metavar="DIR", help="prompt filter: what NgramFilter.save wrote")
    parser.add_argument("--video-filter", type=Path, metavar="DIR", help="output filter: what VideoFilter.save wrote")
    parser.add_argument("--arguments", default="{}", metavar="JSON", help='more arguments of the pipeline: {"num_frames": 16}')
    parser.add_argument("--any-scheduler", action="store_true", help="take a pipeline of another scheduler than trained on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for verdicts.jsonl and the allowed videos")
    add_json(parser)
    parser.set_defaults(call=_run)


def _run(arguments: argparse.Namespace) -> int:
    pipelines, requests = load_module("defenses.pipelines"), load_module("defenses.trace_requests")
    calls = load_module("defenses.calls")
    call = calls.parse_call(arguments.arguments)
    wanted = requests.read_requests(arguments.prompts, seeds=numbers(arguments.seeds, "--seeds"))
    _check_members(arguments)
    pipe = pipelines.load_pipeline(arguments.pipeline, device=arguments.device)
    if hasattr(pipe, "set_progress_bar_config"):
        pipe.set_progress_bar_config(disable=True)
    calls.check_accepted(pipe, call)
    if arguments.pipeline == PROXY:
        call = {**pipelines.proxy_call(), **call}
    chain, convention = _defense(arguments, pipelines.decoder_of(pipe))
    watched = load_module("defenses.guard").guard(pipe, chain, x0_convention=convention)
    rows = []
    with contextlib.ExitStack() as stack:
        log = None
        if arguments.out is not None:
            stack.enter_context(load_module("defenses.lock").alone(arguments.out))
            log = load_module("defenses.verdict_log").VerdictLog(arguments.out)
            stack.callback(log.close)
        for request in wanted:
            rows.append(load_module("defenses.serving").serve(watched, pipe, request, call=call, out=arguments.out))
            if log is not None:
                log.add(rows[-1])
            if not arguments.json:
                show(_line(rows[-1]))
    blocked = sum(row["action"] == "block" for row in rows)
    done = {"videos": len(rows), "blocked": blocked, "denoised": sum(row["denoised"] for row in rows), "verdicts": rows}
    if arguments.json:
        print_json(done)
    else:
        show(f"{len(rows)} videos, {blocked} blocked, {done['denoised']} denoising steps")
        if arguments.out is not None:
            kept = "" if blocked == len(rows) else ", videos/ (frames of the allowed ones)"
            show(f"Written to {arguments.out}: verdicts.jsonl{kept}")
    return 0


def _line(row: dict[str, Any]) -> Line:
    step = "" if row["step"] is None else f" at step {row['step']}"
    # An allowed video may have votes too, too few of them: `verdicts.jsonl` has these, a line here would read as a finding.
    named = f" ({', '.join(row['categories'])})" if row["categories"] and row["action"] == "block" else ""
    why = f"; {row['note']}" if row["note"] else ""
    text = f"{row['video']}  {row['action']}{step}{named} by {row['decided_by']}, {row['seconds']:.2f} s{why}"
    return Line(text, "bad" if row["action"] == "block" else "good")


def _check_members(arguments: argparse.Namespace) -> None:
    if not any((arguments.detector, arguments.keywords, arguments.ngram, arguments.video_filter)):
        raise InputError("No defence: give --detector, --keywords, --ngram or --video-filter.")
    if arguments.rule == "sequential" and arguments.steps is not None:
        raise InputError("A sequential test looks at the steps that it was calibrated on: leave out --steps.")


def _defense(arguments: argparse.Namespace, decode: Any) -> tuple[Any, str]:
    """The chain of what was asked for, and the convention in which its detector reads x0."""
    members: list[Any] = []
    convention = "scheduler"
    if arguments.keywords is not None:
        members.append(load_module("defenses.filters.keyword").KeywordFilter.load(arguments.keywords))
    if arguments.ngram is not None:
        members.append(load_module("defenses.filters.ngram").NgramFilter.load(arguments.ngram))
    if arguments.detector is not None:
        members.append(_latent(arguments, decode))
        convention = members[-1].x0_convention
    if arguments.video_filter is not None:
        members.append(load_module("defenses.filters.video").VideoFilter.load(arguments.video_filter))
    return load_module("defenses.chain").Chain(*members), convention


def _latent(arguments: argparse.Namespace, decode: Any) -> Any:
    how = {"device": arguments.device, "decode": decode}
    detector = load_module("defenses.detectors.detector").Detector.load(arguments.detector, **how)
    if arguments.rule == "sequential":
        rates = {"alpha": arguments.alpha, "beta": arguments.alpha, "truncate": arguments.eta}
        rule = load_module("defenses.sequential").SequentialTest(detector.evidence(), **rates)
        return detector.defense(rule=rule, any_scheduler=arguments.any_scheduler)
    steps = None if arguments.steps is None else numbers(arguments.steps, "--steps")
    eta = 5 if arguments.eta is None else arguments.eta
    return detector.defense(eta=eta, lam=arguments.lam, steps=steps, any_scheduler=arguments.any_scheduler)
