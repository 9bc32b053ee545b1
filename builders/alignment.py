"""Do videos, prompts and label indices speak of the same 0..N-1? Upstream joins everything by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.records import validate

from .group import prompt_id
from .raw import RawFolder

_LISTED_ONE_BY_ONE = 100  # a longer gap is one fault


def alignment_faults(raw: RawFolder, *, no_prompts: bool) -> list[Fault]:
    """Missing and extra videos, more or fewer prompts than videos, label indices out of range, prompts that are no text."""
    faults = []
    if raw.prompts is None and not no_prompts:
        faults.append(Fault("prompts.txt", "missing", expected="the prompt file (--prompts FILE), or --no-prompts"))
    number = len(raw.prompts) if raw.prompts is not None else max(raw.videos, default=-1) + 1
    if raw.prompts_file is not None and len(raw.videos) != number:
        expected = "one prompt a video, in order"
        faults.append(Fault(raw.prompts_file.name, f"{number} prompts for {len(raw.videos)} videos", expected=expected))
    for first, last in _gaps(raw.videos, number):
        expected = f"videos 0 to {number - 1} without a gap"
        if last - first < _LISTED_ONE_BY_ONE:
            faults += [Fault(f"{index}.mp4", "missing MP4", expected=expected) for index in range(first, last + 1)]
        else:
            faults.append(Fault(f"{first}.mp4", f"missing MP4, and so on to {last}.mp4", expected=expected))
    for index in sorted(index for index in raw.videos if index >= number):
        faults.append(Fault(f"{index}.mp4", "extra MP4", expected=f"an index below {number}, the number of prompts"))
    for column, indices in raw.labels.items():
        for index, line in ((index, line) for index, line in indices.items() if index >= number):
            message = f"index {index} is out of range"
            expected = f"0 to {number - 1}"
            faults.append(Fault(raw.labels_file.name, message, line=line, field=f"column {column}", expected=expected))
    return faults + _prompt_faults(raw)


def _gaps(present: Iterable[int], number: int) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of indices below `number` that are not present."""
    start = 0
    for index in [*sorted(index for index in present if index < number), number]:
        if index > start:
            yield start, index - 1
        start = index + 1


def _prompt_faults(raw: RawFolder) -> list[Fault]:
    """Messages carry ids and lines, never prompts."""
    if raw.prompts is None or raw.prompts_file is None:
        return []
    records = (
        (index + 1, {"prompt_id": prompt_id(line), "prompt": line, "prompt_source": None, "source_index": index})
        for index, line in enumerate(raw.prompts)
    )
    message, expected = "the prompt is blank or not plain text", "text on one line"
    lines = sorted({fault.line or 0 for fault in validate("prompt", records, file=raw.prompts_file.name)})
    return [Fault(raw.prompts_file.name, message, line=line, field="prompt", expected=expected) for line in lines]
