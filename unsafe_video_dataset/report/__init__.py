"""A static page about a release: what it holds, and a browser of its videos. Opens from disk, asks for nothing else."""

from __future__ import annotations

from .folder import write_report as write_report

__all__ = ["write_report"]
