"""`FrameCache`: what comes back is what was put in or nothing; bounded, shared, private, and gone when it is purged."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from unsafe_video_dataset import FrameCache
from unsafe_video_dataset.cache import DEFAULT_MAX_BYTES, as_cache
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.clip_file import ClipKey, clip_key
from unsafe_video_dataset.errors import FilterError, InputError

SHAPE = (4, 3, 8, 10)
CLIP = 64 + 4 * 3 * 8 * 10
"""Bytes of a clip in the cache: its header and its frames."""
posix = pytest.mark.skipif(os.name == "nt", reason="permissions and signals of POSIX")


def clip(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, SHAPE, np.uint8)


def key(number: int) -> ClipKey:
    return clip_key(f"{number:016x}" + "0" * 48, [0, 1, 2, 3], (8, 10), "test")


def files(cache: FrameCache) -> list[Path]:
    return sorted(cache.path.glob("clips/*/*.clip"))


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return FrameCache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def _no_other_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# -- in and out


def test_what_is_put_in_comes_back(cache: FrameCache) -> None:
    assert cache.get(key(1)) is None
    assert cache.put(key(1), clip(1))
    found = cache.get(key(1))
    assert found is not None
    np.testing.assert_array_equal(found, clip(1))
    assert found.flags.writeable
    assert cache.get(key(2)) is None
    assert cache.counts == {"hits": 1, "misses": 2, "writes": 1, "damaged": 0, "evicted": 0, "no_room": 0}
    assert cache.usage() == (1, CLIP)
    assert not cache.put(key(1), clip(1)), "it is there already"


def test_it_is_read_to_where_it_is_wanted(cache: FrameCache) -> None:
    cache.put(key(1), clip(1)[:, :, :, ::-1])
    batch = np.zeros((3, *SHAPE), np.uint8)
    assert cache.get(key(1), out=batch[1]) is not None
    np.testing.assert_array_equal(batch[1], clip(1)[:, :, :, ::-1])
    assert not batch[[0, 2]].any()


@pytest.mark.parametrize(
    "other",
    [
        clip_key("1" * 64, [0, 1, 2, 3], (8, 10), "test"),
        clip_key(f"{1:016x}" + "1" * 48, [0, 1, 2, 3], (8, 10), "test"),
        clip_key(f"{1:016x}" + "0" * 48, [0, 1, 2, 2], (8, 10), "test"),
        clip_key(f"{1:016x}" + "0" * 48, [0, 1, 2, 3], (10, 8), "test"),
        clip_key(f"{1:016x}" + "0" * 48, [0, 1, 2, 3], None, "test"),
        clip_key(f"{1:016x}" + "0" * 48, [0, 1, 2, 3], (8, 10), "test 2"),
    ],
)
def test_all_that_decides_the_pixels_is_in_the_key(cache: FrameCache, other: ClipKey) -> None:
    cache.put(key(1), clip(1))
    assert cache.get(other) is None


def test_it_pickles_and_another_one_reads_it(cache: FrameCache) -> None:
    cache.put(key(1), clip(1))
    for other in (pickle.loads(pickle.dumps(cache)), FrameCache(cache.path)):
        assert np.array_equal(other.get(key(1)), clip(1))


def test_what_a_dataset_takes(tmp_path: Path) -> None:
    assert as_cache(None) is None
    made = FrameCache(tmp_path / "a", max_bytes=1000)
    assert as_cache(made) is made
    opened = as_cache(tmp_path / "b")
    assert opened is not None
    assert opened.path == tmp_path / "b"


# -- damage


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def other_clip(path: Path) -> None:
    other = FrameCache(path.parents[3] / "other")
    other.put(key(2), clip(2))
    path.write_bytes(files(other)[0].read_bytes())


def huge(path: Path) -> None:
    """The header says 2**32 - 1 frames: nothing is allocated for them."""
    data = bytearray(path.read_bytes())
    data[32:36] = b"\xff" * 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, cut, cut_head, empty, longer, other_clip, huge])
@pytest.mark.parametrize("given", [True, False])
def test_a_damaged_clip_is_never_served(cache: FrameCache, damage: Callable[[Path], None], given: bool) -> None:
    cache.put(key(1), clip(1))
    damage(files(cache)[0])
    with pytest.warns(RuntimeWarning, match="damaged clip, which is decoded anew"):
        assert cache.get(key(1), out=np.zeros(SHAPE, np.uint8) if given else None) is None
    assert files(cache) == []
    assert cache.counts["damaged"] == 1
    assert cache.put(key(1), clip(1))
    assert np.array_equal(cache.get(key(1)), clip(1))  # type: ignore[arg-type]


def test_a_clip_of_another_shape_than_wanted_is_damaged(cache: FrameCache) -> None:
    cache.put(key(1), clip(1))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert cache.get(key(1), out=np.zeros((4, 3, 10, 8), np.uint8)) is None


@posix
def test_a_link_is_not_followed(cache: FrameCache, tmp_path: Path) -> None:
    cache.put(key(1), clip(1))
    path = files(cache)[0]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="can't be read"):
        assert cache.get(key(1)) is None


# -- the limit


def age(cache: FrameCache, number: int, seconds: float) -> None:
    path = next(cache.path.glob(f"clips/*/{key(number).video_id}-*.clip"))
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_clips_unused_for_longest_go_first(tmp_path: Path) -> None:
    first = FrameCache(tmp_path / "cache", max_bytes=4 * CLIP)
    for number in range(4):
        assert first.put(key(number), clip(number))
        age(first, number, 100 - number)
    again = FrameCache(first.path, max_bytes=4 * CLIP)
    assert again.get(key(0)) is not None  # now it is the one used last
    assert again.put(key(4), clip(4))
    assert [number for number in range(5) if again.get(key(number)) is not None] == [0, 2, 3, 4]
    assert again.usage()[1] <= 4 * CLIP
    assert again.counts["evicted"] == 1


def test_what_this_run_used_stays_and_the_rest_is_not_kept(tmp_path: Path) -> None:
    """Clips that do not fit would push each other out before they are wanted again: no hit at all, epoch after epoch."""
    cache = FrameCache(tmp_path / "cache", max_bytes=3 * CLIP)
    for number in range(3):
        assert cache.put(key(number), clip(number))
    with pytest.warns(RuntimeWarning, match=r"is full with clips of this run.*Raise max_bytes"):
        assert not cache.put(key(3), clip(3))
    assert not cache.put(key(4), clip(4)), "said once, done each time"
    assert [cache.get(key(number)) is not None for number in range(5)] == [True, True, True, False, False]
    assert cache.usage() == (3, 3 * CLIP)
    assert cache.counts["no_room"] == 2
    cache.forget([key(0).video_id])
    assert cache.put(key(4), clip(4)), "there is room again"


def test_a_limit_below_one_clip_is_an_error(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache", max_bytes=CLIP - 1)
    with pytest.raises(FilterError, match=r"A clip has 1,024 bytes, and the cache .* may hold 1,023 in all"):
        cache.put(key(1), clip(1))
    for wrong in (0, -1, True, 1.5, "10GB"):
        with pytest.raises(FilterError, match="max_bytes"):
            FrameCache(tmp_path / "other", max_bytes=wrong)  # type: ignore[arg-type]


def test_a_lost_count_is_made_anew(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache", max_bytes=2 * CLIP)
    cache.put(key(0), clip(0))
    for text in (None, "", "nonsense", "99999999999"):
        usage = cache.path / "usage"
        usage.unlink() if text is None else usage.write_text(text)
        again = FrameCache(cache.path, max_bytes=2 * CLIP)
        assert again.put(key(1), clip(1)), text
        assert again.forget([key(1).video_id]) == 1


# -- several processes


def _fill(path: Path, numbers: range) -> None:
    cache = FrameCache(path, max_bytes=20 * CLIP)
    for number in numbers:
        found = cache.get(key(number))
        assert found is None or np.array_equal(found, clip(number))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache.put(key(number), clip(number))


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path / "cache", range(start, start + 40))) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = FrameCache(tmp_path / "cache")
    count, size = cache.usage()
    assert 0 < count <= 20
    assert size == count * CLIP == int((cache.path / "usage").read_text())
    assert not list((cache.path / "parts").iterdir())
    assert sum(np.array_equal(found, clip(n)) for n in range(60) if (found := cache.get(key(n))) is not None) == count


KILLED = """
import os, signal, sys
import numpy as np
from unsafe_video_dataset import cache
from unsafe_video_dataset.cache import FrameCache
from unsafe_video_dataset.clip_file import clip_key

