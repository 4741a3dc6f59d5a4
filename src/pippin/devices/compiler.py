"""The options with which this process has its programs compiled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

Option = bool | int | str

_in_use: dict[str, Option] = {}
# Programs live as long as the process: XLA's code around oneDNN aborts it where one is freed right after it
# ran, before a thread has given back what it borrowed ("available_.size() == num_created_", JAX 0.10.2).
_kept: list[Any] = []


def use_compiler_options(wanted: Mapping[str, Option]) -> tuple[str, ...]:
    """From now on `compile_program` uses these, all of them or none.

    Args:
        wanted: values by the name of an option of XLA, without dashes.

    Returns:
        The names that this version of XLA does not know, or whose values it does not take, and those that the
        environment's `XLA_FLAGS` already set; if there are any, no option is in use.
    """
    _in_use.clear()
    if not _accepted(wanted):
        return tuple(name for name, value in wanted.items() if not _accepted({name: value})) or tuple(wanted)
    _in_use.update(wanted)
    return ()


def compiler_options() -> dict[str, Option]:
    """The options in use."""
    return dict(_in_use)


def compile_program(lowered: Any) -> Any:
    """`lowered.compile()` with the options in use."""
    program = lowered.compile(compiler_options=compiler_options())
    if _in_use:
        _kept.append(program)
    return program


def _accepted(wanted: Mapping[str, Option]) -> bool:
    if not wanted:
        return True
    set_already = {flag.partition("=")[0] for flag in os.environ.get("XLA_FLAGS", "").split()}
    # JAX has options of its own beside XLA's, which it checks less.
    if any(not name.startswith("xla_") or f"--{name}" in set_already for name in wanted):
        return False
    import jax

    options: dict[str, Any] = dict(wanted)
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return False
    return True
