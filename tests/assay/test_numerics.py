"""A sound chip passes; a chip whose products are wrong is caught, and what is wrong is named."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

from pippin.assay.findings import ONLY_FULL, Unknown
from pippin.assay.numerics.at_hand import reduced_job
from pippin.assay.numerics.check import Numerics, check_numerics
from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.layers import LayerDeviation, compare_layers
from pippin.assay.numerics.operation import Deviation, compare
from pippin.assay.numerics.operations import operations
from pippin.assay.numerics.plain import PlainProgram
from pippin.assay.numerics.products import WholeProduct, compare_whole
from pippin.assay.numerics.repeats import RepeatCheck, Repeating, Repeats
from pippin.assay.numerics.section import numerics_section
from pippin.assay.numerics.trajectories import (
    MARGIN,
    Equivalence,
    Pair,
    Repeated,
    Trajectories,
    compare_runs,
    equivalence,
)
from pippin.assay.numerics.update import compare_update
from pippin.assay.numerics.verdict import failures, passed, verdict
from pippin.assay.workload import draft_job
from pippin.data.dataset import Dataset
from pippin.devices import use_compiler_options
from pippin.job import Job, make_job
from pippin.models.attention import reference_attention
from pippin.models.parameters import initial_parameters
from pippin.report.numerics import Numerics as NumericsSection
from pippin.train.ledger import Ledger, read_ledger
from pippin.train.observer import RecordingObserver, StepReport
from pippin.train.setup import find_machine, open_data, training_batches
from pippin.train.step import Choices, Program

FFN = 48
TOLD = "matrix product of the feed-forward gate"


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


faults = _module("broken")


@dataclass(frozen=True, eq=False)
class Bench:
    job: Job
    choices: Choices
    dataset: Dataset
    sound: Computer

    def broken(self, **fakes: Any) -> Computer:
        return Computer(self.sound.device, faults.broken(**fakes))

    def operation(self, name: str, dtype: str = "bfloat16") -> Any:
        return next(each for each in self.operations(dtype) if each.name == name)

    @cache  # noqa: B019 - one bench lives as long as the module
    def operations(self, dtype: str = "bfloat16") -> Any:
        return operations(
            self.job.shape,
            initial_parameters(self.job.shape, 0),
            training_batches(self.job, self.dataset).at(0),
            attention=reference_attention,
            compute_dtype=dtype,
            z_loss=0.01,
        )


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler() -> Iterator[None]:
    """Programs this small are compiled longer than they run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("numerics")
    (folder / "text").mkdir()
    generator = random.Random(3)
    for number in range(12):
        words = [generator.choice(["apple", "pear", "plum", "seed", "tree", "rain"]) for _ in range(200)]
        (folder / "text" / f"{number}.txt").write_text(" ".join(words))
    model = {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "ffn_dim": FFN}
    job = make_job(
        {
            "model": model,
            "data": {"corpus": str(folder / "text"), "vocab_size": 300, "validation_fraction": 0.2},
            "train": {"steps": 4, "batch_size": 2, "sequence_length": 32, "z_loss": 0.01},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPPIN_CACHE_DIR", str(folder / "cache"))
        dataset = open_data(job, RecordingObserver())
    choices = replace(find_machine(job).choices, compute_dtype="bfloat16", scan_layers=True)
    use_compiler_options({})  # alike for all tests of the module
    return Bench(job, choices, dataset, Computer(jax.devices("cpu")[0]))


@pytest.mark.parametrize(("dtype", "every"), [("float32", 2), ("bfloat16", 1)])
def test_a_sound_chip_does_operations_within_half_their_tolerance(
    bench: Bench, dtype: str, every: int
) -> None:
    for operation in bench.operations(dtype)[::every]:
        run = operation.on(bench.sound)
        for row in compare(operation, run, dtype):
            assert row.error <= row.tolerance / 2 and row.worst <= row.worst_tolerance / 2, row
        if operation.equation:
            assert all(row.wrong == 0 and row.elements > 0 for row in compare_whole(operation, run))
    for row in compare_update(bench.job.train, 32, bench.sound):
        assert row.within, row


@pytest.mark.parametrize("fault", ["without_last_block", "one_in_ten_thousand", "narrow_sums"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_broken_product_is_caught_forward_and_backward(bench: Bench, fault: str, dtype: str) -> None:
    """In whole numbers every result is wrong; so it is in the model's own numbers, forward."""
    operation = bench.operation(TOLD, dtype)
    run = operation.on(bench.broken(dot_general=getattr(faults, fault)))
    whole = compare_whole(operation, run)
    assert [row.part for row in whole if row.wrong] == ["result", "gradient by input", "gradient by weight"]
    assert not compare(operation, run, dtype)[0].within


def test_a_sound_product_beside_a_broken_one_is_left_alone(bench: Bench) -> None:
    """The fault is in products as wide as the feed-forward part."""
    chip = bench.broken(dot_general=faults.only_of(FFN, faults.one_in_ten_thousand))
    wrong = []
    for operation in bench.operations()[9:]:
        if operation.equation and any(row.wrong for row in compare_whole(operation, operation.on(chip))):
            wrong.append(operation.name)
    assert wrong == [f"matrix product of the feed-forward {name}" for name in ("gate", "up", "down")]


@pytest.mark.parametrize(
    ("primitive", "name"),
    [
        ("exp", "attention"),
        ("rsqrt", "final norm"),
        ("logistic", "activation and feed-forward down product"),
        ("exp", "loss over the vocabulary"),
    ],
)
def test_a_rough_function_is_named(bench: Bench, primitive: str, name: str) -> None:
    """A thousandth too large in float32: the operation that uses it is off, and a product is not."""
    chip = bench.broken(**{primitive: faults.rough})
    for each in (name, TOLD):
        operation = bench.operation(each, "float32")
        rows = compare(operation, operation.on(chip), "float32")
        assert all(row.within for row in rows) == (each == TOLD), (each, rows)


@pytest.mark.slow
def test_the_first_layer_to_depart_is_named(bench: Bench) -> None:
    values = initial_parameters(bench.job.shape, 0)
    batch = training_batches(bench.job, bench.dataset).at(0)

    def layers(chip: Computer) -> Any:
        return compare_layers(bench.job, bench.choices, chip, bench.sound, values, batch)

    sound = layers(bench.sound)
    assert [row.layer for row in sound[:4]] == ["embedding", "layer 1", "layer 2", "logits"]
    assert all(0 < row.error <= row.tolerance / 2 for row in sound[1:]), sound
    fault = faults.only_of(FFN, faults.without_last_block)
    wrong = layers(bench.broken(dot_general=fault))
    assert wrong[0].within and not wrong[1].within
    found = _numerics(bench, layers=wrong)
    assert failures(found)[0].startswith("whole model, outputs: layer 1 is the first to depart")
    assert "single operations are right, the whole program is not" in verdict(found)


def _deviation(name: str, kind: str, error: float) -> Deviation:
    return Deviation(name, kind, "result", error, 1e-3, error, 1e-2)


def _numerics(bench: Bench, **found: Any) -> Numerics:
    """A sound chip's, but for what is given."""
    pairs = [Pair(seed, [3.0, 2.0], [3.0, 2.0]) for seed in range(3)]
    runs = Trajectories(2, 1, pairs, equivalence(pairs, 1), Repeated(True, 0.0, 0.0), "")
    sound: dict[str, Any] = {
        "deviations": [_deviation("attention", "attention", 1e-4)],
        "whole": [WholeProduct(TOLD, "result", 32, 100, 0, 0.0)],
        "layers": [],
        "runs": runs,
        "repeats": Repeats(1, during=2, after=3),
    }
    given = sound | found
    return Numerics(job=bench.job, choices=bench.choices, same_device=True, seconds=1.0, **given)


def test_a_layer_is_named_where_no_operation_is(bench: Bench) -> None:
    rows = [LayerDeviation(f"layer {i}", "output", 1e-4 * 10**i, 1e-3) for i in range(1, 4)]
    rows += [LayerDeviation("layer 3", "gradient by query", 2e-4, 1e-3)]
    (line,) = failures(_numerics(bench, layers=rows))
    assert line.startswith("whole model, outputs: layer 2 is the first to depart (output off by 1.0e-02")
    assert ", 2 of 3 in all; every single operation agrees" in line
    assert "single operations are right, the whole program is not" in verdict(_numerics(bench, layers=rows))


def test_the_product_is_named_before_what_it_spoils(bench: Bench) -> None:
    found = _numerics(
        bench,
        whole=[WholeProduct(TOLD, "result", 32, 20_000, 2, 64.0)],
        deviations=[_deviation("attention", "attention", 0.5), _deviation(TOLD, "matrix product", 0.5)],
    )
    assert failures(found)[0] == f"{TOLD}: whole numbers come out wrong (result: 2 of 20,000)"
    assert failures(found)[1].startswith("attention: result off by 5.0e-01 of its norm")
    assert verdict(found) == (
        f"The chip does not compute what it should: matrix products are wrong, first the {TOLD}."
    )
    assert passed(found) is False
    alone = _numerics(bench, deviations=[_deviation("attention", "attention", 0.5)])
    assert "attention is wrong, products are right" in verdict(alone)


def test_the_section_says_what_it_knows(bench: Bench) -> None:
    unknown = Unknown()
    section = numerics_section(_numerics(bench), unknown)
    assert NumericsSection.model_validate(section).passed is True and not unknown
    runs = Trajectories(2, 1, [], None, Repeated(True, 0.0, 0.0), "one step takes 9 s")
    repeats = Repeats(1, after=1, wrong=["device 0, after step 3: 4 of 9 products are wrong"])
    section = numerics_section(_numerics(bench, runs=runs, repeats=repeats), unknown)
    told = NumericsSection.model_validate(section)
    assert told.passed is False and told.failures == tuple(repeats.wrong)
    assert unknown["numerics.equivalence.mean"] == "one step takes 9 s"
    assert unknown["numerics.repeats.error_rate_below"] == "a repeat went wrong"
    part = numerics_section(_numerics(bench, unchecked=("attention does not run by itself",)), unknown)
    assert part is not None and part["passed"] is None and "does not run" in part["verdict"]
    unsure = numerics_section(_numerics(bench, runs=runs), unknown)
    assert unsure is not None and unsure["passed"] is None and "numerics.passed" in unknown
    assert numerics_section(None, unknown) is None and unknown["numerics"] == ONLY_FULL
    assert numerics_section("no CPU", unknown) is None and unknown["numerics"] == "no CPU"


@pytest.mark.parametrize(
    ("shift", "spread", "expected"),
    [
        (0.0, 1e-3, "equivalent"),
        (0.008, 1e-3, "equivalent"),
        (0.05, 1e-3, "different"),
        (-0.05, 1e-3, "different"),
        (0.009, 5e-3, "cannot tell"),
        (0.0, 0.1, "cannot tell"),
    ],
)
def test_equivalence_is_proved_and_not_assumed(shift: float, spread: float, expected: str) -> None:
    """The interval is that of Student's t, with which `scipy` agrees."""
    differences = [shift + spread * each for each in (-1.1, -0.4, 0.0, 0.5, 1.0)]
    pairs = [Pair(i, [9.0, 3.0 + each], [1.0, 3.0]) for i, each in enumerate(differences)]
    found = equivalence(pairs, 1)
    low, high = stats.t.interval(0.9, 4, np.mean(differences), stats.sem(differences))
    assert found.verdict == expected
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


class Scripted:
    """A trainer whose losses are a function of step and seed; the k-th run may differ from the first."""

    def __init__(self, shift: float = 0.0, drift: float = 0.0) -> None:
        self.shift, self.drift, self.runs = shift, drift, 0

    def initial_state(self, values: Any) -> Any:
        self.runs += 1
        return {"parameters": {"x": np.zeros(3)}, "step": 0, "seed": float(values["final_norm"][0])}

    def step(self, state: Any, inputs: Any, targets: Any, segments: Any, rate: float) -> Any:
        loss = 5 / (1 + state["step"]) + self.shift + self.drift * self.runs

        @dataclass(frozen=True)
        class Result:
            loss: float

        return state | {"step": state["step"] + 1}, Result(loss)


def test_runs_are_paired_and_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pippin.assay.numerics.trajectories._MOST_STEPS", 8)
    same = compare_runs(bench.job, bench.dataset, Scripted(), Scripted(), seconds=1)
    assert len(same.pairs) == 5 and same.repeated == Repeated(True, 0.0, 0.0)
    assert same.equivalence is not None and same.equivalence.verdict == "equivalent"
    other = compare_runs(bench.job, bench.dataset, Scripted(0.1), Scripted(), seconds=1)
    assert other.equivalence == Equivalence(
        pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1), "different"
    )
    unsteady = compare_runs(bench.job, bench.dataset, Scripted(drift=2 * MARGIN), Scripted(), seconds=1)
    assert not unsteady.repeated.identical
    assert unsteady.repeated.loss_difference == pytest.approx(2 * MARGIN)
    assert any(line.startswith("the same run twice") for line in failures(_numerics(bench, runs=unsteady)))
    broken = compare_runs(bench.job, bench.dataset, Scripted(math.nan), Scripted(), seconds=1)
    assert broken.equivalence is not None and broken.equivalence.verdict == "different"
    late = compare_runs(bench.job, bench.dataset, Scripted(), Scripted(), seconds=0)
    assert late.equivalence is None and "too long for runs" in late.reason


def test_a_repeat_that_errs_once_is_noticed(bench: Bench, tmp_path: Path) -> None:
    check = RepeatCheck([bench.sound], "bfloat16")
    observer = RecordingObserver()
    ledger = Ledger(tmp_path / "ledger.jsonl", begin=0)
    watching = Repeating(check, ledger, observer, every_seconds=0)
    watching.step(StepReport(1, 10, 2.0, 5.0, None))
    check.repeat("after", training=False)
    assert (check.found.during, check.found.after, check.found.wrong) == (1, 1, [])
    assert check.found.rate_below == pytest.approx(1 - 0.05**0.5)
    sound, check._runs[0] = check._runs[0], lambda a, b: _flipped(sound(a, b))
    watching.step(StepReport(2, 20, 2.0, 5.0, None))
    assert check.found.wrong == ["device 0, after step 2: 1 of 1048576 products are wrong"]
    assert check.found.rate_below is None
    ledger.close()
    names = [span["name"] for span in read_ledger(tmp_path / "ledger.jsonl")]
    assert names.count("repeat check") == 2 and len(observer.steps) == 2


def _flipped(out: Any) -> Any:
    """One bit of one element."""
    whole = out[0].copy()
    whole.view(np.int32)[17, 5] ^= 1 << 20
    return whole, out[1]


def test_three_hundred_repeats_rule_out_one_in_a_hundred() -> None:
    assert Repeats(2, during=50, after=100).rate_below == pytest.approx(3 / 300, rel=0.01)
    assert Repeats(1).rate_below is None


def test_a_model_too_large_for_the_reference_is_cut_and_keeps_its_widths() -> None:
    small = draft_job("pippin-3m", "sotu", 0)
    assert reduced_job(small, 1) == small
    large = draft_job("pippin-1b", "sotu", 0)
    cut = reduced_job(large, 4)
    assert (cut.train.batch_size, cut.train.sequence_length, cut.shape.num_layers) == (4, 128, 2)
    assert (cut.shape.d_model, cut.shape.ffn_dim) == (large.shape.d_model, large.shape.ffn_dim)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, "one_in_ten_thousand", "narrow_sums"])
def test_the_whole_check(bench: Bench, fault: str | None) -> None:
    """With the chip's training program broken as well."""
    chip = bench.broken(dot_general=getattr(faults, fault)) if fault else bench.sound

    class OfChip(Program):
        def _update(self, *arguments: Any) -> Any:
            return chip.change(super()._update)(*arguments)

    found = check_numerics(
        bench.job,
        bench.choices,
        bench.dataset,
        chip,
        bench.sound,
        program=OfChip,
        repeats=Repeats(1, after=1),
        seconds=5,
    )
    assert passed(found) is not (fault is not None), (verdict(found), failures(found))
    if fault:
        assert "matrix products are wrong, first the matrix product of the query" in verdict(found)


@pytest.mark.slow
def test_the_reference_trains(bench: Bench) -> None:
    side = PlainProgram(bench.job, bench.sound.device)
    batch = training_batches(bench.job, bench.dataset).at(0)
    state = side.initial_state(initial_parameters(bench.job.shape, 0))
    tokens = (batch.inputs, batch.targets, batch.segments)
    state, first = side.step(state, *tokens, 1e-2)
    _, second = side.step(state, *tokens, 1e-2)
    assert second.loss < first.loss and first.finite


def test_devices_that_exchange_wrongly_are_told_from_devices_that_compute_wrongly() -> None:
    """On 4 virtual devices, in a process of their own: everything runs, and the one fault is named."""
    child = Path(__file__).with_name("numerics_child.py")
    done = subprocess.run([sys.executable, str(child)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    told, unknown = found["section"], found["unknown"]
    section = NumericsSection.model_validate(told)
    assert unknown == {} and section.passed is False
    beyond = {(row.layer, row.quantity) for row in section.layers if row.error > row.tolerance}
    norms = ("attention_norm", "ffn_norm")
    assert beyond == {(f"layer {i}", f"spread gradient by {norm}") for i in (1, 2) for norm in norms}
    assert sum(row.quantity.startswith("spread ") for row in section.layers) == 2 * 9 + 2
    (line,) = section.failures
    assert line.startswith("whole model, spread gradients: layer 2 is the first to depart")
    assert line.endswith("one device alone agrees, so the fault is in what devices exchange")
    assert section.equivalence.verdict == "equivalent" and section.equivalence.seeds == 5
    assert section.determinism.identical
    assert (section.repeats.devices, section.repeats.wrong) == (4, 0) and section.repeats.repeats >= 8
