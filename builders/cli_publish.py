"""The command `publish` of `unsafe-video-build`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unsafe_video_dataset._console import add_json, epilog, print_json
from unsafe_video_dataset.errors import InputError

CHECKLIST = "release_checklist.toml"


def add_publish(commands: Any) -> None:
    """Add the command to a parser's `add_subparsers()`."""
    parser = commands.add_parser(
        "publish",
        help="upload a release to a gated repository, tag and verify it",
        description="Verify a release, ask the owner's checklist, upload to a gated dataset repository (private at first), "
        "compare what the Hub gives back, tag it. The token comes from HF_TOKEN or the login file.",
        **epilog(
            f"unsafe-video-build publish --init-checklist          # write {CHECKLIST}; answer it\n"
            "  unsafe-video-build publish OUT org/repo --dry-run\n"
            "  unsafe-video-build publish OUT org/repo"
        ),
    )
    parser.add_argument("release", type=Path, nargs="?", metavar="OUT", help="folder of the release")
    parser.add_argument("repo_id", nargs="?", metavar="ORG/REPO")
    parser.add_argument("--checklist", type=Path, default=Path(CHECKLIST), help=f"the owner's answers (default: {CHECKLIST})")
    parser.add_argument("--init-checklist", action="store_true", help="write an empty checklist and stop")
    parser.add_argument("--public", action="store_true", help="make the repository public at the end (it stays gated)")
    parser.add_argument("--dry-run", action="store_true", help="check everything here; send and write nothing")
    add_json(parser)
    parser.set_defaults(call=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    from .checklist import write_template
    from .publish import publish, summary

    if arguments.init_checklist:
        write_template(arguments.checklist)
        if arguments.json:
            print_json({"checklist": str(arguments.checklist)})
        else:
            print(f"Wrote {arguments.checklist}. Answer every question in it, then publish.")
        return 0
    if arguments.release is None or arguments.repo_id is None:
        raise InputError("Give the release and the repository: unsafe-video-build publish OUT org/repo")
    published = publish(
        arguments.release,
        arguments.repo_id,
        checklist=arguments.checklist,
        public=arguments.public,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        print_json(published.to_dict())
    else:
        print(summary(published))
    return 0
