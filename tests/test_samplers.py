"""Samplers: coverage, how often rare categories come, groups, seeds, ranks, and states that fit or are refused."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

torch = pytest.importorskip("torch")

from unsafe_video_dataset import BalancedSampler, GroupSampler, ShuffleSampler, UnsafeVideoDataset, orders  # noqa: E402
from unsafe_video_dataset.columns import Texts  # noqa: E402
from unsafe_video_dataset.errors import FilterError, InputError  # noqa: E402

MAKERS: dict[str, Callable[..., Any]] = {
    "shuffle": ShuffleSampler,
    "balanced": BalancedSampler,
    "apart": lambda dataset, **options: GroupSampler(dataset, spread="apart", **options),
    "together": lambda dataset, **options: GroupSampler(dataset, spread="together", **options),
    "one": lambda dataset, **options: GroupSampler(dataset, spread="one", **options),
}
every = pytest.mark.parametrize("make", list(MAKERS.values()), ids=list(MAKERS))


@pytest.fixture(scope="module")
def dataset(small: Path) -> UnsafeVideoDataset:
    return UnsafeVideoDataset(small, config="reviewed", split=None)


def ids(dataset: UnsafeVideoDataset, sampler: Any) -> list[str]:
    return [dataset.video_ids[index] for index in sampler]


# -- all of them


@every
def test_an_order_follows_from_seed_and_epoch_and_not_from_rows(small: Path, dataset: Any, make: Any) -> None:
    first = ids(dataset, make(dataset))
    assert ids(dataset, make(dataset)) == first
    assert len(make(dataset)) == len(first)
    assert ids(dataset, make(dataset, seed=1)) != first
    later = make(dataset)
    later.set_epoch(1)
    assert ids(dataset, later) != first
    turned = UnsafeVideoDataset(small, config="reviewed", split=None)
    turned.video_ids, turned.group_ids = list(turned.video_ids)[::-1], list(turned.group_ids)[::-1]
    turned.targets = turned.targets.flip(0)
    assert ids(turned, make(turned)) == first
    assert ids(dataset, pickle.loads(pickle.dumps(make(dataset)))) == first


@every
@pytest.mark.parametrize("replicas", [2, 5, 40])
def test_ranks_share_one_list(dataset: Any, make: Any, replicas: int) -> None:
    whole = list(make(dataset))
    parts = [list(make(dataset, num_replicas=replicas, rank=rank)) for rank in range(replicas)]
    assert [len(part) for part in parts] == [len(make(dataset, num_replicas=replicas, rank=r)) for r in range(replicas)]
    assert [index for step in range(len(parts[0])) for part in parts for index in part[step : step + 1]] == whole
    padded = [make(dataset, num_replicas=replicas, rank=rank, uneven="pad") for rank in range(replicas)]
    lengths = {len(list(sampler)) for sampler in padded}
    assert lengths == {len(padded[0])} == {-(-len(whole) // replicas)}
    real = [index for sampler in padded for index in list(sampler)[: len(sampler) - sampler.padded]]
    assert Counter(real) == Counter(whole)


@every
@pytest.mark.parametrize("then", [1, 2, 7])
def test_a_run_goes_on_with_other_numbers_of_processes(dataset: Any, make: Any, then: int) -> None:
    started = make(dataset, num_replicas=3, rank=1)
    started.set_epoch(4)
    whole = started.order().tolist()
    state = json.loads(json.dumps(started.at(6)))
    rest: list[list[int]] = []
    for rank in range(then):
        sampler = make(dataset, num_replicas=then, rank=rank)
        sampler.load_state_dict(state)
        sampler.set_epoch(4)  # as a loop does; the loaded epoch goes on
        rest.append(list(sampler))
    assert [index for step in range(len(rest[0])) for part in rest for index in part[step : step + 1]] == whole[6:]
    sampler.set_epoch(5)
    assert sampler.start == 0


@every
def test_a_state_holds_for_one_pass(dataset: Any, make: Any) -> None:
    sampler = make(dataset)
    whole = list(sampler)
    first = [index for index, _ in zip(sampler, range(5), strict=False)]
    again = make(dataset)
    again.load_state_dict(sampler.state_dict())
    assert again.state_dict() == sampler.state_dict()
    taken = sampler.state_dict()["taken"]
    assert taken in (5, 6)  # zip asks for one more before it stops
    assert len(again) == len(whole) - taken
    assert whole[:5] == first
    assert list(again) == whole[taken:]
    assert list(again) == whole
    assert again.state_dict()["taken"] == len(whole)


def test_a_state_of_another_run_is_refused(small: Path, dataset: Any, tmp_path: Path) -> None:
    state = ShuffleSampler(dataset).state_dict()
    other = UnsafeVideoDataset(releases.build(tmp_path / "other", 16, seed=9), config="reviewed", split=None)
    some = UnsafeVideoDataset(small, config="reviewed", split="train")
    for wrong, words in (
        (ShuffleSampler(other), "videos_sha256.*other videos"),
        (ShuffleSampler(some), "videos_sha256"),
        (ShuffleSampler(dataset, seed=3), "seed"),
        (ShuffleSampler(dataset, shuffle=False), "shuffle"),
        (GroupSampler(dataset), "no groups_sha256, spread"),
    ):
        with pytest.raises(InputError, match=words):
            wrong.load_state_dict(state)
    balanced = BalancedSampler(dataset).state_dict()
    with pytest.raises(InputError, match="threshold"):
        BalancedSampler(dataset, threshold=0.5).load_state_dict(balanced)
    for key, value in (("taken", -1), ("taken", "many"), ("epoch", None), ("epoch", True)):
        with pytest.raises(InputError, match="whole number"):
            ShuffleSampler(dataset).load_state_dict({**state, key: value})


def test_choices(dataset: Any) -> None:
    for options, error in (
        ({"seed": -1}, InputError),
        ({"uneven": "drop"}, FilterError),
        ({"rank": 0}, InputError),
        ({"rank": 2, "num_replicas": 2}, InputError),
        ({"rank": 0, "num_replicas": 0}, InputError),
    ):
        with pytest.raises(error):
            ShuffleSampler(dataset, **options)
    with pytest.raises(FilterError, match="one, apart, together"):
        GroupSampler(dataset, spread="near")  # type: ignore[arg-type]
    for options in ({"threshold": 0.0}, {"threshold": 1.1}, {"power": -1.0}, {"threshold": float("nan")}):
        with pytest.raises(InputError, match="threshold"):
            BalancedSampler(dataset, **options)


# -- balanced


def paper() -> Any:
    """937 videos with the paper's counts a category, several labels a video."""
    rng = np.random.default_rng(0)
    targets = np.zeros((937, 5))
    for column, count in enumerate((590, 579, 445, 204, 39)):
        targets[rng.permutation(937)[:count], column] = 1
    return targets[targets.any(axis=1)]


