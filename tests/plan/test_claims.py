"""The arithmetic behind the verdicts, by hand, and that the verdicts follow the catalog."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pippin.catalog import Catalog, load_catalog
from pippin.catalog.claims import load_claims, load_measurements
from pippin.errors import PippinError
from pippin.plan.calibration import shipped_calibration
from pippin.plan.claims import VERDICTS, Finding, check_claims
from pippin.plan.claims.evidence import Evidence, flops_per_token, shape_of
from pippin.plan.claims.finding import CHECKS, half_digit
from pippin.plan.claims.network import _most_bus_bandwidth
from pippin.plan.counts import num_parameters

Change = Callable[[str], Catalog]


@pytest.fixture(autouse=True)
def no_file_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)


@pytest.fixture
def changed(tmp_path: Path) -> Change:
    """The catalog with a file of a user's."""

    def load(text: str) -> Catalog:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return load_catalog(path)

    return load


def finding(claim_id: str, catalog: Catalog | None = None) -> Finding:
    (claim,) = check_claims(catalog or load_catalog(), [claim_id])
    return claim.finding


def value(claim_id: str, name: str, catalog: Catalog | None = None) -> float:
    number = finding(claim_id, catalog).numbers[name].value
    assert number is not None
    return number


def test_every_claim_has_a_check_and_every_check_a_claim() -> None:
    assert CHECKS.keys() == load_claims().keys()
    assert {f"C{number:02}" for number in range(1, 34)} <= CHECKS.keys()


def test_every_verdict_is_whole() -> None:
    claims = check_claims(load_catalog())
    assert {claim.finding.verdict for claim in claims} <= set(VERDICTS)
    for claim in claims:
        found = claim.finding
        assert found.because and found.depends_on and found.flips, claim.row.claim_id
        for name, number in found.numbers.items():
            assert number.basis, (claim.row.claim_id, name)
        document = claim.as_dict()
        assert {"id", "claim", "verdict", "numbers", "depends_on"} <= document.keys()
        json.dumps(document, allow_nan=False)


# A verdict or a figure typed into a check would not follow from the rows; these are worked out here by hand.
BY_HAND = {
    ("C06", "trn2-instance fp8"): 16 * 1.299,
    ("C06", "trn2-instance bf16"): 16 * 0.667,
    ("C06", "trn2-ultraserver fp8"): 64 * 1.299,
    ("C06", "trn2-ultraserver bf16"): 64 * 0.667,
    ("C05", "400,000 trn2 bf16"): 266.8,
    ("C05", "400,000 trn2 fp8"): 519.6,
    ("C05", "100,000 GPUs of GB200 bf16"): 250,
    ("C05", "ratio to 100,000 GPUs of GB200 bf16"): 266.8 / 250,
    ("C05", "ratio to 100,000 superchips of two GPUs bf16"): 266.8 / 500,
    ("C05", "ratio to 100,000 superchips of two GPUs fp8"): 519.6 / 1000,
    ("C07", "fp8"): 2517 / 1299,
    ("C07", "bf16"): 671 / 667,
    ("C09", "fp8"): 144 * 2.517 / (64 * 1.299),
    ("C09", "memory bandwidth"): 144 * 4.9 / (64 * 2.9),
    ("C04", "cluster before, at most, bf16"): 266.8 / 5,
    ("C32", "1 million trn2 fp8"): 1299,
    ("C01", "tokens per dollar, 70b, against on demand, us-east-1, 2023-10-09 to 2025-06"): (
        512 * 9.2 * 98.32 / 8 / (1024 * 11.2 * 35.7608 / 16)
    ),
    ("C01", "tokens per dollar, 7b, against on demand, us-east-1, 2023-10-09 to 2025-06"): (
        256 * 1.4 * 98.32 / 8 / (1024 * 1.2 * 35.7608 / 16)
    ),
    ("C01", "tokens per dollar, 70b, against capacity block, us-east-1/us-east-2/us-west-2, 2026-05-25"): (
        512 * 9.2 * 34.608 / 8 / (1024 * 11.2 * 35.7608 / 16)
    ),
    ("C01", "tokens per chip-second, 70b"): 512 * 9.2 / (1024 * 11.2),
    ("C01", "tokens per joule, 70b"): 512 * 9.2 / (1024 * 11.2) * 700 / 500,
    ("C01", "break-even price of trn2, 70b"): 512 * 9.2 * 34.608 / 8 / (1024 * 11.2) / 1.5,
    ("C03", "tokens per dollar, p5en.48xlarge, on demand, us-east-1, 2026-07-20"): (
        512 * 9.2 * 63.296 / 8 / (1024 * 11.2 * 35.7608 / 16)
    ),
    ("C02", "throughput a vCPU needed, c7g.16xlarge against c7i.16xlarge"): 1.4 * 2.32 / 2.856,
    ("C29", "throughput a vCPU needed, c6g.16xlarge against c5.18xlarge"): 1.4 * 2.176 / 64 / (3.06 / 72),
    ("C28", "saving at equal share of the peak, on demand, us-east-1, 2026-07-20"): (
        100 * (1 - 312 / (21.957642 / 8) / (190 / (21.5 / 16)))
    ),
    ("C25", "ratio"): 35.7608 / 632 / (63.158 / 2359),
    ("C31", "p5.48xlarge"): 100 * (1 - 55.04 / 98.32),
    ("C33", "h100_sxm"): 100 * 794.5 / 989,
}


