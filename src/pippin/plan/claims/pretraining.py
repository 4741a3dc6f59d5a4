"""Claims on pretraining: what measured steps, prices and peaks make of them."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import COUNTS, ROOM, Evidence, FlopCount, Run, Seen, flops_per_token
from pippin.plan.claims.finding import Finding, Number, Verdict, check, times
from pippin.plan.claims.predicted import predictions

# 1,024 sequences of 4,096: assumed, and checked against the paper's own rates in C13 and C14.
_BATCH = 1024
_MODELS = ("70b", "7b")
_ASSUMED = (
    f"the same batch of {_BATCH:,} sequences on every chip: the AXLearn paper states none; its seconds and "
    "its tokens a second multiply to that (C13)"
)


def _tokens(run: Run) -> int:
    return _BATCH * run.sequence_length


def _mfu(run: Run, count: FlopCount = "causal attention") -> float:
    """Percent of the dense bfloat16 peak."""
    peak = run.chip.bf16_tflops or 0
    rate = _tokens(run) * flops_per_token(run.model, run.sequence_length, count) / run.chip_seconds
    return 100 * rate / (peak * 1e12)


def _per_dollar(e: Evidence, model: str, trn2: Seen, other: Seen) -> tuple[float, str]:
    """Tokens per dollar of Trainium2 over those of the H100, and what that rests on."""
    new, old = e.run(f"axlearn-{model}-trn2"), e.run(f"axlearn-{model}-h100")
    ratio = old.chip_seconds * other.usd / (new.chip_seconds * trn2.usd)
    basis = (
        f"{new.chips:,} trn2 x {new.seconds:g} s at {trn2.usd:.3f} ({trn2.basis}) against {old.chips:,} "
        f"h100 x {old.seconds:g} s at {other.usd:.3f} USD a chip-hour ({other.basis})"
    )
    return ratio, basis


def _band(e: Evidence, instance: str, trn2: Seen, models: tuple[str, ...]) -> dict[str, dict[str, Number]]:
    """For each model, tokens per dollar against every price that was seen of the other instance."""
    band: dict[str, dict[str, Number]] = {}
    for model in models:
        for other in e.prices(instance):
            value, basis = _per_dollar(e, model, trn2, other)
            band.setdefault(model, {})[other.basis] = Number(value, "times", basis)
    return band


def _flat(band: dict[str, dict[str, Number]]) -> dict[str, Number]:
    return {
        f"{model}, against {basis}": n for model, by_price in band.items() for basis, n in by_price.items()
    }


def _split(numbers: dict[str, Number], claimed: float) -> tuple[list[str], list[str]]:
    """Names of the bases on which the claim is reached, and of those on which it is not."""
    reached = [name for name, number in numbers.items() if (number.value or 0) >= claimed]
    return reached, [name for name in numbers if name not in reached]


@check("C01")
def apple_fifty_percent(e: Evidence, row: ClaimRow) -> Finding:
    trn2, (claimed,) = e.price("trn2.48xlarge", "capacity block"), row.claimed
    band = _band(e, "p5.48xlarge", trn2, _MODELS)
    dollars = _flat(band)
    reached, missed = _split(dollars, claimed)
    numbers = {f"tokens per dollar, {name}": number for name, number in dollars.items()}
    numbers |= _meanings(e)
    block = e.price("p5.48xlarge", "capacity block")
    numbers |= _break_even(e, claimed, trn2, block)
    for model in _MODELS:
        numbers |= predictions(e, model, _BATCH, trn2, block)
    spans = "; ".join(
        f"{model.upper()} {times(min(n.value or 0 for n in prices.values()))} to "
        f"{times(max(n.value or 0 for n in prices.values()))}"
        for model, prices in band.items()
    )
    now = _per_dollar(e, "70b", trn2, block)[0]
    verdict: Verdict = "holds" if not missed else "holds only if" if reached else "does not hold"
    return Finding(
        verdict,
        f"it is read as tokens per dollar, and the H100 is priced {_where(reached)}. The same measured "
        f"steps give Trainium2 {spans} the tokens per dollar of an H100 over all prices seen; with both in "
        f"capacity blocks, as last seen, {times(now)} (70B)",
        numbers,
        (
            "what efficiency means: dollars, time or energy; the claim does not say",
            "the price basis of both chips and its date. No price of Trainium2 from December 2024 is "
            f"known: {trn2.basis} is taken throughout",
            "the utilisation that the software reaches on each chip",
            _ASSUMED,
            "the scale: for 7B, 1,024 Trainium2 are set against 256 H100 at one batch, which holds "
            "Trainium2 down",
        ),
        (
            "prices of one kind and date for both chips",
            f"a Trainium2 chip-hour at the break-even price given, or below it: then it is {claimed:g}x in "
            "capacity blocks too",
            "the same break-even reached by utilisation instead of price",
        ),
    )


def _where(reached: list[str]) -> str:
    prices = dict.fromkeys(name.partition(", against ")[2] for name in reached)
    return " or ".join(f"at '{price}' ({_which(reached, price)})" for price in prices) or "at no price seen"


def _which(reached: list[str], price: str) -> str:
    models = [name.partition(",")[0].upper() for name in reached if name.endswith(f"against {price}")]
    return "both models" if len(models) == len(_MODELS) else f"{models[0]} only"


def _meanings(e: Evidence) -> dict[str, Number]:
    """Efficiency as time and as energy, and the utilisation, from the same runs."""
    numbers = {}
    for model in _MODELS:
        new, old = e.run(f"axlearn-{model}-trn2"), e.run(f"axlearn-{model}-h100")
        per_chip = old.chip_seconds / new.chip_seconds
        numbers[f"tokens per chip-second, {model}"] = Number(
            per_chip, "times", "trn2 over h100, measured steps"
        )
        watts = [run.chip.power_watts for run in (old, new)]
        value = per_chip * watts[0] / watts[1] if watts[0] and watts[1] else None
        basis = f"h100 {watts[0]:g} W ({old.chip.power_term}), trn2 {watts[1]:g} W ({new.chip.power_term})"
        numbers[f"tokens per joule, {model}"] = Number(value, "times", basis)
        for name, run in (("trn2", new), ("h100", old)):
            numbers[f"MFU, {name}, {model}"] = Number(
                _mfu(run), "percent", "of the dense bf16 peak; causal attention; batch assumed"
            )
    return numbers


def _break_even(e: Evidence, claimed: float, trn2: Seen, block: Seen) -> dict[str, Number]:
    numbers = {}
    for model in _MODELS:
        now, _ = _per_dollar(e, model, trn2, block)
        numbers[f"break-even price of trn2, {model}"] = Number(
            trn2.usd * now / claimed, "USD a chip-hour", f"{claimed:g}x against h100 at {block.basis}"
        )
        mfu = _mfu(e.run(f"axlearn-{model}-trn2"))
        numbers[f"break-even MFU of trn2, {model}"] = Number(
            mfu * claimed / now, "percent", f"{claimed:g}x at {trn2.basis} against {block.basis}"
        )
    return numbers


@check("C03")
def aws_price_performance(e: Evidence, row: ClaimRow) -> Finding:
    trn2 = e.price("trn2.48xlarge", "capacity block")
    bands = {name: _band(e, name, trn2, ("70b",))["70b"] for name in ("p5e.48xlarge", "p5en.48xlarge")}
    numbers = {
        f"tokens per dollar, {box}, {price}": number
        for box, band in bands.items()
        for price, number in band.items()
    }
    low = min(row.claimed)
    reached, missed = _split(numbers, low)
    values = [number.value or 0 for number in numbers.values()]
    shown = [name.removeprefix("tokens per dollar, ") for name in reached]
    return Finding(
        "holds" if not missed else "holds only if" if reached else "does not hold",
        "price performance is tokens per dollar of the 70B steps and the GPU is priced as one of: "
        f"{'; '.join(shown)}. Over all prices seen of P5e and P5en it is {times(min(values))} to "
        f"{times(max(values))}",
        numbers,
        (
            "the price basis: AWS names none",
            "the speed of an H200, taken as that of an H100 with the same peak: no AXLearn run on it is "
            "published",
            _ASSUMED,
            f"Trainium2 at {trn2.basis}",
        ),
        (
            "capacity blocks of May 2026 for both",
            "an H200 faster than an H100, which its memory bandwidth suggests",
        ),
    )


def _mfus(label: str, run: Run) -> dict[str, Number]:
    """The utilisation of a run by each way of counting."""
    basis = (
        f"dense bf16 peak of {run.chip.bf16_tflops:g} TFLOP/s; {_BATCH:,} x {run.sequence_length:,} tokens"
    )
    return {f"{label}, MFU, {count}": Number(_mfu(run, count), "percent", basis) for count in COUNTS}


def _off(claimed: float, mfus: dict[str, Number], room: float) -> bool:
    values = [number.value or 0 for number in mfus.values()]
    return not min(values) / (1 + room) <= claimed <= max(values) * (1 + room)


@check("C13", "C14")
def axlearn_table(e: Evidence, row: ClaimRow) -> Finding:
    model = "70b" if row.claim_id == "C13" else "7b"
    numbers: dict[str, Number] = {}
    off: list[str] = []
    for chip, claimed in zip(("trn2", "h100", "v5p"), row.claimed, strict=True):
        run, rate = e.run(f"axlearn-{model}-{chip}"), e.measured(f"axlearn-{model}-{chip}-rate")
        label = f"{model}-{chip}"
        step = Number(run.seconds * rate.value, "tokens", "its seconds times its tokens a second")
        per_chip = _tokens(run) / run.chip_seconds
        mfus = _mfus(label, run)
        numbers |= {f"{label}, tokens a step": step}
        numbers |= {
            f"{label}, tokens a second and chip": Number(per_chip, "tokens/s", "batch assumed")
        } | mfus
        if _off(claimed, mfus, ROOM + 0.05 / run.seconds):  # seconds are given to a tenth
            off.append(label)
    return Finding(
        "does not hold" if off else "consistent",
        f"{', '.join(off)} cannot be recomputed from its own seconds"
        if off
        else f"with {_BATCH:,} sequences of 4,096 the seconds give each MFU within {ROOM:.0%} and rounding "
        "of one way of counting FLOPs; seconds and rates agree on that batch",
        numbers,
        (_ASSUMED, "the FLOPs that the paper counts, not stated", "the table was read in a copy (tier C)"),
        ("another batch", "another definition of model FLOPs"),
    )


@check("C15")
def axlearn_comments(e: Evidence, row: ClaimRow) -> Finding:
    numbers: dict[str, Number] = {}
    off: list[str] = []
    for name, claimed in zip(("fuji-7b-h100", "fuji-7b-v5e", "fuji-70b-v5e"), row.claimed, strict=True):
        mfus = _mfus(name, e.run(name))
        numbers |= mfus
        if _off(claimed, mfus, ROOM):
            values = [number.value or 0 for number in mfus.values()]
            off.append(f"{name}, {claimed:g} against {min(values):.1f} to {max(values):.1f} %")
    return Finding(
        "cannot be checked" if off else "consistent",
        f"the batch is not stated, and on the paper's some do not come out: {'; '.join(off)}"
        if off
        else "the seconds give each MFU within the ways of counting",
        numbers,
        ("the batch, assumed as in the paper", "the FLOPs that the comments count", "when each was written"),
        ("the batch of each run",),
    )
