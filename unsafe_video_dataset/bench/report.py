"""A benchmark's result as text and as Markdown. Pure functions of the result; the same result gives the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._tables import Table, make_table, markdown_table
from .._terminal import plain_blocks
from .targets import targets_table

Result = Mapping[str, Any]
Rows = list[tuple[str, ...]]

_HEADER = (
    "loader",
    "clips/s",
    "to best peer",
    "to memory copy",
    "CPU ms a clip",
    "IQR",
    "to libav",
    "first batch, s",
    "peak MB",
    "to best peer ",
)
_STEPS = {
    "read": "bytes of the release, sha256 checked",
    "check": "structure of the MP4 checked",
    "libav": "libav decodes up to the last frame wanted",
    "convert": "resize, RGB conversion, copy into the clip",
    "rest": "indices, tensors, the batch",
}


def loaders_table(result: Result, workers: int) -> tuple[tuple[str, ...], Rows]:
    """Header and rows of the comparison at one number of workers, best CPU first among ours, peers and limits."""
    kinds = {"ours": 0, "peer": 1, "limit": 2, "memory": 2}
    rows = [row for row in result["summary"] if row["workers"] == workers]
    rows.sort(key=lambda row: (kinds[row["kind"]], (row["cpu_ms_a_clip"] or {"median": 0.0})["median"]))
    return _HEADER, [_row(result, row) for row in rows]


def _row(result: Result, row: Mapping[str, Any]) -> tuple[str, ...]:
    speed, cpu, first, peak = (row[key] for key in ("clips_per_second", "cpu_ms_a_clip", "first_batch_seconds", "peak_bytes"))
    return (
        result["peers"][row["peer"]]["title"],
        _number(speed, "median"),
        _number(speed, "to_best_peer", 2),
        _number(speed, "to_memory", 2) if row["peer"] == "ours-cache" else "-",
        _number(cpu, "median"),
        f"{_figure(cpu['low'])}-{_figure(cpu['high'])}" if cpu else "-",
        _number(cpu, "to_limit", 2),
        _number(first, "median", 2),
        _number(peak, "median", 0, scale=1e-6),
        _number(peak, "to_best_peer", 2),
    )


def _number(found: Mapping[str, Any] | None, key: str, digits: int | None = None, *, scale: float = 1.0) -> str:
    value = None if found is None else found[key]
    if value is None:
        return "-"
    return _figure(value * scale) if digits is None else f"{value * scale:.{digits}f}"


def _figure(value: float) -> str:
    """Three digits that count, for numbers of any size."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def profile_table(result: Result) -> tuple[tuple[str, ...], Rows]:
    """Where the CPU time of one clip goes."""
    found = result["profile"]["cpu_ms"]
    whole = found["batch"]["median"]
    rows: Rows = [
        (
            text,
            f"{found[step]['median']:.2f}",
            f"{found[step]['low']:.2f}-{found[step]['high']:.2f}",
            _share(found[step], whole),
        )
        for step, text in _STEPS.items()
    ]
    rows.append(("all of it", f"{whole:.2f}", "", "100%"))
    return ("step", "CPU ms a clip", "IQR over batches", "share"), rows


def _share(found: Mapping[str, float], whole: float) -> str:
    return f"{found['median'] / whole:.0%}"


def agreement_table(result: Result) -> tuple[tuple[str, ...], Rows]:
    """How far each loader's clips are from ours."""
    rows: Rows = [
        (
            result["peers"][name]["title"],
            "equal" if one["same_shape_and_dtype"] else "differ",
            str(one["max"]),
            f"{one['mean']:.2f}",
        )
        for name, one in sorted(result["agreement"].items())
        if name in result["peers"]
    ]
    return ("loader", "shape and dtype", "largest difference", "mean difference"), rows


def opening_tables(result: Result) -> list[tuple[tuple[str, ...], Rows]]:
    """Opening, and filters beside duckdb."""
    found = result["opening"]
    titles = {"open": "Release.open", "dataset": "UnsafeVideoDataset(...)"}
    first: Rows = [
        (
            titles[part],
            f"{found[part]['seconds']['median']:.2f}",
            f"{found[part]['seconds']['low']:.2f}-{found[part]['seconds']['high']:.2f}",
            f"{found[part]['cpu_seconds']['median']:.2f}",
            f"{found[part]['added_bytes']['median'] / 1e6:.0f}",
        )
        for part in titles
    ]
    second: Rows = [
        (
            one["filter"],
            f"{one['rows']:,}",
            f"{1000 * one['ours']['median']:.0f}",
            f"{1000 * one['duckdb']['median']:.0f}" if one["duckdb"] else "-",
            _within(one["ratio"]),
            f"{1000 * one['pyarrow']['median']:.0f}" if one["pyarrow"] else "-",
            f"{1000 * one['cpu']['ours']['median']:.0f}",
            _within(one["cpu"]["ratio"]),
        )
        for one in found["filters"]
    ]
    return [
        (("call", "seconds", "IQR", "CPU seconds", "memory added at most, MB"), first),
        (_FILTER_HEADER, second),
    ]


