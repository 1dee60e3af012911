"""A real Chromium, and pages of made-up results that it opens from disk."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lockstep.report import write
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("page_benchmark", ROOT / "benchmarks" / "page.py")
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)


class Opened:
    """A page in the browser, and all that it complained of or asked for."""

    def __init__(self, page, path: Path):
        self.page = page
        self.path = path
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", self._failed)

    def _failed(self, request) -> None:
        # leaving a page ends what is still loading
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure} {request.url}")

    def go(self, place: str = "") -> None:
        """Open a place of the page anew, such as `#samples?category=physical`."""
        self.page.goto("about:blank")
        self.page.goto(self.path.as_uri() + place)
        self.page.wait_for_selector("#cards .card", state="attached")
        # texts come after the cards
        self.page.wait_for_function(
            "document.querySelector('#cards .instruction').textContent.trim()"
        )

    def follow(self, link: str) -> None:
        """Click on a link within the page, by its selector, and wait until the page has read it."""
        found = self.page.locator(link).first
        place = found.get_attribute("href")
        found.click()
        self.page.wait_for_function(
            "place => window.placeRead === new URL(place, location).hash", arg=place
        )

    def cards(self) -> list[str]:
        """Return the ids of the samples that are shown."""
        return self.page.eval_on_selector_all(
            "#cards .card", "cards => cards.map(card => card.dataset.id)"
        )

    def found(self) -> str:
        return self.page.inner_text("#found")

    def outside(self, folder: Path) -> list[str]:
        """Return what was asked for outside of a folder."""
        return [
            url
            for url in self.requests
            if not url.startswith(("about:", "data:"))
            and not (
                urlsplit(url).scheme == "file"
                and Path(unquote(urlsplit(url).path)).resolve().is_relative_to(folder.resolve())
            )
        ]


@pytest.fixture(scope="session")
def browser() -> Iterator:
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if path is None:
        pytest.exit(
            "these tests need Chromium: on Debian `apt-get install chromium fonts-noto-cjk`, "
            "elsewhere set CHROMIUM to its path",
            returncode=1,
        )
    from playwright.sync_api import sync_playwright

    # as root it cannot make its sandbox
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator:
    """Open a report in a window of its own; it must complain of nothing."""
    pages = []

    def start(path: Path, place: str = "", **settings) -> Opened:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **settings})
        # a click on a link has its effect some time after it
        page.add_init_script(
            "window.placeRead = location.hash;"
            "addEventListener('hashchange', () => { window.placeRead = location.hash; });"
        )
        pages.append(Opened(page, path))
        pages[-1].go(place)
        return pages[-1]

    yield start
    for opened in pages:
        opened.page.close()
    assert [complaint for opened in pages for complaint in opened.complaints] == []


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Path:
    """Results of 1,000 samples × 3 editors with their report; nothing in them is changed."""
    folder = tmp_path_factory.mktemp("large")
    write.write_report(*made_up.make_results(folder, 1000, side=160), threads=os.cpu_count())
    return folder
