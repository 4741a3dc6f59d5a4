"""One job on several fleets, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pippin.plan.asynchronous import Asynchronous
from pippin.plan.cost import Cost, TokenBudget, common_kind, reference
from pippin.plan.estimate import Estimate
from pippin.plan.failures import synchronous_goodput
from pippin.plan.prospect import Prospect, Site
from pippin.plan.scaling import FrontPoint, ScalePoint, front


@dataclass(frozen=True)
class FleetPlan:
    """What one fleet does with the job.

    `chips` is what the fleet has, `points` the fleet sizes that were tried, largest first, and `chosen` the
    one that the objective picks, for the reason `why`. `layout` is in words.
    """

    name: str
    site: Site
    chips: int
    layout: str
    mfu: Estimate | None
    mfu_basis: str
    memory_bytes: float
    chosen: ScalePoint
    why: str
    points: tuple[ScalePoint, ...]
    rests_on: str
    notes: tuple[str, ...] = ()

    @property
    def run(self) -> Prospect:
        """The run of the chosen size; a plan is made of a size that fits."""
        assert self.chosen.together is not None
        return self.chosen.together

    @property
    def apart(self) -> tuple[Asynchronous, ...]:
        """Learners on the whole fleet: what they are for is to use all of it."""
        return self.points[0].apart

    def together_on(self, chips: int) -> Estimate:
        """Goodput of a synchronous job that used so many chips, whether or not that pays."""
        return synchronous_goodput(self.site.rate, self.site.times, chips)

    @property
    def idle_chips(self) -> int:
        """Chips of the fleet that neither work nor stand by."""
        return max(0, self.chips - self.run.chips_with_spares)


@dataclass(frozen=True)
class Comparison:
    """The job and what each fleet does with it; `refused` has the fleets that cannot, with the reason."""

    model: str
    parameters: float
    precision: str
    global_batch: int
    sequence_length: int
    batch_basis: str
    budget: TokenBudget
    objective: str
    fleets: tuple[FleetPlan, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def batch_tokens(self) -> int:
        """Tokens of an update of one synchronous job."""
        return self.global_batch * self.sequence_length

    @cached_property
    def price_kind(self) -> str | None:
        """The kind of price that the fleets are compared on; None where they have none in common."""
        return common_kind([fleet.run.costs for fleet in self.fleets])

    def cost(self, fleet: FleetPlan) -> Cost | None:
        """The cost of a fleet that headlines and the front use; None where no price is known."""
        return reference(fleet.run.costs, self.price_kind)

    def front(self, fleet: FleetPlan) -> list[FrontPoint]:
        """The fleet's Pareto front of time and cost, on the same price."""
        return front(fleet.points, self.price_kind)
