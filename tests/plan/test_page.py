"""The page of a plan: what it says, that it loads nothing, and that no name can break it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pippin.plan.drawings import log_ticks
from pippin.plan.estimate import Estimate
from pippin.plan.fleets import Comparison
from pippin.plan.page import headline, render_page, side_by_side, write_page
from pippin.plan.wording import days, spread, usd

HOSTILE = '"><script>alert(1)</script><img src=x> {{ 7 * 7 }} & \x00\x1b]0;'


def page(plan: Comparison) -> str:
    return render_page(plan, version="0.1.0", command="pippin plan")


@pytest.fixture(scope="module")
def source(comparison: Comparison) -> str:
    """The page of the made-up comparison; drawing one takes a second."""
    return page(comparison)


def text_of(source: str) -> str:
    plain = html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", source, flags=re.DOTALL))
    return " ".join(plain.replace("\u00a0", " ").split())


class Tags(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile(plan: Comparison) -> Comparison:
    first = replace(plan.fleets[0], name=HOSTILE, layout=HOSTILE, rests_on=HOSTILE, notes=(HOSTILE,))
    return replace(
        plan,
        model=HOSTILE,
        batch_basis=HOSTILE,
        fleets=(first, plan.fleets[1]),
        refused=((HOSTILE, HOSTILE),),
    )


def test_it_loads_nothing_and_hostile_names_stay_text(
    comparison: Comparison, bare_comparison: Comparison, source: str
) -> None:
    broken = page(hostile(comparison))
    assert "<script" not in broken and "{{ 7 * 7 }}" in text_of(broken)
    assert not set(broken) & {"\x00", "\x1b"}
    for text in (source, page(bare_comparison), broken):
        tags = Tags(text).found
        assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "iframe", "object", "base", "form"})
        assert not [attrs for _, attrs in tags if "src" in attrs]
        links = [str(attrs["href"]) for _, attrs in tags if "href" in attrs]
        assert all(link.startswith(("#", "data:")) for link in links)
        ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert {str(a["aria-labelledby"]) for _, a in tags if "aria-labelledby" in a} <= set(ids)


def test_the_same_plan_gives_the_same_page_written_whole(
    comparison: Comparison, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.html"
    write_page(comparison, path, version="0.1.0", command="pippin plan")
    assert path.read_text(encoding="utf-8") == source
    assert path.stat().st_size < 250_000


def test_it_says_what_it_rests_on(source: str) -> None:
    text = text_of(source)
    for words in (
        "405 B parameters",
        "15.6 T tokens to train on",
        "no failure rate of this chip is public",
        "not known at this scale",
        "no public list price",
        "capacity block",
        "nothing here was measured on these fleets",
        "trn1_16 cannot: the model needs 4.1 TiB more than its memory",
        "131,072 sequences an update in all, 2,048 a learner",
    ):
        assert words in text, words


def test_fleets_are_compared_on_one_kind_of_price(comparison: Comparison) -> None:
    """Trainium2 has no on-demand price, and its spot price is not set against reserved H100s."""
    assert comparison.price_kind == "capacity block"
    assert "on AWS capacity block" in headline(comparison)
    (row,) = [row for row in side_by_side(comparison) if row.label == "Dollars, capacity block"]
    assert all("capacity block" in cell.note for cell in row.cells)
    mixed = replace(
        comparison, fleets=(comparison.fleets[0], replace(comparison.fleets[1], chosen=_reserved(comparison)))
    )
    assert mixed.price_kind is None
    assert "prices of different kinds" in headline(mixed)
    assert "no kind of price in common" in text_of(page(mixed))


def _reserved(plan: Comparison) -> object:
    chosen = plan.fleets[1].chosen
    assert chosen.together is not None
    costs = tuple(cost for cost in chosen.together.costs if cost.basis.kind == "reserved")
    return replace(chosen, together=replace(chosen.together, costs=costs))


def test_unknowns_are_said(bare_comparison: Comparison) -> None:
    text = text_of(page(bare_comparison))
    for words in ("no price of this chip", "no power of trn3 is published", "no rated peak", "does not hold"):
        assert words in text, words
    assert "What the fleets make of it" not in text  # there is nothing to draw


def test_every_unknown_cell_has_a_reason(comparison: Comparison, bare_comparison: Comparison) -> None:
    for plan in (comparison, bare_comparison):
        for row in side_by_side(plan):
            assert all(cell.value is not None or cell.note for cell in row.cells), row.label


def test_figures_and_their_tables(source: str) -> None:
    assert re.findall(r'<figure class="plot" aria-labelledby="(\w+)-title">', source) == [
        "front",
        "prices",
        "scaling",
    ]
    for svg in re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL):
        assert "http" not in svg and "#fe01" not in svg
    assert source.count("<tr>") > 40


@pytest.mark.parametrize(
    ("low", "high"), [(0.9, 1.1), (1, 10), (3, 4000), (1e-4, 1e12), (150, 180), (7e5, 7.1e5)]
)
def test_ticks_of_a_logarithmic_axis(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)
    if high / low >= 10:
        assert len(ticks) >= 2


def test_words() -> None:
    assert usd(1.234e9).replace("\u00a0", " ") == "$1.23 B"
    assert usd(4.5) == "$4.50"
    assert days(Estimate(86_400.0, 43_200.0, 172_800.0)) == "1.00 (0.500 to 2.00) days"
    assert spread(Estimate(1.0, 0.5, float("inf")), str) == "1.0 (0.5 to no bound)"
    assert spread(Estimate(float("inf"), 1.0, float("inf")), str) == "never"
