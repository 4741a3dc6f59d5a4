"""The microbenchmarks' part of the report: products, operations, copies, collectives, launch."""

from __future__ import annotations

from pydantic import Field

from pippin.report.quantities import Bytes, BytesPerSecond, Count, Flops, FlopsPerSecond, Seconds, Section


class JobProductRate(Section):
    """A matrix product of the job, as a plain product in one number format."""

    name: str = Field(description="The parameters that are multiplied.")
    direction: str = Field(description="Forward, or the gradient by activations or by weights.")
    dtype: str = Field(description="Number format of the operands.")
    m: Count = Field(description="Rows of the left matrix.")
    k: Count = Field(description="Columns of the left matrix, rows of the right one.")
    n: Count = Field(description="Columns of the right matrix.")
    calls: Count = Field(description="How often a micro-batch does it on one device.")
    flops_per_second: FlopsPerSecond | None = Field(description="2 m k n over the median time.")
    low: FlopsPerSecond | None = Field(description="Lower end of the median's 95 % interval.")
    high: FlopsPerSecond | None = Field(description="Upper end of the median's 95 % interval.")
    repeats: Count = Field(description="Timed repeats.")


class Operation(Section):
    """A part of the job's step as a program of its own."""

    name: str = Field(description="What it is; forward and backward, where nothing else is said.")
    calls: Count = Field(description="How often a micro-batch does it on one device.")
    flops: Flops = Field(description="Of one call; attention causal, elementwise work one for each operator.")
    bytes: Bytes = Field(description="Arrays in and out of one call, each read or written once.")
    seconds: Seconds = Field(description="Median time of one call.")
    low: Seconds | None = Field(description="Lower end of the median's 95 % interval.")
    high: Seconds | None = Field(description="Upper end of the median's 95 % interval.")
    flops_per_second: FlopsPerSecond = Field(description="FLOPs over the median time.")
    bytes_per_second: BytesPerSecond = Field(description="Bytes over the median time.")
    repeats: Count = Field(description="Rounds in which it was timed.")


class HostCopy(Section):
    """Copies of host arrays to the device."""

    bytes: Bytes = Field(description="Size of the array.")
    seconds: Seconds | None = Field(description="Median time of one of many under way together.")
    low: Seconds | None = Field(description="Lower end of the median's 95 % interval.")
    high: Seconds | None = Field(description="Upper end of the median's 95 % interval.")
    latency_seconds: Seconds | None = Field(description="Median time of one alone, until it is there.")
    bytes_per_second: BytesPerSecond | None = Field(description="Bytes over the median time.")
    repeats: Count = Field(description="Timed repeats.")


class CollectiveRate(Section):
    """A collective over some of the local devices."""

    kind: str = Field(description="all-reduce, all-gather, reduce-scatter, all-to-all, permute.")
    devices: Count = Field(description="Devices that took part.")
    bytes: Bytes = Field(description="What each device holds, of the larger side.")
    seconds: Seconds | None = Field(description="Median time of one in a program that does many.")
    low: Seconds | None = Field(description="Lower end of the median's 95 % interval.")
    high: Seconds | None = Field(description="Upper end of the median's 95 % interval.")
    latency_seconds: Seconds | None = Field(
        description="Median time of a program that does one, from its call to its result."
    )
    bytes_per_second: BytesPerSecond | None = Field(
        description="Bytes that a device must at least send, over the median time."
    )
    chained: Count = Field(description="How many the program does, one on the result of the other.")
    repeats: Count = Field(description="Timed repeats.")


class Microbenchmarks(Section):
    """What the device does with the job's parts one by one."""

    products: tuple[JobProductRate, ...] = Field(description="The job's products in each number format.")
    operations: tuple[Operation, ...] = Field(description="The parts of the step, as the step calls them.")
    copies: tuple[HostCopy, ...] = Field(description="Copies from the host to the device.")
    collectives: tuple[CollectiveRate, ...] = Field(description="Collectives over the local devices.")
    launch_seconds: Seconds | None = Field(
        description="Median time from calling a tiny program to its result."
    )
    launch_low: Seconds | None = Field(description="Lower end of the median's 95 % interval.")
    launch_high: Seconds | None = Field(description="Upper end of the median's 95 % interval.")
    launch_repeats: Count = Field(description="Timed repeats.")
    method: str = Field(description="How all of it was timed.")
