"""Every error that this package raises on purpose, in one tree.

A message says what happened (ids, never prompts), why we think so, and the command or page that mends it. `Fault` is one
finding of a check that reports everything it saw at once; `FaultsError` carries a list of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .defenses.base import Verdict

_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def unprintable(text: str, *, keep: str = "") -> bool:
    """True where a text holds characters that act on a terminal or can't be written: control, direction, surrogates."""
    if text.isascii() and text.isprintable():
        return False
    return any((letter in _DIRECTION or unicodedata.category(letter) in ("Cc", "Cs")) and letter not in keep for letter in text)


def plain(text: str) -> str:
    """The text with such characters (but line ends and tabs) written as escapes: names in a message are not ours."""
    if not unprintable(text, keep="\n\t"):
        return text
    return "".join(
        letter.encode("unicode_escape", "surrogatepass").decode("ascii") if unprintable(letter, keep="\n\t") else letter
        for letter in text
    )


class UnsafeVideoError(Exception):
    """Base of all errors of this package. Catch it to tell our refusals from bugs."""

    def __str__(self) -> str:
        return plain(super().__str__())


class AccessError(UnsafeVideoError, PermissionError):
    """The Hub does not let this account read the repository."""


class NotLoggedIn(AccessError):
    """No token was found in `token=`, the environment or the login file."""


class InvalidToken(AccessError):
    """The Hub does not know the token."""


class TokenScope(AccessError):
    """The token is valid, but may not read gated repositories."""


class AccessNotRequested(AccessError):
    """The account has not asked for access to the gated repository."""


class AccessPending(AccessError):
    """The owner has not answered the access request yet."""


class AccessRejected(AccessError):
    """The owner has rejected the access request."""


class TermsNotAccepted(AccessError):
    """The content warning and terms of the repository have not been accepted on this machine; `terms` is their text."""

    def __init__(self, message: str, terms: str = "") -> None:
        super().__init__(message)
        self.terms = terms


class RepositoryMissing(AccessError):
    """The repository does not exist, or is private and this account can't see it."""


class RepositoryDisabled(AccessError):
    """The Hub has switched the repository off."""


class RepositoryRenamed(UnsafeVideoError, LookupError):
    """The repository has another name now; the message says which."""


class OfflineError(UnsafeVideoError, ConnectionError):
    """Something is not on this machine and the network is off."""


class HubUnavailable(UnsafeVideoError, ConnectionError):
    """The Hub did not answer, or answered with a server error."""


class RateLimited(HubUnavailable):
    """The Hub asks to wait; `seconds` says how long, if it did."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class StorageError(UnsafeVideoError, OSError):
    """There is no room, or no permission, to keep a file."""


class RevisionError(UnsafeVideoError, LookupError):
    """The revision does not exist, or is not the one that was pinned."""


class IntegrityError(UnsafeVideoError, ValueError):
    """Data is not what the release says it is."""


class ChecksumError(IntegrityError):
    """Bytes do not match their recorded sha256 or size."""


class SchemaError(IntegrityError):
    """Records or files do not fit the schema."""


class TombstonedError(IntegrityError):
    """The video was withdrawn from the release."""


class DecodeError(UnsafeVideoError, RuntimeError):
    """A video could not be decoded to the frames that were asked for."""


class UnsupportedVideo(DecodeError):
    """The bytes are not an MP4 of the kind that a release may hold; no decoder has seen them."""


class MissingDependency(UnsafeVideoError, ImportError):
    """An optional package is needed for this and is not installed."""


class DefenseNotAttached(UnsafeVideoError, RuntimeError):
    """A defence does not reach the pipeline (unknown scheduler, no step seen, a stage without input): nothing is released."""


class GenerationBlocked(UnsafeVideoError):
    """A defence blocked a generation. `verdict` is the first sample's, `verdicts` one a sample; no latent, frame or prompt."""

    def __init__(self, verdict: Verdict, verdicts: Sequence[Verdict] = ()) -> None:
        self.verdict = verdict
        self.verdicts = tuple(verdicts) or (verdict,)
        where = f"at the {verdict.stage} stage" + (f", step {verdict.step}" if verdict.step is not None else "")
        score = "" if verdict.score is None else f", score {verdict.score:.3f}"
        found = f" ({', '.join(verdict.categories)})" if verdict.categories else ""
        note = f" Why: {verdict.note}." if verdict.note else ""
        super().__init__(
            f"Blocked by {verdict.decided_by or 'a defence'} {where}{score}{found}.{note} Nothing of it was released and the "
            "pipeline can be used again: change the prompt or the seed, or have black frames instead with on_block='blank'."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.verdict, self.verdicts))


