"""Both forms of a step, for every target."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array, lax

from pippin.errors import PippinError
from pippin.job import Job
from pippin.models import decoder
from pippin.portability import check as module
from pippin.portability.check import Check, check
from pippin.portability.compare import outside_attention
from pippin.portability.limits import TARGETS, load_limits
from pippin.portability.lowering import Module, lower_each
from pippin.portability.operations import Operation
from pippin.portability.places import Place
from pippin.train.observer import Observer
from pippin.train.step import Program

from spoiling import here, spoilt  # isort: skip

Make = Callable[..., Job]


@pytest.fixture(scope="module")
def checked(job: Make) -> Check:
    return check(job())


def test_the_portable_form_is_one_module(checked: Check) -> None:
    assert checked.identical and checked.clean
    assert list(checked.targets) == list(TARGETS)
    assert len({target.module_sha256 for target in checked.targets.values()}) == 1


def test_each_target_lists_what_its_rules_change(checked: Check) -> None:
    listed = {
        name: {change.what: (change.portable, change.own) for change in target.rules_changed}
        for name, target in checked.targets.items()
    }
    narrow = {"compute_dtype": ("float32", "bfloat16")}
    assert listed == {
        "cpu": {"scan_layers": (True, False)},
        "cuda": narrow,
        "tpu": narrow | {"attention": ("reference", "splash")},
        "neuron": narrow | {"scan_layers": (True, False)},
    }
    for target in checked.targets.values():
        assert target.nothing_else_differs is True
        assert target.own_rules_sha256 not in (None, target.module_sha256)
        assert all(change.why for change in target.rules_changed)


def test_kernels_that_cannot_be_lowered_are_named(checked: Check) -> None:
    kernels = {name: target.kernel for name, target in checked.targets.items()}
    assert kernels["cpu"] is None
    assert kernels["tpu"].in_step and kernels["tpu"].lowers_alone
    for name, reason in (("cuda", "cuDNN"), ("neuron", "no NKI kernel is written")):
        assert not kernels[name].in_step and not kernels[name].lowers_alone
        assert reason in kernels[name].not_lowered and kernels[name].not_in_step


def test_json_has_what_the_contract_says(checked: Check) -> None:
    answer = checked.to_json()
    assert answer["identical"] is True
    assert answer["run_on_hardware"] is False and "Nothing ran" in answer["not_run"]
    for target in answer["targets"].values():
        assert {"module_sha256", "own_rules_sha256", "rules_changed", "lint"} <= target.keys()
        assert target["planned_memory"]["total_bytes"] > 0


def threefry(x: Array) -> Array:
    return x + jax.random.normal(jax.random.key(0, impl="threefry2x32"), x.shape)  # here


def cond(x: Array) -> Array:
    return lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)  # here


def callback(x: Array) -> Array:
    jax.debug.print("{}", x)  # here
    return x


SPOILS = {"threefry": threefry, "conditional": cond, "callback": callback}


def test_an_unportable_step_is_caught_with_its_lines(job: Make) -> None:
    found = check(job(), ("tpu", "neuron"), program=spoilt(lambda x: callback(cond(threefry(x)))))
    assert not found.identical and not found.clean
    wanted = {(name, here(spoil)) for name, spoil in SPOILS.items()}
    for form in ("portable", "own rules"):
        mine = [each for each in found.targets["neuron"].lint if each["form"] == form]
        assert {(each["limit"], Place(each["file"], each["line"])) for each in mine} == wanted, form
    mine = [each for each in found.targets["tpu"].lint if each["form"] == "portable"]
    assert {each["limit"] for each in mine} == {"threefry", "callback"}  # a TPU has conditionals
    assert found.targets["tpu"].own_rules_sha256 is None


def test_a_module_that_differs_by_target_is_caught_with_its_line(job: Make) -> None:
    def spoil(x: Array) -> Array:
        return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)  # here

    found = check(job(), ("cpu", "cuda"), program=spoilt(spoil))
    assert not found.identical
    (unlike,) = (each for each in found.targets["cuda"].lint if each["limit"] == "one module")
    assert Place(unlike["file"], unlike["line"]) == here(spoil)
    assert found.targets["cuda"].nothing_else_differs is False


def test_the_line_inside_a_function_with_its_own_derivative(
    job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX gives such a function's operations the line that calls it: `gated` computes its product again."""

    def silu(x: Array) -> Array:
        return lax.cond(x[0, 0, 0] > 0, jax.nn.relu, jnp.sin, x)  # here

    monkeypatch.setattr(decoder.jax.nn, "silu", silu)
    found = check(job(), ("neuron",)).targets["neuron"].lint
    lines = {Place(each["file"], each["line"]) for each in found if each["limit"] == "conditional"}
    assert here(silu) in lines


