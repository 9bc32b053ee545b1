"""`FrameCache`: decoded clips on disk, for the epochs after the first.

<path>/frame-cache.json                  says what this folder is, and its limit
       clips/<2 hex>/<video_id>-<key>.clip   a header (key, shape, checksum), then the frames as they are in memory
       parts/…                           clips that are being written; they get their name when they are whole
       usage                             bytes of all clips and parts; changed under the lock alone
       .lock

A key is made from all that decides the pixels: the video's sha256, the frames asked for, the size, and the versions of
decoder and resize. So a changed release, another FFmpeg or another size never meets a clip of before.

A clip is read straight to where it is wanted (a row of the batch) and its checksum is looked at each time: one copy, no
page faults on a mapping, and a file that is cut off while it is read is a miss, where a mapping would end the process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from .clip_file import FORMAT, Clip, ClipKey, file_bytes, read_clip, write_clip
from .errors import FilterError, InputError

DEFAULT_MAX_BYTES = 32 * 10**9
"""The limit of a new cache that is given as a path: some 13,000 clips of 16 frames of 224x224."""
_MARKER = {"what": "decoded clips of unsafe-video-dataset", "format": FORMAT}
_SLACK = 16  # an eviction makes room for this part of the limit, so that the next ones need no scan
_LEFT_OVER = 3600.0  # seconds after which a part has no writer any more
_CLOCK = 20_000_000  # ns: what a file system's clock may be behind


class FrameCache:
    """Decoded clips in a folder of at most `max_bytes`, for any number of processes at once.

    The limit is kept with the folder: without `max_bytes` it is the one given last, `DEFAULT_MAX_BYTES` at first.

    When it is full, the clips unused for longest go first; but nothing goes that was used since this object was made:
    epochs that do not fit would otherwise push out each clip before it is wanted again. What then has no room is decoded in
    every epoch, and a warning says so once. A damaged clip is removed and decoded anew. Where the disk is full or can't be
    written, work goes on without new clips, and a warning says so once.

    Random clips hold other frames in each epoch; datasets refuse to keep them unless `random_clips` is True. The folder (0700)
    and files (0600) are the user's alone: it is a second copy of the videos. `purge` removes its clips, and so does
    `unsafe-video purge` for this folder, or for the repository on the Hub that they came from. Nothing stays open, so it
    pickles and crosses forks; `counts` are those of this process.

    Raises `InputError` for a folder that holds other files; `FilterError` for a limit below 1.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int | None = None, random_clips: bool = False) -> None:
        if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1):
            raise FilterError(f"max_bytes={max_bytes!r} must be a whole number of at least 1.")
        self.path = Path(path).expanduser().absolute()
        kept = _kept_limit(self.path)
        self.max_bytes = max_bytes or kept or DEFAULT_MAX_BYTES
        self.random_clips = random_clips
        self.counts = {"hits": 0, "misses": 0, "writes": 0, "damaged": 0, "evicted": 0, "no_room": 0}
        self._since = time.time_ns() - _CLOCK
        self._said: set[str] = set()
        self._closed = False  # for new clips, after a failure
        self._prepare()

    def __repr__(self) -> str:
        return f"<FrameCache at {self.path}: at most {self.max_bytes:,} bytes>"

    def get(self, key: ClipKey, *, out: Clip | None = None) -> Clip | None:
        """The clip uint8 [T, 3, H, W], or None where there is none that is whole.

        `out` (C-contiguous) is where it is read to; a clip of another shape counts as damaged. After None its content is
        undefined.
        """
        path = self._place(key)
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            self.counts["misses"] += 1
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._say(f"can't be read ({error.strerror}): clips are decoded")
            return None
        try:
            clip = read_clip(file, key, out)
            if clip is not None:
                with contextlib.suppress(OSError):  # not ours to write
                    os.utime(file if os.utime in os.supports_fd else path)  # when it was last used
        except OSError:
            clip = None
        finally:
            os.close(file)
        if clip is None:
            self.counts["misses"] += 1
            self.counts["damaged"] += 1
            self._say("held a damaged clip, which is decoded anew", topic="damaged")
            self._drop(path)
            return None
        self.counts["hits"] += 1
        return clip

    def put(self, key: ClipKey, clip: Clip) -> bool:
        """Keep a clip uint8 [T, 3, H, W]. Returns whether it is kept.

        Raises `FilterError` for a clip larger than the limit.
        """
        clip = np.ascontiguousarray(clip)
        need = file_bytes(clip)
        if need > self.max_bytes:
            raise FilterError(
                f"A clip has {need:,} bytes, and the cache {self.path} may hold {self.max_bytes:,} in all. Give"
                " FrameCache a larger max_bytes, smaller or fewer frames, or leave cache= out."
            )
        path = self._place(key)
        if self._closed or path.exists():
            return False
        try:
            return self._write(path, key, clip, need)
        except (OSError, Timeout) as error:
            self._closed = True
            reason = (error.strerror if isinstance(error, OSError) else "") or "another process holds its lock"
            self._say(f"can't be written ({reason}): clips are decoded and not kept")
            return False

    def forget(self, video_ids: Iterable[str]) -> int:
        """Remove all clips of videos (withdrawn ones, say); returns how many."""
        count = 0
        for video_id in video_ids:
            folder = self.path / "clips" / video_id[:2]
            names = [name for name in _names(folder) if name.startswith(f"{video_id}-")]
            count += sum(self._drop(folder / name) for name in names)
        return count

    def usage(self) -> tuple[int, int]:
        """Clips in the cache, and their bytes. Looks at every file."""
        found = list(self._clips())
        return len(found), sum(size for _, size, _ in found)

    def purge(self) -> tuple[int, int]:
        """Remove every clip; returns (files, bytes). The folder stays, empty but for what says what it is."""
        count = size = 0
        with self._locked():
            for path, num_bytes, _ in [*self._clips(), *self._parts()]:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    count, size = count + 1, size + num_bytes
            self._set_usage(0)
        return count, size

    # -- inside

    def _prepare(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file. Give cache= a folder.")
        try:
            if self.path.is_dir():
                inside = set(_names(self.path)) - {".lock"}
                if inside and "frame-cache.json" not in inside:
                    raise InputError(f"{self.path} holds other files than a cache of clips. Give cache= a folder of its own.")
            for folder in (self.path, self.path / "clips", self.path / "parts"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
            marker = self.path / "frame-cache.json"
            if not marker.exists() or _kept_limit(self.path) != self.max_bytes:
                part = self.path / "parts" / f"marker-{uuid.uuid4().hex}"
                part.write_text(json.dumps({**_MARKER, "max_bytes": self.max_bytes}), encoding="utf-8")
                part.chmod(0o600)
                part.replace(marker)
            self._sweep()
        except OSError as error:
            self._closed = True
            self._say(f"can't be written ({error.strerror}): clips that are in it are read, and no new ones are kept")

    def _place(self, key: ClipKey) -> Path:
        return self.path / "clips" / key.video_id[:2] / f"{key.video_id}-{key.digest}.clip"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with FileLock(self.path / ".lock", timeout=60, mode=0o600):
            yield

    def _write(self, path: Path, key: ClipKey, clip: Clip, need: int) -> bool:
        part = self.path / "parts" / f"{key.digest}-{uuid.uuid4().hex}"
        with self._locked():
            if not self._make_room(need):
                self.counts["no_room"] += 1
                self._say("is full with clips of this run: the rest is decoded in every epoch. Raise max_bytes", topic="full")
                return False
            used = self._used()
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            try:
                os.ftruncate(file, need)  # whoever adds up the parts sees the room that this one will take
                self._set_usage(used + need)
            except OSError:
                os.close(file)
                part.unlink()
                raise
        kept = False
        try:
            try:
                write_clip(file, key, clip)
            finally:
                os.close(file)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            with self._locked():
                if not path.exists():  # another process may have been quicker
                    # No fsync: after a power cut the checksum finds what did not reach the disk.
                    part.replace(path)
                    kept = True
        finally:
            if not kept:
                with contextlib.suppress(OSError, Timeout), self._locked():
                    part.unlink()
                    self._set_usage(self._used() - need)
        self.counts["writes"] += kept
        return kept

    def _make_room(self, need: int) -> bool:
        """Under the lock: whether `need` more bytes fit, clips unused for longest removed if they must be."""
        if self._used() + need <= self.max_bytes:
            return True
        if "full" in self._said:
            return False  # looked before: this run's own clips fill it
        self._sweep()
        clips = sorted(self._clips(), key=lambda clip: clip[2])
        used = sum(size for _, size, _ in clips) + sum(size for _, size, _ in self._parts())
        target = self.max_bytes - max(need, self.max_bytes // _SLACK)
        for path, size, used_at in clips:
            if used_at >= self._since or used <= target:
                break
            with contextlib.suppress(OSError):  # where an open file can't be removed
                path.unlink()
                used -= size
                self.counts["evicted"] += 1
        self._set_usage(used)
        return used + need <= self.max_bytes

    def _drop(self, path: Path) -> bool:
        with contextlib.suppress(OSError, Timeout), self._locked():
            size = path.stat().st_size
            path.unlink()
            self._set_usage(self._used() - size)
            return True
        return False

    def _used(self) -> int:
        """Bytes that clips and parts take, as it is written down; added up anew where it is not."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.path / "usage").read_text(encoding="ascii"))
        return sum(size for _, size, _ in [*self._clips(), *self._parts()])

    def _set_usage(self, num_bytes: int) -> None:
        part = self.path / "parts" / "usage"  # one at a time, under the lock
        part.write_text(str(max(num_bytes, 0)), encoding="ascii")
        part.chmod(0o600)
        part.replace(self.path / "usage")

    def _clips(self) -> Iterator[tuple[Path, int, int]]:
        """Path, bytes and time of last use (ns) of each clip."""
        for folder in sorted(_names(self.path / "clips")):
            yield from _files(self.path / "clips" / folder, ".clip")

    def _parts(self) -> Iterator[tuple[Path, int, int]]:
        yield from _files(self.path / "parts", "")

    def _sweep(self) -> None:
        """Remove parts whose writer was killed."""
        for path, _, changed in self._parts():
            if time.time_ns() - changed > _LEFT_OVER * 1e9:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _say(self, what: str, *, topic: str = "io") -> None:
        if topic not in self._said:
            self._said.add(topic)
            warnings.warn(f"The cache {self.path} {what}.", RuntimeWarning, stacklevel=3)


def as_cache(cache: FrameCache | str | os.PathLike[str] | None) -> FrameCache | None:
    """What a dataset takes as `cache=`: a path is a `FrameCache` there, with the limit that it has."""
    return cache if cache is None or isinstance(cache, FrameCache) else FrameCache(cache)


def is_cache(folder: Path) -> bool:
    """Whether a folder is that of a `FrameCache`."""
    return (folder / "frame-cache.json").is_file()


def _kept_limit(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        limit = json.loads((folder / "frame-cache.json").read_text(encoding="utf-8")).get("max_bytes")
        return limit if type(limit) is int and limit > 0 else None
    return None


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry in folder.iterdir()]
    return []


def _files(folder: Path, suffix: str) -> Iterator[tuple[Path, int, int]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                facts = entry.stat(follow_symlinks=False)
                if entry.name.endswith(suffix) and entry.name != "usage":
                    yield Path(entry.path), facts.st_size, facts.st_mtime_ns
