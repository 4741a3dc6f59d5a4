"""Folds over the ledger: rates, goodput, and the account of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pippin.train.ledger import CATEGORIES

Span = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """What a ledger adds up to. Rates are null where there is nothing to divide.

    `tokens` counts every token once, `repeated_tokens` those that a restart consumed again.
    """

    steps: int
    tokens: int
    repeated_tokens: int
    wall_seconds: float
    seconds_by_category: dict[str, float]
    tokens_per_second: float | None
    tokens_per_second_end_to_end: float | None


def account(spans: Sequence[Span]) -> Account:
    """Adds up spans in the order they were written.

    `tokens_per_second` is tokens of the steps after the first over the time of those steps' spans;
    `tokens_per_second_end_to_end` is all tokens, each counted once, over all wall time.
    """
    seconds = dict.fromkeys(CATEGORIES, 0.0)
    for span in spans:
        seconds[span["category"]] += span["end"] - span["start"]
    steps = finished_steps(spans)
    final = {span["step"]: span for span in steps}
    tokens = sum(_tokens(span) for span in final.values())
    wall = spans[-1]["end"] - spans[0]["start"] if spans else 0.0
    later = steps[1:]
    time = sum(span["end"] - span["start"] for span in later)
    return Account(
        steps=len(final),
        tokens=tokens,
        repeated_tokens=sum(_tokens(span) for span in steps) - tokens,
        wall_seconds=wall,
        seconds_by_category=seconds,
        tokens_per_second=sum(_tokens(span) for span in later) / time if time else None,
        tokens_per_second_end_to_end=tokens / wall if wall and tokens else None,
    )


def finished_steps(spans: Sequence[Span]) -> list[Span]:
    """The spans of steps that ended, repeated ones included, in order."""
    return [span for span in spans if span["category"] == "step" and "tokens" in span]


def _tokens(span: Span) -> int:
    first, stop = span["tokens"]
    return int(stop - first)
