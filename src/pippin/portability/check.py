"""The check of a job: its step in both forms for every target, hashed, compared, held against the limits.

Nothing runs. What is proved is that the step lowers, that the portable form is one and the same module for
all targets, that a target's own rules change what they list and nothing else, and that no operation is among
those which a target is known not to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import jax

from pippin.errors import PippinError
from pippin.job import Job
from pippin.parallel.degrees import Degrees, describe, resolve
from pippin.portability.compare import attention_lines, difference, outside_attention
from pippin.portability.compile_ahead import compile_ahead
from pippin.portability.forms import Change, Form, applied, changes, own_form, portable_form
from pippin.portability.kernels import Kernel, wished_kernel
from pippin.portability.limits import TARGETS, check_targets, load_limits
from pippin.portability.lint import Finding, at_their_own_lines, lint
from pippin.portability.lowering import Module, Outcome, Refusal, lower_each
from pippin.portability.planned import beside_the_plan, planned_memory
from pippin.train.observer import Observer
from pippin.train.step import Choices, Program

NOT_RUN = "Nothing ran on a GPU, TPU or Trainium: the step was lowered to StableHLO for each target, no more."


# Lowers what others refuse, such as a callback, so that its line is found.
_PLAIN = "cpu"


@dataclass(frozen=True)
class Target:
    """What was found for one target.

    Attributes:
        rule: the rule of the catalog that a target of this platform gets.
        module_sha256: of the portable form; None where it cannot be lowered.
        own_rules_sha256: of the form under the target's own rules; None: see `own_rules_reason`.
        rules_changed: what those rules have otherwise.
        nothing_else_differs: the portable form with exactly these changes is the same module, whatever target
            it is lowered for; None where there is no module to compare.
        kernel: the kernel that the rules wish for.
        lint: what the target cannot run.
        allowed: exceptions to that, by name.
        planned_memory: the planner's bytes of one device under the target's own rules; None without them.
    """

    rule: str | None
    module_sha256: str | None
    own_rules_sha256: str | None
    own_rules_reason: str | None
    rules_changed: list[Change]
    nothing_else_differs: bool | None
    kernel: Kernel | None
    lint: list[dict[str, Any]]
    allowed: list[dict[str, Any]]
    planned_memory: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Check:
    """The whole answer. `compiled` is filled in where a step was compiled ahead as well, or
    `compiled_reason` where it was to be and there is none to compile."""

    job: Job
    degrees: Degrees
    portable: Choices
    targets: dict[str, Target]
    compiled: dict[str, Any] | None = field(default=None)
    compiled_reason: str | None = field(default=None)

    @property
    def identical(self) -> bool:
        """Whether the portable form is one module for all targets."""
        hashes = {target.module_sha256 for target in self.targets.values()}
        return len(hashes) == 1 and None not in hashes

    @property
    def clean(self) -> bool:
        """Whether there is nothing to report: one module, no finding, nothing that differs unlisted, and
        nothing left uncompiled that was to be."""
        found = any(each.lint or each.nothing_else_differs is False for each in self.targets.values())
        return self.identical and not found and self.compiled_reason is None

    @property
    def untried(self) -> dict[str, list[str]]:
        """By target, the limits of which operations are allowed that nobody has tried there."""
        named = {
            name: sorted({each["limit"] for each in target.allowed if each["untried"]})
            for name, target in self.targets.items()
        }
        return {name: limits for name, limits in named.items() if limits}

    def compile(self, topology: str, observer: Observer) -> None:
        """Compiles the step under a TPU's own rules for TPUs that are not there, see `compile_ahead`.

        Where it has no module for a TPU, that is the reason why nothing is compiled.

        Raises:
            PippinError: see there.
        """
        target = self.targets["tpu"]
        if target.own_rules_sha256 is None or target.planned_memory is None:
            self.compiled_reason = f"nothing to compile for {topology}: {target.own_rules_reason}"
            return
        form, count = own_form(self.job, "tpu", self.degrees.devices), self.degrees.devices
        found = compile_ahead(self.job, form.choices, topology, count, target.own_rules_sha256, observer)
        self.compiled = found | beside_the_plan(found["memory"], target.planned_memory)

    def to_json(self) -> dict[str, Any]:
        portable = {key: value for key, value in asdict(self.portable).items() if key != "attention_reason"}
        return {
            "identical": self.identical,
            "clean": self.clean,
            "untried": self.untried,
            "run_on_hardware": False,
            "not_run": NOT_RUN,
            "job_hash": self.job.hash,
            "layout": describe(self.degrees, self.job.mesh),
            "portable_form": portable,
            "targets": {name: target.to_json() for name, target in self.targets.items()},
            "compiled": self.compiled,
            "compiled_reason": self.compiled_reason,
            "unseen": [each.what for each in load_limits().unseen],
            "versions": {name: version(name) for name in ("pippin", "jax", "jaxlib")},
        }


def check(
    job: Job,
    targets: Sequence[str] = TARGETS,
    *,
    devices: Sequence[jax.Device] | None = None,
    program: type[Program] = Program,
    observer: Observer | None = None,
) -> Check:
    """Lowers a job's step for each target in both forms and looks at what comes out.

    Args:
        job: what would be trained, on which mesh.
        targets: platforms, by JAX's names.
        devices: stand-ins for the mesh's devices, of any kind: as many as it needs.
        program: makes the step.
        observer: told what is being done.

    Raises:
        PippinError: an unknown target, or a layout that cannot work.
    """
    names = check_targets(targets)
    look = _Look(job, names, list(devices or jax.devices()), program, observer or Observer())
    found = {name: look.target(name) for name in names}
    return Check(job, look.degrees, look.portable.choices, found)


class _Look:
    """One check in progress: forms that are the same are lowered once."""

    def __init__(
        self,
        job: Job,
        targets: tuple[str, ...],
        devices: list[jax.Device],
        program: type[Program],
        observer: Observer,
    ) -> None:
        self.job, self.targets, self._devices = job, targets, devices
        self._program, self._observer = program, observer
        self.degrees = resolve(job.mesh, len(devices))
        self.portable = portable_form(job, len(devices))
        self._lowered: dict[tuple[Choices, str], dict[str, Outcome]] = {}

    def target(self, name: str) -> Target:
        """Everything about one target."""
        shared = self._lint("portable", self.portable, self._portable, name)
        findings, allowed = [*shared[0], *self._unlike(name)], shared[1]
        module = self._portable[name]
        sha256 = module.sha256 if isinstance(module, Module) else None
        try:
            own = own_form(self.job, name, len(self._devices))
        except PippinError as refused:
            finding = Finding(
                "rules", "-", None, 1, str(refused), "ask for it where it is to be had", "the job"
            )
            findings.append({"form": "own rules", **finding.to_json()})
            return Target(None, sha256, None, str(refused), [], None, None, findings, allowed, None)
        return self._own(name, own, sha256, findings, allowed)

    def _own(
        self, name: str, own: Form, sha256: str | None, findings: list[Any], allowed: list[Any]
    ) -> Target:
        listed = changes(self.portable, own)
        outcome = self._lower(own, [name])[name]
        more, exceptions = self._lint("own rules", own, self._lower(own, [name]), name)
        lowered = isinstance(outcome, Module)
        return Target(
            rule=own.rules.rule_name,
            module_sha256=sha256,
            own_rules_sha256=outcome.sha256 if isinstance(outcome, Module) else None,
            own_rules_reason=outcome.error if isinstance(outcome, Refusal) else None,
            rules_changed=listed,
            nothing_else_differs=self._explained(name, outcome, listed) if lowered else None,
            kernel=wished_kernel(self.job, name, own, len(self._devices)),
            lint=findings + more,
            allowed=allowed + exceptions,
            planned_memory=planned_memory(self.job, self.degrees, own.choices, name),
        )

    @cached_property
    def _portable(self) -> dict[str, Outcome]:
        return self._lower(self.portable, self.targets)

    def _lower(self, form: Form, targets: Sequence[str]) -> dict[str, Outcome]:
        key = (replace(form.choices, attention_reason=""), form.rules.prng)
        known = self._lowered.setdefault(key, {})
        missing = [target for target in targets if target not in known]
        if missing:
            self._observer.phase(f"lowering for {', '.join(missing)}: {_shown(form.choices)}")
            known |= lower_each(lambda: self._trace(form.choices), missing, form.rules.prng)
            if any(isinstance(known[target], Refusal) for target in missing) and _PLAIN not in known:
                known |= lower_each(lambda: self._trace(form.choices), [_PLAIN], form.rules.prng)
        return known

    def _evaluation(self, form: Form, name: str) -> Outcome:
        """The evaluation, which nothing differentiates, so that every operation has its own line."""
        program = self._program(self.job, form.choices, compiled=False, devices=self._devices)
        outcomes = lower_each(program.trace_score, dict.fromkeys([name, _PLAIN]), form.rules.prng)
        return next((each for each in outcomes.values() if isinstance(each, Module)), outcomes[name])

    def _trace(self, choices: Choices) -> Any:
        return self._program(self.job, choices, compiled=False, devices=self._devices).trace()

    def _lint(
        self, label: str, form: Form, outcomes: dict[str, Outcome], name: str
    ) -> tuple[list[Any], list[Any]]:
        found = lint(outcomes, name)
        findings = found.findings
        if any(isinstance(outcome, Module) for outcome in outcomes.values()) and findings:
            findings = at_their_own_lines(findings, self._evaluation(form, name), name)
        labelled = (
            [{"form": label, **each.to_json()} for each in group] for group in (findings, found.allowed)
        )
        of_limits, allowed = labelled
        return of_limits, allowed

    def _unlike(self, name: str) -> list[dict[str, Any]]:
        """Where this target's portable module begins to differ from the first one's."""
        first, module = self._portable[self.targets[0]], self._portable[name]
        if not isinstance(first, Module) or not isinstance(module, Module) or first.sha256 == module.sha256:
            return []
        where = difference(first, module)
        why = f"the portable form is another module than for {self.targets[0]}"
        fix = "write it so that it lowers alike everywhere"
        finding = Finding("one module", where.name, where.place, 1, why, fix, "the comparison of the two")
        return [{"form": "portable", **finding.to_json()}]

    def _explained(self, name: str, own: Outcome, listed: list[Change]) -> bool:
        """Whether the listed changes alone make the target's form out of the portable one.

        They are applied to the portable form, which is lowered for another target where there is one, so that
        nothing can differ unseen. A kernel lowers for its own target only: there what lies outside of
        attention is compared with the form that has the reference in the kernel's place.
        """
        assert isinstance(own, Module)
        if any(change.what == "attention" for change in listed):
            listed = [change for change in listed if change.what != "attention"]
            form = applied(self.portable, listed)
            plain, evaluation = self._lower(form, [name])[name], self._evaluation(form, name)
            if not isinstance(plain, Module) or not isinstance(evaluation, Module):
                return False
            calls = attention_lines(evaluation)
            return outside_attention(plain, calls) == outside_attention(own, calls)
        form = applied(self.portable, listed)
        # One for which it was lowered already, if there is one.
        others = sorted((t for t in self.targets if t != name), key=lambda t: t not in self._lower(form, []))
        other = others[0] if others else name
        again = self._lower(form, [other])[other]
        return isinstance(again, Module) and again.sha256 == own.sha256


def _shown(choices: Choices) -> str:
    layers = "scan" if choices.scan_layers else "unrolled"
    return f"{choices.attention}, {layers}, {choices.compute_dtype}, remat {choices.remat}"
