"""Sidecars: CSV and JSONL say the same; every fault has its line, none a prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unsafe_video_dataset.builders.sidecar import Sidecar, read_sidecar
from unsafe_video_dataset.errors import InputError

ROWS = [
    {"file": "a.mp4", "prompt": "a ball, that rolls", "seed": 7, "guidance_scale": 8.5,
     "num_inference_steps": 50, "scheduler": "ddim"},
    {"file": "sub/b.mp4", "generator": "magictime", "prompt_source": "lexica", "source_index": 3},
    {"file": "c.mp4"},
]  # fmt: skip


def read(folder: Path, text: str, name: str = "s.csv") -> Sidecar:
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_sidecar(folder / name, name="src/" + name)


def faults(folder: Path, text: str, name: str = "s.csv") -> list[str]:
    return [str(fault) for fault in read(folder, text, name).faults]


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    csv = (
        "\ufefffile,Prompt,prompt source,generator,source-index,num_inference_steps,guidance_scale,seed,scheduler,colour\r\n"
        'a.mp4,"a ball, that rolls",,,,50.0,8.5,7,ddim,red\r\n\r\nsub/b.mp4,,lexica,magictime,3,,,,,\r\n./c.mp4,,,,,,,,,\r\n'
    )
    lines = "\n".join(json.dumps({**row, "colour": "red", "scheduler": row.get("scheduler")}) for row in ROWS) + "\n\n"
    for sidecar in (read(tmp_path, csv), read(tmp_path, lines, "s.jsonl")):
        assert not sidecar.faults
        assert sidecar.ignored == ["colour"]
        assert sidecar.rows == {str(row["file"]): {k: v for k, v in row.items() if k != "file"} for row in ROWS}
    assert read(tmp_path, csv).lines == {"a.mp4": 2, "sub/b.mp4": 4, "c.mp4": 5}


def test_every_fault_with_its_line(tmp_path: Path) -> None:
    text = (
        "file,seed,guidance_scale,num_inference_steps,scheduler,generator,source_index,prompt\n"
        "a.mp4,x,,,,,,\n"
        "b.mp4,,nan,,,,,\n"
        "c.mp4,,,0,,,,\n"
        "d.mp4,,,,Odd One,,,\n"
        "e.mp4,,,,,Magic Time,,\n"
        "f.mp4,,,,,,-1,\n"
        "g.mp4,99999999999999999999,,,,,,\n"
        "a.mp4,,,,,,,\n"
        ",1,,,,,,\n"
        "h.mp4,1\n"
        "i.mp4,,,,,,,secret \x01 prompt\n"
        "j.mp4,1.5,,,,,,\n"
    )
    found = faults(tmp_path, text)
    for line, field in (
        (2, "seed"), (3, "guidance_scale"), (4, "num_inference_steps"), (5, "scheduler"), (6, "generator"),
        (7, "source_index"), (8, "seed"), (9, "file"), (10, "file"), (12, "prompt"), (13, "seed"),
    ):  # fmt: skip
        assert sum(fault.startswith(f"src/s.csv:{line} [{field}]") for fault in found) == 1, (line, field, found)
    assert "src/s.csv:11: 2 cells; expected 8" in found
    assert len(found) == 12
    assert "secret" not in "".join(found)


def test_jsonl_faults(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        '{"file": 3}\n[1]\nnope\n{"seed": 1}\n{"file": "a.mp4", "seed": true}\n{"file": "b.mp4", "seed": 1.5}\n'
        '{"file": "c.mp4", "prompt": "\\ud800"}\n{"file": "d.mp4", "guidance_scale": NaN}\n{"file": "e.mp4", "prompt": "  "}\n',
        "s.jsonl",
    )
    assert [fault.split(";")[0].split("]")[0].split(": not")[0] for fault in found] == [
        "src/s.jsonl:1 [file", "src/s.jsonl:2", "src/s.jsonl:3", "src/s.jsonl:4 [file", "src/s.jsonl:5 [seed",
        "src/s.jsonl:6 [seed", "src/s.jsonl:7 [prompt", "src/s.jsonl:8 [guidance_scale", "src/s.jsonl:9 [prompt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("", "s.csv", "no column `file`"),
        ("name,seed\n", "s.csv", "no column `file`"),
        ("file,seed,Seed\n", "s.csv", "seed stands twice"),
        ("file\n", "s.txt", "expected .csv or .jsonl"),
        ("file\n\udcff.mp4\n", "s.csv", "not UTF-8"),
    ],
)
def test_files_that_are_no_sidecar(text: str, name: str, why: str, tmp_path: Path) -> None:
    assert why in faults(tmp_path, text, name)[0]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_sidecar(tmp_path / "s.csv", name="s.csv")
