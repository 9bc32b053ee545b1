"""docs/defenses.md: filled, of the shipped weights and the full settings, and its examples are code that exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from unsafe_video_dataset import defenses
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.defenses import bench, flops
from unsafe_video_dataset.defenses.detectors import videomae
from unsafe_video_dataset.integrity import sha256_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "defenses.md"


def section(name: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, flags=re.DOTALL)
    assert found, f"no markers for {name}"
    return found[1]


def test_every_section_of_a_report_is_in_the_page_and_filled() -> None:
    names = re.findall(r"<!-- (defenses [a-z]+) -->", PAGE.read_text(encoding="utf-8"))
    assert len(names) == len(set(names)) == 15
    for name in names:
        assert section(name).strip(), f"{name} is empty: run benchmarks/defenses.py"


def test_the_page_is_about_the_shipped_weights_and_the_full_settings() -> None:
    facts, settings = section("defenses facts"), bench.BenchSettings()
    weights = Path(defenses.__path__[0]) / "proxy" / "world" / "proxy.safetensors"
    assert sha256_file(weights)[:16] in facts, "other weights: run benchmarks/defenses.py"
    assert f"{settings.sampling_steps} steps of sampling" in facts
    assert f"Training seeds {', '.join(map(str, settings.seeds))}; {settings.bootstrap} bootstrap" in facts
    found = re.search(r"Test set: (\d+) videos", facts)
    assert found
    assert int(found[1]) >= 400


def test_figures_stand_beside_the_page() -> None:
    for name in re.findall(r"!\[[^]]+\]\((.+?)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).is_file()
        assert (PAGE.parent / name).with_suffix(".svg").is_file()


def test_the_examples_name_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module: Any = __import__(str(node.module), fromlist=["*"])
                assert all(hasattr(module, alias.name) for alias in node.names)
    for name in ("PerStepVideoMAE", "frames_decoder"):
        assert f"`{name}" in text
        assert hasattr(videomae, name)
    for name in ("GuardModel", "SafetyChecker", "CosmosGuardrail", "as_latent_defense", "as_output_defense"):
        assert f"`{name}`" in text
        assert hasattr(defenses, name)
    for line in re.findall(r"^unsafe-video (defend .*)$", text, flags=re.MULTILINE):
        words = shlex.split(line.split("#")[0])
        with pytest.raises(SystemExit) as stopped:  # the flags are known: argparse ends at --help, after reading them
            main([*words, "--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words if word.startswith("--"))


@pytest.mark.slow
def test_flops_of_one_model_are_those_of_the_page() -> None:
    pytest.importorskip("diffusers")
    from unsafe_video_dataset.defenses.bench.stages import look_of

    cost = flops.measure(flops.sizes()["SD 1.5 + AnimateDiff"], detector=look_of)
    for how in flops.LOOKS:
        row = next(line for line in section("defenses flops").splitlines() if f"| {how} |" in line and cost.name in line)
        assert f"| {cost.saving(5, how):.1f}x |" in row
        assert row.rstrip("| ").endswith(f"| {cost.most_steps(10, how)}")