def test_factors_by_hand() -> None:
    targets = np.array([[1, 0], [1, 0], [1, 0], [1, 1]])
    assert orders.repeat_factors(targets, threshold=1.0, power=0.5).tolist() == [1, 1, 1, 2]
    assert orders.repeat_factors(targets, threshold=1.0, power=1.0).tolist() == [1, 1, 1, 4]
    assert orders.repeat_factors(targets, threshold=0.25).tolist() == [1, 1, 1, 1]
    binary = np.array([[1], [0], [0], [0]])  # a video without a label is one of 'none'
    assert orders.repeat_factors(binary, threshold=0.75, power=1.0).tolist() == [3, 1, 1, 1]
    for wrong in (np.zeros((0, 5)), np.zeros(4)):
        with pytest.raises(InputError, match="at least one video"):
            orders.repeat_factors(wrong)


def test_the_rarest_category_comes_more_often_and_no_video_is_left_out() -> None:
    targets = paper()
    factors = orders.repeat_factors(targets, threshold=0.25, power=1.0)
    drawn = [orders.repeated(factors, np.random.default_rng([0, epoch])) for epoch in range(40)]
    assert {len(order) for order in drawn} == {round(float(factors.sum()))}
    counts = np.array([np.bincount(order, minlength=len(targets)) for order in drawn])
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.ceil(factors)).all()
    assert abs(counts.mean(axis=0) - factors).mean() < 0.05
    before, after = targets[:, 4].mean(), np.mean([targets[order][:, 4].mean() for order in drawn])
    print(f"political: {before:.3f} of the videos, {after:.3f} of what is taken")
    assert after > 3 * before


