"""The same computation again and again, during the training and after it: does the chip ever err?

A product of whole numbers is known exactly (see `products`), so that every result is compared with what
NumPy made of it; exponentials and sums of it are compared with the first time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pippin.assay.numerics.computer import Computer
from pippin.assay.refusals import attempted
from pippin.train.ledger import Ledger
from pippin.train.observer import Observer, RunPlan, StepReport

# Square matrices of this size: 2 GFLOP, some 20 ms on two cores.
_SIZE = 1024
_LARGEST = 127
_SECONDS_BETWEEN = 4.0
PRODUCT_FLOPS = 2.0 * _SIZE**3
# In the ledger, of those made between the steps of the training.
REPEAT_CHECK = "repeat check"


@dataclass
class Repeats:
    """How often it was repeated, on how many devices, and when it went wrong.

    `wrong` has a line for each result that was not what it should be; `refused` is why and when the devices
    did not carry it out, which ends the repeats.
    """

    devices: int
    during: int = 0
    after: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: str | None = None
    first_time: float = field(default_factory=time.time)
    last_time: float = field(default_factory=time.time)

    @property
    def count(self) -> int:
        return (self.during + self.after) * self.devices

    @property
    def rate_below(self) -> float | None:
        """What the error rate is below at 95 %: 1 - 0.05^(1/n), the rule of three; None after an error."""
        return None if self.wrong or not self.count else 1 - 0.05 ** (1 / self.count)


class RepeatCheck:
    """A fixed computation, compiled once for each device.

    Args:
        computers: the devices.
        compute_dtype: of the operands.
    """

    def __init__(self, computers: Sequence[Computer], compute_dtype: str) -> None:
        random = np.random.default_rng(0)
        a, b = random.integers(-_LARGEST, _LARGEST + 1, (2, _SIZE, _SIZE))
        self._operands = [x.astype(np.dtype(compute_dtype)) for x in (a, b)]
        self._exact = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
        self._runs = [computer.compiled(_fixed) for computer in computers]
        self._first: list[str] = []
        self.found = Repeats(len(computers))

    def repeat(self, when: str, *, training: bool) -> None:
        """Runs it once on every device and compares; not again once a device has refused it."""
        if self.found.refused:
            return
        refused = attempted(lambda: self._repeat(when))
        if refused:
            self.found.refused = f"{when}: {refused}"
            return
        self.found.during += training
        self.found.after += not training
        self.found.last_time = time.time()

    def _repeat(self, when: str) -> None:
        for device, run in enumerate(self._runs):
            whole, row = run(*self._operands)
            digest = hashlib.sha256(row.tobytes()).hexdigest()
            if len(self._first) == device:
                self._first.append(digest)
            if bad := int(np.count_nonzero(~(whole == self._exact))):
                self.found.wrong.append(f"device {device}, {when}: {bad} of {whole.size} products are wrong")
            elif digest != self._first[device]:
                self.found.wrong.append(f"device {device}, {when}: sums and exponentials are not as before")

    def repeat_for(self, seconds: float) -> Repeats:
        """Repeats after the training, for a while; gives all that was found."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not self.found.refused:
            self.repeat("after the training", training=False)
        return self.found


def _fixed(a: Array, b: Array) -> tuple[Array, Array]:
    """The product of whole numbers, and what an attention would make of its rows."""
    whole = jnp.matmul(a, b, preferred_element_type=jnp.float32)
    return whole, jax.nn.logsumexp(whole / _LARGEST**2, axis=-1)


class Repeating(Observer):
    """Passes on what it is told, and between steps repeats the fixed computation every few seconds."""

    def __init__(
        self,
        check: RepeatCheck,
        ledger: Ledger,
        other: Observer,
        *,
        every_seconds: float = _SECONDS_BETWEEN,
    ) -> None:
        self._check, self._ledger, self._other = check, ledger, other
        self._every = every_seconds
        self._last = time.perf_counter()

    def step(self, report: StepReport) -> None:
        self._other.step(report)
        if time.perf_counter() - self._last >= self._every:
            with self._ledger.span("evaluation", REPEAT_CHECK):
                self._check.repeat(f"after step {report.step}", training=True)
            self._last = time.perf_counter()

    def phase(self, what: str) -> None:
        self._other.phase(what)

    def progress(self, done: int, total: int) -> None:
        self._other.progress(done, total)

    def warn(self, message: str) -> None:
        self._other.warn(message)

    def started(self, plan: RunPlan) -> None:
        self._other.started(plan)

    def saved(self, step: int, seconds: float) -> None:
        self._other.saved(step, seconds)
