"""`unsafe-video defend run | bench | report`: guard a pipeline, compare defences, print the comparison again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, print_json, write_text
from .errors import InputError


def add_verbs(verbs: Any) -> None:
    """Add `run`, `bench` and `report` to the verbs of `defend`."""
    _add_run(verbs)
    _add_bench(verbs)
    _add_report(verbs)


# --- run --------------------------------------------------------------------------------------------------------------


def _add_run(verbs: Any) -> None:
    parser = verbs.add_parser(
        "run",
        help="generate prompts with defences in place",
        description="Generate each prompt with each seed under the given defences. One line a video: its id, the verdict, the "
        "step, the time. Videos that are allowed are kept with --out (frames as .npy); blocked ones leave a verdict only.",
        **epilog("unsafe-video defend run proxy --prompts prompts.txt --detector out/detector --eta 5 --lambda 0.6"),
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="'proxy', a local diffusers folder, or module:function")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help=".txt, one a line, or .jsonl")
    parser.add_argument("--seeds", default="0", metavar="N,A-B", help="seeds for each prompt (default 0)")
    parser.add_argument("--detector", type=Path, metavar="DIR", help="latent detector, from `defend train`")
    parser.add_argument("--rule", choices=("eta-lambda", "sequential"), default="eta-lambda")
    parser.add_argument("--eta", type=int, default=5, help="steps looked at (default 5)")
    parser.add_argument("--lambda", dest="lam", default="0.6", help="share of them that must vote unsafe (default 0.6)")
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
    from .cli_defend_record import PROXY, numbers

    try:
        call = json.loads(arguments.arguments)
    except ValueError:
        call = None
    if not isinstance(call, dict):
        raise InputError('--arguments must be a JSON object, such as {"num_inference_steps": 25}.')
    wanted = requests.read_requests(arguments.prompts, seeds=numbers(arguments.seeds, "--seeds"))
    defense = _defense(arguments)
    pipe = pipelines.load_pipeline(arguments.pipeline, device=arguments.device)
    if arguments.pipeline == PROXY:
        call = {**pipelines.proxy_call(), **call}
    watched = load_module("defenses.guard").guard(pipe, defense)
    rows = []
    for request in wanted:
        rows.append(load_module("defenses.serving").serve(watched, pipe, request, call=call, out=arguments.out))
        if not arguments.json:
            row = rows[-1]
            step = "" if row["step"] is None else f" at step {row['step']}"
            named = f" ({', '.join(row['categories'])})" if row["categories"] else ""
            print(f"{row['video']}  {row['action']}{step}{named} by {row['decided_by']}, {row['seconds']:.2f} s")
    blocked = sum(row["action"] == "block" for row in rows)
    done = {"videos": len(rows), "blocked": blocked, "denoised": sum(row["denoised"] for row in rows), "verdicts": rows}
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_text(arguments.out / "verdicts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if arguments.json:
        print_json(done)
    else:
        print(f"{len(rows)} videos, {blocked} blocked, {done['denoised']} denoising steps")
    return 0


def _defense(arguments: argparse.Namespace) -> Any:
    """The chain of what was asked for. Raises `InputError` where that is nothing."""
    members: list[Any] = []
    if arguments.keywords is not None:
        members.append(load_module("defenses.filters.keyword").KeywordFilter.load(arguments.keywords))
    if arguments.ngram is not None:
        members.append(load_module("defenses.filters.ngram").NgramFilter.load(arguments.ngram))
    if arguments.detector is not None:
        detector = load_module("defenses.detectors.detector").Detector.load(arguments.detector, device=arguments.device)
        rule = None
        if arguments.rule == "sequential":
            rule = load_module("defenses.sequential").SequentialTest(detector.evidence(), truncate=arguments.eta)
        members.append(detector.defense(eta=arguments.eta, lam=arguments.lam, rule=rule, any_scheduler=arguments.any_scheduler))
    if arguments.video_filter is not None:
        members.append(load_module("defenses.filters.video").VideoFilter.load(arguments.video_filter))
    if not members:
        raise InputError("No defence: give --detector, --keywords, --ngram or --video-filter.")
    return load_module("defenses.chain").Chain(*members)


# --- bench ------------------------------------------------------------------------------------------------------------


def _add_bench(verbs: Any) -> None:
    parser = verbs.add_parser(
        "bench",
        help="compare defences on the proxy: prompt filters, LVD, output filters, chains",
        description="Compare prompt filters, the Latent Variable Defense under three rules, output filters and chains on the "
        "shipped proxy of harmless moving shapes. Staged: what is in --out is not made again. --fast takes less than three "
        "minutes on two cores.",
        **epilog("unsafe-video defend bench --fast --extra my_filters:my_filter"),
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: out/defend-bench, with --fast out/defend-fast")
    parser.add_argument("--fast", action="store_true", help="a quarter of the prompts, one training seed")
    parser.add_argument(
        "--extra", action="append", default=[], metavar="MODULE:NAME", help="a defence of yours, or a callable of a prompt"
    )
    parser.add_argument("--real-sizes", action="store_true", help="count FLOPs at published models' sizes (minutes)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts, filters and the bootstrap")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of torch; the proxy's tensors are small (default 1)"
    )
    add_json(parser)
    parser.set_defaults(call=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    settings, run = load_module("defenses.bench.settings"), load_module("defenses.bench.stages")
    chosen = settings.fast(seed=arguments.seed) if arguments.fast else settings.BenchSettings(seed=arguments.seed)
    loud = not arguments.json
    result = run.run(
        arguments.out or Path("out/defend-fast" if arguments.fast else "out/defend-bench"),
        chosen,
        extra=[_extra(name) for name in arguments.extra],
        heavy=not arguments.fast,
        real_sizes=arguments.real_sizes,
        threads=arguments.threads,
        progress=loud,
        say=(lambda text: print(text, file=sys.stderr)) if loud else None,
    )
    if arguments.json:
        print_json(result)
    else:
        print(load_module("defenses.bench.report").to_text(result))
        print("`unsafe-video defend report` prints all tables: by category, by kind of prompt, rules, chains.")
    return 0


def _extra(name: str) -> Any:
    """A defence, or a plain callable of a prompt, from `module:name`."""
    found = load_module("defenses.pipelines").load_function(name)
    base, chain = load_module("defenses.base"), load_module("defenses.chain")
    if isinstance(found, type):
        found = found()
    if isinstance(found, (chain.Chain, base.PromptDefense, base.LatentDefense, base.OutputDefense)):
        return found
    return chain.as_prompt_defense(found)


# --- report -----------------------------------------------------------------------------------------------------------


def _add_report(verbs: Any) -> None:
    parser = verbs.add_parser(
        "report",
        help="print a benchmark's tables again, or write its figures",
        description="Print the tables of a finished benchmark. Nothing is measured.",
        **epilog("unsafe-video defend report out/defend-fast --plots out/defend-fast/figure"),
    )
    parser.add_argument("result", type=Path, metavar="OUT", help="a benchmark's folder, or its result.json")
    parser.add_argument("--markdown", action="store_true", help="Markdown, for a page")
    parser.add_argument("--plots", type=Path, metavar="BASE", help="write figures BASE-step.png, BASE-rules.png, …")
    add_json(parser)
    parser.set_defaults(call=_report)


def _report(arguments: argparse.Namespace) -> int:
    path = arguments.result / "result.json" if arguments.result.is_dir() else arguments.result
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        text = load_module("defenses.bench.report")
        shown = "\n".join(text.sections(result).values()) if arguments.markdown else text.to_text(result, full=True)
    except OSError:
        raise InputError(f"There is no {path}. `unsafe-video defend bench` writes it.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no result of `defend bench` of this version ({type(error).__name__}).") from None
    files = []
    if arguments.plots is not None:
        arguments.plots.parent.mkdir(parents=True, exist_ok=True)
        files = [str(file) for file in load_module("defenses.bench.plot").write_plots(result, arguments.plots)]
    if arguments.json:
        print_json({**result, "figures": files})
    else:
        print(shown)
        for file in files:
            print(f"wrote {file}")
    return 0