_FILTER_HEADER = (
    "filter",
    "rows found",
    "ours, ms",
    "duckdb, ms",
    "ours / duckdb",
    "pyarrow reads the columns, ms",
    "ours, CPU ms",
    "CPU, ours / duckdb",
)


def _within(ratio: Mapping[str, float] | None) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio else "-"


def to_text(result: Result) -> str:
    """The result as text of fixed width."""
    return plain_blocks(*blocks(result))


def blocks(result: Result) -> list[Table | str]:
    """The result for a terminal: tables and texts."""
    parts: list[Table | str] = [_what(result)]
    for workers in result["settings"]["workers"]:
        parts += [_many(workers, "worker"), make_table(*loaders_table(result, workers))]
    if result["profile"]:
        parts += [_profile_line(result), make_table(*profile_table(result))]
    if result["agreement"]:
        parts += ["Clips against ours, in grey levels", make_table(*agreement_table(result))]
    if result["epochs"]:
        parts.append(_memory_line(result))
    if result["opening"]:
        parts += [f"{result['opening']['rows']:,} rows", *(make_table(*one) for one in opening_tables(result))]
    parts += ["Targets", targets_table(result)]
    return [*parts, *result["missing"].values(), *result["failed"].values()]


def sections(result: Result) -> dict[str, str]:
    """The generated parts of `docs/benchmarks.md`, by the name of their markers."""
    found = {"machine": _what(result) + "\n", "targets": markdown_table(targets_table(result)) + "\n"}
    tables = [
        f"### {_many(workers, 'worker')}\n\n{_markdown(*loaders_table(result, workers))}"
        for workers in result["settings"]["workers"]
    ]
    notes = [*result["missing"].values(), *result["failed"].values()]
    found["loaders"] = "\n\n".join(tables + [f"- {note}" for note in notes]) + "\n"
    found["agreement"] = _markdown(*agreement_table(result)) + "\n"
    found["profile"] = f"{_profile_line(result)}\n\n{_markdown(*profile_table(result))}\n" if result["profile"] else _NOT_RUN
    found["memory"] = f"{_memory_line(result)}\n" if result["epochs"] else _NOT_RUN
    opened = result["opening"]
    found["opening"] = "\n\n".join(_markdown(*one) for one in opening_tables(result)) + "\n" if opened else _NOT_RUN
    return found


_NOT_RUN = "Not measured in this run.\n"


def _what(result: Result) -> str:
    """Machine, clips and rounds in a paragraph."""
    on, clips, settings = result["machine"], result["clips"], result["settings"]
    rates = clips["kilobits_per_second"]
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    source = "given clips" if clips["given"] else "generated clips (moving textures with noise)"
    load = " and ".join("not known" if value is None else f"{value:.1f}" for value in result["load"])
    busy = ""
    if any(value is not None and value > on["cores"] / 2 + 1 for value in result["load"]):
        busy = " Other programs ran meanwhile: trust CPU time and ratios, not clips a second."
    return (
        f"{on['cpu']}, {on['cores']} cores, {on['memory_bytes'] / 2**30:.0f} GiB, {on['system']}; {versions}.\n\n"
        f"{clips['videos']} {source} of {_list(clips['sizes'])}, {_list(clips['frames'])} frames, {rates[0]} to {rates[2]} "
        f"kbit/s (median {rates[1]}), as {clips['files']} files ({settings['copies']} of each video, with other ids); batches "
        f"of {settings['batch_size']} clips, 16 frames, {settings['size']}x{settings['size']}, uint8. "
        f"{_many(result['rounds'], 'round')}, seed {settings['seed']}. Load average {load} at the start and the end.{busy}"
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _profile_line(result: Result) -> str:
    found = result["profile"]
    ratio = found["to_libav"]
    return (
        f"{found['clips']} clips with {found['decoder']}: a clip as a DataLoader gets it takes {ratio['median']:.2f} times "
        f"the CPU time of libav's decode alone (quartiles {ratio['low']:.2f} and {ratio['high']:.2f})."
    )


def _memory_line(result: Result) -> str:
    found = result["epochs"]
    values = [value / 1e6 for value in found["bytes"]]
    head = (
        f"Memory of the process and its {_many(found['workers'], 'worker')} after each of {len(values)} epochs of "
        f"{found['clips']} random clips: from {values[0]:.0f} MB after the first to {values[-1]:.0f} MB after the last"
    )
    one = found["slope"]
    if one is None:
        return f"{head}. Too few epochs for a slope."
    slope, low, high = (value / 1e6 for value in (one["slope"], one["low"], one["high"]))
    return f"{head}; {slope:+.2f} MB an epoch (95% interval {low:+.2f} to {high:+.2f}, the first {found['skipped']} left out)."


def _markdown(header: Sequence[str], rows: Rows) -> str:
    return markdown_table(make_table(header, rows))


def fill(page: str, name: str, text: str) -> str:
    """The page with what is between `<!-- name -->` and `<!-- /name -->` replaced. `ValueError` where the markers are not there
    once each."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"the page needs {start.strip()} and {end} once each")
    before, rest = page.split(start)
    return before + start + text + end + rest.split(end, 1)[1]
