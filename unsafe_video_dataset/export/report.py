"""What an export wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

EXPORT = "export.json"  # in every export: what it is, and the list of its files. `purge` removes what is listed


@dataclass(frozen=True)
class ExportReport:
    """Counts and origin of an export. `videos` rows, `votes` answers of raters, `media_bytes` of MP4 files (0 without)."""

    format: str
    release: str
    release_version: str
    manifest_sha256: str
    config: str
    split: str | None
    filters: dict[str, Any]
    videos: int
    votes: int
    media: bool
    media_bytes: int
    prompts: bool
    files: int
    bytes: int
    out: str
    next_step: str

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)
