"""ingest: raw folders and what is known of their videos -> one row a file, with its sha256 as identity.

Every run reads every file again and works out its sha256: size and time of a file don't prove that it is the same.
That costs a read, a hundredth of a decode; if no file changed the table comes out the same, and nothing later runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsafe_video_dataset.errors import Fault, FaultsError, InputError
from unsafe_video_dataset.votes import in_order

from ..alignment import alignment_faults
from ..group import prompt_id
from ..listing import Listing, list_videos
from ..mapping import labels_by_index, map_by_paper_counts, parse_categories
from ..pipeline.pool import failure
from ..pipeline.source import Source, Sources
from ..pipeline.stage import COMMON, Context, Failure, StageResult
from ..pipeline.withdrawn import read_tombstones, rows_without_file, withdrawn_reason
from ..raw import read_raw_folder
from ..settings import GENERATION
from ..sidecar import Sidecar, read_sidecar

_GENERATION = pa.struct(
    [("num_inference_steps", pa.int32()), ("guidance_scale", pa.float64()), ("seed", pa.int64()), ("scheduler", pa.string())]
)
SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("source", pa.string()),
        pa.field("path", pa.string()),
        pa.field("source_index", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("generator", pa.string()),
        pa.field("prompt_source", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("generation", _GENERATION),
        pa.field("upstream_categories", pa.list_(pa.string())),
    ]
)
_BATCH = 64  # files a task: hashing a small file takes less than handing it to a worker
_UNREADABLE = "unreadable file"
_ABSENT = "is not in the folder"


@dataclass
class Found:
    """What a source holds before any file is read: item -> its row, and figures for the report."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    absent: list[Fault] = field(default_factory=list)  # rows of the sidecar about files that are not in the folder
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingest:
    """The first stage. Its settings are the recipe's sources."""

    name: str = "ingest"
    version: int = 1
    needs: tuple[str, ...] = ()
    settings: type[Sources] = Sources
    always: bool = True
    journal: bool = False  # an answer for a path says nothing of the file that is there now

    def files(self, settings: Sources, base: Path) -> list[Path]:
        """The sidecars, prompt files and label files that are named."""
        named = [(one, name) for one in settings.sources for name in (one.sidecar, one.prompts, one.labels) if name]
        return [source.path(base) / name for source, name in named] + _tombstone_file(settings, base)

    def run(self, context: Context) -> StageResult:
        """List, join and hash. Raises `FaultsError` with what is wrong in all sources."""
        sources: Sources = context.settings
        found = {source.name: read_source(source, context.base) for source in sources.sources}
        tombstones = [row for file in _tombstone_file(sources, context.base) for row in read_tombstones(file)]
        absent = [fault for one in found.values() for fault in one.absent]
        faults = [fault for one in found.values() for fault in one.faults]
        faults += [] if tombstones else absent
        if faults:
            raise FaultsError("The sources can't be used; nothing was run", faults)
        rows = {item: row for one in found.values() for item, row in one.rows.items()}
        folders = {source.name: source.path(context.base) for source in sources.sources}
        places = [(item, folders[row["source"]] / row["path"]) for item, row in sorted(rows.items())]
        for item, (size, sha256, reason) in _hashes(context, places).items():
            video_id = sha256[:16] if sha256 else None
            rows[item].update(kept=reason is None, reason=reason, sha256=sha256, video_id=video_id, num_bytes=size)
        report = _report(rows, found)
        report["withdrawn"] = _withdraw(rows, tombstones, absent)
        table = pa.Table.from_pylist([{"item": item, **rows[item]} for item in sorted(rows)], schema=SCHEMA)
        return StageResult(table, report)


STAGE = Ingest()


def _tombstone_file(settings: Sources, base: Path) -> list[Path]:
    return [base / settings.tombstones] if settings.tombstones else []


