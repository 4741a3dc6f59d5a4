"""What `--full` measures of the device before the training, with a time for each part."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pippin.assay.alone import Alone, time_alone, workpiece
from pippin.assay.collectives import Collective, measure_collectives
from pippin.assay.job_products import JobProduct, Shape, job_products
from pippin.assay.microbenchmarks import MatmulRate, measure_matmul
from pippin.assay.timing import Clock
from pippin.assay.transfers import Copied, Timed, measure_copies, measure_launch
from pippin.data.batches import Batch
from pippin.train.observer import Observer
from pippin.train.step import Program

_DTYPES = ("float32", "bfloat16")
_SECONDS_A_PRODUCT = 0.1
_SECONDS_OF_ROUNDS = 10.0


@dataclass(frozen=True)
class ProductRate:
    """A product of the job, one pass of it, in one number format."""

    product: JobProduct
    direction: str
    rate: MatmulRate


@dataclass(frozen=True)
class InFull:
    """All of it; copies by bytes. A text says why the device refused something."""

    products: list[ProductRate]
    alone: Alone
    copies: dict[int, Copied | str]
    collectives: list[Collective]
    launch: Timed | str


def measure_in_full(
    program: Program,
    batch: Batch,
    observer: Observer,
    *,
    fp8: Sequence[str] = (),
    seconds: float = _SECONDS_OF_ROUNDS,
    clock: Clock = time.perf_counter,
) -> InFull:
    """Measures the parts of a step alone, then products, copies, collectives and launching.

    Args:
        program: the job's compiled step.
        batch: what the step reads.
        observer: told of progress.
        fp8: formats of 8 bits to multiply in, beside float32 and bfloat16.
        seconds: for the rounds in which the parts take turns.
        clock: monotonic seconds.
    """
    observer.phase("measuring the step's parts")
    alone = time_alone(program, batch, seconds=seconds, clock=clock)
    observer.phase("measuring the job's matrix products, copies and collectives")
    return InFull(
        products=_products(program, (*_DTYPES, *fp8), observer),
        alone=alone,
        copies=measure_copies(clock=clock),
        collectives=measure_collectives(clock=clock),
        launch=measure_launch(clock=clock),
    )


def _products(program: Program, dtypes: Sequence[str], observer: Observer) -> list[ProductRate]:
    """Every pass of every product in every format; equal shapes are measured once."""
    piece = workpiece(program)
    every = job_products(piece.config, piece.batch_size, piece.sequence_length)
    shapes = list(dict.fromkeys(shape for product in every for shape in product.passes.values()))

    def tell(done: int, total: int, _: str) -> None:
        observer.progress(done, total)

    rates = measure_matmul(dtypes, shapes, seconds_each=_SECONDS_A_PRODUCT, progress=tell)
    found: dict[tuple[str, Shape], MatmulRate] = {
        (rate.dtype, (rate.m, rate.k, rate.n)): rate for rate in rates
    }
    return [
        ProductRate(product, direction, found[dtype, shape])
        for dtype in dtypes
        for product in every
        for direction, shape in product.passes.items()
    ]
