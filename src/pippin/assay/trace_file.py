"""Reads a trace of XLA's profiler: when the marked steps were, and what ran on each device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from pippin.assay.hlo import UNNAMED, WORK, Operation
from pippin.assay.timeline import Ran, divided

# The name of an annotation around each step that is traced.
MARK = "pippin traced step"
_END = "end: "


class _Begun(NamedTuple):
    """An operation's event. On the CPU the one that says when it ended has the same `link` and name."""

    device: tuple[str, Any]
    link: Any
    name: str
    ran: Ran

    def until(self, ended: Mapping[tuple[str, Any], float]) -> Ran:
        """Until its end: a thread that starts an operation may not be the one that ends it."""
        if self.link is None:
            return self.ran
        return self.ran._replace(stop=max(self.ran.stop, ended.get((self.name, self.link), 0.0)))


def read_trace(file: Path, known: Mapping[str, Operation]) -> tuple[float, dict[str, float]] | None:
    """Seconds of the marked steps, and of each part in them: the mean of the devices.

    Args:
        file: in the XPlane format.
        known: operations of the step's program, by name.

    Returns:
        None where no step was marked, or no known operation ran.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    # Accelerators have planes of their own; a CPU's operations are among the host's events, on any thread.
    own = [plane for plane in planes if plane.name.startswith("/device:")]
    host = [plane for plane in planes if plane not in own]
    marks = [
        (event.start_ns, event.end_ns) for plane in host for event in _events(plane) if event.name == MARK
    ]
    devices = _by_device(own, known) or _by_device(host, known)
    if not marks or not devices:
        return None
    parts: dict[str, float] = {}
    for ran in devices.values():
        for start, stop in marks:
            for part, time in divided(ran, start, stop).items():
                parts[part] = parts.get(part, 0.0) + 1e-9 * time / len(devices)
    return 1e-9 * sum(stop - start for start, stop in marks), parts


def _by_device(planes: list[Any], known: Mapping[str, Operation]) -> dict[tuple[str, Any], list[Ran]]:
    """What ran on each device, in any order."""
    begun: list[_Begun] = []
    ended: dict[tuple[str, Any], float] = {}
    for plane in planes:
        for event in _events(plane):
            if event.name.startswith(_END):
                ended[event.name.removeprefix(_END), dict(event.stats).get("_c")] = event.end_ns
            elif found := _operation(plane.name, event, known):
                begun.append(found)
    devices: dict[tuple[str, Any], list[Ran]] = {}
    for each in begun:
        devices.setdefault(each.device, []).append(each.until(ended))
    return devices


def _events(plane: Any) -> Any:
    return (event for line in plane.lines for event in line.events)


def _operation(plane: str, event: Any, known: Mapping[str, Operation]) -> _Begun | None:
    """The event as an operation's, if it is one.

    An accelerator's kernel that names an operation which the program does not have is work all the same.
    """
    # TPUs name the whole instruction, "%fusion.1 = ..."; GPUs name the kernel, and the operation beside it.
    name = event.name.split(" = ")[0].lstrip("%")
    if name not in known and not plane.startswith("/device:"):
        return None
    stats = dict(event.stats)
    name = str(stats.get("hlo_op", name))
    if name not in known and "hlo_op" not in stats:
        return None
    ran = Ran(event.start_ns, event.end_ns, known.get(name, Operation(UNNAMED, WORK)))
    return _Begun((plane, stats.get("device_ordinal")), stats.get("_p"), name, ran)
