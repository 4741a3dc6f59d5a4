"""Weights by which a search makes its objective least: failures make fewer chips win, cost fewer still."""

from __future__ import annotations

import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.plan.failures import failure_rate, recovery, replica_goodput, synchronous_goodput
from pippin.plan.objective import check_objective, weights

RATE, TIMES = failure_rate("trn2"), recovery()
CHIPS = np.array([400_000, 100_000, 100_000, 25_000])
SECONDS = np.array([2.0, 4.0, 5.0, 12.0])
REPLICAS = np.array([2048, 512, 1024, 256])


def test_time_is_the_step_over_its_goodput() -> None:
    got = SECONDS * weights("time", CHIPS, REPLICAS, RATE, TIMES)
    for index, chips in enumerate(CHIPS):
        share = synchronous_goodput(RATE, TIMES, int(chips)).value
        assert got[index] == pytest.approx(SECONDS[index] / share)
    assert SECONDS.argmin() == 0 and got.argmin() == 1  # the fastest step is not the fastest run


def test_replicas_that_go_on() -> None:
    got = SECONDS * weights("time", CHIPS, REPLICAS, RATE, TIMES, tolerant=True)
    for index, chips in enumerate(CHIPS):
        share = replica_goodput(RATE, TIMES, int(chips), int(REPLICAS[index])).value
        assert got[index] == pytest.approx(SECONDS[index] / share)
    assert got.argmin() == 0


def test_cost_and_energy_are_chip_time() -> None:
    time = SECONDS * weights("time", CHIPS, REPLICAS, RATE, TIMES)
    for objective in ("cost", "energy"):
        got = SECONDS * weights(check_objective(objective), CHIPS, REPLICAS, RATE, TIMES)
        np.testing.assert_allclose(got, time * CHIPS)
        assert got.argmin() == 3


def test_a_fleet_that_never_gets_through_is_last() -> None:
    got = weights("time", [10**9, 1000], [1, 1], RATE, TIMES)
    assert np.isinf(got[0]) and np.isfinite(got[1])


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(PippinError, match="did you mean 'energy'"):
        check_objective("enrgy")
