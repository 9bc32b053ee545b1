"""A headless Chromium for tests of pages: what a page asks for, says on its console, and what axe-core finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# As root Chromium needs --no-sandbox; the rest keeps it from asking its maker for updates.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-quic",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser: the system's Chromium, or Playwright's own. Skips the test where there is neither."""
    api = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright (extra: dev)")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


# Keeps what a page hands out for saving. Playwright's `Download.path()` waits without end where Chromium's word that the file
# is complete gets lost, which happened once in some hundred files; so the file is refused, and its content read here.
KEEP_BLOB = """
const real = URL.createObjectURL;
URL.createObjectURL = (blob) => real.call(URL, (window.lastBlob = blob));
"""


class Watched:
    """A page opened from disk, and all that went wrong on it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.add_init_script(KEEP_BLOB)
        page.on("console", lambda message: message.type in ("error", "warning") and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    @property
    def outside(self) -> list[str]:
        """What was asked for that is neither a file nor made by the page."""
        return [url for url in self.asked if not url.startswith(("file:", "blob:"))]

    def serious(self) -> list[str]:
        """Serious and critical findings of axe-core, with the elements."""
        axe = pytest.importorskip("axe_playwright_python", reason="axe-core comes with axe-playwright-python (extra: dev)")
        before = list(self.faults)
        self.page.evaluate(resources.files(axe).joinpath("axe.min.js").read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        self.faults[:] = before  # axe-core itself tries what the page's policy forbids
        return [
            f"{one['id']} ({one['impact']}): {[node['html'][:200] for node in one['nodes'][:3]]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def saved(self, button: str) -> Any:
        """The JSON file that a click on a button saves."""
        with self.page.expect_download() as download:
            self.page.click(button)
        assert download.value.suggested_filename.endswith(".json")
        return json.loads(self.page.evaluate("window.lastBlob.text()"))
