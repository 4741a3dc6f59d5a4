"""The page of a comparison: both sides on it, its data in it, and no text of a report that breaks it."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pippin.report.compare_page import render_page, write_page
from pippin.report.comparison import compare
from pippin.report.schema import Report
from pippin.report.sides import Side

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def sides(values: dict[str, Any]) -> tuple[Side, Side]:
    a = Report.model_validate(values)
    values["chip"]["name"] = HOSTILE
    for index, window in enumerate(values["speed"]["windows"]):
        window["seconds"] *= 0.8 + 0.01 * (index % 3)
    return Side("A", ("a.json",), (a,)), Side("B", ("b.json",), (Report.model_validate(values),))


def test_the_page_has_both_sides_and_the_answer(sides: tuple[Side, Side]) -> None:
    found = compare(*sides)
    page = render_page(found, *sides)
    assert "<script" not in page and html.escape(HOSTILE, quote=False)[2:] in page
    assert page.count("<figure") == 2 and page.count("<svg") >= 4
    assert html.escape(found.verdict) in page
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", page)
    assert data and json.loads(base64.b64decode(data[1])) == json.loads(found.model_dump_json())


def test_it_is_written_whole_and_loads_nothing(sides: tuple[Side, Side], tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    write_page(compare(*sides), *sides, path)
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert len(page) < 300_000


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark", "audit"), [(360, False, False), (1280, True, True)])
def test_it_is_silent_fits_and_is_accessible(
    visit: Any, sides: tuple[Side, Side], tmp_path: Path, width: int, dark: bool, audit: bool
) -> None:
    path = tmp_path / "comparison.html"
    write_page(compare(*sides), *sides, path)
    visit.open(path, width, dark=dark)
    assert visit.scroll_width <= width
    assert visit.text_outside == []
    assert visit.complaints == []
    assert visit.requests == [path.as_uri()]
    if audit:
        assert visit.violations() == []
