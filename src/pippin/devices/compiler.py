"""The options with which this process has its programs compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Option = bool | int | str

_in_use: dict[str, Option] = {}
# Programs live as long as the process: XLA's code around oneDNN aborts it where one is freed right after it
# ran, before a thread has given back what it borrowed ("available_.size() == num_created_", JAX 0.10.2).
_kept: list[Any] = []


def use_compiler_options(wanted: Mapping[str, Option]) -> tuple[str, ...]:
    """Has `compile_program` and `compiler_options` use these from now on, instead of those before.

    Args:
        wanted: values by the name of an option of XLA, without dashes.

    Returns:
        The names that this version of XLA does not know, or whose values it does not take: they are left out.
    """
    _in_use.clear()
    _in_use.update({name: value for name, value in wanted.items() if _accepted(name, value)})
    return tuple(name for name in wanted if name not in _in_use)


def compiler_options() -> dict[str, Option]:
    """The options in use, as `jax.jit` and `Lowered.compile` take them."""
    return dict(_in_use)


def compile_program(lowered: Any) -> Any:
    """`lowered.compile()` with the options in use."""
    program = lowered.compile(compiler_options=compiler_options())
    if _in_use:
        _kept.append(program)
    return program


def _accepted(name: str, value: Option) -> bool:
    import jax

    try:
        options: dict[str, Any] = {name: value}
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return False
    return True
