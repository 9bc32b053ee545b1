"""Mutated MP4s and Parquet files through `Release` and an isolated decoder: frames or a typed error, nothing else.

Bounded by time (`FUZZ_SECONDS`, 80 for each half) or, with `FUZZ_INPUTS`, by their number alone; seeded by `FUZZ_SEED`: an
input is a function of (seed, number), so that a failure can be repeated with `FUZZ_ONLY=<number>`. Each half prints how many
inputs it tried, and writes it into the folder `FUZZ_REPORT`, where `tests/hostile/fuzzing.py` finds it for docs/hostile.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import releases
import video_files
from hostile.releases import DATA, META, VOTES, seal

from unsafe_video_dataset import Release, isolate, load_dataset
from unsafe_video_dataset.errors import DecodeError, UnsafeVideoError
from unsafe_video_dataset.isolate import ChildLimits
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import DECODERS, decode_frames, decoder_status, probe_video

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("FUZZ_SECONDS", "80"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
ONLY = os.environ.get("FUZZ_ONLY")
INPUTS = os.environ.get("FUZZ_INPUTS")
REPORT = os.environ.get("FUZZ_REPORT")
CLIPS = Path(__file__).parents[2] / "shared" / "clips"
LIMITS = ChildLimits(memory_bytes=2**30, cpu_seconds=20, wall_seconds=30)
MOST_SECONDS = 35.0  # for one input
MOST_GROWTH = 400 * 2**20  # bytes of this process, after the first inputs

EXTREMES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
BOXES = (
    *(b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"minf", b"dinf", b"dref"),
    *(b"url ", b"stbl", b"stsd", b"avc1", b"avcC", b"stts", b"stss", b"ctts", b"stsc", b"stsz", b"stco", b"mdat", b"free"),
)


def numbers() -> Iterator[tuple[int, np.random.Generator]]:
    """Numbers of inputs, each with its own generator, until the time is up."""
    if ONLY is not None:
        yield int(ONLY), np.random.default_rng([SEED, int(ONLY)])
        return
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end if INPUTS is None else number < int(INPUTS):
        yield number, np.random.default_rng([SEED, number])
        number += 1


def mutate(data: bytes, rng: np.random.Generator, places: list[int]) -> bytes:
    """One to eight changes, most of them near `places` (headers and tables), some anywhere."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if len(out) < 16:
            break
        near = places and rng.random() < 0.75
        at = int(rng.choice(places) + rng.integers(-8, 64)) if near else int(rng.integers(0, len(out)))
        at = min(max(at, 0), len(out) - 1)
        kind = int(rng.integers(0, 9))
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            out[at] = int(rng.integers(0, 256))
        elif kind in (2, 3):
            out[at : at + 4] = struct.pack(">I", int(rng.choice(EXTREMES)))
        elif kind == 4:
            out[at : at + 4] = struct.pack("<I", int(rng.choice(EXTREMES)))
        elif kind == 5:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 6:
            piece = out[at : at + int(rng.integers(1, 200))]
            to = int(rng.integers(0, len(out)))
            out[to:to] = piece
        elif kind == 7:
            out[at : at + 8] = rng.bytes(8)
        else:
            out = out[: max(16, at)] if rng.random() < 0.2 else out
    return bytes(out)


