"""One watched process: `python session.py ROUTE FOLDER` tries all cases of a route and writes FOLDER/result.json.

Routes: `control` (the watch sees what it is for), `video:<decoder>` and `video:isolated` (bytes through `decode_frames`),
`unchecked` (bytes through each decoder in the child, the check before it left out), `release:<groups>` (folders through
`Release`, `load_dataset` and `UnsafeVideoDataset`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
LONGEST = 180  # seconds of a route
MOST_MEMORY = 800 * 2**20  # bytes that a case may take


@dataclass
class Outcome:
    """What one case came to. `steps`: name -> "right", "refused: <error>", or anything else, which is a failure."""

    group: str
    case: str
    tries: str
    steps: dict[str, str] = field(default_factory=dict)
    message: str = ""
    events: list[str] = field(default_factory=list)
    expected_sound: bool | None = None
    grown: int = 0
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Why this outcome is not one that is allowed; empty if it is."""
        found = [f"{step}: {what}" for step, what in self.steps.items() if what != "right" and not what.startswith("refused: ")]
        found += [f"event: {event}" for event in self.events]
        if self.expected_sound is False and self.steps.get("verify") == "right":
            found.append("verify finds nothing")
        if self.expected_sound and any(what != "right" for what in self.steps.values()):
            found.append("a release that is sound was refused")
        if self.grown > MOST_MEMORY:
            found.append(f"took {self.grown:,} bytes of memory")
        return found


class Run:
    """Tries steps, and says what came of each."""

    def __init__(self, outcome: Outcome, hide: str) -> None:
        self.outcome, self.hide = outcome, hide

    def step(self, name: str, do: Callable[[], str | None]) -> bool:
        from unsafe_video_dataset.errors import UnsafeVideoError

        try:
            wrong = do()
        except UnsafeVideoError as error:
            self.outcome.steps[name] = f"refused: {type(error).__name__}"
            text = str(error)
            if not all(letter.isprintable() or letter == "\n" for letter in text):
                self.outcome.steps[name] = "the message has control characters"
            if not self.outcome.message:
                self.outcome.message = _short(text, self.hide)
        except BaseException as error:
            self.outcome.steps[name] = f"untyped {type(error).__name__}: {error}"[:300]
            return False
        else:
            self.outcome.steps[name] = "right" if wrong is None else wrong
            return wrong is None
        return False


def _short(text: str, hide: str) -> str:
    lines = [line.strip(" -") for line in text.replace(hide, "…").splitlines()]
    return " ".join(lines[:2])[:180]


def videos(watch: Any, to: Any, decoder: str, folder: Path) -> list[Outcome]:
    """Every hostile video through one decoder, in this process or isolated."""
    import video_files

    from hostile.lures import LURES
    from unsafe_video_dataset.video import VideoHandle, decode_frames, probe_video

    cases = [("lures", name, tries, make(to)) for name, (make, tries) in LURES.items()]
    cases += [("structure", name, "", make()) for name, (make, _) in video_files.HOSTILE.items() if _own(name)]
    settings: dict[str, Any] = {"isolate": True} if decoder == "isolated" else {"decoder": decoder}
    good = decode_frames(video_files.plain(), **settings)
    if decoder in ("pyav", "isolated"):
        probe_video(video_files.plain(), isolate=decoder == "isolated")
    outcomes = []
    for group, name, tries, data in cases:
        outcome = Outcome(group, name, tries)
        with growth(outcome), watch.case(folder / "home") as outcome.events:
            run = Run(outcome, str(folder))

            def decode(data: bytes = data) -> str | None:
                frames = VideoHandle(data, name="video").frames(**settings)
                same = frames.shape == good.shape and (frames == good).all()
                return None if same else f"other frames: {frames.shape}"

            run.step("decode", decode)
            if decoder in ("pyav", "isolated"):
                run.step("probe", lambda data=data: void(probe_video(data, isolate=decoder == "isolated")))  # type: ignore[misc]
        if len(set(outcome.steps.values())) == 1:
            outcome.steps = {"decode": outcome.steps["decode"]}
        outcome.message = outcome.message.removeprefix("video: ")
        outcomes.append(outcome)
    return outcomes


