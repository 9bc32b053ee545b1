"""The commands of `unsafe-video` that ask the Hub, or look after what came from it: access, download, verify, purge, log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from ._console import Line, add_json, epilog, make_table, print_json, show, tell
from .cache import FrameCache, is_cache
from .errors import InputError, TermsNotAccepted, plain
from .integrity import VerifyReport
from .naming import is_repo_id, taken_for_a_repository
from .release import Release
from .taxonomy import CONFIGS, SPLITS

T = TypeVar("T")


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's `add_subparsers()`."""
    _add_access(commands)
    _add_download(commands)
    _add_verify(commands)
    _add_purge(commands)
    _add_log(commands)


class _NoToken(argparse.Action):
    """A token in the arguments is refused, and not repeated: other users of a machine can read them."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        parser.error("a token does not belong on the command line: set HF_TOKEN, or run `hf auth login`")


def refuse_token(parser: argparse.ArgumentParser) -> None:
    """Let `--token` say where a token belongs."""
    parser.add_argument("--token", action=_NoToken, nargs="?", help=argparse.SUPPRESS)


def ask_terms(call: Callable[[bool | str], T], *, accepted: bool, quiet: bool) -> T:
    """`call(accepted)`; on a terminal, terms that are new are shown and asked about once, and `call` gets the hash of what
    was shown. Raises `InputError` for a no, `TermsNotAccepted` if the terms have changed meanwhile."""
    try:
        return call(accepted)
    except TermsNotAccepted as error:
        if quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        terms = error.terms
    print(plain(terms), file=sys.stderr)  # the owner's text must not steer the terminal on which consent is given
    print("\nDo you accept? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("The terms were not accepted; nothing was downloaded.")
    from .hub.terms import terms_sha256

    return call(terms_sha256(terms))


def _add_access(commands: Any) -> None:
    parser = commands.add_parser(
        "access",
        help="may this account read a gated repository, and if not, what to do",
        description="Ask the Hub whether this account may read a repository. Exit code 0 only when access is granted.",
        **epilog("unsafe-video access org/repo"),
    )
    parser.add_argument("repo_id", metavar="ORG/REPO")
    add_json(parser)
    refuse_token(parser)
    parser.set_defaults(call=_access)


def _access(arguments: argparse.Namespace) -> int:
    from .hub import access

    status = access(arguments.repo_id)
    if arguments.json:
        print_json(status.to_dict())
    else:
        rows = [
            ("account", status.account or "not known"),
            ("what happened", status.message),
            ("the Hub says", status.server or "-"),
            ("page", status.page),
            ("next step", status.next_step),
        ]
        if status.retry_after_seconds is not None:
            rows.insert(1, ("try again in", f"{status.retry_after_seconds:.0f} s"))
        tone: Literal["good", "bad"] = "good" if status.granted else "bad"
        show(Line(f"{status.repo_id}: {status.state.replace('_', ' ')}", tone), make_table(("field", "answer"), rows))
    return 0 if status.granted else 1


def _add_download(commands: Any) -> None:
    parser = commands.add_parser(
        "download",
        help="bring a release to this machine, verified",
        description="Resolve the revision to a commit, download what the config needs and no more, verify every file.",
        **epilog(
            "unsafe-video download org/repo --config metadata --dry-run\n"
            "  unsafe-video download org/repo --revision v1.0 --accept-terms"
        ),
    )
    parser.add_argument("repo_id", metavar="ORG/REPO")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    parser.add_argument("--config", choices=(*CONFIGS, "all"), default="unsafe")
    parser.add_argument("--split", choices=SPLITS, help="only this split's data files")
    parser.add_argument("--cache-dir", type=Path, help="where downloads live (default: UNSAFE_VIDEO_CACHE, or in HF_HOME)")
    parser.add_argument("--dry-run", action="store_true", help="print the sizes and stop; checks the disk")
    parser.add_argument("--accept-terms", action="store_true", help="you have read the content warning and terms, and accept")
    parser.add_argument("--offline", action="store_true", help="ask nothing of the network; check what is here")
    add_json(parser)
    refuse_token(parser)
    parser.set_defaults(call=_download)


def _download(arguments: argparse.Namespace) -> int:
    from .hub import download, plan_download

    where: dict[str, Any] = {name: getattr(arguments, name) for name in ("revision", "config", "split", "cache_dir")}
    if arguments.dry_run:
        _print_plan(plan_download(arguments.repo_id, local_files_only=arguments.offline, **where), as_json=arguments.json)
        return 0
    how = {"local_files_only": arguments.offline, "progress": not arguments.json}
    folder = ask_terms(
        lambda accepted: download(arguments.repo_id, accept_terms=accepted, **where, **how),
        accepted=arguments.accept_terms,
        quiet=arguments.json,
    )
    if arguments.json:
        print_json({"repo_id": arguments.repo_id, "commit": folder.name, "folder": str(folder), "config": arguments.config})
    else:
        print(f"{arguments.repo_id} at commit {folder.name}, verified: {folder}")
    return 0


def _print_plan(plan: Any, *, as_json: bool) -> None:
    from .hub.store import size_text

    if as_json:
        print_json(plan.to_dict())
        return
    rows = [
        (file["path"], size_text(file["bytes"]), "here" if file["here"] else "to fetch") for file in plan.to_dict()["files"]
    ]
    show(make_table(("file", "size", "state"), rows))
    print(f"{plan.repo_id} at commit {plan.commit}: {size_text(plan.bytes_to_fetch)} to fetch into {plan.folder}")


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="check a release: every file, row and checksum",
        description="Check every file against the manifest (and the Hub's listing), every row against its schema, every video "
        "against its sha256, and that withdrawn videos are gone. All faults are listed. Exit code 0 only without faults.",
        **epilog("unsafe-video verify path/to/release --decode\n  unsafe-video verify org/repo --revision v1.0"),
    )
    parser.add_argument("release", metavar="PATH|ORG/REPO", help="'sample', a release folder, or a repository on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit of a repository (default: main)")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--decode", action="store_true", help="decode every video too, in a process of its own")
    parser.add_argument("--accept-terms", action="store_true")
    add_json(parser)
    refuse_token(parser)
    parser.set_defaults(call=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    path = arguments.release
    if is_repo_id(path):
        from .hub import verify

        where = {"revision": arguments.revision, "cache_dir": arguments.cache_dir, "progress": not arguments.json}
        with taken_for_a_repository(path):
            report = ask_terms(
                lambda accepted: verify(path, decode=arguments.decode, accept_terms=accepted, **where),
                accepted=arguments.accept_terms,
                quiet=arguments.json,
            )
    elif arguments.revision:
        raise InputError("--revision is for repositories; a folder has only what is in it.")
    else:
        report = Release.open(path).verify(decode=arguments.decode)
    if arguments.json:
        print_json(report.to_dict())
    else:
        show_verified(path, report)
    return 0 if report.ok else 1


def show_verified(name: object, report: VerifyReport) -> None:
    """Print what was checked and how it came out; the faults go to standard error, one a line."""
    for fault in report.faults:
        tell("fault", fault)
    seen = [(what, getattr(report, what)) for what in ("files", "videos", "decoded", "annotations")]
    verdict = "sound" if report.ok else f"{len(report.faults)} fault{'' if len(report.faults) == 1 else 's'}"
    if report.left_out:
        tell("warning", f"{report.left_out} files were not downloaded and not checked.")
    show(make_table(("checked", "number"), seen), Line(f"{name}: {verdict}", "good" if report.ok else "bad"))


def _add_purge(commands: Any) -> None:
    parser = commands.add_parser(
        "purge",
        help="remove every copy of a repository from this machine",
        description="Remove every copy that this package made of a repository, wherever it is: downloads, rows that datasets "
        "cached, clips, exports, reports. Or the decoded clips in one folder of a FrameCache, whatever release they were made "
        "from. Exit code 0 only if nothing is left; what is left is listed.",
        **epilog("unsafe-video purge org/repo"),
    )
    parser.add_argument("repo_id", metavar="ORG/REPO", help="a repository, or a folder that cache= was given")
    parser.add_argument("--cache-dir", type=Path, help="only what lives here (default: every cache folder that was used)")
    add_json(parser)
    parser.set_defaults(call=_purge)


def _purge(arguments: argparse.Namespace) -> int:
    from .hub.purge import purge_all
    from .hub.store import size_text

    if is_cache(Path(arguments.repo_id)):
        return _purge_cache(Path(arguments.repo_id), as_json=arguments.json)
    done = purge_all(arguments.repo_id, cache_dir=arguments.cache_dir)
    for sentence in done.left:
        tell("warning", sentence)
    if arguments.json:
        print_json(done.to_dict())
    else:
        none = "" if done.files or done.left else " There is no copy here that this package made."
        print(f"Removed {done.files} files ({size_text(done.bytes)}) of {arguments.repo_id}.{none}")
    return 1 if done.left else 0


def _purge_cache(folder: Path, *, as_json: bool) -> int:
    from .hub.store import size_text

    files, size = FrameCache(folder).purge()
    if as_json:
        print_json({"folder": str(folder), "files": files, "bytes": size})
    else:
        print(f"Removed {files} files ({size_text(size)}) of the cache {folder}.")
    return 0


def _add_log(commands: Any) -> None:
    parser = commands.add_parser(
        "log",
        help="what was opened on this machine, and when",
        description="Print the local access log: who opened which commit, when, under which terms. UNSAFE_VIDEO_ACCESS_LOG=0 "
        "switches it off.",
        **epilog("unsafe-video log"),
    )
    parser.add_argument("--cache-dir", type=Path, help="the log that lives here (default: of every cache folder that was used)")
    add_json(parser)
    parser.set_defaults(call=_log)


def _log(arguments: argparse.Namespace) -> int:
    from .hub.terms import count_log

    lines, unreadable = count_log(arguments.cache_dir)
    if unreadable:
        tell("warning", f"{unreadable} line{'' if unreadable == 1 else 's'} of the log can't be read and are not shown")
    if arguments.json:
        print_json(lines)
        return 0
    if not lines:
        print("The log is empty: no repository was opened here.")
        return 0
    columns = ("when", "account", "repo_id", "commit", "config", "terms", "how")
    rows = [{**line, "terms": str(line.get("terms_sha256") or "")[:12]} for line in lines]
    show(make_table(columns, [[str(row.get(key) or "-")[:40] for key in columns] for row in rows]))
    return 0
