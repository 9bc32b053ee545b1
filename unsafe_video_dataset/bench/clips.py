"""The clips that all loaders read: files of a folder, or generated ones; copies with other bytes; the layout of each loader."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DecodeError, InputError
from ..mp4 import inspect_mp4

_CATEGORIES = "1=distorted_weird,2=terrifying,3=pornographic,4=violent_bloody,5=political"
_RATES = (700, 1000, 1300, 1700, 2200, 3500)  # kbit/s, the range of the videos of two of the paper's models at 512x512
_STEADY = "rc-lookahead=0:sync-lookahead=0:mbtree=0:scenecut=0"  # what looks ahead may encode differently from run to run
_LENGTHS = ((16, 8), (16, 8), (16, 8), (48, 25))  # (frames, frames a second)


@dataclass(frozen=True)
class Layout:
    """Folders of one set of clips: `raw` (MP4 files), `release`, and what other loaders need, below `root`.

    `ids` are the first 16 hex digits of each file's sha256, as in a release, in the order of the files `0.mp4` and on.
    """

    root: Path
    ids: tuple[str, ...]

    @property
    def raw(self) -> Path:
        """Folder of `<index>.mp4`."""
        return self.root / "raw"

    @property
    def release(self) -> Path:
        """Folder of the release made of them."""
        return self.root / "release"

    def file(self, index: int) -> Path:
        """The MP4 file of a clip."""
        return self.raw / f"{index}.mp4"

    @classmethod
    def load(cls, root: Path) -> Layout:
        """The layout that `write_layout` made."""
        return cls(root, tuple(json.loads((root / "ids.json").read_text(encoding="utf-8"))))


def source_clips(folder: Path) -> list[bytes]:
    """MP4s of a folder in the order of their names (numbers as numbers). `InputError` where there is none, or one that we
    can't take."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. Give --clips a folder of MP4 files, or leave it out.")
    paths = sorted(folder.glob("*.mp4"), key=lambda path: (len(path.stem) if path.stem.isdigit() else 99, path.stem))
    if not paths:
        raise InputError(f"{str(folder)!r} holds no *.mp4. Give --clips a folder of MP4 files, or leave it out.")
    found = []
    for path in paths:
        data = path.read_bytes()
        try:
            inspect_mp4(data, name=path.name)
        except DecodeError as error:
            raise InputError(f"{path.name} can't be used for a benchmark: {error}") from error
        found.append(data)
    return found


def generate_clips(number: int, *, size: int, seed: int) -> list[bytes]:
    """Harmless moving textures with noise as MP4s, at the bitrates of real generated videos (scaled with the area below 512).

    Needs PyAV with libx264. The same arguments and versions give the same bytes.
    """
    return [_one(index, size, seed) for index in range(number)]


def _one(index: int, size: int, seed: int) -> bytes:
    import av

    rng = np.random.default_rng([seed, index])
    frames, fps = _LENGTHS[index % len(_LENGTHS)]
    rate = int(_RATES[index % len(_RATES)] * 1000 * (size / 512) ** 2)
    small = rng.integers(0, 255, (1 + size // 32, 1 + size // 32, 3))
    texture = np.kron(small, np.ones((32, 32, 1), dtype=np.int64))[:size, :size]
    noise = rng.normal(0, 6, (size, size, 3))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        stream.bit_rate = rate
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        stream.options = {"preset": "veryfast", "x264-params": _STEADY}
        for number in range(frames):
            moved = np.roll(texture, (3 * number, 5 * number), axis=(0, 1)) + np.roll(noise, 7 * number, axis=1)
            pixels = np.clip(moved, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def copy_of(data: bytes, number: int) -> bytes:
    """The same video in other bytes: a `free` box with a number at the end, which every reader passes over."""
    return data if not number else data + struct.pack(">I4s8s", 16, b"free", f"{number:08d}".encode())


def write_layout(root: Path, clips: list[bytes]) -> Layout:
    """Write MP4 files, a prompt file and a label CSV, and the release that `unsafe-video-build upstream` makes of them.

    The builder runs as a command: this package doesn't import it. Raises `InputError` where it refuses.
    """
    raw = root / "raw"
    raw.mkdir(parents=True)
    ids = []
    for index, data in enumerate(clips):
        (raw / f"{index}.mp4").write_bytes(data)
        ids.append(hashlib.sha256(data).hexdigest()[:16])
    if len(set(ids)) < len(ids):
        raise InputError("The clips hold the same file twice. Leave one of them out.")
    (raw / "prompts.txt").write_text("".join(f"a moving texture {index}\n" for index in range(len(clips))), encoding="utf-8")
    labels = "".join(f"{index},,,,\r\n" for index in range(len(clips)))
    (raw / "labels.csv").write_text("1,2,3,4,5\r\n" + labels, encoding="utf-8", newline="")
    command = [sys.executable, "-m", "unsafe_video_dataset.builders.cli", "upstream", str(raw), str(root / "release"), "--json"]
    command += ["--generator", "animatediff", "--categories", _CATEGORIES, "--name", "bench"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"No release can be built from the clips: {done.stderr.strip().splitlines()[-1]}")
    (root / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
    return Layout(root, tuple(ids))


def describe(clips: list[bytes]) -> dict[str, Any]:
    """Number of clips, frames, sizes and bitrates (kbit/s: least, median, most) from their headers."""
    infos = [inspect_mp4(data, name=str(index)) for index, data in enumerate(clips)]
    rates = [8 * len(data) / info.duration_seconds / 1000 for data, info in zip(clips, infos, strict=True)]
    sizes = sorted({f"{info.width}x{info.height}" for info in infos})
    return {
        "videos": len(clips),
        "bytes": sum(map(len, clips)),
        "frames": sorted({info.num_frames for info in infos}),
        "sizes": sizes,
        "kilobits_per_second": [round(value) for value in (min(rates), float(np.median(rates)), max(rates))],
    }
