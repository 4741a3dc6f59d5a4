"""`pippin assay --repeat`: what each run is asked, and what the whole prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pippin.cli.repeated import of_one_run, text


@pytest.mark.parametrize("spelled", [["--repeat", "3", "--out", "x"], ["--repeat=3", "--out=x"]])
def test_a_run_has_every_option_but_those_of_the_whole(spelled: list[str]) -> None:
    asked = ["--minutes", "1", *spelled, "--json", "--fleet", "trn2:16", "--full"]
    assert of_one_run(asked) == ["--minutes", "1", "--fleet", "trn2:16", "--full"]


def test_the_whole_says_what_was_run_and_how_far_the_runs_are_apart() -> None:
    reports: Any = [
        SimpleNamespace(
            workload=SimpleNamespace(preset="pippin-3m"),
            chip=SimpleNamespace(name="Xeon"),
            tokens_per_second=rate,
            tokens_per_second_end_to_end=whole,
        )
        for rate, whole in ((2860.4, 419.7), (1560.2, 945.1))
    ]
    assert text([Path("out/run-1"), Path("out/run-2")], reports, Path("out")).splitlines() == [
        "2 runs of pippin-3m on Xeon",
        "   run-1  2,860 tokens/s in the steps, 420 end to end",
        "   run-2  1,560 tokens/s in the steps, 945 end to end",
        "  spread  the fastest is 83\xa0% faster than the slowest",
        "    side  pippin compare out OTHER",
    ]


def test_a_mistake_in_a_run_is_told_once_and_ends_the_whole(here: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "held").touch()
    outcome = here("assay", "--repeat", 2, "--out", tmp_path)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == f"pippin: {tmp_path}: the folder holds other files (choose a new or empty folder)\n"


def test_the_run_says_what_is_wrong_and_nothing_is_added(pippin: Any, tmp_path: Path) -> None:
    result = pippin("assay", "--repeat", 2, "--minutes", "-1", "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (2, "")
    told, mistake = result.stderr.splitlines()
    assert told.startswith("run 1 of 2") and mistake.startswith("pippin: --minutes: -1.0 is not a time")
    assert not (tmp_path / "out/run-2").exists()
