"""From what was compared to the report's section."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pippin.assay.findings import ONLY_FULL, Unknown
from pippin.assay.numerics.check import Numerics
from pippin.assay.numerics.repeats import PRODUCT_FLOPS, Repeats
from pippin.assay.numerics.trajectories import MARGIN, Trajectories
from pippin.assay.numerics.verdict import failures, passed, verdict

_REFERENCE = (
    "Single operations: formulas in float64 with NumPy. Layers and runs: the same model written plainly, in "
    "float32 on this machine's CPU, with whole attention scores, products in the highest precision, whole "
    "logits and plain differentiation."
)
_LIMITS = (
    "Operations and outputs of layers were compared on one device of the chip, all on one batch; runs are "
    "short, so a slow drift would not show; a fault that comes seldom shows only as often as repeats met it."
)
_SAME_DEVICE = (
    " The reference for layers and runs ran on the chip itself, as it is the CPU, through the same compiler: "
    "what both get wrong alike would show in the single operations alone."
)


def numerics_section(found: Numerics | str | None, unknown: Unknown) -> dict[str, Any] | None:
    """The section; None without `--full`, or for the reason given."""
    if not isinstance(found, Numerics):
        unknown.known("numerics", None, found or ONLY_FULL)
        return None
    fields = _fields(found)
    reasons = {}
    if fields["passed"] is None:
        reasons["passed"] = "; ".join(found.unchecked) or (
            "nothing failed, but whether short runs come to the same loss could not be told"
        )
    if found.runs.equivalence is None:
        reasons |= {f"equivalence.{name}": found.runs.reason for name in ("verdict", "mean", "low", "high")}
    if found.repeats.rate_below is None:
        wrong = "a repeat went wrong" if found.repeats.wrong else None
        reasons["repeats.error_rate_below"] = wrong or found.repeats.refused or "no repeats"
    unknown |= {f"numerics.{path}": reason for path, reason in reasons.items()}
    return fields


def _fields(found: Numerics) -> dict[str, Any]:
    train = found.job.train
    return {
        "passed": passed(found),
        "verdict": verdict(found),
        "failures": failures(found),
        "reference": _REFERENCE,
        "limits": _LIMITS + (_SAME_DEVICE if found.same_device else ""),
        "compute_dtype": found.choices.compute_dtype,
        "num_layers": found.job.shape.num_layers,
        "batch_size": train.batch_size,
        "sequence_length": train.sequence_length,
        "reduced": found.reduced,
        "operations": [_without(asdict(row), "kind") for row in found.deviations],
        "whole_products": [asdict(row) for row in found.whole],
        "layers": [asdict(row) for row in found.layers],
        "runs": [asdict(pair) for pair in found.runs.pairs],
        "equivalence": _equivalence(found.runs),
        "determinism": asdict(found.runs.repeated),
        "repeats": _repeats(found.repeats),
        "seconds": found.seconds,
    }


def _equivalence(runs: Trajectories) -> dict[str, Any]:
    outcome = (
        asdict(runs.equivalence) if runs.equivalence else dict.fromkeys(("mean", "low", "high", "verdict"))
    )
    counts = {"steps": runs.steps, "last_steps": runs.tail, "seeds": len(runs.pairs)}
    return {"margin": MARGIN, **outcome, **counts}


def _repeats(repeats: Repeats) -> dict[str, Any]:
    return {
        "repeats": repeats.count,
        "during_training": repeats.during,
        "devices": repeats.devices,
        "over_seconds": repeats.last_time - repeats.first_time,
        "wrong": len(repeats.wrong),
        "error_rate_below": repeats.rate_below,
        "flops": PRODUCT_FLOPS,
    }


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
