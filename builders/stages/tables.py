"""What the stages that look at frames share: the probe's rows of what reached them, and sheets made by a context's workers."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from ..pipeline.stage import Context
from ..vision.sheets import StripJob, make_strip, strips


def probed(context: Context, before: str, columns: list[str]) -> pa.Table:
    """The probe's rows (`item` and `columns`) of the items that the stage `before` kept, sorted by item."""
    table = context.table("probe").select(["item", *columns])
    kept = context.kept(before)["item"].combine_chunks()
    return table.filter(pc.is_in(table["item"], value_set=kept)).sort_by("item")


def draw_strips(context: Context, items: Iterable[str], *, reveal: bool) -> dict[str, bytes]:
    """Item -> PNG of its frames, blurred unless `reveal`; an item whose file fails has none."""
    jobs = [(item, StripJob(str(context.path(item)), item, reveal=reveal)) for item in sorted(set(items))]
    return strips(context.map(make_strip, jobs, what="sheets")) if jobs else {}
