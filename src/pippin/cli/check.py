"""`pippin check`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from pippin.errors import PippinError
from pippin.job import MESH_AXES, Job, load_job
from pippin.portability.limits import check_targets

# What stands in for the mesh's devices. More than this take gigabytes and minutes.
_MOST_DEVICES = 1024


def run(path: Path, targets: str, overrides: list[str], topology: str | None, *, as_json: bool) -> None:
    """Checks, prints, and leaves with status 1 where something was found."""
    job = load_job(path, overrides)
    names = check_targets([name.strip() for name in targets.split(",") if name.strip()])
    if topology is not None and "tpu" not in names:
        raise PippinError("a topology is one of TPUs", where="--topology", fix="add tpu to --targets")
    _stand_ins(job)
    answer = _check(job, names, topology)
    print(json.dumps(answer, indent=1, allow_nan=False) if as_json else "\n".join(_lines(answer)))
    if not answer["clean"]:
        raise typer.Exit(1)


def _check(job: Job, names: tuple[str, ...], topology: str | None) -> dict[str, Any]:
    """The answer as JSON has it. JAX wakes up here."""
    from pippin.cli.display import Display

    with Display(sys.stderr) as display:
        count = _devices_needed(job, _topology_devices(topology, display))
        devices = _virtual_devices(count)
        from pippin.portability.check import check

        found = check(job, names, devices=devices, observer=display)
        if topology is not None:
            found.compile(topology, display)
    return found.to_json()


def _topology_devices(topology: str | None, display: Any) -> int | None:
    from pippin.portability.compile_ahead import count_devices

    return None if topology is None else count_devices(topology, display)


def _fixed(job: Job) -> int:
    degrees = [getattr(job.mesh, axis) for axis in MESH_AXES]
    return math.prod(degree for degree in degrees if degree != "rest")


def _devices_needed(job: Job, available: int | None) -> int:
    """As many as the mesh says; an axis that takes the rest takes a topology's, and without one it is 1."""
    fixed = _fixed(job)
    if available is None:
        return fixed
    if fixed > available:
        raise PippinError(
            f"the mesh has {fixed} devices, the topology {available}",
            where="--topology",
            fix="choose a larger one",
        )
    rest = any(getattr(job.mesh, axis) == "rest" for axis in MESH_AXES)
    return fixed * (available // fixed) if rest else fixed


def _stand_ins(job: Job) -> None:
    """Settles, before JAX is imported, that the devices are the CPU's."""
    if _fixed(job) > _MOST_DEVICES:
        raise PippinError(
            f"the mesh has {_fixed(job):,} devices, and at most {_MOST_DEVICES:,} can be stood in for here",
            where="mesh",
            fix="check a smaller mesh with the same axes: one device's program is much the same",
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = re.sub(r"--xla_force_host_platform_device_count=\S+", "", flags)


def _virtual_devices(count: int) -> Any:
    """So many devices of the CPU."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    if count > 1:
        # Refused where JAX is awake already, inside another program: that may have made enough of them.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices()
    if len(devices) < count:
        raise PippinError(f"{count} devices are needed and JAX has {len(devices)} already", where="mesh")
    return devices[:count]


def _lines(answer: dict[str, Any]) -> list[str]:
    layout = " x ".join(f"{k} {v}" for k, v in answer["layout"].items() if k in MESH_AXES and v > 1)
    count, jax = answer["layout"]["devices"], answer["versions"]["jax"]
    lines = [f"{count} devices ({layout or 'one'}), lowered with JAX {jax}", "", *_portable(answer)]
    for name, target in answer["targets"].items():
        lines += ["", *_target(name, target)]
    if answer["compiled"]:
        lines += ["", *_compiled(answer["compiled"])]
    if answer["compiled_reason"]:
        lines += ["", f"NOT compiled: {answer['compiled_reason']}"]
    return [*lines, "", answer["not_run"], *(f"Not seen: {what}." for what in answer["unseen"])]


def _portable(answer: dict[str, Any]) -> list[str]:
    form = answer["portable_form"]
    hashes = {target["module_sha256"] for target in answer["targets"].values()}
    said = f"portable form ({_form(form)}): "
    if answer["identical"]:
        return [f"{said}one module for {', '.join(answer['targets'])}", f"  sha256 {hashes.pop()}"]
    each = [f"  {name:<7} {target['module_sha256'] or 'none'}" for name, target in answer["targets"].items()]
    return [f"{said}NOT the same module everywhere", *each]


def _form(form: dict[str, Any]) -> str:
    layers = "layers in a loop" if form["scan_layers"] else "layers unrolled"
    return f"{form['attention']} attention, {layers}, {form['compute_dtype']}, remat {form['remat']}"


def _target(name: str, target: dict[str, Any]) -> list[str]:
    lines = [f"{name}, rule {target['rule'] or 'none'}"]
    changed = target["rules_changed"]
    lines += [f"  changes {c['what']}: {c['portable']} to {c['own']} ({c['why']})" for c in changed]
    if target["own_rules_sha256"] is None:
        lines.append(f"  NOT lowered under its own rules: {target['own_rules_reason']}")
    else:
        differs = "nothing else differs" if target["nothing_else_differs"] else "and SOMETHING ELSE DIFFERS"
        lines.append(
            f"  {'' if changed else 'changes nothing; '}{differs}; sha256 {target['own_rules_sha256']}"
        )
    lines += _kernel(target["kernel"])
    if planned := target["planned_memory"]:
        said = f"{_mib(planned['total_bytes'])} a device ({planned['framework']}: {planned['basis']})"
        lines.append(f"  memory, as the planner counts it: {said}")
    for found in target["lint"]:
        lines.append(f"  FOUND in the {_label(found)}, {found['limit']}: {found['op']} at {_place(found)}")
        lines.append(f"    {found['why']}; {found['fix']}")
    lines += _allowed(target["allowed"])
    return lines if target["lint"] else [*lines, f"  {_nothing_found(target['allowed'])}"]


def _kernel(kernel: dict[str, Any] | None) -> list[str]:
    if kernel is None:
        return []
    said = (
        "in the step" if kernel["in_step"] else f"not in the step, the reference is: {kernel['not_in_step']}"
    )
    alone = "" if kernel["in_step"] else "; by itself it lowers"
    if kernel["not_lowered"]:
        alone = "; not lowered"
        if kernel["not_lowered"] != kernel["not_in_step"]:
            alone += f": {kernel['not_lowered']}"
    return [f"  kernel {kernel['name']}: {said}{alone}"]


def _allowed(found: list[dict[str, Any]]) -> list[str]:
    groups: Counter[tuple[str, str, bool]] = Counter()
    for each in found:
        groups[each["limit"], each["why"], each["untried"]] += each["count"]
    return [
        f"  allowed{' but UNTRIED on this target' if untried else ''}, {limit}, {count} times: {why}"
        for (limit, why, untried), count in groups.items()
    ]


def _nothing_found(allowed: list[dict[str, Any]]) -> str:
    untried = sorted({each["limit"] for each in allowed if each["untried"]})
    said = "no operation that it is known not to run"
    return f"{said}, {', '.join(untried)} aside" if untried else said


def _label(found: dict[str, Any]) -> str:
    return "portable form" if found["form"] == "portable" else "form under its own rules"


def _place(found: dict[str, Any]) -> str:
    return f"{found['file']}:{found['line']}" if found["file"] else "no line of ours"


def _compiled(found: dict[str, Any]) -> list[str]:
    memory, planned = found["memory"], found["planned_memory"]
    how = "from the cache" if found["cached"] else f"in {found['seconds']:.0f} s"
    lines = [
        f"compiled for {found['topology']} ({found['device_kind']}) with libtpu {found['libtpu']}, {how}",
        f"  memory of a device: {_mib(found['memory_bytes'])} at the peak, {found['memory_basis']}",
        *(f"    {name.removesuffix('_bytes'):<12} {_mib(size)}" for name, size in memory.items()),
        f"  the planner says {_mib(planned['total_bytes'])} ({found['planned_over_compiled'] - 1:+.0%})",
        "  collectives of a step, bytes in the hands of a device:",
    ]
    for each in found["collectives"]:
        axes = " x ".join(each["axes"]) if each["axes"] is not None else "axes not told"
        runs = f"{each['runs']} times" if each["runs"] is not None else "how often is not told"
        lines.append(f"    {each['kind']:<19} {axes:<16} {_mib(each['bytes']):>12}  {runs}")
    return [*lines, f"  {found['not_run']}"]


def _mib(size: int | None) -> str:
    return "not told" if size is None else f"{size / 2**20:,.1f} MiB"
