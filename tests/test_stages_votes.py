"""The stage `votes`: joined to videos by any key, controlled, labelled; counts add up; no order, no key, no id leaks."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from unsafe_video_dataset import aggregate
from unsafe_video_dataset.builders.pipeline.settings import read_settings
from unsafe_video_dataset.builders.pipeline.stage import StageResult
from unsafe_video_dataset.builders.raters.answers import Answer
from unsafe_video_dataset.builders.raters.control import control
from unsafe_video_dataset.builders.stages.votes import STAGE, Settings
from unsafe_video_dataset.errors import Fault, FaultsError, InputError
from unsafe_video_dataset.records import to_table, validate
from unsafe_video_dataset.taxonomy import CATEGORIES

STUDIO = Path(__file__).parent / "label_studio"
KEY = "a key of the tests, not a secret"
HEADER = "item,rater_id,categories,seconds,attention_check\n"


def vid(number: int) -> str:
    return f"{number:016x}"


@dataclass
class Table:
    """A `Context` over tables in memory: six videos of two sources; 5 is dropped before, 6 can't be read, 7 copies 1."""

    base: Path
    folder: Path
    settings: Settings
    progress: bool = False

    def table(self, stage: str) -> pa.Table:
        number = (1, 2, 3, 4, 5, 6, 7)
        ids = [vid(1 if n == 7 else n) if n != 6 else None for n in number]
        rows = [
            {
                "item": f"{'b' if n == 4 else 'a'}/clips/{n}.mp4",
                "kept": n != 6,
                "reason": "broken" if n == 6 else None,
                "source": "b" if n == 4 else "a",
                "path": f"clips/{n}.mp4",
                "source_index": 1 if n == 4 else n,
                "video_id": id_,
                "upstream_categories": self.upstream.get(n),
            }
            for n, id_ in zip(number, ids, strict=True)
        ]
        if stage == "cluster":
            keep = [row["item"] for row in rows if row["item"].rpartition("/")[2] in ("1.mp4", "2.mp4", "3.mp4", "4.mp4")]
            rows = [{**row, "kept": True} for row in rows if row["item"] in keep]
            return pa.Table.from_pylist([{k: row[k] for k in ("item", "kept", "reason", "video_id")} for row in rows])
        assert stage == "ingest"
        fields = [("upstream_categories", pa.list_(pa.string())), ("source_index", pa.int64()), ("kept", pa.bool_())]
        schema = pa.schema([*((name, pa.string()) for name in ("item", "reason", "source", "path", "video_id")), *fields])
        return pa.Table.from_pylist(rows, schema=schema)

    def kept(self, stage: str) -> pa.Table:
        return self.table(stage)

    upstream: dict[int, list[str]] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.upstream = self.upstream or {}


def run(tmp_path: Path, text: str | dict[str, str], *, upstream: Any = None, **settings: Any) -> tuple[StageResult, Path]:
    files = {"votes.csv": text} if isinstance(text, str) else text
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode())
    folder = tmp_path / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    faults: list[Fault] = []
    table = {"files": list(files), "rater_ids": "given", "bootstrap": 20, **settings}
    found = read_settings(Settings, table, file="recipe.toml", place="votes", faults=faults)
    assert found is not None, faults
    context: Any = Table(tmp_path, folder, found, upstream=upstream)
    return STAGE.run(context), folder


def rows(result: StageResult) -> dict[str, dict[str, Any]]:
    return {row["item"]: row for row in result.table.to_pylist()}


VOTES = HEADER + (
    "a/clips/1.mp4,r1,terrifying,5,pass\na/clips/1.mp4,r2,terrifying,6,\na/clips/7.mp4,r3,none,7,pass\n"
    "a/clips/2.mp4,r1,none,5,pass\na/clips/2.mp4,r2,political,0.2,pass\na/clips/2.mp4,r3,none;political,9,pass\n"
    "b/clips/4.mp4,r1,political,5,\nb/clips/4.mp4,r2,none,5,\n"
    "a/clips/5.mp4,r1,none,5,pass\na/clips/6.mp4,r2,none,5,pass\na/clips/3.mp4,r3,none,5,fail\n"
)


