"""`unsafe-video-build`: raw material -> a verified release."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from unsafe_video_dataset._console import add_completion, add_json, epilog, make_table, print_json, run, show
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.hub.copies import remember_copy
from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.votes import Tie

from .cli_publish import add_publish
from .cli_release import add_release
from .cli_run import add_run
from .cli_twin import add_twin
from .raters.control import FailedChecks

_EXIT_CODES = "Exit codes: 0 done, 1 the release or run is not sound, 2 the input or a flag is no good (nothing was written)."


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `unsafe-video-build`; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    return run(arguments.call, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The command line with all its commands."""
    parser = argparse.ArgumentParser(prog="unsafe-video-build", description=__doc__, epilog=_EXIT_CODES)
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_upstream(commands)
    _add_sample(commands)
    add_release(commands)
    add_publish(commands)
    add_run(commands)
    add_twin(commands)
    return parser


def _add_upstream(commands: Any) -> None:
    from .fetch_raw import add_source

    example = "unsafe-video-build upstream RAW OUT --generator animatediff --categories " + ",".join(
        f"{n}={name}" for n, name in enumerate(CATEGORIES, 1)
    )
    parser = commands.add_parser(
        "upstream",
        help="numbered MP4s, prompt file and label CSV -> a release",
        description="Turn the upstream layout (<index>.mp4, a prompt file, the ragged label CSV) into a release.",
        **epilog(example),
    )
    parser.add_argument(
        "raw", type=Path, metavar="RAW", help="folder with <index>.mp4, a prompt file and the label CSV; or org/repo on the Hub"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the new release")
    parser.add_argument("--categories", help="which column is which category; without it, by the published counts")
    parser.add_argument("--generator", help="model that made the videos (default: magictime where the published counts fit)")
    parser.add_argument(
        "--generation",
        metavar="KEY=VALUE,…",
        help="known sampling settings: num_inference_steps, guidance_scale, seed, scheduler",
    )
    parser.add_argument("--prompt-source", help="where the prompts came from, e.g. lexica (default: not stated)")
    parser.add_argument("--labels", type=Path, help="the label CSV (default: the CSV in RAW with the header 1,2,3,4,5)")
    parser.add_argument("--prompts", type=Path, help="the prompt file (default: prompts.txt, or the only .txt in RAW)")
    parser.add_argument("--no-prompts", action="store_true", help="leave the prompts' text out of the release")
    parser.add_argument("--annotations", type=Path, help="CSV of rater votes; labels then come from their majority")
    parser.add_argument(
        "--failed-checks",
        choices=get_args(FailedChecks),
        default="rater",
        help="who failed an attention check is left out (default), or only the answers that failed it, or nothing",
    )
    parser.add_argument("--tie", choices=get_args(Tie), default="negative", help="what exactly half of the raters means")
    parser.add_argument("--splits", default="0.7,0.1,0.2", metavar="A,B,C", help="shares of train, validation, test")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--name", default="unsafe-video", help="name of the release (default: unsafe-video)")
    parser.add_argument("--release-version", default="1.0")
    parser.add_argument("--overwrite", action="store_true", help="replace the release that OUT holds")
    add_source(parser)
    add_json(parser)
    parser.set_defaults(call=_upstream)


def _upstream(arguments: argparse.Namespace) -> int:
    from .fetch_raw import open_raw
    from .upstream import UpstreamSettings, build_upstream

    raw, source = open_raw(arguments)
    settings = UpstreamSettings(
        source=source,
        categories=arguments.categories,
        generator=arguments.generator,
        generation=_generation(arguments.generation),
        prompt_source=arguments.prompt_source,
        labels=arguments.labels,
        prompts=arguments.prompts,
        annotations=arguments.annotations,
        no_prompts=arguments.no_prompts,
        failed_checks=arguments.failed_checks,
        tie=arguments.tie,
        fractions=_fractions(arguments.splits),
        split_seed=arguments.split_seed,
        name=arguments.name,
        release_version=arguments.release_version,
    )
    remember_copy(raw, arguments.out, kind="builds")  # `purge` says that it is there; it is the user's own
    report = build_upstream(raw, arguments.out, settings, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(report.to_dict())
        return 0
    counts = report.manifest["counts"]
    print(f"Built {report.manifest['name']}: {counts['videos']} videos, {counts['unsafe']} unsafe, in {report.out}")
    columns = {category: column for column, category in report.mapping.items()}
    rows = [(name, f"column {columns[name]}", counts["categories"][name]) for name in CATEGORIES]
    splits = [(s, n["unsafe"], n["not_unsafe"]) for s, n in counts["splits"].items()]
    show(
        make_table(("category", "from", "videos"), rows),
        make_table(("split", "unsafe", "not unsafe"), splits),
        *(f"note: {note}" for note in report.notes),
    )
    print(f"Next: unsafe-video-build check {report.out}")
    if all(counts["splits"][split]["unsafe"] for split in ("train", "test")):  # else there is nothing to learn or to score
        print(f"      unsafe-video train --release {report.out}")
    return 0


def _generation(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    from .settings import GENERATION

    kinds: dict[str, Any] = dict(GENERATION)
    settings: dict[str, Any] = dict.fromkeys(kinds)
    for part in text.split(","):
        key, _, value = part.partition("=")
        try:
            settings[key.strip()] = kinds[key.strip()](value.strip())
        except (KeyError, ValueError):
            raise InputError(f"--generation {part!r} can't be read. Give KEY=VALUE with one of: {', '.join(kinds)}.") from None
    return settings


def _fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--splits {text!r} can't be read. Give three shares such as 0.7,0.1,0.2.") from None


def _add_sample(commands: Any) -> None:
    parser = commands.add_parser(
        "sample",
        help="draw the harmless sample release",
        description="Draw the embedded sample anew: moving shapes, simulated raters, the same schema as real releases.",
        **epilog("unsafe-video-build sample out/sample"),
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=None, help="another seed gives another sample")
    parser.add_argument("--overwrite", action="store_true")
    add_json(parser)
    parser.set_defaults(call=_sample)


def _sample(arguments: argparse.Namespace) -> int:
    from .sample import SAMPLE_SEED, build_sample

    seed = SAMPLE_SEED if arguments.seed is None else arguments.seed
    manifest = build_sample(arguments.out, seed=seed, overwrite=arguments.overwrite)
    if arguments.json:
        print_json({"out": str(arguments.out), "counts": manifest["counts"]})
    else:
        print(f"Drew {manifest['counts']['videos']} videos, {manifest['counts']['unsafe']} unsafe, into {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
