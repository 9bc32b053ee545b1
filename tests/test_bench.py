"""`unsafe-video bench`: ratios from a fixed table, a run on four generated clips, missing and broken loaders, interrupts."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("av")
pytest.importorskip("psutil")

from unsafe_video_dataset.bench import BenchSettings, opening, process, run
from unsafe_video_dataset.bench import clips as bench_clips
from unsafe_video_dataset.bench import peers as bench_peers
from unsafe_video_dataset.bench.clips import copy_of, describe, generate_clips, source_clips
from unsafe_video_dataset.bench.report import fill, sections, to_text
from unsafe_video_dataset.bench.run import order
from unsafe_video_dataset.bench.summary import best_peer, slope, summarize, t_quantile
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.cli_bench import parse_workers, write
from unsafe_video_dataset.errors import FilterError, InputError
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import decode_frames

ROOT = Path(__file__).resolve().parents[1]
SMALL = BenchSettings(
    peers=("ours-fill", "ours-cache", "pyav", "limit", "memory"),
    workers=(0,),
    generated=4,
    generated_size=64,
    copies=1,
    rounds=1,
    size=32,
    batch_size=2,
    profile_clips=2,
    epochs=2,
    epoch_clips=2,
)

# -- arithmetic


def one(peer: str, number: int, *, seconds: float, cpu: float, workers: int = 0, peak: int = 100) -> dict[str, Any]:
    figures = {"clips": 10, "seconds": seconds, "cpu_seconds": cpu, "first_batch_seconds": 0.5, "peak_bytes": peak}
    return {"peer": peer, "workers": workers, "round": number, **figures}


KINDS = {"ours": "ours", "a": "peer", "b": "peer", "limit": "limit", "memory": "memory"}
RUNS = [
    *(one("ours", number, seconds=1 * slow, cpu=0.6 * slow) for number, slow in enumerate((1, 2, 4))),
    *(one("a", number, seconds=2 * slow, cpu=0.9 * slow, peak=80) for number, slow in enumerate((1, 2, 4))),
    *(one("b", number, seconds=4 * slow, cpu=0.8 * slow) for number, slow in enumerate((1, 2, 4))),
    *(one("limit", number, seconds=0.5 * slow, cpu=0.5 * slow) for number, slow in enumerate((1, 2, 4))),
    one("memory", 0, seconds=0.01, cpu=0.01),
]


def row(rows: list[dict[str, Any]], peer: str) -> dict[str, Any]:
    return next(one for one in rows if one["peer"] == peer)


def test_ratios_come_from_within_a_round_whatever_the_machine_does_between_rounds() -> None:
    rows = summarize(RUNS, KINDS)
    assert [one["peer"] for one in rows] == list(KINDS)
    ours = row(rows, "ours")
    assert ours["rounds"] == 3
    assert ours["clips_per_second"]["median"] == 5.0  # of 10, 5, 2.5
    assert (ours["clips_per_second"]["low"], ours["clips_per_second"]["high"]) == (3.75, 7.5)
    assert ours["clips_per_second"]["best_peer"] == "a"
    assert ours["clips_per_second"]["to_best_peer"] == pytest.approx(2.0)
    assert ours["cpu_ms_a_clip"]["median"] == pytest.approx(120.0)
    assert ours["cpu_ms_a_clip"]["best_peer"] == "b"
    assert ours["cpu_ms_a_clip"]["to_best_peer"] == pytest.approx(0.75)
    assert ours["cpu_ms_a_clip"]["to_limit"] == pytest.approx(1.2)
    assert ours["peak_bytes"]["to_best_peer"] == pytest.approx(1.25)
    assert ours["clips_per_second"]["to_memory"] == pytest.approx(0.01)  # round 0 alone has both
    assert row(rows, "limit")["cpu_ms_a_clip"]["to_limit"] == 1.0


def test_the_best_peer_is_neither_ours_nor_a_limit_and_may_be_missing() -> None:
    alone = [run for run in RUNS if run["peer"] in ("ours", "limit")]
    found = row(summarize(alone, KINDS), "ours")["clips_per_second"]
    assert found["best_peer"] is None
    assert found["to_best_peer"] is None
    assert best_peer({}, KINDS, "clips_per_second", more=True) is None


def test_numbers_of_workers_are_compared_among_themselves() -> None:
    rows = summarize([*RUNS, one("ours", 0, seconds=1, cpu=1, workers=2), one("b", 0, seconds=3, cpu=1, workers=2)], KINDS)
    two = next(row for row in rows if row["workers"] == 2 and row["peer"] == "ours")
    assert two["clips_per_second"]["best_peer"] == "b"
    assert two["clips_per_second"]["to_best_peer"] == pytest.approx(3.0)
    assert two["cpu_ms_a_clip"]["to_limit"] is None


def test_slope_and_its_interval_by_hand() -> None:
    found = slope([9, 9, 1, 2, 3, 5], skip=2)
    assert found is not None
    # 1, 2, 3, 5 over -1.5 … 1.5: slope 6.5 / 5; squares of the residuals 0.3, so error sqrt(0.15 / 5)
    assert found["slope"] == pytest.approx(1.3)
    assert found["high"] - found["slope"] == pytest.approx(4.303 * 0.03**0.5)
    assert slope([1, 2, 3]) is None


@pytest.mark.parametrize(("degrees", "quantile"), [(2, 4.303), (5, 2.571), (10, 2.228), (15, 2.131), (30, 2.042)])
def test_quantile_of_t_against_the_printed_table(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, rel=0.002)


def test_the_order_is_every_cell_once_anew_each_round_and_from_the_seed() -> None:
    first = order(["a", "b", "c"], (0, 2), seed=1, number=0)
    assert sorted(first) == [(name, workers) for name in "abc" for workers in (0, 2)]
    assert first == order(["a", "b", "c"], (0, 2), seed=1, number=0)
    assert len({tuple(order(["a", "b", "c"], (0, 2), seed=1, number=number)) for number in range(5)}) > 1


# -- clips


def test_generated_clips_are_the_same_again_and_a_copy_has_the_same_frames() -> None:
    made = generate_clips(4, size=64, seed=3)
    assert made == generate_clips(4, size=64, seed=3)
    assert len(set(made)) == 4
    assert sorted({inspect_mp4(data).num_frames for data in made}) == [16, 48]
    copy = copy_of(made[0], 2)
    assert copy != made[0]
    assert copy_of(made[0], 0) == made[0]
    assert np.array_equal(decode_frames(copy), decode_frames(made[0]))
    assert describe(made)["videos"] == 4
    assert describe(made)["sizes"] == ["64x64"]


def test_a_folder_that_is_none_or_empty_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        source_clips(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no \*\.mp4"):
        source_clips(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"#EXTM3U\nhttp://example.org/a.ts\n")
    with pytest.raises(InputError, match=r"a\.mp4 can't be used"):
        source_clips(tmp_path)


def test_clips_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    made = generate_clips(3, size=32, seed=0)
    for name, data in zip(("2", "10", "0"), made, strict=True):
        (tmp_path / f"{name}.mp4").write_bytes(data)
    assert source_clips(tmp_path) == [made[2], made[0], made[1]]


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    (clip,) = generate_clips(1, size=32, seed=0)
    with pytest.raises(InputError, match="same file twice"):
        bench_clips.write_layout(tmp_path / "layout", [clip, clip])


# -- settings and flags


def test_settings_that_make_no_sense_are_refused_all_at_once() -> None:
    with pytest.raises(InputError, match=r"rounds=0.*seed"):
        BenchSettings(rounds=0, seed=-1)
    with pytest.raises(InputError, match="workers"):
        BenchSettings(workers=())


@pytest.mark.parametrize("text", ["", "two", "-1", "0,0", "0,,2"])
def test_workers_that_are_no_numbers(text: str) -> None:
    with pytest.raises(InputError, match="--workers"):
        parse_workers(text)


def test_workers_as_numbers() -> None:
    assert parse_workers("0, 2") == (0, 2)


def test_an_unknown_loader_is_refused_before_anything_runs() -> None:
    with pytest.raises(FilterError, match="webdataset"):
        run(replace(SMALL, peers=("ours", "nothing")), progress=False)


def test_every_peer_has_a_sentence_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(bench_peers.importlib, "import_module", gone)
    monkeypatch.setattr(bench_peers, "status", lambda module: f"{module} is not installed.")
    for peer in bench_peers.PEERS.values():
        said = peer.missing()
        assert said is not None
        assert said.startswith(f"{peer.title} is left out: ")
        assert "is not installed; run: pip install" in said
        assert said.endswith(".")


# -- a run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `unsafe-video bench --fast` writes for four small clips, two loaders and a limit; webdataset is made missing."""
    folder = tmp_path_factory.mktemp("bench")
    clips = folder / "clips"
    clips.mkdir()
    for index, data in enumerate(generate_clips(4, size=64, seed=0)):
        (clips / f"{index}.mp4").write_bytes(data)
    hidden = replace(bench_peers.PEERS["webdataset"], modules=("surely_not_there",))
    flags = ["--fast", "--clips", str(clips), "--peers", "ours,pyav,limit,webdataset", "--out", str(folder / "out"), "--json"]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setitem(bench_peers.PEERS, "webdataset", hidden)
        assert main(["bench", *flags]) == 0
    assert json.loads(printed.getvalue()) == json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))
    return folder / "out"


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return found


