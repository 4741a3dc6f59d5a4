"""What a check of a claim says: a verdict, the numbers behind it, what it rests on, what would flip it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from pippin.catalog.claims import ClaimRow

if TYPE_CHECKING:
    from pippin.plan.claims.evidence import Evidence

Verdict = Literal["holds", "holds only if", "does not hold", "consistent", "cannot be checked"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MEANING: dict[Verdict, str] = {
    "holds": "the catalog's figures give the claimed number",
    "holds only if": "they give it under a condition that the claim leaves out, and not otherwise",
    "does not hold": "they contradict it on every reading",
    "consistent": "somebody's own measurement, which the figures allow but cannot confirm",
    "cannot be checked": "what it needs is not published",
}


@dataclass(frozen=True)
class Number:
    """A computed figure, or None where it is not known, and what it was computed from.

    A figure that the planner predicts has its 80 % interval; it changes with the calibration, so that
    docs/claims.md leaves it out.
    """

    value: float | None
    unit: str
    basis: str
    interval: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `interval` only where there is one."""
        document: dict[str, Any] = {"value": self.value, "unit": self.unit, "basis": self.basis}
        return document | ({"interval": list(self.interval)} if self.interval else {})


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `because` is the reason in a sentence or two."""

    verdict: Verdict
    because: str
    numbers: dict[str, Number]
    depends_on: tuple[str, ...]
    flips: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A claim with the finding on it."""

    row: ClaimRow
    finding: Finding

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `id, claim, verdict, numbers, depends_on`, and the rest."""
        finding, row = self.finding, self.row
        return {
            "id": row.claim_id,
            "claim": row.claim,
            "claimed": list(row.claimed),
            "unit": row.unit,
            "said_by": row.said_by,
            "date": row.date,
            "source": row.source,
            "trust": row.trust,
            "verdict": finding.verdict,
            "because": finding.because,
            "numbers": {name: number.as_dict() for name, number in finding.numbers.items()},
            "depends_on": list(finding.depends_on),
            "would_flip": list(finding.flips),
        }


Check = Callable[["Evidence", ClaimRow], Finding]
CHECKS: dict[str, Check] = {}


def check(*claim_ids: str) -> Callable[[Check], Check]:
    """Registers a function as the check of these claims."""

    def register(function: Check) -> Check:
        for claim_id in claim_ids:
            assert claim_id not in CHECKS, claim_id
            CHECKS[claim_id] = function
        return function

    return register


def reaches(value: float, claimed: float) -> bool:
    """Whether a figure is the claimed one or more, where the claim is rounded to its last digit."""
    return value >= claimed - half_digit(claimed)


def half_digit(claimed: float) -> float:
    """Half a unit of the last digit that a claim writes."""
    text = f"{claimed:.10g}"
    digits = len(text.partition(".")[2])
    return 0.5 * 10.0**-digits


def times(value: float) -> str:
    """A ratio as it is printed: 1.26x."""
    return f"{value:.3g}x" if value >= 10 else f"{value:.2f}x"
