"""The page in a real browser: silent, off the network, and no wider than a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pippin.report.page import write_report
from pippin.report.schema import Report

pytestmark = pytest.mark.browser

COMPLAINTS = (
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
    "Network.loadingFailed",
)


def requests(browser: Any) -> list[str]:
    return [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]


def complaints(browser: Any) -> list[Any]:
    return [event for event in browser.events if event.get("method") in COMPLAINTS]


@pytest.mark.parametrize("which", ["known", "unknown"])
@pytest.mark.parametrize(("width", "dark"), [(360, False), (700, False), (1280, True)])
def test_page_is_silent_and_fits(
    browser: Any, tmp_path: Path, request: pytest.FixtureRequest, which: str, width: int, dark: bool
) -> None:
    report: Report = request.getfixturevalue(which)
    workload = report.workload.model_copy(update={"corpus_source": "/a/folder/" + "x" * 200})
    write_report(report.model_copy(update={"workload": workload}), tmp_path)
    page = tmp_path / "report.html"
    browser.open(page, width=width, height=800, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints(browser) == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    shown = "[...document.querySelectorAll('.{}')].filter(one => one.getClientRects().length).length"
    assert browser.evaluate(shown.format("narrow")) == (5 if width <= 640 else 0)
    assert browser.evaluate(shown.format("wide")) == (0 if width <= 640 else 5)
    ink = browser.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill")
    assert ink != "rgb(0, 0, 0)"  # what a colour that the page does not know would turn into


def test_drawings_keep_their_text_inside(browser: Any, tmp_path: Path, known: Report) -> None:
    write_report(known, tmp_path)
    for width in (360, 1280):
        browser.open(tmp_path / "report.html", width=width, height=800)
        outside = browser.evaluate(
            """[...document.querySelectorAll('.drawing svg')].filter(svg => svg.getClientRects().length)
            .flatMap(svg => [...svg.querySelectorAll('text')].filter(text => {
                const own = text.getBoundingClientRect(), box = svg.getBoundingClientRect();
                return own.left < box.left - 2 || own.right > box.right + 2
                    || own.top < box.top - 2 || own.bottom > box.bottom + 2;
            }).map(text => text.textContent))"""
        )
        assert outside == []


def test_the_checks_above_would_notice(browser: Any, tmp_path: Path) -> None:
    """A page that logs, throws, loads and overflows is caught at each."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><body><img src='http://127.0.0.1:9/x.png'><div style='width: 900px'>wide</div>"
        "<script>console.log('hello'); throw new Error('bad')</script>"
    )
    browser.open(page, width=360, height=800)
    assert "http://127.0.0.1:9/x.png" in requests(browser)
    assert {event["method"] for event in complaints(browser)} >= set(COMPLAINTS[:2])
    assert browser.evaluate("document.documentElement.scrollWidth") > 360


def test_pictures_and_print(browser: Any, tmp_path: Path, known: Report) -> None:
    write_report(known, tmp_path)
    browser.open(tmp_path / "report.html", width=800, height=600, scale=2)
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (1600, 1200)
    assert browser.pdf().startswith(b"%PDF")
