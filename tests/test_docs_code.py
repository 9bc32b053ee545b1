"""Every code block of README and docs/ runs on the sample, or is checked to name what is there; shown output is real."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NoReturn

import docs_code
import pytest
from docs_material import given

pytest.importorskip("torch")

PAGES = [page for page in docs_code.PAGES if docs_code.blocks(page)]
NAMES = [page.relative_to(docs_code.ROOT).as_posix() for page in PAGES]


def _refuse(*arguments: Any, **_: Any) -> NoReturn:
    raise AssertionError(f"a page asks the network: {arguments[1:]}")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):  # workers of a loader speak over these
            _refuse(self, address)
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)


def run_page(page: Path, folder: Path, *, slow: bool) -> int:
    """Run a page's blocks; how many were run. In a slow run those marked slow come too, in their place."""
    runner = docs_code.Runner(given(page.name, folder))
    ran = 0
    for block in docs_code.blocks(page):
        if block.runs or (slow and block.mark == "slow"):
            printed = runner.run(block)
            ran += 1
            if block.output is not None:
                assert docs_code.alike(block.output, printed), (
                    f"{block.where}: run python tests/docs_code.py; the page shows\n{block.output}\nand it prints\n{printed}"
                )
    return ran


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    expected = sum(block.runs for block in docs_code.blocks(page))
    assert run_page(page, tmp_path, slow=False) == expected


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_that_are_not_run_name_what_is_there(page: Path) -> None:
    for block in docs_code.blocks(page):
        assert block.language, f"{block.where}: say the language (text, if it is none)"
        if not block.runs:
            docs_code.check(block)
