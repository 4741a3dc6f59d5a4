"""`pippin plan`, as a user meets it: tables, JSON, one line for a mistake; all without JAX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.cli import planning
from pippin.cli.planning import SearchDisplay
from pippin.plan.peers import CALCULON

SMALL = ("plan", "--model", "llama3.1-8b", "--chip", "h100_sxm", "--chips", 8, "--global-batch", 16)


@pytest.fixture(autouse=True)
def no_file_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)


def answered(here: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    outcome = here(*arguments, "--json")
    assert outcome.status == 0, outcome.err
    document: dict[str, Any] = json.loads(outcome.out)
    return document


def nulls(value: Any, path: str = "") -> list[str]:
    """Dotted paths of every null."""
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in nulls(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in nulls(item, f"{path}.{i}")]
    return [path] if value is None else []


def test_the_json_has_what_the_design_promises(here: Callable[..., Any]) -> None:
    found = answered(here, *SMALL)
    assert found.keys() >= {"layouts_evaluated", "search_seconds", "best", "goodput", "cost", "energy"}
    assert len(found["best"]) == 5
    first = found["best"][0]
    low, high = first["step_seconds_interval"]
    assert low < first["step_seconds"] < high
    assert 0 < first["mfu"] < 1
    assert first["tokens_per_second"] == pytest.approx(16 * 8192 / first["step_seconds"])
    assert sum(first["components_seconds"].values()) == pytest.approx(first["step_seconds"])
    assert first["memory_bytes"] < 80e9 * 0.94
    assert found["layouts_evaluated"] > 1000 and found["search_seconds"] > 0
    assert found["global_batch"] == {
        "sequences": 16,
        "sequence_length": 8192,
        "tokens": 16 * 8192,
        "basis": found["global_batch"]["basis"],
    }
    assert "batch given by the user" in found["global_batch"]["basis"]
    assert all(found["basis"].values())
    assert "TFLOP/s" in found["basis"]["peak"] and "calibration of" in found["basis"]["calibration"]


def test_every_other_layout_says_what_it_loses_by(here: Callable[..., Any]) -> None:
    best = answered(here, *SMALL, "--top", 8)["best"]
    assert len(best) == 8
    for each in best[1:]:
        slower = each["step_seconds"] - best[0]["step_seconds"]
        assert slower >= 0
        # Differences below a ten-thousandth of the step are left out.
        assert sum(each["loses_by_seconds"].values()) == pytest.approx(
            slower, abs=13e-4 * each["step_seconds"]
        )
        assert each["reason"]
    names = ("tensor", "context", "stage", "interleave", "data", "expert", "micro_batch")
    degrees = [tuple(each["layout"][name] for name in names) for each in best]
    assert len(set(degrees)) == 8


def test_a_table_fits_a_page(here: Callable[..., Any]) -> None:
    outcome = here(*SMALL, "--explain-memory")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 110
    for word in ("this batch can use", "the best that fits", "optimizer", "GiB", "time to train", "cost"):
        assert word in outcome.out, word


def test_memory_is_explained_by_stage(here: Callable[..., Any]) -> None:
    layout = "tensor=2,stage=4,zero=1,micro_batch=1"
    found = answered(here, *SMALL, "--layout", layout, "--explain-memory")
    memory = found["memory"]
    assert memory["stages"][0]["stages"][0] == 0 and memory["stages"][-1]["stages"][1] == 3
    totals = [sum(stage["parts"].values()) for stage in memory["stages"]]
    assert (
        max(totals) == pytest.approx(memory["total_bytes"]) == pytest.approx(found["asked"]["memory_bytes"])
    )
    assert memory["device_bytes"] == 80e9
    assert found["asked"]["layout"]["stage"] == 4


def test_calculons_best_layout_stands_beside_ours() -> None:
    """The finding itself; the full search with it is the slow test below."""
    assert CALCULON.layout.chips.tolist() == [4096]
    assert CALCULON.layout.micro_batches.tolist() == [48]


@pytest.mark.slow
def test_the_space_of_gpt3_on_4096_chips_is_searched_whole(here: Callable[..., Any]) -> None:
    found = answered(here, "plan", "--model", "gpt3-175b", "--chip", "a100_80", "--chips", 4096)
    assert found["layouts_evaluated"] == found["layouts_in_space"] >= 1_081_872
    assert found["peer"]["its_step_seconds"] == 5.114
    assert found["peer"]["here"]["layout"]["stage"] == 16
    assert found["global_batch"]["sequences"] == 1536


@pytest.mark.parametrize("model", ["llama3.1-405b", "kimi-k2"])
def test_more_chips_than_the_batch_can_use_is_an_answer(here: Callable[..., Any], model: str) -> None:
    """A batch of 32 sequences cannot use 400,000 chips; what it can is said."""
    found = answered(
        here, "plan", "--model", model, "--chip", "trn2", "--chips", 400_000, "--global-batch", 32
    )
    chips = found["chips"]
    assert chips["given"] == 400_000
    assert 0 < found["best"][0]["chips_used"] <= chips["batch_can_use"] <= 400_000
    assert chips["used"] + chips["spare"] + chips["idle"] == 400_000
    assert found["goodput"]["synchronous"]["goodput"] and len(found["goodput"]["asynchronous"]) > 0


def test_a_job_file_is_planned_as_it_stands(here: Callable[..., Any], job: Path, tmp_path: Path) -> None:
    found = answered(here, "plan", job, "--chip", "a100_80", "--chips", 2)
    assert found["global_batch"]["sequences"] == 2
    assert found["tokens"]["value"] == 40 * 2 * 32


def test_a_job_file_is_described_as_our_trainer_keeps_it(here: Callable[..., Any], job: Path) -> None:
    options = (
        "plan",
        job,
        "--chip",
        "h100_sxm",
        "--chips",
        1,
        "--layout",
        "micro_batch=2",
        "--explain-memory",
    )
    ours, theirs = answered(here, *options), answered(here, *options, "--framework", "megatron")
    assert ours["framework"] == "Pippin, bfloat16, fused" and not ours["asked"]["layout"]["flash"]
    parts = ours["memory"]["fullest"]
    assert parts["optimizer"] == 2 * parts["parameters"] == parts["gradients"]
    assert theirs["memory"]["fullest"]["optimizer"] == 6 * theirs["memory"]["fullest"]["parameters"]


def test_fleets_are_set_side_by_side(here: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    arguments = ("plan", "--model", "llama3.1-8b", "--fleet", "p5", "--fleet", "trn2", "--chips", 16)
    found = answered(here, *arguments, "--html", page)
    assert [fleet["fleet"] for fleet in found["fleets"]] == ["p5", "trn2"]
    assert "<svg" in page.read_text()


# Nulls that say what they are by themselves: no term or region belongs to the price, no reason is needed.
_PLAIN_NULLS = {"reason", "term", "region"}


@pytest.mark.parametrize("chip", ["mi355x", "trn3"])
def test_every_null_has_its_reason(here: Callable[..., Any], chip: str) -> None:
    """In `unknown`, or in the key of the same name with `_reason`, or in `reason`, beside it."""
    found = answered(here, "plan", "--model", "llama3.1-8b", "--chip", chip, "--chips", 8)
    for path in nulls(found):
        *above, name = path.removesuffix("_interval").split(".")
        beside: Any = found
        for part in above:
            beside = beside[int(part)] if isinstance(beside, list) else beside[part]
        known = {path.removesuffix("_interval"), ".".join(above)} & found["unknown"].keys()
        assert known or name in _PLAIN_NULLS or beside.get(f"{name}_reason") or beside.get("reason"), path


MISTAKES = [
    (("--model", "gpt3-175", "--chip", "trn2", "--chips", 8), "did you mean 'gpt3-175b'?"),
    (("--model", "llama3.1-8b", "--chip", "trn22", "--chips", 8), "did you mean 'trn2'?"),
    (("--model", "llama3.1-8b", "--chip", "trn2", "--chips", 0), "0 chips train nothing"),
    (("--model", "llama3.1-8b", "--chip", "trn2", "--chips", -4), "-4 chips train nothing"),
    (("--model", "llama3.1-8b", "--chip", "trn2"), "how many chips?"),
    (("--model", "llama3.1-8b", "--chips", 8), "give --chip or --fleet"),
    (("--chip", "trn2", "--chips", 8), "give a job file or --model"),
    (("--model", "llama3.1-8b", "--fleet", "p55", "--chips", 8), "did you mean 'p5'?"),
    ((*SMALL[1:], "--global-batch", 0), "a global batch of 0 sequences"),
    ((*SMALL[1:], "--sequence-length", -1), "sequences of -1 tokens"),
    ((*SMALL[1:], "--precision", "bf17"), "did you mean 'bf16'?"),
    ((*SMALL[1:], "--framework", "megatrom"), "did you mean 'megatron'?"),
    ((*SMALL[1:], "--tokens", -3), "-3 tokens to train on"),
    ((*SMALL[1:], "--tokens", "nan"), "nan tokens to train on"),
    ((*SMALL[1:], "--objective", "speed"), "no objective 'speed'"),
    ((*SMALL[1:], "--max-days", 0.001), "no layout trains in 0.001 days"),
    ((*SMALL[1:], "--fault-tolerance", "replica"), "did you mean 'replicas'?"),
    ((*SMALL[1:], "--mtbf-years", 0), "0 years between failures"),
    ((*SMALL[1:], "--restart-seconds", -1), "-1 s is no time to recover in"),
    ((*SMALL[1:], "--spare-nodes", -1), "-1 spare nodes"),
    ((*SMALL[1:], "--learners", 0), "0 learners"),
    ((*SMALL[1:], "--learner-batch", 0), "a batch of 0 sequences"),
    ((*SMALL[1:], "--link-gbit-per-second", 0), "0 bytes a second"),
    ((*SMALL[1:], "--facility-overhead", 0.5), "at least what its chips do"),
    ((*SMALL[1:], "--layout", "tenser=2"), "did you mean 'tensor'?"),
    ((*SMALL[1:], "--layout", "tensor=3"), "32 heads do not divide by tensor"),
    ((*SMALL[1:], "--layout", "tensor=16"), "it takes 16 chips of 8"),
    ((*SMALL[1:], "--layout", "zero=4"), "zero cannot be 4"),
    ((*SMALL[1:], "--calibration", "nowhere.json"), "nowhere.json"),
    (("--model", "gpt3-175b", "--chip", "trn2", "--chips", 64, "--sequence-length", 4096), "2048 learned"),
    (("--model", "llama3.1-8b", "--chip", "xeon_spr", "--chips", 8), "xeon"),
]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress is told, however busy the machine is."""
    monkeypatch.setattr(planning, "_PATIENCE_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_a_mistake_is_one_line(here: Callable[..., Any], options: tuple[object, ...], message: str) -> None:
    outcome = here("plan", *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("pippin: ") and len(outcome.err.splitlines()) == 1
    assert message.lower() in outcome.err.lower()


@pytest.mark.usefixtures("patient")
def test_a_fleet_too_small_says_how_much_is_missing_and_what_would_do(here: Callable[..., Any]) -> None:
    options = ("--chip", "a100_80", "--chips", 16, "--global-batch", 64)
    outcome = here("plan", "--model", "llama3.1-405b", *options)
    assert outcome.status == 2 and len(outcome.err.splitlines()) == 1
    assert "does not fit on 16 a100_80" in outcome.err
    assert "GiB a chip of 70.0 usable" in outcome.err and "too much" in outcome.err
    enough = int(outcome.err.split(" chips hold it")[0].rsplit("(", 1)[1].replace(",", ""))
    assert enough > 16
    retried = here("plan", "--model", "llama3.1-405b", *options[:3], enough, *options[4:], "--json")
    assert retried.status == 0, retried.err


def test_ctrl_c_ends_a_search_in_one_line(here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SearchDisplay, "progress", interrupt)
    outcome = here(*SMALL)
    assert (outcome.status, outcome.out) == (130, "")
    assert outcome.err.strip().splitlines()[-1] == "pippin: interrupted"
    assert "Traceback" not in outcome.err


def test_a_search_tells_of_itself_only_when_it_takes_long(
    here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_PATIENCE_SECONDS", 3600.0)
    assert here(*SMALL).err == ""
    monkeypatch.setattr(planning, "_PATIENCE_SECONDS", 0.0)
    told = here(*SMALL)
    assert told.err.startswith("searching ") and len(told.err.splitlines()) == 1
    assert "searching" not in told.out


def test_it_runs_where_jax_cannot_be_imported(without_jax: Callable[..., Any]) -> None:
    result = without_jax(*SMALL, "--explain-memory", "--json")
    assert result.returncode == 0, result.stderr
    assert math.isfinite(json.loads(result.stdout)["best"][0]["step_seconds"])


def test_a_page_too_is_made_where_jax_cannot_be_imported(
    tmp_path: Path, without_jax: Callable[..., Any]
) -> None:
    page = tmp_path / "plan.html"
    fleets = ("--fleet", "p5", "--fleet", "trn2", "--chips", "8", "--global-batch", "16", "--html", str(page))
    result = without_jax("plan", "--model", "llama3.1-8b", *fleets)
    assert result.returncode == 0, result.stderr
    assert "p5" in result.stdout and page.read_text(encoding="utf-8").count("<svg") >= 4


def test_a_shape_that_is_only_planned_is_refused_by_train(
    here: Callable[..., Any], job: Path, tmp_path: Path
) -> None:
    outcome = here("train", job, "--out", tmp_path / "run", "--set", "model.gated_ffn=false")
    assert outcome.status == 2
    assert "planned, not trained" in outcome.err.splitlines()[-1]


def test_what_the_user_states_replaces_what_is_assumed(here: Callable[..., Any]) -> None:
    stated = ("--mtbf-years", 0.5, "--restart-seconds", 60, "--checkpoint-seconds", 5, "--spare-nodes", 2)
    apart = (
        "--learners",
        2,
        "--learner-batch",
        8,
        "--inner-steps",
        50,
        "--wire-bits",
        4,
        "--link-gbit-per-second",
        10,
    )
    found = answered(here, *SMALL, *stated, *apart, "--facility-overhead", 1.3)
    goodput = found["goodput"]
    assert goodput["mtbf_chip_years"]["value"] == 0.5
    assert goodput["recovery_seconds"]["restart"]["value"] == 60
    assert goodput["recovery_seconds"]["restart"]["why"] == "given by the user"
    assert goodput["spares"]["nodes"] == 2
    (learners,) = goodput["asynchronous"]
    assert (learners["learners"], learners["inner_steps"], learners["wire_bits"]) == (2, 50, 4)
    assert (learners["learner_batch"], learners["total_batch"]) == (8, 16)
    assert learners["link_bytes_per_second"] == 1.25e9
    assert found["energy"]["facility_joules"] == pytest.approx(1.3 * found["energy"]["joules"])


def test_replicas_that_go_on_raise_the_goodput(here: Callable[..., Any]) -> None:
    together = answered(here, *SMALL, "--mtbf-years", 0.01)
    tolerant = answered(here, *SMALL, "--mtbf-years", 0.01, "--fault-tolerance", "replicas")
    assert tolerant["goodput"]["mode"] == "replicas"
    assert tolerant["train_seconds"] < together["train_seconds"]


def test_chips_side_by_side(here: Callable[..., Any], tmp_path: Path) -> None:
    """Two chips by number: each on every price, each with its interval, and a page."""
    page = tmp_path / "plan.html"
    chips = ("--chip", "h100_sxm", "--chip", "trn2", "--chips", 16, "--global-batch", 64)
    found = answered(here, "plan", "--model", "llama3.1-8b", *chips, "--html", page)
    assert [fleet["chip"] for fleet in found["fleets"]] == ["h100_sxm", "trn2"]
    assert found["price_kind"] == "capacity block"
    for fleet in found["fleets"]:
        assert len(fleet["cost"]) >= 2
        low, high = fleet["usd_per_million_tokens_interval"]
        assert low < fleet["usd_per_million_tokens"] < high
        assert fleet["rests_on"].startswith("calibration of")
    assert "h100_sxm and trn2" in page.read_text()
