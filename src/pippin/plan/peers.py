"""What another planner's search found for the same job, to be shown beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from pippin.plan.layout import Layouts, single


@dataclass(frozen=True)
class PeerFinding:
    """The best layout of another search and the step that it predicts, with where the figures are from."""

    planner: str
    model: str
    chip_id: str
    chips: int
    global_batch: int
    step_seconds: float
    memory_bytes: float
    layouts_per_second: float
    layout: Layouts
    source: str


# Calculon (Isaev et al., SC23) at caa4b11, run to its end on one core without overlap options: 99,148 layouts
# in 504 s of processor time. `recompute` none, no optimiser sharding, all-gather and reduce-scatter in the
# place of tensor-parallel all-reduces (sequence parallelism), attention without flash.
CALCULON = PeerFinding(
    planner="Calculon",
    model="gpt3-175b",
    chip_id="a100_80",
    chips=4096,
    global_batch=1536,
    step_seconds=5.114,
    memory_bytes=66.0 * 2**30,
    layouts_per_second=197.0,
    layout=single(
        tensor=8,
        stage=16,
        interleave=6,
        data=32,
        micro_batch=1,
        global_batch=1536,
        sequence_length=2048,
        sequence_parallel=True,
        flash=False,
    ),
    source="calculon llm-optimal-execution -m --no-tp-overlap --no-dp-overlap, "
    "github.com/calculon-ai/calculon at caa4b11, gpt3-175B on 4,096 A100 80 GB without an offload tier, "
    "batch 1,536",
)


def peer_of(model: str, chip_id: str, chips: int, global_batch: int) -> PeerFinding | None:
    """The finding for exactly this job, if there is one."""
    wanted = (CALCULON.model, CALCULON.chip_id, CALCULON.chips, CALCULON.global_batch)
    return CALCULON if (model, chip_id, chips, global_batch) == wanted else None
