"""Label Studio: `tasks.json` to import, `labeling_config.xml` for the project, `media/<video_id>.mp4` served as local files.

A rater's vote is an annotation, the release's label a prediction (`model_version`: release and how the label was made;
`score`: the raters' agreement). Label Studio takes only its own users as annotators, so a vote carries its rater in the
result's `meta`. The choices are the categories' titles and `None of these`. Tried with Label Studio 1.23.2: see
tests/label_studio/check_import.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from ..taxonomy import CATEGORIES, CATEGORY_TITLES, NONE
from .selection import Record, Selection, answer, media_name

TITLES = {**CATEGORY_TITLES, NONE: "None of these"}
SHOWN = ("video_id", "split", "generator", "prompt_source", "group_id", "label_method", "num_raters", "prompt_id", "sha256")


def write(selection: Selection, folder: Path) -> None:
    """Write tasks, config and files. Without media the tasks name the same files, which then are not there."""
    (folder / "labeling_config.xml").write_text(config(prompts=selection.prompts), encoding="utf-8")
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        start = "["
        for record in selection.write_media(folder):
            file.write(f"{start}\n{json.dumps(task(record, selection), ensure_ascii=False, sort_keys=True)}")
            start = ","
        file.write("\n]\n")


def config(*, prompts: bool) -> str:
    """The labelling page: the video, several choices; the prompt below it where prompts are exported."""
    choices = "\n".join(f"    <Choice value={quoteattr(TITLES[name])}/>" for name in (*CATEGORIES, NONE))
    prompt = '  <Text name="prompt" value="$prompt"/>\n' if prompts else ""
    return (
        '<View>\n  <Video name="video" value="$video"/>\n'
        f'{prompt}  <Choices name="categories" toName="video" choice="multiple" required="true">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )


def task(record: Record, selection: Selection) -> dict[str, Any]:
    """One task: what the page shows, the raters' answers, the release's label."""
    data = {name: record[name] for name in SHOWN if record[name] is not None}
    if selection.prompts:
        data["prompt"] = record["prompt"] or ""
    made = f"{selection.release.name} {selection.release.version} ({record['label_method']})"
    label: dict[str, Any] = {"model_version": made, "result": [_result(record["categories"] or [NONE])]}
    if record["agreement"] is not None:
        label["score"] = record["agreement"]
    return {
        "data": {**data, "video": f"/data/local-files/?d={media_name(record)}"},
        "annotations": [  # said, as Label Studio takes an imported annotation for the truth otherwise
            {"result": [_result(answer(vote), rater=vote["rater_id"])], "ground_truth": False} for vote in record["votes"] or ()
        ],
        "predictions": [label],
    }


def _result(categories: Sequence[str], *, rater: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": "label" if rater is None else rater,
        "from_name": "categories",
        "to_name": "video",
        "type": "choices",
        "value": {"choices": [TITLES[name] for name in categories]},
    }
    return found if rater is None else {**found, "meta": {"text": [rater]}}