def test_labels_counts_and_what_is_left_out(tmp_path: Path) -> None:
    result, folder = run(tmp_path, VOTES)
    found = rows(result)
    assert list(found) == sorted(found)
    first = found["a/clips/1.mp4"]
    assert (first["categories"], first["is_unsafe"], first["num_raters"], first["label_method"]) == (
        ["terrifying"], True, 3, "majority",
    )  # fmt: skip
    assert first["votes"][2] == {"rater_id": "r3", "categories": [], "seconds": 7.0, "attention_check": True}  # on its copy
    assert first["soft_labels"]["terrifying"] == pytest.approx(2 / 3)
    assert first["vote_counts"] == {**dict.fromkeys(CATEGORIES, 0), "terrifying": 2, "none": 1}
    tie = found["b/clips/4.mp4"]
    assert (tie["tied"], tie["categories"], tie["is_unsafe"]) == (["political"], [], False)
    assert (found["a/clips/3.mp4"]["kept"], found["a/clips/3.mp4"]["reason"]) == (False, "no vote that counts")
    report = result.report
    left_out = {"contradiction": 1, "attention_check": 1, "too_fast": 1, "video_dropped": 2}
    assert report["answers_left_out"] == left_out
    assert report["answers"] == 11 == report["answers_kept"] + sum(left_out.values())
    assert (report["videos"], report["kept"], report["unsafe"], report["ties"]) == (4, 3, 1, 1)
    assert report["left_out"] == {"no vote that counts": 1}
    assert report["categories"]["terrifying"] == 1
    assert report["agreement"]["votes"] == report["answers_kept"]
    json.dumps(report, allow_nan=False)
    assert (folder / "left_out.csv").read_text().splitlines()[1] == "votes.csv,6,too_fast"
    assert "r1" not in (folder / "left_out.csv").read_text()
    assert (folder / "raters.csv").read_text().splitlines()[1] == "r1,4,0,0,0,3,"
    assert sorted(path.name for path in folder.iterdir()) == ["left_out.csv", "raters.csv"]


def test_the_order_of_rows_and_files_means_nothing(tmp_path: Path) -> None:
    header, *lines = VOTES.splitlines(keepends=True)
    for settings in ({}, {"method": "dawid_skene"}, {"tie": "positive", "min_agreement": 0.4, "agreement_level": 0.5}):
        before, _ = run(tmp_path, VOTES, **settings)
        for seed in range(3):
            random.Random(seed).shuffle(lines)
            files = {
                "b.csv": header + "".join(lines[:6]),
                "a.csv": "\ufeff" + (header + "".join(lines[6:])).replace("\n", "\r\n"),
            }
            after, _ = run(tmp_path, files, **settings)
            assert after.table.equals(before.table)
            assert after.report == before.report


def test_a_release_accepts_the_votes_and_gives_the_labels_again(tmp_path: Path) -> None:
    for method in ("majority", "dawid_skene"):
        result, _ = run(tmp_path, VOTES, method=method)
        kept = [row for row in result.table.to_pylist() if row["kept"]]
        votes = [{"video_id": row["video_id"], **vote} for row in kept for vote in row["votes"]]
        assert validate("annotation", [(None, vote) for vote in votes], file="") == []
        again = {row["video_id"]: row for row in aggregate(to_table("annotation", votes), method=method).to_pylist()}  # type: ignore[arg-type]
        for row in kept:
            assert row["categories"] == again[row["video_id"]]["categories"]
            assert row["label_method"] == method
            shares = {name: row["vote_counts"][name] / row["num_raters"] for name in CATEGORIES}
            assert row["soft_labels"] == pytest.approx(shares)  # whatever the method
            assert row["posterior"] == (again[row["video_id"]]["soft_labels"] if method == "dawid_skene" else None)


@pytest.mark.parametrize(("column", "names", "settings"), [
    ("video_id", [vid(1), vid(2)], {}), ("file", ["clips/1.mp4", "2.mp4"], {}),
    ("index", ["1", "2.0"], {"source": "a"}), ("item", ["a/clips/1.mp4", "a/clips/2.mp4"], {}),
])  # fmt: skip
def test_every_key_finds_its_video(tmp_path: Path, column: str, names: list[str], settings: dict[str, Any]) -> None:
    text = f"{column},rater_id,categories\n" + "".join(f"{name},r1,political\n" for name in names)
    found = rows(run(tmp_path, text, **settings)[0])
    assert [item for item, row in found.items() if row["kept"]] == ["a/clips/1.mp4", "a/clips/2.mp4"]


