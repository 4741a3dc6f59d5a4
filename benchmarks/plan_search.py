"""Layouts a second of `pippin plan`'s search, on one core, beside a published planner's.

taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/plan_search.py

The job is the one that Calculon was run to the end on: GPT-3 175B on 4,096 A100 80 GB, batch 1,536. Its 197
layouts a second of processor time were measured on another machine than this, so the ratio is an order of
magnitude, not a measurement.
"""

from __future__ import annotations

import statistics

from _table import machine

from pippin.catalog import load_catalog
from pippin.plan.calibration import shipped_calibration
from pippin.plan.peers import CALCULON
from pippin.plan.request import find_fleet, make_request
from pippin.plan.search import search

REPEATS = 3


def main() -> None:
    print(machine())
    request = make_request(model=CALCULON.model)
    fleet, chips = find_fleet(load_catalog(), CALCULON.chip_id, None, CALCULON.chips)
    task = request.task(fleet, shipped_calibration())
    runs = [search(task, chips) for _ in range(REPEATS)]
    rates = sorted(run.evaluated / run.seconds for run in runs)
    rate = statistics.median(rates)
    print(f"{request.model} on {chips:,} {fleet.fleet_id}, batch {request.global_batch:,}:")
    print(f"{runs[0].evaluated:,} of {runs[0].size:,} layouts evaluated, {runs[0].fitting:,} fit")
    print(f"{rate:,.0f} layouts/s (from {rates[0]:,.0f} to {rates[-1]:,.0f}), {REPEATS} searches")
    peer = CALCULON.layouts_per_second
    print(f"{CALCULON.planner} {peer:g} layouts/s: ratio {rate / peer:,.0f}")
    print(f"({CALCULON.source})")


if __name__ == "__main__":
    main()
