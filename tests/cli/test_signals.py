"""Signals to a real `pippin train`: asked to stop, asked twice, and killed."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pippin.train.account import account
from pippin.train.checkpoint import steps_in
from pippin.train.ledger import CATEGORIES, read_ledger

PATIENCE_SECONDS = 300.0
TIME_FIELDS = {"step_seconds", "input_wait_seconds", "tokens_per_second", "mfu", "peak_memory_bytes"}
# A bigger model and batch: steps of some 10 ms, so that a signal finds the run in the middle of its work.
LONGER = {
    "model.d_model": 128,
    "model.ffn_dim": 256,
    "train.batch_size": 8,
    "train.steps": 240,
    "run.checkpoint_every_steps": 40,
}

Process = subprocess.Popen[str]


def sets(**changes: object) -> list[str]:
    return [word for name, value in {**LONGER, **changes}.items() for word in ("--set", f"{name}={value}")]


def wait_for(condition: Callable[[], object], process: Process) -> None:
    """Polls until the condition holds.

    Raises:
        AssertionError: the process ended first, or patience did.
    """
    begin = time.monotonic()
    while not condition():
        assert process.poll() is None, f"it ended first: {process.communicate()}"
        assert time.monotonic() - begin < PATIENCE_SECONDS
        time.sleep(0.001)


def wait_for_line(process: Process, start: str) -> None:
    """Reads stderr until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(start):
            return
    raise AssertionError(f"it never said '{start}'")


def leave(process: Process) -> tuple[int, str, list[str]]:
    """Status, stdout and the lines of stderr that are left."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    return process.returncode, out, err.splitlines()


def metrics_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIME_FIELDS} for line in lines]


def summary_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text()))


def assert_same_end(run: Path, other: Path) -> None:
    for name in ("steps", "tokens", "parameter_sha256", "validation_bits_per_byte", "job_hash"):
        assert summary_of(run)[name] == summary_of(other)[name], name
    assert metrics_of(run) == metrics_of(other)
    assert [line["step"] for line in metrics_of(run)] == list(range(1, summary_of(run)["steps"] + 1))


def assert_every_second_has_a_category(run: Path) -> None:
    spans = read_ledger(run / "ledger.jsonl")
    for earlier, later in itertools.pairwise(spans):
        assert 0 <= later["start"] - earlier["end"] <= 0.1
    assert {span["category"] for span in spans} <= set(CATEGORIES)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, finished: Any) -> Path:
    return Path(finished.folder).with_name("job.toml")


@pytest.fixture(scope="module")
def undisturbed(pippin: Any, job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The longer run from start to end; it does not use the cache of compiled programs."""
    run = tmp_path_factory.mktemp("longer") / "undisturbed"
    result = pippin("train", job, "--out", run, *sets(), without="JAX_COMPILATION_CACHE_DIR")
    assert result.returncode == 0, result.stderr
    return run


def test_ctrl_c_and_sigterm_save_and_leave_and_the_run_goes_on(
    pippin: Any, job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run, saved = tmp_path / "run", 0
    occasions = [(signal.SIGINT, "step 1/240"), (signal.SIGTERM, "compiling ...")]
    for number, moment in occasions:
        process = pippin.start("train", job, "--out", run, *sets())
        wait_for_line(process, moment)
        process.send_signal(number)
        status, out, err = leave(process)
        assert (status, out) == (128 + number, "")
        match = re.fullmatch(
            r"pippin: stopped after step (\d+) of 240, saved; the same command goes on from there", err[-1]
        )
        assert match and [line for line in err if line.startswith("pippin: ")] == err[-1:]
        assert saved < int(match[1]) < 240
        saved = int(match[1])
        assert steps_in(run / "checkpoints")[-1] == saved
        assert not (run / "summary.json").exists()
    result = pippin("train", job, "--out", run, *sets())
    assert result.returncode == 0
    assert f"goes on from step {saved} of 240 steps" in result.stderr
    assert_same_end(run, undisturbed)
    assert_every_second_has_a_category(run)
    assert summary_of(run)["repeated_tokens"] == 0


def test_a_second_ctrl_c_leaves_at_once_even_from_the_compiler(
    pippin: Any, job: Path, tmp_path: Path
) -> None:
    # Without the cache and with layers written out, compiling takes seconds, all of them in native code.
    changes = sets(**{"model.num_layers": 6, "chip.scan_layers": "false"})
    process = pippin.start(
        "train", job, "--out", tmp_path / "run", *changes, without="JAX_COMPILATION_CACHE_DIR"
    )
    wait_for_line(process, "compiling ...")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two that arrive together would count as one
    process.send_signal(signal.SIGINT)
    status, out, err = leave(process)
    assert (status, out) == (130, "")
    assert err == []  # it neither trained nor saved: the first alone would have done both
    assert not (tmp_path / "run" / "checkpoints").exists()
    again = pippin.start("train", job, "--out", tmp_path / "run", *changes)
    wait_for_line(again, "compiling ...")  # nothing is left that stands in its way
    kill(again)


def freeze(process: Process) -> None:
    """Stops every thread of it, so that what it has on disk can be looked at in peace."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process)


def kill(process: Process) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def kill_when(process: Process, condition: Callable[[], object]) -> None:
    """Kills the process while the condition holds."""
    while True:
        wait_for(condition, process)
        freeze(process)
        if condition():
            return kill(process)
        process.send_signal(signal.SIGCONT)


def test_five_kills_at_random_moments_change_nothing(
    pippin: Any, job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run, seed = tmp_path / "run", random.randrange(2**32)
    generator, checkpoints = random.Random(seed), run / "checkpoints"
    sys.stdout.write(f"random seed {seed}\n")  # shown where the test fails

    def start() -> Process:
        return pippin.start("train", job, "--out", run, *sets())

    def training() -> bool:
        ledger = run / "ledger.jsonl"
        lines = ledger.read_bytes().rpartition(b'"start of the process"')[2] if ledger.exists() else b""
        return b'"category": "step"' in lines

    def mid_save() -> bool:
        return checkpoints.exists() and any(path.name.startswith(".step_") for path in checkpoints.iterdir())

    def after(seconds: float) -> Callable[[], bool]:
        """Once they are over; sooner where the run would come near its end."""
        moment = time.monotonic() + seconds
        far = b'"step": 150,'
        metrics = run / "metrics.jsonl"
        return lambda: time.monotonic() >= moment or (metrics.exists() and far in metrics.read_bytes())

    kill_when(process := start(), training)
    assert steps_in(checkpoints) == [], "the first kill must fall before the first checkpoint"
    kill_when(process := start(), mid_save)
    assert mid_save()
    for _ in range(2):
        wait_for(training, process := start())
        wait_for(after(generator.uniform(0, 0.5)), process)
        kill(process)
    wait_for(after(generator.uniform(0, 4)), process := start())  # it may still be importing, or compiling
    kill(process)
    assert not (run / "summary.json").exists()

    result = pippin("train", job, "--out", run, *sets())
    assert result.returncode == 0, result.stderr
    assert_same_end(run, undisturbed)
    assert not mid_save()
    assert_every_second_has_a_category(run)
    totals = account(read_ledger(run / "ledger.jsonl"))
    assert totals.tokens == summary_of(run)["tokens"]
    assert totals.repeated_tokens == summary_of(run)["repeated_tokens"] > 0