def mutate_payload(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes in the coded frames alone, so that the structure holds and the decoder sees them."""
    out = bytearray(data)
    start = data.index(b"mdat") + 4
    end = start + struct.unpack_from(">I", data, start - 8)[0] - 8
    for _ in range(int(rng.integers(1, 20))):
        at = int(rng.integers(start, end))
        if rng.random() < 0.5:
            out[at] ^= 1 << int(rng.integers(0, 8))
        else:
            count = min(int(rng.integers(1, 40)), end - at)
            out[at : at + count] = rng.bytes(count)
    return bytes(out)


def mp4_places(data: bytes) -> list[int]:
    found = []
    for kind in BOXES:
        at = data.find(kind)
        if at >= 0:
            found.append(at)
    at = data.find(b"mdat")
    return [*found, at + 20, at + 200, at + 1000]


def rss() -> int:
    """Bytes of memory that this process has; 0 where that can't be told."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class Tally:
    """Counts outcomes, and holds every input to time and memory."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.inputs = 0
        self.refused = 0
        self.base = 0
        self.slowest = 0.0

    @contextlib.contextmanager
    def input(self, number: int) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except UnsafeVideoError as error:
            self.outcomes[type(error).__name__] += 1
            self.refused += 1
        except BaseException as error:
            raise AssertionError(f"input {number} (FUZZ_SEED={SEED} FUZZ_ONLY={number}): {type(error).__name__}") from error
        self.inputs += 1
        took = time.monotonic() - started
        self.slowest = max(self.slowest, took)
        assert took < MOST_SECONDS, f"input {number} took {took:.1f} seconds"
        if self.inputs == 50:
            self.base = rss()
        if self.base:
            assert rss() - self.base < MOST_GROWTH, f"memory has grown by {rss() - self.base:,} bytes at input {number}"

    def print(self, what: str) -> None:
        grown = f"{(rss() - self.base) / 2**20:.0f} MiB grown" if self.base else "memory not watched"
        told = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        print(f"\nfuzz: {self.inputs} {what} tried (seed {SEED}): {told}; slowest {self.slowest:.1f} s, {grown}")
        if REPORT:
            facts = {"inputs": self.inputs, "seed": SEED, "refused": self.refused, "outcomes": self.outcomes}
            (Path(REPORT) / f"{what}.json").write_text(json.dumps(facts), encoding="utf-8")


def test_mutated_videos(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = [make() for make in video_files.GOOD.values()]
    seeds += [path.read_bytes() for path in sorted(CLIPS.glob("*.mp4"))[:4]]
    places = [mp4_places(data) for data in seeds]
    tally = Tally()
    decoders = ("auto", *(name for name in DECODERS if decoder_status()[name].startswith("ok")))
    for number, rng in numbers():
        which = int(rng.integers(0, len(seeds)))
        payload = rng.random() < 0.4
        data = mutate_payload(seeds[which], rng) if payload else mutate(seeds[which], rng, places[which])
        decoder = decoders[number % len(decoders)]
        tally.outcomes[f"({decoder})"] += 1
        with tally.input(number):
            info = inspect_mp4(data)
            try:
                frames = decode_frames(data, decoder=decoder, size=32, isolate=LIMITS)
            except DecodeError as error:
                text = str(error)
                tally.outcomes["(child ended)"] += any(word in text for word in ("crashed", "within", "SIGKILL", "took more"))
                raise
            assert frames.shape == (info.num_frames, 3, 32, 32)
            if number % 7 == 0:
                probe_video(data, isolate=LIMITS)
            tally.outcomes["frames"] += 1
    assert tally.inputs >= (1 if ONLY else 200)
    assert len(isolate._live) <= 2
    with capsys.disabled():
        tally.print("videos")


def _parquet_places(data: bytes) -> list[int]:
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    step = max(1, (len(data) - footer) // 24)
    return [4, 12, len(data) - 8, *range(footer, len(data), step), *range(4, footer, max(1, footer // 12))]


def _read(root: Path, cache: Path, tally: Tally, number: int) -> None:
    """All ways to read; wrong bytes under an id are what must never come."""
    release = Release.open(root)
    failed: list[UnsafeVideoError] = []

    def attempt(name: str, do: object) -> object:
        try:
            return do()  # type: ignore[operator]
        except UnsafeVideoError as error:
            failed.append(error)
            tally.outcomes[f"{name}: {type(error).__name__}"] += 1
            return None

    table = attempt("metadata", release.metadata)
    attempt("annotations", release.annotations)
    for video_id in [] if table is None else table["video_id"].to_pylist()[:8]:  # type: ignore[index]
        data = attempt("video_bytes", lambda video_id=video_id: release.video_bytes(video_id))
        if data is not None:
            assert hashlib.sha256(data).hexdigest()[:16] == video_id  # type: ignore[arg-type]
            attempt("decode", lambda data=data: decode_frames(data, [0], size=16, isolate=LIMITS))
    config = ("unsafe", "reviewed", "metadata", "annotations")[number // 2 % 4]

    def stream() -> None:
        for row in load_dataset(root, config, split="train", streaming=True, cache_dir=cache):
            if "video" in row:
                assert hashlib.sha256(bytes(row["video"])).hexdigest()[:16] == row["video_id"]

    if number % 2:
        attempt("load_dataset", stream)
    else:
        report = release.verify()
        tally.outcomes["verify: faults" if report.faults else "verify: ok"] += 1
    if failed:
        raise failed[0]


def test_mutated_releases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, root = tmp_path / "good", tmp_path / "release"
    releases.build(good)
    names = [DATA, META, VOTES, "tombstones.parquet", "manifest.json"]
    originals = {name: (good / name).read_bytes() for name in names}
    places = {name: _parquet_places(data) if name.endswith("parquet") else [] for name, data in originals.items()}
    # The writer's own pages are compressed and checksummed: plain ones let a mutation reach what is behind.
    plain = {}
    for name in names[:4]:
        table = pq.read_table(good / name)
        pq.write_table(table, tmp_path / "plain.parquet", compression="none", use_dictionary=bool(len(plain) % 2))
        plain[name] = (tmp_path / "plain.parquet").read_bytes()
    shutil.copytree(good, root)
    tally = Tally()
    for number, rng in numbers():
        name = names[int(rng.choice(5, p=[0.35, 0.25, 0.2, 0.1, 0.1]))]
        use_plain = name in plain and rng.random() < 0.5
        data = plain[name] if use_plain else originals[name]
        (root / name).write_bytes(mutate(data, rng, _parquet_places(data) if use_plain else places[name]))
        if name != "manifest.json":
            with contextlib.suppress(Exception):
                seal(root)
        with tally.input(number):
            _read(root, tmp_path / "cache", tally, number)
            tally.outcomes["all right"] += 1
        (root / name).write_bytes(originals[name])
        (root / "manifest.json").write_bytes(originals["manifest.json"])
    assert tally.inputs >= (1 if ONLY else 50)
    with capsys.disabled():
        tally.print("releases")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-s", "-m", "slow"]))
