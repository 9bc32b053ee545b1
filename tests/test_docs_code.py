"""Every code block of README and docs/ runs on the sample, or is checked to name what is there; shown output is real."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NoReturn

import docs_code
import pytest
from docs_material import given, on_the_hub
from hub import LoopbackHub, run_client

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
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    expected = sum(block.runs for block in docs_code.blocks(page))
    assert run_page(page, tmp_path, slow=False) == expected


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- code: slow -->" in page.read_text(encoding="utf-8")])
def test_slow_blocks_run_in_their_place(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert run_page(page, tmp_path, slow=True) > 0


ON_THE_HUB = """
import sys
sys.path.insert(0, sys.argv[2])
import docs_code
from pathlib import Path
runner = docs_code.Runner()
result = []
for block in docs_code.blocks(Path(sys.argv[3])):
    if block.mark == "asks the Hub":
        printed = runner.run(block)
        result.append([block.where, block.output, printed])
"""


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- code: asks the Hub -->" in page.read_text(encoding="utf-8")])
def test_blocks_that_ask_the_hub_run_against_one_on_this_machine(page: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        token = on_the_hub(page.name, tmp_path, hub)
        argv = [str(Path(__file__).parent), str(page)]
        ran = run_client(hub, ON_THE_HUB, tmp_path, token=token, argv=argv, timeout=1800).ok()
    assert ran
    for where, shown, printed in ran:
        assert shown is None or docs_code.alike(shown, printed), f"{where}: it prints\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_that_are_not_run_name_what_is_there(page: Path) -> None:
    for block in docs_code.blocks(page):
        assert block.language, f"{block.where}: say the language (text, if it is none)"
        if not block.runs:
            docs_code.check(block)


# --- the machinery itself: a page that is wrong is found out ---------------------------------------------------------


def page_of(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[docs_code.Block]:
    """The blocks of a page with this text."""
    monkeypatch.setattr(docs_code, "ROOT", folder)
    (folder / "page.md").write_text(text, encoding="utf-8")
    return docs_code.blocks(folder / "page.md")


def test_blocks_are_found_with_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
<!-- code: slow -->
```bash
unsafe-video info \\
    sample  # a comment
```

    ```python
    print(1)
    ```

<!-- code: output -->
```text
1
```
"""
    first, second = page_of(text, tmp_path, monkeypatch)
    assert (first.mark, first.runs, first.line) == ("slow", False, 3)
    assert docs_code.commands(first.text) == [(["unsafe-video", "info", "sample"], 0)]
    assert (second.text, second.output, second.runs) == ("print(1)\n", "1\n", True)
    with pytest.raises(AssertionError, match=r"page\.md:2: the mark 'skip' is not known"):
        page_of("<!-- code: skip -->\n```bash\nls\n```\n", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("python", "1 + 1  # -> 3", "it gives 2, and the page says 3"),
        ("bash", "unsafe-video info nowhere", "ends with 2"),
        ("bash", "unsafe-video info sample --nope", "ends with 2"),
        ("bash", "unsafe-video info sample  # exit code 1", "ends with 0"),
        ("bash", "rm -rf out", "none of our commands"),
    ],
)
def test_a_block_that_is_not_so_is_found_out(language: str, text: str, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        docs_code.Runner().run(docs_code.Block("page.md", 1, language, text))


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("bash", "unsafe-video access org/repo --nope", "is refused"),
        ("bash", "unsafe-video nope", "is refused"),
        ("bash", "unsafe-video access org/repo --token abc", "is refused|has no --token"),
        ("bash", "torchrun -m unsafe_video_dataset.baseline --nope 1", "is refused"),
        ("bash", "make nope", "no target"),
        ("bash", "pip install '.[train,nope]'", "no extra"),
        ("bash", "python examples/nope.py", "there is no"),
        ("bash", "curl example.org", "is not known here"),
        ("python", "from unsafe_video_dataset import nope", "has no nope"),
        ("json", '{"video_id": "0123456789abcdef", "scores": {}}', "scores"),
        ("perl", "print 1", "not known here"),
    ],
)
def test_a_block_that_names_what_is_not_there_is_found_out(language: str, text: str, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        docs_code.check(docs_code.Block("page.md", 1, language, text, mark="not run: reason"))


def test_a_page_can_not_ask_the_network(offline: None) -> None:
    with pytest.raises(AssertionError, match="asks the network"):
        docs_code.Runner().run(
            docs_code.Block("page.md", 1, "python", "import urllib.request as r; r.urlopen('http://127.0.0.1:9/')")
        )


def test_outputs_are_renewed_each_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "```python\nprint({0})\n```\n\n<!-- code: output -->\n```text\n{1}\n```\n\n"
    before = shown.format(1, "old") + shown.format(2, "…") + shown.format(3, "old")
    page_of(before, tmp_path, monkeypatch)
    after = docs_code.renewed(tmp_path / "page.md", docs_code.Runner())
    assert after == shown.format(1, "1") + shown.format(2, "…") + shown.format(3, "3")


def test_what_is_shown_is_compared() -> None:
    assert docs_code.alike("a … c\n", "a  b \n c")
    assert docs_code.alike("", "\n")
    assert not docs_code.alike("a", "a b")
