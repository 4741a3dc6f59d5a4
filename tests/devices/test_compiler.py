"""Options of the compiler: it takes all of them, or none is used."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.catalog import select_rules
from pippin.devices import Option, compile_program, compiler_options, detect, use_compiler_options
from pippin.errors import PippinError
from pippin.job import make_job
from pippin.train.setup import find_machine

JOB = {"model": {"preset": "pippin-3m"}, "train": {"steps": 1}}
WIDTH = "xla_cpu_prefer_vector_width"


@pytest.mark.parametrize(
    "wrong", [{"xla_no_such_option": True}, {WIDTH: "wide"}, {"optimization_level": "O1"}]
)
def test_where_the_compiler_does_not_take_one_none_is_used(wrong: dict[str, Option]) -> None:
    assert use_compiler_options({"xla_cpu_enable_fast_math": False} | wrong) == tuple(wrong)
    assert compiler_options() == {}


def test_what_the_environment_sets_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_enable_fast_math=false --{WIDTH}=128")
    assert use_compiler_options({WIDTH: 256}) == (WIDTH,)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert use_compiler_options({WIDTH: 256}) == ()
    assert compiler_options() == {WIDTH: 256}


def test_programs_are_compiled_with_the_options_in_use() -> None:
    ones = jnp.ones((64, 64))
    lowered = jax.jit(lambda x: jnp.tanh(x) * x + jnp.sin(x)).lower(ones)
    plain = compile_program(lowered).as_text()
    use_compiler_options({"xla_disable_hlo_passes": "fusion"})
    assert compile_program(lowered).as_text() != plain


def test_the_rules_of_this_machine_multiply_right() -> None:
    chip = detect()
    rules = select_rules(chip.platform, chip.simd, chip.cores, chip.memory_bytes)
    use_compiler_options(rules.compiler_options)
    a, b = (np.random.default_rng(seed).standard_normal((4, 65, 33), np.float32) for seed in (0, 1))
    for equation in ("bik,bjk->bij", "bki,bkj->bij", "bij,bik->bjk"):
        found = compile_program(jax.jit(lambda a, b, e=equation: jnp.einsum(e, a, b)).lower(a, b))(a, b)
        wanted = np.einsum(equation, a.astype(np.float64), b.astype(np.float64))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_a_machine_has_the_options_that_its_rules_name() -> None:
    machine = find_machine(make_job(JOB))
    assert machine.compiler_options == compiler_options()
    assert machine.compiler_options in (machine.rules.compiler_options, {})


def test_a_job_overrides_the_rules() -> None:
    wanted = {"xla_cpu_prefer_vector_width": 256}
    assert find_machine(make_job(JOB | {"chip": {"compiler_options": wanted}})).compiler_options == wanted
    assert find_machine(make_job(JOB | {"chip": {"compiler_options": {}}})).compiler_options == {}


def test_what_a_job_asks_for_in_vain_is_an_error() -> None:
    with pytest.raises(PippinError, match="'xla_no_such_option' cannot be set"):
        find_machine(make_job(JOB | {"chip": {"compiler_options": {"xla_no_such_option": 1}}}))
