"""Claims on serving. The catalog has peaks, prices and a few measurements; most of these lack a baseline."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence, shape_of
from pippin.plan.claims.finding import Finding, Number, check, half_digit, times
from pippin.plan.counts import num_parameters


@check("C11")
def haiku(e: Evidence, row: ClaimRow) -> Finding:
    numbers = {
        f"memory bandwidth over {chip}": e.ratio("trn2", chip, "memory_gbytes_per_second")
        for chip in ("a100_40", "a100_80", "h100_sxm", "h200_sxm", "tpu_v5e", "inf2")
    }
    beaten = [name.split()[-1] for name, n in numbers.items() if (n.value or 0) >= row.claimed[0]]
    return Finding(
        "cannot be checked",
        "neither the other chip nor the number of chips is named. Bound by memory bandwidth, one "
        f"Trainium2 is {row.claimed[0]:g}x as fast as one of: {', '.join(beaten)}; not as one H100",
        numbers,
        ("the chips compared with, and how many", "latency or throughput"),
        ("AWS naming the other chip",),
    )


@check("C12")
def customers(e: Evidence, row: ClaimRow) -> Finding:
    trn2 = e.price("trn2.48xlarge", "capacity block")
    numbers = {}
    for instance in ("p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge"):
        for price in e.prices(instance, "capacity block")[-1:]:
            for saved in row.claimed:
                need = trn2.usd / price.usd / (1 - saved / 100)
                basis = f"trn2 at {trn2.basis} against {instance} at {price.basis}, per chip-hour"
                numbers[f"speed of a chip needed to save {saved:g} %, against {instance}"] = Number(
                    need, "times", basis
                )
    return Finding(
        "cannot be checked",
        "no workload, no GPU and no price is named; the numbers say how fast a Trainium2 has to be for "
        "such a saving",
        numbers,
        ("the workload", "the GPU and its price"),
        ("a published workload with prices",),
    )


@check("C24")
def inf2_decode(e: Evidence, row: ClaimRow) -> Finding:
    m = e.measured("neuron-70b-inf2")
    weights = 2.0 * num_parameters(shape_of(m.model))
    bandwidth = (e.chip(m.chip_id).memory_gbytes_per_second or 0) * 1e9 * (m.chips or 1)
    floor = 1e3 * weights / bandwidth
    basis = f"{weights / 1e9:.0f} GB of bf16 weights read once over {m.chips} chips' memory bandwidth"
    share = 100 * floor / m.value
    return Finding(
        "consistent" if floor <= m.value else "does not hold",
        f"memory alone needs {floor:.1f} ms, so it reaches {share:.0f} % of what bandwidth allows",
        {
            "floor": Number(floor, "milliseconds", basis),
            "share of the bandwidth": Number(share, "percent", "the floor over the measured time"),
        },
        ("bf16 weights: with int8 the floor is half", "AWS's own measurement"),
        ("a measurement below the floor",),
    )


@check("C25")
def kiln(e: Evidence, row: ClaimRow) -> Finding:
    usd = {}
    numbers = {}
    for name, instance in (("kiln-glm-trn2", "trn2.48xlarge"), ("kiln-glm-p5en", "p5en.48xlarge")):
        m, price = e.measured(name), e.price(instance, "capacity block")
        usd[name] = price.usd * (m.chips or 1) / 3600 / m.value * 1e6
        basis = f"{m.value:g} tokens/s on {m.chips} chips, {price.basis}"
        numbers[f"cost of a million output tokens, {instance}"] = Number(usd[name], "USD", basis)
    before, now = e.prices("p5en.48xlarge", "capacity block")[-2:]
    ratio = usd["kiln-glm-trn2"] / usd["kiln-glm-p5en"]
    numbers["ratio"] = Number(ratio, "times", "trn2 over p5en")
    agrees = abs(ratio - row.claimed[0]) <= half_digit(row.claimed[0])
    return Finding(
        "consistent" if agrees else "does not hold",
        f"its rates at its prices give {times(ratio)}: at each chip's peak, Trainium2 was the dearer. One "
        "project with an engine of its own on one side and vLLM on the other",
        numbers,
        (
            "the two engines",
            f"the capacity block of p5en: {times(before.usd / now.usd)} the price on {before.as_of}",
        ),
        ("an engine that makes better use of Trainium2",),
    )


@check("C26")
def loka(e: Evidence, row: ClaimRow) -> Finding:
    trn2 = e.prices("trn2.3xlarge", "capacity block")[-1]
    a100 = e.price("p4de.24xlarge", "capacity block")
    numbers = {}
    for name in ("loka-carbon-3b", "loka-carbon-8b"):
        share = e.measured(name).value
        basis = (
            f"trn2 at {trn2.usd:.3f} ({trn2.basis}), a100 at {a100.usd:.3f} USD a chip-hour ({a100.basis})"
        )
        numbers[f"cost of the same output, {name}"] = Number(trn2.usd / share / a100.usd, "times", basis)
    values = [number.value or 0 for number in numbers.values()]
    return Finding(
        "consistent",
        f"a measurement; at its prices the Trainium2 costs {times(min(values))} to {times(max(values))} as "
        "much for the same output",
        numbers,
        ("static batch on one side, dynamic batch on the other", "prices of one day"),
        ("the same batching on both",),
    )


@check("C27")
def inferentia2(e: Evidence, row: ClaimRow) -> Finding:
    chip = e.chip("inf2")
    return Finding(
        "cannot be checked",
        "the catalog has no row of Inferentia1 and no measurement of either on one model",
        {"bf16 peak of inf2": Number(chip.bf16_tflops, "TFLOP/s", chip.flops_source)},
        ("the model and the settings", "Inferentia1's figures"),
        ("a published run on both",),
    )
