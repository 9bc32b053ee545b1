"""`constraints.txt` serves every Python that pyproject.toml promises: one pin a package, which direct requirements take.

That the pins for 3.10 can be installed together is what `.ci/run` tries where there is a python3.10.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

requirements = pytest.importorskip("packaging.requirements")
utils = pytest.importorskip("packaging.utils")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = ["3.10", "3.11", "3.12"]
UNPINNED = {"setuptools"}  # comes with every environment


def applies(requirement: object, python: str) -> bool:
    marker = requirement.marker  # type: ignore[attr-defined]
    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux", "extra": ""}
    return marker is None or bool(marker.evaluate(environment))


def pins(python: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = requirements.Requirement(line)
            (exact,) = pin.specifier
            assert exact.operator == "==", line
            if applies(pin, python):
                found.setdefault(utils.canonicalize_name(pin.name), []).append(exact.version)
    return found


def test_the_oldest_python_of_the_project_is_among_those_that_are_checked() -> None:
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"


@pytest.mark.parametrize("python", VERSIONS)
def test_every_direct_requirement_has_one_pin_that_fits(python: str) -> None:
    pinned = pins(python)
    assert [name for name, versions in pinned.items() if len(versions) != 1] == []
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    wrong = []
    for requirement in map(requirements.Requirement, lines):
        name = utils.canonicalize_name(requirement.name)
        if name in UNPINNED | {PROJECT["name"]} or not applies(requirement, python):
            continue
        if not requirement.specifier.contains(*pinned.get(name, ["0"])):
            wrong.append(f"{requirement}: pinned {pinned.get(name)}")
    assert wrong == []


def test_a_package_with_a_pin_for_newer_pythons_alone_is_needed_there_alone() -> None:
    assert pins("3.11").keys() - pins("3.10").keys() == {"lazy-importer", "obstore", "tifffile"}
    assert pins("3.10").keys() - pins("3.11").keys() == {
        "exceptiongroup", "importlib-resources", "isodate", "pytz", "tomli", "types-pytz",
    }  # fmt: skip
