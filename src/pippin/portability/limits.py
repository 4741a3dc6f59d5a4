"""What each target cannot run, read from `limits.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from pippin.errors import PippinError
from pippin.portability.operations import Operation

TARGETS = ("cpu", "cuda", "tpu", "neuron")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Row):
    """Where a limit is stated."""

    title: str
    url: str
    as_of: str


class Allowed(_Row):
    """Where a limit does not apply. Conditions that are not given hold. `untried`: nothing shows that the
    target takes it."""

    targets: tuple[str, ...] = ()
    types: str = ""
    calls: str = ""
    files: tuple[str, ...] = ()
    untried: bool = False
    why: str = Field(min_length=1)

    def holds(self, operation: Operation, target: str) -> bool:
        """Whether this operation, lowered for this target, is meant."""
        if self.targets and target not in self.targets:
            return False
        if not re.search(self.calls, operation.called):
            return False
        if self.types and not any(re.search(self.types, kind) for kind in operation.types):
            return False
        return not self.files or (operation.place is not None and operation.place.shown in self.files)


class Limit(_Row):
    """What targets cannot run, why, and what to write instead. Conditions as `limits.toml` describes them."""

    name: str
    targets: tuple[str, ...]
    ops: tuple[str, ...] = ()
    types: str = ""
    calls: str = ""
    scope: str = ""
    min_results: int = 0
    dynamic: bool = False
    allowed: tuple[Allowed, ...] = ()
    why: str = Field(min_length=1)
    fix: str = Field(min_length=1)
    source: str

    def concerns(self, target: str) -> bool:
        return target in self.targets or "all" in self.targets

    def meets(self, operation: Operation) -> bool:
        """Whether the operation is what this limit is about."""
        if self.ops and operation.name not in self.ops:
            return False
        if len(operation.results) < self.min_results or (self.dynamic and not operation.dynamic):
            return False
        if self.types and not any(re.search(self.types, kind) for kind in operation.types):
            return False
        if self.calls and not re.search(self.calls, operation.called):
            return False
        return not self.scope or re.search(self.scope, operation.scope) is not None

    def allowance(self, operation: Operation, target: str) -> Allowed | None:
        """The exception that covers the operation, None where there is none."""
        return next((each for each in self.allowed if each.holds(operation, target)), None)


class Failure(_Row):
    """What an error says, or where it comes from, when a step cannot be traced or lowered at all."""

    name: str
    matches: str
    why: str
    fix: str
    source: str


class Unseen(_Row):
    """What lowering cannot show."""

    what: str
    source: str


class Limits(_Row):
    """The whole table."""

    sources: dict[str, Source]
    limit: tuple[Limit, ...]
    failure: tuple[Failure, ...]
    unseen: tuple[Unseen, ...]

    def of(self, target: str) -> list[Limit]:
        """The limits of a target, in the table's order."""
        return [limit for limit in self.limit if limit.concerns(target)]


@cache
def load_limits() -> Limits:
    """The table, checked."""
    text = files("pippin.portability").joinpath("limits.toml").read_text(encoding="utf-8")
    return Limits.model_validate(tomllib.loads(text))


def check_targets(names: Sequence[str]) -> tuple[str, ...]:
    """The targets by name, each once.

    Raises:
        PippinError: there are none, or one is not known.
    """
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        raise PippinError(
            f"no target named '{unknown[0]}'" if unknown else "no target is named",
            where="--targets",
            fix=f"known: {', '.join(TARGETS)}",
        )
    return tuple(dict.fromkeys(names))
