"""What is recorded: prompts, seeds and groups, from objects or files; a prompt shows in no message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unsafe_video_dataset.defenses.trace_requests import Request, as_requests, limited, read_requests
from unsafe_video_dataset.errors import FaultsError, InputError

SECRET = "a very private prompt"


def test_each_prompt_is_taken_with_each_seed_and_is_its_own_group() -> None:
    made = as_requests(["one", {"prompt": "two"}, {"prompt": "three", "seed": 9, "group_id": "g"}], seeds=(0, 1))
    assert [(request.prompt, request.seed) for request in made] == [
        ("one", 0),
        ("one", 1),
        ("two", 0),
        ("two", 1),
        ("three", 9),
    ]
    assert made[0].group_id == made[1].group_id != made[2].group_id
    assert made[4].group_id == "g"
    assert made[0].prompt_sha256 == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.mark.parametrize(
    "item",
    [
        {"text": SECRET},
        {"prompt": SECRET, "seeds": "12"},
        {"prompt": SECRET, "seed": -1},
        {"prompt": SECRET, "seed": True},
        {"prompt": SECRET, "split": "dev"},
        {"prompt": SECRET, "group_id": SECRET},
        {"prompt": SECRET, "colour": "red"},
        {"prompt": 3},
        7,
    ],
)
def test_a_faulty_item_is_named_by_number_not_by_prompt(item: Any) -> None:
    with pytest.raises(FaultsError) as caught:
        as_requests(["fine", item])
    assert [fault.line for fault in caught.value.faults] == [2]
    assert SECRET not in str(caught.value)


def test_the_same_video_twice_or_none_is_refused() -> None:
    with pytest.raises(InputError, match="1 of 3 requests repeat") as caught:
        as_requests([SECRET, Request(SECRET, 1)], seeds=(0, 1))
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError, match="No prompt"):
        as_requests([])


def test_files_of_both_kinds(tmp_path: Path) -> None:
    text = tmp_path / "prompts.txt"
    text.write_text("one\n\n two \n", encoding="utf-8")
    assert [request.prompt for request in read_requests(text)] == ["one", "two"]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text(json.dumps({"prompt": "one", "kind": "direct", "split": "test", "video_id": "ab" * 8, "seeds": [4, 5]}))
    made = read_requests(lines)
    assert [(r.seed, r.prompt_kind, r.split, r.video_id) for r in made] == [(s, "direct", "test", "ab" * 8) for s in (4, 5)]


def test_a_faulty_file_lists_every_line(tmp_path: Path) -> None:
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "one"}\n{\n{"prompt": "two", "seed": -4}\n', encoding="utf-8")
    with pytest.raises(FaultsError) as caught:
        read_requests(lines)
    assert [fault.line for fault in caught.value.faults] == [2, 3]
    with pytest.raises(InputError, match="can't be read"):
        read_requests(tmp_path / "missing.txt")


def test_a_part_of_the_requests_doesnt_depend_on_their_order() -> None:
    made = as_requests(["one", "two", "three"], seeds=range(4))
    part = limited(made, 5)
    assert len(part) == 5
    assert limited(made[::-1], 5) == part
    assert limited(made, 99) == limited(made, 12)
    with pytest.raises(InputError, match="at least 1"):
        limited(made, 0)
