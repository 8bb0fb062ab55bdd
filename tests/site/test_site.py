"""The site: no warnings, links that lead somewhere, no network, a telephone's width, a search."""

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.shared.browser import chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PUBLIC = ("scratchopt", "scratchopt.lightning", "scratchopt.zero")


class Page(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            self.anchors.add(given.get(name) or "")
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag != "a":
            found = [given.get("src"), given.get("href"), given.get("data")]
            self.loaded += [one for one in found if one]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site."""
    return {file: Page(file) for file in site.rglob("*.html") if "_static" not in file.parts}


def test_it_is_built_without_a_warning(site: Path):
    """What a kernel says as it is shut down is no warning of Sphinx's."""
    code, _, said = (site / "built").read_text(encoding="utf-8").partition("\n")
    assert code == "0", said


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Page]):
    assert len(pages) > 50
    for file, page in pages.items():
        for link in page.links + page.loaded:
            address = urlsplit(link)
            if address.scheme in ("http", "https", "data"):
                continue
            path = unquote(address.path)
            target = Path(os.path.normpath(file.parent / path)) if path else file
            assert target.is_file(), (file, link)
            if address.fragment and target in pages and target.name != "playground.html":
                assert unquote(address.fragment) in pages[target].anchors, (file, link)


def test_nothing_is_loaded_from_the_network(site: Path, pages: dict[Path, Page]):
    for file, page in pages.items():
        loaded = [one for one in page.loaded if re.match(r"(https?:)?//", one)]
        assert not loaded, file
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", text), style


def test_every_public_name_has_its_place(pages: dict[Path, Page]):
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    for module in PUBLIC:
        for name in import_module(module).__all__:
            assert f"{module}.{name}" in anchors


def test_a_formula_keeps_its_lines(site: Path):
    page = (site / "reference" / "optimizers.html").read_text(encoding="utf-8")
    assert '<div class="line">v ← μv − lr·∇f(θ + μv)</div>\n<div class="line">θ ← θ + v,' in page


def test_a_value_is_shown_as_one_types_it(site: Path):
    page = (site / "reference" / "modules.html").read_text(encoding="utf-8")
    assert ">&quot;--config-dir=conf&quot;<" in page


# In the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser as wide as a telephone."""
    found = chromium(tmp_path_factory.mktemp("profile"), "800,900")
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield found
    found.quit()


def test_no_page_is_wider_than_a_telephone(pages: dict[Path, Page], browser: Chrome):
    wide = {}
    for file in pages:
        browser.get(file.as_uri())
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > 390:
            wide[file.name] = width
    assert not wide


@pytest.mark.parametrize(
    ("query", "title", "page"),
    [
        ("lookahead_", "scratchopt.Optimizer.lookahead_", "optimizers.html"),
        ("max_steps", "Configuration", "configuration.html#max_steps"),
        ("gradient clipping", "Train", "train.html#accumulation-and-clipping"),
        ("betas", "Optimizers", "optimizers.html#optimizers"),
    ],
)
def test_what_one_looks_up_is_found_first_without_a_server(
    site: Path, browser: Chrome, query: str, title: str, page: str
):
    browser.get(f"{(site / 'search.html').as_uri()}?q={quote(query)}")
    found = WebDriverWait(browser, 20).until(
        lambda _: browser.find_elements(By.CSS_SELECTOR, "#search-results li a")
    )
    assert found[0].text == title
    assert page in str(found[0].get_attribute("href"))
