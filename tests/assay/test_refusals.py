"""A device without memory for a measurement leaves a null with its reason, and the assay goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import pytest

from pippin.assay import assay as recipe
from pippin.assay import full_sections
from pippin.assay.findings import ONLY_FULL, Unknown
from pippin.assay.numerics import at_hand, check
from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.repeats import RepeatCheck, Repeats
from pippin.assay.refusals import attempted, refusal
from pippin.assay.training import sample_section
from pippin.cli import main

FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\ndetails"
REASON = "the device's memory does not hold it: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."


def refuses(*arguments: Any, **more: Any) -> Any:
    raise jax.errors.JaxRuntimeError(FULL)


def test_only_what_the_device_refused_is_taken_for_a_refusal() -> None:
    assert attempted(lambda: 3) == 3
    assert attempted(refuses) == REASON
    assert refusal(jax.errors.JaxRuntimeError("INTERNAL: broken\nmore")) == "INTERNAL: broken"
    with pytest.raises(ZeroDivisionError):
        attempted(lambda: 1 // 0)


def test_parts_that_do_not_run_alone_leave_a_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "measure_in_full", refuses)
    monkeypatch.setattr(recipe, "training_batches", lambda *_: SimpleNamespace(at=lambda _: None))
    in_full = recipe._in_full(*[SimpleNamespace(program=None)] * 5)  # type: ignore[arg-type]
    machine = SimpleNamespace(choices=SimpleNamespace(compute_dtype="float32"))
    found: Any = SimpleNamespace(in_full=in_full, traced=None, rates=[], machine=machine)
    unknown = Unknown()
    assert full_sections.microbenchmarks_section(found, unknown) is None
    assert full_sections.waterfall_section(found, unknown) is None
    assert unknown == {"microbenchmarks": REASON, "waterfall": ONLY_FULL}


def test_layers_and_update_that_do_not_run_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other comparisons count; the verdict is then not that all passed."""
    batches = SimpleNamespace(at=lambda _: None)
    replaced = {"operations": lambda *_, **__: [], "attention_backend": lambda _: None}
    replaced |= {"training_batches": lambda *_: batches, "PlainProgram": lambda *_: None}
    replaced |= {"compare_runs": lambda *_, **__: "runs"}
    replaced |= dict.fromkeys(("compare_update", "compare_layers"), refuses)
    for name, fake in replaced.items():
        monkeypatch.setattr(check, name, fake)
    side = SimpleNamespace(device=SimpleNamespace(platform="cpu"))
    job = SimpleNamespace(train=SimpleNamespace(z_loss=0.0), shape=SimpleNamespace(d_model=8))
    choices = SimpleNamespace(attention="", compute_dtype="float32")
    given: Any = (job, choices, None, side, side)
    found = check.check_numerics(
        *given, program=lambda *_: None, parameters={}, repeats=Repeats(1, refused="at 3: no"), seconds=1.0
    )  # type: ignore[call-overload]
    first = "the repeated computation at 3: no"
    assert found.unchecked == (first, f"the optimiser: {REASON}", f"layers: {REASON}")
    assert (found.deviations, found.layers, found.runs) == ([], [], "runs")


def test_numerics_whose_runs_do_not_fit_are_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "check_numerics", refuses)
    job = SimpleNamespace(shape="shape")
    monkeypatch.setattr(at_hand, "reduced_job", lambda *_: job)
    program = SimpleNamespace(job=job, choices=None)
    trained = SimpleNamespace(state={"parameters": {}})
    watch = SimpleNamespace(repeat_for=lambda _: None)
    observer = SimpleNamespace(phase=lambda _: None)
    given: Any = (program, trained, None, watch, observer, lambda: None)
    assert at_hand.assay_numerics(*given) == REASON


def test_a_repeat_that_is_refused_ends_the_repeats_and_not_the_training() -> None:
    check = RepeatCheck([Computer(jax.local_devices()[0])], "float32")
    check.repeat("before the training", training=False)
    check._runs[0] = refuses
    check.repeat("after step 3", training=True)
    assert check.found.refused == f"after step 3: {REASON}"
    check._runs[0] = lambda *_: pytest.fail("it is not tried again")  # type: ignore[assignment]
    check.repeat("after step 9", training=True)
    assert check.repeat_for(60.0) is check.found
    assert (check.found.count, check.found.wrong) == (1, [])


def test_a_sample_that_is_refused_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "Sampler", refuses)
    monkeypatch.setattr(recipe, "decode", lambda *_: "An apple")
    dataset = SimpleNamespace(tokenizer=lambda: None, documents=lambda _: iter([[1]]))
    trained = SimpleNamespace(state={"parameters": {}})
    observer = SimpleNamespace(phase=lambda _: None)
    given: Any = (None, trained, dataset, observer)
    unknown = Unknown()
    found: Any = SimpleNamespace(sample=attempted(lambda: recipe._sample(*given)))
    assert sample_section(found, unknown) is None and unknown == {"sample": REASON}


def test_what_the_device_refuses_of_a_verb_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "app", refuses)
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"pippin: the device refused: {REASON}\n"

    def mistaken(**_: Any) -> None:
        raise RuntimeError("of the program's own")

    monkeypatch.setattr(main, "app", mistaken)
    with pytest.raises(RuntimeError, match="own"):
        main.main()
