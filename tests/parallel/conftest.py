"""Results of child processes with 8 virtual devices; this process has one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # what the tests share with the child processes


@pytest.fixture(scope="session")
def child() -> Callable[..., list[dict[str, Any]]]:
    """Runs a script beside this file and returns the JSON objects that it prints."""

    def run(script: str, *arguments: str) -> list[dict[str, Any]]:
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        # What LLVM makes of a loop is not tested here, and takes a third of the time.
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        command = [sys.executable, str(HERE / script), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr[-3000:]
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run
