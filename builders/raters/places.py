"""Which video an answer is about: keys of files of votes -> video ids, by the tables of the recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unsafe_video_dataset.errors import Fault

from ..pipeline.withdrawn import WITHOUT_FILE
from .answers import Answer, Key


@dataclass(frozen=True)
class Places:
    """`by_key[key][text]` -> the ids of the videos of that name; a file that can't be read has its item for an id."""

    by_key: Mapping[str, Mapping[str, frozenset[str]]]
    spare: int = 0  # withdrawn videos without a raw file: so many names may be unknown

    def resolve(self, answers: Sequence[Answer], key: Key, *, known: Iterable[str] = ()) -> tuple[dict[str, str], list[Fault]]:
        """Text -> video id of every answer, and a fault for each text that names no video, or more than one.

        Texts in `known` may be missing (videos that only check attention), and as many others as `spare` says; their
        answers keep the text in place of an id, which no video has.
        """
        places, allowed = self.by_key[key], set(known)
        first: dict[str, Answer] = {}
        times: Counter[str] = Counter()
        for answer in answers:
            first.setdefault(answer.video, answer)
            times[answer.video] += 1
        result: dict[str, str] = {}
        faults: list[Fault] = []
        strange = [text for text in first if text not in places and text not in allowed]
        if len(strange) <= self.spare:
            result.update({text: text for text in strange})
            first = {text: answer for text, answer in first.items() if text not in result}
        for text, answer in first.items():
            ids = places.get(text, frozenset())
            if len(ids) == 1:
                result[text] = next(iter(ids))
            elif ids or text not in allowed:
                what = f"{len(ids)} videos are called {text[:80]!r}" if ids else f"no video {text[:80]!r}"
                expected = "a name that only one has (see the setting `source`)" if ids else "a video that the recipe ingests"
                message = f"{what} ({times[text]} answer{'s' if times[text] > 1 else ''})"
                faults.append(Fault(answer.file, message, line=answer.line, field=key, expected=expected))
        return result, faults


def places_of(rows: Iterable[Mapping[str, Any]], *, source: str = "") -> Places:
    """Of rows with item, source, path, source_index and video_id. `file` and `index` are looked up in `source`, or in all.

    A file is named by its path in its source, or by its name alone.
    """
    found: dict[str, dict[str, set[str]]] = {"item": {}, "video_id": {}, "file": {}, "index": {}}

    def add(key: str, text: Any, video_id: str) -> None:
        found[key].setdefault(str(text), set()).add(video_id)

    for row in rows:
        video_id = row["video_id"] or row["item"]
        add("item", row["item"], video_id)
        if row["video_id"]:
            add("video_id", video_id, video_id)
        if row["path"] is None or (source and row["source"] != source):  # a withdrawn video has no file any more
            continue
        for text in {row["path"], row["path"].rpartition("/")[2]}:
            add("file", text, video_id)
        if row["source_index"] is not None:
            add("index", row["source_index"], video_id)
    spare = sum(item.startswith(WITHOUT_FILE) for item in found["item"])
    by_key = {key: {text: frozenset(ids) for text, ids in texts.items()} for key, texts in found.items()}
    return Places(by_key, spare)
