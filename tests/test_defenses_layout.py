"""How latents of samples lie side by side, what is left of a blocked one, and the tap on a method."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unsafe_video_dataset.defenses.blank import blank_decode  # noqa: E402
from unsafe_video_dataset.defenses.layout import bind_call, layout_of, prompts_of  # noqa: E402
from unsafe_video_dataset.defenses.scrub import (  # noqa: E402
    blank_rows,
    clear_traceback,
    restore,
    snapshot,
    videos_of,
    zero_memory,
    zero_rows,
)
from unsafe_video_dataset.defenses.tap import hold, plain_class, release  # noqa: E402
from unsafe_video_dataset.errors import DefenseNotAttached  # noqa: E402


class Pipe:
    def __call__(self, prompt: Any = None, num_frames: int = 3, num_videos_per_prompt: int = 1, **kwargs: Any) -> None: ...


class CogVideoXAnything(Pipe): ...


def layout(shape: tuple[int, ...], *args: Any, pipe: Any = None, **kwargs: Any) -> Any:
    pipe = pipe or Pipe()
    return layout_of(pipe, torch.zeros(shape), bind_call(pipe, args, kwargs))


def test_arguments_are_found_by_name_wherever_they_stand() -> None:
    call = bind_call(Pipe(), ("a",), {"extra": 1})
    assert (call["prompt"], call["num_frames"], call["extra"]) == ("a", 3, 1)
    assert prompts_of({"prompt": {0: "a", 8: "b"}}) == ["a b"]
    assert prompts_of({"prompt": ["a", "b"]}) == ["a", "b"]
    assert prompts_of({}) is None
    assert bind_call(Pipe(), (1, 2, 3, 4, 5), {"prompt_embeds": 1}) == {"prompt_embeds": 1}


@pytest.mark.parametrize(
    ("shape", "given", "kind", "batch", "sample"),
    [
        ((2, 4, 5, 8, 8), {"prompt": ["a", "b"]}, "CTHW", 2, (4, 5, 8, 8)),
        ((4, 4, 5, 8, 8), {"prompt": ["a", "b"], "num_videos_per_prompt": 2}, "CTHW", 4, (4, 5, 8, 8)),
        ((6, 4, 8, 8), {"prompt": ["a", "b"]}, "CTHW", 2, (4, 3, 8, 8)),  # text-to-video SD: frames side by side
        ((12, 4, 8, 8), {"prompt": ["a", "b"], "num_videos_per_prompt": 2}, "CTHW", 4, (4, 3, 8, 8)),
        ((2, 4, 8, 8), {"prompt": ["a", "b"]}, "CHW", 2, (4, 8, 8)),
        ((2, 10, 16), {"prompt": ["a", "b"]}, "raw", 2, (10, 16)),
        ((2, 4, 5, 8, 8), {"prompt_embeds": torch.zeros(2, 3, 4)}, "CTHW", 2, (4, 5, 8, 8)),
        ((3, 4, 5, 8, 8), {}, "CTHW", 3, (4, 5, 8, 8)),
    ],
)
def test_the_layout_of_latents(shape: Any, given: dict[str, Any], kind: str, batch: int, sample: Any) -> None:
    found = layout(shape, **given)
    assert (found.kind, found.batch) == (kind, batch)
    x0 = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    parts = found.split(x0)
    assert len(parts) == batch
    assert tuple(parts[0].shape) == sample
    assert torch.equal(found.join(parts), x0)
    rows = found.rows_of([1])
    marked = torch.zeros(shape)
    marked[rows] = 1
    assert [bool(part.all()) and bool(part.any()) for part in found.split(marked)] == [i == 1 for i in range(batch)]


def test_frames_first_is_turned() -> None:
    found = layout((2, 5, 4, 8, 8), ["a", "b"], pipe=CogVideoXAnything())
    assert tuple(found.split(torch.zeros(2, 5, 4, 8, 8))[0].shape) == (4, 5, 8, 8)
    assert found.join([torch.zeros(4, 5, 8, 8)] * 2).shape == (2, 5, 4, 8, 8)


@pytest.mark.parametrize(("shape", "prompts"), [((5, 4, 8, 8), 2), ((3, 10, 16), 2), ((3, 4, 5, 8, 8), 2)])
def test_samples_that_cannot_be_told_apart_are_refused(shape: Any, prompts: int) -> None:
    with pytest.raises(DefenseNotAttached, match="can't be told apart"):
        layout(shape, ["a"] * prompts)


# -- what is left


def test_rows_are_zeroed_in_copies() -> None:
    latents = torch.ones(3, 2, 2)
    scheduler = SimpleNamespace(
        outputs=[None, torch.ones(3, 2, 2)], last=torch.ones(3, 2, 2), sigmas=torch.ones(3), order=1, other=torch.ones(2, 2, 2)
    )
    kept = scheduler.outputs
    zero_memory(scheduler, [1], (3, 2, 2))
    assert scheduler.outputs[0] is None
    assert [float(row.sum()) for row in scheduler.outputs[1]] == [4, 0, 4]
    assert [float(row.sum()) for row in scheduler.last] == [4, 0, 4]
    assert float(scheduler.sigmas.sum()) == 3, "not every tensor of that length is a latent"
    assert float(scheduler.other.sum()) == 8
    assert float(kept[1].sum()) == 12, "the caller's own tensor is left alone"
    assert float(zero_rows(latents, [0, 2], (3, 2, 2)).sum()) == 4
    assert float(latents.sum()) == 12


def test_a_snapshot_takes_back_what_came_and_what_went() -> None:
    thing = SimpleNamespace(kept=1, memory=[None, None])
    before = snapshot(thing)
    thing.memory[0] = torch.ones(1)
    thing.new, thing.kept = torch.ones(1), 2
    restore(thing, before)
    assert vars(thing) == {"kept": 1, "memory": [None, None]}


def test_cleared_tracebacks_keep_their_lines_and_lose_their_values() -> None:
    def inner(secret: Any) -> None:
        locals()
        raise ValueError("inner")

    def outer(secret: Any) -> None:
        try:
            inner(secret)
        except ValueError as error:
            raise RuntimeError("outer") from error

    marker = object()
    try:
        outer(marker)
    except RuntimeError as error:
        held = sys.getrefcount(marker)
        clear_traceback(error)
        assert sys.getrefcount(marker) < held
        frames = [error.__traceback__, error.__cause__.__traceback__ if error.__cause__ else None]
        assert [frame.tb_next.tb_frame.f_code.co_name for frame in frames if frame and frame.tb_next] == ["outer", "inner"]
        assert all(not frame.tb_next.tb_frame.f_locals for frame in frames if frame and frame.tb_next)


OUTPUTS = [lambda x: (x, None), lambda x: SimpleNamespace(frames=x), lambda x: SimpleNamespace(images=x)]


@pytest.mark.parametrize("made", OUTPUTS, ids=["tuple", "frames", "images"])
def test_blocked_videos_come_out_black(made: Any) -> None:
    frames = np.ones((3, 2, 4, 4, 3))
    output = blank_rows(made(frames), [1])
    value = output[0] if isinstance(output, tuple) else vars(output).popitem()[1]
    assert [bool(video.any()) for video in value] == [True, False, True]
    assert frames.all()


def test_sound_goes_with_its_video_and_flags_stay() -> None:
    output = blank_rows(
        SimpleNamespace(frames=np.ones((2, 1, 2, 2, 3)), audio=torch.ones(2, 5), flags=[True, True], text="ab"), [0]
    )
    assert [float(row.sum()) for row in output.audio] == [0, 5]
    assert (output.flags, output.text) == ([True, True], "ab")


def test_lists_of_pictures_are_blacked_out() -> None:
    image = pytest.importorskip("PIL.Image")
    white = image.new("RGB", (4, 2), "white")
    output = blank_rows(SimpleNamespace(frames=[[white, white], [white, white]]), [1])
    assert [np.asarray(video[1]).max() for video in output.frames] == [255, 0]
    assert output.frames[1][0].size == (4, 2)


def test_videos_of_every_output_type_are_uint8() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    floats = pixels[None] / 255
    pictures = [[image.fromarray(frame) for frame in pixels]]
    for frames in (floats, torch.from_numpy(floats).permute(0, 1, 4, 2, 3), pictures):
        (video,) = videos_of(SimpleNamespace(frames=frames))
        assert video.dtype == np.uint8
        assert np.array_equal(video, pixels)
    assert [video.shape for video in videos_of(SimpleNamespace(images=torch.zeros(2, 3, 4, 4)))] == [(1, 4, 4, 3)] * 2
    assert [video.shape for video in videos_of(SimpleNamespace(images=np.zeros((2, 4, 4, 3))))] == [(1, 4, 4, 3)] * 2
    with pytest.raises(DefenseNotAttached, match="latents"):
        videos_of(SimpleNamespace(frames=torch.zeros(1, 4, 2, 4, 4)))
    with pytest.raises(DefenseNotAttached, match="neither frames nor images"):
        videos_of(SimpleNamespace(sound=1))
    with pytest.raises(DefenseNotAttached, match=r"not \[T, H, W, 3\]"):
        videos_of((np.zeros((1, 2, 4, 4, 5)),))


# -- the tap


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int = 1) -> int:
        self.total += number
        return self.total


def double(plain: Any, counter: Any, number: int = 1) -> Any:
    return plain(counter, 2 * number)


def test_a_held_method_is_let_go_again() -> None:
    counter = Counter()
    hold(counter, "add", double)
    hold(counter, "add", double)  # a second guard of the same scheduler: counted, not stacked
    assert counter.add() == 2
    assert isinstance(counter, Counter)
    assert (type(counter).__name__, plain_class(counter), "add" in vars(counter)) == ("Counter", Counter, False)
    for other in (copy.copy(counter), copy.deepcopy(counter), pickle.loads(pickle.dumps(counter))):
        assert type(other) is Counter
        assert (other.add(), counter.total) == (3, 2)
    release(counter, "add", double)
    assert counter.add() == 4
    release(counter, "add", double)
    assert type(counter) is Counter
    assert counter.add() == 5


def test_what_cannot_be_held_says_so() -> None:
    with pytest.raises(DefenseNotAttached, match="has no step"):
        hold(Counter(), "step", double)
    with pytest.raises(DefenseNotAttached, match="does not let a guard watch"):
        hold([], "append", double)


def test_holding_from_many_threads_leaves_the_plain_class() -> None:
    counter = Counter()

    def work() -> None:
        for _ in range(200):
            hold(counter, "add", double)
            assert counter.add(0) == 0
            release(counter, "add", double)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert type(counter) is Counter


# -- blank decoding


class Decoder(torch.nn.Module):
    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.net = torch.nn.Conv2d(4, 3, 1)
        self.looks = looks
        self.real = 0

    def decode(self, latents: Any, *, scale: float = 1.0) -> Any:
        if self.looks and float(latents.abs().max()) > 0:  # reading a value can't be done on fake tensors
            raise AssertionError("it was shown a latent")
        return (torch.nn.functional.interpolate(self.net(latents * scale), scale_factor=8.0),)


@pytest.mark.parametrize("looks", [False, True])
def test_the_shape_of_a_decoded_video_is_found_without_its_latent(looks: bool) -> None:
    vae = Decoder(looks=looks).eval()
    (made,) = blank_decode(Decoder.decode, vae, (torch.ones(2, 4, 3, 3),), {"scale": 0.5})
    assert (tuple(made.shape), made.dtype) == ((2, 3, 24, 24), torch.float32)
    if not looks:
        assert not made.any()