real = os.write
def killed(file, data):
    if len(data) > 64:
        real(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real(file, data)
kept = FrameCache(sys.argv[1])
cache.os.write = killed
kept.put(clip_key("0" * 64, [0], (8, 10), "test"), np.ones((4, 3, 8, 10), np.uint8))
"""


@posix
def test_a_writer_that_is_killed_leaves_nothing_that_is_served(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "cache")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    cache = FrameCache(tmp_path / "cache", max_bytes=2 * CLIP)
    part = next((cache.path / "parts").iterdir())
    assert files(cache) == []
    assert cache.get(clip_key("0" * 64, [0], (8, 10), "test")) is None
    assert cache.put(key(1), clip(1))
    with pytest.warns(RuntimeWarning, match="full"):
        assert not cache.put(key(2), clip(2)), "the part still counts: its writer might live"
    os.utime(part, (time.time() - 7200,) * 2)
    again = FrameCache(cache.path, max_bytes=2 * CLIP)
    assert not part.exists()
    assert again.put(key(2), clip(2))


# -- disks that do not take it


FULL = """
import resource, sys, warnings
import numpy as np
from unsafe_video_dataset.cache import FrameCache
from unsafe_video_dataset.clip_file import clip_key

cache = FrameCache(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
key = clip_key("0" * 64, [0], (8, 10), "test")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kept = [cache.put(key, np.ones((4, 3, 8, 10), np.uint8)) for _ in range(3)]
print(kept, [str(one.message) for one in caught], [path.name for path in cache.path.glob("parts/*")], cache.get(key))
"""


@posix
def test_a_full_disk_is_one_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "cache")]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[False, False, False] [")
    assert done.stdout.count("can't be written (File too large): clips are decoded and not kept") == 1
    assert done.stdout.strip().endswith("[] None")


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(cache: FrameCache) -> None:
    _read_only(cache)


def _read_only(cache: FrameCache) -> None:
    cache.put(key(1), clip(1))
    folders = [cache.path, *(path for path in cache.path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            again = FrameCache(cache.path)
            assert np.array_equal(again.get(key(1)), clip(1))  # type: ignore[arg-type]
            assert [again.put(key(number), clip(number)) for number in (2, 3)] == [False, False]
        assert len([one for one in caught if "can't be written" in str(one.message)]) == 1
    finally:
        for folder in folders:
            folder.chmod(0o700)


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="another user is asked for it by root")
def test_a_folder_that_is_read_only_for_another_user() -> None:
    """As root, who may write anywhere: in a process of nobody, below a folder that is open to it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if not all(parent.stat().st_mode & 0o005 for parent in Path(name).parents):
            pytest.skip(f"{name} is closed to others")
        process = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(Path(name) / "cache",))
        process.start()
        process.join(60)
        assert process.exitcode == 0


def _as_nobody(path: Path) -> None:
    os.setgid(65534)
    os.setuid(65534)
    _read_only(FrameCache(path))


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        FrameCache(tmp_path / "file")
    with pytest.warns(RuntimeWarning, match="can't be written"):
        cache = FrameCache(tmp_path / "file" / "cache")
    assert cache.get(key(1)) is None
    assert not cache.put(key(1), clip(1))


# -- a private folder of its own


@posix
def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    cache = FrameCache(tmp_path / "open")
    cache.put(key(1), clip(1))
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in [cache.path, *cache.path.rglob("*")]}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        FrameCache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_purge(cache: FrameCache) -> None:
    for number in range(3):
        cache.put(key(number), clip(number))
    (cache.path / "parts" / "left-over").write_bytes(b"12345")
    assert cache.purge() == (4, 3 * CLIP + 5)
    assert cache.usage() == (0, 0)
    assert cache.purge() == (0, 0)
    assert cache.put(key(1), clip(1))


