"""Figures: every file is there and is a picture, the same each time, on awkward splits too; one palette."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_import import run, without
from test_protocol import toy

from unsafe_video_dataset.estimates import make_design
from unsafe_video_dataset.palette import CATEGORY_COLORS, COLORS, MARKERS
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

pytest.importorskip("matplotlib")

from unsafe_video_dataset.plots import write_plots


def names(files: list[Path]) -> set[str]:
    return {file.stem for file in files}


def check(files: list[Path]) -> None:
    from PIL import Image

    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                picture = np.asarray(image.convert("RGB"))
                colors = image.convert("RGB").resize((200, 150)).getcolors(100_000)
            assert min(picture.shape[:2]) > 250
            assert colors is not None
            assert len(colors) > 20, f"{file} is empty"
            # Nothing is cut off at the edge: the outermost pixels are the background.
            assert (np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]) > 250).all(), file
        else:
            assert file.read_text().lstrip().startswith("<?xml")


def test_multilabel(sample: Release, tmp_path: Path) -> None:
    files = write_plots(toy(sample), sample, tmp_path, bootstrap=20)
    assert names(files) == {"pr", "roc", "confusion", "reliability", "agreement"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files}
    check(files)
    svg = (tmp_path / "roc.svg").read_text()
    assert all(color.lower() in svg for color in CATEGORY_COLORS.values())


def test_the_same_predictions_in_any_order_give_the_same_bytes(sample: Release, tmp_path: Path) -> None:
    records = toy(sample, unsafe=False)
    options: dict[str, Any] = {"config": "reviewed", "target": "binary", "bootstrap": 10}
    once = write_plots(records, sample, tmp_path / "a", **options)
    again = write_plots(list(reversed(records)), sample, tmp_path / "b", **options)
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]
    check(once)


def test_soft(sample: Release, tmp_path: Path) -> None:
    files = write_plots(toy(sample, unsafe=False), sample, tmp_path, config="reviewed", target="soft", bootstrap=10)
    assert names(files) == {"reliability", "agreement"}
    check(files)


def test_a_split_without_votes(unvoted: Path, tmp_path: Path) -> None:
    release = Release.open(unvoted)
    records = toy(release, unsafe=False)
    files = write_plots(records, release, tmp_path, config="reviewed", target="binary", bootstrap=0)
    assert names(files) == {"pr", "roc", "confusion", "reliability"}
    check(files)


def test_a_category_with_one_class_has_a_panel_that_says_so(sample: Release) -> None:
    from unsafe_video_dataset.curves import roc
    from unsafe_video_dataset.evaluate import load_model
    from unsafe_video_dataset.plots import panels
    from unsafe_video_dataset.task import open_task

    task = open_task(sample)
    task.truth[:, 4] = 0  # political: nothing
    design = make_design(task.truth, task.names, task.groups, bootstrap=5, seed=0)
    figure = panels(task, design, load_model(task, toy(sample)), "x", "y", roc)
    assert [text.get_text() for text in figure.axes[4].texts] == ["one class only"]
    assert [axis.get_title() for axis in figure.axes[3:5]] == ["Violent/Bloody (4 of 20)", "Political (0 of 20)"]


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = without("matplotlib") + (
        "from unsafe_video_dataset.plots import write_plots\n"
        "try: write_plots([], 'sample', 'x')\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    assert run(code) == "MissingDependency This needs matplotlib: pip install 'unsafe-video-dataset[plots]'"


# --- palette ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(color: str, kind: str) -> np.ndarray:
    """CIE Lab (D65) of a colour as it is seen."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(BLINDNESS[kind]) @ linear, 0, 1)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.asarray(matrix) @ seen / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_categories_can_be_told_apart(kind: str) -> None:
    assert tuple(CATEGORY_COLORS) == CATEGORIES
    assert len(set(MARKERS.values())) == len(CATEGORIES)
    colors = list(CATEGORY_COLORS.values())
    distances = [np.linalg.norm(lab(a, kind) - lab(b, kind)) for i, a in enumerate(colors) for b in colors[:i]]
    assert min(distances) > 15  # 2.3 is a just noticeable difference
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in COLORS.values())
