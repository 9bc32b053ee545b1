"""Filters that exist elsewhere, as defences: diffusers' safety checkers, the Cosmos guardrail, Llama Guard. Needs no torch.

None of them is downloaded or built here: pass the object that you have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from ..errors import FilterError, InputError, one_of
from .base import Frames, OutputDefense, Verdict

LLAMA_GUARD_CATEGORIES = {
    "S1": "Violent Crimes",
    "S2": "Non-Violent Crimes",
    "S3": "Sex-Related Crimes",
    "S4": "Child Sexual Exploitation",
    "S5": "Defamation",
    "S6": "Specialized Advice",
    "S7": "Privacy",
    "S8": "Intellectual Property",
    "S9": "Indiscriminate Weapons",
    "S10": "Hate",
    "S11": "Suicide & Self-Harm",
    "S12": "Sexual Content",
    "S13": "Elections",
    "S14": "Code Interpreter Abuse",
}
"""Hazard codes of Llama Guard 3, from its model card."""


def parse_guard_answer(answer: str) -> tuple[bool, tuple[str, ...]]:
    """(unsafe, codes) of a Llama-Guard-style answer: `safe`, or `unsafe` and a line of codes (`S1,S10`).

    Blanks and upper case are forgiven, nothing else is: an answer of another form raises `InputError`, since guessing would
    let a refusal to answer pass as safe.
    """
    lines = [line.strip() for line in str(answer).strip().splitlines() if line.strip()]
    word = lines[0].lower() if lines else ""
    if word == "safe" and len(lines) == 1:
        return False, ()
    if word == "unsafe" and len(lines) <= 2:
        codes = [code.strip() for code in lines[1].split(",")] if len(lines) == 2 else []
        if all(code and " " not in code for code in codes):
            return True, tuple(codes)
    raise InputError(
        f"A guard model gave an answer of {len(lines)} lines that is neither 'safe' nor 'unsafe' and its codes. "
        "Check its chat template, and let it generate enough tokens."
    )


class GuardModel:
    """A `PromptDefense` from a guard model that answers in text.

    `ask(prompt)` gives the model's answer (see `parse_guard_answer`); `names` maps its codes to category names, such as
    `LLAMA_GUARD_CATEGORIES`; a code that it lacks stays as it is. `ignore` lists codes that don't block: an unsafe answer with
    only these is allowed, with its categories named.
    """

    def __init__(
        self,
        ask: Callable[[str], str],
        *,
        names: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        name: str = "guard-model",
    ) -> None:
        if isinstance(ignore, str):
            raise FilterError(f"GuardModel(ignore={ignore!r}) is one string. Give a list of codes: [{ignore!r}].")
        self.ask = ask
        self.names = dict(names or {})
        self.ignore = frozenset(ignore)
        self.name = name

    def check_prompt(self, prompt: str) -> Verdict:
        """See `PromptDefense.check_prompt`. Raises `InputError` on an answer of another form."""
        unsafe, codes = parse_guard_answer(self.ask(prompt))
        blocked = unsafe and not (codes and self.ignore.issuperset(codes))
        found = tuple(self.names.get(code, code) for code in codes)
        return Verdict("block" if blocked else "allow", float(unsafe), found, stage="prompt", decided_by=self.name)


class SafetyChecker:
    """An `OutputDefense` from what diffusers calls a `safety_checker`, frame by frame.

    `checker(images=float32 [N, H, W, 3] in [0, 1], clip_input=...)` gives `(images, has_nsfw_concept)`, one bool an image;
    `feature_extractor(list of PIL images, return_tensors="pt").pixel_values` makes `clip_input` (None without one). Every
    `stride`-th frame is shown, `batch_size` at a time; `min_frames` flagged ones block. The score is the share flagged.
    Raises `FilterError` on numbers below 1.
    """

    def __init__(
        self,
        checker: Callable[..., Any],
        *,
        feature_extractor: Callable[..., Any] | None = None,
        stride: int = 1,
        min_frames: int = 1,
        batch_size: int = 16,
        name: str = "safety-checker",
    ) -> None:
        if min(stride, min_frames, batch_size) < 1:
            raise FilterError("SafetyChecker needs stride, min_frames and batch_size of at least 1.")
        self.checker = checker
        self.feature_extractor = feature_extractor
        self.stride, self.min_frames, self.batch_size = stride, min_frames, batch_size
        self.name = name

    def check_video(self, frames: Frames) -> Verdict:
        """See `OutputDefense.check_video`. Raises `InputError` where the checker does not answer for each image."""
        shown = frames[:: self.stride]
        flags: list[bool] = []
        for start in range(0, len(shown), self.batch_size):
            flags += self._flags(shown[start : start + self.batch_size])
        needed = min(self.min_frames, max(len(flags), 1))  # a video shorter than min_frames can still be blocked
        action: Literal["allow", "block"] = "block" if sum(flags) >= needed else "allow"
        return Verdict(action, sum(flags) / max(len(flags), 1), stage="output", decided_by=self.name)

    def _flags(self, part: Frames) -> list[bool]:
        clip_input = None
        if self.feature_extractor is not None:
            from PIL import Image

            images = [Image.fromarray(frame) for frame in part]
            clip_input = self.feature_extractor(images, return_tensors="pt").pixel_values
        answer = self.checker(images=part.astype(np.float32) / 255, clip_input=clip_input)
        flags = answer[1] if isinstance(answer, tuple) and len(answer) == 2 else None
        if flags is None or isinstance(flags, (bool, str)) or len(flags) != len(part):
            raise InputError(f"A safety checker must give (images, one bool for each of {len(part)} images).")
        return [bool(flag) for flag in flags]


def as_safety_checker(defense: OutputDefense) -> Callable[..., tuple[Any, list[bool]]]:
    """The other way round: a callable that diffusers' image pipelines take for their `safety_checker`.

    Each image is judged as a video of one frame; flagged ones come back black. `images`: float [N, H, W, 3] in [0, 1], or a
    tensor [N, 3, H, W].
    """

    def check(*, images: Any, clip_input: Any = None) -> tuple[Any, list[bool]]:
        array = np.asarray(images.detach().float().cpu().permute(0, 2, 3, 1) if hasattr(images, "permute") else images)
        pixels = np.asarray((array.clip(0, 1) * 255).round(), dtype=np.uint8)
        flags = [defense.check_video(frame[None]).blocked for frame in pixels]
        made = images.clone() if hasattr(images, "permute") else np.array(images)
        for i, flag in enumerate(flags):
            if flag:
                made[i] = 0
        return made, flags

    return check


Changed = Literal["block", "allow"]


class CosmosGuardrail:
    """A prompt and output defence from an object with `check_text_safety(prompt)` and `check_video_safety(frames)`.

    The first gives True where the prompt is safe; the second the frames uint8 [T, H, W, 3], or None where they are unsafe.
    Cosmos' own guardrail also blurs faces: it then gives other frames than it got. A verdict can't hand these on, so by
    default (`changed="block"`) such a video is blocked; `changed="allow"` lets the video pass as it was.
    Raises `InputError` where the object has neither method, or gives anything else.
    """

    def __init__(self, guardrail: Any, *, changed: Changed = "block", name: str = "cosmos-guardrail") -> None:
        one_of(changed, get_args(Changed), "CosmosGuardrail(changed)")
        missing = [
            method for method in ("check_text_safety", "check_video_safety") if not callable(getattr(guardrail, method, None))
        ]
        if missing:
            raise InputError(
                f"A {type(guardrail).__name__} has no {' and no '.join(missing)}: it is no Cosmos-style guardrail."
            )
        self.guardrail = guardrail
        self.changed = changed
        self.name = name

    def check_prompt(self, prompt: str) -> Verdict:
        """See `PromptDefense.check_prompt`."""
        safe = self.guardrail.check_text_safety(prompt)
        if not isinstance(safe, (bool, np.bool_)):
            raise InputError(f"check_text_safety gave {type(safe).__name__}; it must say True (safe) or False.")
        return Verdict("allow" if safe else "block", float(not safe), stage="prompt", decided_by=self.name)

    def check_video(self, frames: Frames) -> Verdict:
        """See `OutputDefense.check_video`."""
        given = frames.copy()  # it may blur in place
        made = self.guardrail.check_video_safety(given)
        if made is None:
            return Verdict("block", 1.0, stage="output", decided_by=self.name)
        if np.shape(made) != frames.shape:
            raise InputError(f"check_video_safety gave {list(np.shape(made))}; it must give {list(frames.shape)} or None.")
        if not np.array_equal(made, frames):
            action: Literal["allow", "block"] = "block" if self.changed == "block" else "allow"
            return Verdict(action, 0.0, stage="output", decided_by=self.name, note="the guardrail changed the frames")
        return Verdict("allow", 0.0, stage="output", decided_by=self.name)
