"""The README: its commands can all be run, its files and links exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from pippin.train import run


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_the_first_screen_says_what_shows_how_and_has_a_picture(readme: str) -> None:
    screen = "\n".join(readme.splitlines()[:24])
    assert readme.startswith("# Pippin\n")
    assert "make assay" in screen and "make test" in screen
    assert "](docs/images/report.png)" in screen


def test_every_link_leads_somewhere(root: Path, tracked: list[Path]) -> None:
    pages = [path for path in tracked if path.suffix == ".md"]
    assert len(pages) > 8
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if "://" not in target and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(root)}: {target}")
            assert not anchor or "://" in target, f"{page.name}: {target}: no anchors, they go stale unseen"
    assert broken == []


def test_the_table_of_files_is_what_the_engine_writes(readme: str, run_readme: ModuleType) -> None:
    written = [
        run.JOB,
        run.RECORD,
        run.LEDGER,
        run.METRICS,
        run.SUMMARY,
        run.TOKENIZER,
        f"{run.CHECKPOINTS}/",
        run.PREDICTION,
    ]
    assert sorted(run_readme.named_files(readme)) == sorted([*written, "report.json", "report.html"])


def test_the_job_in_the_readme_is_the_quickstart(readme: str, root: Path) -> None:
    import tomllib

    (block,) = re.findall(r"^```toml\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert tomllib.loads(block) == tomllib.loads((root / "examples/quickstart.toml").read_text())


def test_commands_are_found_and_none_hides(readme: str, run_readme: ModuleType) -> None:
    found = run_readme.blocks(readme)
    assert sum(block.commands.count("pippin ") for block in found) >= 4
    assert readme.splitlines()[found[0].line - 1] == found[0].commands.splitlines()[0]
    with pytest.raises(ValueError, match="line 3: mark commands with ```bash"):
        run_readme.blocks("text\n```sh\nls\n```\n")


def test_the_script_stops_at_the_first_failure_and_keeps_state(
    run_readme: ModuleType, tmp_path: Path
) -> None:
    text = "```bash\nname=first\ncd ..\n```\n\n```bash\ntouch $name\nfalse\ntouch second\n```\n"
    (tmp_path / "in").mkdir()
    command = ["bash", "-c", run_readme.script(run_readme.blocks(text))]
    result = subprocess.run(command, cwd=tmp_path / "in", capture_output=True, text=True)
    assert result.returncode == 1
    assert (tmp_path / "first").exists() and not (tmp_path / "second").exists()
    assert "== README.md, line 7" in result.stderr


def test_what_has_run_is_not_run_again(run_readme: ModuleType, tmp_path: Path) -> None:
    found = run_readme.blocks("```bash\ntouch one   # a comment\ntouch two\n```\n")
    subprocess.run(["bash", "-c", run_readme.script(found, ["touch one"])], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    with pytest.raises(ValueError, match="not a command of the README: touch three"):
        run_readme.script(found, ["touch three"])


def test_the_copy_has_untracked_files_and_no_ignored_ones(run_readme: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name, text in {"kept": "", "left": "", ".gitignore": "left\n", "deep/er": ""}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=source, check=True)
    run_readme.copy_checkout(target, source)
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {"kept", ".gitignore", "deep/er"}


def test_the_environment_is_a_newcomers(run_readme: ModuleType, tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "PIPPIN_CACHE_DIR": "x",
        "XDG_CACHE_HOME": "y",
        "MAKEFLAGS": "n",
        "PIP_X": "1",
    }
    assert run_readme.fresh_environment(tmp_path, inherited) == {
        "PATH": "/bin",
        "PIP_X": "1",
        "HOME": str(tmp_path),
    }
