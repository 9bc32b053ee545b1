"""What to record: prompts with seeds and groups, as objects or from a file. A prompt leaves this module as a hash only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import Fault, FaultsError, InputError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_FIELDS = ("prompt", "seed", "seeds", "group_id", "prompt_kind", "kind", "split", "video_id")
_ID = re.compile(r"[\w.:+-]{1,128}")


@dataclass(frozen=True)
class Request:
    """One video to generate. `group_id` keeps what must not be parted in training together: by default, one a prompt.

    `prompt_kind`, `split` (train, validation or test) and `video_id` (where this very video is in a release, so that its labels
    can be joined) are copied into the index. Raises `InputError` on values out of range.
    """

    prompt: str
    seed: int = 0
    group_id: str = ""
    prompt_kind: str | None = None
    split: str | None = None
    video_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise InputError(f"A prompt is text, not {type(self.prompt).__name__}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed!r} is no whole number from 0 to 2^63 - 1.")
        if self.split is not None and self.split not in SPLITS:
            raise InputError(f"split={self.split!r} is not known. Use one of {', '.join(SPLITS)}, or none.")
        for name in ("group_id", "prompt_kind", "video_id"):
            value = getattr(self, name)
            if value and not (isinstance(value, str) and _ID.fullmatch(value)):
                # a group named by its prompt would carry the prompt into files that hold none
                raise InputError(f"{name} must be an id: letters, digits and _ . : + - only, at most 128.")
        if not self.group_id:
            object.__setattr__(self, "group_id", "p" + self.prompt_sha256[:16])

    @property
    def prompt_sha256(self) -> str:
        """sha256 of the prompt's UTF-8, in hex."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()


def as_requests(prompts: Iterable[str | Request | Mapping[str, Any]], *, seeds: Sequence[int] = (0,)) -> list[Request]:
    """Requests from prompts: a plain prompt, or a mapping without seeds, is taken with each of `seeds`.

    A mapping has `prompt`, and may have `seed` or `seeds`, `group_id`, `prompt_kind` (or `kind`), `split` and
    `video_id`.
    Raises `FaultsError` that lists every faulty item by its number, `InputError` where there is none or one stands twice.
    """
    made: list[Request] = []
    faults: list[Fault] = []
    for number, item in enumerate(prompts, 1):
        try:
            made += _requests_of(item, seeds)
        except InputError as error:
            faults.append(Fault("prompts", str(error), line=number))
    if faults:
        raise FaultsError("Some prompts can't be recorded", faults)
    if not made:
        raise InputError("No prompt: give at least one prompt and one seed.")
    keys = [(request.prompt, request.seed) for request in made]
    if len(set(keys)) != len(keys):
        raise InputError(
            f"{len(keys) - len(set(keys))} of {len(keys)} requests repeat the prompt and seed of another: they would be the "
            "same video. Give each prompt and seed once."
        )
    return made


def read_requests(path: Path, *, seeds: Sequence[int] = (0,)) -> list[Request]:
    """Requests from a file: `.jsonl` (one object a line, fields as in `as_requests`), or text with one prompt a line.

    Raises `InputError` where the file can't be read, `FaultsError` that lists every faulty line.
    """
    if not path.exists():
        raise InputError(f"{path} can't be read: there is no such file. Give a .txt with one prompt a line, or a .jsonl.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as UTF-8 text ({type(error).__name__}). Give a .txt or .jsonl file.") from None
    items: list[str | Mapping[str, Any]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            items.append(line.strip())
            continue
        try:
            items.append(json.loads(line))
            _requests_of(items[-1], seeds)
        except (ValueError, RecursionError) as error:  # an InputError is a ValueError
            why = str(error) if isinstance(error, InputError) else "not JSON"
            faults.append(Fault(path.name, why, line=number))
    if faults:
        raise FaultsError("Some prompts can't be recorded", faults)
    return as_requests(items, seeds=seeds)


def limited(requests: Sequence[Request], limit: int) -> list[Request]:
    """At most so many of the requests, drawn by a hash of prompt and seed. Raises `InputError` for less than 1."""
    if limit < 1:
        raise InputError(f"limit={limit}: give at least 1.")
    return sorted(requests, key=lambda r: hashlib.sha256(f"{r.prompt_sha256} {r.seed}".encode()).hexdigest())[:limit]


def _requests_of(item: str | Request | Mapping[str, Any], seeds: Sequence[int]) -> list[Request]:
    if isinstance(item, Request):
        return [item]
    if isinstance(item, str):
        return [Request(item, seed) for seed in seeds]
    if not isinstance(item, Mapping) or "prompt" not in item:
        raise InputError("an item is neither a prompt nor an object with a field 'prompt'.")
    unknown = sorted(map(str, set(item) - set(_FIELDS)))
    if unknown:
        raise InputError(f"unknown fields {', '.join(unknown)}; expected some of {', '.join(_FIELDS)}.")
    own = [item["seed"]] if item.get("seed") is not None else item.get("seeds", seeds)
    if isinstance(own, (str, bytes)) or not isinstance(own, Sequence):
        raise InputError("'seeds' must be a list of whole numbers.")
    return [
        Request(
            item["prompt"],
            seed,
            str(item.get("group_id") or ""),
            item.get("prompt_kind", item.get("kind")),
            item.get("split"),
            item.get("video_id"),
        )
        for seed in own
    ]
