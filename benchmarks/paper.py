"""The twin at the paper's scale from raw files to a trained baseline, three ways that must give the same release.

    python benchmarks/paper.py OUT --page docs/paper-run.md

The recipe runs on the process pool, on a local Ray, and on the pool again with kill -9 in the middle of several stages
(`paper_kills.py`). Each run makes a release of its own from the same raw files. The first release is then checked,
verified, loaded, and trained on. Every step leaves OUT/steps/NAME.json and is not done again: remove the file to repeat
it. The figures go to a JSON file beside the page; `--render` writes the page from it without running anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_kills import killed_run
from paper_page import page
from process_cost import ONE_THREAD, Cost, measured

from unsafe_video_dataset.builders.pipeline.journal import _records
from unsafe_video_dataset.integrity import sha256_file

BUILD = (sys.executable, "-m", "unsafe_video_dataset.builders.cli")
USE = (sys.executable, "-m", "unsafe_video_dataset.cli")
RUNS = ("pool", "ray", "killed")
_PRIORITY = {"RAY_worker_niceness": "0"}  # Ray's own 15 would leave its workers next to nothing on a shared machine
_STARTS = 10  # of Ray, which gives its daemons 30 seconds to come up
_LOAD = """
import json, sys
from unsafe_video_dataset import load_dataset
found = {}
for name in ("unsafe", "reviewed", "metadata", "annotations"):
    data = load_dataset(sys.argv[1], name, cache_dir=sys.argv[2])
    found[name] = {split: data[split].num_rows for split in data}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Place:
    """Where things lie, and how large they are."""

    out: Path
    scale: str
    workers: int
    epochs: int

    @property
    def twin(self) -> Path:
        """The raw material."""
        return self.out / "twin"

    def recipe(self, run: str) -> Path:
        """The twin's recipe with a work folder and a release of this run's own; the pool's run is the twin's own."""
        if run == "pool":
            return self.twin / "recipe.toml"
        text = (self.twin / "recipe.toml").read_text(encoding="utf-8")
        for name in ("work", "release"):
            text = text.replace(f'"{name}"\n', f'"{name}-{run}"\n', 1)
        path = self.twin / f"recipe-{run}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def work(self, run: str) -> Path:
        """The work folder of a run."""
        return self.twin / ("work" if run == "pool" else f"work-{run}")

    def release(self, run: str) -> Path:
        """The release of a run."""
        return self.twin / ("release" if run == "pool" else f"release-{run}")


# --- steps: each gives JSON values -------------------------------------------------------------------------------------


def make(place: Place) -> dict[str, Any]:
    """Draw the twin."""
    words = ("twin", place.twin, "--scale", place.scale, "--workers", str(place.workers), "--json")
    cost, said = _asked([*BUILD, *words])
    return {**cost, "videos": said["counts"]["videos"], "bytes": said["num_bytes"], "drawn": said["drawn"]}


def run(place: Place, name: str) -> dict[str, Any]:
    """The recipe from raw files to a release, on one engine."""
    engine = "ray" if name == "ray" else "process"
    words = ("run", place.recipe(name), "--engine", engine, "--workers", str(place.workers), "--json")
    for start in range(1, _STARTS + 1):
        try:
            cost, said = _asked([*BUILD, *words])
        except RuntimeError as error:
            if "timed out during startup" not in str(error) or start == _STARTS:
                raise
        else:
            return {**cost, "starts": start, "stages": [_stage(one) for one in said["stages"]], **_made(place, name)}
    raise AssertionError("not reached")


def killed(place: Place) -> dict[str, Any]:
    """The recipe killed with signal 9 in the middle of several stages, and started again each time."""
    command = [*BUILD, "run", str(place.recipe("killed")), "--workers", str(place.workers), "--json"]
    videos = sum(1 for _ in (place.twin / "raw").rglob("*.mp4"))
    kills, last = killed_run(command, place.work("killed"), place.release("killed"), videos=videos)
    stages = [_stage(one) for one in json.loads(last.output)["stages"]]
    return {**_cost(last), "kills": kills, "stages": stages, **_made(place, "killed")}


def journals(place: Place) -> dict[str, Any]:
    """Answers that the killed run kept, and how many different ones: what was kept was not worked out again."""
    found = {}
    for stage in ("probe", "quality", "dedup", "cluster"):
        logs = sorted((place.work("killed") / stage / "journal").glob("*.log"))
        keys = [key for path in logs for key, _, _ in _records(path)]
        found[stage] = {"answers": len(keys), "different": len(set(keys))}
    return found


