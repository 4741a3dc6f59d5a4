"""Failure rates and recovery times with their sources, and the goodput that follows from them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from pippin.errors import PippinError
from pippin.plan import goodput
from pippin.plan.estimate import Estimate, propagate

NOT_MODELLED = (
    "failures that strike many chips at once (rack, power, switch)",
    "chips that are slow but not broken, and waiting for them",
    "the high failure rate of a new fleet",
    "what stale or rarer exchanges cost in loss",
)


@dataclass(frozen=True)
class FailureRate:
    """Mean time between failures of one chip in years; `public` is False where no count is published."""

    mtbf_years: Estimate
    public: bool
    basis: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Recovery:
    """What a failure costs, in seconds; failures.toml says what each is and where it is from."""

    restart: Estimate
    checkpoint: Estimate
    stall: Estimate
    down: Estimate
    repair: Estimate
    spare_nodes: int | None = None  # None: as many as are short for a hundredth of the time
    shortage: float = 0.01
    why: Mapping[str, str] = field(default_factory=dict)

    def given(self, *, spare_nodes: int | None = None, **seconds: float | None) -> Recovery:
        """With times (and spares) that the user states, taken as exact; None leaves one as it is.

        Raises:
            PippinError: a time is not a positive number, or there are fewer than no spares.
        """
        if spare_nodes is not None and spare_nodes < 0:
            raise PippinError(f"{spare_nodes} spare nodes", where="--spare-nodes", fix="give 0 or more")
        stated = {name: value for name, value in seconds.items() if value is not None}
        for name, value in stated.items():
            if not 0 < value < float("inf"):
                raise PippinError(f"{value:g} s is no time to recover in", where=f"--{name}-seconds")
        why = {**self.why, **dict.fromkeys(stated, "given by the user")}
        times: dict[str, Any] = {name: Estimate.exact(value) for name, value in stated.items()}
        spares = self.spare_nodes if spare_nodes is None else spare_nodes
        return replace(self, why=why, spare_nodes=spares, **times)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("pippin.plan").joinpath("failures.toml").read_text(encoding="utf-8"))


def failure_rate(chip_id: str, mtbf_years: float | None = None) -> FailureRate:
    """The rate of a chip of the catalog, or the one that the user states.

    Raises:
        PippinError: the stated time is not a positive number of years.
    """
    if mtbf_years is not None:
        if not 0 < mtbf_years < float("inf"):
            raise PippinError(f"{mtbf_years:g} years between failures is no time", where="--mtbf-years")
        return FailureRate(Estimate.exact(mtbf_years), False, "given by the user", ())
    entry = next(entry for entry in _table()["chip"].values() if re.fullmatch(entry["pattern"], chip_id))
    sources = tuple(f"{_table()['observed'][key]['fleet']} ({_source(key)})" for key in entry["observed"])
    return FailureRate(Estimate(*entry["mtbf_years"]), bool(sources), entry["basis"], sources)


def _source(key: str) -> str:
    return str(_table()["observed"][key]["source"])


def recovery() -> Recovery:
    """The default recovery times."""
    entries = _table()["recovery"]
    times: dict[str, Any] = {name: Estimate(*entry["seconds"]) for name, entry in entries.items()}
    return Recovery(**times, why={name: entry["why"] for name, entry in entries.items()})


def synchronous_goodput(rate: FailureRate, times: Recovery, chips: int) -> Estimate:
    """Share of the wall time of a job that every failure stops, checkpoints at the best interval."""

    def formula(years: Any, restart: Any, checkpoint: Any) -> Any:
        return goodput.synchronous_efficiency(goodput.fleet_mtbf(years, chips), restart, checkpoint)

    return propagate(formula, rate.mtbf_years, times.restart, times.checkpoint)


def replica_goodput(rate: FailureRate, times: Recovery, chips: int, replicas: int) -> Estimate:
    """The same with replica-level fault tolerance: the others go on after a stall."""

    def formula(years: Any, stall: Any, down: Any) -> Any:
        return goodput.replica_efficiency(goodput.fleet_mtbf(years, chips), stall, down, replicas)

    return propagate(formula, rate.mtbf_years, times.stall, times.down)


def asynchronous_goodput(
    rate: FailureRate, times: Recovery, chips: int, learners: int, round_seconds: float
) -> Estimate:
    """The same with learners that wait for nobody.

    A learner's work lasts once an outer step, every `round_seconds`, has taken it: half of that is lost with
    a failure. Where rounds are long it saves checkpoints of its own, at the best interval, and is a small
    synchronous job; the better of the two counts.
    """

    def formula(years: Any, down: Any, checkpoint: Any) -> Any:
        mtbf = goodput.fleet_mtbf(years, chips)
        by_rounds = goodput.asynchronous_efficiency(mtbf, down, round_seconds / 2, learners)
        return np.maximum(by_rounds, goodput.synchronous_efficiency(mtbf * learners, down, checkpoint))

    return propagate(formula, rate.mtbf_years, times.down, times.checkpoint)


def own_checkpoints_pay(
    rate: FailureRate, times: Recovery, chips: int, learners: int, round_seconds: float
) -> bool:
    """Whether a learner loses less by checkpoints of its own than by waiting for the outer step."""
    mtbf = goodput.fleet_mtbf(rate.mtbf_years.value, chips)
    down, checkpoint = times.down.value, times.checkpoint.value
    by_rounds = goodput.asynchronous_efficiency(mtbf, down, round_seconds / 2, learners)
    return bool(goodput.synchronous_efficiency(mtbf * learners, down, checkpoint) > by_rounds)


def spare_nodes(rate: FailureRate, times: Recovery, chips: int) -> int:
    """Hot spares in nodes: those stated, else so many that they run out for `shortage` of the time."""
    if times.spare_nodes is not None:
        return times.spare_nodes
    away = goodput.nodes_under_repair(rate.mtbf_years.value, chips, times.repair.value)
    return goodput.spares_needed(away, times.shortage)


def shortage(rate: FailureRate, times: Recovery, chips: int) -> float:
    """Share of the time that more nodes are away than there are spares."""
    away = goodput.nodes_under_repair(rate.mtbf_years.value, chips, times.repair.value)
    return goodput.poisson_tail(away, spare_nodes(rate, times, chips))
