"""Predictions on the page: scores that keep their side of a threshold, curves of `evaluate`'s numbers, faults at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import releases
from report_support import predict

from unsafe_video_dataset import evaluate, write_predictions
from unsafe_video_dataset.errors import FaultsError, InputError
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report.models import BOOTSTRAP, SEED, _units, curve_sets, read_models, score_script
from unsafe_video_dataset.report.rows import read_rows
from unsafe_video_dataset.taxonomy import CATEGORIES


def test_scores_stay_on_their_side_of_a_threshold() -> None:
    for hundredth in range(101):
        threshold = hundredth / 100
        assert _units(threshold) == 100 * hundredth
        assert _units(threshold + 1e-9) >= 100 * hundredth
        if hundredth:
            assert _units(threshold - 1e-9) < 100 * hundredth
    assert _units(1e-7) == 0
    assert _units(None) == -1


def test_scores_by_row(small: Path, tmp_path: Path) -> None:
    release = Release.open(small)
    rows = read_rows(release)
    (model,) = read_models([predict(release, tmp_path / "a.jsonl", unsafe_score=0.75)], rows)
    match = re.fullmatch(r"UnsafeVideoReport\.scores\(3,(.*)\);\n", score_script(3, model, rows))
    assert match
    found = json.loads(match[1])
    assert [rows.ids[place] for place in found["rows"]] == releases.ids(release, "test", is_unsafe=True)
    for number, place in enumerate(found["rows"]):
        wanted = model.records[rows.ids[place]]["scores"]
        assert found["scores"][5 * number : 5 * number + 5] == [_units(wanted[name]) for name in CATEGORIES]
    assert set(found["unsafe"]) == {7500}


@pytest.mark.parametrize(("unsafe_only", "config"), [(True, "unsafe"), (False, "reviewed")])
def test_curves_and_metrics_are_those_of_evaluate(small: Path, tmp_path: Path, unsafe_only: bool, config: str) -> None:
    release = Release.open(small)
    rows = read_rows(release)
    files = [predict(release, tmp_path / f"{n}.jsonl", unsafe_only=unsafe_only, flip=n, unsafe_score=0.5) for n in (3, 4)]
    found = curve_sets(release, read_models(files, rows))
    assert (found[0].config, found[0].target) == (config, "multilabel")
    assert len(found) == (1 if unsafe_only else 2)  # only 'reviewed' has videos that are not unsafe
    for (name, mine), file in zip(found[0].metrics, files, strict=True):
        assert name == file.stem
        report = evaluate(file, release, config=config, split="test", bootstrap=BOOTSTRAP, seed=SEED)  # type: ignore[arg-type]
        assert mine == report.rows
    assert [panel.title for panel in found[0].roc][1] == "Terrifying"
    assert all(len(panel.lines) in (0, 2) for panel in found[0].roc)


def test_part_of_a_split_has_scores_and_no_curves(small: Path, tmp_path: Path) -> None:
    release = Release.open(small)
    records = [{"video_id": video_id, "unsafe_score": 0.5} for video_id in releases.ids(release, "test")[:2]]
    write_predictions(tmp_path / "few.jsonl", records)
    models = read_models([tmp_path / "few.jsonl"], read_rows(release))
    assert models[0].task is None
    assert curve_sets(release, models) == []


def test_every_file_with_strange_videos_is_named(small: Path, tmp_path: Path) -> None:
    files = []
    for name in "ab":
        files.append(tmp_path / f"{name}.jsonl")
        write_predictions(files[-1], [{"video_id": "0" * 15 + name, "unsafe_score": 0.5}])
    with pytest.raises(FaultsError) as caught:
        read_models(files, read_rows(Release.open(small)))
    assert len(caught.value.faults) == 2
    assert "000000000000000a" in str(caught.value)


def test_names_of_models(small: Path, tmp_path: Path) -> None:
    rows = read_rows(Release.open(small))
    one = predict(small, tmp_path / "a.jsonl")
    (tmp_path / "b").mkdir()
    same = predict(small, tmp_path / "b" / "a.jsonl")
    assert [model.name for model in read_models([one, same], rows)] == [f"{tmp_path.name}/a", "b/a"]
    typed = predict(small, tmp_path / "a.json")
    assert [model.name for model in read_models([one, typed], rows)] == ["a.jsonl", "a.json"]
    with pytest.raises(InputError, match="twice"):
        read_models([one, one], rows)


def test_a_file_without_predictions_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(FaultsError, match=r"empty\.jsonl: no predictions"):
        read_models([tmp_path / "empty.jsonl"], read_rows(Release.open(small)))
