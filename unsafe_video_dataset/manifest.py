"""Read a release's `manifest.json`, which anybody may have written: bounded, plain names only, no file twice."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import Fault, FaultsError, InputError, IntegrityError, unprintable
from .records import validate

MAX_BYTES = 64 * 2**20
"""The most that a manifest may have; an entry of a file takes some 150 bytes."""
_INVISIBLE = frozenset("\u00ad\u034f\u200b\u200c\u200d\u2060\ufeff")


def read_manifest(root: Path) -> tuple[dict[str, Any], str]:
    """The manifest of a release folder, and its sha256.

    Raises `InputError` where there is none, `IntegrityError` where it is no JSON, too large or a link out of the folder, and
    `FaultsError` where it does not fit the schema or names files in a way that could be taken for others.
    """
    file = root / "manifest.json"
    if not file.is_file():
        raise InputError(f"{root} is not a release: it has no manifest.json. Build one with `unsafe-video-build`.")
    if not file.resolve().is_relative_to(root.resolve()):
        raise IntegrityError(f"manifest.json of {root} is a link that leads out of the release. Do not use this release.")
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise IntegrityError(f"{file} is larger than {MAX_BYTES:,} bytes, the most that is read. Do not use this release.")
    try:
        manifest = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
        faults = validate("manifest", [(None, manifest)], file="manifest.json") or _name_faults(manifest)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{file} is not JSON ({error}). Build or copy the release anew.") from error
    if faults:
        raise FaultsError(f"The manifest of {root} does not fit its schema", faults)
    return manifest, hashlib.sha256(data).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object: readers differ on which one counts")
    return made


def _name_faults(manifest: dict[str, Any]) -> list[Fault]:
    faults = []
    for text in _texts(manifest):
        if unprintable(text):
            message = f"text with control, direction or surrogate characters: {text[:60]!a}"
            faults.append(Fault("manifest.json", message, expected="text that shows as it is"))
    seen: dict[str, str] = {}
    for number, entry in enumerate(manifest["files"]):
        name, field = entry["path"], f"files.{number}.path"
        if name != unicodedata.normalize("NFC", name) or _INVISIBLE & set(name):
            expected = "a name in Unicode form NFC, without invisible characters"
            faults.append(Fault("manifest.json", f"found {name[:60]!a}", field=field, expected=expected))
        if ":" in name:
            expected = "a path within the release, without ':'"
            faults.append(Fault("manifest.json", f"found {name[:60]!a}", field=field, expected=expected))
        key = unicodedata.normalize("NFKC", name).casefold()
        if key == "manifest.json":
            faults.append(Fault("manifest.json", "lists itself", field=field, expected="every file but the manifest"))
        if key in seen:
            twins = (
                f"{name[:60]!a} is the same file as {seen[key][:60]!a} on some systems" if name != seen[key] else "stands twice"
            )
            faults.append(Fault("manifest.json", twins, field=field, expected="each file once"))
        seen[key] = name
    return faults


def _texts(node: Any) -> Iterator[str]:
    """Every key and text of a JSON document; `json` has refused any that is nested too deeply to walk."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            stack += item.values()
        elif isinstance(item, list):
            stack += item