def test_all_faults_of_all_files_at_once(tmp_path: Path) -> None:
    files = {
        "one.csv": "index,rater_id,categories\n1,r1,none\n99,r1,none\n99,r2,none\n2,r1,gore\n",
        "two.csv": "item,rater_id,categories\na/clips/1.mp4,Zoë van Dijk,none\n",
    }
    with pytest.raises(FaultsError) as caught:
        run(tmp_path, files)
    text = str(caught.value)
    assert "one.csv:2 [index]: 2 videos are called '1' (1 answer); expected a name that only one has" in text
    assert "one.csv:3 [index]: no video '99' (2 answers)" in text
    assert "one.csv:5 [categories]: 'gore'" in text
    assert "two.csv:2 [rater_id]: no pseudonym" in text
    assert "Zoë" not in text
    with pytest.raises(FaultsError, match=r"no source 'c'; expected one of a, b"):
        run(tmp_path, VOTES, source="c")
    with pytest.raises(InputError, match="There is no file"):
        run(tmp_path, {}, files=["nowhere.csv"])


def test_ids_are_hashed_with_the_key_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEADER + "a/clips/1.mp4, Zoë van Dijk ,none,5,\na/clips/1.mp4,b@example.org,political,5,\n"
    monkeypatch.delenv("UNSAFE_VIDEO_RATER_KEY", raising=False)
    with pytest.raises(InputError, match="there is none"):
        run(tmp_path, text, rater_ids="keyed")
    monkeypatch.setenv("UNSAFE_VIDEO_RATER_KEY", KEY)
    result, folder = run(tmp_path, text, rater_ids="keyed")
    ids = [vote["rater_id"] for vote in rows(result)["a/clips/1.mp4"]["votes"]]
    assert all(len(one) == 13 and one[0] == "r" and int(one[1:], 16) >= 0 for one in ids)
    assert ids == sorted(ids)
    monkeypatch.delenv("UNSAFE_VIDEO_RATER_KEY")
    (tmp_path / "raters.key").write_text(KEY + "\n")
    (tmp_path / "raters.key").chmod(0o600)
    again, _ = run(tmp_path, text, rater_ids="keyed", key_file="raters.key")
    assert again.table.equals(result.table)
    written = "".join(path.read_text() for path in folder.iterdir()) + json.dumps(result.report) + str(result.table.to_pylist())
    assert not [secret for secret in ("Zoë", "example.org", KEY) if secret in written]
    settings = Settings(files=("votes.csv",), key_file="raters.key", check_videos="gold.csv")
    assert STAGE.files(settings, tmp_path) == [tmp_path / "votes.csv", tmp_path / "gold.csv"]


def test_thin_videos_are_left_out_with_their_votes(tmp_path: Path) -> None:
    result, _ = run(tmp_path, VOTES, min_raters=2)
    found = rows(result)
    assert found["a/clips/2.mp4"]["reason"] == "fewer than 2 votes"
    assert found["a/clips/2.mp4"]["num_raters"] == 1
    assert found["a/clips/2.mp4"]["votes"] is None
    assert result.report["answers_left_out"]["too_few_raters"] == 1
    assert result.report["answers"] == result.report["answers_kept"] + sum(result.report["answers_left_out"].values())


def test_videos_with_a_known_answer(tmp_path: Path) -> None:
    text = "video_id,rater_id,categories\n" + "".join(
        f"{vid(1)},{rater},political\nGOLD,{rater},{answer}\n" for rater, answer in (("r1", "terrifying"), ("r2", "none"))
    )
    (tmp_path / "gold.csv").write_text("video,categories\ngold,terrifying\n")
    result, _ = run(tmp_path, text, check_videos="gold.csv", failed_checks="rater")
    assert [vote["rater_id"] for vote in rows(result)["a/clips/1.mp4"]["votes"]] == ["r1"]
    assert result.report["answers_left_out"] == {"check_video": 2, "rater_attention": 1}
    (tmp_path / "gold.csv").write_text(f"video,categories\n{vid(1)},political\n{vid(1)},political\n,none\nx,gore\n")
    with pytest.raises(FaultsError) as caught:
        run(tmp_path, text, check_videos="gold.csv")
    assert [fault.line for fault in caught.value.faults if fault.file == "gold.csv"] == [3, 4, 5]


