"""A plan's page in a real browser: silent, off the network, no wider than a phone, usable by all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pippin.plan.fleets import Comparison
from pippin.plan.page import write_page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("which", "width", "dark"),
    [("comparison", 360, False), ("comparison", 1280, True), ("bare_comparison", 700, False)],
)
def test_page_is_silent_fits_and_is_accessible(
    visit: Any, tmp_path: Path, request: pytest.FixtureRequest, which: str, width: int, dark: bool
) -> None:
    plan: Comparison = request.getfixturevalue(which)
    page = tmp_path / "plan.html"
    write_page(plan, page, version="0.1.0", command="pippin plan")
    visit.open(page, width, dark=dark)
    assert visit.scroll_width <= width
    assert visit.text_outside == []
    assert visit.complaints == []
    assert visit.requests == [page.as_uri()]
    assert visit.violations() == []
