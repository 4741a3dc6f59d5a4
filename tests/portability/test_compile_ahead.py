"""Compiling for TPUs that are not there: cache, child process, and, where libtpu is, the real thing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.errors import PippinError
from pippin.job import Job, make_job
from pippin.portability import compile_ahead as module
from pippin.portability.compile_ahead import compile_ahead
from pippin.train.observer import Observer, RecordingObserver
from pippin.train.step import Choices

CHOICES = Choices("bfloat16", "reference", True)
ANSWER = {"devices": 8, "device_kind": "TPU v0", "module_sha256": "abc", "memory": {}, "collectives": []}


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a program of Python in the place of libtpu's; what it compiled goes to a cache of its own."""
    monkeypatch.setenv("PIPPIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "libtpu_version", lambda: "0.0.1")

    def put(program: str) -> None:
        monkeypatch.setattr(module, "_COMMAND", (sys.executable, "-c", program))

    return put


def test_what_was_compiled_once_comes_from_the_cache(
    child: Any, job: Callable[..., Job], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    child(f"import sys; open({str(log)!r}, 'a').write(sys.stdin.readline()); print({json.dumps(ANSWER)!r})")
    first = compile_ahead(job(), CHOICES, "v0:2x4", 8, "abc", Observer())
    again = compile_ahead(job(), CHOICES, "v0:2x4", 8, "abc", Observer())
    assert (first.pop("cached"), again.pop("cached")) == (False, True)
    assert first == again and first["device_kind"] == "TPU v0" and first["libtpu"] == "0.0.1"
    (asked,) = map(json.loads, log.read_text().splitlines())
    assert make_job(asked["job"]).hash == job().hash and asked["choices"]["scan_layers"] is True
    other = compile_ahead(job(), CHOICES, "v0:2x4", 8, "another module", Observer())
    assert other["cached"] is False


def test_what_libtpu_refuses_is_one_line_and_not_cached(child: Any, job: Callable[..., Job]) -> None:
    for program, says in (
        ('print(\'{"error": "no such topology"}\')', "no such topology"),
        ("import sys; sys.exit('F0000 it crashed')", "status 1: F0000 it crashed"),
    ):
        child(program)
        with pytest.raises(PippinError, match=says):
            compile_ahead(job(), CHOICES, "v0:2x4", 8, "abc", Observer())


def test_an_interrupt_ends_the_child(child: Any, job: Callable[..., Job], tmp_path: Path) -> None:
    started = tmp_path / "pid"
    child(f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)")

    class Interrupted(RecordingObserver):
        def phase(self, what: str) -> None:
            while not (started.exists() and started.read_text()):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_ahead(job(), CHOICES, "v0:2x4", 8, "abc", Interrupted())
    assert not Path(f"/proc/{started.read_text()}").exists()


def test_the_child_ends_with_its_parent() -> None:
    code = "from pippin.portability.compile_child import _end_with_parent; _end_with_parent()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()  # as the system does when the parent is killed
    assert process.wait(timeout=60) == 1


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install 'pippin[tpu-compile]'"
)
def test_a_sharded_step_compiled_for_a_tpu(tmp_path: Path) -> None:
    """Memory within a fifth of the planner's; scattered sums that stay such, as on no CPU.

    Nothing ran on a TPU.
    """
    path = tmp_path / "job.toml"
    path.write_text(
        '[model]\npreset = "pippin-30m"\n[data]\nvocab_size = 8192\n'
        "[train]\nsteps = 4\nbatch_size = 64\nsequence_length = 512\n[mesh]\nfsdp = 4\ntensor = 2\n"
    )
    code = "from pippin.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "check",
        str(path),
        "--topology",
        "v5e:2x4",
        "--targets",
        "tpu,cpu",
    ]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    compiled = answer["compiled"]
    assert compiled["module_sha256"] == answer["targets"]["tpu"]["own_rules_sha256"]
    assert compiled["planned_over_compiled"] == pytest.approx(1, abs=0.2)
    assert compiled["not_run"]
    found = {(each["kind"], tuple(each["axes"] or ())) for each in compiled["collectives"]}
    assert {("reduce-scatter", ("fsdp",)), ("reduce-scatter", ("tensor",))} <= found
    assert {("all-gather", ("fsdp",)), ("all-gather", ("tensor",))} <= found
