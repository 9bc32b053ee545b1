"""One benchmark for every kind of defence, in stages that leave files: generate, verdicts, score.

from unsafe_video_dataset.defenses import as_prompt_defense, bench
result = bench.run("out/bench", bench.fast(), extra=[as_prompt_defense(my_filter, name="mine")])
print(bench.to_text(result))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import sections as sections
    from .report import to_text as to_text
    from .settings import BenchSettings as BenchSettings
    from .settings import fast as fast
    from .stages import run as run
    from .world import Item as Item
    from .world import World as World
    from .world import proxy_world as proxy_world

_HOMES = {
    "BenchSettings": "settings",
    "Item": "world",
    "World": "world",
    "fast": "settings",
    "proxy_world": "world",
    "run": "stages",
    "sections": "report",
    "to_text": "report",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from ...errors import missing_extra

        raise missing_extra(error, name) from error


def __dir__() -> list[str]:
    return list(__all__)
