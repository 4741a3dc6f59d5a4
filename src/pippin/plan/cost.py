"""What training costs, on every price that the catalog has for the chip. Dollars, hours, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pippin.errors import PippinError
from pippin.plan.estimate import Estimate

# Compute-optimal by arXiv 2203.15556; shipped models take many times as many.
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class PriceBasis:
    """One price of one instance with all it rests on; `usd_per_chip_hour` is None where none is known, and
    `why_unknown` then says why."""

    provider: str
    instance: str
    chips_per_instance: int
    kind: str
    term: str
    region: str
    date: str
    source: str
    trust: str
    usd_per_chip_hour: float | None
    why_unknown: str = ""

    @property
    def label(self) -> str:
        """Provider, kind and date, short enough for a plot; the source says what a stand-in is of."""
        terms = [self.term, "stand-in" if self.source.startswith("stand-in") else ""]
        term = f" ({', '.join(filter(None, terms))})" if any(terms) else ""
        return f"{self.provider} {self.kind}{term}, {self.date}"


@dataclass(frozen=True)
class Cost:
    """A run on one price, or the `reason` why not. `chips_paid` are whole instances, spares with them."""

    basis: PriceBasis
    chips_paid: int
    usd: Estimate | None
    usd_per_million_tokens: Estimate | None
    reason: str | None


@dataclass(frozen=True)
class TokenBudget:
    """Tokens to train on and where the number is from."""

    tokens: float
    basis: str


def token_budget(
    given: float | None, published: float | None, source: str, active_parameters: float
) -> TokenBudget:
    """The tokens that the user states, else those of the model's publication, else 20 a parameter.

    Raises:
        PippinError: the stated number is not positive.
    """
    if given is not None:
        if not 0 < given < float("inf"):
            raise PippinError(f"{given:g} tokens to train on", where="--tokens", fix="give a positive number")
        return TokenBudget(float(given), "given by the user")
    if published:
        return TokenBudget(float(published), f"the model's own: {source}")
    return TokenBudget(
        TOKENS_PER_PARAMETER * active_parameters,
        f"no published budget: {TOKENS_PER_PARAMETER} tokens for each parameter that a token meets "
        "(arXiv 2203.15556)",
    )


def train_seconds(tokens: float, effective_tokens_per_second: Estimate) -> Estimate:
    """Wall time to train, failures and what they cost included; infinite where nothing moves forward."""
    return effective_tokens_per_second.inverse(tokens)


def whole_instances(chips: int, chips_per_instance: int) -> int:
    """Chips that are paid for where chips come by the instance."""
    return -(-chips // chips_per_instance) * chips_per_instance


def costs(prices: list[PriceBasis], chips: int, tokens: float, seconds: Estimate) -> list[Cost]:
    """The cost on each price, cheapest first, unknown ones last.

    Args:
        prices: of the chip.
        chips: in use, hot spares included; idle ones of the fleet are not paid for.
        tokens: trained on.
        seconds: `train_seconds`.
    """
    found = [_cost(price, chips, tokens, seconds) for price in prices]
    return sorted(found, key=lambda c: c.usd.value if c.usd else float("inf"))


def _cost(price: PriceBasis, chips: int, tokens: float, seconds: Estimate) -> Cost:
    paid = whole_instances(chips, price.chips_per_instance)
    if price.usd_per_chip_hour is None:
        return Cost(price, paid, None, None, price.why_unknown or "no price found")
    usd = seconds.scaled(paid * price.usd_per_chip_hour / 3600)
    return Cost(price, paid, usd, usd.scaled(1e6 / tokens), None)


# The kind by which fleets are compared where nobody says: the first of these that all of them have.
PRICE_KINDS = ("on demand", "capacity block", "reserved", "spot")


def common_kind(several: Sequence[Sequence[Cost]]) -> str | None:
    """The kind of price on which all fleets that have a price at all can be compared, or None.

    A capacity block against an on-demand price is no comparison: by the price's kind alone one chip may be
    2.5 times dearer than itself.
    """
    kinds = [{cost.basis.kind for cost in found if cost.usd} for found in several]
    kinds = [each for each in kinds if each]
    return next((kind for kind in PRICE_KINDS if kinds and all(kind in each for each in kinds)), None)


def reference(found: Sequence[Cost], kind: str | None) -> Cost | None:
    """The cheapest known cost of this kind of price; where there is none, of the first kind there is."""
    known = [cost for cost in found if cost.usd]
    order = [kind, *PRICE_KINDS, *(cost.basis.kind for cost in known)]
    return next((cost for want in order for cost in known if cost.basis.kind == want), None)
