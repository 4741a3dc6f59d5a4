"""`pippin export`, `pippin import` and `pippin score`."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Here = Callable[..., Any]


@pytest.fixture
def exported(here: Here, finished: Any, tmp_path: Path) -> Path:
    outcome = here("export", finished.folder, "--to", "hf", "--out", tmp_path / "hf")
    assert outcome.status == 0, outcome.err
    first, second = outcome.out.splitlines()
    assert first.startswith("exported: step 40, ") and first.endswith(f" MB of float32 ({tmp_path / 'hf'})")
    assert second.startswith("not verified (--verify does")
    return tmp_path / "hf"


def test_out_in_and_scored_alike(here: Here, finished: Any, exported: Path, tmp_path: Path) -> None:
    """The score of a run, of what was exported and imported again, and of the training itself are equal."""
    summary = json.loads((finished.folder / "summary.json").read_text())
    card = (exported / "README.md").read_text()
    assert f"| held-out bits per byte | {summary['validation_bits_per_byte']:.4f} |" in card
    assert "- Trained on `orchard`: " in card
    corpus = next(
        line.split("=")[1].strip().strip('"')
        for line in (finished.folder / "job.toml").read_text().splitlines()
        if line.startswith("corpus")
    )
    outcome = here("import", exported, "--out", tmp_path / "run", "--data", corpus)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("imported: ") and lines[0].endswith(f"from safetensors ({tmp_path / 'run'})")
    assert lines[1].startswith("boundary: <|boundary|> (id 0)")
    assert lines[2].startswith("licence: ")
    scored = here("score", finished.folder, "--json")
    assert scored.status == 0, scored.err
    result = json.loads(scored.out)
    assert result["bits_per_byte"] == pytest.approx(summary["validation_bits_per_byte"], rel=1e-6)
    again = here("score", tmp_path / "run", "--set", "data.validation_fraction=0.15")
    assert again.status == 0, again.err
    assert again.out.startswith(f"{result['bits_per_byte']:.4f} bits per byte of ")


@pytest.mark.slow
def test_the_commands_on_the_page_run(pippin: Any, finished: Any, tmp_path: Path) -> None:
    """On a run of the tests in the place of the quickstart's."""
    shutil.copytree(finished.folder, tmp_path / "runs" / "quickstart")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    commands = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "pippin"
        result = pippin(*arguments, cwd=tmp_path)
        assert result.returncode == 0, (command, result.stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "gguf"], "--to: no format named 'gguf' (known: hf; docs/export.md says why not GGUF)"),
        (["--dtype", "int8"], "--dtype: 'int8' is not a type to export"),
        (["--max-shard-size", "large"], "--max-shard-size: 'large' is not a size"),
    ],
)
def test_bad_options_of_an_export(
    here: Here, finished: Any, tmp_path: Path, options: list[str], message: str
) -> None:
    outcome = here("export", finished.folder, "--out", tmp_path / "hf", *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"pippin: {message}") and outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_none_is_one_line(here: Here, tmp_path: Path) -> None:
    outcome = here("import", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith(f"pippin: {tmp_path}/nowhere: no such file or folder")


def test_to_train_in_an_imported_folder_is_one_line(here: Here, exported: Path, tmp_path: Path) -> None:
    assert here("import", exported, "--out", tmp_path / "run").status == 0
    outcome = here("train", tmp_path / "run" / "job.toml", "--out", tmp_path / "run")
    assert (outcome.status, outcome.out) == (2, "")
    assert "the folder holds an imported model" in outcome.err