def compare(place: Place) -> dict[str, Any]:
    """Whether the run came to the planned counts and videos."""
    cost, said = _asked([*BUILD, "twin", place.twin, "--compare", place.out / "twin.md", "--json"])
    return {**cost, "exact": said["exact"]}


def check(place: Place) -> dict[str, Any]:
    """`unsafe-video-build check`."""
    cost, said = _asked([*BUILD, "check", place.release("pool"), "--json"])
    return {**cost, **{key: said[key] for key in ("ok", "files", "videos", "annotations", "decoded")}}


def verify(place: Place) -> dict[str, Any]:
    """`unsafe-video verify --decode`."""
    cost, said = _asked([*USE, "verify", place.release("pool"), "--decode", "--json"])
    return {**cost, **{key: said[key] for key in ("ok", "files", "videos", "annotations", "decoded")}}


def load(place: Place) -> dict[str, Any]:
    """`load_dataset` of every config."""
    cost, said = _asked([sys.executable, "-c", _LOAD, place.release("pool"), place.out / "cache"])
    return {**cost, "rows": said}


def train(place: Place) -> dict[str, Any]:
    """The baseline for a few epochs on small clips, and its scores on the test split."""
    options = {"epochs": place.epochs, "size": 64, "num-frames": 8, "num-workers": 0}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    out = place.out / "baseline"
    cost, _ = _asked([*USE, "train", "--release", place.release("pool"), "--out", out, *words, "--json"])
    scored, said = _asked([*USE, "evaluate", out / "predictions.jsonl", "--release", place.release("pool"), "--json"])
    facts = {key: said[key] for key in ("manifest_sha256", "split", "n", "groups", "bootstrap")}
    rows = [{key: row.get(key) for key in ("name", "n", "positives", "ap", "auroc")} for row in said["rows"]]
    return {**cost, "evaluate": scored, "options": options, **facts, "rows": rows}


STEPS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "make": make,
    "pool": lambda place: run(place, "pool"),
    "ray": lambda place: run(place, "ray"),
    "killed": killed,
    "journals": journals,
    "compare": compare,
    "check": check,
    "verify": verify,
    "load": load,
    "train": train,
}


# --- what the steps share ----------------------------------------------------------------------------------------------


def _asked(command: Sequence[str | Path]) -> tuple[dict[str, Any], Any]:
    """The cost of a command that prints one JSON value, and the value. Raises `RuntimeError` where it fails."""
    cost = measured(command, every=0.2)
    if cost.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {cost.returncode}: {cost.errors[-2000:]}")
    return _cost(cost), json.loads(cost.output)


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "wall_seconds": round(cost.wall_seconds, 1),
        "peak_bytes": cost.peak_bytes,
        "load": round(os.getloadavg()[1], 1),
    }


def _stage(one: dict[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("stage", "action", "rows", "kept", "worked", "reused", "failures", "seconds")}


def _made(place: Place, name: str) -> dict[str, Any]:
    manifest = place.release(name) / "manifest.json"
    counts = json.loads(manifest.read_bytes())["counts"]
    return {"manifest_sha256": sha256_file(manifest), "videos": counts["videos"], "unsafe": counts["unsafe"]}


def do(place: Place) -> dict[str, Any]:
    """Every step that is not done, and all figures. Raises `RuntimeError` where the three releases differ."""
    os.environ.update(ONE_THREAD | _PRIORITY)
    steps = place.out / "steps"
    steps.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, step in STEPS.items():
        path = steps / f"{name}.json"
        if not path.exists():
            print(f"{name} …", file=sys.stderr)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(step(place), indent=1) + "\n", encoding="utf-8")
            partial.replace(path)
        found[name] = json.loads(path.read_bytes())
    if len({found[name]["manifest_sha256"] for name in RUNS}) != 1:
        raise RuntimeError(f"The runs made different releases: {[found[name]['manifest_sha256'] for name in RUNS]}")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return {"scale": place.scale, "workers": place.workers, "machine": machine, "steps": found}


def main(argv: Sequence[str] | None = None) -> int:
    """Do the steps that are left, and write the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the twin, the releases and the steps' figures")
    parser.add_argument("--scale", default="paper", metavar="paper|N")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--page", type=Path, help="write the page, and the figures beside it under the same name")
    parser.add_argument("--render", action="store_true", help="only write the page from the figures beside it")
    arguments = parser.parse_args(argv)
    if arguments.render:
        result = json.loads(arguments.page.with_suffix(".json").read_bytes())
    else:
        result = do(Place(arguments.out.resolve(), arguments.scale, arguments.workers, arguments.epochs))
    if arguments.page:
        arguments.page.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        arguments.page.write_text(page(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
