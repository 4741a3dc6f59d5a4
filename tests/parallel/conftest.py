"""Results of a child process with 8 virtual devices; this process has one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def run_child(script: str, *arguments: str) -> list[dict[str, Any]]:
    """The JSON objects that a script beside this file prints."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-W", "error::UserWarning", str(HERE / script), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="session")
def equivalence() -> dict[str, dict[str, Any]]:
    """How far every layout is from a single device, and every planted error; by name."""
    return {found["case"]: found for found in run_child("equivalence.py")}
