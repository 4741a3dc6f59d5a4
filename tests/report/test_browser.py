"""The page in a real browser: silent, off the network, no wider than a phone, and usable by all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pippin.report.figures import make_figures
from pippin.report.page import write_report
from pippin.report.schema import Report

pytestmark = pytest.mark.browser


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
    visit: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    which: str,
    width: int,
    dark: bool,
    audit: bool,
) -> None:
    report: Report = request.getfixturevalue(which)
    workload = report.workload.model_copy(update={"corpus_source": "/a/folder/" + "x" * 200})
    write_report(report.model_copy(update={"workload": workload}), tmp_path)
    page = tmp_path / "report.html"
    visit.open(page, width, dark=dark)
    assert visit.scroll_width <= width
    assert visit.text_outside == []
    assert visit.complaints == []
    assert visit.requests == [page.as_uri()]
    shown = "[...document.querySelectorAll('.{}')].filter(one => one.getClientRects().length).length"
    figures = len(make_figures(report))
    assert visit.browser.evaluate(shown.format("narrow")) == (figures if width <= 640 else 0)
    assert visit.browser.evaluate(shown.format("wide")) == (0 if width <= 640 else figures)
    ink = visit.browser.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill")
    assert ink != "rgb(0, 0, 0)"  # what a colour that the page does not know would turn into
    if audit:
        assert visit.violations() == []


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


def test_pictures_and_print(browser: Any, tmp_path: Path, known: Report) -> None:
    write_report(known, tmp_path)
    browser.open(tmp_path / "report.html", width=800, height=600, scale=2)
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (1600, 1200)
    assert browser.pdf().startswith(b"%PDF")
