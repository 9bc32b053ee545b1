"""Raw material -> a verified release. The command is `unsafe-video-build`; these are its functions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hf import UnsafeVideoBuilder as UnsafeVideoBuilder
    from .sample import build_sample as build_sample
    from .settings import UpstreamSettings as UpstreamSettings
    from .upstream import build_upstream as build_upstream

_HOMES = {"UnsafeVideoBuilder": "hf", "UpstreamSettings": "settings", "build_sample": "sample", "build_upstream": "upstream"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
