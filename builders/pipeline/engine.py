"""Which engine maps the items: a process pool of this machine, or Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

from unsafe_video_dataset.errors import one_of

from .pool import ProcessPool

Engine = Literal["process", "ray"]
ENGINES: tuple[str, ...] = get_args(Engine)


def open_engine(
    engine: Engine | str, *, workers: int | None = None, folders: Sequence[str | os.PathLike[str]] = ()
) -> ProcessPool | Any:
    """An executor that is a context manager; with Ray, every node must see `folders`.

    Raises `FilterError` for an unknown name, `MissingDependency` without Ray.
    """
    if one_of(engine, ENGINES, "engine") == "process":
        return ProcessPool(workers)
    from .engine_ray import RayData

    return RayData(workers=workers, folders=folders)