def check_runs(result: dict[str, Any], names: list[str], pixels: int) -> None:
    assert sorted(one["peer"] for one in result["runs"]) == sorted(names)
    assert [row["peer"] for row in result["summary"]] == names
    keys = {"peer", "workers", "round", "clips", "seconds", "cpu_seconds", "first_batch_seconds", "peak_bytes", "shapes"}
    for found in result["runs"]:
        assert set(found) == keys
        assert found["clips"] % 4 == 0
        assert min(found["seconds"], found["cpu_seconds"], found["peak_bytes"]) > 0
        assert found["shapes"] == (["uint8 [1]"] if found["peer"] == "limit" else [f"uint8 [16, 3, {pixels}, {pixels}]"])
    assert result["failed"] == {}
    assert row(result["summary"], "limit")["cpu_ms_a_clip"]["to_limit"] == 1.0


def test_a_fast_run_measures_what_is_there_and_says_what_to_install_for_the_rest(result: dict[str, Any]) -> None:
    check_runs(result, ["ours", "pyav", "limit"], 224)
    assert list(result["missing"]) == ["webdataset"]
    assert (
        "surely_not_there is not installed; run: pip install 'unsafe-video-dataset[bench]'." in result["missing"]["webdataset"]
    )
    assert result["clips"]["videos"] == result["clips"]["files"] == 4
    assert result["clips"]["given"] is True
    assert result["schema"] == 1


