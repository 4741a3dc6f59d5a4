"""What trainers report of their own speed, recomputed from their rates."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import COUNTS, Evidence, flops_per_token
from pippin.plan.claims.finding import Finding, Number, check


@check("C21")
def llm_foundry(e: Evidence, row: ClaimRow) -> Finding:
    mfu, rate = row.claimed
    peak = e.tflops("h100_sxm", "bf16")
    share = Number(100 * rate / peak, "percent", f"{rate:g} over {peak:g} TFLOP/s, dense bf16")
    agrees = abs((share.value or 0) - mfu) < 0.1
    return Finding(
        "consistent" if agrees else "does not hold",
        f"{rate:g} TFLOP/s are {share.value:.2f} % of the rated peak; how its FLOPs are counted is not "
        "stated",
        {"MFU": share},
        ("the FLOP definition behind the rate", "the peak"),
        ("another FLOP definition",),
    )


@check("C22")
def torchtitan(e: Evidence, row: ClaimRow) -> Finding:
    numbers: dict[str, Number] = {}
    fits = dict.fromkeys(COUNTS, True)
    for name, claimed in zip(("titan-8b-a100-low", "titan-70b-a100"), row.claimed, strict=True):
        m = e.measured(name)
        peak = e.tflops(m.chip_id, "bf16")
        basis = f"{m.value:g} tokens/s a chip, {m.sequence_length:,} long; peak {peak:g} TFLOP/s, dense bf16"
        for count in COUNTS:
            value = 100 * m.value * flops_per_token(m.model, m.sequence_length or 0, count) / (peak * 1e12)
            numbers[f"{name}, MFU, {count}"] = Number(value, "percent", basis)
            fits[count] &= abs(value - claimed) < 0.5
    true = [count for count, fit in fits.items() if fit]
    causal = numbers["titan-8b-a100-low, MFU, causal attention"].value or 0
    return Finding(
        "holds only if" if true else "does not hold",
        f"FLOPs are counted as {' or '.join(true) or 'none of these'}; with causal attention and no "
        f"look-ups the 8B reaches {causal:.1f} %",
        numbers,
        ("how FLOPs are counted", "the sequence length, taken as torchtitan's default of 8,192"),
        ("counting causal attention", "another sequence length"),
    )


@check("C23")
def neuron_trn1(e: Evidence, row: ClaimRow) -> Finding:
    numbers = {}
    for name in ("neuron-70b-trn1", "neuron-8b-trn1"):
        m = e.measured(name)
        rate = m.value * (m.sequence_length or 0) / (m.chips or 1)
        flops = flops_per_token(m.model, m.sequence_length or 0)
        peak = e.tflops(m.chip_id, "bf16")
        numbers[f"{name}, tokens a second and chip"] = Number(rate, "tokens/s", f"{m.chips} chips, {m.note}")
        numbers[f"{name}, MFU"] = Number(
            100 * rate * flops / (peak * 1e12),
            "percent",
            f"dense bf16 peak of {peak:g} TFLOP/s; causal attention",
        )
    shares = [number.value or 0 for key, number in numbers.items() if key.endswith("MFU")]
    return Finding(
        "consistent" if all(0 < share < 100 for share in shares) else "does not hold",
        f"they are {shares[0]:.1f} and {shares[1]:.1f} % of the peak, as trainers reach; nobody else "
        "measured them",
        numbers,
        ("AWS's own measurement",),
        ("a run by somebody else on the same instances",),
    )
