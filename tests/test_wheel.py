"""The wheel, installed outside the checkout: one top-level name, everything in it, and the demo runs from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from builders_support import tree

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "out", "tests", "benchmarks")

pytestmark = pytest.mark.filterwarnings("ignore")


def call(*command: object, cwd: Path) -> str:
    """Run a command with nothing of this process's Python paths; stdout. Fails with both streams shown."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_", "PYTEST"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that the checkout stays clean and tests may run side by side."""
    pytest.importorskip("setuptools", reason="setuptools builds the wheel (extra: dev)")
    place = tmp_path_factory.mktemp("wheel")
    tree = shutil.copytree(ROOT, place / "tree", ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    call(*pip, "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", place, tree, cwd=place)
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts of a clean venv with the wheel; third-party packages come from the running environment by a .pth file.

    The .pth files inside that folder are not read, so an editable install of the checkout stays out.
    """
    venv = tmp_path_factory.mktemp("venv") / "v"
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python", "install"]
    call(*pip, "--quiet", "--no-deps", "--no-index", wheel, cwd=venv.parent)
    packages = Path(call(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).strip())
    assert {path.name for path in packages.iterdir()} == {"unsafe_video_dataset", f"{wheel.name.split('-py3')[0]}.dist-info"}
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def test_one_top_level_name_with_everything_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        built = {name: archive.getinfo(name).file_size for name in files}
        metadata = archive.read(next(name for name in files if name.endswith(".dist-info/METADATA"))).decode()
    assert {name.split("/")[0] for name in files if ".dist-info/" not in name} == {"unsafe_video_dataset"}
    package = {name.removeprefix("unsafe_video_dataset/") for name in files}
    assert "py.typed" in package
    for folder, prefix in ((ROOT / "unsafe_video_dataset", ""), (ROOT / "builders", "builders/"), (ROOT / "schema", "schema/")):
        assert {prefix + path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} <= package
    assert {f"schema/{path.name}" for path in (ROOT / "schema").glob("*.json")} <= package
    sample = ROOT / "unsafe_video_dataset" / "sample" / "release"
    expected = {f"sample/release/{path.relative_to(sample).as_posix()}": path for path in sample.rglob("*") if path.is_file()}
    assert len(expected) > 10
    for name, path in expected.items():
        assert built[f"unsafe_video_dataset/{name}"] == path.stat().st_size
    assert not [name for name in files if "test" in name.split("/")[-1] and name.endswith(".py")]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert not [line for line in required if "torch" in line]


def test_imports_come_from_the_venv(bin_folder: Path, tmp_path: Path) -> None:
    code = (
        "import json, unsafe_video_dataset as p, unsafe_video_dataset.builders.upstream as b, unsafe_video_dataset.schema as s;"
        "from unsafe_video_dataset.release import Release;"
        "print(json.dumps([p.__file__, b.__file__, s.__file__, str(Release.open().path), len(Release.open().metadata())]))"
    )
    *places, number = json.loads(call(bin_folder / "python", "-c", code, cwd=tmp_path))
    for place in places:
        assert Path(place).is_relative_to(bin_folder.parent)
    assert number == 96


def test_the_demo_runs_from_an_empty_folder(bin_folder: Path, tmp_path: Path) -> None:
    report = json.loads(call(bin_folder / "unsafe-video", "demo", "--fast", "--json", "--out", tmp_path / "out", cwd=tmp_path))
    assert report["out"] == str(tmp_path / "out")
    assert Path(report["release"]["path"]).is_relative_to(bin_folder.parent)
    assert {"summary.md", "contact_sheet.png", "predictions.jsonl"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_the_builders_run_from_it(bin_folder: Path, tmp_path: Path) -> None:
    """The same sample comes out, byte by byte where the libraries are those that it was committed with."""
    call(bin_folder / "unsafe-video-build", "sample", "release", cwd=tmp_path)
    committed = ROOT / "unsafe_video_dataset" / "sample" / "release"
    if (
        json.loads((committed / "manifest.json").read_text())["created_by"]
        == json.loads((tmp_path / "release" / "manifest.json").read_text())["created_by"]
    ):
        assert tree(tmp_path / "release") == tree(committed)
    checked = json.loads(call(bin_folder / "unsafe-video-build", "check", "release", "--json", cwd=tmp_path))
    assert checked["ok"]
    assert checked["decoded"] == 96
