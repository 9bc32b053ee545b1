"""Every figure: one of two widths, text that can be read in print, colours of the palette, the caller's settings left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import figure_support
import numpy as np
import pytest
from test_plots import BLINDNESS, lab
from test_protocol import toy

pytest.importorskip("matplotlib")

from PIL import Image

from unsafe_video_dataset import palette, plots
from unsafe_video_dataset.bench import plot as loaders
from unsafe_video_dataset.defenses.bench import plot as defenses
from unsafe_video_dataset.estimates import make_design
from unsafe_video_dataset.evaluate import load_model
from unsafe_video_dataset.figures import COLUMN, DPI, PAGE, SMALL, save
from unsafe_video_dataset.task import open_task

ROOT = Path(__file__).resolve().parents[1]


def evaluation(draw: str, target: str = "multilabel", **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        task = open_task("sample", target=target, **options)  # type: ignore[arg-type]
        design = make_design(task.truth, task.names, task.groups, bootstrap=20, seed=0, soft=target == "soft")
        model = load_model(task, toy(task.release, unsafe=target == "multilabel"))
        if draw == "panels":
            return plots.panels(task, design, model, "recall", "precision", plots.precision_recall)
        return getattr(plots, draw)(*((task, model) if draw == "_confusion" else (task, design, model)))

    return make


FIGURES: dict[str, Callable[[], Any]] = {
    "curves": evaluation("panels"),
    "one curve": evaluation("panels", "binary", config="reviewed"),
    "confusion": evaluation("_confusion"),
    "one table": evaluation("_confusion", "binary", config="reviewed"),
    "reliability": evaluation("_reliability"),
    "agreement": evaluation("_agreement", "soft", config="reviewed"),
    "loaders": lambda: loaders.draw(figure_support.loaders()),
    **{
        f"defences {draw.__name__}": lambda draw=draw: draw(figure_support.defenses())
        for draw in (defenses.by_step, defenses.by_rule, defenses.by_stratum, defenses.by_cost)
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_it_fits_a_paper(name: str, tmp_path: Path) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    figure = FIGURES[name]()
    assert figure.get_size_inches()[0] in (COLUMN, PAGE)
    assert figure.get_size_inches()[1] < 9  # a page of a paper
    png, svg = save(figure, tmp_path / "f")
    with Image.open(png) as image:
        assert image.width == round(figure.get_size_inches()[0] * DPI)
        edge = np.asarray(image.convert("L"))
    assert (np.concatenate([edge[0], edge[-1], edge[:, 0], edge[:, -1]]) > 250).all(), "something is cut off"
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert texts
    small = {text.get_text(): text.get_fontsize() for text in texts if text.get_fontsize() < SMALL}
    assert not small
    known = {value.lower() for value in _colours()}
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg.read_text()))
    if name not in ("confusion", "one table"):  # whose colours are those of a map
        assert drawn <= known | {"#cccccc", "#262626"}, "colours of the palette alone"
    assert drawn
    assert to_hex(figure.get_facecolor()) == palette.WHITE


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another(name: str) -> None:
    """Labels of one axis keep apart, and legends do not lie on titles."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    for axis in figure.axes:
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            shown = [label for label in labels if label.get_text() and label.get_visible() and not label.get_rotation() % 90]
            boxes = [label.get_window_extent() for label in shown]
            for (one, a), (other, b) in combinations(zip(shown, boxes, strict=True), 2):
                assert not a.overlaps(b), (one.get_text(), other.get_text())
    titles = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
    assert not any(a.overlaps(b) for a, b in combinations(titles, 2))
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(box) for box in titles)


def test_drawing_leaves_the_callers_settings_and_backend_alone() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import matplotlib
matplotlib.use("svg")
before = dict(matplotlib.rcParams)
import tempfile
from pathlib import Path
import figure_support
from unsafe_video_dataset.bench.plot import write_plot
from unsafe_video_dataset.defenses.bench.plot import by_step
write_plot(figure_support.loaders(), Path(tempfile.mkdtemp()) / "a")
by_step(figure_support.defenses())
assert dict(matplotlib.rcParams) == before
assert matplotlib.get_backend().lower() == "svg"
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, str(ROOT / "tests")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# -- one palette


def _colours() -> list[str]:
    found = [value for value in vars(palette).values() if isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value)]
    return [*found, *palette.COLORS.values(), *palette.SEQUENTIAL_STOPS]


def test_no_other_file_names_a_colour() -> None:
    """But the style sheet of the report, whose ink and paper change with the scheme."""
    for folder in ("unsafe_video_dataset", "builders", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".js", ".html") or path.name == "palette.py":
                continue
            found = re.findall(r"[\"'#:\s](#[0-9a-fA-F]{6})\b", path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)} names {found}: take it from palette.py"


@pytest.mark.parametrize("kind", BLINDNESS)
def test_other_series_can_be_told_apart_and_are_no_category(kind: str) -> None:
    assert not {*palette.SERIES} & {*palette.COLORS.values()}
    distances = {(a, b): float(np.linalg.norm(lab(a, kind) - lab(b, kind))) for a, b in combinations(palette.SERIES, 2)}
    assert min(distances.values()) > 15, min(distances, key=lambda pair: distances[pair])


def test_the_colours_of_loaders_and_defences_are_of_the_series() -> None:
    used = [
        color for styles in (defenses.RULES, defenses.SHOWN, defenses.OUTPUT, defenses.LOOK) for color, _ in styles.values()
    ]
    used += [color for color, _ in loaders.KINDS.values()]
    assert {*used} <= {*palette.SERIES, palette.BLACK, palette.GREY}
    for styles in (defenses.RULES, {**defenses.SHOWN, **defenses.OUTPUT}, defenses.LOOK):
        assert len({color for color, _ in styles.values()}) == len(styles)
        assert len({marker for _, marker in styles.values()}) == len(styles), "no figure rests on colour alone"
