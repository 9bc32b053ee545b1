"""`unsafe-video-build upstream`: the upstream layout (numbered MP4s, prompts, label CSV) -> a release."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from unsafe_video_dataset.errors import ChecksumError, DecodeError, Fault, FaultsError, InputError, one_of
from unsafe_video_dataset.mp4 import DEFAULT_LIMITS, Mp4Info, inspect_mp4
from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.video import probe_video
from unsafe_video_dataset.votes import Tie, label_votes

from .alignment import alignment_faults
from .annotations import Answers, join_votes, read_annotations
from .assemble import Candidate, assemble
from .folder import refuse_existing
from .inputs import in_order, table_inputs, video_input
from .mapping import fits_paper, labels_by_index, map_by_paper_counts, parse_categories
from .raters.control import FailedChecks
from .raw import COLUMNS, RawFolder, read_raw_folder
from .settings import UpstreamSettings
from .split import check_fractions
from .write import ReleaseInfo, write_release

__all__ = ["BuildReport", "UpstreamSettings", "build_upstream"]


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
    known, a missing part, or an `out` that may not be replaced. Where the mapping or the generator is not known, no video is
    decoded: the faults are then those that show without it.
    """
    refuse_existing(out, overwrite=overwrite)
    check_fractions(settings.fractions)
    one_of(settings.failed_checks, get_args(FailedChecks), "failed_checks")
    given = parse_categories(settings.categories) if settings.categories is not None else None
    raw = read_raw_folder(raw_dir, labels=settings.labels, prompts=settings.prompts)
    tables = table_inputs(raw, settings)
    mapping, refusals = _mapping(raw, given)
    generator = settings.generator or ("magictime" if fits_paper(raw) else None)
    if generator is None:
        refusals.append("Say which model made the videos: --generator NAME (e.g. magictime, animatediff, videocrafter).")
    answers = Answers()
    if settings.annotations:
        answers = read_annotations(settings.annotations, mapping=mapping, failed_checks=settings.failed_checks)
    faults = settings.faults() + raw.faults + alignment_faults(raw, no_prompts=settings.no_prompts) + answers.faults
    asked = bool(refusals)  # then nothing is decoded: what is missing can be said in seconds
    videos, video_faults = _probe(raw, decode=not asked, progress=progress)
    votes, vote_faults = join_votes(answers, raw.videos, videos, file=settings.annotations)
    faults += video_faults + vote_faults
    if asked or faults or generator is None:
        raise _refusal(raw_dir, faults, refusals)
    candidates = _candidates(raw, videos, votes, labels_by_index(raw, mapping), generator, settings)
    assembled = assemble(
        candidates,
        fractions=settings.fractions,
        seed=settings.split_seed,
        keep_prompts=not settings.no_prompts,
        tie=settings.tie,
    )
    for reason, count in answers.left_out.items():
        assembled.votes_left_out[reason] = assembled.votes_left_out.get(reason, 0) + count
    if table_inputs(raw, settings) != tables:
        raise ChecksumError(f"A table of {raw_dir} changed while the release was built. Build again.")
    mp4s = [video_input(index, info.num_bytes, sha256) for index, (sha256, info) in videos.items()]
    info = ReleaseInfo(
        name=settings.name,
        builder="upstream",
        release_version=settings.release_version,
        settings=settings.recorded(mapping, generator),
        inputs=in_order(tables + mp4s),
    )
    manifest = write_release(out, assembled, info, overwrite=overwrite, progress=progress)
    report = BuildReport(out, manifest, mapping, relabelled=_relabelled(candidates, settings.tie))
    report.notes = _notes(report, raw, answers)
    return report


def _mapping(raw: RawFolder, given: dict[str, str] | None) -> tuple[dict[str, str], list[str]]:
    """Column -> category, and why it is not known. A build that is refused still needs some mapping to find all faults."""
    if given is not None:
        return given, []
    try:
        return map_by_paper_counts(raw), []
    except InputError as error:
        return dict(zip(COLUMNS, CATEGORIES, strict=True)), [str(error)]


def _refusal(raw_dir: Path, faults: list[Fault], refusals: list[str]) -> InputError:
    """Every fault that was found, and which flags are missing."""
    if not faults:
        return InputError("\n".join(refusals))
    more = ["The videos have not been decoded yet: that may find more."] if refusals else []
    return FaultsError(f"{raw_dir} can't be built; nothing was written", faults, fix="\n".join(refusals + more))


def _probe(raw: RawFolder, *, decode: bool, progress: bool) -> tuple[dict[int, tuple[str, Mp4Info]], list[Fault]]:
    """Index -> (sha256, facts) of each video: its structure is checked, and with `decode` every frame is decoded once."""
    read: dict[int, tuple[str, Mp4Info]] = {}
    faults = []
    title = "probing" if decode else "reading"
    for index, path in tqdm(sorted(raw.videos.items()), desc=title, unit="video", disable=not progress):
        try:
            if path.stat().st_size > DEFAULT_LIMITS.max_bytes:
                raise DecodeError(f"{path.stat().st_size:,} bytes is over the limit of {DEFAULT_LIMITS.max_bytes:,}")
            data = path.read_bytes()
            info = probe_video(data, name=path.name, isolate=True) if decode else inspect_mp4(data, name=path.name)
            read[index] = hashlib.sha256(data).hexdigest(), info
        except (DecodeError, OSError) as error:
            reason = str(error).removeprefix(f"{path.name}: ")
            faults.append(Fault(path.name, f"unreadable MP4: {reason}", expected="an MP4 that decodes"))
    return read, faults


def _candidates(
    raw: RawFolder,
    videos: Mapping[int, tuple[str, Mp4Info]],
    votes: Mapping[int, list[dict[str, Any]]],
    labels: Mapping[int, set[str]],
    generator: str,
    settings: UpstreamSettings,
) -> list[Candidate]:
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


def _relabelled(candidates: Sequence[Candidate], tie: Tie) -> int:
    return sum(set(label_votes(one.votes, tie=tie).categories) != set(one.categories) for one in candidates if one.votes)


def _notes(report: BuildReport, raw: RawFolder, answers: Answers) -> list[str]:
    counts = report.manifest["counts"]
    notes = [
        f"{left['video_id']} (source_index {left['source_index']}): {left['reason']}" for left in report.manifest["left_out"]
    ]
    if answers.failed_answers:
        notes.append(_failed_note(answers))
    if answers.ignored_columns:
        notes.append(f"columns of the annotations that were not used: {', '.join(answers.ignored_columns)}")
    if counts["ties"]:
        notes.append(f"{counts['ties']} ties (exactly half of a video's raters), decided as the setting `tie` says")
    if report.relabelled:
        notes.append(f"{report.relabelled} videos have a majority label that differs from {raw.labels_file.name}")
    empty = [name for name, n in counts["splits"].items() if not n["unsafe"]]
    if empty:
        notes.append(f"no unsafe video in: {', '.join(empty)} (too few groups for these split fractions)")
    return notes


def _failed_note(answers: Answers) -> str:
    """Whose votes are missing, so that nobody takes left-out answers for left-out people."""
    failed, raters = answers.failed_answers, answers.failed_raters
    if "rater_attention" in answers.left_out:
        number = answers.left_out["rater_attention"]
        return f"{raters} raters left out for a failed attention check, with all their {number} votes ({failed} failed it)"
    if "attention_check" in answers.left_out:
        return f"{failed} votes left out for a failed attention check; other votes of the {raters} raters who gave them count"
    return f"{failed} votes of {raters} raters failed the attention check and count all the same, as asked"
