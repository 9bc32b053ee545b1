"""Stage 8: the tables of all stages -> the release folder (DESIGN section 3), and what became of every raw file."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from unsafe_video_dataset.errors import FaultsError, InputError
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.records import Record, validate
from unsafe_video_dataset.votes import in_order

from ..assemble import Assembled
from ..extras import CANDIDATES, FOLDS
from ..pipeline.candidates import candidates, general
from ..pipeline.recipe import Recipe, ReleaseSettings
from ..pipeline.stage import COMMON, Context, StageResult
from ..pipeline.withdrawn import is_withdrawn, read_tombstones
from ..write import ReleaseInfo, write_release

BEFORE = ("ingest", "probe", "quality", "dedup", "cluster", "votes", "split")
_LIBRARIES = ("av", "numpy", "faiss-cpu", "scikit-learn")
_FACTS = ("num_frames", "fps", "width", "height", "duration_seconds", "codec", "num_bytes", "sha256")
_SOURCE = ("prompt_id", "prompt", "prompt_source", "generator", "generation", "source_index")
_LABEL = ("categories", "is_unsafe", "vote_counts", "num_raters", "soft_labels", "agreement", "label_method")


@dataclass(frozen=True)
class WriteStage:
    """Deterministic: the same tables, recipe and pyarrow give the same bytes."""

    name: ClassVar[str] = "write"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = (BEFORE[-1], *BEFORE[:-1])
    settings: ClassVar[type[Any]] = ReleaseSettings
    journal: ClassVar[bool] = False
    records_all: ClassVar[bool] = True  # the manifest records the settings and input files of every stage

    def files(self, settings: ReleaseSettings, base: Path) -> list[Path]:
        """The owner's datasheet, if there is one."""
        return [base / settings.datasheet] if settings.datasheet else []

    def outputs(self, settings: ReleaseSettings, base: Path) -> list[Path]:
        """The manifest, which is written last."""
        return [base / settings.out / "manifest.json"]

    def run(self, context: Context) -> StageResult:
        """Put the records together and write them. A release that this recipe wrote before is replaced."""
        settings: ReleaseSettings = context.settings
        recipe: Recipe = context.recipe  # type: ignore[attr-defined]
        tables = {name: context.table(name) for name in BEFORE}
        assembled = _assemble(context, tables, keep_prompts=settings.prompts == "keep")
        if assembled.faults:
            raise FaultsError("The tables do not make records that fit the schema; nothing was written", assembled.faults)
        info = ReleaseInfo(
            name=settings.name,
            builder="run",
            release_version=settings.version,
            license=settings.license,
            harmless=settings.harmless,
            settings={**recorded_settings(recipe), "hash_used": _hash_used(tables["probe"])},
            created_by=_versions(),
            inputs=_inputs(recipe),
            tombstones=_tombstones(recipe),
            extras=_extras(tables, keep_names=settings.prompts == "keep"),
            datasheet=_datasheet(context, settings),
        )
        manifest = write_release(context.base / settings.out, assembled, info, overwrite=True, progress=context.progress)
        rows = [
            {"item": row["item"], "kept": True, "reason": None, "video_id": row["video_id"], "split": row["split"]}
            for row in tables["split"].filter(tables["split"]["kept"]).select(["item", "video_id", "split"]).to_pylist()
        ]
        schema = pa.schema([*COMMON, pa.field("video_id", pa.string()), pa.field("split", pa.string())])
        report = {"counts": manifest["counts"], "manifest_sha256": sha256_file(context.base / settings.out / "manifest.json")}
        return StageResult(pa.Table.from_pylist(rows, schema=schema), report)


STAGE = WriteStage()


def _tombstones(recipe: Recipe) -> list[dict[str, str]]:
    """The tombstones of the recipe. Raises `InputError` where the release that is replaced has others: they would come back."""
    file = recipe.release.tombstones
    rows = read_tombstones(recipe.base / file) if file else []
    old = recipe.out / "tombstones.parquet"
    if old.is_file():
        lost = sorted({row["video_id"] for row in read_tombstones(old)} - {row["video_id"] for row in rows})
        if lost:
            shown = ", ".join(lost[:3]) + (" …" if len(lost) > 3 else "")
            fix = f'Copy its tombstones.parquet beside the recipe: [release] tombstones = "{old.name}"; or give another `out`.'
            raise InputError(
                f"The release in {recipe.release.out} withdrew {len(lost)} videos ({shown}) that would return. {fix}"
            )
    return rows


def _datasheet(context: Context, settings: ReleaseSettings) -> str | None:
    if settings.datasheet is None:
        return None
    try:
        return (context.base / settings.datasheet).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"release.datasheet {settings.datasheet!r} can't be read ({type(error).__name__}).") from error


