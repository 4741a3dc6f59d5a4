"""Numbers as people read them: units beside them, and never more digits than mean something."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

SPACE = "\u00a0"  # a number and its unit stay on one line
MINUS = "\u2212"

_PREFIXES = {-6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_MEASURED_DIGITS = 3  # run-to-run noise of a rate is 0.1 % at best


def significant(value: float, digits: int = _MEASURED_DIGITS) -> str:
    """`value` rounded to significant digits, with thousands grouped: 12345.6 is '12,300'."""
    if value == 0:
        return "0"
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    magnitude = math.floor(math.log10(abs(rounded)))
    if magnitude < -5:
        return f"{rounded:.{digits - 1}e}".replace("-", MINUS)
    return f"{rounded:,.{max(0, digits - 1 - magnitude)}f}".replace("-", MINUS)


def si(value: float, unit: str, digits: int = _MEASURED_DIGITS) -> str:
    """`value` with an SI prefix: si(1.234e12, 'FLOP/s') is '1.23 TFLOP/s'."""
    scaled, prefix = si_parts(value, digits)
    return f"{significant(scaled, digits)}{SPACE}{prefix}{unit}"


def si_parts(value: float, digits: int = _MEASURED_DIGITS) -> tuple[float, str]:
    """`value` over the fitting power of a thousand, and that power's prefix."""
    if value == 0:
        return 0.0, ""
    rounded = float(f"{value:.{digits - 1}e}")  # 999.9 must become 1 k, not 1,000
    exponent = 3 * math.floor(math.log10(abs(rounded)) / 3)
    exponent = min(max(exponent, min(_PREFIXES)), max(_PREFIXES))
    return value / 10.0**exponent, _PREFIXES[exponent]


def count(value: float) -> str:
    """A count, exact while people read every digit, else in thousands, millions or billions: '4.63 M'."""
    if abs(value) < 100_000:
        return f"{value:,}"
    scaled, prefix = si_parts(value)
    return f"{significant(scaled)}{SPACE}{prefix.replace('G', 'B')}"


def percent(share: float) -> str:
    """A share in per cent, two digits: 0.4123 is '41 %'."""
    value = 100 * share
    digits = 3 if abs(value) >= 98.95 else 2
    return significant(value, digits) + SPACE + "%"


def duration(seconds: float) -> str:
    """A length of time in the units people use for it."""
    if 0 < seconds < 0.1:
        return si(seconds, "s", 2)
    if seconds < 119.5:
        return f"{significant(seconds, 2 if seconds < 99.5 else 3)}{SPACE}s"
    minutes = seconds / 60
    if round(minutes) < 120:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole}{SPACE}min {rest}{SPACE}s" if rest else f"{whole}{SPACE}min"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours}{SPACE}h {rest}{SPACE}min" if rest else f"{hours}{SPACE}h"


def byte_size(value: float) -> str:
    """A size in memory, in powers of 1024."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    number = f"{value:,.0f}" if value == int(value) else significant(value)
    return f"{number}{SPACE}{units[0]}"


def dollars(value: float) -> str:
    """A price: cents from a dollar up, three digits below."""
    return f"${value:,.2f}" if value >= 1 else f"${significant(value)}"


def bits(value: float) -> str:
    """Bits per byte, three decimals: what a rerun on other batches moves is the third one."""
    return f"{value:.3f}"


def moment(iso: str) -> str:
    """An ISO 8601 time in UTC, for people."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M") + SPACE + "UTC"


_FORMATS: dict[str, Callable[[Any], str]] = {
    "count": lambda v: f"{v:,}",
    "tokens": lambda v: f"{v:,}",
    "bytes": lambda v: byte_size(v) if v >= 1024 else f"{v:,}{SPACE}bytes",
    "FLOP": lambda v: si(v, "FLOP"),
    "s": lambda v: (f"{v:,.1f}" if v >= 10 else significant(v)) + f"{SPACE}s",
    "days": lambda v: f"{significant(v)}{SPACE}days",
    "min": lambda v: f"{v:g}{SPACE}min",
    "tokens/s": lambda v: f"{significant(v)}{SPACE}tokens/s",
    "FLOP/s": lambda v: si(v, "FLOP/s"),
    "TFLOP/s": lambda v: f"{significant(v, 4)}{SPACE}TFLOP/s",
    "bytes/s": lambda v: si(v, "B/s"),
    "bits/byte": lambda v: f"{bits(v)}{SPACE}bits/byte",
    "nats/token": lambda v: f"{bits(v)}{SPACE}nats/token",
    "share": percent,
    "relative": lambda v: f"{v:.1e}".replace("-", MINUS),
    "USD": dollars,
    "J": lambda v: si(v, "J"),
}


def describe(value: Any, unit: str | None) -> str:
    """Any value of the report as text, by the unit that the schema gives its field."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and unit is not None:
        return _FORMATS[unit](value)
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, list | tuple):
        return ", ".join(describe(item, unit) for item in value) or "none"
    return str(value)
