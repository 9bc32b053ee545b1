"""Rater ids -> pseudonyms: a keyed hash (HMAC-SHA256), so that nobody without the key can try ids until one fits.

The key is a secret of the makers: keep it out of the release, the recipe and version control. The table of ids and
pseudonyms is never written; who has the key and the ids can make it again. Make a key with

    python -m unsafe_video_dataset.builders.raters.pseudonyms raters.key
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from unsafe_video_dataset.errors import InputError

COMMAND = "python -m unsafe_video_dataset.builders.raters.pseudonyms"
DIGITS = 12
_SHORTEST = 16  # bytes: less can be guessed


def pseudonyms(ids: Iterable[str], key: bytes, *, digits: int = DIGITS) -> dict[str, str]:
    """Id -> `r` and the first `digits` hex digits of HMAC-SHA256(key, id as NFC without outer spaces, UTF-8).

    Raises `InputError` for a short key, and where two ids get one pseudonym (it names neither).
    """
    _long_enough(key, "The key")
    plain = {one: unicodedata.normalize("NFC", one).strip() for one in ids}
    result = {
        one: "r" + hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:digits]
        for one, text in plain.items()
    }
    if len(set(result.values())) < len(set(plain.values())):
        raise InputError(f"Two rater ids get one pseudonym of {digits} digits. Make a new key: {COMMAND} FILE")
    return result


def read_key(*, file: Path | None, variable: str) -> bytes:
    """The key, from `file` if one is named, else from the environment. Raises `InputError` that says how to make one."""
    fix = f'Make one with: {COMMAND} FILE, and name it in the recipe: [votes] key_file = "FILE"'
    fix += f'; or put it into the environment variable {variable}. Where the ids are pseudonyms already: rater_ids = "given".'
    if file is None:
        text = os.environ.get(variable, "")
        if not text.strip():
            raise InputError(f"Rater ids are hashed with a key, and there is none. {fix}")
        return _long_enough(text.strip().encode(), f"The key in {variable}")
    if not file.is_file():
        raise InputError(f"There is no key file {file.name}. {fix}")
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise InputError(f"Others can read the key file {file.name}. Close it: chmod 600 {file.name}")
    return _long_enough(file.read_bytes().strip(), f"The key in {file.name}")


def key_mark(key: bytes) -> str:
    """A text that tells one key from another and says nothing else of it: its HMAC of a constant, which is no rater's id."""
    return hmac.new(key, b"\x00which key", hashlib.sha256).hexdigest()


def create_key(file: Path) -> None:
    """Write a new random key (64 hex digits) that only its owner can read. Raises `InputError` if the file exists."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{file} exists already. Another key would give other pseudonyms: name another file.") from None
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(secrets.token_hex(32) + "\n")


def _long_enough(key: bytes, what: str) -> bytes:
    if len(key) < _SHORTEST:
        raise InputError(f"{what} has {len(key)} bytes, which can be guessed. It needs {_SHORTEST}: {COMMAND} FILE makes one.")
    return key


def main() -> int:
    """`python -m unsafe_video_dataset.builders.raters.pseudonyms FILE`."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(f"usage: {COMMAND} FILE", file=sys.stderr)
        return 2
    try:
        create_key(Path(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{sys.argv[1]}: a new key. Keep it secret, and keep it: with another one every pseudonym changes.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
