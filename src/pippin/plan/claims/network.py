"""Claims on collectives: measurements that the rated links allow, or not."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import Finding, Number, check


def _most_bus_bandwidth(chips: int, per_chip: float, nodes: float) -> float:
    """The most that NCCL's all-reduce bus bandwidth can be in GB/s, if only the way out of a node counts.

    Summed within nodes first, each chip sends 2 (N - 1) / N of its eighth out, N nodes; the bus bandwidth is
    2 (n - 1) / n times bytes over time, n chips in all.
    """
    out = 2 * (nodes - 1) / nodes / chips if nodes < 1e9 else 2 / chips
    n = nodes * chips
    return per_chip / out * 2 * (n - 1) / n


@check("C16", "C17", "C18")
def all_reduce(e: Evidence, row: ClaimRow) -> Finding:
    instance = {"C16": "p5.48xlarge", "C17": "p5en.48xlarge", "C18": "p4de.24xlarge"}[row.claim_id]
    box = e.catalog.instance(instance)
    assert box.chips and box.network_gbits_per_second
    per_chip = box.network_gbits_per_second / 8 / box.chips
    nodes = 1e9 if row.claim_id == "C17" else 2.0
    most = _most_bus_bandwidth(box.chips, per_chip, nodes)
    said = f"{nodes:g} instances" if nodes == 2 else "many instances (the number is not stated)"
    share = row.claimed[0] / most
    numbers = {
        "the most that the way out allows": Number(
            most, "GB/s", f"{said}, {per_chip:g} GB/s a chip, summed inside first"
        ),
        "share of it": Number(100 * share, "percent", "measured over that"),
    }
    return Finding(
        "consistent" if share <= 1 else "does not hold",
        f"it is {100 * share:.0f} % of what the rated network allows",
        numbers,
        ("the algorithm: sums inside an instance first", "message size", "the number of instances"),
        ("a measurement above the limit, which would put the catalog's network rate in doubt",),
    )


@check("C20")
def nvlink(e: Evidence, row: ClaimRow) -> Finding:
    link = e.chip("h100_sxm").scaleup_gbytes_per_second or 0
    share = Number(100 * row.claimed[0] / link, "percent", f"over {link:g} GB/s one way, as rated")
    return Finding(
        "consistent" if row.claimed[0] <= link else "does not hold",
        f"it is {share.value:.0f} % of the rated one-way bandwidth of a chip",
        {"share of the link": share},
        ("message size: small ones reach far less", "no summing in the switch (SHARP)"),
        ("a measurement above the rated link without summing in the switch",),
    )


@check("C19")
def trn2_links(e: Evidence, row: ClaimRow) -> Finding:
    chip = e.chip("trn2")
    numbers = {
        "way out": Number(chip.scaleout_gbits_per_second, "Gbit/s a chip", chip.scaleout_source),
        "message": Number(chip.scaleout_latency_microseconds, "microseconds", chip.scaleout_latency_term),
        "hop": Number(chip.scaleup_latency_microseconds, "microseconds", chip.scaleup_source),
    }
    return Finding(
        "cannot be checked",
        "the catalog's values are from the same pages; no measured collective of Trainium2 is published",
        numbers,
        ("AWS's documentation alone",),
        ("a published measurement of collectives on Trainium2",),
    )
