"""Load, verify and evaluate on unsafe generated videos (arXiv 2407.12581).

The public names are loaded on demand: importing the package imports neither torch nor datasets.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agreement import AgreementReport as AgreementReport
    from .agreement import agreement as agreement
    from .baseline import predict as predict
    from .baseline import train as train
    from .cache import FrameCache as FrameCache
    from .clips import AllFrames as AllFrames
    from .clips import CenterClip as CenterClip
    from .clips import RandomClip as RandomClip
    from .clips import UniformFrames as UniformFrames
    from .errors import UnsafeVideoError as UnsafeVideoError
    from .evaluate import evaluate as evaluate
    from .export.run import export as export
    from .hf import load_dataset as load_dataset
    from .hub.access import AccessStatus as AccessStatus
    from .hub.access import access as access
    from .hub.download import download as download
    from .hub.purge import purge as purge
    from .leaderboard import leaderboard as leaderboard
    from .loader import ResumableLoader as ResumableLoader
    from .predictions import read_predictions as read_predictions
    from .predictions import write_predictions as write_predictions
    from .preview import contact_sheet as contact_sheet
    from .release import Release as Release
    from .samplers import BalancedSampler as BalancedSampler
    from .samplers import GroupSampler as GroupSampler
    from .samplers import ShuffleSampler as ShuffleSampler
    from .scores import EvalReport as EvalReport
    from .streaming import UnsafeVideoIterableDataset as UnsafeVideoIterableDataset
    from .taxonomy import Category as Category
    from .torch import UnsafeVideoDataset as UnsafeVideoDataset
    from .torch import collate as collate
    from .video import VideoHandle as VideoHandle
    from .votes import aggregate as aggregate

_HOMES = {
    "AccessStatus": "hub",
    "AgreementReport": "agreement",
    "AllFrames": "clips",
    "BalancedSampler": "samplers",
    "CenterClip": "clips",
    "RandomClip": "clips",
    "UniformFrames": "clips",
    "Category": "taxonomy",
    "EvalReport": "scores",
    "GroupSampler": "samplers",
    "FrameCache": "cache",
    "Release": "release",
    "ResumableLoader": "loader",
    "ShuffleSampler": "samplers",
    "UnsafeVideoDataset": "torch",
    "UnsafeVideoError": "errors",
    "UnsafeVideoIterableDataset": "streaming",
    "VideoHandle": "video",
    "access": "hub",
    "aggregate": "votes",
    "agreement": "agreement",
    "collate": "torch",
    "contact_sheet": "preview",
    "download": "hub",
    "evaluate": "evaluate",
    "export": "export",
    "leaderboard": "leaderboard",
    "load_dataset": "hf",
    "predict": "baseline",
    "purge": "hub",
    "read_predictions": "predictions",
    "train": "baseline",
    "write_predictions": "predictions",
}
__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from .errors import missing_extra

        raise missing_extra(error, name) from error


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Importing the module `evaluate` would put it in the place of the function `evaluate`: the public name stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
