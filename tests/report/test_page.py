"""The page: it holds the figures and the data, loads nothing, and no text of a report can break it."""

from __future__ import annotations

import base64
import csv
import functools
import html
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pippin.errors import PippinError
from pippin.report.chapters import make_chapters
from pippin.report.downloads import as_csv, lists_of
from pippin.report.figures import make_figures
from pippin.report.html import printable
from pippin.report.listing import list_groups
from pippin.report.page import render_page, write_report
from pippin.report.schema import Report, load_report

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} $x^2$ & \x00\x1b]0;'
VOID = {"meta", "link", "path", "use", "rect", "img", "br"}


class Page(HTMLParser):
    """Collects tags and ids, and holds that every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def having(self, name: str) -> list[tuple[str, str]]:
        return [(tag, attrs[name] or "") for tag, attrs in self.tags if name in attrs]


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).replace("\u00a0", " ").split())


@pytest.fixture
def hostile(values: dict[str, Any]) -> Report:
    values["sample"] |= {"prompt": HOSTILE, "text": HOSTILE}
    values["chip"] |= {"name": HOSTILE, "simd": [HOSTILE], "device_kind": HOSTILE}
    values["workload"] |= {"corpus": HOSTILE, "corpus_source": 'https://x.org/" onmouseover="alert(3)'}
    values["workload"]["preset"] = HOSTILE.replace("\x00\x1b", "")
    values["price"]["source"] = "javascript:alert(4)"
    values |= {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    return Report.model_validate(values)


def test_page_is_well_formed_and_loads_nothing(known: Report, unknown: Report, hostile: Report) -> None:
    for report in (known, unknown, hostile):
        page = Page(render_page(report))
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "base", "form"})
        assert page.having("src") == []
        for tag, target in page.having("href"):
            assert target.startswith(("#", "data:")) or (tag == "a" and target.startswith("https://"))
        ids = [value for _, value in page.having("id")]
        assert len(ids) == len(set(ids))
        referenced = {value[1:] for _, value in page.having("href") if value.startswith("#")}
        referenced |= {value for _, value in page.having("aria-labelledby")}
        assert referenced <= set(ids)


def test_style_and_drawings_name_no_address(known: Report) -> None:
    page = render_page(known)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert "http" not in svg
        assert set(re.findall(r"url\((.)", svg)) <= {"#"}


def test_hostile_text_stays_text(hostile: Report) -> None:
    page = render_page(hostile)
    assert "<script" not in page and "<img" not in page
    names = {name for _, attrs in Page(page).tags for name in attrs}
    assert not {name for name in names if name.startswith("on")}
    assert "{{ 7 * 7 }}" in text_of(page)
    assert not set(page) & {"\x00", "\x1b"}
    assert 'href="javascript' not in page


def test_control_characters_are_shown_as_replacements() -> None:
    assert printable("a\x00b\n\tc\x1b é") == "a\ufffdb\n\tc\ufffd é"


def test_figures_have_a_finding_two_sizes_and_a_table(known: Report) -> None:
    page = render_page(known)
    tags = Page(page).tags
    labels = [attrs["aria-label"] for _, attrs in tags if attrs.get("role") == "img"]
    count = len(make_figures(known))
    assert len(labels) == count >= 8
    assert all(label and re.search(r"\d", label) for label in labels)
    assert page.count('<div class="wide"><svg viewBox="0 0 760 ') == count
    assert page.count('<div class="narrow"><svg viewBox="0 0 344 ') == count
    assert page.count("<figcaption>") == count + 1  # the sample has one too
    assert sum(tag == "details" for tag, _ in tags) == count + len(list_groups(known))
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")


def test_drawings_take_colour_and_font_from_the_page(known: Report) -> None:
    drawings = "".join(re.findall(r"<svg viewBox=\"0 0 (?:760|344).*?</svg>", render_page(known), re.DOTALL))
    assert "#fe01" not in drawings and "DejaVu" not in drawings
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]*)", drawings)) <= {
        "none",
        *(f"var(--{name})" for name in ["ink", "muted", "grid", "paper", "model", "second", "other"]),
        *(f"var(--{name})" for name in known.seconds_by_category.model_dump()),
    }


def test_headings_go_down_one_level_at_a_time(known: Report) -> None:
    levels = [int(tag[1]) for tag, _ in Page(render_page(known)).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_page_says_the_key_numbers(known: Report) -> None:
    text = text_of(render_page(known))
    assert (
        "This CPU pretrains pippin-5m at 3,010 tokens/s: 42 % of the matrix rate measured on it (float32), "
        "32 % of the rated peak, at $0.00767 per million tokens." in text
    )
    for phrase in ("2,350 tokens/s", "83.8 GFLOP/s", "1.869 bits/byte", "23 % fewer than xz -9 (2.441)"):
        assert phrase in text


def test_page_says_why_a_number_is_unknown(unknown: Report) -> None:
    text = text_of(render_page(unknown))
    assert "This CPU pretrains pippin-5m at 3,010 tokens/s. Measured" in text
    assert "MFU unknown no rated peak for this CPU in the catalog" in text
    assert "Price unknown no --price-per-hour was given" in text
    for path, reason in unknown.unknown.items():
        assert f"{path} unknown: {reason}" in text


def test_every_field_is_listed_with_its_method(known: Report) -> None:
    text = text_of(render_page(known))
    for path, value in (
        (
            "basis.peak_source",
            "2 FMA units x 16 lanes x 3.7 GHz x 2 cores Where the rated peak is published.",
        ),
        ("chip.rules.attention", "blocked Attention backend."),
        ("job_hash", known.job_hash),
        ("memory_bandwidth.array_bytes", "256 MiB Size of the array that was streamed."),
        ("steps", "205 Training steps done."),
    ):
        assert f"{path} {value}" in text


def test_a_model_worse_than_xz_and_several_devices_read_right(values: dict[str, Any]) -> None:
    values["chip"] |= {"platform": "gpu", "num_devices": 8}
    values["held_out"] |= {"bits_per_byte": 2.63, "fewer_bits_than_xz": -0.0774}
    text = text_of(render_page(Report.model_validate(values)))
    assert "These GPUs pretrain pippin-5m at" in text and "measured on them" in text
    assert "7.7 % more than xz -9" in text


def test_a_run_of_one_step_can_be_drawn(values: dict[str, Any]) -> None:
    values |= {"losses": values["losses"][:1], "matmul": [], "validations": values["validations"][:1]}
    values["speed"]["windows"] = values["speed"]["windows"][:1]
    values["seconds_by_category"] = dict.fromkeys(values["seconds_by_category"], 0.0)
    values |= {"tokens_per_second": 0.0, "model_flops_per_second": 0.0}
    Page(render_page(Report.model_validate(values)))


def test_same_report_gives_the_same_page(known: Report) -> None:
    assert render_page(known) == render_page(known)


def test_page_of_a_long_run_stays_small(values: dict[str, Any]) -> None:
    point = values["losses"][-1]
    values["losses"] = [
        {"step": 10 * i, "tokens": 20_480 * i, "loss": point["loss"] + (i * 7919 % 1000) / 3000}
        for i in range(1000)
    ]
    values["speed"]["windows"] *= 4
    values["matmul"] *= 2
    assert len(render_page(Report.model_validate(values)).encode()) < 600_000


def test_report_is_written_beside_the_page_that_carries_it(tmp_path: Path, known: Report) -> None:
    write_report(known, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["report.html", "report.json"]
    page = (tmp_path / "new" / "report.html").read_text()
    assert carried(page)["report.json"] == (tmp_path / "new" / "report.json").read_text()
    assert load_report(tmp_path / "new" / "report.json") == known


def carried(page: str) -> dict[str, str]:
    """The files that a page has within it, by name."""
    files = re.findall(
        r'<a download="([^"]+)" href="data:(?:application/json|text/csv);base64,([^"]*)"', page
    )
    return {name: base64.b64decode(content).decode() for name, content in files}


def test_every_list_of_the_report_is_carried_as_csv(known: Report) -> None:
    files = carried(render_page(known))
    lists = [name.removesuffix(".csv") for name in files if name not in ("report.json", "numbers.csv")]
    assert {"losses", "validations", "matmul"} <= set(lists)
    values = known.model_dump(mode="json")
    for name in lists:
        rows = list(csv.DictReader(io.StringIO(files[f"{name}.csv"])))
        want = functools.reduce(lambda part, key: part[key], name.split("."), values)
        assert len(rows) == len(want)
        simple = {key for key, value in want[0].items() if type(value) in (int, float, str)}
        assert simple
        for row, one in zip(rows, want, strict=True):
            assert {key: type(one[key])(row[key]) for key in simple} == {key: one[key] for key in simple}


def test_every_number_is_carried_as_csv_with_its_method(known: Report, unknown: Report) -> None:
    for report in (known, unknown):
        rows = list(csv.DictReader(io.StringIO(carried(render_page(report))["numbers.csv"])))
        fields = {row["field"]: row for row in rows}
        assert len(fields) == len(rows) == sum(len(group.rows) for group in list_groups(report))
        assert float(fields["tokens_per_second"]["value"]) == report.tokens_per_second  # not rounded
        assert fields["tokens_per_second"]["method"].startswith("Training rate: ")
        assert {name: row["unknown_because"] for name, row in fields.items() if row["unknown_because"]} == (
            report.unknown
        )
        assert all(bool(row["value"]) != bool(row["unknown_because"]) for row in rows)


def test_a_cell_holds_what_is_within_it() -> None:
    rows = [{"a": 1, "b": {"c": 'say "x", y', "d": [1, 2]}}, {"a": None, "e": "two\nlines"}]
    (path, found), *rest = lists_of({"top": {"list": rows, "numbers": [1, 2], "none": []}})
    assert (path, found, rest) == ("top.list", rows, [])
    assert list(csv.reader(io.StringIO(as_csv(rows), newline=""))) == [
        ["a", "b.c", "b.d", "e"],
        ["1", 'say "x", y', "[1, 2]", ""],
        ["", "", "", "two\nlines"],
    ]


def test_chapters_have_every_figure_once_and_in_order(known: Report) -> None:
    figures = make_figures(known)
    strange = replace(figures[0], key="something-new")
    chapters = make_chapters([strange, *reversed(figures)])
    numbered = [figure.key for chapter in chapters for figure in chapter.figures]
    assert sorted(numbered) == sorted(figure.key for figure in [strange, *figures])
    assert numbered[0] == "training" and numbered[-1] == "something-new"
    assert [chapter.first for chapter in chapters] == [
        1 + numbered.index(chapter.figures[0].key) for chapter in chapters
    ]
    # A figure of ours has its place.
    assert make_chapters(figures)[-1].title != chapters[-1].title == "More figures"


def test_contents_lead_to_every_part_of_the_page(known: Report) -> None:
    page = render_page(known)
    contents = page[page.index("<nav") : page.index("</nav>")]
    targets = [target for tag, target in Page(contents + "</nav>").having("href")]
    chapters = make_chapters(make_figures(known))
    assert targets == [*(f"#{chapter.key}" for chapter in chapters), "#sample", "#data", "#every"]
    for chapter in chapters:
        assert chapter.finding in html.unescape(contents)


def test_what_lists_lack_stands_apart_from_the_run(known: Report, unknown: Report) -> None:
    for report in (known, unknown):
        run, *_ = groups = list_groups(report)
        lists = [group for group in groups if group.title == "Unknown within lists"]
        assert {row.path for row in run.rows} <= set(Report.model_fields)
        within = {path for path in report.unknown if any(part.isdigit() for part in path.split("."))}
        assert {row.path for group in lists for row in group.rows} == within
        assert len(lists) == bool(within)


def test_every_table_has_a_caption(known: Report) -> None:
    assert len(re.findall(r"<table[^>]*>\s*<caption", render_page(known))) == len(
        re.findall(r"<table", render_page(known))
    )


def test_a_folder_that_cannot_be_made_is_an_error_for_people(tmp_path: Path, known: Report) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PippinError):
        write_report(known, tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""


def _variables(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", style))


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_and_lines_stand_out_in_light_and_dark(known: Report) -> None:
    """WCAG 2 contrast of at least 4.5 against the paper for each colour of text and of time."""
    style = render_page(known)
    style = style[style.index("<style>") : style.index("</style>")]
    light_text, dark_text = style.split("prefers-color-scheme: dark", 1)
    for variables in (_variables(light_text), _variables(dark_text)):
        for name in ("ink", "muted", "model", "second", *known.seconds_by_category.model_dump()):
            one, other = sorted((_luminance(variables["paper"]), _luminance(variables[name])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, name
