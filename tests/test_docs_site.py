"""The site of docs/: it builds strictly, asks nobody for anything, and holds every public name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import unsafe_video_dataset
from unsafe_video_dataset import builders, defenses, errors

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs")
pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="not a checkout")
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "embed": "src",
    "link": "href",
}


class Page(HTMLParser):
    """What a page loads by itself (links to follow aside), the ids in it, and the addresses of its links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One tag."""
        found = dict(attrs)
        self.ids |= {found["id"] or ""} if "id" in found else set()
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        self.loads += [found[name] or "" for name in (LOADS.get(tag, ""), "srcset", "poster") if name in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert built.returncode == 0, built.stderr[-4000:]
    assert "WARNING" not in built.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    assert len(pages) > 25
    for name, page in pages.items():
        away = [address for address in page.loads if re.match(r"(\w+:)?//", address)]
        assert not away, f"{name} loads {away}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(\w+:)?//", text), sheet
        assert not re.search(r"@import\s+(url\()?\s*['\"]?(\w+:)?//", text), sheet


def test_links_within_the_site_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for link in page.links:
            address, _, anchor = link.partition("#")
            if re.match(r"\w+:", link) or name == "404.html" or not (address or anchor):
                continue
            target = (site / name).parent / address if address else site / name
            key = os.path.relpath(target, site).replace(os.sep, "/")
            assert target.is_file() or key == ".", f"{name}: {link}"
            if anchor and key in pages:
                assert anchor in pages[key].ids, f"{name}: {link}"


def test_links_that_leave_the_site_are_addresses_and_encrypted(pages: dict[str, Page]) -> None:
    """They are not asked whether they are there: no test asks a network."""
    leaving = {link: name for name, page in pages.items() for link in page.links if re.match(r"(\w+:)?//|\w+:", link)}
    assert len(leaving) > 5
    for link, name in leaving.items():
        address = urlsplit(link)
        assert address.scheme in ("https", "mailto"), f"{name}: {link}"
        if address.scheme == "https":
            assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", address.netloc), f"{name}: {link}"
            assert not re.search(r"[\s<>\"\\{}|^`]", link), f"{name}: {link}"
            assert "example" not in address.netloc, f"{name}: {link}"


def test_every_public_name_is_in_the_reference(pages: dict[str, Page]) -> None:
    known = {anchor for name, page in pages.items() if name.startswith("api/") for anchor in page.ids}
    last = {anchor.rsplit(".", 1)[-1] for anchor in known}
    missing = {*unsafe_video_dataset.__all__, *defenses.__all__, *builders.__all__} - {"__version__"} - last
    missing |= {"write_plots", "write_report", "ExportReport"} - last  # public, and in modules of their own
    assert not missing, f"name them in docs/api: {sorted(missing)}"
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.UnsafeVideoError)
    }
    assert kinds <= last


def test_every_command_has_its_help(pages: dict[str, Page]) -> None:
    wanted = {
        "unsafe-video",
        "unsafe-video-access",
        "unsafe-video-defend-record",
        "unsafe-video-build",
        "unsafe-video-build-run",
    }
    assert wanted <= pages["cli.html"].ids


def test_files_of_the_root_link_to_pages(pages: dict[str, Page]) -> None:
    assert {"hostile.html", "faults.html"} <= set(pages["security.html"].links)


def test_no_page_is_empty_and_each_is_in_the_navigation(site: Path) -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert written <= listed
    for name in listed:
        assert len((site / name).with_suffix(".html").read_text(encoding="utf-8")) > 1000


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)?(?:#([\w-]+))?\)", text)
    assert len(links) > 15
    for address, anchor in links:
        if re.match(r"\w+:", address):
            continue
        assert (ROOT / address).exists(), address
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / address).read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.slow
def test_in_a_browser(site: Path) -> None:
    browsers = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    with browsers.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, width in (("light", 400), ("dark", 1300)):
            page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
            asked: list[str] = []
            wrong: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, wrong=wrong: wrong.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            for path in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # that one is for a server
                page.goto(path.as_uri())
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{path.name} is wider than a page of {width}"
            page.goto((site / "index.html").as_uri())
            if width > 1000:
                page.fill("input[name=query]", "tombstone")
                page.wait_for_selector(".md-search-result__item")
            assert not wrong
            assert all(re.match(r"(file|data|blob):", address) for address in asked), asked
            for name in ("index", "load", "coming-from", "messages", "cli"):  # last: axe itself asks for the style sheets again
                page.goto((site / f"{name}.html").as_uri())
                page.wait_for_load_state()
                found = [one for one in axe.run(page).response["violations"] if one["impact"] in ("serious", "critical")]
                assert not found, f"{name}, {scheme}: {[(one['id'], one['nodes'][0]['html']) for one in found]}"
        browser.close()
