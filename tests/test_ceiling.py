"""The human ceiling by hand: who is scored against whom, with which weight, and where there is none."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from test_protocol import toy

from unsafe_video_dataset.ceiling import Answers, human_ceiling, leave_one_out
from unsafe_video_dataset.estimates import make_design
from unsafe_video_dataset.evaluate import evaluate
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.scores import Ceiling
from unsafe_video_dataset.task import open_task
from unsafe_video_dataset.taxonomy import CATEGORIES


def votes(*answers: list[int]) -> list[dict[str, Any]]:
    return [{"rater_id": f"r{number}", "categories": answer} for number, answer in enumerate(answers)]


# Video 0: raters say [0], [0], []. Video 1: one rater. Video 2: no votes. Video 3: [1], [1, 2].
GIVEN = [votes([0], [0], []), votes([3]), None, votes([1], [1, 2])]


def ceiling(given: Any, scores: Any, *, target: str = "multilabel", groups: list[str] | None = None) -> tuple[Answers, Ceiling]:
    answers = leave_one_out(given, target=target)
    truth = np.zeros((len(given), len(CATEGORIES) if target != "binary" else 1), dtype=int)
    names = CATEGORIES if target != "binary" else ("unsafe",)
    groups = groups or [f"g{number}" for number in range(len(given))]
    design = make_design(truth, names, groups, bootstrap=100, seed=0, soft=target == "soft")
    return answers, human_ceiling(design, answers, np.asarray(scores, float), np.full(len(names), 0.5))


def test_each_rater_against_the_others() -> None:
    found = leave_one_out(GIVEN, target="multilabel")
    assert found.video.tolist() == [0, 0, 0, 3, 3]
    assert found.share.tolist() == [1 / 3] * 3 + [1 / 2] * 2
    assert found.answer[:, :3].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1]]
    # The others of video 0: {[0], []} tie at one half and are 'no'; {[0], [0]} say yes.
    assert found.label[:, :3].tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 0]]
    assert leave_one_out(GIVEN, target="multilabel", tie="positive").label[:2, 0].tolist() == [1, 1]
    assert leave_one_out(GIVEN, target="soft").label[:3, 0].tolist() == [0.5, 0.5, 1]
    assert leave_one_out(GIVEN, target="binary").answer[:, 0].tolist() == [1, 1, 0, 1, 1]
    assert leave_one_out(GIVEN, target="binary").label[:, 0].tolist() == [0, 0, 1, 1, 1]


def test_the_order_of_votes_changes_nothing() -> None:
    shuffled = [random.Random(0).sample(one, len(one)) if one else one for one in GIVEN]
    first, second = (leave_one_out(given, target="multilabel") for given in (GIVEN, shuffled))
    assert first.rater == second.rater
    assert (first.answer == second.answer).all()
    assert (first.label == second.label).all()


def test_f1_by_hand_matched_in_n() -> None:
    found, made = ceiling(GIVEN, np.zeros((4, 5)))
    assert (made.n, made.answers, made.raters) == (2, 5, 3)
    rows = {row.name: row for row in made.human}
    # Category 1 (terrifying): video 3, both say yes and both labels are yes: TP 1 of weight; video 0 all no.
    assert rows["terrifying"].f1.value == 1
    # Category 0: video 0: two false alarms and one miss: F1 0. Category 2: one of two each: TP 0.
    assert rows["distorted_weird"].f1.value == 0
    assert rows["pornographic"].f1.value == 0
    assert rows["terrifying"].n == 2
    assert rows["micro"].n == 10
    # Micro with scikit-learn: the five answers, weights 1/3 and 1/2.
    flat = found.label.ravel(), found.answer.ravel()
    expected = f1_score(*flat, sample_weight=np.repeat(found.share, 5))
    assert rows["micro"].f1.value == pytest.approx(expected)
    assert {row.positives for row in made.human} == {None}


def test_what_a_yes_or_no_can_not_have() -> None:
    _, made = ceiling(GIVEN, np.full((4, 5), 0.3))
    assert all(row.metrics["tpr_at_5_fpr"].value is None for row in made.human)
    assert "one operating point" in str(made.human[0].metrics["tpr_at_5_fpr"].reason)
    _, soft = ceiling(GIVEN, np.full((4, 5), 0.3), target="soft")
    row = soft.human[0]
    assert row.metrics["cross_entropy"].value is None
    assert "no finite" in str(row.metrics["cross_entropy"].reason)
    # Category 0: answers 1 1 0 against .5 .5 1 (a third each), and 0 0 against 0 0: Brier (.25 + .25 + 1) / 3 / 2.
    assert row.metrics["brier"].value == pytest.approx(1.5 / 3 / 2)
    assert soft.model[0].metrics["cross_entropy"].value is not None
    assert soft.differences[0].metrics["cross_entropy"].value is None
    assert soft.differences[0].metrics["brier"].value is not None


def test_the_model_is_scored_against_the_same_labels() -> None:
    found, made = ceiling(GIVEN, np.zeros((4, 5)))
    scores = np.zeros((4, 5))
    for video, answer in zip(found.video, found.answer, strict=True):
        scores[video] = np.maximum(scores[video], answer)
    _, again = ceiling(GIVEN, scores)
    assert made.human == again.human  # does not depend on the model
    assert made.model != again.model
    by_name = {row.name: row for row in again.model}
    assert by_name["terrifying"].f1.value == 1
    gap = {row.name: row for row in again.differences}["terrifying"].f1
    assert gap.value == 0


def test_copies_of_a_rater_do_not_count_a_video_twice() -> None:
    # Video 0 with many raters weighs as much as video 1 with two.
    few = [votes([0], [0]), votes([0], []), votes([], [])]
    many = [votes(*[[0]] * 9), votes([0], []), votes([], [])]
    first, second = (ceiling(given, np.zeros((3, 5)))[1].human[0].f1.value for given in (few, many))
    assert first == pytest.approx(second)


@pytest.mark.parametrize("given", [[None, None], [votes([0]), votes([1])], [[], None]])
def test_without_two_votes_there_is_none_and_it_says_so(given: Any) -> None:
    _, made = ceiling(given, np.zeros((2, 5)))
    assert made.human == made.model == made.differences == ()
    assert "no video of the split has two votes" in str(made.reason)


def test_one_group_has_no_interval() -> None:
    _, made = ceiling(GIVEN, np.zeros((4, 5)), groups=["g"] * 4)
    row = {row.name: row for row in made.human}["terrifying"]
    assert row.f1.value == 1
    assert "one group" in str(row.f1.reason)


def test_a_part_of_the_answers_is_that_of_its_videos_alone() -> None:
    whole = leave_one_out(GIVEN, target="multilabel")
    mask = np.array([False, True, True, True])
    part, alone = whole.part(mask), leave_one_out(GIVEN[1:], target="multilabel")
    assert part.video.tolist() == alone.video.tolist() == [2, 2]
    assert part.rater == alone.rater
    for name in ("answer", "label", "share"):
        assert (getattr(part, name) == getattr(alone, name)).all()


@pytest.mark.parametrize("target", ["multilabel", "binary", "soft"])
def test_each_slice_of_a_report_has_the_ceiling_of_its_videos(target: Any) -> None:
    sample = Release.open("sample")
    config: Any = "unsafe" if target == "multilabel" else "reviewed"
    report = evaluate(toy(sample, unsafe=config == "unsafe"), sample, config=config, target=target, bootstrap=0)
    task = open_task(sample, config=config, target=target)
    assert report.slices
    for part in report.slices:
        kept = [row for row, value in zip(task.rows, task.values(part.by), strict=True) if value == part.value]
        expected = leave_one_out([row["votes"] for row in kept], target=target, tie=task.tie)
        assert part.ceiling.answers == len(expected.video)
        name = "brier" if target == "soft" else "f1"
        if target == "soft":
            want = float((expected.share @ ((expected.answer - expected.label) ** 2)).mean() / expected.share.sum())
        else:
            weight = np.repeat(expected.share, expected.label.shape[1])
            want = f1_score(expected.label.ravel(), expected.answer.ravel(), sample_weight=weight)
        assert part.ceiling.human[-1].metrics[name].value == pytest.approx(want)
    assert f"human {'Brier' if target == 'soft' else 'F1'} [95%]" in report.to_markdown()


def test_a_slice_without_votes_says_why(unvoted: Path) -> None:
    release = Release.open(unvoted)
    report = evaluate(toy(release), release, bootstrap=0)
    assert report.slices
    assert all(part.ceiling.human == () for part in report.slices)
    assert {part.ceiling.reason for part in report.slices if part.by == "generator"} == {
        f"no video of generator {part.value} has two votes, so there is no human to compare with"
        for part in report.slices
        if part.by == "generator"
    }
