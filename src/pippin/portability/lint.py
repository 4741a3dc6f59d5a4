"""Holds the operations of a lowered step against the limits of a target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pippin.portability.limits import Failure, Limits, load_limits
from pippin.portability.lowering import Module, Outcome, Refusal
from pippin.portability.operations import Operation
from pippin.portability.places import Place


@dataclass(frozen=True)
class Finding:
    """What a target cannot run, or an exception to that, and the line of our code that wrote it.

    Attributes:
        limit: its name in `limits.toml`, or `lowering` for what has no name there.
        operation: the first of its kind at that line.
        place: None where no line of ours is on record.
        count: how many operations of that kind the line makes.
        why: the limit; of an exception its reason as well.
        fix: what to write instead; None for an exception.
        source: title and address of where the limit is stated.
        untried: an exception of which nobody knows whether the target takes it.
    """

    limit: str
    operation: str
    place: Place | None
    count: int
    why: str
    fix: str | None
    source: str
    untried: bool = False

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        place = fields.pop("place")
        if self.fix is not None:  # no exception
            fields.pop("untried")
        return {
            "limit": fields.pop("limit"),
            "op": fields.pop("operation"),
            "file": place and place["file"],
            "line": place and place["line"],
            **fields,
        }


@dataclass(frozen=True)
class Lint:
    """What was found, and what is allowed by name."""

    findings: list[Finding]
    allowed: list[Finding]


def lint(outcomes: dict[str, Outcome], target: str) -> Lint:
    """Holds a form against the limits of one of its targets.

    Where it could not be lowered for that target, what another target got is read in its place: that has the
    line which the error does not name.

    Args:
        outcomes: the form lowered for each target.
        target: one of them.
    """
    own = outcomes[target]
    modules = [own] if isinstance(own, Module) else [m for m in outcomes.values() if isinstance(m, Module)]
    found = lint_operations(modules[0].operations, target) if modules else Lint([], [])
    if isinstance(own, Refusal):
        failure = _of_refusal(own)
        # A callback is named at its line already; the error it raises adds nothing.
        if failure.limit not in {finding.limit for finding in found.findings}:
            found.findings.append(failure)
    return found


def lint_operations(operations: Iterable[Operation], target: str) -> Lint:
    """Holds operations against the limits of a target; one finding a limit and line."""
    limits = load_limits()
    counts: Counter[Finding] = Counter()
    allowed: Counter[Finding] = Counter()
    named: dict[tuple[str, Place | None], str] = {}
    for operation in operations:
        for limit in limits.of(target):
            if not limit.meets(operation):
                continue
            name = named.setdefault((limit.name, operation.place), _shown(operation))
            source = _source(limits, limit.source)
            if exception := limit.allowance(operation, target):
                why, untried = f"{limit.why}. Allowed: {exception.why}", exception.untried
                allowed[Finding(limit.name, name, operation.place, 0, why, None, source, untried)] += 1
            else:
                counts[Finding(limit.name, name, operation.place, 0, limit.why, limit.fix, source)] += 1
    return Lint(_counted(counts), _counted(allowed))


def at_their_own_lines(findings: list[Finding], evaluation: Outcome, target: str) -> list[Finding]:
    """The findings, each at the line that wrote it where only a caller's is on record.

    Under differentiation JAX gives everything that a function with a derivative of its own does the line of
    the call. In an evaluation, which is not differentiated, the same operation has both lines.

    Args:
        findings: of a step.
        evaluation: the same model without a derivative, lowered for that target.
        target: where they were found.
    """
    if not isinstance(evaluation, Module):
        return findings
    limits = load_limits().of(target)
    found = [
        (limit.name, operation.frames)
        for operation in evaluation.operations
        for limit in limits
        if limit.meets(operation)
    ]

    def own_line(finding: Finding) -> Finding:
        inner = (frames[0] for name, frames in found if name == finding.limit and finding.place in frames[1:])
        return replace(finding, place=next(inner, finding.place))

    return [own_line(finding) for finding in findings]


def _counted(findings: Counter[Finding]) -> list[Finding]:
    return [replace(finding, count=count) for finding, count in findings.items()]


def _shown(operation: Operation) -> str:
    return f"{operation.name} @{operation.called}" if operation.called else operation.name


def _of_refusal(refusal: Refusal) -> Finding:
    limits = load_limits()
    known = next((each for each in limits.failure if _is_about(each, refusal)), None)
    if known is None:
        fix = "write it in operations that this target has"
        return Finding("lowering", refusal.error[:200], refusal.place, 1, "it cannot be lowered", fix, "JAX")
    source = _source(limits, known.source)
    return Finding(known.name, refusal.error[:200], refusal.place, 1, known.why, known.fix, source)


def _is_about(failure: Failure, refusal: Refusal) -> bool:
    return re.search(failure.matches, refusal.trail) is not None


def _source(limits: Limits, key: str) -> str:
    source = limits.sources[key]
    return f"{source.title}, {source.url}"