def _own(name: str) -> bool:
    return name not in {"hls", "dash", "ffconcat", "sdp", "smil", "xspf", "external dref", "alias dref", "playlist behind ftyp"}


def void(_: object) -> None:
    """Done, and right."""


def unchecked(watch: Any, to: Any, folder: Path) -> list[Outcome]:
    """The lures straight to each decoder in a child: its limits alone must keep files and sockets shut."""
    import video_files

    from hostile.lures import LURES
    from unsafe_video_dataset import isolate
    from unsafe_video_dataset.mp4 import inspect_mp4
    from unsafe_video_dataset.video import decoder_status

    info = inspect_mp4(video_files.plain())
    limits = isolate.ChildLimits(wall_seconds=30.0)
    outcomes = []
    for name, (make, tries) in LURES.items():
        outcome = Outcome("unchecked", name, tries)
        with growth(outcome), watch.case(folder / "home") as outcome.events:
            for decoder in (name for name, status in decoder_status().items() if status.startswith("ok")):
                if decoder == "torchcodec" and name in ("HLS, file", "HLS, key", "HLS behind blanks"):
                    continue  # it crashes on them, as on "HLS, http", and takes seconds to load anew
                try:
                    frames = list(isolate.frames(make(to), [0], (info.height, info.width), info, decoder, limits=limits))
                    outcome.steps[decoder] = "right" if len(frames) == 1 else "refused: no frames"
                except isolate.ChildError as error:
                    gone = any(word in str(error) for word in ("crash", "within"))
                    outcome.steps[decoder] = f"refused: {'child ended' if gone else 'no frames'}"
        outcomes.append(outcome)
    return outcomes


def releases(watch: Any, to: Any, groups: str, folder: Path) -> list[Outcome]:
    """Every hostile release of some groups through all ways to read one."""
    import releases as good_releases

    from hostile.releases import RELEASES
    from unsafe_video_dataset import Release

    good_releases.build(folder / "small")
    sample = Release.open(folder / "small")
    good = {split: sample.metadata(split) for split in ("train", "validation", "test")}
    good["annotations"] = sample.annotations()
    untouched = Outcome(groups.partition(",")[0], "untouched", "", expected_sound=True)
    read(Run(untouched, str(folder / "small")), sample.path, good, folder / "warm", same=True)
    outcomes = [untouched]
    cases = [(group, name, case) for group in groups.split(",") for name, case in RELEASES[group].items()]
    for number, (group, name, case) in enumerate(cases):
        place = folder / str(number)
        root = place / "release"
        shutil.copytree(sample.path, root)
        case.make(root, to)
        outcome = Outcome(group, name, case.tries, expected_sound=case.sound)
        with growth(outcome), watch.case(root, place / "cache", folder / "home") as outcome.events:
            here = Path.cwd()
            os.chdir(root)
            try:
                isolate = group == "cells"  # where the videos are what is hostile
                read(Run(outcome, str(root)), root, good, place / "cache", same=case.same, isolate=isolate)
            finally:
                os.chdir(here)
        outcomes.append(outcome)
        shutil.rmtree(place)
    return outcomes