def recorded_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of every stage as JSON values: relative paths, no secret (settings name a key's place, never a key)."""
    settings = {name: _plain(one) for name, one in recipe.settings.items() if name not in ("ingest", "write")}
    votes, split = settings.get("votes", {}), settings.get("split", {})
    return {
        "sources": [_plain(source) for source in recipe.sources],
        "prompts_left_out": recipe.release.prompts == "leave_out",
        "stages": settings,
        "labels_from": votes.get("method"),
        "tie": votes.get("tie", "negative"),
        "split_fractions": split.get("fractions"),
        "split_seed": split.get("seed"),
    }


def _hash_used(probe: pa.Table) -> dict[str, Any] | None:
    """The perceptual hash that `hash = "auto"` came to; null where no video was measured."""
    kinds = probe.filter(probe["kept"]).select(["hash_kind", "hash_version"]).to_pylist()
    return {"kind": kinds[0]["hash_kind"], "version": kinds[0]["hash_version"]} if kinds else None


def _versions() -> dict[str, str]:
    """The libraries whose figures decide what stays: decoding, measures, neighbours, clusters."""
    found = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(one) for key, one in asdict(value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _assemble(context: Context, tables: dict[str, pa.Table], *, keep_prompts: bool) -> Assembled:
    facts = {row["item"]: row for row in tables["probe"].select(["item", *_FACTS]).to_pylist()}
    sources = {row["item"]: row for row in tables["ingest"].select(["item", *_SOURCE]).to_pylist()}
    labels = {row["item"]: row for row in tables["votes"].to_pylist()}
    result = Assembled()
    for row in tables["split"].filter(tables["split"]["kept"]).to_pylist():
        item = row["item"]
        label = labels[item]
        record: Record = {"video_id": row["video_id"], "group_id": row["group_id"], "split": row["split"]}
        record |= {key: sources[item][key] for key in _SOURCE}
        record |= {key: facts[item][key] for key in _FACTS}
        record |= {key: label[key] for key in _LABEL}
        record["prompt"] = record["prompt"] if keep_prompts else None
        votes = label["votes"]
        record["votes"] = None if votes is None else [{key: vote[key] for key in ("rater_id", "categories")} for vote in votes]
        result.videos.append((record, context.path(item).read_bytes))
        for vote in votes or []:
            result.annotations.append(
                {
                    "video_id": row["video_id"],
                    "rater_id": vote["rater_id"],
                    "categories": in_order(vote["categories"]),
                    "seconds": vote["seconds"],
                    "attention_check": vote["attention_check"],
                    "split": row["split"],
                }
            )
        result.ties += len(label["tied"] or [])
    result.videos.sort(key=lambda pair: str(pair[0]["video_id"]))
    result.annotations.sort(key=lambda one: (str(one["video_id"]), str(one["rater_id"])))
    result.faults += validate("video", [(None, record) for record, _ in result.videos], file="video records")
    result.faults += validate("annotation", [(None, record) for record in result.annotations], file="annotation records")
    result.votes_left_out = _votes_left_out(context)
    return result


def _votes_left_out(context: Context) -> dict[str, int]:
    report = context.report("votes")
    return {str(reason): int(count) for reason, count in Counter(report.get("answers_left_out", {})).items() if count}


def _inputs(recipe: Recipe) -> list[dict[str, Any]]:
    """The text files that decided something; raw videos stand in `candidates.parquet`."""
    files = {path for stage in recipe.stages for path in stage.files(recipe.settings[stage.name], recipe.base)}
    there = sorted(path for path in files if path.is_file())
    return [
        {
            "path": path.relative_to(recipe.base).as_posix() if path.is_relative_to(recipe.base) else path.name,
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in there
    ]


def _ids(table: pa.Table) -> list[str]:
    """`<source>/<video_id>` in place of each item, numbered where several files have the same bytes; a number without an id."""
    seen: Counter[str] = Counter()
    names = []
    for item, video_id in zip(table["item"].to_pylist(), table["video_id"].to_pylist(), strict=True):
        name = f"{item.partition('/')[0]}/{video_id or 'unreadable'}"
        seen[name] += 1
        names.append(name if seen[name] == 1 and video_id else f"{name}-{seen[name]}")
    return names


def _extras(tables: dict[str, pa.Table], *, keep_names: bool) -> dict[str, pa.Table]:
    """`candidates.parquet` and `folds.parquet`. Where prompts are left out, so are file names, which are often prompts."""
    rows = tables["ingest"].select(["item", "kept", "reason"]).to_pylist()
    gone = pa.array([row["item"] for row in rows if is_withdrawn(row)], pa.string())
    fates = candidates(tables)
    fates = fates.filter(pc.invert(pc.is_in(fates["item"], value_set=gone)))  # they stand in tombstones.parquet, and no more
    fates = fates.set_column(3, "reason", pa.array(map(general, fates["reason"].to_pylist()), pa.string()))
    raw = tables["ingest"].select(["item", "sha256", "num_bytes"])
    table = fates.join(raw, "item").sort_by("item")
    if not keep_names:
        table = table.set_column(0, "item", pa.array(_ids(table), pa.string())).sort_by("item")
    extras = {CANDIDATES: table.combine_chunks()}
    folds = tables["split"].filter(pc.is_valid(tables["split"]["fold"]))
    if folds.num_rows:
        extras[FOLDS] = folds.select(["video_id", "fold"]).sort_by("video_id").combine_chunks()
    return extras
