"""Tables of runs: what is read, what is refused and why, what is an error."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from pippin.errors import PippinError
from pippin.plan.reading import counts_causal, parse_runs, shipped_runs
from pippin.plan.recipes import capped, model_family, precision_class
from pippin.plan.runs import model_flops, newest_of_each

ROW = {
    "id": "a",
    "source": "somebody",
    "source_ref": "",
    "year": "2024",
    "framework": "Megatron-LM",
    "chip_id": "h100_sxm",
    "n_chips": "64",
    "task": "pretrain",
    "model": "Llama-7B",
    "layers": "32",
    "hidden": "4096",
    "ffn": "11008",
    "heads": "32",
    "kv_heads": "32",
    "head_dim": "128",
    "vocab": "32000",
    "seq": "4096",
    "gbs": "256",
    "mbs": "1",
    "tp": "2",
    "pp": "2",
    "cp": "1",
    "precision": "bf16",
    "recompute": "none",
    "flash": "",
    "zero": "",
    "sp": "",
    "step_s": "5.0",
    "tok_s_chip": "",
    "tflops_chip": "",
    "tflops_kind": "",
    "tier": "A",
}


def table(*changes: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROW))
    writer.writeheader()
    for i, change in enumerate(changes or ({},)):
        writer.writerow({**ROW, "id": f"row{i}", **change})
    return text.getvalue()


def one(**change: Any) -> Any:
    return parse_runs(table(change), "t.csv")[0]


def test_a_whole_row_is_read() -> None:
    run = one()
    assert run.refused is None and run.step_seconds == 5.0
    assert (run.layout["tensor"], run.layout["data"]) == (2, 16)
    assert run.system.stack == "megatron" and run.precision == "bf16"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "LoRA"}, "task LoRA"),
        ({"layers": ""}, "model shape not given"),
        ({"seq": ""}, "sequence length not given"),
        ({"gbs": ""}, "global batch not given"),
        ({"tp": ""}, "layout not given"),
        ({"tp": "3"}, "does not multiply"),
        ({"chip_id": ""}, "chip not in the catalog"),
        ({"chip_id": "abacus"}, "abacus not in the catalog"),
        ({"step_s": ""}, "nothing measured"),
        ({"precision": "ternary"}, "ternary"),
        ({"gbs": "4"}, "fewer sequences"),
        ({"vocab": "1"}, "not a shape"),
        ({"gbs": "many"}, "column 'gbs': 'many' is not a whole number"),
        ({"hidden": "40.5"}, "column 'hidden'"),
        ({"step_s": "-1"}, "column 'step_s'"),
        ({"step_s": "nan"}, "column 'step_s'"),
        ({"id": ""}, "no id"),
        ({"zero": "4"}, "no ZeRO stage 4"),
        ({"zero": "full"}, "column 'zero'"),
        ({"recompute": "sometimes"}, "recompute 'sometimes' not known"),
        ({"flash": "perhaps"}, "flash 'perhaps' is neither yes nor no"),
        ({"sp": "half"}, "sp 'half'"),
    ],
)
def test_what_cannot_be_scored_says_why(change: dict[str, str], reason: str) -> None:
    refused = one(**change).refused
    assert refused is not None and reason in refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table().replace("gbs", "batch"), "no column 'gbs'"),
        (table() + '"open', "row 3"),
        ("", "no column"),
        (table().splitlines()[0] + "\n", "no rows"),
    ],
)
def test_a_malformed_table_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(PippinError) as caught:
        parse_runs(text, "t.csv")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_one_bad_row_leaves_the_others() -> None:
    twins = parse_runs(table({"id": "x"}, {"id": "x", "step_s": "9"}, {"id": "y"}), "t.csv")
    assert [run.refused for run in twins] == [None, "the id 'x' stands twice", None]
    assert len({run.id for run in twins}) == 3
    short = parse_runs(table({"id": "x"}) + "a,b,c\n", "t.csv")
    assert short[0].refused is None and "more or fewer cells" in (short[1].refused or "")


def test_rates_become_seconds_by_the_source_s_own_definition() -> None:
    tokens = 256 * 4096
    assert one(step_s="", tok_s_chip="1000").step_seconds == pytest.approx(tokens / 64_000)
    causal = one(step_s="", tflops_chip="400", tflops_kind="model; attention counted CAUSAL (halved)")
    full = one(step_s="", tflops_chip="400", tflops_kind="model (non-causal)")
    assert causal.step_seconds == pytest.approx(model_flops(causal) / (400e12 * 64))
    assert full.step_seconds == pytest.approx(model_flops(full, causal=False) / (400e12 * 64))
    # Hardware FLOPs are those of four forward passes.
    hardware = one(step_s="", tflops_chip="400", tflops_kind="HARDWARE: 96 B s l h^2 ...")
    assert hardware.step_seconds == pytest.approx(full.step_seconds * 4 / 3)


@pytest.mark.parametrize(
    ("kind", "causal"),
    [
        ("model (6n + 12*l*d*s attention, non-causal)", False),
        ("model; audit shows attention counted causal (halved)", True),
        ("attention not halved for causality", False),
        ("", False),
    ],
)
def test_definitions_of_flops(kind: str, causal: bool) -> None:
    assert counts_causal(kind) is causal


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mxfp8", "fp8"),
        ("nvfp4", "fp4"),
        ("bf16 mixed", "bf16"),
        ("fp16", "bf16"),
        ("int8 (fp8 folder)", "int8"),
    ],
)
def test_four_classes_of_precision(text: str, kind: str) -> None:
    assert precision_class({"precision": text}) == kind


def test_families_of_models() -> None:
    names = {"MPT-7b": "mpt", "LLAMA3.1_405B": "llama", "Llama4-Scout": "llama4", "GPT3-175B": "gpt"}
    names |= {"Mixtral-8x7B": "mistral", "DeepSeekV3 (w/ MTP)": "deepseek", "gpt-oss-120b": "gpt-oss"}
    assert {name: model_family(name) for name in names} == names


def test_the_newest_release_of_a_configuration_stands_for_it() -> None:
    releases = [{"framework": f"Megatron-Bridge (NeMo {v})"} for v in ("25.09", "26.04", "25.11")]
    runs = parse_runs(table(*releases, {"gbs": "512"}), "t.csv")
    assert [run.id for run in newest_of_each(runs)] == ["row1", "row3"]


def test_most_shipped_rows_can_be_scored_and_wrong_ones_say_why() -> None:
    runs = [run for run in shipped_runs() if not run.id.startswith("vtrain")]
    tier = [run for run in runs if run.tier == "A"]
    assert sum(run.refused is None for run in tier) >= 0.85 * len(tier)
    assert all(run.refused for run in runs if run.system is None)
    wrong = {run.id: run.wrong for run in runs if run.wrong}
    assert "v5precipe-gpt3-175b-maxtext" in wrong and all(wrong.values()) and len(wrong) > 30


def test_words_that_change_what_a_row_means() -> None:
    plain = one(recompute="selective").layout
    titan = one(recompute="selective", framework="torchtitan").layout
    assert plain["recompute_attention"] and plain["recompute_layers"] == 0
    assert 0 < titan["recompute_layers"] < 1
    assert one(chip_id="trn2", framework="AXLearn (JAX)").system.stack == "neuron"
    assert one(year="2021", flash="", recompute="full").system.stack == "megatron2"


def test_a_power_cap_lowers_the_rate() -> None:
    full = one().system
    cells = {"chip": "H100", "notes": "96 GB, 500 W cap"}
    slow = capped(cells, full)
    assert slow.matrix_flops == pytest.approx(full.matrix_flops * (500 / 700) ** 0.4)
    assert capped({"chip": "H100 700 W", "notes": ""}, full) == full