def _withdraw(
    rows: dict[str, dict[str, Any]], tombstones: Sequence[Mapping[str, str]], absent: Sequence[Fault]
) -> dict[str, int]:
    """Drop the withdrawn videos, and add a row for each of which no file is left. Nothing that their sidecar said is kept.

    A sidecar may name as many files that are not there as there are such videos; more are a `FaultsError`.
    """
    reasons = {row["video_id"]: withdrawn_reason(row) for row in tombstones}
    seen = {row["video_id"] for row in rows.values()}
    dropped = [item for item, row in rows.items() if row["video_id"] in reasons]
    for item in dropped:
        row = rows[item]
        own = {key: row[key] for key in ("source", "path", "sha256", "video_id", "num_bytes")}
        rows[item] = {**own, "kept": False, "reason": reasons[row["video_id"]]}
    without = rows_without_file(tombstones, seen)
    if len(absent) > len(without):
        fix = (
            f"{len(without)} withdrawn videos have no raw file, so as many rows may name files that are not there, and no more."
        )
        raise FaultsError("The sources can't be used; nothing was run", list(absent), fix=fix)
    rows.update(without)
    return {"ids": len(reasons), "raw_files": len(dropped), "without_raw_file": len(without), "sidecar_rows": len(absent)}


def read_source(source: Source, base: Path) -> Found:
    """The rows of a source without hashes; faults call files `<source>/<path>`."""
    folder = source.path(base)
    listing = list_videos(folder, name=source.name)
    found = Found(faults=list(listing.faults))
    if not folder.is_dir():
        return found
    sidecar = Sidecar()
    if source.sidecar is not None:
        try:
            sidecar = read_sidecar(folder / source.sidecar, name=f"{source.name}/{source.sidecar}")
        except InputError:
            found.faults.append(Fault(f"{source.name}/{source.sidecar}", "there is no such sidecar", field="source.sidecar"))
    found.faults += sidecar.faults
    own = _upstream_rows(source, folder, found) if source.layout == "upstream" else {file: {} for file in listing.files}
    strange = _sidecar_faults(source, sidecar, own, listing)
    found.absent += [fault for fault in strange if fault.message.endswith(_ABSENT)]
    found.faults += [fault for fault in strange if fault not in found.absent]
    unnamed = []
    for file, row in sorted(own.items()):
        known = {**row, **sidecar.rows.get(file, {})}
        generation = {name: known.pop(name, None) for name in GENERATION}
        known["generation"] = generation if any(value is not None for value in generation.values()) else None
        known["generator"] = known.get("generator") or source.generator
        known["prompt_source"] = known.get("prompt_source") or source.prompt_source
        prompt = known.get("prompt")
        known["prompt_id"] = prompt_id(prompt) if prompt is not None else None
        if known["generator"] is None:
            unnamed.append(file)
        found.rows[f"{source.name}/{file}"] = {**known, "source": source.name, "path": listing.files.get(file, file)}
    if unnamed:
        message = f"no generator for {len(unnamed)} videos ({', '.join(unnamed[:3])}{' …' if len(unnamed) > 3 else ''})"
        expected = "`generator` in [[source]], or in every row of the sidecar"
        found.faults.append(Fault(source.name, message, field="source.generator", expected=expected))
    found.report = {"videos": len(own), "other_files": listing.others}
    if source.sidecar is not None:
        found.report["without_sidecar_row"] = sum(file not in sidecar.rows for file in own)
        found.report["sidecar_columns_not_used"] = sidecar.ignored
    return found


def _sidecar_faults(source: Source, sidecar: Sidecar, own: Mapping[str, Any], listing: Listing) -> list[Fault]:
    faults = []
    name = f"{source.name}/{source.sidecar}"
    for file, line in sidecar.lines.items():
        if file not in own:
            why = "is not among the videos of the layout" if file in listing.files else _ABSENT
            faults.append(Fault(name, f"{file[:120]!r} {why}", line=line, field="file", expected="the path of a video"))
        elif source.layout == "upstream":
            for column in sorted({"prompt", "source_index"} & sidecar.rows[file].keys()):
                message = "is given by the upstream layout itself"
                faults.append(Fault(name, message, line=line, field=column, expected="no such column"))
    return faults


