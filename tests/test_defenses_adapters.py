"""Filters that exist elsewhere, as defences; and a defence that steers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.defenses import (
    Chain,
    CosmosGuardrail,
    GuardModel,
    LatentSteering,
    SafetyChecker,
    as_output_defense,
    as_safety_checker,
    parse_guard_answer,
)
from unsafe_video_dataset.defenses.adapters import LLAMA_GUARD_CATEGORIES
from unsafe_video_dataset.errors import FilterError, InputError

FRAMES = (np.arange(6 * 4 * 4 * 3) % 251).astype(np.uint8).reshape(6, 4, 4, 3)


# -- guard models that answer in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("safe", (False, ())),
        ("\n\nsafe\n", (False, ())),
        (" SAFE ", (False, ())),
        ("unsafe\nS1", (True, ("S1",))),
        ("\n\nunsafe\nS1,S10", (True, ("S1", "S10"))),
        ("Unsafe\n S2 , S3 \n", (True, ("S2", "S3"))),
        ("unsafe", (True, ())),
    ],
    ids=repr,
)
def test_the_answers_of_a_guard_model(answer: str, expected: Any) -> None:
    assert parse_guard_answer(answer) == expected


NO_ANSWERS = ["", "Safe to say", "I can't help with that", "safe\nS1", "unsafe\nS1\nS2", "unsafe\nS1,", "unsafe S1"]


@pytest.mark.parametrize("answer", [*NO_ANSWERS, "unsafe\nit is bad"])
def test_any_other_answer_is_a_failure(answer: str) -> None:
    with pytest.raises(InputError, match="neither 'safe' nor 'unsafe'"):
        parse_guard_answer(answer)


def test_a_guard_model_is_a_prompt_filter() -> None:
    answers = {"a": "safe", "b": "unsafe\nS1,S13", "c": "unsafe\nS13", "d": "unsafe"}
    model = GuardModel(answers.__getitem__, names=LLAMA_GUARD_CATEGORIES, ignore=["S13"])
    verdicts = {prompt: model.check_prompt(prompt) for prompt in answers}
    assert {prompt: verdict.action for prompt, verdict in verdicts.items()} == {
        "a": "allow",
        "b": "block",
        "c": "allow",
        "d": "block",
    }
    assert verdicts["b"].categories == ("Violent Crimes", "Elections")
    assert (verdicts["c"].score, verdicts["c"].stage, verdicts["c"].decided_by) == (1.0, "prompt", "guard-model")
    assert Chain(model).prompt == (model,)
    assert GuardModel(lambda prompt: "unsafe\nX9").check_prompt("a").categories == ("X9",)
    with pytest.raises(FilterError, match="one string"):
        GuardModel(answers.__getitem__, ignore="S1")


# -- diffusers' safety checkers


class Checker:
    """The shape of diffusers' StableDiffusionSafetyChecker."""

    def __init__(self, flagged: set[int]) -> None:
        self.flagged, self.seen, self.inputs = flagged, 0, []  # type: ignore[var-annotated]

    def __call__(self, *, images: Any, clip_input: Any) -> tuple[Any, list[bool]]:
        assert images.dtype == np.float32
        assert 0 <= images.min() <= images.max() <= 1
        self.inputs.append(clip_input)
        flags = [self.seen + i in self.flagged for i in range(len(images))]
        self.seen += len(images)
        return images, flags


def test_a_safety_checker_sees_every_frame_in_batches() -> None:
    checker = Checker({4})
    verdict = SafetyChecker(checker, batch_size=4).check_video(FRAMES)
    assert (verdict.action, verdict.score, verdict.stage) == ("block", pytest.approx(1 / 6), "output")
    assert checker.seen == 6
    assert SafetyChecker(Checker({4}), min_frames=2).check_video(FRAMES).action == "allow"
    assert SafetyChecker(Checker({0}), min_frames=9).check_video(FRAMES[:1]).action == "block", "a short video is no way out"
    strided = Checker({2})
    assert SafetyChecker(strided, stride=2).check_video(FRAMES).blocked
    assert strided.seen == 3
    with pytest.raises(FilterError, match="at least 1"):
        SafetyChecker(checker, stride=0)


def test_a_feature_extractor_gets_images() -> None:
    pytest.importorskip("PIL")
    from types import SimpleNamespace

    def extract(images: Any, *, return_tensors: str) -> Any:
        return SimpleNamespace(pixel_values=[np.asarray(image).mean() for image in images])

    checker = Checker(set())
    SafetyChecker(checker, feature_extractor=extract).check_video(FRAMES)
    assert checker.inputs == [[pytest.approx(frame.mean()) for frame in FRAMES]]


@pytest.mark.parametrize("answer", [None, [False] * 6, (None, [False]), (None, True), (None, None)])
def test_a_checker_that_does_not_answer_for_each_image_fails(answer: Any) -> None:
    with pytest.raises(InputError, match="one bool for each of 6 images"):
        SafetyChecker(lambda **given: answer).check_video(FRAMES)


