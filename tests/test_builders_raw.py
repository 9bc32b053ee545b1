"""The upstream layout is read as people really write it, and what is wrong with it is said with file, line and field."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders_support import LABELS, label_csv, make_raw, tiny, write_prompts

from unsafe_video_dataset.builders.raw import find_videos, read_labels, read_prompts, read_raw_folder
from unsafe_video_dataset.errors import InputError

EXPECTED = {name: set(indices) for name, indices in LABELS.items()}


def labels_of(tmp_path: Path, data: bytes) -> tuple[dict[str, set[int]], list[str]]:
    file = tmp_path / "labels.csv"
    file.write_bytes(data)
    columns, faults = read_labels(file)
    return {name: set(indices) for name, indices in columns.items()}, [str(fault) for fault in faults]


@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "header", [None, ["group1", "group2", "group3", "group4", "group5"], ["Group 1", " 2", "3 ", "GROUP4", "group5"]]
)
def test_both_header_styles_line_ends_and_a_bom(tmp_path: Path, header: list[str] | None, end: str, bom: bool) -> None:
    assert labels_of(tmp_path, label_csv(LABELS, header=header, end=end, bom=bom)) == (EXPECTED, [])


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    permuted = {name: LABELS[name] for name in "41532"}
    assert labels_of(tmp_path, label_csv(permuted)) == (EXPECTED, [])


def test_ragged_rows_floats_quotes_and_blank_lines(tmp_path: Path) -> None:
    text = '1,2,3,4,5\r\n0.0,"1",2.,8.000,4\r\n\r\n3,3\r\n 6 ,7,,,\r\n10\r\n,,,,\r\n\r\n'
    assert labels_of(tmp_path, text.encode()) == (EXPECTED, [])


def test_no_last_line_end_and_more_empty_cells_than_header(tmp_path: Path) -> None:
    assert labels_of(tmp_path, b"1,2,3,4,5\n0,1,2,8,4,,\n3,3,,,,\n6,7\n10") == (EXPECTED, [])


@pytest.mark.parametrize("cell", ["12.5", "-1", "abc", "1e3", "+3", "nan", "0x1", "1 2", "٣", "²", "9" * 5000])
def test_a_cell_that_is_no_index(tmp_path: Path, cell: str) -> None:
    columns, faults = labels_of(tmp_path, f"1,2,3,4,5\n0,1,2,3,4\n,,{cell},,\n".encode())
    assert columns["3"] == {2}
    (fault,) = faults
    assert fault.startswith("labels.csv:3 [column 3]: ")
    assert fault.endswith("is not an index; expected a whole number from 0")
    assert len(fault) < 150


def test_an_index_twice_in_a_column_but_not_in_two_columns(tmp_path: Path) -> None:
    columns, faults = labels_of(tmp_path, b"1,2,3,4,5\n7,7,,,\n8,,,,\n7.0,,,,\n")
    assert columns["1"] == {7, 8}
    assert columns["2"] == {7}
    assert faults == ["labels.csv:4 [column 1]: index 7 stands twice (first in line 2); expected each index once"]


def test_more_cells_than_the_header(tmp_path: Path) -> None:
    _, faults = labels_of(tmp_path, b"1,2,3,4,5\n0,1,2,3,4,9\n")
    assert faults == ["labels.csv:2: 6 cells; expected at most 5"]


@pytest.mark.parametrize(
    "text",
    ["a,b,c,d,e\n1,2,3,4,5\n", "1,2,3,4\n", "1,2,3,4,4\n", "1,2,3,4,5,6\n", "0,1,2,3,4\n", "1;2;3;4;5\n", "\n1,2,3,4,5\n"],
)
def test_a_bad_header_is_one_fault_and_is_not_quoted(tmp_path: Path, text: str) -> None:
    columns, faults = labels_of(tmp_path, text.encode())
    assert columns == {}
    (fault,) = faults
    assert fault.startswith("labels.csv:1: no label header (")
    assert "group1" in fault


def test_an_empty_file_and_a_header_alone(tmp_path: Path) -> None:
    assert labels_of(tmp_path, b"")[1] == ["labels.csv:1: no header (the file is empty); expected 1,2,3,4,5 or group1,…,group5"]
    columns, faults = labels_of(tmp_path, b"1,2,3,4,5")
    assert (faults, set().union(*columns.values())) == ([], set())


def test_not_utf8_and_not_csv(tmp_path: Path) -> None:
    _, faults = labels_of(tmp_path, b"1,2,3,4,5\n0,\xff\xfe,2\n")
    assert "labels.csv:2: not UTF-8; expected UTF-8 text" in faults
    _, faults = labels_of(tmp_path, b"1,2,3,4,5\n0," + b"1" * 200_000 + b"\n")
    assert any("not CSV (field larger" in fault for fault in faults)
    assert labels_of(tmp_path, "1,2,3,4,5\n1".encode("utf-16"))[1]  # and no traceback


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    _, faults = labels_of(tmp_path, b'1,2,3,4,5\n"0\n",1\n\nx\n')
    assert faults == ["labels.csv:5 [column 1]: 'x' is not an index; expected a whole number from 0"]


def test_the_label_file_is_found_by_its_header(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "annotations.csv").write_text("index,rater_id,categories\n")
    (raw / "notes.csv").write_bytes(b"")
    (raw / "folder.csv").mkdir()
    (raw / "long.csv").write_bytes(b"1" * 300_000)
    assert read_raw_folder(raw).labels_file.name == "labels.csv"
    (raw / "second.csv").write_bytes(label_csv(LABELS, header=[f"group{n}" for n in range(1, 6)]))
    with pytest.raises(InputError, match=r"found: labels.csv, second.csv\). Name it with --labels FILE"):
        read_raw_folder(raw)
    assert read_raw_folder(raw, labels=raw / "second.csv").labels_file.name == "second.csv"
    for file in raw.glob("*.csv"):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(InputError, match=r"found: none\)"):
        read_raw_folder(raw)


def test_the_prompt_file_is_found_or_named(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "README.txt").write_text("read me\n")
    assert read_raw_folder(raw).prompts_file == raw / "prompts.txt"
    (raw / "prompts.txt").rename(raw / "text.txt")
    with pytest.raises(InputError, match=r"2 text files. Name the prompt file with --prompts FILE"):
        read_raw_folder(raw)
    assert read_raw_folder(raw, prompts=raw / "text.txt").prompts_file == raw / "text.txt"
    (raw / "README.txt").unlink()
    assert read_raw_folder(raw).prompts_file == raw / "text.txt"
    (raw / "text.txt").unlink()
    assert read_raw_folder(raw).prompts is None


@pytest.mark.parametrize("part", ["labels", "prompts"])
def test_a_named_file_that_is_not_there(tmp_path: Path, part: str) -> None:
    raw = make_raw(tmp_path / "raw")
    with pytest.raises(InputError, match=r"There is no file .*nowhere"):
        read_raw_folder(raw, **{part: raw / "nowhere"})


def test_no_folder_no_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        read_raw_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no `<index>.mp4` files \(found none\)"):
        read_raw_folder(tmp_path)


def test_videos_in_the_only_subfolder(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "videos").mkdir()
    for path in raw.glob("*.mp4"):
        path.rename(raw / "videos" / path.name)
    videos, faults = find_videos(raw)
    assert sorted(videos) == list(range(12))
    assert faults == []
    (raw / "more").mkdir()
    (raw / "more" / "0.mp4").write_bytes(tiny(0))
    with pytest.raises(InputError, match="2 subfolders with MP4 files"):
        find_videos(raw)
    (raw / "0.mp4").write_bytes(tiny(0))
    assert [fault.file for fault in find_videos(raw)[1]] == ["more", "videos"]  # nothing is passed over in silence


@pytest.mark.parametrize(
    "name", ["007.mp4", "x.mp4", "1.MP4", "-1.mp4", "1 (1).mp4", "._1.mp4", "1.0.mp4", "١.mp4", f"{10**12}.mp4"]
)
def test_other_mp4_names_are_faults(tmp_path: Path, name: str) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / name).write_bytes(tiny(1))
    videos, (fault,) = find_videos(raw)
    assert sorted(videos) == list(range(12))
    assert (fault.file, fault.message) == (name, "extra MP4")


def test_a_folder_or_pipe_named_like_a_video(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "12.mp4").mkdir()
    os.mkfifo(raw / "13.mp4")  # reading it would wait for ever
    assert [str(fault) for fault in find_videos(raw)[1]] == [
        "12.mp4: not a file; expected an MP4",
        "13.mp4: not a file; expected an MP4",
    ]


def test_videos_may_be_links_as_in_a_hub_cache(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "0.mp4").rename(tmp_path / "blob")
    (raw / "0.mp4").symlink_to(tmp_path / "blob")
    assert len(find_videos(raw)[0]) == 12


@pytest.mark.parametrize(("data", "lines"), [
    (b"a\nb\n", ["a", "b"]),
    (b"a\r\nb\r\n", ["a", "b"]),
    (b"\xef\xbb\xbfa\nb", ["a", "b"]),
    (b"a\nb\n\n \n\r\n", ["a", "b"]),
    (b"a\n\nb\n", ["a", "", "b"]),
    ("a\u2028b\x85c\n".encode(), ["a\u2028b\x85c"]),
    (b" a \n", [" a "]),
    (b"", []),
])  # fmt: skip
def test_prompts_are_lines(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    (tmp_path / "prompts.txt").write_bytes(data)
    assert read_prompts(tmp_path / "prompts.txt") == (lines, [])


def test_prompts_that_are_not_utf8(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    write_prompts(raw, ["plain"] * 12)
    (raw / "prompts.txt").write_bytes(b"secret words\nsecret \xff\n")
    (fault,) = read_raw_folder(raw).faults
    assert str(fault) == "prompts.txt:2: not UTF-8; expected UTF-8 text"
