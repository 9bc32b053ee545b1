"""Which stages there are, and in which order they run. A stage's module is imported when a recipe is read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from unsafe_video_dataset.errors import FilterError

from .stage import Stage

ORDER = ("ingest", "probe", "quality", "dedup", "cluster", "votes", "split", "write")
_STAGES = f"{__package__.removesuffix('.pipeline')}.stages"


def all_stages() -> list[Stage]:
    """`STAGE` of each module `builders.stages.<name>`, in `ORDER`."""
    return [importlib.import_module(f"{_STAGES}.{name}").STAGE for name in ORDER]


def check_order(stages: Sequence[Stage]) -> None:
    """Raise `FilterError` where a stage needs one that does not come before it, or a name stands twice."""
    seen: set[str] = set()
    for stage in stages:
        missing = [name for name in stage.needs if name not in seen]
        if stage.name in seen or missing:
            why = f"needs {', '.join(missing)}, which does not come before it" if missing else "stands twice"
            raise FilterError(f"Stage {stage.name!r} {why}.")
        seen.add(stage.name)