def test_the_real_safety_checker_of_diffusers() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    from types import SimpleNamespace

    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(vision_config=vision, projection_dim=8)
    checker = StableDiffusionSafetyChecker(config).eval()

    def extract(images: Any, *, return_tensors: str) -> Any:
        pixels = np.stack([np.asarray(image.resize((8, 8)), dtype=np.float32) for image in images]) / 255
        return SimpleNamespace(pixel_values=torch.from_numpy(pixels).permute(0, 3, 1, 2))

    defense = SafetyChecker(checker, feature_extractor=extract)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(2.0)  # no similarity reaches it
        checker.special_care_embeds_weights.fill_(2.0)
        assert defense.check_video(FRAMES).action == "allow"
        checker.concept_embeds_weights.fill_(-2.0)
        assert defense.check_video(FRAMES.copy()).action == "block"


def test_a_defence_as_a_safety_checker() -> None:
    check = as_safety_checker(as_output_defense(lambda frames: frames.mean() > 100))
    images = np.stack([np.zeros((4, 4, 3)), np.ones((4, 4, 3))]).astype(np.float32)
    made, flags = check(images=images, clip_input=None)
    assert flags == [False, True]
    assert not made.any()
    assert images.any(), "the caller's own array is left alone"
    torch = pytest.importorskip("torch")
    made, flags = check(images=torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (flags, float(made.sum()), tuple(made.shape)) == ([False, True], 0.0, (2, 3, 4, 4))


# -- the Cosmos guardrail


class Guardrail:
    """The shape of cosmos_guardrail's CosmosSafetyChecker."""

    def __init__(self, video: Any = "same", text: Any = True) -> None:
        self.video, self.text = video, text

    def check_text_safety(self, prompt: str) -> Any:
        return self.text

    def check_video_safety(self, frames: Any) -> Any:
        if isinstance(self.video, str) and self.video == "blur":
            frames[:, :2] = 0
        return None if self.video is None else frames if isinstance(self.video, str) else self.video


def test_a_cosmos_guardrail_guards_both_ends() -> None:
    pristine = FRAMES.copy()
    fine = CosmosGuardrail(Guardrail())
    assert fine.check_prompt("a").action == "allow"
    assert fine.check_video(FRAMES).action == "allow"
    bad = CosmosGuardrail(Guardrail(video=None, text=np.bool_(False)))
    assert (bad.check_prompt("a").action, bad.check_video(FRAMES).action) == ("block", "block")
    chain = Chain(fine)
    assert (len(chain.prompt), len(chain.latent), len(chain.output)) == (1, 0, 1)
    blurred = CosmosGuardrail(Guardrail(video="blur")).check_video(FRAMES)
    assert (blurred.action, blurred.note) == ("block", "the guardrail changed the frames")
    assert CosmosGuardrail(Guardrail(video="blur"), changed="allow").check_video(FRAMES).action == "allow"
    assert np.array_equal(FRAMES, pristine), "it blurs a copy"


def test_a_guardrail_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="has no check_text_safety and no check_video_safety"):
        CosmosGuardrail(object())
    with pytest.raises(InputError, match="must say True"):
        CosmosGuardrail(Guardrail(text="yes")).check_prompt("a")
    with pytest.raises(InputError, match="must give"):
        CosmosGuardrail(Guardrail(video=np.zeros((1, 2)))).check_video(FRAMES)
    with pytest.raises(FilterError, match="changed"):
        CosmosGuardrail(Guardrail(), changed="maybe")  # type: ignore[arg-type]


# -- steering


def test_steering_is_the_papers_formula_in_x0() -> None:
    torch = pytest.importorskip("torch")
    x0 = torch.tensor([[0.0, 0.0, 1.0]])
    concept = torch.tensor([[0.5, 3.0, 1.2]])
    steering = LatentSteering(lambda x0: concept, scale=1.0, limit=2.0, momentum=0.5, beta=0.4, warmup=1)
    seen = {"timestep": 1.0, "x0": x0, "log_snr": 0.0}
    state, verdict = steering.observe(steering.start(None), step=1, **seen)  # type: ignore[arg-type]
    assert verdict is None
    assert steering.modify(state, step=1, **seen) is None, "warming up"
    state, _ = steering.observe(state, step=2, **seen)
    shift = torch.tensor([[0.25, 0.0, 0.04]])  # min(1, |d|) * d; the second is too far away
    first = 0.6 * shift
    assert torch.allclose(steering.modify(state, step=2, **seen), x0 - (shift + 0.5 * first))
    assert torch.allclose(state.momentum, 0.4 * first + 0.6 * (shift + 0.5 * first))
    assert steering.finish(state).action == "allow"
    silent, _ = LatentSteering(lambda x0, step: None).observe(steering.start(None), step=1, **seen)  # type: ignore[arg-type]
    assert silent.x0 is None
    with pytest.raises(FilterError, match="beta in"):
        LatentSteering(lambda x0: x0, beta=1.0)


def test_steering_changes_a_real_generation_and_never_blocks() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from pipes import generate, pipeline

    from unsafe_video_dataset.defenses import guard

    pipe = pipeline("latte")
    free = generate(pipe)
    with guard(pipe, LatentSteering(lambda x0: x0 + 0.5, warmup=2)) as one:
        steered = generate(pipe)
    assert one.last.verdicts[0].action == "modify"
    assert one.last.verdicts[0].decided_by == "steering"
    assert not np.array_equal(steered, free)
    with guard(pipe, LatentSteering(lambda x0: None)) as one:
        assert np.array_equal(generate(pipe), free)
    assert one.last.verdicts[0].action == "allow"
    assert torch.is_grad_enabled()