def test_forget_takes_one_video_s_clips_alone(cache: FrameCache) -> None:
    for number in range(3):
        cache.put(key(number), clip(number))
    cache.put(clip_key(f"{1:016x}" + "0" * 48, [0], None, "test"), clip(9))
    assert cache.forget([key(1).video_id, "f" * 16]) == 2
    assert [cache.get(key(number)) is not None for number in range(3)] == [True, False, True]
    assert int((cache.path / "usage").read_text()) == 2 * CLIP


def test_the_limit_stays_with_the_folder(tmp_path: Path) -> None:
    assert FrameCache(tmp_path / "a").max_bytes == DEFAULT_MAX_BYTES
    FrameCache(tmp_path / "a", max_bytes=5 * CLIP)
    assert FrameCache(tmp_path / "a").max_bytes == 5 * CLIP
    again = as_cache(tmp_path / "a")
    assert again is not None
    assert again.max_bytes == 5 * CLIP
    FrameCache(tmp_path / "a", max_bytes=7 * CLIP)
    assert FrameCache(tmp_path / "a").max_bytes == 7 * CLIP
    for text in ('{"max_bytes": "many"}', "[]", "{", '{"max_bytes": -1}'):
        (tmp_path / "a" / "frame-cache.json").write_text(text, encoding="utf-8")
        assert FrameCache(tmp_path / "a").max_bytes == DEFAULT_MAX_BYTES


def test_purge_takes_the_folder_of_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "frames"), "org/repo"):  # a folder that is there comes before a repository
        cache = FrameCache(name)
        cache.put(key(0), clip(0))
        assert main(["purge", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"folder": name, "files": 1, "bytes": CLIP}
        assert files(cache) == []
