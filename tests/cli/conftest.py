"""The command itself, in a process of its own or in this one, on a small corpus and a small model."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from pippin.cli.main import main; main()"]
WORDS = ["an", "apple", "seed", "grows", "in", "the", "orchard,", "naïve", "café", "1790", "雨", "rain\n"]
# Generous: the tests share their cores with whatever else the machine does.
PATIENCE_SECONDS = 300.0

JOB = """
[model]
d_model = 32
num_layers = 2
num_heads = 2
num_kv_heads = 1
ffn_dim = 48

[data]
corpus = "{corpus}"
vocab_size = 300
validation_fraction = 0.15

[train]
steps = 40
batch_size = 2
sequence_length = 32

[run]
checkpoint_every_steps = 10
keep_checkpoints = 3
"""


@dataclass
class Pippin:
    """Runs `pippin`. Called, it gives a process that has ended, with its output as text."""

    environment: dict[str, str]
    command: list[str] = field(default_factory=lambda: list(COMMAND))
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *arguments: object, without: str = "", **more: Any) -> subprocess.Popen[str]:
        """Gives the running process, stdout and stderr as pipes; `without` one environment variable."""
        environment = {name: value for name, value in self.environment.items() if name != without}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
        process = subprocess.Popen([*self.command, *map(str, arguments)], **(options | more))
        self.started.append(process)
        return process


@dataclass(frozen=True)
class Outcome:
    """How the command ended in this process."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_file_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "orchard"
    folder.mkdir()
    for number in range(30):
        generator = random.Random(number)
        text = " ".join(generator.choice(WORDS) for _ in range(60 + 5 * number))
        (folder / f"tree{number:02d}.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data and compiled programs are made once; neither touches the user's own caches."""
    return {
        "PIPPIN_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        # JAX 0.10.0 logs an error where it loads a program from the compilation cache that tests share.
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@pytest.fixture(scope="session")
def pippin(caches: dict[str, str]) -> Iterator[Pippin]:
    unwanted = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    command = Pippin(inherited | caches)
    yield command
    for process in command.started:
        if process.poll() is None:  # a test failed before it came to an end
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def here(
    caches: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs the command in this process: for what ends before it compiles, in milliseconds."""
    from pippin.cli.main import main

    monkeypatch.setenv("PIPPIN_CACHE_DIR", caches["PIPPIN_CACHE_DIR"])
    # `main` sets these where they are missing; here they must not stay behind.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pippin", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def job(tmp_path: Path, corpus: Path) -> Path:
    """A job file of 40 steps; `--set` changes it."""
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(corpus=corpus))
    return path


@dataclass(frozen=True)
class FinishedCommand:
    """A run of the job, what the command printed, and how many seconds it took."""

    folder: Path
    result: subprocess.CompletedProcess[str]
    seconds: float


@pytest.fixture(scope="session")
def finished(pippin: Pippin, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedCommand:
    """An undisturbed `pippin train` that finds no data in the cache. Tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "job.toml").write_text(JOB.format(corpus=corpus))
    environment = pippin.environment | {"PIPPIN_CACHE_DIR": str(folder / "cache")}
    before = time.monotonic()
    result = pippin("train", folder / "job.toml", "--out", folder / "undisturbed", env=environment)
    return FinishedCommand(folder / "undisturbed", result, time.monotonic() - before)
