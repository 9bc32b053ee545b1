"""Decoding in a child process: the same frames, and whatever happens to the child is one `DecodeError`."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import video_files

from unsafe_video_dataset import isolate
from unsafe_video_dataset.errors import DecodeError, UnsupportedVideo
from unsafe_video_dataset.isolate import ChildLimits
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import DECODERS, VideoHandle, decode_frames, decoder_status, probe_video

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and CPU limits are Linux's")


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Any:
    isolate.close_children()
    yield
    isolate.close_children()
    assert not isolate._idle
    gc.collect()
    assert not isolate._live


def the_child() -> isolate._Child:
    (child,) = isolate._idle
    return child


def _zombies() -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and fields[1] == str(os.getpid()):
            found.append(stat.parent.name)
    return found


# -- the same frames


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_same_frames_as_in_this_process(decoder: str) -> None:
    if not decoder_status()[decoder].startswith("ok"):
        pytest.skip(decoder_status()[decoder])
    for kind in ("plain", "open_gop", "odd_sized", "hevc", "vp9", "mpeg4", "trimmed_start"):
        data = video_files.GOOD[kind]()
        for indices, size in ((None, None), ([3, 0, 0, 5], (40, 50))):
            here = decode_frames(data, indices, size=size, decoder=decoder)
            there = decode_frames(data, indices, size=size, decoder=decoder, isolate=True)
            assert there.flags.c_contiguous
            np.testing.assert_array_equal(here, there, err_msg=kind)


def test_probe_handle_and_one_child_for_all() -> None:
    data = video_files.plain()
    assert probe_video(data, isolate=True) == probe_video(data)
    child = the_child()
    frames = VideoHandle(data).frames([1], isolate=True)
    np.testing.assert_array_equal(frames, decode_frames(data, [1]))
    assert the_child() is child


def test_no_frames_need_no_child() -> None:
    assert decode_frames(video_files.plain(), [], isolate=True).shape == (0, 3, 96, 96)
    assert not isolate._idle


def test_what_is_no_mp4_never_reaches_the_child() -> None:
    with pytest.raises(UnsupportedVideo, match="HLS playlist"):
        decode_frames(video_files.HLS, isolate=True)
    assert not isolate._idle


# -- a child that fails


def test_an_error_of_the_codec_is_named_and_the_child_is_kept() -> None:
    data = video_files.plain()
    decode_frames(data, isolate=True)
    child = the_child()
    wrong = dataclasses.replace(inspect_mp4(data), width=64, height=64)  # as if the check had missed it
    with pytest.raises(isolate.ChildError, match="frame 0 is 96x96, the header says 64x64"):
        list(isolate.frames(data, [0], (64, 64), wrong, "pyav"))
    with pytest.raises(isolate.ChildError, match="frame 0 is 96x96"):
        isolate.count_frames(data, wrong)
    assert the_child() is child


@linux
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_one_error_and_the_next_video_gets_a_new_child(number: signal.Signals) -> None:
    data = video_files.plain()
    decode_frames(data, isolate=True)
    child = the_child()
    os.kill(child.process.pid, signal.SIGSTOP)  # so that it can't answer before it dies
    killer = threading.Timer(0.3, lambda: os.kill(child.process.pid, number) or os.kill(child.process.pid, signal.SIGCONT))
    killer.start()
    with pytest.raises(DecodeError) as caught:
        decode_frames(data, name="0123456789abcdef", isolate=True)
    killer.join()
    assert str(caught.value).startswith("0123456789abcdef: ")
    assert number.name in str(caught.value)
    assert "re-encode" in str(caught.value)
    assert not _zombies()
    np.testing.assert_array_equal(decode_frames(data, isolate=True), decode_frames(data))
    assert the_child() is not child


def test_an_idle_child_that_died_is_replaced_without_an_error() -> None:
    data = video_files.plain()
    decode_frames(data, isolate=True)
    child = the_child()
    child.process.kill()
    child.process.wait()
    decode_frames(data, isolate=True)
    assert the_child() is not child


@linux
def test_a_hang_ends_at_the_wall_limit() -> None:
    data = video_files.plain()
    decode_frames(data, isolate=True)
    os.kill(the_child().process.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(DecodeError, match=r"no answer within 0\.5 seconds"):
        decode_frames(data, isolate=ChildLimits(wall_seconds=0.5))
    assert time.monotonic() - started < 10
    assert not _zombies()
    assert len(decode_frames(data, isolate=True)) == 16


@linux
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_memory_is_limited(decoder: str) -> None:
    if not decoder_status()[decoder].startswith("ok"):
        pytest.skip(decoder_status()[decoder])
    data = video_files.encode(video_files.shapes(2, 1088, 1920), x264="bframes=0")
    with pytest.raises(DecodeError, match=r"memory|failed at frame"):
        decode_frames(data, decoder=decoder, isolate=ChildLimits(memory_bytes=2**20))
    assert decode_frames(data, decoder=decoder, isolate=True).shape == (2, 3, 1088, 1920)


@pytest.fixture
def hostile_decoder(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put the body of a function in the place of the child's PyAV backend."""

    def put(body: str) -> None:
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        code = f"""
import socket
from unsafe_video_dataset import _decode_child, decoders

def hostile(data, wanted, size, info):
{lines}
    yield

decoders.BACKENDS["pyav"] = hostile
_decode_child.main()
"""
        monkeypatch.setattr(isolate, "_START", f"import json, sys; sys.path[:] = json.loads(sys.argv[1])\n{code}")

    return put


@linux
def test_cpu_time_is_limited(hostile_decoder: Callable[[str], None]) -> None:
    hostile_decoder("while True:\n    pass")
    with pytest.raises(DecodeError, match=r"took more than 0\.5 seconds of CPU time"):
        decode_frames(video_files.plain(), decoder="pyav", isolate=ChildLimits(cpu_seconds=0.5))
    assert not _zombies()