@pytest.mark.parametrize(("claim_id", "name"), BY_HAND)
def test_arithmetic_by_hand(claim_id: str, name: str) -> None:
    assert value(claim_id, name) == pytest.approx(BY_HAND[claim_id, name], rel=1e-9)


def test_the_verdicts_of_the_claims_that_matter_most() -> None:
    verdicts = {claim.row.claim_id: claim.finding.verdict for claim in check_claims(load_catalog())}
    conditional = {"C01", "C02", "C03", "C05", "C06", "C07", "C09", "C32"}
    assert {verdicts[claim_id] for claim_id in conditional} == {"holds only if"}
    assert (verdicts["C04"], verdicts["C08"], verdicts["C31"]) == (
        "cannot be checked",
        "cannot be checked",
        "holds",
    )


def _trn2_at(usd: float) -> str:
    return f'[[prices]]\ninstance_id = "trn2.48xlarge"\nkind = "capacity block"\nusd_per_chip_hour = {usd}\n'


@pytest.mark.parametrize(("usd", "verdict"), [(0.3, "holds"), (2.2, "holds only if"), (9.0, "does not hold")])
def test_the_fifty_percent_follow_the_price(changed: Change, usd: float, verdict: str) -> None:
    assert finding("C01", changed(_trn2_at(usd))).verdict == verdict


def test_the_break_even_price_breaks_even(changed: Change) -> None:
    catalog = changed(_trn2_at(value("C01", "break-even price of trn2, 70b")))
    name = "tokens per dollar, 70b, against capacity block, us-east-1/us-east-2/us-west-2, 2026-05-25"
    assert value("C01", name, catalog) == pytest.approx(1.5)


def test_peaks_decide_the_claims_on_peaks(changed: Change) -> None:
    assert (
        "performance means fp8 or bf16"
        in finding("C07", changed("[chips.trn3]\nbf16_tflops = 1330\n")).because
    )
    assert finding("C07", changed("[chips.trn3]\nfp8_tflops = 1299\n")).verdict == "does not hold"
    both = finding("C05", changed("[chips.gb200_nvl72]\nbf16_tflops = 2700\nfp8_tflops = 5400\n"))
    assert "100,000 GPUs of GB200 or 100,000 superchips" in both.because
    assert (
        finding("C05", changed("[chips.trn2]\nbf16_tflops = 2500\nfp8_tflops = 5000\n")).verdict
        == "does not hold"
    )
    assert finding("C06", changed("[chips.trn2]\nfp8_tflops = 1400\n")).verdict == "does not hold"
    assert (
        finding(
            "C31", changed('[[prices]]\ninstance_id = "p5.48xlarge"\nkind = "on demand"\nusd_per_hour = 90\n')
        ).verdict
        == "does not hold"
    )


