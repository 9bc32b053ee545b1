"""`unsafe-video defend bench | report`: compare defences, print the comparison again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, print_json, show
from .errors import InputError


def add_verbs(verbs: Any) -> None:
    """Add `bench` and `report` to the verbs of `defend`."""
    _add_bench(verbs)
    _add_report(verbs)


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
        show(
            *load_module("defenses.bench.report").blocks(result),
            "note: `unsafe-video defend report` prints all tables: by category, by kind of prompt, rules, chains.",
        )
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
        report = load_module("defenses.bench.report")
        markdown, blocks = "\n".join(report.sections(result).values()), report.blocks(result, full=True)
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
        return 0
    if arguments.markdown:
        print(markdown)
    else:
        show(*blocks)
    if files:
        show("\n".join(f"wrote {file}" for file in files))
    return 0
