"""`unsafe-video defend record`: generate videos and keep what a detector would see of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, print_json
from .errors import InputError

PROXY = "proxy"


def add_record(verbs: Any) -> None:
    """Add the verb `record`."""
    parser = verbs.add_parser(
        "record",
        help="generate videos and keep x0 of the chosen steps",
        description="Generate each prompt with each seed and keep x0 of the chosen steps. Sizes are printed first. A recording "
        "that was stopped goes on. Prompts are stored as hashes.",
        **epilog(
            "unsafe-video defend record path/to/pipeline --prompts prompts.jsonl --seeds 0-3 --steps 1-10 --out out/traces"
        ),
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="'proxy', a local diffusers folder, or module:function")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help=".txt, one a line, or .jsonl; the proxy has its own")
    parser.add_argument("--limit", type=int, metavar="N", help="only N of the requests, drawn by a hash of prompt and seed")
    parser.add_argument("--seeds", default="0", metavar="N,A-B", help="seeds for each prompt (default 0)")
    parser.add_argument("--steps", metavar="N,A-B", help="denoising steps to keep (default all)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labels", type=Path, metavar="FILE", help="table: video_id or sample_id, and categories or is_unsafe")
    labels.add_argument("--labeller", metavar="MODULE:FUNCTION", help="a function of the frames (the proxy has its oracle)")
    parser.add_argument("--arguments", default="{}", metavar="JSON", help='more arguments of the pipeline: {"num_frames": 16}')
    parser.add_argument("--model", default="", help="a name for the weights, kept with the traces")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=1, help="videos generated at a time")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="of the stored x0")
    parser.add_argument("--x0-convention", choices=("scheduler", "uvd"), default="scheduler")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="refuse to record more than this")
    parser.add_argument("--stop-early", action="store_true", help="end each generation after the last kept step: no frames")
    add_json(parser)
    parser.set_defaults(call=_record)


def _record(arguments: argparse.Namespace) -> int:
    record, requests = load_module("defenses.record"), load_module("defenses.trace_requests")
    pipelines = load_module("defenses.pipelines")
    seeds, loud = numbers(arguments.seeds, "--seeds"), not arguments.json
    proxy = arguments.pipeline == PROXY
    if arguments.prompts is not None:
        prompts = requests.read_requests(arguments.prompts, seeds=seeds)
    elif proxy:
        prompts = pipelines.proxy_requests()
    else:
        raise InputError("Give --prompts FILE: only the proxy has prompts of its own.")
    if arguments.limit is not None:
        prompts = requests.limited(prompts, arguments.limit)
    call = load_module("defenses.calls").parse_call(arguments.arguments)
    labels: Any = arguments.labels
    if arguments.labeller is not None:
        labels = pipelines.load_function(arguments.labeller)
    pipe = pipelines.load_pipeline(arguments.pipeline, device=arguments.device)
    if proxy:
        call = {**pipelines.proxy_call(), **call}
        if labels is None and not arguments.stop_early:
            labels = pipelines.proxy_oracle()
    traces = record.record(
        pipe,
        prompts,
        arguments.out,
        steps=None if arguments.steps is None else numbers(arguments.steps, "--steps"),
        labels=labels,
        call=call,
        finish=not arguments.stop_early,
        precision=arguments.precision,
        x0_convention=arguments.x0_convention,
        batch_size=arguments.batch_size,
        max_bytes=arguments.max_bytes,
        model=arguments.model or (PROXY if proxy else ""),
        progress=loud,
        say=print if loud else _to_stderr,
    )
    done: dict[str, Any] = {
        "out": str(arguments.out),
        "samples": len(traces),
        "steps": list(traces.steps),
        "shape": list(traces.shape),
        "scheduler": traces.settings["scheduler"],
        "labelled": sum(row is not None for row in traces.samples["categories"].to_pylist()),
        "categories": {name: _count(traces, name) for name in traces.categories},
        "sha256": traces.sha256,
    }
    if arguments.json:
        print_json(done)
    else:
        shown = ", ".join(f"{name} {count}" for name, count in done["categories"].items()) or "none"
        print(f"{done['samples']} samples in {arguments.out}, {done['labelled']} labelled; unsafe: {shown}")
    return 0


def _count(traces: Any, category: str) -> int:
    return sum(category in (row or ()) for row in traces.samples["categories"].to_pylist())


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def numbers(text: str, flag: str) -> list[int]:
    """`0,3,5-7` as numbers."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) - int(low) > 1_000_000):
            raise InputError(f"{flag} {text!r}: give whole numbers and ranges, such as 1-10 or 0,3,5-7.")
        found += range(int(low), int(high or low) + 1)
    if not found:
        raise InputError(f"{flag} {text!r} is an empty range.")
    return found
