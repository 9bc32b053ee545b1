"""One watched process: `python session.py ROUTE FOLDER` tries all cases of a route and writes FOLDER/result.json.

Routes: `control` (the watch sees what it is for), `video:<decoder>` and `video:isolated` (bytes through `decode_frames`),
`unchecked` (bytes through each decoder in the child, the check before it left out), `release:<groups>` (folders through
`Release`, `load_dataset` and `UnsafeVideoDataset`), `remote:<groups>` (the same from a loopback Hub, videos over ranges).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
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
LONGEST = 600  # seconds of a route: one that hangs ends
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


def control_of_a_child(watch: Any) -> dict[str, list[str]]:
    """What the watch sees of each thing that a decoder in the child must not do."""
    import video_files

    from hostile import child_watch
    from unsafe_video_dataset import isolate
    from unsafe_video_dataset.errors import DecodeError
    from unsafe_video_dataset.video import decode_frames

    seen: dict[str, list[str]] = {}
    before = isolate._START
    for act in child_watch.ACTS:
        isolate.close_children()
        isolate._START = child_watch.command(watch.child_pipe, act, watch.canary)
        with watch.case() as seen[act], contextlib.suppress(DecodeError):
            decode_frames(video_files.plain(), [0], decoder="pyav", isolate=True)
        seen[act] = [event for event in seen[act] if event.startswith("child: ")]
    isolate.close_children()
    isolate._START = before
    return seen


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


def releases(watch: Any, to: Any, groups: str, folder: Path, hub: Any = None) -> list[Outcome]:
    """Every hostile release of some groups through all ways to read one: in its folder or, with a `hub`, from there."""
    import releases as good_releases

    from hostile.reading import in_folder, on_the_hub, read
    from hostile.releases import RELEASES
    from unsafe_video_dataset import Release

    good_releases.build(folder / "small")
    sample = Release.open(folder / "small")
    good = {split: sample.metadata(split) for split in ("train", "validation", "test")}
    good["annotations"] = sample.annotations()
    untouched = Outcome("remote" if hub else groups.partition(",")[0], "untouched", "", expected_sound=True)
    if hub:
        hub.serve("hostile/untouched", sample.path)
    first = on_the_hub("hostile/untouched") if hub else in_folder(sample.path)
    read(Run(untouched, str(folder / "small")), first, good, folder / "warm", same=True)
    outcomes = [untouched]
    cases = [(group, name, case) for group in groups.split(",") for name, case in RELEASES[group].items()]
    for number, (group, name, case) in enumerate(cases):
        place = folder / str(number)
        root = place / "release"
        shutil.copytree(sample.path, root)
        case.make(root, to)
        if hub and not _plain(root):
            continue
        outcome = Outcome("remote" if hub else group, name, case.tries, expected_sound=case.sound)
        source = in_folder(root)
        if hub:
            source = on_the_hub(f"hostile/case-{number}")
            hub.serve(str(source.name), root)
        with growth(outcome), watch.case(*([] if hub else [root]), place / "cache", folder / "home") as outcome.events:
            here = Path.cwd()
            os.chdir(root)
            try:
                isolate = group == "cells" and not hub  # where the videos are what is hostile
                read(Run(outcome, str(root)), source, good, place / "cache", same=case.same, isolate=isolate)
            finally:
                os.chdir(here)
        outcomes.append(outcome)
        if not hub:
            shutil.rmtree(place)
    return outcomes


def _plain(root: Path) -> bool:
    """Whether a Hub could hold the folder: plain files alone, no links and pipes."""
    return all(path.is_dir() or path.is_file() for path in root.rglob("*")) and not any(p.is_symlink() for p in root.rglob("*"))


def main() -> None:
    """Run one route."""
    route, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    home = folder / "home"
    home.mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]
    os.environ |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "TMPDIR": str(home), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    kind, _, rest = route.partition(":")
    hub = None
    if kind == "remote":
        from hostile.serve import Hub

        hub = Hub()
        os.environ |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    from hostile import child_watch
    from hostile.lures import Lures
    from hostile.watch import Watch
    from unsafe_video_dataset import isolate

    watch = Watch(folder / "outside", allowed_ports=hub.ports if hub else ())
    isolate._START = child_watch.command(watch.child_pipe)
    to = Lures(watch.canary, watch.tcp_port, watch.udp_port)
    if kind == "control":
        control = watch.control() | control_of_a_child(watch)
        outcomes = [Outcome("control", name, "", {"seen": "right" if seen else "not seen"}) for name, seen in control.items()]
    elif kind == "video":
        outcomes = videos(watch, to, rest, folder)
    elif kind == "unchecked":
        outcomes = unchecked(watch, to, folder)
    else:
        outcomes = releases(watch, to, rest, folder, hub)
    if hub:
        hub.close()
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