@linux
def test_a_bomb_of_memory_is_one_error(hostile_decoder: Callable[[str], None]) -> None:
    hostile_decoder("held = bytearray(8 * 2**30)")
    with pytest.raises(DecodeError, match="needs more than 2,147,483,648 bytes of memory"):
        decode_frames(video_files.plain(), decoder="pyav", isolate=True)


@linux
def test_while_it_decodes_a_child_can_open_nothing(tmp_path: Path, hostile_decoder: Callable[[str], None]) -> None:
    """A decoder that tries is put into the child; what it may not, fails there."""
    hostile_decoder(
        f"""tried = []
for do in (socket.socket, lambda: open({str(tmp_path / "made")!r}, "w"), lambda: open("/etc/hostname")):
    try:
        do()
        tried.append("worked")
    except OSError as error:
        tried.append(type(error).__name__)
raise ValueError(" ".join(tried))"""
    )
    with pytest.raises(DecodeError, match="OSError OSError OSError"):
        decode_frames(video_files.plain(), decoder="pyav", isolate=True)
    assert not (tmp_path / "made").exists()


@linux
def test_a_child_that_answers_nonsense() -> None:
    before = isolate._START
    for answer, told in (
        (b"x" * 9, "nonsense"),
        (isolate.HEAD.pack(b"f", 2**60), "were expected"),
        (isolate.HEAD.pack(b"d", 2**60), "nonsense"),
        (isolate.HEAD.pack(b"d", 3) + b"[1]", "nonsense"),
        (isolate.HEAD.pack(b"d", 2) + b"{}", "ended before frame 0"),
        (b"", "ended with code 0"),
    ):
        isolate._START = f"import sys; sys.stdout.buffer.write({answer!r}); sys.stdout.flush(); sys.stdin.buffer.read(300)"
        try:
            with pytest.raises(DecodeError, match=told):
                decode_frames(video_files.plain(), isolate=True)
        finally:
            isolate._START = before
            isolate.close_children()
    assert not _zombies()


# -- processes and threads


def test_threads_have_a_child_each() -> None:
    data, seen = video_files.plain(), []

    def work() -> None:
        seen.append(decode_frames(data, isolate=True).sum())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert len(seen) == 3


_SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
import video_files
from unsafe_video_dataset import isolate
from unsafe_video_dataset.video import decode_frames
decode_frames(video_files.plain(), isolate=True)
print(isolate._idle[0].process.pid, flush=True)
{then}
"""


def _run(then: str) -> tuple[subprocess.Popen[str], int]:
    script = _SCRIPT.format(tests=str(Path(__file__).parent), then=then)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _gone(pid: int) -> bool:
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


@linux
@pytest.mark.parametrize("end", ["exit", "os._exit", "SIGKILL", "SIGTERM"])
def test_children_end_with_their_process(end: str) -> None:
    then = {"exit": "", "os._exit": "os._exit(0)"}.get(end, "time.sleep(60)")
    process, pid = _run(then)
    if end.startswith("SIG"):
        process.send_signal(getattr(signal, end))
    process.wait(timeout=30)
    assert _gone(pid)


@linux
def test_a_fork_starts_its_own_child_and_leaves_the_parents_alone() -> None:
    process, pid = _run(
        """
made = os.fork()
if made == 0:
    assert not isolate._idle and not isolate._live
    frames = decode_frames(video_files.plain(), isolate=True)
    mine = isolate._idle[0].process.pid
    isolate.close_children()
    os._exit(0 if len(frames) == 16 and mine != os.getppid() else 1)
assert os.waitpid(made, 0)[1] == 0
decode_frames(video_files.plain(), isolate=True)
print(isolate._idle[0].process.pid)
"""
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(out) == pid


@linux
def test_workers_of_a_data_loader() -> None:
    torch = pytest.importorskip("torch")
    from unsafe_video_dataset import UnsafeVideoDataset

    isolated = UnsafeVideoDataset(split="validation", size=16, isolate=True)
    plain = UnsafeVideoDataset(split="validation", size=16)
    isolated[0]
    loaded = list(torch.utils.data.DataLoader(isolated, batch_size=None, num_workers=2))
    assert [item["video_id"] for item in loaded] == plain.video_ids
    for number, item in enumerate(loaded):
        assert torch.equal(item["video"], plain[number]["video"])
    assert len(isolate._idle) == 1
    pickle.loads(pickle.dumps(ChildLimits(1, 2, 3)))


@linux
def test_nothing_leaks() -> None:
    data = video_files.plain()
    decode_frames(data, isolate=True)
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        the_child().process.kill()
        time.sleep(0.05)
        for _ in range(20):
            decode_frames(data, [0], isolate=True)
    assert len(os.listdir("/proc/self/fd")) <= open_files  # noqa: PTH208
    assert threading.active_count() < 20
    assert not _zombies()


def test_it_says_what_it_limits() -> None:
    assert isolate.limits_here()[-1] == "wall"
    if sys.platform == "linux":
        assert isolate.limits_here() == ("memory", "cpu", "wall")


def test_without_limits_it_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "limits_here", lambda: ("wall",))
    monkeypatch.setattr(isolate, "_registered", 0)
    with pytest.warns(RuntimeWarning, match="can't limit cpu and memory"):
        assert len(decode_frames(video_files.plain(), isolate=True)) == 16


def test_secrets_of_the_environment_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    decode_frames(video_files.plain(), isolate=True)
    if sys.platform == "linux":
        assert b"HF_TOKEN" not in Path(f"/proc/{the_child().process.pid}/environ").read_bytes()
