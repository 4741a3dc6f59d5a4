"""Claims on peaks: chips times a rated number, and which number that is."""

from __future__ import annotations

from pippin.catalog.chips import Format
from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import Finding, Number, Verdict, check, half_digit, reaches, times

DTYPES: tuple[Format, ...] = ("bf16", "fp8")
# Two claims on one box, the larger made from the rounded smaller one, differ by this much.
ROUNDED = 0.002


def exaflops(e: Evidence, chip_id: str, chips: float, number_format: Format) -> Number:
    peak = e.tflops(chip_id, number_format)
    basis = f"{chips:,.0f} x {peak:g} TFLOP/s, dense {number_format}, as rated"
    return Number(chips * peak / 1e6, "exaflop/s", basis)


@check("C06")
def trn2_boxes(e: Evidence, row: ClaimRow) -> Finding:
    boxes = {name: e.catalog.cluster(name).chips for name in ("trn2-instance", "trn2-ultraserver")}
    numbers = {}
    for name, chips in boxes.items():
        for form in DTYPES:
            peak = e.tflops("trn2", form)
            basis = f"{chips} x {peak:g} TFLOP/s, dense {form}"
            numbers[f"{name} {form}"] = Number(chips * peak / 1e3, "petaflop/s", basis)
        sparse = e.chip("trn2").fp8_sparse_tflops
        numbers[f"{name} fp8 sparse"] = Number(
            None if sparse is None else chips * sparse / 1e3,
            "petaflop/s",
            f"{chips} x {sparse or 0:g} TFLOP/s, sparse fp8",
        )
    fits = [
        form
        for form in DTYPES
        if all(
            abs((numbers[f"{name} {form}"].value or 0) / claimed - 1) < ROUNDED
            for name, claimed in zip(boxes, row.claimed, strict=True)
        )
    ]
    bf16 = " and ".join(f"{numbers[f'{name} bf16'].value:.1f}" for name in boxes)
    other = f"In BF16, which pretraining mostly uses, the boxes have {bf16} PFLOPS"
    return Finding(
        "holds only if" if fits == ["fp8"] else "does not hold",
        f"the data type is FP8, dense. {other}" if fits == ["fp8"] else "neither dense FP8 nor BF16 gives it",
        numbers,
        ("the data type", "dense or sparse", "the vendor's peak, at no utilisation"),
        ("counting BF16", "counting structured sparsity"),
    )


@check("C05")
def rainier_against_gb200(e: Evidence, row: ClaimRow) -> Finding:
    trn2 = e.catalog.cluster("rainier-400k")
    count = e.catalog.cluster("gb200-100k").chips
    readings = {
        f"{count:,} GPUs of GB200": ("gb200_nvl72", count),
        f"{count:,} superchips of two GPUs": (
            "gb200_nvl72",
            e.catalog.cluster("gb200-100k-superchips").chips,
        ),
        f"{count:,} B200 in HGX": ("b200_sxm", count),
    }
    numbers = {f"{trn2.chips:,} trn2 {form}": exaflops(e, "trn2", trn2.chips, form) for form in DTYPES}
    less: dict[str, list[bool]] = {}
    for name, (chip, chips) in readings.items():
        for form in DTYPES:
            numbers[f"{name} {form}"] = other = exaflops(e, chip, chips, form)
            ratio = (numbers[f"{trn2.chips:,} trn2 {form}"].value or 0) / (other.value or 1)
            numbers[f"ratio to {name} {form}"] = Number(
                ratio, "times", f"Trainium2 over the other, dense {form}"
            )
            less.setdefault(name, []).append(ratio < row.claimed[0])
    true = [name for name, outcomes in less.items() if all(outcomes)]
    ratios = {name: numbers[f"ratio to {name} bf16"].value or 0 for name in readings}
    shown = "; ".join(f"{times(ratio)} of {name}" for name, ratio in ratios.items())
    verdict: Verdict = "holds" if len(true) == len(readings) else "holds only if" if true else "does not hold"
    return Finding(
        verdict,
        f"'GB200' means {' or '.join(true) or 'none of these'}. In BF16, {trn2.chips:,} Trainium2 have "
        f"{shown}",
        numbers,
        (
            "what one GB200 is: a GPU or a superchip of two",
            "the vendors' dense peaks",
            "400,000 chips, as announced",
        ),
        ("counting GB200 by the GPU", "comparing with 100,000 B200"),
    )


@check("C07")
def trn3_chip(e: Evidence, row: ClaimRow) -> Finding:
    columns = {
        "fp8": "fp8_tflops",
        "bf16": "bf16_tflops",
        "memory bandwidth": "memory_gbytes_per_second",
        "memory size": "memory_size",
    }
    numbers = {name: e.ratio("trn3", "trn2", column) for name, column in columns.items()}
    # "Twice" said in round words: within 5 %.
    true = [name for name, number in numbers.items() if (number.value or 0) >= 0.95 * row.claimed[0]]
    shown = ", ".join(f"{name} {times(number.value or 0)}" for name, number in numbers.items())
    return Finding(
        "holds only if" if true else "does not hold",
        f"performance means {' or '.join(true)} per chip, dense. {shown}",
        numbers,
        ("which number performance is", "the vendor's peaks"),
        (
            "counting BF16, in which most pretraining is done: a Trainium3 chip is hardly faster than a "
            "Trainium2",
        ),
    )


