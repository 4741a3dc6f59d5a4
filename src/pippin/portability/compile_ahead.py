"""Compiles a step for TPUs that are not there, with libtpu in a process of its own.

The answer has memory and collectives. It has no time and no FLOPs: the compiler's own estimates of these were
negative on three of four TPUs, and count a loop's body about once.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from pippin.data.cache import cache_folder
from pippin.errors import PippinError, explained
from pippin.job import Job
from pippin.storage import canonical_sha256, read_json, write_json
from pippin.train.observer import Observer
from pippin.train.step import Choices

# Raised when what the child writes changes its meaning.
_CACHE_VERSION = 1
_TELL_EVERY_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.2
_COMMAND = (sys.executable, "-m", "pippin.portability.compile_child")
COMPILED_ONLY = "Compiled for a TPU that was not there: nothing ran on one."


def libtpu_version() -> str:
    """The version of the compiler for TPUs.

    Raises:
        PippinError: it is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise PippinError(
            "the compiler for TPUs, libtpu, is not installed",
            where="--topology",
            fix="pip install 'pippin[tpu-compile]', or leave it out",
        )
    return version("libtpu")


def count_devices(topology: str, observer: Observer) -> int:
    """How many devices a topology has.

    Raises:
        PippinError: libtpu is not there, or knows no such topology.
    """
    libtpu_version()
    observer.phase(f"asking libtpu for {topology}")
    return int(_ask({"topology": topology, "job": None}, topology, Observer())["devices"])


def compile_ahead(
    job: Job, choices: Choices, topology: str, num_devices: int, module_sha256: str, observer: Observer
) -> dict[str, Any]:
    """Memory and collectives of a step as compiled for a TPU; from the cache where that was done before.

    Minutes for a step that is new. One at a time on a machine: libtpu allows no more.

    Args:
        job: what would be trained.
        choices: how, under the rules for a TPU.
        topology: as libtpu names it, such as `v5p:2x2x2`.
        num_devices: of the mesh; the topology has at least as many.
        module_sha256: of the step lowered for a TPU, by which the cache knows it.
        observer: told what is being done, every quarter of a minute.

    Raises:
        PippinError: libtpu is not there, knows no such topology, or could not compile.
    """
    known = {
        "version": _CACHE_VERSION,
        "module": module_sha256,
        "topology": topology,
        "devices": num_devices,
        "libtpu": libtpu_version(),
        "jaxlib": version("jaxlib"),
    }
    folder = cache_folder() / "compiled"
    path = folder / f"{canonical_sha256(known)}.json"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with _alone(folder / "lock", observer):
                if not path.exists():  # another may have done it meanwhile
                    found = _compile(job, choices, topology, num_devices, observer)
                    write_json(path, known | found)
                    return {**known, **found, "cached": False}
    return {**read_json(path), "cached": True}


def _compile(
    job: Job, choices: Choices, topology: str, num_devices: int, observer: Observer
) -> dict[str, Any]:
    begun = time.monotonic()
    request = {
        "topology": topology,
        "job": job.model_dump(exclude_none=True),
        "choices": asdict(choices),
        "devices": num_devices,
    }
    found = _ask(request, f"compiling for {topology} with libtpu, minutes", observer)
    return found | {"seconds": round(time.monotonic() - begun, 1)}


@contextmanager
def _alone(path: Path, observer: Observer) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            observer.phase("waiting for another compilation")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ask(request: dict[str, Any], what: str, observer: Observer) -> dict[str, Any]:
    """Hands a request to a child and gives its answer. The child ends when this process does."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # Not on a TPU machine of Google's cloud, so that nobody is asked what it is.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_STDERR_LOG_LEVEL": "3",
        "TPU_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as answer:
        child = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=answer, stderr=said, env=environment, text=True
        )
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            _wait(child, what, observer)
        finally:
            child.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
        return _answer(child.returncode, answer, said)


def _wait(child: subprocess.Popen[str], what: str, observer: Observer) -> None:
    begun = told = time.monotonic()
    observer.phase(what)
    while child.poll() is None:
        time.sleep(_LOOK_EVERY_SECONDS)
        if time.monotonic() - told >= _TELL_EVERY_SECONDS:
            told = time.monotonic()
            observer.phase(f"{what} ({told - begun:.0f} s so far)")


def _answer(status: int, answer: IO[str], said: IO[str]) -> dict[str, Any]:
    answer.seek(0)
    said.seek(0)
    lines = answer.read().splitlines()
    if status != 0 or not lines:
        last = next((line for line in reversed(said.read().splitlines()) if line.strip()), "")
        raise PippinError(f"libtpu ended with status {status}: {last[:300]}", where="--topology")
    found: dict[str, Any] = json.loads(lines[-1])
    if "error" in found:
        raise PippinError(str(found["error"]), where="--topology", fix="as in v5e:2x4, v5p:2x2x2 or v6e:4x4")
    return found
