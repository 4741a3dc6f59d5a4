"""The two forms in which a step is lowered: the portable one, and the one that a target's own rules make."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pippin.catalog import Rules, select_rules
from pippin.job import Job
from pippin.train.setup import choose
from pippin.train.step import Choices

# No rule names it, so that the one for platforms nothing is known of applies.
PORTABLE = "portable"
_REASON = "attention_reason"


@dataclass(frozen=True)
class Form:
    """How a step is written: what the rules chose, with the job's own wishes, and the rules themselves."""

    rules: Rules
    choices: Choices


@dataclass(frozen=True)
class Change:
    """What a target's own rules have otherwise than the portable form, and why."""

    what: str
    portable: Any
    own: Any
    why: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def portable_form(job: Job, num_devices: int) -> Form:
    """One set of rules for all: those for a platform of which nothing is known; reference attention."""
    rules = select_rules(PORTABLE)
    plain = job.model_copy(update={"chip": job.chip.model_copy(update={"attention": None})})
    return Form(rules, choose(plain, rules, PORTABLE, num_devices))


def own_form(job: Job, target: str, num_devices: int) -> Form:
    """What the trainer takes on that platform, where neither device kind nor memory are known.

    Raises:
        PippinError: the job asks for an attention that cannot be had there.
    """
    rules = select_rules(target)
    return Form(rules, choose(job, rules, target, num_devices))


def changes(portable: Form, own: Form) -> list[Change]:
    """Every choice that the two forms make otherwise."""
    names = [each.name for each in fields(Choices) if each.name != _REASON]
    pairs = {name: (getattr(portable.choices, name), getattr(own.choices, name)) for name in names}
    pairs["prng"] = (portable.rules.prng, own.rules.prng)
    return [
        Change(name, before, after, own.choices.attention_reason if name == "attention" else own.rules.why)
        for name, (before, after) in pairs.items()
        if before != after
    ]


def applied(portable: Form, listed: list[Change]) -> Form:
    """The portable form with exactly the listed changes."""
    changed = {change.what: change.own for change in listed}
    prng = changed.pop("prng", portable.rules.prng)
    rules = portable.rules.model_copy(update={"prng": prng})
    return Form(rules, replace(portable.choices, **changed))
