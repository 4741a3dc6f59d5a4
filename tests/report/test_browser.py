"""The page in a real browser: silent, off the network, no wider than a phone, and usable by all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pippin.report.page import write_report
from pippin.report.schema import Report, load_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, made_up: Any) -> dict[str, Path]:
    """Two pages by name: of a report with all that may be known, and of one with all that may not."""
    pages = {}
    for name, values in made_up.items():
        values["workload"]["corpus_source"] = "/a/folder/" + "x" * 200
        folder = tmp_path_factory.mktemp(name)
        write_report(Report.model_validate(values), folder)
        pages[name] = folder / "report.html"
    return pages


# An audit by axe-core takes seconds: each theme and each kind of report has one.
@pytest.mark.parametrize(
    ("which", "width", "dark", "audit"),
    [
        ("known", 360, False, True),
        ("unknown", 360, False, False),
        ("known", 700, False, False),
        ("unknown", 1280, True, True),
        ("known", 1280, False, False),
    ],
)
def test_page_is_silent_fits_and_is_accessible(
    visit: Any, pages: dict[str, Path], which: str, width: int, dark: bool, audit: bool
) -> None:
    page = pages[which]
    visit.open(page, width, dark=dark)
    assert visit.scroll_width <= width
    assert visit.text_outside == []
    assert visit.complaints == []
    assert visit.requests == [page.as_uri()]
    shown = "[...document.querySelectorAll('.{}')].filter(one => one.getClientRects().length).length"
    figures = page.read_text().count('<figure class="plot"')
    assert figures >= 5
    assert visit.browser.evaluate(shown.format("narrow")) == (figures if width <= 640 else 0)
    assert visit.browser.evaluate(shown.format("wide")) == (0 if width <= 640 else figures)
    ink = visit.browser.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill")
    assert ink != "rgb(0, 0, 0)"  # what a colour that the page does not know would turn into
    if audit:
        assert visit.violations() == []


def test_what_the_page_carries_is_saved_with_the_keyboard(
    visit: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    visit.browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    visit.open(pages["known"])
    visit.browser.evaluate("document.querySelector('[download=\"losses.csv\"]').focus()")
    visit.press("Enter")
    saved = visit.wait_for(tmp_path / "saved" / "losses.csv")
    assert saved.count("\n") == 1 + len(load_report(pages["known"].with_name("report.json")).losses)
    assert visit.complaints == []


def test_the_first_key_leads_to_the_numbers(visit: Any, pages: dict[str, Path]) -> None:
    visit.open(pages["known"])
    visit.press("Tab")
    focus = "JSON.stringify([document.activeElement.className, getComputedStyle(document.activeElement).{}])"
    assert json.loads(visit.browser.evaluate(focus.format("outlineStyle"))) == ["skip", "solid"]
    assert visit.browser.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    visit.press("Enter")
    assert visit.browser.evaluate("location.hash") == "#main"
    for _ in range(2):  # on to the second chapter of the contents
        visit.press("Tab")
    assert visit.browser.evaluate("document.activeElement.getAttribute('href')") == "#chapter-2"


def test_what_is_folded_away_is_printed(visit: Any, pages: dict[str, Path]) -> None:
    visit.browser.open(pages["known"], width=800, height=600)
    height = "Math.min(...[...document.querySelectorAll('{} table')].map(one => one.offsetHeight))"
    hidden = "document.querySelectorAll('details:not([open])').length"
    assert visit.browser.evaluate(hidden) > 10
    visit.browser.call("Emulation.setEmulatedMedia", media="print")
    assert visit.browser.evaluate(height.format("details")) > 20
    assert visit.browser.evaluate("document.querySelector('.downloads').offsetHeight") == 0
    visit.browser.call("Emulation.setEmulatedMedia", media="")
    assert visit.browser.evaluate("document.querySelector('.downloads').offsetHeight") > 20


def test_the_checks_above_would_notice(visit: Any, tmp_path: Path) -> None:
    """A page that logs, throws, loads, overflows and shuts people out is caught at each."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><body><img src='http://127.0.0.1:9/x.png'><div style='width: 900px'>wide</div>"
        "<p style='color: #999; background: #fff'>faint</p><div class='drawing'><svg width='9' height='9'>"
        "<text x='50' y='9'>out</text></svg></div>"
        "<script>console.log('hello'); throw new Error('bad')</script>"
    )
    visit.open(page, 360)
    assert visit.requests == [page.as_uri(), "http://127.0.0.1:9/x.png"]
    assert {event["method"] for event in visit.complaints} >= {
        "Runtime.exceptionThrown",
        "Runtime.consoleAPICalled",
    }
    assert visit.scroll_width > 360
    assert visit.text_outside == ["out"]
    found = {line.split(":")[0] for line in visit.violations()}
    assert {"critical image-alt", "serious color-contrast", "serious html-has-lang"} <= found


def test_pictures_and_print(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["known"], width=800, height=600, scale=2)
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (1600, 1200)
    assert browser.pdf().startswith(b"%PDF")