def test_clips_of_all_loaders_are_compared(result: dict[str, Any]) -> None:
    agreement = result["agreement"]
    assert set(agreement) == {"ours", "pyav"}
    assert agreement["ours"] == {"clips": 4, "same_shape_and_dtype": True, "max": 0, "mean": 0.0}
    assert agreement["pyav"]["same_shape_and_dtype"]
    assert 0 < agreement["pyav"]["mean"] < 20  # another filter, the same frames


def test_the_other_measurements(result: dict[str, Any]) -> None:
    steps = result["profile"]["cpu_ms"]
    assert set(steps) == {"read", "check", "libav", "frames", "batch", "convert", "rest"}
    parts = sum(steps[name]["median"] for name in ("read", "check", "libav", "convert", "rest"))
    assert parts == pytest.approx(steps["batch"]["median"])  # one batch, so medians add up
    assert len(result["epochs"]["bytes"]) == 4
    assert result["epochs"]["slope"] is None
    assert result["opening"] is None


@pytest.mark.slow
def test_the_cache_and_its_limit_over_two_rounds_with_workers() -> None:
    result = run(replace(SMALL, workers=(2,), rounds=2), progress=False)
    names = ["ours-fill", "ours-cache", "pyav", "limit", "memory"]
    check_runs({**result, "runs": result["runs"][: len(names)]}, names, 32)
    assert [one["round"] for one in result["runs"]] == [0] * 5 + [1] * 5
    assert {name: one["max"] for name, one in result["agreement"].items() if name != "pyav"} == {
        "ours-fill": 0,
        "ours-cache": 0,
    }
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_nothing_in_a_result_names_the_machine(result: dict[str, Any]) -> None:
    text = json.dumps(result)
    assert os.uname().nodename not in text
    assert "/tmp" not in text
    assert str(Path.home()) not in text


