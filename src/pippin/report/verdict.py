"""The answer of a comparison in words."""

from __future__ import annotations

from collections.abc import Mapping

from pippin.report.ratio import Ratio
from pippin.report.units import significant

NAMES = {
    "tokens_per_second": "tokens per second in the steps",
    "tokens_per_second_end_to_end": "tokens per second end to end",
    "tokens_per_joule": "tokens per joule",
}


def named(key: str) -> str:
    """What a ratio is of, in words."""
    kind = key.partition(", ")[2]
    return NAMES.get(key) or f"tokens per dollar ({kind})"


def times(value: float) -> str:
    """A ratio: two decimals say whether it is 1.00, and large or small ones have three digits."""
    return f"{value:.2f}" if 0.1 <= value < 10 else significant(value)


def interval(ratio: Ratio) -> str | None:
    """Its interval, with a third decimal where two would hide on which side of 1 an end lies."""
    if ratio.low is None or ratio.high is None:
        return None
    ends = [times(end) for end in (ratio.low, ratio.high)]
    if "1.00" in ends:
        ends = [f"{end:.3f}" for end in (ratio.low, ratio.high)]
    return f"{ends[0]} to {ends[1]}"


def verdict(ratios: Mapping[str, Ratio], unknown: Mapping[str, str]) -> str:
    """One sentence on the speed, and one on each of the other bases that has an interval."""
    return " ".join(sentences(ratios, unknown))


def sentences(ratios: Mapping[str, Ratio], unknown: Mapping[str, str]) -> list[str]:
    """The verdict sentence by sentence, the one on the speed first."""
    told = {key: ratio for key, ratio in ratios.items() if key == "tokens_per_second" or interval(ratio)}
    return [_sentence(key, ratio, unknown) for key, ratio in told.items()]


def _sentence(key: str, ratio: Ratio, unknown: Mapping[str, str]) -> str:
    what, ends = named(key), interval(ratio)
    if ends is None:
        why = unknown[f"ratios.{key}.low"]
        return f"In {what} B is {times(ratio.ratio)} times A, without an interval: {why}."
    if ratio.can_tell:
        return f"In {what} B is {times(ratio.ratio)} times A (95 % interval {ends})."
    return (
        f"In {what} no difference can be told: "
        f"B is {times(ratio.ratio)} times A, with a 95 % interval of {ends}."
    )