class DetectorMismatch(UnsafeVideoError, ValueError):
    """A detector was trained on x0 of another kind (convention, scheduler, prediction type, channels) than it is given."""


class FilterError(UnsafeVideoError, ValueError):
    """A filter, split, config or option names something that is not there, or leaves nothing."""


class InputError(UnsafeVideoError, ValueError):
    """Input given by a person (a file, a folder, a flag) can't be used as it is."""


@dataclass(frozen=True)
class Fault:
    """One finding of a check: where it is (file, line or record, field), what is there, what was expected."""

    file: str
    message: str
    line: int | None = None
    field: str | None = None
    expected: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = f" [{self.field}]" if self.field else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        return plain(f"{place}{field}: {self.message}{expected}")

    def to_dict(self) -> dict[str, object]:
        """The fault as plain JSON values, empty fields left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


_LINES_SHOWN = 5  # lines that a message names where the same is found in more; up to so many faults are told each


class FaultsError(InputError, SchemaError):
    """A check found faults; `faults` lists all of them, not only the first.

    The message has one line for the same finding in many lines of a file, with how many they are.
    """

    def __init__(self, summary: str, faults: Sequence[Fault], *, fix: str = "") -> None:
        self.faults = list(faults)
        self.summary = summary
        self.fix = fix
        lines = [f"{summary} ({len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}):"]
        lines += [f"  - {line}" for line in _grouped(self.faults)]
        super().__init__("\n".join(lines + ([fix] if fix else [])))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_faults_error, (self.summary, self.faults, self.fix))


def _grouped(faults: Sequence[Fault]) -> list[str]:
    """A sentence a fault. What is so in many lines is said once, where it is first: a column of a wrong name is one thing to
    mend, however long the file."""
    same: dict[Fault, list[Fault]] = {}
    for fault in faults:
        same.setdefault(replace(fault, line=None), []).append(fault)
    said = []
    for fault in faults:
        found = same[replace(fault, line=None)]
        if len(found) <= _LINES_SHOWN:
            said.append(str(fault))
        elif found[0] is fault:
            said.append(_repeated(fault, found))
    return said


def _repeated(fault: Fault, found: Sequence[Fault]) -> str:
    lines = [str(one.line) for one in found if one.line is not None]
    where = fault.file + (f":{', '.join(lines[:_LINES_SHOWN])}, …" if lines else "")
    return str(replace(fault, file=f"{where} ({len(found)} times)", line=None))


def _rebuild_faults_error(summary: str, faults: Sequence[Fault], fix: str) -> FaultsError:
    return FaultsError(summary, faults, fix=fix)


def one_of(value: str, choices: Sequence[str], what: str) -> str:
    """Return `value` if it is one of `choices`; else raise `FilterError` that lists them."""
    if value not in choices:
        raise FilterError(f"{what}={value!r} is not known. Choose one of: {', '.join(choices)}.")
    return value


_EXTRAS = {"torch": "train", "PIL": "video", "av": "video", "decord": "video", "matplotlib": "plots"} | dict.fromkeys(
    ["diffusers", "transformers", "safetensors", "sklearn"], "defenses"
)


def missing_extra(error: ModuleNotFoundError, what: str) -> ImportError:
    """`MissingDependency` that names the extra to install, or `error` itself where the module belongs to none."""
    extra = _EXTRAS.get(error.name or "")
    if extra is None:
        return error
    return MissingDependency(f"{what} needs {error.name}: pip install 'unsafe-video-dataset[{extra}]'")
