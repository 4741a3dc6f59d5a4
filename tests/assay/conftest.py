"""One real, short assay in a process of its own, shared by the tests that look at what it left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pippin.report.schema import Report, load_report

COMMAND = [sys.executable, "-c", "from pippin.cli.main import main; main()"]
WORDS = ["an", "apple", "seed", "grows", "in", "the", "orchard", "where", "pears", "and", "plums"]
WORDS += ["ripen", "slowly", "after", "rain", "sun"]


@dataclass(frozen=True)
class Assayed:
    """A finished assay: its folder, what it printed, and how long `time` would say it took."""

    folder: Path
    corpus: Path
    report: Report
    stdout: str
    stderr: str
    wall_seconds: float


def write_corpus(folder: Path, documents: int = 120) -> Path:
    """Text of our own with something to learn in it: words follow one another by a fixed table."""
    generator = random.Random(7)
    table = {word: generator.sample(WORDS, 3) for word in WORDS}
    folder.mkdir(parents=True)
    for number in range(documents):
        words = [generator.choice(WORDS)]
        for _ in range(600):
            words.append(generator.choice(table[words[-1]]))
        (folder / f"{number:03d}.txt").write_text(" ".join(words) + ".\n")
    return folder


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PIPPIN_CACHE_DIR": str(home / "cache"), "COLUMNS": "100"}


@pytest.fixture(scope="session")
def pippin(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command; whatever still runs in the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(home),
                cwd=home,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("assay")


@pytest.fixture(scope="session")
def corpus(home: Path) -> Path:
    return write_corpus(home / "orchard")


@pytest.fixture(scope="session")
def assayed(home: Path, corpus: Path, pippin: Callable[..., subprocess.CompletedProcess[str]]) -> Assayed:
    """Twelve seconds of training on the orchard; about half a minute in all."""
    out = home / "out"
    options = ("--minutes", "0.2", "--model", "pippin-3m", "--data", str(corpus), "--price-per-hour", "2.5")
    options += ("--target", "pippin-1b", "--fleet", "trn2:16")
    begun = time.perf_counter()
    done = pippin("assay", *options, "--seed", "3", "--out", str(out))
    wall = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    return Assayed(out, corpus, load_report(out / "report.json"), done.stdout, done.stderr, wall)
