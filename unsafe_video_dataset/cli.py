"""`unsafe-video`: look at a release, train and score a detector on it."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from . import (
    __version__,
    cli_bench,
    cli_defend,
    cli_defend_bench,
    cli_defend_run,
    cli_evaluate,
    cli_export,
    cli_hub,
    cli_report,
    cli_train,
)
from ._console import (
    COMPLETION,
    Table,
    add_completion,
    add_json,
    epilog,
    load_module,
    make_table,
    plain_blocks,
    print_json,
    run,
    show,
    show_report,
    write_text,
)
from .cli_open import add_source, open_source
from .errors import MissingDependency
from .naming import UPSTREAM
from .release import SAMPLE, Release
from .taxonomy import CATEGORIES, CATEGORY_TITLES, CONFIGS, SPLITS
from .video import WHY_THIS_ORDER, choose_decoder, decoder_status

_EXIT_CODES = "Exit codes: 0 done, 1 a check failed or something broke, 2 the input or a flag can't be used."


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `unsafe-video`; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    parser = make_parser(train="train" in given or any(one.startswith(COMPLETION) for one in given))
    arguments, unknown = parser.parse_known_args(argv)
    if unknown and not vars(arguments).get("takes_all"):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return run(arguments.call, arguments)


def make_parser(*, train: bool = True) -> argparse.ArgumentParser:
    """The command line with all its commands; without `train` that command has no flags, and torch is not loaded."""
    parser = argparse.ArgumentParser(prog="unsafe-video", description=__doc__, epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"unsafe-video {__version__}")
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_info(commands)
    cli_train.add_commands(commands, wanted=train)
    cli_evaluate.add_commands(commands)
    cli_report.add_commands(commands)
    cli_bench.add_bench(commands)
    cli_export.add_export(commands)
    cli_hub.add_commands(commands)
    cli_defend.add_commands(commands, cli_defend_run.add_verbs, cli_defend_bench.add_verbs)
    return parser


# --- demo ------------------------------------------------------------------------------------------------------------


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="the whole path on the embedded sample: load, train, score",
        description="Load the harmless sample, train the baseline on it, score the test split, write everything to --out.",
        **epilog("unsafe-video demo --fast"),
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--fast", action="store_true", help="train for a few epochs only (seconds, worse scores)")
    add_json(parser)
    parser.set_defaults(call=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    baseline, preview, hf = (load_module(name) for name in ("baseline", "preview", "hf"))
    started = time.monotonic()
    loud = not arguments.json
    if loud:
        print("Loading the embedded sample with load_dataset() …")
    rows = hf.load_dataset()
    release = Release.open(SAMPLE)
    if loud:
        print(f"{sum(len(split) for split in rows.values())} unsafe videos in {', '.join(rows)}. The whole release:\n")
        show(*_counts(release))
    settings = baseline.Settings(epochs=6, size=32) if arguments.fast else baseline.Settings()
    if loud:
        print(f"\nTraining the baseline on {len(rows['train'])} videos, {settings.epochs} epochs …")
    report = baseline.run(release, out=arguments.out, settings=settings, progress=loud)
    ids = release.metadata("test", is_unsafe=True)["video_id"].to_pylist()
    preview.contact_sheet(release, ids, columns=2).save(arguments.out / "contact_sheet.png")
    write_text(arguments.out / "summary.md", _summary(release, report, settings))
    seconds = time.monotonic() - started
    if arguments.json:
        print_json({"release": _info(release), "report": report.to_dict(), "out": str(arguments.out)})
        return 0
    print()
    show_report(report)
    print()
    print(
        f"Done in {seconds:.0f} s. Written to {arguments.out}: "
        + ", ".join(sorted(path.name for path in arguments.out.iterdir()))
    )
    nexts = {
        "unsafe-video info": "what a release and this machine offer",
        f"unsafe-video evaluate {arguments.out / 'predictions.jsonl'}": "score any predictions file",
        "unsafe-video train --help": "your own settings",
        "unsafe-video report sample --out out/report": "look at a release, blurred",
        f"unsafe-video access {UPSTREAM}": "the real data: may you read it, and how to ask",
    }
    width = max(map(len, nexts))
    print("\n".join(["Next:", *(f"  {command:<{width}}  {why}" for command, why in nexts.items())]))
    return 0


def _summary(release: Release, report: Any, settings: Any) -> str:
    return (
        f"# Baseline on {release.name} {release.version}\n\n"
        f"Trained on the `{settings.config}` train split ({settings}), scored on the test split.\n\n"
        f"```\n{report.to_text()}\n```\n\n```\n{plain_blocks(*_counts(release))}\n```\n"
    )


# --- info ------------------------------------------------------------------------------------------------------------


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what a release holds, and which decoders work here",
        description="What a release holds (categories, splits, raters), and what this machine can decode with and why.",
        **epilog("unsafe-video info sample --json"),
    )
    parser.add_argument(
        "release", nargs="?", default=SAMPLE, metavar="RELEASE", help="'sample' (default), a folder or org/repo"
    )
    add_source(parser)
    add_json(parser)
    parser.set_defaults(call=_show_info)


def _show_info(arguments: argparse.Namespace) -> int:
    release = open_source(arguments, config="metadata")
    info = _info(release)
    if arguments.json:
        print_json(info)
        return 0
    show(
        *_counts(release),
        make_table(("decoder", "status"), list(info["decoders"].items())),
        f"decoder='auto' picks {info['decoder']['picked']}: {info['decoder']['why']}\n{info['decoder']['order']}",
        make_table(("package", "version"), list(info["versions"].items())),
    )
    return 0


def _info(release: Release) -> dict[str, Any]:
    try:
        picked, why = choose_decoder("auto")
    except MissingDependency as error:
        picked, why = "none", str(error)
    counts = release.manifest["counts"]
    sizes = {config: {split: release.num_rows(config, split) for split in SPLITS} for config in release.manifest["configs"]}
    return {
        "name": release.name,
        "release_version": release.version,
        "schema_version": release.manifest["schema_version"],
        "path": str(release.path),
        "manifest_sha256": release.manifest_sha256,
        "label_from": release.manifest["settings"].get("labels_from", "majority of votes"),
        "counts": counts,
        "rows": sizes,
        "decoders": decoder_status(),
        "decoder": {"picked": picked, "why": why, "order": WHY_THIS_ORDER},
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"unsafe-video-dataset": __version__, "python": platform.python_version()}
    for name in ("pyarrow", "datasets", "huggingface_hub", "torch", "av", "decord2", "torchcodec"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _counts(release: Release) -> list[Table | str]:
    counts = release.manifest["counts"]
    head = (
        f"{release.name} {release.version}: {counts['videos']} reviewed videos, {counts['unsafe']} unsafe; "
        f"{counts['votes']} votes of {counts['raters']} raters; {counts['groups']} groups; "
        f"manifest {release.manifest_sha256[:12]}"
    )
    hits = {split: _tally(release, split) for split in SPLITS}
    rows: list[tuple[object, ...]] = [
        (CATEGORY_TITLES[name], counts["categories"][name], *(hits[split][name] for split in SPLITS)) for name in CATEGORIES
    ]
    unsafe = [counts["splits"][split]["unsafe"] for split in SPLITS]
    other = [counts["splits"][split]["not_unsafe"] for split in SPLITS]
    rows += [("unsafe (any)", sum(unsafe), *unsafe), ("not unsafe", sum(other), *other)]
    more = [
        ("generators", ", ".join(f"{name} {n}" for name, n in counts["generators"].items())),
        ("prompt sources", ", ".join(f"{name} {n}" for name, n in counts["prompt_sources"].items())),
        ("configs", ", ".join(name for name in CONFIGS if name in release.manifest["configs"])),
    ]
    return [head, make_table(("category", "videos", *SPLITS), rows), make_table(("field", "values"), more)]


def _tally(release: Release, split: str) -> Counter[str]:
    """Videos of a split in each category."""
    if not sum(release.manifest["counts"]["splits"][split].values()):
        return Counter()
    rows = release.metadata(split, columns=["categories"])["categories"].to_pylist()
    return Counter(CATEGORIES[index] for row in rows for index in row)


if __name__ == "__main__":
    sys.exit(main())
