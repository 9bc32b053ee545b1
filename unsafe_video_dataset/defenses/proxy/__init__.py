"""A small text-to-video generator of harmless moving shapes, to try defences on without weights or a network.

    from unsafe_video_dataset.defenses.proxy import load_proxy, settings
    pipe = load_proxy()                                     # a real diffusers AnimateDiffPipeline
    frames = pipe("a red square falls", **settings()).frames[0]

Extra: `defenses`. Names are loaded when they are first used; importing this package imports neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import MissingDependency

if TYPE_CHECKING:
    from .fidelity import measure
    from .model import generate, load_proxy, make_scheduler, settings
    from .oracle import Reading, read
    from .prompts import Prompt, prompt_set
    from .shapes import CONCEPTS

_HOMES = {
    "CONCEPTS": "shapes",
    "Prompt": "prompts",
    "Reading": "oracle",
    "generate": "model",
    "load_proxy": "model",
    "make_scheduler": "model",
    "measure": "fidelity",
    "prompt_set": "prompts",
    "read": "oracle",
    "settings": "model",
}

__all__ = [
    "CONCEPTS",
    "Prompt",
    "Reading",
    "generate",
    "load_proxy",
    "make_scheduler",
    "measure",
    "prompt_set",
    "read",
    "settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("torch", "diffusers", "transformers", "safetensors", "sklearn"):
            raise MissingDependency(f"The proxy needs {error.name}: pip install 'unsafe-video-dataset[defenses]'") from error
        raise