def _upstream_rows(source: Source, folder: Path, found: Found) -> dict[str, dict[str, Any]]:
    """Path -> index, prompt and categories, by `<index>.mp4`, prompt file and label CSV."""
    labels = folder / source.labels if source.labels else None
    prompts = folder / source.prompts if source.prompts else None
    try:
        raw = read_raw_folder(folder, labels=labels, prompts=prompts)
    except InputError as error:
        found.faults.append(Fault(source.name, str(error), field="source.folder", expected="the upstream layout"))
        return {}
    faults = raw.faults + alignment_faults(raw, no_prompts=source.no_prompts)
    found.faults += [
        Fault(f"{source.name}/{fault.file}", fault.message, fault.line, fault.field, fault.expected) for fault in faults
    ]
    try:
        mapping = parse_categories(source.categories) if source.categories is not None else map_by_paper_counts(raw)
    except InputError as error:
        message = str(error).replace("--categories ", 'categories = "') + '"'
        found.faults.append(Fault(source.name, message, field="source.categories"))
        return {}
    categories = labels_by_index(raw, mapping)
    lines = raw.prompts if raw.prompts is not None and not source.no_prompts else []
    return {
        path.relative_to(folder).as_posix(): {
            "source_index": index,
            "prompt": lines[index] if index < len(lines) else None,
            "upstream_categories": in_order(categories[index]),
        }
        for index, path in raw.videos.items()
    }


def hash_files(paths: Sequence[Path]) -> dict[str, Any]:
    """`{"files": [[size, sha256, reason], …]}`, one for each path; size and sha256 are None where there is a reason."""
    return {"files": [_hash_file(path) for path in paths]}


def _hash_file(path: Path) -> list[Any]:
    try:
        if not path.is_file():  # a pipe or a device would be read for ever
            return [None, None, f"{_UNREADABLE}: not a plain file, or a link to nowhere"]
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                size += len(piece)
        return [size, digest.hexdigest(), None]
    except OSError as error:
        return [None, None, f"{_UNREADABLE}: {failure(error).error}"]


def _hashes(context: Context, places: Sequence[tuple[str, Path]]) -> dict[str, list[Any]]:
    """Item -> [size, sha256, reason]. A batch whose process died is done again file by file."""
    answers: dict[str, list[Any]] = {}
    for batch in (_BATCH, 1):
        rest = [place for place in places if place[0] not in answers]
        groups = [rest[start : start + batch] for start in range(0, len(rest), batch)]
        tasks = [(group[0][0], tuple(path for _, path in group)) for group in groups]
        hashed = context.map(hash_files, tasks, what=f"sha256, {batch} files at a time" if batch > 1 else "sha256")
        for group in groups:
            answer = hashed[group[0][0]]
            if not isinstance(answer, Failure):
                answers.update(zip((item for item, _ in group), answer["files"], strict=True))
            elif batch == 1:
                answers[group[0][0]] = [None, None, f"{_UNREADABLE}: {answer.error}"]
    return answers


def _report(rows: Mapping[str, Mapping[str, Any]], found: Mapping[str, Found]) -> dict[str, Any]:
    hashes = [row["sha256"] for row in rows.values() if row["sha256"] is not None]
    return {
        "videos": len(rows),
        "bytes": sum(row["num_bytes"] or 0 for row in rows.values()),
        "unreadable": len(rows) - len(hashes),
        "distinct_files": len(set(hashes)),
        "prompts": len({row["prompt_id"] for row in rows.values()} - {None}),
        "sources": {name: one.report for name, one in sorted(found.items())},
    }
