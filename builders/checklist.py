"""The owner's checklist: what only a person can answer before a release is published. It refuses silence, not opinions."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from unsafe_video_dataset.errors import Fault, FaultsError, InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUESTIONS = {
    "licence": "Under which licence or terms do you publish the release, and may you?",
    "ethics_approval": "Which board approved collection, labelling and release (name and number), or why is none needed?",
    "withdrawal_contact": "Where can a person ask for the withdrawal of a video? An e-mail or web address that someone reads.",
    "personal_data": "Which personal data does it hold (faces, names, prompts, rater ids), and what was done about it?",
    "legal_screen": "Who screened the media for content that is illegal to hold or share, by which process of yours, and when?",
}
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|https?://[^\s/]+\.[^\s]+")
_PLACEHOLDERS = ("todo", "tbd", "fixme", "xxx", "...", "…", "?", "-", "n/a")


@dataclass(frozen=True)
class Checklist:
    """A filled-in checklist: the answers, the reviewers as the owner names them, and the file's sha256."""

    answers: dict[str, str]
    reviewers: list[str]
    sha256: str


def write_template(path: Path) -> None:
    """Write an empty checklist. Raises `InputError` if the file exists."""
    lines = ["# Answer every question in your own words. `unsafe-video-build publish` refuses until all are answered."]
    lines += [f'\n# {question}\n{key} = ""' for key, question in QUESTIONS.items()]
    lines += ['\n# Who reviewed this release, as they want to be named.\nreviewers = [""]\n']
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines))
    except FileExistsError:
        raise InputError(f"{path} exists. Fill it in, or move it away.") from None


def read_checklist(path: Path) -> Checklist:
    """Read a checklist. Raises `InputError` where there is none, `FaultsError` with every question that is not answered."""
    if not path.is_file():
        raise InputError(f"There is no checklist {path}. Make one with --init-checklist, fill it in, then publish.")
    data = path.read_bytes()
    try:
        found: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}.") from error
    faults = [
        Fault(path.name, "not answered", field=key, expected=question)
        for key, question in QUESTIONS.items()
        if not _answered(found.get(key))
    ]
    contact = found.get("withdrawal_contact")
    if _answered(contact) and not _ADDRESS.search(contact):
        message = "has no address that a person could write to"
        faults.append(Fault(path.name, message, field="withdrawal_contact", expected="name@example.org or https://…"))
    reviewers = found.get("reviewers")
    if not isinstance(reviewers, list) or not reviewers or not all(_answered(name, least=2) for name in reviewers):
        faults.append(Fault(path.name, "not answered", field="reviewers", expected="a list with at least one name"))
    faults += [
        Fault(path.name, "is not a question of this checklist", field=key, expected=", ".join([*QUESTIONS, "reviewers"]))
        for key in sorted(found.keys() - QUESTIONS.keys() - {"reviewers"})
    ]
    if faults:
        raise FaultsError("The checklist is not filled in; nothing was published", faults, fix=f"Answer them in {path}.")
    return Checklist({key: found[key].strip() for key in QUESTIONS}, list(reviewers or []), hashlib.sha256(data).hexdigest())


def _answered(value: object, *, least: int = 4) -> TypeGuard[str]:
    if not isinstance(value, str):
        return False
    text = value.strip()
    return len(text) >= least and text.lower().strip(".!") not in _PLACEHOLDERS and not text.lower().startswith("todo")
