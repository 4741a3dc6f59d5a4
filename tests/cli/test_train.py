"""`pippin train`: what it prints where, and what it leaves."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import shlex
import shutil
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from pippin.train.ledger import CATEGORIES


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_to_a_pipe_it_prints_plain_lines_and_the_result_alone_on_stdout(finished: Any) -> None:
    result = finished.result
    assert result.returncode == 0
    assert result.stdout.startswith("finished: 40 steps, 2,560 tokens, ")
    assert result.stdout.count("\n") == 1 and str(finished.folder) in result.stdout
    assert "\x1b" not in result.stdout + result.stderr and "\r" not in result.stderr
    lines = result.stderr.splitlines()
    assert lines[0].startswith("training a tokenizer of 300 tokens")
    for wanted in (
        "compiling ...",
        "trains 40 steps of 64 tokens",
        "step 1/40",
        "saved step 10",
        "step 40/40",
    ):
        assert any(line.startswith(wanted) for line in lines), wanted
    last = next(line for line in lines if line.startswith("step 40/40"))
    assert all(word in last for word in ("tokens/s", "loss", "bits/byte held out", "0:00 left"))


def test_both_rates_follow_from_the_ledger_alone(finished: Any) -> None:
    spans = lines_of(finished.folder / "ledger.jsonl")
    steps = [span for span in spans if span["category"] == "step"]
    tokens = [span["tokens"][1] - span["tokens"][0] for span in steps]
    in_steps = sum(tokens[1:]) / sum(span["end"] - span["start"] for span in steps[1:])
    wall = spans[-1]["end"] - spans[0]["start"]
    summary = summary_of(finished.folder)
    assert summary["tokens_per_second"] == pytest.approx(in_steps, rel=0.01)
    assert summary["tokens_per_second_end_to_end"] == pytest.approx(sum(tokens) / wall, rel=0.01)
    assert wall <= finished.seconds + 0.05  # the clock of a process starts at a tick of the kernel


def test_the_ledger_accounts_for_every_second(finished: Any) -> None:
    spans = lines_of(finished.folder / "ledger.jsonl")
    for earlier, later in itertools.pairwise(spans):
        assert 0 <= later["start"] - earlier["end"] <= 0.1
    assert {span["category"] for span in spans} <= set(CATEGORIES)
    assert {"restart", "data", "compile", "step", "evaluation", "checkpoint"} <= {
        s["category"] for s in spans
    }


def test_a_finished_run_says_so_and_is_left_as_it_is(pippin: Any, finished: Any, job: Path) -> None:
    before = files_of(finished.folder)
    result = pippin("train", job, "--out", finished.folder)
    assert result.returncode == 0
    assert result.stdout.startswith("was finished already: 40 steps, 2,560 tokens, ")
    assert result.stderr == ""
    assert files_of(finished.folder) == before


def test_a_damaged_checkpoint_is_told_of_and_the_run_ends_the_same(
    pippin: Any, finished: Any, job: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (out / "summary.json").unlink()
    record = out / "checkpoints" / "step_000000040" / "checkpoint.json"
    record.write_text(record.read_text().replace('"step": 40', '"step": 41'))
    result = pippin("train", job, "--out", out)
    assert result.returncode == 0
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and "step_000000040" in warnings[0] and "goes on from step 30" in warnings[0]
    assert "goes on from step 30 of 40 steps" in result.stderr
    for name in ("parameter_sha256", "validation_bits_per_byte", "job_hash"):
        assert summary_of(out)[name] == summary_of(finished.folder)[name]


def test_on_a_terminal_it_draws_a_live_display(pippin: Any, job: Path, tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 150, 0, 0))
    options = ["--set", "train.steps=600", "--set", "run.checkpoint_every_steps=300"]
    environment = {"env": pippin.environment | {"TERM": "xterm-256color", "COLUMNS": "150"}}
    process = pippin.start("train", job, "--out", tmp_path / "run", *options, stderr=inside, **environment)
    os.close(inside)
    drawn = b""
    while part := _read(terminal):
        drawn += part
    os.close(terminal)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.startswith("finished: 600 steps") and "\x1b" not in out
    text = drawn.decode()
    assert "\x1b[" in text  # it redraws in place
    assert "training" in text and "/600" in text and "tokens/s" in text and "loss" in text
    assert "step 1/600" not in text  # the plain lines are for pipes
    assert "\x1b[?25l" not in text  # the cursor is never hidden: nobody may be left to show it again


def _read(descriptor: int) -> bytes:
    """What a terminal's other side wrote; nothing once that is closed."""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO
        return b""


@pytest.mark.parametrize("pipeline", ["{command} 2>{errors} | head -c 0", "{command} 2>&1 | head -n 1"])
def test_a_reader_that_leaves_gets_no_traceback_and_the_run_its_end(
    pippin: Any, job: Path, tmp_path: Path, pipeline: str
) -> None:
    from_shell = [*pippin.command, "train", str(job), "--out", str(tmp_path / "run")]
    errors = tmp_path / "errors"
    errors.touch()
    line = pipeline.format(command=shlex.join(from_shell), errors=shlex.quote(str(errors)))
    result = subprocess.run(["bash", "-c", line], env=pippin.environment, capture_output=True, text=True)
    assert "Traceback" not in result.stdout + result.stderr + errors.read_text()
    assert "Exception ignored" not in result.stderr + errors.read_text()
    assert summary_of(tmp_path / "run")["steps"] == 40