def test_a_link_too_slow_for_a_measurement_contradicts_it(changed: Change) -> None:
    slow = changed('[instances."p5.48xlarge"]\nnetwork_gbits_per_second = 1600\n')
    assert finding("C16", slow).verdict == "does not hold"
    assert _most_bus_bandwidth(8, 50.0, 2.0) == pytest.approx(750)
    # One chip an instance: NCCL's bus bandwidth is the link itself, whatever the number of instances.
    assert _most_bus_bandwidth(1, 50.0, 7.0) == pytest.approx(50)


def test_the_batch_of_the_paper_follows_from_its_rates() -> None:
    """1,024 x 4,096 is assumed; seconds times tokens a second of all six runs are within 2 % of it."""
    measured = load_measurements()
    for name, seconds in measured.items():
        if name.startswith("axlearn") and name.endswith("-seconds"):
            rate = measured[name.replace("-seconds", "-rate")]
            assert seconds.value * rate.value == pytest.approx(1024 * 4096, rel=0.02)


def test_shapes_and_flops() -> None:
    assert num_parameters(shape_of("llama2-7b")) == 6_738_415_616
    assert num_parameters(shape_of("llama2-70b")) == 68_976_648_192
    causal = flops_per_token("llama2-7b", 4096)
    full = flops_per_token("llama2-7b", 4096, "full attention")
    assert full - causal == pytest.approx(6 * 32 * 4096 * 4095 / 2 * 2)
    whole = flops_per_token("llama2-7b", 4096, "6 N and full attention")
    assert whole == pytest.approx(6 * 6_738_415_616 + 12 * 32 * 4096 * 4096)


def test_no_run_of_the_claims_is_in_the_calibration() -> None:
    provenance = shipped_calibration().provenance
    assert provenance is None or not any("axlearn" in source.name.lower() for source in provenance.sources)


def test_predictions_stand_beside_what_was_measured() -> None:
    numbers = finding("C01").numbers
    predicted = {name: number for name, number in numbers.items() if number.interval}
    assert len(predicted) == 6
    for number in predicted.values():
        assert number.interval is not None and number.value is not None
        assert number.interval[0] < number.value < number.interval[1]
    trn2, h100, ratio = (
        numbers[f"{name}, 70b"]
        for name in ("predicted step, trn2", "predicted step, h100", "tokens per dollar, predicted")
    )
    assert "measured 11.2 s" in trn2.basis
    assert trn2.value and h100.value and ratio.value
    assert ratio.value == pytest.approx(512 * h100.value * 34.608 / 8 / (1024 * trn2.value * 35.7608 / 16))
    # Two independent factors: wider than either, narrower than both in a row.
    widths = [math.log(n.interval[1] / n.interval[0]) for n in (trn2, h100, ratio) if n.interval]
    assert max(widths[:2]) < widths[2] < sum(widths[:2])


def test_a_missing_figure_is_not_made_up() -> None:
    evidence = Evidence(load_catalog())
    with pytest.raises(LookupError, match="no fp8 peak of a100_80"):
        evidence.tflops("a100_80", "fp8")
    with pytest.raises(LookupError, match=r"no on demand price of trn2.48xlarge"):
        evidence.price("trn2.48xlarge", "on demand")


def test_half_a_digit() -> None:
    assert [half_digit(claimed) for claimed in (4.4, 44, 83.2, 0.05)] == pytest.approx(
        [0.05, 0.5, 0.05, 0.005]
    )


def test_an_unknown_claim_names_the_nearest() -> None:
    with pytest.raises(PippinError, match=r"unknown claim 'C99' .did you mean 'C"):
        check_claims(load_catalog(), ["c99"])


def test_no_efficiency_stands_without_its_basis() -> None:
    for claim in check_claims(load_catalog()):
        for name, number in claim.finding.numbers.items():
            if "MFU" in name:
                assert re.search(r"peak|TFLOP/s|h100|capacity", number.basis), name
            if "dollar" in name:
                assert "USD a chip-hour" in number.basis and re.search(r"20\d\d", number.basis), name
