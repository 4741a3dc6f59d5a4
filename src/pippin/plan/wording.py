"""A plan's numbers as people read them, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

from pippin.plan.estimate import Estimate
from pippin.report.units import dollars, si, significant

DAY_SECONDS = 86_400


def days(estimate: Estimate) -> str:
    """A run's length in days, with its interval."""
    return spread(estimate.scaled(1 / DAY_SECONDS), lambda value: f"{significant(value)}") + " days"


def usd(value: float) -> str:
    """Dollars of a whole run: '$4.56 M'."""
    return dollars(value) if value < 1e5 else "$" + si(value, "", 3).replace("G", "B").strip()


def spread(estimate: Estimate, text: Callable[[float], str]) -> str:
    """A value with its interval: '4.2 (3.9 to 5.1)'; where there is no upper bound, it says so."""
    if math.isinf(estimate.value):
        return "never"
    upper = text(estimate.high) if math.isfinite(estimate.high) else "no bound"
    return f"{text(estimate.value)} ({text(estimate.low)} to {upper})"
