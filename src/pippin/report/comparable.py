"""What must be equal for two reports to be compared, and what may differ but has to be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pippin.report.schema import Report
from pippin.report.sides import Side

# What decides the arithmetic of one token. The batch is not in it: a chip takes the batch that suits it.
_MODEL: dict[str, Callable[[Report], Any]] = {
    "model": lambda r: r.workload.preset,
    "parameters": lambda r: r.workload.num_parameters,
    "layers": lambda r: r.workload.num_layers,
    "width": lambda r: r.workload.d_model,
    "vocabulary": lambda r: r.workload.vocab_size,
    "sequence length": lambda r: r.workload.sequence_length,
    "FLOPs of a token": lambda r: r.flops_per_token,
    "FLOP definition": lambda r: r.basis.flop_definition,
    "definition of the rate": lambda r: r.basis.tokens_per_second_definition,
}

_CHIP: dict[str, Callable[[Report], Any]] = {
    "chip": lambda r: r.chip.name,
    "devices": lambda r: r.chip.num_devices,
    "logical cores": lambda r: r.chip.cores,
}

# Other than the chip, which is what is compared, and what follows from it.
_NOTED: dict[str, Callable[[Report], Any]] = {
    **_CHIP,
    "memory in bytes": lambda r: r.chip.memory_bytes,
    "compute dtype": lambda r: r.basis.compute_dtype,
    "chip rule": lambda r: r.chip.rules.rule_name,
    "attention": lambda r: r.chip.rules.attention,
    "layers scanned": lambda r: r.chip.rules.scan_layers,
    "compiler options": lambda r: r.chip.rules.compiler_options,
    "rematerialisation": lambda r: r.chip.rules.remat,
    "sequences a step": lambda r: r.workload.batch_size,
    "text": lambda r: r.data_sha256[:12],
    "seed": lambda r: r.seed,
    "minutes of training asked for": lambda r: r.minutes_requested,
    "Pippin": lambda r: r.pippin_version,
    "energy meter": lambda r: r.energy.scope,
}


def why_not(a: Side, b: Side) -> list[str]:
    """Reasons why the two cannot be compared; none where they can."""
    return [
        *_mixed(a),
        *_mixed(b),
        *_unequal(a.first, b.first),
        *_broken(a),
        *_broken(b),
        *(f"{side.label} has a speed of 0" for side in (a, b) if _stands_still(side)),
    ]


def _stands_still(side: Side) -> bool:
    return any(report.tokens_per_second_end_to_end == 0 for report in side.reports)


def _unequal(a: Report, b: Report) -> list[str]:
    values = {name: (value(a), value(b)) for name, value in _MODEL.items()}
    return [f"another {name}: A has {x}, B has {y}" for name, (x, y) in values.items() if x != y]


def _mixed(side: Side) -> list[str]:
    """The runs of a side must be of one chip and one model."""
    for name, value in (_MODEL | _CHIP).items():
        kinds = sorted({str(value(report)) for report in side.reports})
        if len(kinds) > 1:
            return [f"{side.label} mixes runs with another {name}: {' and '.join(kinds)}"]
    return []


def _broken(side: Side) -> list[str]:
    """A chip that computes the wrong thing is not fast at the right one."""
    failed = [path for path, report in zip(side.paths, side.reports, strict=True) if numerics_failed(report)]
    return [f"{side.label} failed the check of its numerics: {', '.join(failed)}"] if failed else []


def numerics_failed(report: Report) -> bool:
    """Whether the report says that the chip does not train the same model. Unmeasured is not failed."""
    return report.numerics is not None and report.numerics.passed is False


def differences(a: Side, b: Side) -> list[tuple[str, str, str]]:
    """What differs and matters without forbidding the comparison: its name, A's value, B's."""
    rows = [(name, _values(a, value), _values(b, value)) for name, value in _NOTED.items()]
    names = sorted(a.first.versions.keys() | b.first.versions.keys())
    rows += [(name, _version(a, name), _version(b, name)) for name in names]
    rows.append(("numerics", _values(a, _numerics), _values(b, _numerics)))
    return [row for row in rows if row[1] != row[2]]


def _values(side: Side, value: Callable[[Report], Any]) -> str:
    found = dict.fromkeys(value(report) for report in side.reports)
    return ", ".join(f"{item:,}" if isinstance(item, int) else str(item) for item in found)


def _version(side: Side, name: str) -> str:
    return ", ".join(dict.fromkeys(report.versions.get(name, "none") for report in side.reports))


def _numerics(report: Report) -> str:
    if report.numerics is None:
        return "not checked"
    return {True: "passed", False: "failed", None: "cannot tell"}[report.numerics.passed]
