"""A step lowered for each target: its module's hash and operations, or why there is none.

Tracing does not know the target, so one trace serves all. Nothing is compiled, and no target need be there.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from pippin.errors import PippinError
from pippin.portability.operations import Operation, operations
from pippin.portability.places import Place, place_of_error

# Gives a `jax.stages.Traced`.
Trace = Callable[[], Any]


@dataclass(frozen=True)
class Refusal:
    """Why a step cannot be traced or lowered.

    Attributes:
        error: what was raised, with its type, in one line.
        trail: the error and the files it went through, to be searched.
        place: the line of our code at which it was raised; None where that is not on its way.
    """

    error: str
    trail: str
    place: Place | None


@dataclass(frozen=True)
class Module:
    """A step lowered for one target. `sha256` is of the module's text without source locations."""

    sha256: str
    operations: tuple[Operation, ...]


Outcome = Module | Refusal


def lower_each(trace: Trace, targets: Iterable[str], prng: str) -> dict[str, Outcome]:
    """Traces a step once and lowers it for every target.

    Args:
        trace: traces the step.
        targets: platforms by JAX's names, present or not.
        prng: the generator that the chip rules choose.
    """
    with jax.default_prng_impl(prng):
        traced = _attempt(trace)
        if isinstance(traced, Refusal):
            return dict.fromkeys(targets, traced)
        known: dict[str, Module] = {}
        return {target: _attempt(partial(_lower, traced, target, known)) for target in targets}


def _lower(traced: Any, target: str, known: dict[str, Module]) -> Module:
    """The module for a target; of one trace, what has the same text has the same lines too."""
    module = traced.lower(lowering_platforms=(target,)).compiler_ir("stablehlo")
    sha256 = module_sha256(module)
    if sha256 not in known:
        known[sha256] = Module(sha256, tuple(operations(module)))
    return known[sha256]


def module_sha256(module: Any) -> str:
    """SHA-256 of an MLIR module's text, locations left out."""
    return hashlib.sha256(module.operation.get_asm(enable_debug_info=False).encode()).hexdigest()


def _attempt(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except PippinError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a step raises is what is looked for
        said = " ".join(str(error).split())
        went = [line.filename for line in traceback.extract_tb(error.__traceback__)]
        named = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return Refusal(named, "\n".join([named, *went]), place_of_error(error))
