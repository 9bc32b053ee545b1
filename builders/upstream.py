"""`unsafe-video-build upstream`: the upstream layout (numbered MP4s, prompts, label CSV) -> a release."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from unsafe_video_dataset.errors import DecodeError, Fault, FaultsError, InputError
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.mp4 import Mp4Info
from unsafe_video_dataset.records import validate
from unsafe_video_dataset.video import probe_video
from unsafe_video_dataset.votes import Tie, label_votes

from .annotations import Answers, read_annotations
from .assemble import Candidate, assemble
from .folder import refuse_existing
from .group import prompt_id
from .mapping import fits_paper, labels_by_index, map_by_paper_counts, parse_categories
from .raw import RawFolder, read_raw_folder
from .split import DEFAULT_FRACTIONS
from .write import ReleaseInfo, write_release


@dataclass(frozen=True)
class UpstreamSettings:
    """Everything that shapes an upstream release; written to the manifest (paths by name only)."""

    categories: str | None = None
    generator: str | None = None
    generation: Mapping[str, Any] | None = None
    prompt_source: str | None = None
    labels: Path | None = None
    prompts: Path | None = None
    annotations: Path | None = None
    no_prompts: bool = False
    tie: Tie = "negative"
    fractions: Sequence[float] = DEFAULT_FRACTIONS
    split_seed: int = 0
    name: str = "unsafe-video"
    release_version: str = "1.0"


@dataclass
class BuildReport:
    """What was built. `relabelled` counts videos whose majority differs from the label CSV."""

    out: Path
    manifest: dict[str, Any]
    mapping: dict[str, str]
    relabelled: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        keys = ("name", "release_version", "configs", "counts", "left_out")
        mine = {"out": str(self.out), "mapping": self.mapping, "relabelled": self.relabelled, "notes": self.notes}
        return {**mine, **{key: self.manifest[key] for key in keys}}


def build_upstream(
    raw_dir: Path, out: Path, settings: UpstreamSettings, *, overwrite: bool = False, progress: bool = True
) -> BuildReport:
    """Check everything, then write the release. On any fault nothing is written.

    Raises `FaultsError` with every fault of the input, and `InputError` for a column mapping or generator that is not
    known, a missing part, or an `out` that may not be replaced.
    """
    refuse_existing(out, overwrite=overwrite)
    raw = read_raw_folder(raw_dir, labels=settings.labels, prompts=settings.prompts)
    faults = raw.faults + _alignment_faults(raw, settings)
    try:
        mapping = parse_categories(settings.categories) if settings.categories else map_by_paper_counts(raw)
    except InputError as error:
        if faults:
            raise FaultsError(f"{raw_dir} can't be built; nothing was written", faults, fix=str(error)) from None
        raise
    answers = read_annotations(settings.annotations, mapping=mapping) if settings.annotations else Answers()
    faults += answers.faults
    videos, probe_faults = _probe(raw, progress=progress)
    faults += probe_faults
    votes, vote_faults = _votes_by_index(answers, videos, settings)
    faults += vote_faults
    if faults:
        raise FaultsError(f"{raw_dir} can't be built; nothing was written", faults)
    candidates = _candidates(raw, videos, votes, mapping, settings)
    assembled = assemble(
        candidates,
        fractions=settings.fractions,
        seed=settings.split_seed,
        keep_prompts=not settings.no_prompts,
        tie=settings.tie,
    )
    for reason, count in answers.left_out.items():
        assembled.votes_left_out[reason] = assembled.votes_left_out.get(reason, 0) + count
    info = ReleaseInfo(
        name=settings.name,
        builder="upstream",
        release_version=settings.release_version,
        settings=_recorded(settings, mapping, candidates[0].generator),
        inputs=_inputs(raw, videos, settings),
    )
    manifest = write_release(out, assembled, info, overwrite=overwrite, progress=progress)
    report = BuildReport(out, manifest, mapping, relabelled=_relabelled(candidates, settings.tie))
    report.notes = _notes(report, raw, answers)
    return report


def _alignment_faults(raw: RawFolder, settings: UpstreamSettings) -> list[Fault]:
    """Videos, prompts and label indices must speak of the same 0..N-1."""
    faults = []
    if raw.prompts is None and not settings.no_prompts:
        faults.append(Fault("prompts.txt", "missing", expected="the prompt file (--prompts FILE), or --no-prompts"))
    number = len(raw.prompts) if raw.prompts is not None else max(raw.videos, default=-1) + 1
    if raw.prompts_file is not None and len(raw.videos) != number:
        expected = "one prompt a video, in order"
        faults.append(Fault(raw.prompts_file.name, f"{number} prompts for {len(raw.videos)} videos", expected=expected))
    for index in sorted(set(range(number)) - raw.videos.keys()):
        faults.append(Fault(f"{index}.mp4", "missing MP4", expected=f"videos 0 to {number - 1} without a gap"))
    for index in sorted(index for index in raw.videos if index >= number):
        faults.append(Fault(f"{index}.mp4", "extra MP4", expected=f"an index below {number}, the number of prompts"))
    for column, indices in raw.labels.items():
        for index in (index for index in indices if index >= max(number, 1)):
            message = f"index {index} is out of range"
            faults.append(Fault(raw.labels_file.name, message, field=f"column {column}", expected=f"0 to {number - 1}"))
    records = (
        (
            index + 1,
            {
                "prompt_id": prompt_id(line),
                "prompt": line,
                "prompt_source": settings.prompt_source,
                "source_index": index,
            },
        )
        for index, line in enumerate(raw.prompts or [])
    )
    file = raw.prompts_file.name if raw.prompts_file else "prompts.txt"
    return faults + [_without_prompt(fault) for fault in validate("prompt", records, file=file)]


def _without_prompt(fault: Fault) -> Fault:
    """Messages carry ids and lines, never prompts."""
    if fault.field != "prompt":
        return fault
    return Fault(fault.file, "the prompt is blank or not plain text", fault.line, fault.field, "text on one line")


def _probe(raw: RawFolder, *, progress: bool) -> tuple[dict[int, tuple[str, Mp4Info]], list[Fault]]:
    """Index -> (sha256, facts) of each video, decoded once in full."""
    probed: dict[int, tuple[str, Mp4Info]] = {}
    faults = []
    for index, path in tqdm(sorted(raw.videos.items()), desc="probing", unit="video", disable=not progress):
        try:
            data = path.read_bytes()
            probed[index] = (hashlib.sha256(data).hexdigest(), probe_video(data, name=path.name))
        except (DecodeError, OSError) as error:
            faults.append(Fault(path.name, f"unreadable MP4: {error}", expected="an MP4 that decodes"))
    return probed, faults


def _votes_by_index(
    answers: Answers, videos: Mapping[int, tuple[str, Mp4Info]], settings: UpstreamSettings
) -> tuple[dict[int, list[dict[str, Any]]], list[Fault]]:
    votes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    faults: list[Fault] = []
    by_name = {str(index): index for index in videos} | {sha256[:16]: index for index, (sha256, _) in videos.items()}
    lines = {}
    for answer in answers.kept:
        if answer.video not in by_name:
            file = settings.annotations.name if settings.annotations else "annotations"
            faults.append(Fault(file, f"no video {answer.video}", line=answer.line, expected="a video of this folder"))
            continue
        index = by_name[answer.video]
        vote = {
            "rater_id": answer.rater_id,
            "categories": answer.categories,
            "seconds": answer.seconds,
            "attention_check": answer.attention_check,
        }
        votes[index].append(vote)
        lines[answer.line] = {"video_id": videos[index][0][:16], **vote}
    if settings.annotations:
        faults += validate("annotation", lines.items(), file=settings.annotations.name)
        if videos and not votes:
            faults.append(Fault(settings.annotations.name, "no answer counts", expected="votes on the videos of this folder"))
    return votes, faults


def _candidates(
    raw: RawFolder,
    videos: Mapping[int, tuple[str, Mp4Info]],
    votes: Mapping[int, list[dict[str, Any]]],
    mapping: Mapping[str, str],
    settings: UpstreamSettings,
) -> list[Candidate]:
    generator = settings.generator or ("magictime" if fits_paper(raw) else None)
    if generator is None:
        raise InputError("Say which model made the videos: --generator NAME (e.g. magictime, animatediff, videocrafter).")
    labels = labels_by_index(raw, mapping)
    return [
        Candidate(
            source_index=index,
            sha256=sha256,
            info=info,
            read=raw.videos[index].read_bytes,
            generator=generator,
            generation=settings.generation,
            categories=sorted(labels[index]),
            prompt=raw.prompts[index] if raw.prompts is not None else None,
            prompt_source=settings.prompt_source,
            votes=votes.get(index),
        )
        for index, (sha256, info) in sorted(videos.items())
    ]


def _recorded(settings: UpstreamSettings, mapping: Mapping[str, str], generator: str) -> dict[str, Any]:
    return {
        "categories": dict(mapping),
        "categories_from": "--categories" if settings.categories else "published counts",
        "generator": generator,
        "generation": dict(settings.generation) if settings.generation else None,
        "prompt_source": settings.prompt_source,
        "prompts_left_out": settings.no_prompts,
        "labels_from": "majority of votes" if settings.annotations else "upstream",
        "tie": settings.tie,
        "split_fractions": list(settings.fractions),
        "split_seed": settings.split_seed,
    }


def _inputs(raw: RawFolder, videos: Mapping[int, tuple[str, Mp4Info]], settings: UpstreamSettings) -> list[dict[str, Any]]:
    tables = [raw.labels_file, raw.prompts_file, settings.annotations]
    inputs = [(file.name, file.stat().st_size, sha256_file(file)) for file in tables if file is not None]
    inputs += [(f"{index}.mp4", info.num_bytes, sha256) for index, (sha256, info) in videos.items()]
    return [{"path": path, "bytes": size, "sha256": sha256} for path, size, sha256 in sorted(inputs)]


def _relabelled(candidates: Sequence[Candidate], tie: Tie) -> int:
    return sum(set(label_votes(one.votes, tie=tie).categories) != set(one.categories) for one in candidates if one.votes)


def _notes(report: BuildReport, raw: RawFolder, answers: Answers) -> list[str]:
    counts = report.manifest["counts"]
    notes = [
        f"{left['video_id']} (source_index {left['source_index']}): {left['reason']}" for left in report.manifest["left_out"]
    ]
    if answers.left_out:
        number = sum(answers.left_out.values())
        notes.append(f"{number} votes of {len(answers.raters_left_out)} raters left out: failed attention check")
    if counts["ties"]:
        notes.append(f"{counts['ties']} ties (exactly half of a video's raters), decided as the setting `tie` says")
    if report.relabelled:
        notes.append(f"{report.relabelled} videos have a majority label that differs from {raw.labels_file.name}")
    empty = [name for name, n in counts["splits"].items() if not n["unsafe"]]
    if empty:
        notes.append(f"no unsafe video in: {', '.join(empty)} (too few groups for these split fractions)")
    return notes