def test_a_survey_and_label_studio(tmp_path: Path) -> None:
    header = f"PID,Q_{vid(1)},Q_{vid(1)}_Page Submit,Q_{vid(2)},Colour\n"
    survey = header + '"x","Terrifying,5",7,None of these,blue\n"y",Terrifying,0.1,,blue\n"z",None of these,9,,red\n'
    codes = {"None of these": "none", "5": "political"}
    options: dict[str, Any] = {"codes": codes, "rater_column": "PID", "checks": {"Colour": "blue"}}
    result, _ = run(tmp_path, survey, format="wide", **options)
    assert rows(result)["a/clips/1.mp4"]["categories"] == ["terrifying", "political"]
    assert result.report["answers_left_out"] == {"attention_check": 1, "too_fast": 1}
    export = {"export.json": (STUDIO / "export.json").read_text()}
    result, _ = run(tmp_path, export, format="label_studio", codes=codes)
    assert {item: row["num_raters"] for item, row in rows(result).items()} == {
        "a/clips/1.mp4": 3, "a/clips/2.mp4": 1, "a/clips/3.mp4": 1, "b/clips/4.mp4": 1,
    }  # fmt: skip
    assert result.report["answers_left_out"] == {"skipped": 1, "no_choice": 1, "contradiction": 1}


def test_without_votes_the_labels_are_upstreams(tmp_path: Path) -> None:
    upstream = {1: ["political"], 7: ["terrifying"], 2: []}
    result, _ = run(tmp_path, {}, upstream=upstream)
    found = rows(result)
    assert (found["a/clips/1.mp4"]["categories"], found["a/clips/1.mp4"]["is_unsafe"]) == (["terrifying", "political"], True)
    assert (found["a/clips/2.mp4"]["categories"], found["a/clips/2.mp4"]["label_method"]) == ([], "upstream")
    assert [found["a/clips/2.mp4"][name] for name in ("votes", "vote_counts", "soft_labels", "agreement")] == [None] * 4
    assert (found["a/clips/3.mp4"]["kept"], found["a/clips/3.mp4"]["reason"]) == (False, "no label")
    assert (result.report["kept"], result.report["copies_labelled_otherwise"]) == (2, 1)
    with pytest.raises(InputError, match=r"\[votes\] files = "):
        run(tmp_path, {})


@pytest.mark.parametrize("text", [HEADER, HEADER + "a/clips/1.mp4,r1,none,0.1,pass\n"])
def test_no_answer_that_counts(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"No answer counts: (the files are empty|too_fast 1)"):
        run(tmp_path, text)


def test_one_rater_and_one_video(tmp_path: Path) -> None:
    for method in ("majority", "dawid_skene"):
        result, _ = run(tmp_path, HEADER + "a/clips/1.mp4,r1,political,5,pass\n", method=method)
        assert rows(result)["a/clips/1.mp4"]["categories"] == ["political"]
        assert result.report["agreement"]["raw"]["set"]["value"] is None


@pytest.mark.parametrize(("table", "field"), [
    ({"codes": {"1": "gore"}}, "codes"), ({"min_raters": 0}, "min_raters"), ({"smoothing": -1}, "smoothing"),
    ({"bootstrap": -1}, "bootstrap"), ({"checks": {"a": "b"}}, "checks"), ({"min_seconds": -1}, "min_seconds"),
    ({"unsafe": "two_raters"}, "unsafe"), ({"method": "mean"}, "method"),
])  # fmt: skip
def test_settings_that_can_not_be(table: dict[str, Any], field: str) -> None:
    faults: list[Fault] = []
    assert read_settings(Settings, table, file="recipe.toml", place="votes", faults=faults) is None
    assert [fault.field for fault in faults] == [f"votes.{field}"]


@pytest.mark.slow
def test_two_hundred_thousand_votes(tmp_path: Path) -> None:
    rng = random.Random(0)
    answers = [
        Answer(n, f"{n % 35_000:016x}", f"r{n // 35_000}_{rng.randrange(600)}", rng.choice([[], ["political"]]), 5.0, True)
        for n in range(200_000)
    ]
    found = control(answers, Settings(min_agreement=0.3))
    assert len(found.kept) + len(found.left_out) == 200_000