def test_the_sampler_uses_the_targets(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, config="reviewed", split=None, target="binary")
    factors = BalancedSampler(dataset, threshold=0.5, power=1.0).factors
    share = 1 - float(dataset.targets.mean())
    assert share < 0.5
    assert np.allclose(factors, np.where(dataset.targets.numpy() > 0, 1.0, 0.5 / share))


# -- groups


GROUPS = ["a"] * 6 + ["b"] * 3 + ["c"] + ["d"] * 2


def test_apart_spreads_a_group_evenly() -> None:
    for seed in range(20):
        order = orders.apart(GROUPS, np.random.default_rng(seed))
        assert sorted(order) == list(range(12))
        halves = [[GROUPS[index] for index in half] for half in (order[:6], order[6:])]
        assert all(2 <= half.count("a") <= 4 for half in halves)
        assert all(half.count("d") == 1 or abs(half.count("d") - 1) == 1 for half in halves)


def test_together_keeps_a_group_in_a_row() -> None:
    order = orders.together(GROUPS, np.random.default_rng(0))
    assert sorted(order) == list(range(12))
    names = [GROUPS[index] for index in order]
    assert sum(one != other for one, other in itertools.pairwise(names)) == 3


def test_one_a_group_goes_round() -> None:
    taken: Counter[int] = Counter()
    for epoch in range(6):
        order = orders.one_a_group(GROUPS, np.random.default_rng([7, epoch]), epoch=epoch, turn=np.random.default_rng(7))
        assert sorted(GROUPS[index] for index in order) == ["a", "b", "c", "d"]
        taken.update(order.tolist())
    assert dict(taken) == {**dict.fromkeys(range(6), 1), **dict.fromkeys((6, 7, 8), 2), 9: 6, 10: 3, 11: 3}


# -- what it costs


@every
def test_an_order_is_built_once_an_epoch_whoever_asks(
    dataset: UnsafeVideoDataset, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, built = make(dataset, uneven="pad", num_replicas=3, rank=1), []
    real = type(sampler)._positions

    def counted(self: Any, rng: Any) -> Any:
        built.append(self.epoch)
        return real(self, rng)

    monkeypatch.setattr(type(sampler), "_positions", counted)
    for epoch in (0, 0, 1):
        sampler.set_epoch(epoch)
        order, length = sampler.order(), len(sampler)
        assert len(list(sampler)) == length
        assert sampler.padded in (True, False)
        assert sampler.state_dict()["taken"] >= len(order)
        assert sampler.at(10**9)["taken"] == len(order)
    assert built == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 0


@every
def test_no_text_is_made_a_python_object(small: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = UnsafeVideoDataset(small, config="reviewed", split=None)
    expected = list(make(dataset))
    for name in ("__iter__", "__getitem__"):
        real = getattr(Texts, name)
        calls: list[Any] = []

        def counted(self: Any, *given: Any, real: Any = real, calls: Any = calls) -> Any:
            calls.append(given)
            assert len(calls) < 3, "row by row"
            return real(self, *given)

        monkeypatch.setattr(Texts, name, counted)
    assert list(make(dataset)) == expected
