"""The page in a real browser: from disk, alone, in light, in dark, on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from espalier.report import write_report

from .builder import published_study

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.slow
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium; skip where it is missing."""
    if not CHROMIUM.exists():
        pytest.skip(f"chromium not found at {CHROMIUM}: make ci-deps installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of the report of the published numbers."""
    folder = tmp_path_factory.mktemp("page")
    published_study(folder / "study", keep=lambda of: (of.gamma, of.bits) != (0.75, 3))
    write_report(folder / "study", folder / "report")
    return (folder / "report" / "index.html").as_uri()


@pytest.fixture(params=["light", "dark", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, index: str) -> Iterator[Any]:
    """Return the opened page; nothing may be asked from elsewhere, no error logged."""
    size = {"width": 390, "height": 844} if request.param == "phone" else {"width": 1280, "height": 900}  # fmt: skip  # noqa: E501
    opened = browser.new_page(
        viewport=size, color_scheme="dark" if request.param == "dark" else "light"
    )
    asked: list[str] = []
    logged: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: logged.append(message.text))
    opened.on("pageerror", lambda error: logged.append(str(error)))
    opened.goto(index)
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith("data:")] == [index]
    assert logged == []


def column(page: Any, number: int) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#runs tbody tr:not([hidden])", f"rows => rows.map(r => r.cells[{number}].textContent)"
    )
    return found


def test_sorts(page: Any) -> None:
    """A click on a head sorts, another one turns it round; what is missing stays last."""
    head = page.locator("#runs th button").nth(6)
    head.click()
    rising = column(page, 6)
    assert rising[:2] == ["10.95", "12.05"]
    assert rising[-1] == "–"
    head.click()
    falling = column(page, 6)
    assert falling[:2] == ["87.21", "86.84"]
    assert falling[-1] == "–"


def test_filters(page: Any) -> None:
    """Words and choices narrow the table, and the count says so."""
    page.fill(".filters input", "γ 0.5 · 4 bits")
    assert [*zip(column(page, 0), column(page, 1), strict=True)] == [("0.5", "4")]
    assert page.inner_text(".shown") == "1 of 35 runs"
    page.fill(".filters input", "")
    page.select_option(".filters select >> nth=3", "waiting")
    assert len(column(page, 0)) == 1


def test_hovering_says_the_value_and_finds_the_row(page: Any) -> None:
    """A point tells its value; its run's row and points are lit, a click goes to the row."""
    point = page.locator('[data-key="figure2"] .dot').nth(7)
    run = point.get_attribute("data-run")
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert "%" in page.inner_text("#tip")
    assert "on" in (page.get_attribute("#tip", "class") or "")
    assert page.locator(f"#run-{run}.hot").count() == 1
    point.click(force=True)
    assert page.locator(f"#run-{run}").is_visible()
    page.locator(f"#run-{run} .go").click()
    assert page.locator(f'svg [data-run="{run}"].hot').count() > 1


def test_the_chooser_answers(page: Any) -> None:
    """A floor gives the smallest run above it, a budget the best one below."""
    page.fill("input[name=floor]", "84")
    assert "γ 0.375 · 8 bits" in page.inner_text("output")
    page.fill("input[name=floor]", "")
    page.fill("input[name=budget]", "100")
    assert "γ 0.5 · 4 bits" in page.inner_text("output")
    page.fill("input[name=budget]", "1")
    assert page.inner_text("output") == "none of the finished runs"


def test_fits_the_screen(page: Any) -> None:
    """The page itself never scrolls sideways; wide tables do so alone."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure.chart svg").count() >= 10


def test_portuguese_is_written_with_commas(browser: Any, tmp_path: Path) -> None:
    """Hovering, choosing and filtering, with commas or points."""
    published_study(tmp_path / "study")
    write_report(tmp_path / "study", tmp_path / "report", lang="pt")
    opened = browser.new_page()
    opened.goto((tmp_path / "report" / "index.html").as_uri())
    point = opened.locator('[data-key="figure2"] .dot').nth(7)
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert re.search(r"γ 0,\d+ · \d+ bits · taxa 0,01: \d+,\d\d %", opened.inner_text("#tip"))
    opened.fill("input[name=floor]", "84")
    assert "γ 0,375 · 8 bits · taxa 0,01 — 84,78 %" in opened.inner_text("output")
    for words in ("γ 0,5 · 4 bits", "γ 0.5 · 4 bits", "taxa 0,01 γ 0,5 · 4 bits"):
        opened.fill(".filters input", words)
        assert [*zip(column(opened, 0), column(opened, 1), strict=True)] == [("0,5", "4")]
    opened.close()


def test_print_keeps_within_the_paper(browser: Any, index: str) -> None:
    """No table is wider than a sheet of A4 between its margins."""
    opened = browser.new_page(viewport={"width": 702, "height": 1000})  # 186 mm at 96 a inch
    opened.emulate_media(media="print")
    opened.goto(index)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.close()
