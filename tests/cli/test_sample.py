"""`pippin sample`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def say(here: Callable[..., Any], finished: Any) -> Callable[..., str]:
    """What the command prints for the finished run."""

    def run(*options: object) -> str:
        outcome = here("sample", finished.folder, *options)
        assert (outcome.status, outcome.err) == (0, "")
        return str(outcome.out)

    return run


def test_it_prints_the_prompt_and_what_follows_and_nothing_else(pippin: Any, finished: Any) -> None:
    result = pippin("sample", finished.folder, "--prompt", "an apple, 雨", "--max-tokens", 12, "--seed", 3)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("an apple, 雨") and result.stdout.endswith("\n")
    assert len(result.stdout) > len("an apple, 雨\n")


def test_a_stream_without_the_characters_gets_question_marks(pippin: Any, finished: Any) -> None:
    environment = pippin.environment | {"PYTHONIOENCODING": "ascii"}
    result = pippin("sample", finished.folder, "--prompt", "雨", "--max-tokens", 3, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("?")


def test_the_seed_decides_the_text(say: Callable[..., str]) -> None:
    options = ("--prompt", "the", "--max-tokens", 30)
    assert say(*options, "--seed", 1) == say(*options, "--seed", 1) != say(*options, "--seed", 2)


def test_at_temperature_0_no_seed_matters(say: Callable[..., str]) -> None:
    options = ("--prompt", "the", "--max-tokens", 30, "--temperature", 0)
    assert say(*options, "--seed", 1) == say(*options, "--seed", 2)


def test_a_small_top_p_is_the_likeliest_token(say: Callable[..., str]) -> None:
    options = ("--prompt", "the", "--max-tokens", 30)
    assert say(*options, "--top-p", 1e-6) == say(*options, "--temperature", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "--temperature: -1.0 is not a number from 0 up"),
        (["--temperature", "nan"], "--temperature: nan is not a number"),
        (["--top-p", "0"], "--top-p: 0.0 is not above 0"),
        (["--top-p", "1.01"], "--top-p: 1.01 is not above 0 and at most 1"),
        (["--max-tokens", "0"], "--max-tokens: 0 is not at least 1"),
        (["--prompt", "\udcff"], "--prompt: not valid UTF-8"),
    ],
)
def test_bad_options_are_one_line(
    here: Callable[..., Any], finished: Any, options: list[str], message: str
) -> None:
    outcome = here("sample", finished.folder, *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"pippin: {message}") and outcome.err.count("\n") == 1


def test_a_folder_without_a_run_is_one_line(here: Callable[..., Any], tmp_path: Path) -> None:
    outcome = here("sample", tmp_path)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"pippin: {tmp_path}: no run in this folder (give the folder")
    assert outcome.err.count("\n") == 1


def test_a_damaged_checkpoint_is_one_line(here: Callable[..., Any], finished: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    victim = max(
        (run / "checkpoints" / "step_000000040" / "arrays").rglob("*"), key=lambda p: p.stat().st_size
    )
    victim.write_bytes(victim.read_bytes()[::-1])
    outcome = here("sample", run, "--prompt", "the")
    assert (outcome.status, outcome.out) == (2, "")
    assert "step_000000040: its files are not those that were saved" in outcome.err
    assert outcome.err.count("\n") == 1
