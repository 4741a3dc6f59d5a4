"""The package as others get it: a wheel with all its files, and bounds that are true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, list[str]]:
    return dict(tomllib.loads((root / "pyproject.toml").read_text())["project"])


def test_the_oldest_versions_are_the_lower_bounds(root: Path, project: dict[str, list[str]]) -> None:
    bounds = dict(re.fullmatch(r"([\w-]+)>=([\d.]+).*", line).groups() for line in project["dependencies"])  # type: ignore[union-attr]
    lines = (root / "tests/project/oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins.pop("jaxlib") == pins["jax"]
    assert {name: _padded(version) for name, version in bounds.items()} == {
        name: _padded(version) for name, version in pins.items()
    }


def _padded(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return (*parts, *[0] * (3 - len(parts)))


@pytest.fixture(scope="module")
def unpacked(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout and unpacked; what it depends on is taken from here."""
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'pippin[test]'")
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=root, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_every_file_of_the_package(root: Path, unpacked: Path, tracked: list[Path]) -> None:
    package = root / "src"
    wanted = {str(path.relative_to(package)) for path in tracked if path.is_relative_to(package)}
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert wanted - held == set()
    assert {name for name in held - wanted if ".dist-info/" not in name} == set()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def _run(unpacked: Path, folder: Path, code: str, *arguments: str) -> str:
    """Runs code outside of the checkout, with the unpacked wheel before everything else on the path."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


MAIN = "import sys; from pippin.cli.main import main; sys.argv[0] = 'pippin'; main()"


def test_the_wheel_works_outside_the_checkout(
    unpacked: Path, tmp_path: Path, project: dict[str, str]
) -> None:
    code = """
import pippin, pippin.report.page as page
from importlib.resources import files
from pippin.catalog import load_chips, load_sources, select_rules
assert load_chips() and load_sources() and select_rules("cpu").rule_name
assert files("pippin.report").joinpath("templates/report.html.j2").is_file()
print(pippin.__file__)
"""
    assert _run(unpacked, tmp_path, code).startswith(str(unpacked))
    assert _run(unpacked, tmp_path, MAIN, "--version") == f"pippin {project['version']}\n"


@pytest.mark.slow
def test_an_assay_works_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    options = ("--minutes", "0.2", "--model", "pippin-3m", "--out", "here", "--json")
    report = json.loads(_run(unpacked, tmp_path, MAIN, "assay", *options))
    assert report == json.loads((tmp_path / "here/report.json").read_text())
    assert (tmp_path / "here/report.html").stat().st_size > 50_000
