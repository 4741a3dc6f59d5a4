"""`pippin report DIR`, and where it finds reports."""

from __future__ import annotations

import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from pippin.cli.main import main
from pippin.errors import PippinError
from pippin.report import page
from pippin.report.folders import find_reports, open_report
from pippin.report.page import render_page, write_report
from pippin.report.schema import Report
from pippin.report.summary import summary

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def saved(known: Report, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Saves a report, and makes its page quick to draw."""
    monkeypatch.setattr(page, "render_page", lambda report: "a page")

    def save(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(known.to_json())

    return save


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs `pippin report` in this process; gives its status, output and errors."""
    # `main` sets these where they are missing; here they must not stay behind.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pippin", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_a_page_is_drawn_anew_without_jax(
    tmp_path: Path, known: Report, without_jax: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write_report(known, tmp_path)
    (tmp_path / "report.html").write_text("an old page")
    result = without_jax("report", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == summary(known, tmp_path) + "\n"
    assert (tmp_path / "report.html").read_text() == render_page(known)


@pytest.mark.parametrize("name", ["an assay", "one", "-dash"])
def test_folder_or_file_are_both_taken(
    verb: Verb, tmp_path: Path, saved: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / name)
    end = ["--"] if name.startswith("-") else []
    for place in (name, f"{name}/report.json"):
        status, out, err = verb(*end, place)
        assert (status, err) == (0, "") and f"{name}/report.html" in out
        assert (tmp_path / name / "report.html").read_text() == "a page"
        (tmp_path / name / "report.html").unlink()


def test_the_page_is_shown_where_asked(
    verb: Verb, tmp_path: Path, saved: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path)
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not shown.append(address))
    assert verb(tmp_path)[0] == 0 and shown == []
    assert verb("--open", tmp_path)[0] == 0
    assert verb(tmp_path, "--open")[0] == 0
    assert shown == [(tmp_path / "report.html").as_uri()] * 2
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    status, out, err = verb(tmp_path, "--open")
    assert status == 2 and "tokens/s" in out
    assert err == f"pippin: {shown[0]}: no browser found here (open this address in one)\n"


def test_errors_say_what_to_do(verb: Verb, tmp_path: Path, saved: Callable[..., None]) -> None:
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "many" / "first")
    (tmp_path / "text").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("{")
    for place, said in {
        "none": "none/report.json: no such file or folder (check the path)",
        "empty": "empty: no report.json in it (an assay makes one: pippin assay --out DIR)",
        "many": f"many: no report.json in it (it holds assays: pippin report serve {tmp_path}/many)",
        "text": "text: not an assay (give the folder of an assay, or its report.json)",
        "broken": "broken/report.json: not valid JSON: ",
    }.items():
        status, out, err = verb(tmp_path / place)
        assert (status, out) == (2, "")
        assert err.startswith(f"pippin: {tmp_path}/{said}") and err.count("\n") == 1


def test_reports_are_found_below_but_not_everywhere(tmp_path: Path) -> None:
    for place in ("b", "a/deep/er", "b/run/within", ".hidden", "1/2/3/4", "1/2/3/4x/5"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "report.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = [path.relative_to(tmp_path).as_posix() for path in find_reports(tmp_path)]
    assert found == ["1/2/3/4/report.json", "a/deep/er/report.json", "b/report.json"]
    assert list(find_reports(tmp_path / "b")) == [tmp_path / "b" / "report.json"]
    assert list(find_reports(tmp_path / "none")) == []


def test_a_page_that_cannot_be_written_is_an_error_for_people(
    verb: Verb, tmp_path: Path, saved: Callable[..., None]
) -> None:
    saved(tmp_path)
    (tmp_path / "report.html").mkdir()
    status, out, err = verb(tmp_path)
    assert (status, out) == (2, "")
    assert err == f"pippin: {tmp_path}/report.html: it is a folder, not a file (choose another path)\n"


def test_open_report_gives_the_folder(tmp_path: Path, known: Report, saved: Callable[..., None]) -> None:
    saved(tmp_path)
    assert open_report(tmp_path) == open_report(tmp_path / "report.json") == (known, tmp_path)
    with pytest.raises(PippinError):
        open_report(tmp_path / "report.html")