def read(run: Run, root: Path, good: dict[str, Any], cache: Path, *, same: bool, isolate: bool = False) -> None:
    """All ways to read a release: each gives what is right, or a typed error."""
    import torch

    from unsafe_video_dataset import Release, UnsafeVideoDataset, load_dataset
    from unsafe_video_dataset.records import arrow_schema

    ids = [str(video_id) for video_id in good["train"]["video_id"].to_pylist()]
    opened: list[Any] = []
    if not run.step("open", lambda: opened.append(Release.open(root))):
        return
    release = opened[0]

    def metadata() -> str | None:
        nonlocal ids
        table = release.metadata("train")
        if table.schema != arrow_schema("metadata", split=True):
            return "another schema"
        if same and not table.equals(good["train"]):
            return "another table"
        ids = [str(video_id) for video_id in table["video_id"].to_pylist()]
        return None

    def annotations() -> str | None:
        table = release.annotations()
        return "another table" if same and not table.equals(good["annotations"]) else None

    def all_bytes() -> str | None:
        errors = []
        for video_id in ids:
            try:
                data = release.video_bytes(video_id)
            except Exception as error:
                errors.append(error)
            else:
                if hashlib.sha256(data).hexdigest()[:16] != video_id:
                    return f"wrong bytes for {video_id}"
        if errors:
            raise errors[0]
        return None

    def loaded() -> str | None:
        rows = load_dataset(root, "unsafe", split="train", cache_dir=cache)
        return _rows_wrong(rows)

    def streamed() -> str | None:
        return _rows_wrong(load_dataset(root, "reviewed", split="train", streaming=True))

    def dataset(isolate: bool) -> str | None:
        items = UnsafeVideoDataset(root, config="reviewed", size=16, isolate=isolate)
        errors = []
        for number in range(len(items)):
            try:
                video = items[number]["video"]
            except Exception as error:
                errors.append(error)
            else:
                if video.shape != (16, 3, 16, 16) or video.dtype != torch.uint8:
                    return f"frames of {tuple(video.shape)}"
        if errors:
            raise errors[0]
        return None

    run.step("metadata", metadata)
    run.step("annotations", annotations)
    run.step("video_bytes", all_bytes)
    run.step("load_dataset", loaded)
    run.step("streaming", streamed)
    run.step("dataset", lambda: dataset(False))
    if isolate:
        run.step("isolated", lambda: dataset(True))
    run.step("verify", lambda: release.verify().raise_for_faults())


def _rows_wrong(rows: Any) -> str | None:
    seen: set[str] = set()
    for row in itertools.islice(rows, 200):
        if row["video_id"] in seen:
            return f"{row['video_id']} comes twice"
        seen.add(row["video_id"])
        if hashlib.sha256(bytes(row["video"])).hexdigest()[:16] != row["video_id"]:
            return f"wrong bytes for {row['video_id']}"
    return None if seen else "no rows"


def main() -> None:
    """Run one route."""
    route, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    home = folder / "home"
    home.mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]
    os.environ |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "TMPDIR": str(home), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    from hostile.lures import Lures
    from hostile.watch import Watch

    watch = Watch(folder / "outside")
    to = Lures(watch.canary, watch.tcp_port, watch.udp_port)
    kind, _, rest = route.partition(":")
    if kind == "control":
        control = watch.control()
        outcomes = [Outcome("control", name, "", {"seen": "right" if seen else "not seen"}) for name, seen in control.items()]
    elif kind == "video":
        outcomes = videos(watch, to, rest, folder)
    elif kind == "unchecked":
        outcomes = unchecked(watch, to, folder)
    else:
        outcomes = releases(watch, to, rest, folder)
    result = {
        "route": route,
        "outcomes": [{**vars(outcome), "failures": outcome.failures} for outcome in outcomes],
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


@contextlib.contextmanager
def growth(outcome: Outcome) -> Iterator[None]:
    """Note how much memory a case takes at its peak. Linux only."""
    started = time.perf_counter()
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not os.access(reset, os.W_OK):
        yield
        return
    gc.collect()
    with contextlib.suppress(ModuleNotFoundError):
        import pyarrow

        pyarrow.default_memory_pool().release_unused()
    reset.write_text("5")
    before = _kib(status.read_text(), "VmRSS")
    yield
    outcome.seconds = time.perf_counter() - started
    outcome.grown = 1024 * (_kib(status.read_text(), "VmHWM") - before)


def _kib(status: str, name: str) -> int:
    return int(status.split(f"{name}:")[1].split()[0])


if __name__ == "__main__":
    main()
