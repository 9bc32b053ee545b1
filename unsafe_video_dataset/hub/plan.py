"""What a config of a release needs of a commit, what of that is here and right, and whether the manifest agrees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Fault, IntegrityError
from ..integrity import sha256_file
from ..manifest import MAX_BYTES
from ..parts import ALWAYS, Part
from .listing import RemoteFile
from .store import Store


@dataclass(frozen=True)
class Plan:
    """What a download would do: files to fetch and files already here and right, in bytes."""

    repo_id: str
    commit: str
    folder: Path
    config: str
    split: str | None
    fetch: tuple[RemoteFile, ...]
    here: tuple[RemoteFile, ...]

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that are not here yet."""
        return sum(file.size for file in self.fetch)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        files = [{"path": file.path, "bytes": file.size, "here": file in self.here} for file in (*self.here, *self.fetch)]
        return {
            "repo_id": self.repo_id,
            "commit": self.commit,
            "folder": str(self.folder),
            "config": self.config,
            "split": self.split,
            "bytes_to_fetch": self.bytes_to_fetch,
            "files": sorted(files, key=lambda file: str(file["path"])),
        }


def make_plan(store: Store, commit: str, config: str, split: str | None, listing: Sequence[RemoteFile]) -> Plan:
    """Compare what is wanted with what is here; every file here is read and hashed. The manifest comes first.

    Raises `IntegrityError` if the commit is not a release, or its manifest is listed as larger than any that is read.
    """
    if config != "all":
        require_release(store, commit, listing)
    for file in listing:
        if file.path == "manifest.json" and file.size > MAX_BYTES:
            raise IntegrityError(
                f"manifest.json of {store.repo_id} at {commit[:12]} has {file.size:,} bytes, and at most {MAX_BYTES:,} are "
                "read. Nothing was fetched. Do not use it; tell the owner."
            )
    part = Part(config, split)
    here: list[RemoteFile] = []
    missing: list[RemoteFile] = []
    for file in sorted(listing, key=lambda file: (file.path not in ALWAYS, file.path)):
        if part.holds(file.path):
            (here if is_good(store.commit(commit) / file.path, file) else missing).append(file)
    return Plan(store.repo_id, commit, store.commit(commit), config, split, tuple(missing), tuple(here))


def require_release(store: Store, commit: str, listing: Sequence[RemoteFile]) -> None:
    """Raise `IntegrityError` for a commit without a manifest: raw files are not a release."""
    if not any(file.path == "manifest.json" for file in listing):
        raise IntegrityError(
            f"{store.repo_id} at {commit[:12]} is not a release (no manifest.json). If it holds raw upstream files, build a "
            f"release: unsafe-video-build upstream {store.repo_id} OUT"
        )


def is_good(path: Path, file: RemoteFile) -> bool:
    """Whether a regular file is there, byte for byte what the Hub lists."""
    return path.is_file() and not path.is_symlink() and file.mismatch(path) is None


def check_manifest(plan: Plan, *, complete: bool) -> None:
    """The release's own manifest must agree with the Hub's listing: the same files, sizes and hashes.

    With `complete`, files that the Hub lists without a sha256 are read and compared too. Raises `IntegrityError`.
    """
    tail = f"of {plan.repo_id} at {plan.commit[:12]}"
    found = manifest_faults(plan, complete=complete)
    if found:
        more = f" (and {len(found) - 1} more; `unsafe-video verify {plan.repo_id}` lists all)" if len(found) > 1 else ""
        raise IntegrityError(f"{found[0].file} {tail} {found[0].message}{more}. Do not use it; tell the owner.")


def manifest_faults(plan: Plan, *, complete: bool) -> list[Fault]:
    """Every difference between manifest and listing. Raises `IntegrityError` for a manifest that can't be read."""
    files = (*plan.fetch, *plan.here)
    if not any(file.path == "manifest.json" for file in files):
        return []  # only with config="all": raw files, not a release
    entries = _read_manifest(plan, plan.folder / "manifest.json")
    listed = {file.path for file in files}
    part = Part(plan.config, plan.split)
    gone = [name for name in sorted(entries) if part.holds(name) and name not in listed]
    faults = [Fault(name, "is in the manifest, and the Hub does not list it") for name in gone]
    for file in files:
        entry = entries.get(file.path)
        if entry is None:
            if file.path.startswith("data/") or file.path == "tombstones.parquet":
                faults.append(Fault(file.path, "is not in the manifest"))
            continue
        sha256 = file.sha256
        here = plan.folder / file.path
        if sha256 is None and complete and here.is_file():
            sha256 = sha256_file(here)
        if entry["bytes"] != file.size or (sha256 and entry["sha256"] != sha256):
            faults.append(Fault(file.path, "differs from the manifest"))
    return faults


def _read_manifest(plan: Plan, path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as opened:  # `make_plan` has refused a larger one
            found = json.loads(opened.read(MAX_BYTES))["files"]
        entries = {str(entry["path"]): {"bytes": entry["bytes"], "sha256": entry["sha256"]} for entry in found}
        if len(entries) == len(found):
            return entries
        reason = "it names a file twice"
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = type(error).__name__
    raise IntegrityError(f"The manifest of {plan.repo_id} at {plan.commit[:12]} can't be read ({reason}). Tell the owner.")
