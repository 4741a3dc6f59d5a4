"""Claims on the size of clusters: a count of chips, and what it comes to at the rated peak."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import Finding, Number, Verdict, check
from pippin.plan.claims.peaks import DTYPES, ROUNDED, exaflops


@check("C04")
def rainier_against_before(e: Evidence, row: ClaimRow) -> Finding:
    rainier = e.catalog.cluster("rainier-400k")
    numbers = {}
    for form in DTYPES:
        now = exaflops(e, "trn2", rainier.chips, form)
        before = (now.value or 0) / row.claimed[0]
        numbers[f"rainier {form}"] = now
        numbers[f"cluster before, at most, {form}"] = Number(
            before, "exaflop/s", f"a {row.claimed[0]:g}th of it"
        )
    h100 = 1e6 * (numbers["cluster before, at most, bf16"].value or 0) / e.tflops("h100_sxm", "bf16")
    numbers["the same in h100"] = Number(h100, "chips", "at the dense bf16 peak of one")
    return Finding(
        "cannot be checked",
        f"the size of the earlier cluster is not published; the claim makes it {h100:,.0f} H100 or fewer, "
        "in BF16",
        numbers,
        ("the earlier cluster", "400,000 chips, as announced", "the data type"),
        (f"an earlier cluster of more than {h100:,.0f} H100", "a smaller Rainier at the time of the claim"),
    )


@check("C32")
def rainier_million(e: Evidence, row: ClaimRow) -> Finding:
    cluster = e.catalog.cluster("rainier-1m")
    numbers = {f"1 million trn2 {form}": exaflops(e, "trn2", cluster.chips, form) for form in DTYPES}
    running = e.catalog.cluster("rainier-500k")
    watts = None if cluster.megawatts_high is None else 1e6 * cluster.megawatts_high / cluster.chips
    numbers["power of a chip with its share of the site"] = Number(
        watts, "W", "the stated power over the chips"
    )
    fp8, bf16 = (numbers[f"1 million trn2 {form}"].value or 0 for form in ("fp8", "bf16"))
    true = abs(fp8 / row.claimed[0] - 1) < ROUNDED
    return Finding(
        "holds only if" if true else "does not hold",
        f"the data type is dense FP8 ({fp8:,.0f} exaflop/s; BF16 {bf16:,.0f}) and all chips stand in one "
        f"count: of the same month is also '{running.chips:,}' ({running.source})",
        numbers,
        ("the data type", "how many chips there are, on which sources differ"),
        ("counting BF16", f"counting {running.chips:,} chips"),
    )


@check("F05", "F06")
def rainier_size(e: Evidence, row: ClaimRow) -> Finding:
    sizes = {
        name: cluster
        for name, cluster in e.catalog.clusters.items()
        if name.startswith("rainier") and cluster.status != "illustration"
    }
    numbers = {
        name: Number(cluster.chips, "chips", f"{cluster.status}, {cluster.as_of}: {cluster.source}")
        for name, cluster in sizes.items()
    }
    claimed = row.claimed[0]
    below = [name for name, cluster in sizes.items() if cluster.chips < claimed]
    verdict: Verdict = "holds only if"
    if row.claim_id == "F06":
        verdict = "holds only if" if below else "holds"
        because = "every size that anybody gave is of that order"
    else:
        because = "the date is left open: " + "; ".join(
            f"{cluster.chips:,} {cluster.status} ({cluster.as_of})" for cluster in sizes.values()
        )
    return Finding(
        verdict,
        because,
        numbers | {f"all of them, {form}": exaflops(e, "trn2", claimed, form) for form in DTYPES},
        ("the date", "planned, delivered or running", "which source"),
        ("a count by AWS with a date",),
    )


@check("F08", "F09")
def h100_clusters(e: Evidence, row: ClaimRow) -> Finding:
    numbers = {f"{row.claimed[0]:,.0f} h100 {f}": exaflops(e, "h100_sxm", row.claimed[0], f) for f in DTYPES}
    if len(row.claimed) > 1:
        numbers |= {
            f"{row.claimed[1]:,.0f} b200 {f}": exaflops(e, "b200_sxm", row.claimed[1], f) for f in DTYPES
        }
    first = next(iter(numbers.values()))
    return Finding(
        "cannot be checked",
        "no source independent of the company counts the chips; if it holds, the H100 have "
        f"{first.value:.1f} exaflop/s of dense BF16",
        numbers,
        ("the count, which only the company states", "the vendor's peaks"),
        ("a count by somebody else",),
    )
