"""What must be alike in the runs of one folder: the job, the versions that made them, and the machine.

Reports are read as JSON, so that one of an older schema can be told apart too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from pippin.errors import PippinError

# By name, where it stands in `report.json`. Steps and batch are not in it: they follow from the speed.
_MACHINE = {
    "schema version": "schema_version",
    "versions": "versions",
    "chip": "chip.name",
    "platform": "chip.platform",
    "number of devices": "chip.num_devices",
    "number of cores": "chip.cores",
}
_JOB = {
    "model": "workload.preset",
    "number of parameters": "workload.num_parameters",
    "sequence length": "workload.sequence_length",
    "text": "data_sha256",
    "seed": "seed",
    "minutes": "minutes_requested",
    "measurement (--full)": "full",
    "compiler options": "chip.rules.compiler_options",
}
_ASK = (sys.executable, "-c", "from pippin.assay.alike import tell; tell()")


def machine_at_hand() -> dict[str, Any]:
    """This machine and these versions, as a report has them; found by a process of its own.

    Raises:
        PippinError: it failed, with the last line of what it said.
    """
    asked = subprocess.run(_ASK, capture_output=True, text=True)
    if asked.returncode:
        said = asked.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise PippinError(f"this machine's chip could not be found: {said[0]}", where="--repeat")
    found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return found


def tell() -> None:
    """Writes `machine_at_hand` as JSON to standard output. Imports JAX and takes hold of the chip."""
    from pippin.devices import detect
    from pippin.report.schema import SCHEMA_VERSION
    from pippin.train.setup import versions

    chip = detect()
    fields = {name: getattr(chip, name) for name in ("name", "platform", "num_devices", "cores")}
    found = {"schema_version": SCHEMA_VERSION, "versions": versions(), "chip": fields}
    sys.stdout.write(json.dumps(found) + "\n")


def of_another_machine(report: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """In what a run's report is of another machine or version than this one; None where it is of this."""
    return _first_unlike(_MACHINE, report, here)


def of_another_job(report: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """In what two runs differ that are to be of one job, on one machine."""
    return _first_unlike(_MACHINE | _JOB, report, other)


def _first_unlike(paths: Mapping[str, str], a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    for name, path in paths.items():
        x, y = _at(a, path), _at(b, path)
        if isinstance(x, dict) and isinstance(y, dict):
            found = _first_unlike({key: key for key in sorted({*x, *y})}, x, y)
            if found:
                return found
        elif x != y:
            return f"{name} {_shown(x)}, not {_shown(y)}"
    return None


def _at(report: Mapping[str, Any], path: str) -> Any:
    found: Any = report
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _shown(value: Any) -> str:
    return "unknown" if value is None else value[:12] if _is_digest(value) else str(value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