@check("C09")
def trn3_ultraserver(e: Evidence, row: ClaimRow) -> Finding:
    new, old = e.catalog.cluster("trn3-gen2-ultraserver").chips, e.catalog.cluster("trn2-ultraserver").chips
    numbers = {}
    for name, column in (
        ("fp8", "fp8_tflops"),
        ("bf16", "bf16_tflops"),
        ("memory bandwidth", "memory_gbytes_per_second"),
    ):
        one = e.ratio("trn3", "trn2", column)
        value = None if one.value is None else one.value * new / old
        numbers[name] = Number(value, "times", f"{new} chips against {old}; {one.basis}")
    compute, bandwidth = row.claimed
    fp8, moved = numbers["fp8"].value or 0, numbers["memory bandwidth"].value or 0
    as_said = abs(fp8 - compute) <= half_digit(compute)
    return Finding(
        "holds only if" if as_said else "does not hold",
        f"compute means dense FP8 ({times(fp8)}; BF16 {times(numbers['bf16'].value or 0)}) and {new} chips "
        f"are set against {old}. Memory bandwidth comes to {times(moved)}, not {bandwidth:g}x",
        numbers,
        ("the data type", "the size of the larger box, more than twice the smaller one's"),
        ("counting BF16", "comparing chip with chip"),
    )


@check("C08")
def trn3_energy(e: Evidence, row: ClaimRow) -> Finding:
    numbers = {}
    for form, column in (("fp8", "fp8_tflops"), ("bf16", "bf16_tflops")):
        speed, power = e.ratio("trn3", "trn2", column).value, e.ratio("trn3", "trn2", "power_watts").value
        value = speed / power if speed and power else None
        basis = "dense peak over power; power: an analyst's estimate for trn2, a lower bound for trn3"
        numbers[f"{form} per watt"] = Number(value, "times", basis)
    return Finding(
        "cannot be checked",
        "AWS publishes the power of neither chip. Power that is 40 % lower and efficiency that is 40 % "
        "higher, both reported, are also different claims",
        numbers,
        ("the power of both chips", "per chip or per UltraServer", "the data type"),
        ("published power, or a metered run on each",),
    )


@check("C33")
def matrix_product_shares(e: Evidence, row: ClaimRow) -> Finding:
    chips = [
        "gaudi2",
        "a100_80",
        "h100_sxm",
        "b200_sxm",
        "gaudi3",
        "gb200_nvl72",
        "mi355x",
        "mi325x",
        "mi300x",
    ]
    numbers, off = {}, []
    for chip_id, claimed in zip(chips, row.claimed, strict=True):
        chip = e.chip(chip_id)
        share = 100 * (chip.measured_bf16_tflops or 0) / e.tflops(chip_id, "bf16")
        basis = f"{chip.measured_bf16_tflops:g} measured over {chip.bf16_tflops:g} TFLOP/s rated, dense bf16"
        numbers[chip_id] = Number(share, "percent", basis)
        if abs(share - claimed) > 1:
            off.append(f"{chip_id} ({share:.1f} against {claimed:g})")
    other = e.measured("mi355x-mamf-peak")
    share = 100 * (e.chip("mi355x").measured_bf16_tflops or 0) / other.value
    numbers["mi355x, the table's own peak"] = Number(share, "percent", f"over {other.value:g} TFLOP/s")
    return Finding(
        "holds only if" if off else "holds",
        f"the peaks are those of that table: {', '.join(off) or 'none'} differs from the rated peak of the "
        "catalog"
        if off
        else "measured over rated gives each of them within a point",
        numbers,
        (
            "the peak that a measured rate is divided by",
            "the shape of the product: these are the best of many",
        ),
        ("another rated peak", "shapes that a model really has"),
    )


@check("C10")
def trn3_serving(e: Evidence, row: ClaimRow) -> Finding:
    numbers = {
        "memory bandwidth": e.ratio("trn3", "trn2", "memory_gbytes_per_second"),
        "fp8": e.ratio("trn3", "trn2", "fp8_tflops"),
    }
    most = max(number.value or 0 for number in numbers.values())
    met = reaches(most, row.claimed[0])
    return Finding(
        "cannot be checked",
        f"the peaks {'allow it' if met else f'explain {times(most)} of it'}; the rest would come from "
        "4-bit weights and from the switch between chips, of which no measurement is published",
        numbers,
        ("the model's precision on each chip", "batch and lengths, not stated"),
        ("a published serving run on both chips with its settings",),
    )
