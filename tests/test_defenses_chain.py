"""Verdicts, chains, callables as defences, and failures as verdicts. No pipeline here, and no torch but in `failsafe`."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.defenses import (
    Chain,
    LatentDefense,
    LatentVariableDefense,
    OutputDefense,
    PromptDefense,
    Verdict,
    as_latent_defense,
    as_output_defense,
    as_prompt_defense,
)
from unsafe_video_dataset.defenses.base import GenerationInfo, judge
from unsafe_video_dataset.defenses.chain import as_chain
from unsafe_video_dataset.defenses.evidence import Evidence
from unsafe_video_dataset.defenses.sequential import SequentialTest
from unsafe_video_dataset.errors import FilterError, InputError

FRAMES = np.zeros((4, 8, 8, 3), dtype=np.uint8)
INFO = GenerationInfo("Pipe", "DDIMScheduler", "epsilon", 10, (4, 2, 4, 4), "CTHW", "scheduler", 0)
SEEN = {"timestep": 500.0, "x0": np.zeros((4, 2, 4, 4), dtype=np.float32), "log_snr": 0.0}


def watch(defense: Any, steps: int, **info: Any) -> tuple[Verdict, int]:
    """(verdict, step) of one sample, the way a guard asks."""
    state = defense.start(INFO)
    for step in range(1, steps + 1):
        state, verdict = defense.observe(state, step=step, **SEEN)
        if verdict is not None:
            return verdict, step
    return defense.finish(state), steps


# -- verdicts and answers


def test_a_verdict_is_plain_data() -> None:
    verdict = Verdict("block", 0.9, ["terrifying"], stage="prompt", seconds=1.0)  # type: ignore[arg-type]
    assert verdict == Verdict("block", 0.9, ("terrifying",), stage="prompt", seconds=2.0), "time is no part of a decision"
    assert json.loads(json.dumps(verdict.to_dict()))["categories"] == ["terrifying"]
    with pytest.raises(FilterError, match="allow, block, modify"):
        Verdict("stop")  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="stage"):
        Verdict("allow", stage="sound")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (True, (True, 1.0, ())),
        (np.bool_(False), (False, 0.0, ())),
        (0.5, (True, 0.5, ())),
        (np.float32(0.25), (False, 0.25, ())),
        ({"a": 0.2, "b": 0.9, "c": 0.6}, (True, 0.9, ("b", "c"))),
        ([0.7, 0.1], (True, 0.7, ("0",))),
        (np.array([[0.1, 0.8]]), (True, 0.8, ("1",))),
        (np.array([0.9]), (True, 0.9, ("0",))),
    ],
    ids=repr,
)
def test_what_a_callable_may_answer(result: Any, expected: Any) -> None:
    unsafe, score, found = judge(result)
    assert (unsafe, pytest.approx(score), found) == expected


def test_scores_are_named_and_each_has_its_own_threshold() -> None:
    given = {"categories": ("a", "b"), "threshold": {"a": 0.9, "b": 0.3}}
    assert judge([0.8, 0.4], **given) == (True, 0.8, ("b",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="3 scores for 2 categories: a, b"):
        judge([1, 2, 3], **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="No threshold for c"):
        judge({"c": 1.0}, threshold={"a": 0.5})


UNREADABLE: list[Any] = [None, "safe", b"1", math.nan, [], {}, [0.1, math.nan], object(), [[0.1], [0.2]], {"a": None}]


@pytest.mark.parametrize("result", UNREADABLE)
def test_an_answer_that_cannot_be_read_is_a_failure_not_a_pass(result: Any) -> None:
    with pytest.raises(InputError, match="detector gave"):
        judge(result)


# -- callables and chains


def test_callables_become_defences_of_their_stage() -> None:
    wrappers = (as_prompt_defense, as_latent_defense, as_output_defense)
    prompt, latent, output = (wrap(lambda item: 0.7, name="x") for wrap in wrappers)
    assert isinstance(prompt, PromptDefense)
    assert isinstance(latent, LatentDefense)
    assert isinstance(output, OutputDefense)
    assert not isinstance(prompt, OutputDefense)
    assert prompt.check_prompt("a") == Verdict("block", 0.7, stage="prompt", decided_by="x")
    assert output.check_video(FRAMES) == Verdict("block", 0.7, stage="output", decided_by="x")
    assert watch(latent, 3) == (Verdict("block", 0.7, step=1, decided_by="x"), 1)
    strict = as_latent_defense(lambda x0: 0.7, threshold=0.8)
    assert watch(strict, 3)[0] == Verdict("allow", 0.7, decided_by="<lambda>")
    mine = Verdict("block", 3.0, ("a",), decided_by="mine")
    assert as_prompt_defense(lambda prompt: mine).check_prompt("a").decided_by == "mine"


def test_a_chain_asks_each_stage_and_the_first_block_decides() -> None:
    asked: list[str] = []

    def says(name: str, score: float) -> Any:
        def check(item: Any) -> float:
            asked.append(name)
            return score

        return check

    chain = Chain(
        as_prompt_defense(says("p1", 0.1), name="p1"),
        Chain(as_prompt_defense(says("p2", 0.9), name="p2"), as_output_defense(says("o", 0.2), name="o")),
        as_prompt_defense(says("p3", 0.9), name="p3"),
        as_latent_defense(says("l", 0.4), name="l"),
    )
    assert chain.name == "p1+p2+o+p3+l"
    assert (len(chain.members), len(chain.prompt), len(chain.latent), len(chain.output)) == (5, 3, 1, 1)
    assert chain.check_prompt("a") == Verdict("block", 0.9, stage="prompt", decided_by="p2")
    assert asked == ["p1", "p2"]
    assert chain.check_video(FRAMES) == Verdict("allow", 0.2, stage="output", decided_by="o")
    assert watch(chain, 2)[0] == Verdict("allow", 0.4, decided_by="l")
    assert as_chain(chain) is chain


def test_a_latent_chain_allows_when_all_have_allowed() -> None:
    early = LatentVariableDefense(lambda x0: 0.1, eta=1, name="early")
    late = LatentVariableDefense(lambda x0: 0.3, eta=4, lam=1, name="late")
    verdict, step = watch(Chain(early, late), 10)
    assert (verdict.action, verdict.score, verdict.decided_by, step) == ("allow", 0.3, "late", 1)
    late = LatentVariableDefense(lambda x0: 0.9, eta=3, lam=1, name="late")
    verdict, step = watch(Chain(early, late), 10)
    assert (verdict.action, verdict.decided_by, step) == ("block", "late", 3)


def test_a_chain_of_nothing_or_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="An empty chain"):
        Chain()
    with pytest.raises(InputError, match="function is no defence"):
        Chain(lambda prompt: True)  # type: ignore[arg-type]

    class Nameless:
        def check_prompt(self, prompt: str) -> Verdict:
            return Verdict("allow")

    with pytest.raises(InputError, match="and a `name`"):
        Chain(Nameless())  # type: ignore[arg-type]


# -- the latent variable defence


def test_lvd_takes_the_papers_rule_and_stops_early() -> None:
    votes = [True, False, True, True, False]

    def detector(x0: Any, step: int) -> dict[str, float]:
        return {"terrifying": 0.9 if votes[step - 1] else 0.1, "political": 0.6 if step == 3 else 0.0}

    defense = LatentVariableDefense(detector, eta=5, lam=0.6)
    verdict, step = watch(defense, 10)
    assert (verdict.action, verdict.step, step) == ("block", 4, 4)
    assert verdict.categories == ("terrifying", "political"), "the most frequent first"
    assert verdict.score == pytest.approx((0.9 + 0.1 + 0.9 + 0.9) / 4)
    state = defense.start(INFO)
    state, _ = defense.observe(state, step=1, **SEEN)
    assert (state.votes, state.scores, state.found) == ((True,), (0.9,), (("terrifying",),))
    short, _ = watch(defense, 2)
    assert (short.action, short.note) == ("block", "the sampling ended after 2 votes")


def test_lvd_takes_a_sequential_test_in_the_rules_place() -> None:
    evidence = Evidence((0.0,) * 5, (3.0,) * 5, tuple(map(tuple, np.eye(5))), "identity")
    test = SequentialTest(evidence, alpha=0.05, beta=0.05)
    assert watch(LatentVariableDefense(lambda x0: 4.0, rule=test, threshold=1.5), 10)[0].action == "block"
    verdict, step = watch(LatentVariableDefense(lambda x0: -1.0, rule=test, threshold=1.5), 10)
    assert (verdict.action, step) == ("allow", 1)
    with pytest.raises(InputError, match="may take 5 steps"):
        LatentVariableDefense(lambda x0: 0.0, rule=test).start(GenerationInfo(**{**vars(INFO), "num_steps": 4}))


def test_a_detector_is_given_what_it_asks_for() -> None:
    asked: list[Any] = []

    def all_of_it(x0: Any, **more: Any) -> bool:
        asked.append(sorted(more))
        return False

    class Module:
        def __call__(self, x0: Any, log_snr: float) -> bool:
            asked.append(log_snr)
            return False

    for detector in (all_of_it, Module(), lambda x0, timestep: asked.append(timestep) or False, max):
        defense = LatentVariableDefense(detector, eta=1)
        if detector is not max:
            watch(defense, 1)
    assert asked == [["log_snr", "step", "timestep"], 0.0, 500.0]


def test_detectors_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="is no detector"):
        LatentVariableDefense("model.pt")  # type: ignore[arg-type]
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"detector\.eval\(\)"):
        LatentVariableDefense(torch.nn.Linear(2, 1))
    assert LatentVariableDefense(torch.nn.Linear(2, 1).eval())._asked == ()
    with pytest.raises(InputError, match="convention 'uvd'"):
        LatentVariableDefense(lambda x0: True, x0_convention="uvd").start(INFO)


# -- failures


def test_failures_become_verdicts_member_by_member() -> None:
    pytest.importorskip("torch")
    from unsafe_video_dataset.defenses.failsafe import failsafe

    def fails(item: Any) -> float:
        raise KeyError("a prompt could be here")

    chain = Chain(
        as_prompt_defense(fails, name="p"),
        as_prompt_defense(lambda prompt: prompt == "b", name="p2"),
        as_latent_defense(fails, name="l"),
        as_output_defense(fails, name="o"),
    )
    closed, opened = failsafe(chain, "closed"), failsafe(chain, "open")
    assert closed.name == opened.name == chain.name
    note = "the defence p failed with KeyError"
    assert closed.check_prompt("a") == Verdict("block", stage="prompt", decided_by="fail-closed", note=note)
    assert opened.check_prompt("a") == Verdict("allow", stage="prompt", decided_by="fail-open", note=note)
    assert opened.check_prompt("b").decided_by == "p2", "the next one is still asked"
    assert closed.check_video(FRAMES).blocked
    assert opened.check_video(FRAMES).note == "the defence o failed with KeyError"
    assert watch(closed, 3)[0].decided_by == "fail-closed"
    verdict, step = watch(opened, 3)
    assert (verdict.action, verdict.decided_by, step) == ("allow", "fail-open", 3)
    with pytest.raises(KeyError):
        chain.check_prompt("a")


def test_a_defence_that_gives_no_verdict_fails() -> None:
    pytest.importorskip("torch")
    from unsafe_video_dataset.defenses.failsafe import failsafe

    class Silent:
        name = "silent"

        def check_prompt(self, prompt: str) -> Any:
            return True

        def start(self, info: GenerationInfo) -> None:
            return None

        def observe(self, state: None, **seen: Any) -> Any:
            return state, "block"

        def finish(self, state: None) -> Any:
            return None

    chain = failsafe(Chain(Silent()), "closed")
    assert chain.check_prompt("a").blocked
    verdict, _ = watch(chain, 2)
    assert verdict.note == "the defence silent failed with InputError: it gave str in place of a Verdict"
