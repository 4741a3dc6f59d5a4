"""A file of the user's adds to the catalog and changes it, visibly, or says what is wrong with itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pippin.catalog import Catalog, load_catalog
from pippin.errors import PippinError

Load = Callable[[str], Catalog]

FILE = """
[chips.trn2]
memory_gbytes_per_second = 2800

[chips.acme]
like = "h100_sxm"
name = "Acme 1"
bf16_tflops = 1200
fp8_tflops = 2400

[instances.acme-box]
like = "p5.48xlarge"
chip_id = "acme"
network_gbits_per_second = 1600

[[prices]]
instance_id = "acme-box"
kind = "reserved"
usd_per_chip_hour = 2.5
date = 2026-11-01
term = "our contract"

[[prices]]
instance_id = "p5.48xlarge"
kind = "on demand"
usd_per_hour = 40

[fleets.ours]
instance_id = "acme-box"
chips_at_most = 512
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def run(text: str) -> Catalog:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return load_catalog(path)

    return run


def test_a_chip_a_price_and_a_fleet_of_ones_own(load: Load) -> None:
    fleet = load(FILE).fleet("ours")
    assert (fleet.chip.chip_id, fleet.chips_at_most) == ("acme", 512)
    assert fleet.chip.memory_gbytes_per_second == 3350  # like the H100
    assert fleet.chip.scaleout_gbits_per_second == 200
    (price,) = fleet.prices
    assert (price.usd_per_chip_hour, price.kind) == (2.5, "reserved")
    assert price.basis == "reserved, our contract, region not stated, 2026-11-01, the user's file"


def test_what_the_user_set_is_marked(load: Load) -> None:
    catalog = load(FILE)
    trn2 = catalog.chip("trn2")
    assert trn2.users_fields == ("memory_gbytes_per_second",)
    assert "mine.toml (the user's): memory_gbytes_per_second; the rest: AWS Neuron docs" in trn2.memory_source
    assert trn2.flops_source == load_catalog().chip("trn2").flops_source
    assert len(catalog.changes) == 6
    assert "mine.toml: chips.trn2.memory_gbytes_per_second = 2800.0 (was 2900.0)" in catalog.changes
    assert "mine.toml: chips.acme, like h100_sxm, is new" in catalog.changes
    assert load_catalog().changes == ()


def test_a_users_price_replaces_that_of_the_catalog(load: Load) -> None:
    prices = {price.kind: price for price in load(FILE).fleet("p5").prices if price.kind == "on demand"}
    assert prices["on demand"].usd_per_chip_hour == 5
    assert "the user's file" in prices["on demand"].basis


def test_names_are_found_whatever_their_case(load: Load) -> None:
    catalog = load("[chips.TRN2]\nbf16_tflops = 1\n")
    assert catalog.chip("trn2").bf16_tflops == 1
    assert len(catalog.chips) == len(load_catalog().chips)


def test_the_environment_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[chips.trn2]\npower_watts = 480\n")
    monkeypatch.setenv("PIPPIN_CATALOG", str(path))
    assert load_catalog().chip("trn2").power_watts == 480
    monkeypatch.setenv("PIPPIN_CATALOG", "")
    assert load_catalog().chip("trn2").power_watts == 500


def test_a_chip_from_nothing_knows_only_what_it_is_told(load: Load) -> None:
    chip = load('[chips.new]\nbf16_tflops = 100\nflops_source = "our measurement"\n').chip("new")
    assert (chip.name, chip.flops_source, chip.fp8_tflops, chip.memory_size) == (
        "new",
        "our measurement",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[chip.trn2]\n", ["mine.toml: unknown table 'chip' (did you mean 'chips'?)"]),
        (
            "[chips.trn2]\nbf16_tflop = 1\n",
            ["chips.trn2: unknown key 'bf16_tflop'", "did you mean 'bf16_tflops'?"],
        ),
        (
            "[chips.trn2]\nbf16_tflops = 0\n",
            ["chips.trn2: key 'bf16_tflops': Input should be greater than 0"],
        ),
        ("[chips.trn2]\nbf16_tflops = 'x'\n", ["key 'bf16_tflops': Input should be a valid number"]),
        ("[chips.trn2]\nchip_id = 'x'\n", ["chips.trn2: 'chip_id' cannot be set"]),
        (
            "[chips.trn2]\nscaleup_shape = [4, 5]\n",
            ["scaleup_shape does not multiply to scaleup_domain_chips"],
        ),
        (
            "[chips.mine]\nlike = 'h100'\n",
            ["chips.mine: like = 'h100': no such entry", "did you mean 'h100_sxm'?"],
        ),
        ("[instances.x]\nchips = 8\n", ["instances.x: chip_id = '': the catalog has no such entry"]),
        ("[instances.x]\nchip_id = 'trn22'\n", ["chip_id = 'trn22'", "did you mean 'trn2'?"]),
        ("[fleets.x]\ninstance_id = 'p5'\n", ["fleets.x: chip_id = ''"]),
        (
            "[[prices]]\ninstance_id = 'p5.48xl'\n",
            ["prices, entry 1: unknown instance 'p5.48xl'", "did you mean 'p5.4"],
        ),
        (
            "[[prices]]\ninstance_id = 'p5.48xlarge'\nkind = 'od'\nusd_per_hour = 1\n",
            ["key 'kind': Input should be"],
        ),
        ("[[prices]]\ninstance_id = 'p5.48xlarge'\nkind = 'spot'\n", ["a price is either known or"]),
        (
            "[[prices]]\ninstance_id = 'c7g.16xlarge'\nkind = 'spot'\nusd_per_chip_hour = 1\n",
            ["usd_per_chip_hour does not fit here (give usd_per_hour)"],
        ),
        ("prices = 3\n", ["'prices' is not a list of tables"]),
        ("chips = 3\n", ["'chips' is not a table"]),
        ("[chips]\ntrn2 = 3\n", ["'chips.trn2' is not a table"]),
        ("[chips\n", ["mine.toml: not a TOML file"]),
    ],
)
def test_a_mistake_is_named(load: Load, text: str, messages: list[str]) -> None:
    with pytest.raises(PippinError) as caught:
        load(text)
    for message in messages:
        assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PippinError, match=r"nowhere.toml: no such file or folder"):
        load_catalog(tmp_path / "nowhere.toml")