def test_a_change_that_is_not_listed_is_noticed(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.changes
    monkeypatch.setattr(
        module, "changes", lambda *forms: [each for each in honest(*forms) if each.what != "compute_dtype"]
    )
    found = check(job(), ("cpu", "cuda"))
    differs = {name: target.nothing_else_differs for name, target in found.targets.items()}
    assert differs == {"cpu": True, "cuda": False}
    assert found.identical and not found.clean


ALONG: dict[str, Callable[[Array], Array]] = {
    "divide": lambda x: x / 3.0,
    "negate": lambda x: -x,
    "sqrt": jnp.sqrt,
    "power": lambda x: x**x,
    "select": lambda x: jnp.where(x > 0, x, 0.0),
    "convert": lambda x: x.astype(jnp.bfloat16).astype(x.dtype),
    "compare": lambda x: x > 0,
    "sort": jnp.sort,
    "concatenate": lambda x: jnp.concatenate([x, x]),
    "reverse": lambda x: x[::-1],
}


@pytest.mark.parametrize("name", ALONG)
def test_every_computation_counts(name: str) -> None:
    def lowered(function: Callable[[Array], Array]) -> Module:
        step = jax.jit(lambda x: function(x * 2.0).reshape(2, -1))
        outcome = lower_each(lambda: step.trace(jnp.ones(8)), ["tpu"], "threefry2x32")["tpu"]
        assert isinstance(outcome, Module)
        return outcome

    plain, more = (outside_attention(lowered(each), set()) for each in (lambda x: x, ALONG[name]))
    assert f"stablehlo.{name}" in {operation for operation, _, _ in more - plain}


def test_an_operation_without_a_line_counts_and_moving_does_not() -> None:
    kinds = ("tensor<8xf32>",)
    computes, moves = (
        Operation(f"stablehlo.{name}", kinds, kinds, "", "", (), "main") for name in ("negate", "reshape")
    )
    found = outside_attention(Module("", (computes, moves)), set())
    assert found == {("stablehlo.negate", kinds * 2, "None"): 1}


def test_what_comes_along_with_a_kernel_is_noticed(job: Make) -> None:
    class Other(Program):
        def _update(self, state: Any, *batch: Any) -> Any:
            new, figures = super()._update(state, *batch)
            if self.choices.attention == "splash":
                new = new | {"parameters": jax.tree.map(lambda x: -(x / 3.0), new["parameters"])}
            return new, figures

    assert check(job(), ("tpu",), program=Other).targets["tpu"].nothing_else_differs is False


@pytest.mark.parametrize("remat", ["none", "selective", "full"])
def test_a_kernel_in_layers_written_out_changes_nothing_else(job: Make, remat: str) -> None:
    """The layers then share functions of the module otherwise than with the reference."""
    unrolled = job(chip={"scan_layers": False}, mesh={"remat": remat})
    found = check(unrolled, ("tpu",)).targets["tpu"]
    assert found.kernel and found.kernel.in_step and found.nothing_else_differs is True


def test_what_the_layers_do_once_more_is_noticed(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it stands in the module already: what tells is how often it is done."""
    honest, calls = decoder.rms_norm, itertools.count()

    class Other(Program):
        def _update(self, state: Any, *batch: Any) -> Any:
            def norm(x: Array, *rest: Any) -> Array:
                twice = self.choices.attention == "splash" and next(calls) == 0
                return honest(honest(x, *rest), *rest) if twice else honest(x, *rest)

            monkeypatch.setattr(decoder, "rms_norm", norm)
            return super()._update(state, *batch)

    unrolled = job(chip={"scan_layers": False})
    assert check(unrolled, ("tpu",), program=Other).targets["tpu"].nothing_else_differs is False


def test_a_function_called_twice_counts_twice() -> None:
    def counted(times: int) -> Counter[Any]:
        shared = jax.jit(jnp.sqrt)

        def step(x: Array) -> Array:
            for _ in range(times):
                x = shared(x)  # of one line, so once in the module
            return x

        outcome = lower_each(lambda: jax.jit(step).trace(jnp.ones(8)), ["tpu"], "rbg")["tpu"]
        assert isinstance(outcome, Module)
        assert sum(each.name == "stablehlo.sqrt" for each in outcome.operations) == 1
        return outside_attention(outcome, set())

    assert [sum(counted(times).values()) for times in (1, 2, 3)] == [1, 2, 3]


def test_an_attention_that_a_target_cannot_have(job: Make) -> None:
    found = check(job(chip={"attention": "splash"}), ("cpu", "tpu"))
    assert found.identical  # the portable form has the reference
    cpu, tpu = found.targets["cpu"], found.targets["tpu"]
    assert tpu.own_rules_sha256 and tpu.kernel and tpu.kernel.in_step
    assert cpu.own_rules_sha256 is None and "kernel for TPUs" in str(cpu.own_rules_reason)
    assert [each["limit"] for each in cpu.lint] == ["rules"] and not found.clean


def test_a_step_that_cannot_be_lowered_has_no_module(job: Make) -> None:
    found = check(job(), ("neuron",), program=spoilt(lambda x: jnp.from_dlpack(x)))
    target = found.targets["neuron"]
    assert target.module_sha256 is None and target.own_rules_sha256 is None
    assert "dlpack" in str(target.own_rules_reason) and not found.identical
    assert {each["limit"] for each in target.lint} == {"dlpack"}


def test_a_step_that_cannot_be_lowered_leaves_the_answer_whole(job: Make) -> None:
    found = check(job(chip={"attention": "cudnn"}), ("tpu",))
    before = found.to_json()
    found.compile("v5e:2x4", Observer())
    reason = f"nothing to compile for v5e:2x4: {found.targets['tpu'].own_rules_reason}"
    assert found.to_json() == before | {"compiled": None, "compiled_reason": reason, "clean": False}


def test_an_unknown_target_is_refused(job: Make) -> None:
    with pytest.raises(PippinError, match="no target named 'gpu'"):
        check(job(), ("cpu", "gpu"))


def test_the_page_names_every_limit_and_field(checked: Check) -> None:
    page = (Path(__file__).parents[2] / "docs/check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (all|neuron) \|", page, re.MULTILINE)
    limits = load_limits()
    wanted = {(each.name, *each.targets) for each in limits.limit}
    assert set(rows) == wanted | {("dlpack", "all")}
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    example, answer = json.loads(block), checked.to_json()
    assert example.keys() == answer.keys()
    assert example["targets"]["tpu"].keys() == answer["targets"]["tpu"].keys()
    assert example["targets"]["tpu"]["kernel"].keys() == answer["targets"]["tpu"]["kernel"].keys()
