"""Guards on real pipelines: what is allowed is bit-identical, what is blocked leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import pipes  # noqa: E402
from pipes import NAMES, STEPS, generate, pipeline  # noqa: E402

from unsafe_video_dataset.defenses import (  # noqa: E402
    Chain,
    LatentVariableDefense,
    Verdict,
    as_latent_defense,
    as_output_defense,
    as_prompt_defense,
    guard,
)
from unsafe_video_dataset.errors import DefenseNotAttached, FilterError, GenerationBlocked, InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers under NumPy 2


def lvd(vote: bool | Callable[..., object], *, eta: int = 3, **given: Any) -> LatentVariableDefense:
    return LatentVariableDefense(vote if callable(vote) else lambda x0: vote, eta=eta, **given)


class Recorder:
    """A latent defence that keeps what it was shown, and allows."""

    name = "recorder"

    def __init__(self) -> None:
        self.infos: list[Any] = []
        self.seen: list[tuple[int, float, Any, float]] = []

    def start(self, info: Any) -> None:
        self.infos.append(info)

    def observe(self, state: None, *, step: int, timestep: float, x0: Any, log_snr: float) -> tuple[None, None]:
        self.seen.append((step, timestep, x0.clone(), log_snr))
        return None, None

    def finish(self, state: None) -> Verdict:
        return Verdict("allow")


def some(*names: str) -> list[Any]:
    """All pipelines, those that aren't named as slow tests."""
    return [pytest.param(name, marks=[] if name in names else pytest.mark.slow) for name in NAMES]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The unguarded generation of each pipeline."""
    return {name: generate(pipeline(name)) for name in NAMES}


def count_decodes(pipe: Any) -> tuple[list[int], Any]:
    """Shapes of what the real decoder gets (not counting runs on fake tensors), and the hook to remove."""
    from torch._subclasses.fake_tensor import FakeTensor

    seen: list[int] = []

    def note(module: Any, args: tuple[Any, ...]) -> None:
        if not isinstance(args[0], FakeTensor):
            seen.append(1)

    return seen, pipe.vae.decoder.register_forward_pre_hook(note)


# -- an allowed generation


@pytest.mark.parametrize("name", NAMES)
def test_an_allowed_generation_is_bit_identical(name: str, plain: dict[str, Any]) -> None:
    pipe, kind = pipeline(name), type(pipeline(name))
    recorder = Recorder()
    random = torch.get_rng_state()
    with guard(pipe, Chain(lvd(False), recorder)) as one:
        assert isinstance(pipe, kind)
        guarded = generate(pipe)
    assert np.array_equal(guarded, plain[name])
    assert torch.equal(torch.get_rng_state(), random)
    assert type(pipe) is kind
    assert type(pipe.scheduler).__name__ == recorder.infos[0].scheduler
    report = one.last
    assert [verdict.action for verdict in report.verdicts] == ["allow"]
    assert (report.steps, report.error, report.blocked) == (STEPS, "", ())
    assert report.decodes >= 1
    # the detector's view: one video, in the order of time, less and less noisy
    assert [step for step, *_ in recorder.seen] == list(range(1, STEPS + 1))
    info = recorder.infos[0]
    assert (info.pipeline, info.num_steps, info.layout, info.sample) == (kind.__name__, STEPS, "CTHW", 0)
    assert all(tuple(x0.shape) == info.shape and x0.dtype == torch.float32 for _, _, x0, _ in recorder.seen)
    snrs = [log_snr for *_, log_snr in recorder.seen]
    assert snrs == sorted(snrs)
    assert len(set(snrs)) == STEPS


@pytest.mark.parametrize("name", NAMES)
def test_the_last_x0_is_the_finished_latent(name: str) -> None:
    """With no noise left to add, the last guess is what the pipeline hands to its decoder: the layout is read right."""
    pipe, recorder = pipeline(name), Recorder()
    with guard(pipe, recorder):
        latents = generate(pipe, output_type="latent", steps=4).frames
    x0 = recorder.seen[-1][2]
    if name == "cogvideox":
        latents = latents.transpose(1, 2)
    elif name == "ltx":
        latents = pipe._unpack_latents(latents, 2 + 1, 8, 8)
    assert tuple(latents.shape[1:]) == tuple(x0.shape)
    assert torch.allclose(latents[0], x0, atol=0.15, rtol=0.05)


SCHEDULERS = [
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
    "DEISMultistepScheduler",
    "LMSDiscreteScheduler",
]


@pytest.mark.parametrize(
    "scheduler", [pytest.param(name, marks=[] if i == 4 else pytest.mark.slow) for i, name in enumerate(SCHEDULERS)]
)
def test_other_schedulers_in_the_same_pipeline(scheduler: str) -> None:
    import diffusers

    pipe = pipeline("animatediff")
    own = pipe.scheduler
    pipe.scheduler = getattr(diffusers, scheduler).from_config({"num_train_timesteps": 1000, "clip_sample": False})
    try:
        free = generate(pipe)
        with lvd(False).guard(pipe) as one:
            assert np.array_equal(generate(pipe), free)
        assert one.last.steps == len(pipe.scheduler.timesteps)
        with lvd(True).guard(pipe), pytest.raises(GenerationBlocked):
            generate(pipe)
        assert np.array_equal(generate(pipe), free)
        pair = generate(pipe, ["a", "b"])
        with lvd(lambda x0, step: _second(x0, pair_seen), eta=1).guard(pipe):
            pair_seen: list[int] = []
            half = generate(pipe, ["a", "b"])
        assert np.array_equal(half[0], pair[0])
        assert not half[1].any()
    finally:
        pipe.scheduler = own


def _second(x0: Any, seen: list[int]) -> bool:
    seen.append(1)
    return len(seen) == 2


def test_the_papers_convention_in_a_pipeline(plain: dict[str, Any]) -> None:
    pipe, ours, theirs = pipeline("animatediff"), Recorder(), Recorder()
    with guard(pipe, ours):
        generate(pipe)
    detector = lvd(False, x0_convention="uvd")
    with detector.guard(pipe), guard(pipe, theirs, x0_convention="uvd"):
        assert np.array_equal(generate(pipe), plain["animatediff"])
    assert {info.x0_convention for info in theirs.infos} == {"uvd"}
    assert not torch.allclose(ours.seen[0][2], theirs.seen[0][2], atol=1e-3)
    with lvd(True, x0_convention="uvd").guard(pipe) as one, pytest.raises(GenerationBlocked):
        generate(pipe)
    assert one.last.steps == 2
    with pytest.raises(InputError, match=r"defense\.guard\(pipe\)"), guard(pipe, detector):
        generate(pipe)
    assert np.array_equal(generate(pipe), plain["animatediff"])


# -- a blocked generation


def big_tensors(numel: int, *, collect: bool = True) -> list[Any]:
    """Tensors alive that are at least as large as a latent, but for weights."""
    if collect:
        gc.collect()
    found = []
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and not isinstance(thing, torch.nn.Parameter) and thing.numel() >= numel:
            found.append(thing)
    return found


@pytest.mark.parametrize("name", some("ltx"))
def test_a_blocked_generation_leaves_nothing_behind(name: str, plain: dict[str, Any]) -> None:
    pipe = pipeline(name)
    recorder = Recorder()
    with guard(pipe, recorder):
        generate(pipe)
    numel = recorder.seen[0][2].numel()
    del recorder
    before_vars = {key: value for key, value in vars(pipe).items() if not key.startswith("_callback")}
    before = {id(tensor) for tensor in big_tensors(numel, collect=False)}
    decodes, hook = count_decodes(pipe)
    try:
        with lvd(True).guard(pipe) as one, pytest.raises(GenerationBlocked) as caught:
            generate(pipe)
        # the exception, its traceback and all that it holds is alive here
        left = [tuple(tensor.shape) for tensor in big_tensors(numel) if id(tensor) not in before]
        assert left == []
    finally:
        hook.remove()
    assert decodes == []
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert (error.verdict.action, error.verdict.step, error.verdict.decided_by) == ("block", 2, "lvd")
    assert (one.last.steps, one.last.decodes) == (2, 0)
    assert {key: value for key, value in vars(pipe).items() if not key.startswith("_callback")}.keys() == before_vars.keys()
    assert "a red ball" not in str(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        assert not any(isinstance(value, torch.Tensor) for value in frame.f_locals.values())
        assert "pipelines" not in frame.f_code.co_filename, "no frame of the pipeline is in the traceback"
    assert np.array_equal(generate(pipe), plain[name]), "the pipeline can be used again"


def test_the_search_for_leftovers_finds_them_without_a_guard() -> None:
    """The control of the test above: an ordinary exception in the middle of a call keeps latents alive."""
    pipe = pipeline("latte")
    before = {id(tensor) for tensor in big_tensors(256, collect=False)}

    def fail(*args: Any) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError) as caught:
        generate(pipe, callback_on_step_end=fail)
    assert [tensor for tensor in big_tensors(256) if id(tensor) not in before]
    assert caught.value.__traceback__ is not None


def test_another_exception_before_the_decision_has_its_frames_emptied(plain: dict[str, Any]) -> None:
    pipe = pipeline("latte")
    before = {id(tensor) for tensor in big_tensors(256, collect=False)}

    def fail(*args: Any) -> None:
        raise RuntimeError("stop")

    with lvd(False).guard(pipe) as one, pytest.raises(RuntimeError, match="stop") as caught:
        generate(pipe, callback_on_step_end=fail)
    assert [tuple(tensor.shape) for tensor in big_tensors(256) if id(tensor) not in before] == []
    assert one.last.error == "RuntimeError"
    assert "pipeline_latte" in "".join(traceback.format_tb(caught.value.__traceback__)), "the lines can still be read"
    assert np.array_equal(generate(pipe), plain["latte"])


def test_the_exception_survives_a_pickle_and_says_what_to_do() -> None:
    pipe = pipeline("latte")
    detector = lvd(lambda x0: {"terrifying": 0.9, "political": 0.2})
    with detector.guard(pipe), pytest.raises(GenerationBlocked, match=r"step 2, score 0\.900 \(terrifying\)") as caught:
        generate(pipe)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.verdict, again.verdicts, str(again)) == (caught.value.verdict, caught.value.verdicts, str(caught.value))
    assert "on_block='blank'" in str(again)


def test_a_pipeline_that_swallows_exceptions_still_releases_nothing() -> None:
    class Stubborn(type(pipeline("latte"))):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().__call__(*args, **kwargs)
            except BaseException:
                return ("something",)

    pipe = Stubborn(**pipeline("latte").components)
    pipe.set_progress_bar_config(disable=True)
    with lvd(True).guard(pipe), pytest.raises(GenerationBlocked):
        pipe("a", num_inference_steps=4, **pipes.SIZES["latte"])


def test_an_interrupted_sampling_counts_missing_votes_as_unsafe() -> None:
    pipe = pipeline("latte")

    def stop(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = True
        return tensors

    with lvd(False, eta=5).guard(pipe) as one, pytest.raises(GenerationBlocked, match="ended after 1 votes"):
        generate(pipe, callback_on_step_end=stop)
    assert (one.last.steps, one.last.decodes) == (1, 0)


# -- blank


@pytest.mark.parametrize("name", some("cogvideox", "latte"))
def test_black_frames_in_place_of_an_exception(name: str, plain: dict[str, Any]) -> None:
    pipe = pipeline(name)
    decodes, hook = count_decodes(pipe)
    try:
        with lvd(True).guard(pipe, on_block="blank") as one:
            video = generate(pipe)
    finally:
        hook.remove()
    assert video.shape == plain[name].shape
    assert video.dtype == plain[name].dtype
    assert not video.any()
    assert decodes == [], "the shape is found without decoding"
    assert one.last.blocked == (0,)
    assert one.last.steps == 2, "the remaining steps are skipped"
    assert np.array_equal(generate(pipe), plain[name])


@pytest.mark.parametrize("output_type", ["pil", "pt", "latent"])
def test_black_frames_of_every_kind(output_type: str) -> None:
    pipe = pipeline("latte")
    with lvd(True).guard(pipe, on_block="blank"):
        video = generate(pipe, output_type=output_type).frames
        (again,) = generate(pipe, output_type=output_type, return_dict=False)
    if output_type == "pil":
        assert all(np.asarray(frame).max() == 0 for one in (video, again) for frame in one[0])
        assert len(video[0]) == 4
    else:
        assert not video.any()
        assert torch.equal(video, again)


# -- batches


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_of_a_batch_is_decided_by_itself(name: str) -> None:
    pipe = pipeline(name)
    prompts = ["a red ball", "a cube", "a ring"]
    free = generate(pipe, prompts)
    marks: list[float] = []

    def second(x0: Any, step: int) -> bool:
        """Recognises the second sample by its content, the way a detector does."""
        if step == 1:
            marks.append(float(x0.mean()))
        return abs(float(x0.mean()) - marks[1]) < 1e-9 if len(marks) > 1 and step == 1 else False

    with lvd(second, eta=1).guard(pipe) as one:
        video = generate(pipe, prompts)
    assert [verdict.action for verdict in one.last.verdicts] == ["allow", "block", "allow"]
    assert one.last.blocked == (1,)
    for i in (0, 2):
        assert np.array_equal(video[i], free[i])
    assert not video[1].any()
    assert np.array_equal(generate(pipe, prompts), free)
    with lvd(True).guard(pipe), pytest.raises(GenerationBlocked) as caught:
        generate(pipe, prompts)
    assert len(caught.value.verdicts) == 3


def test_a_blocked_samples_rows_are_zero_for_everyone_else() -> None:
    pipe, latents = pipeline("animatediff"), []

    def keep(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents.append(tensors["latents"].clone())
        return tensors

    seen: list[int] = []
    with lvd(lambda x0: _second(x0, seen), eta=1).guard(pipe):
        generate(pipe, ["a", "b"], callback_on_step_end=keep)
    assert len(latents) == STEPS
    assert all(not one[1].any() and one[0].any() for one in latents)


def test_videos_per_prompt_share_the_prompts_verdict() -> None:
    pipe = pipeline("wan")
    names = as_prompt_defense(lambda prompt: "cube" in prompt, name="words")
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    with guard(pipe, Chain(names, lvd(False))) as one:
        video = generate(pipe, ["a ball", "a cube"], num_videos_per_prompt=2, generator=generators)
    assert one.last.blocked == (2, 3)
    assert not video[2:].any()
    assert video[:2].any()
    assert [verdict.stage for verdict in one.last.verdicts] == ["latent", "latent", "prompt", "prompt"]


# -- a detector that fails


def broken(x0: Any) -> float:
    raise ValueError("weights are missing")


@pytest.mark.parametrize("result", [float("nan"), None, "unsafe", [], {"a": "b"}], ids=repr)
def test_an_answer_that_cannot_be_read_blocks(result: Any) -> None:
    pipe = pipeline("latte")
    with lvd(lambda x0: result).guard(pipe), pytest.raises(GenerationBlocked, match="failed with InputError"):
        generate(pipe)


def test_a_failing_detector_fails_closed_or_by_choice_open(plain: dict[str, Any]) -> None:
    pipe = pipeline("latte")
    with lvd(broken).guard(pipe), pytest.raises(GenerationBlocked, match=r"ValueError: weights are missing") as caught:
        generate(pipe)
    assert caught.value.verdict.decided_by == "fail-closed"
    with lvd(broken).guard(pipe, fail="open") as one:
        assert np.array_equal(generate(pipe), plain["latte"])
    (verdict,) = one.last.verdicts
    assert (verdict.action, verdict.decided_by) == ("allow", "fail-open")
    assert "weights are missing" in verdict.note


def test_one_that_fails_open_does_not_silence_the_next() -> None:
    pipe = pipeline("latte")
    with (
        guard(pipe, Chain(lvd(broken), lvd(True, name="second")), fail="open"),
        pytest.raises(GenerationBlocked, match="second"),
    ):
        generate(pipe)


def test_one_bad_step_under_fail_open_is_left_out() -> None:
    pipe = pipeline("latte")

    def once(x0: Any, step: int) -> bool:
        if step == 1:
            raise ValueError
        return True

    with lvd(once).guard(pipe, fail="open"), pytest.raises(GenerationBlocked, match="step 3"):
        generate(pipe)


def test_prompts_do_not_get_into_messages_by_a_failing_filter() -> None:
    def leaky(prompt: str) -> bool:
        raise ValueError(prompt)

    pipe = pipeline("latte")
    prompt = "a ball that nobody may read of"
    with guard(pipe, as_prompt_defense(leaky)), pytest.raises(GenerationBlocked, match="failed with ValueError") as caught:
        generate(pipe, prompt)
    assert prompt not in "".join(traceback.format_exception(caught.value))


# -- where a guard can't reach


def test_a_pipeline_that_steps_a_copy_is_not_released() -> None:
    kind = type(pipeline("latte"))

    class Copying(kind):  # type: ignore[misc, valid-type]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            inner = kind(**{**self.components, "scheduler": copy.deepcopy(self.scheduler)})
            inner.set_progress_bar_config(disable=True)
            return inner(*args, **kwargs)

    pipe = Copying(**pipeline("latte").components)
    with lvd(False).guard(pipe), pytest.raises(DefenseNotAttached, match="its output was dropped"):
        pipe("a", num_inference_steps=4, **pipes.SIZES["latte"])
    filtered = as_output_defense(lambda frames: False)
    with guard(pipe, filtered):
        assert pipe("a", num_inference_steps=4, output_type="np", **pipes.SIZES["latte"]).frames.any()


def test_pipelines_that_cannot_be_guarded_say_so_when_attached() -> None:
    import diffusers

    pipe = pipeline("latte")
    own = pipe.scheduler
    pipe.scheduler = diffusers.KDPM2DiscreteScheduler()
    try:
        with pytest.raises(DefenseNotAttached, match="KDPM2DiscreteScheduler"):
            lvd(False).guard(pipe).attach()
        with guard(pipe, as_prompt_defense(lambda prompt: False)):
            pass  # a prompt filter needs no x0
    finally:
        pipe.scheduler = own
    with pytest.raises(DefenseNotAttached, match="no `scheduler`"):
        guard(lambda prompt: prompt, lvd(False)).attach()
    with pytest.raises(DefenseNotAttached, match="can't be called"):
        guard("pipe", lvd(False)).attach()


def test_settings_that_make_no_sense_are_refused() -> None:
    pipe = pipeline("latte")
    with pytest.raises(FilterError, match="on_block"):
        guard(pipe, lvd(False), on_block="blur")  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="fail"):
        guard(pipe, lvd(False), fail="maybe")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="every video would be blocked"), lvd(False, eta=50).guard(pipe):
        generate(pipe)
    one = lvd(False).guard(pipe)
    with pytest.raises(InputError, match="No call was guarded yet"):
        _ = one.last
    with one, pytest.raises(InputError, match="attached already"):
        one.attach()
    one.detach()  # twice is once


def test_embeddings_cannot_be_read_by_a_prompt_filter() -> None:
    pipe = pipeline("latte")
    embeds, negative = pipe.encode_prompt("a", True, clean_caption=False)
    with guard(pipe, as_prompt_defense(lambda prompt: False)), pytest.raises(DefenseNotAttached, match="embeddings only"):
        pipe(prompt_embeds=embeds, negative_prompt_embeds=negative, negative_prompt=None, **pipes.SIZES["latte"])


# -- many at once


def test_one_defence_guards_two_pipelines_in_two_threads(plain: dict[str, Any]) -> None:
    """State is explicit: votes of one generation never count for the other; one blocks and one passes, at the same time."""
    videos, latte = pipeline("animatediff"), pipeline("latte")
    both = threading.Barrier(2, timeout=60)

    def unsafe(x0: Any) -> bool:
        time.sleep(0.002)
        return bool(x0.flatten()[0] == marks["latte"])

    recorder = Recorder()
    with guard(latte, recorder):
        generate(latte)
    marks = {"latte": recorder.seen[0][2].flatten()[0]}
    defense = lvd(unsafe, eta=1)
    outcome: dict[str, Any] = {}

    def work(name: str, pipe: Any) -> None:
        both.wait()
        try:
            outcome[name] = [np.array_equal(generate(pipe), plain[name]) for _ in range(2)]
        except GenerationBlocked as error:
            outcome[name] = error.verdict.step

    with defense.guard(videos) as one, defense.guard(latte) as other:
        threads = [threading.Thread(target=work, args=item) for item in (("animatediff", videos), ("latte", latte))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcome == {"animatediff": [True, True], "latte": 1}
    assert [report.blocked for report in one.calls] == [(), ()]
    assert [report.blocked for report in other.calls] == [(0,)]


def test_two_pipelines_that_share_a_decoder(plain: dict[str, Any]) -> None:
    """A block of the one is nothing to the other: the tap on the shared VAE knows its own call."""
    first = pipeline("latte")
    # all else is its own: tokenizers keep their truncation, so two threads can't share one, guarded or not
    second = type(first)(**{name: part if name == "vae" else copy.deepcopy(part) for name, part in first.components.items()})
    second.set_progress_bar_config(disable=True)
    outcome: dict[str, Any] = {}

    def blocked() -> None:
        for _ in range(3):
            with lvd(True).guard(second), pytest.raises(GenerationBlocked):
                generate(second)
        outcome["second"] = True

    thread = threading.Thread(target=blocked)
    thread.start()
    outcome["first"] = [np.array_equal(generate(first), plain["latte"]) for _ in range(3)]
    thread.join()
    assert outcome == {"first": [True] * 3, "second": True}
    assert "_held_class" not in vars(type(first.vae))


def test_guards_nest_and_each_decides(plain: dict[str, Any]) -> None:
    pipe = pipeline("latte")
    with lvd(False, name="outer").guard(pipe) as outer:
        with lvd(True, name="inner").guard(pipe) as inner, pytest.raises(GenerationBlocked, match="inner"):
            generate(pipe)
        assert (outer.last.error, inner.last.error) == ("GenerationBlocked", "")
        assert np.array_equal(generate(pipe), plain["latte"])
    with lvd(True, name="outer").guard(pipe) as outer, lvd(False, name="inner").guard(pipe) as inner:
        with pytest.raises(GenerationBlocked, match="outer"):
            generate(pipe)
        assert inner.last.error == "a block by another guard"
        assert outer.last.blocked == (0,)
    assert np.array_equal(generate(pipe), plain["latte"])


def test_copies_and_pickles_of_guarded_parts_are_plain() -> None:
    pipe = pipeline("latte")
    seen: list[Any] = []

    def look(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 0:
            seen.extend([copy.deepcopy(pipe.scheduler), copy.copy(pipe.scheduler), pickle.loads(pickle.dumps(pipe.scheduler))])
        return tensors

    with lvd(False).guard(pipe):
        generate(pipe, callback_on_step_end=look)
    assert {type(one) for one in seen} == {type(pipe.scheduler)}


# -- the other stages


def test_a_blocked_prompt_costs_nothing() -> None:
    pipe = pipeline("latte")
    with guard(pipe, as_prompt_defense(lambda prompt: 0.8, name="words")) as one:
        with pytest.raises(GenerationBlocked, match=r"Blocked by words at the prompt stage, score 0\.800"):
            generate(pipe)
        assert (one.last.steps, one.last.decodes) == (0, 0)


def test_a_blocked_prompt_in_a_batch_is_black_and_the_others_are_bit_equal() -> None:
    pipe = pipeline("latte")
    prompts = ["a ball", "a cube"]
    free = generate(pipe, prompts)
    with guard(pipe, as_prompt_defense(lambda prompt: "cube" in prompt)) as one:
        video = generate(pipe, prompts)
    assert np.array_equal(video[0], free[0])
    assert not video[1].any()
    assert one.last.blocked == (1,)


@pytest.mark.parametrize("output_type", ["np", "pil", "pt"])
def test_an_output_filter_sees_the_frames(output_type: str, plain: dict[str, Any]) -> None:
    pipe, seen = pipeline("latte"), []

    def look(frames: Any) -> float:
        seen.append(frames.copy())
        return float(len(seen) > 1)

    with guard(pipe, as_output_defense(look, name="frames")) as one:
        generate(pipe, output_type=output_type)
        with pytest.raises(GenerationBlocked, match="by frames at the output stage"):
            generate(pipe, output_type=output_type)
        with pytest.raises(DefenseNotAttached, match="can't look at latents"):
            generate(pipe, output_type="latent")
    assert seen[0].dtype == np.uint8
    assert np.abs(seen[0] / 255 - plain["latte"][0]).max() <= 1 / 255
    assert one.calls[1].decodes == 1


def test_a_chain_of_all_three_stages(plain: dict[str, Any]) -> None:
    pipe = pipeline("latte")
    chain = Chain(as_prompt_defense(lambda _: False), lvd(False), as_output_defense(lambda _: 0.1))
    with guard(pipe, chain) as one:
        assert np.array_equal(generate(pipe), plain["latte"])
    (verdict,) = one.last.verdicts
    assert (verdict.action, verdict.stage, verdict.step) == ("allow", "latent", 2)
    assert one.last.seconds >= one.last.detect_seconds > 0
    assert one.last.to_dict()["verdicts"][0]["action"] == "allow"  # type: ignore[index]


def test_a_callable_as_a_latent_defence(plain: dict[str, Any]) -> None:
    pipe = pipeline("latte")
    with guard(pipe, as_latent_defense(lambda x0: 0.2, name="mean")) as one:
        assert np.array_equal(generate(pipe), plain["latte"])
    assert (one.last.verdicts[0].score, one.last.verdicts[0].decided_by) == (0.2, "mean")
    with guard(pipe, as_latent_defense(lambda x0: True, name="mean")), pytest.raises(GenerationBlocked, match="mean"):
        generate(pipe)


def test_free_init_is_judged_in_each_of_its_rounds() -> None:
    pipe = pipeline("animatediff")
    pipe.enable_free_init(num_iters=2, use_fast_sampling=False)
    try:
        free = generate(pipe, steps=4)
        recorder = Recorder()
        with guard(pipe, Chain(recorder, lvd(False, eta=2))) as one:
            assert np.array_equal(generate(pipe, steps=4), free)
        assert [step for step, *_ in recorder.seen] == [1, 2, 3, 4] * 2
        assert one.last.steps == 8
        rounds: list[int] = []

        def later(x0: Any, step: int) -> bool:
            rounds.append(step)
            return rounds.count(1) == 2

        with lvd(later, eta=2).guard(pipe), pytest.raises(GenerationBlocked, match="step 6"):
            generate(pipe, steps=4)
    finally:
        pipe.disable_free_init()


def test_a_defence_that_modifies_changes_only_its_own_sample() -> None:
    class Second(Recorder):
        name = "second"

        def start(self, info: Any) -> Any:
            return info.sample

        def observe(self, state: Any, **seen: Any) -> tuple[Any, None]:
            return state, None

        def modify(self, state: Any, *, step: int, timestep: float, x0: Any, log_snr: float) -> Any:
            return x0 * 0.5 if state == 1 else None

    for name in NAMES:
        pipe = pipeline(name)
        free = generate(pipe, ["a", "b"], steps=3)
        with guard(pipe, Second()) as one:
            video = generate(pipe, ["a", "b"], steps=3)
        assert np.array_equal(video[0], free[0])
        assert not np.array_equal(video[1], free[1])
        assert [verdict.action for verdict in one.last.verdicts] == ["allow", "modify"]
    with pytest.raises(FilterError, match="second changes x0 before the step"):
        guard(pipe, Second(), x0_convention="uvd")


def test_a_modification_of_the_wrong_shape_blocks() -> None:
    class Wrong(Recorder):
        def modify(self, state: Any, *, step: int, timestep: float, x0: Any, log_snr: float) -> Any:
            return x0[:1]

    pipe = pipeline("latte")
    with guard(pipe, Wrong()), pytest.raises(GenerationBlocked, match="modify gave a tensor"):
        generate(pipe)


def test_the_module_name_does_not_hide_the_function() -> None:
    assert callable(sys.modules["unsafe_video_dataset.defenses"].guard)