def test_text_and_page_follow_from_the_result(result: dict[str, Any], out: Path, tmp_path: Path) -> None:
    assert "this package, first epoch" in to_text(result)
    assert to_text(result) == to_text(json.loads(json.dumps(result)))
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name, text in sections(result).items():
        page = fill(page, name, text)  # every part has its place, once
    assert "| torch Dataset, PyAV |" in page
    with pytest.raises(ValueError, match="once each"):
        fill(page, "nothing", "x")
    written = write(result, tmp_path / "out")
    assert {path.name for path in written} >= {"result.json", "tables.md"}
    assert {path.name: path.read_bytes() for path in written} == {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8")) == result


@pytest.mark.slow
def test_a_loader_that_breaks_is_listed_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.run_job

    def breaking(job: dict[str, Any], folder: Path, **more: Any) -> dict[str, Any]:
        return real(job | {"batch_size": -1} if job.get("peer") == "pyav" else job, folder, **more)

    monkeypatch.setattr(sys.modules["unsafe_video_dataset.bench.run"], "run_job", breaking)
    found = run(replace(SMALL, peers=("pyav", "limit")), progress=False)
    assert list(found["failed"]) == ["pyav"]
    assert found["failed"]["pyav"].startswith("torch Dataset, PyAV failed: ValueError")
    assert [row["peer"] for row in found["summary"]] == ["limit"]
    assert "failed" in to_text(found)


def test_a_measurement_that_does_not_end_is_stopped_and_listed() -> None:
    settings = replace(SMALL, peers=("pyav", "limit"), job_seconds=1.0, workers=(0,))
    found = run(settings, progress=False)  # importing torch takes longer
    assert {"pyav", "limit", "stages", "epochs"} <= found["failed"].keys()
    assert "had not ended after 1 s" in found["failed"]["pyav"]
    assert found["runs"] == []


def test_a_folder_that_can_not_be_written_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unsafe_video_dataset.bench.run", lambda *given, **more: pytest.fail("it ran"))
    file = tmp_path / "file"
    file.write_text("x", encoding="utf-8")
    for out in (file, file / "below"):
        assert main(["bench", "--fast", "--out", str(out)]) == 2
        assert "--out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_measured_is_printed_though_it_can_not_be_written(
    result: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unsafe_video_dataset.bench.run", lambda *given, **more: result)
    monkeypatch.setattr("unsafe_video_dataset.cli_bench.write", full)
    assert main(["bench", "--fast", "--out", str(tmp_path / "out"), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == result
    assert "No space left" in printed.err


@pytest.mark.parametrize("names", [",", "", " , "])
def test_no_loader_at_all_is_refused(names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--fast", "--peers", names]) == 2
    assert "peers" in capsys.readouterr().err


def test_flags_that_can_not_be_used_end_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "--workers", "many"]) == 2
    assert main(["bench", "--fast", "--peers", "ours", "--clips", str(tmp_path / "none")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_an_interrupted_run_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    code = "import sys; from unsafe_video_dataset.cli import main; sys.exit(main(sys.argv[1:]))"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-c", code, "bench", "--fast", "--peers", "pyav", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(temporary.glob("unsafe-video-bench-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(temporary.glob("unsafe-video-bench-*")), "it has not begun"
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 130
    assert list(temporary.glob("unsafe-video-bench-*")) == []
    assert not (tmp_path / "out").exists()


def test_an_interrupt_ends_the_measuring_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    class Interrupted(real):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            started.append(self)

        def communicate(self, *given: Any, **more: Any) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(process.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.run_job({"task": "prepare", "peer": "pyav", "layouts": []}, tmp_path)
    assert started[0].returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


# -- opening


def test_opening_is_combined_by_medians_and_ratios_within_a_round() -> None:
    def figures(seconds: float) -> dict[str, Any]:
        return {"seconds": seconds, "cpu_seconds": seconds, "added_bytes": 10, "rows": 7}

    def filters(seconds: float, rows: int = 3) -> dict[str, Any]:
        return {"filters": {name: {"rows": rows, "seconds": seconds, "cpu_seconds": seconds / 2} for name in opening.FILTERS}}

    rounds: list[Any] = [
        {
            "open": figures(1),
            "dataset": figures(slow),
            "ours": filters(slow),
            "duckdb": filters(2 * slow),
            "pyarrow": filters(9),
        }
        for slow in (1, 3, 2)
    ]
    found = opening.combine(rounds)
    assert found["rows"] == 7
    assert found["dataset"]["seconds"]["median"] == 2
    assert found["filters"][0]["ratio"]["median"] == 0.5
    assert found["filters"][0]["pyarrow"]["median"] == 9
    assert found["filters"][0]["cpu"]["ours"]["median"] == 1
    assert found["filters"][0]["cpu"]["ratio"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    without = opening.combine([{key: value for key, value in one.items() if key != "duckdb"} for one in rounds])
    assert without["filters"][0]["duckdb"] is None
    assert without["filters"][0]["ratio"] is None
    rounds[0]["duckdb"] = filters(1, rows=4)
    with pytest.raises(ValueError, match=r"gives \[3, 4\] rows"):
        opening.combine(rounds)


def test_the_filters_find_what_duckdb_finds_on_the_sample() -> None:
    pytest.importorskip("duckdb")
    from unsafe_video_dataset.release import locate

    job = {"release": str(locate("sample"))}
    mine, theirs = (opening.measure(job | {"part": part})["filters"] for part in ("ours", "duckdb"))
    assert {name: one["rows"] for name, one in mine.items()} == {name: one["rows"] for name, one in theirs.items()}
    assert all(one["rows"] for one in mine.values())


def test_the_columns_of_a_filter_are_read_alone() -> None:
    from unsafe_video_dataset.release import locate

    found = opening.measure({"release": str(locate("sample")), "part": "pyarrow"})["filters"]
    assert {one["rows"] for one in found.values()} == {96}


# -- the page


@pytest.fixture(scope="module")
def driver() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_loaders", ROOT / "benchmarks" / "loaders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(result: dict[str, Any], folder: Path) -> list[str]:
    """The page and a result in a folder; the driver's flags to write the page from it."""
    (folder / "benchmarks.md").write_bytes((ROOT / "docs" / "benchmarks.md").read_bytes())
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return [str(folder / "out"), "--from-json", str(folder / "result.json"), "--page", str(folder / "benchmarks.md")]


def test_the_page_is_what_the_driver_writes_and_its_figures_are_there(
    result: dict[str, Any], driver: Any, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    flags = copied({**result, "rounds": 3}, tmp_path)
    assert driver.main(flags) == 0
    first = {path.name: path.read_bytes() for path in tmp_path.glob("benchmarks*")}
    assert set(first) == {"benchmarks.md", "benchmarks.json", "benchmarks-loaders.png", "benchmarks-loaders.svg"}
    assert driver.main(flags) == 0
    assert first == {path.name: path.read_bytes() for path in tmp_path.glob("benchmarks*")}
    for name in ("benchmarks-loaders.png", "benchmarks-loaders.svg"):
        assert (ROOT / "docs" / name).is_file()


def test_a_page_of_fewer_than_three_rounds_is_refused(
    result: dict[str, Any], driver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (ROOT / "docs" / "benchmarks.md").read_bytes()
    assert driver.main(copied({**result, "rounds": 2}, tmp_path)) == 2
    assert "quartiles" in capsys.readouterr().err
    assert (tmp_path / "benchmarks.md").read_bytes() == before
    monkeypatch.setattr(driver, "run", lambda *given, **more: pytest.fail("it ran"))
    for flags in (["--rounds", "2"], ["--fast"]):
        assert driver.main([str(tmp_path / "out"), "--rows", "0", *flags, "--page", str(tmp_path / "benchmarks.md")]) == 2


def test_the_page_and_its_tables_are_those_of_the_result_beside_it(driver: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, kept = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json"
    result = json.loads(kept.read_text(encoding="utf-8"))
    assert result["rounds"] >= 3
    assert driver.main(copied(result, tmp_path)) == 0
    assert (tmp_path / "benchmarks.md").read_bytes() == page.read_bytes()
    assert (tmp_path / "benchmarks.json").read_bytes() == kept.read_bytes()
    kinds = {name: peer["kind"] for name, peer in result["peers"].items()}
    assert summarize(result["runs"], kinds) == result["summary"]
    assert str(Path.home()) not in kept.read_text(encoding="utf-8")
