"""Claims on prices, and on price performance where a price is all that is known."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import Finding, Number, check, half_digit, times


def _vcpu(e: Evidence, instance: str) -> tuple[float, str]:
    price = e.price(instance, "on demand")
    return price.usd, f"{instance} {price.usd:.5f} USD a vCPU-hour ({price.basis})"


def _pair(e: Evidence, arm: str, x86: str) -> tuple[float, str]:
    """What a vCPU of the first costs over one of the second."""
    above, first = _vcpu(e, arm)
    below, second = _vcpu(e, x86)
    return above / below, f"{first} over {second}"


def _needed(e: Evidence, claimed: float, pairs: tuple[tuple[str, str], ...]) -> dict[str, Number]:
    numbers = {}
    for arm, x86 in pairs:
        ratio, basis = _pair(e, arm, x86)
        numbers[f"saving, {arm} against {x86}"] = Number(100 * (1 - ratio), "percent", basis)
        numbers[f"throughput a vCPU needed, {arm} against {x86}"] = Number(
            claimed * ratio, "times", f"{claimed:g} x the price ratio; {basis}"
        )
    return numbers


@check("C02", "C29")
def graviton(e: Evidence, row: ClaimRow) -> Finding:
    size = "16xlarge"
    search = (("c7g", "c7i"), ("c7g", "c6i"), ("c6g", "c6i"), ("c7g", "c7a"))
    pairs = [(f"{arm}.{size}", f"{x86}.{size}") for arm, x86 in search] if row.claim_id == "C02" else []
    pairs.append((f"c6g.{size}", "c5.18xlarge"))
    (claimed,) = row.claimed
    numbers = _needed(e, claimed, tuple(pairs))
    needed = [number.value or 0 for name, number in numbers.items() if name.startswith("throughput")]
    span = (
        times(needed[0])
        if len(needed) == 1
        else f"{times(min(needed))} to {times(max(needed))} (by instance)"
    )
    return Finding(
        "holds only if",
        f"it means work per dollar, and a Graviton vCPU does at least {span} the work of an x86 vCPU: the "
        "price gives the rest. No throughput of either is published with the claim",
        numbers,
        (
            "what efficiency means; which chips: outlets name Graviton, Inferentia, or both",
            "the x86 instance compared with, and a vCPU there: a hyperthread on Intel, a whole core on c7a",
            "on-demand prices in us-east-1 of 2026-07-20, not those of the claim's time",
        ),
        ("throughput a vCPU below the number needed", "an x86 instance at another price"),
    )


@check("C30")
def graviton_cost(e: Evidence, row: ClaimRow) -> Finding:
    pairs = (
        ("c7g.16xlarge", "c7i.16xlarge"),
        ("c7g.16xlarge", "c7a.16xlarge"),
        ("c6g.16xlarge", "c5.18xlarge"),
        ("c8g.16xlarge", "c8i.16xlarge"),
        ("c8g.16xlarge", "c8a.16xlarge"),
    )
    numbers = {}
    for arm, x86 in pairs:
        ratio, basis = _pair(e, arm, x86)
        numbers[f"saving, {arm} against {x86}"] = Number(100 * (1 - ratio), "percent", basis)
    (claimed,) = row.claimed
    reached = [name for name, number in numbers.items() if (number.value or 0) >= claimed - 0.5]
    values = [number.value or 0 for number in numbers.values()]
    every = len(reached) == len(numbers)
    return Finding(
        "holds" if every else "holds only if" if reached else "does not hold",
        f"the instances compared are {', '.join(name.removeprefix('saving, ') for name in reached)}. A "
        f"vCPU-hour of Graviton costs {min(values):.1f} to {max(values):.1f} % less over the pairs of one "
        "generation",
        numbers,
        (
            "which pair of instances",
            "a vCPU: a hyperthread on Intel, a whole core on the AMD instances since c7a",
        ),
        ("comparing cores instead of vCPUs", "other prices"),
    )


@check("C28")
def trn1_saving(e: Evidence, row: ClaimRow) -> Finding:
    trn1 = e.price("trn1.32xlarge", "on demand")
    mine = e.tflops("trn1", "bf16") / trn1.usd
    numbers, needed = {}, {}
    (claimed,) = row.claimed
    for price in e.prices("p4d.24xlarge", "on demand"):
        other = e.tflops("a100_40", "bf16") / price.usd
        saving = 100 * (1 - other / mine)
        basis = f"dense bf16 peak per dollar: trn1 at {trn1.basis}, a100 at {price.basis}"
        numbers[f"saving at equal share of the peak, {price.basis}"] = Number(saving, "percent", basis)
        need = other / mine / (1 - claimed / 100)
        needed[price.basis] = need
        numbers[f"share of the peak needed over the A100's, {price.basis}"] = Number(need, "times", basis)
    best = min(needed.values())
    return Finding(
        "holds" if best <= 1 else "holds only if",
        f"Trn1 reaches at least {times(best)} the share of its peak that the A100 reaches of its own, at "
        f"the list price of P4d until June 2025; {times(max(needed.values()))} at the present one",
        numbers,
        ("the price basis", "utilisation on both chips, which the claim does not state"),
        ("the price cut of P4d in June 2025", "equal utilisation"),
    )


@check("C31")
def price_cut(e: Evidence, row: ClaimRow) -> Finding:
    numbers, wrong = {}, []
    for instance, claimed in zip(("p5.48xlarge", "p5en.48xlarge", "p4d.24xlarge"), row.claimed, strict=True):
        before, after = e.prices(instance, "on demand")[0], e.price(instance, "on demand")
        cut = 100 * (1 - after.usd / before.usd)
        numbers[instance] = Number(cut, "percent", f"{before.basis} to {after.basis}, per chip-hour")
        if abs(cut - claimed) > half_digit(claimed):
            wrong.append(instance)
    return Finding(
        "does not hold" if wrong else "holds",
        f"not for {', '.join(wrong)}" if wrong else "the price list before and after gives each of them",
        numbers,
        ("list prices in us-east-1",),
        ("another region",),
    )
