"""A plan's page in a real browser: silent, off the network, no wider than a phone, text inside drawings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pippin.plan.fleets import Comparison
from pippin.plan.page import write_page

pytestmark = pytest.mark.browser

COMPLAINTS = (
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
    "Network.loadingFailed",
)


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
@pytest.mark.parametrize("which", ["comparison", "bare_comparison"])
def test_page_is_silent_and_fits(
    browser: Any, tmp_path: Path, request: pytest.FixtureRequest, which: str, width: int, dark: bool
) -> None:
    plan: Comparison = request.getfixturevalue(which)
    page = tmp_path / "plan.html"
    write_page(plan, page, version="0.1.0", command="pippin plan")
    browser.open(page, width=width, height=800, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert [event for event in browser.events if event.get("method") in COMPLAINTS] == []
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    outside = browser.evaluate(
        """[...document.querySelectorAll('.drawing svg')].filter(svg => svg.getClientRects().length)
        .flatMap(svg => [...svg.querySelectorAll('text')].filter(text => {
            const own = text.getBoundingClientRect(), box = svg.getBoundingClientRect();
            return own.left < box.left - 2 || own.right > box.right + 2
                || own.top < box.top - 2 || own.bottom > box.bottom + 2;
        }).map(text => text.textContent))"""
    )
    assert outside == []
