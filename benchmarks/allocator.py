"""Training steps with and without `keep_freed_memory`, in processes of their own, taken in turn.

python benchmarks/allocator.py
"""

from __future__ import annotations

import subprocess
import sys

from _table import machine, ratio_line

PAIRS = 3
PROGRAM = """
import statistics, sys, time
if sys.argv[1] == "keep":
    from pippin.devices import keep_freed_memory
    keep_freed_memory()
from pippin.assay.workload import draft_job
from pippin.data.batches import Batches
from pippin.data.shards import build
from pippin.train.step import Choices, Program
job = draft_job("pippin-5m", "sotu", 0)
program = Program(job, Choices("float32", "reference", False))
state = program.initial_state()
table = job.train
batches = Batches(build("sotu"), sequence_length=table.sequence_length, batch_size=table.batch_size, seed=0)
times = []
for step in range(40):
    batch = batches.at(step)
    start = time.perf_counter()
    state, _ = program.step(state, batch.inputs, batch.targets, batch.segments, 1e-3)
    times.append(time.perf_counter() - start)
print(statistics.median(times[5:]))
"""


def step_seconds(mode: str) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    print(machine())
    pairs = [(step_seconds("keep"), step_seconds("leave")) for _ in range(PAIRS)]
    ours, other = ([pair[i] for pair in pairs] for i in (0, 1))
    print(ratio_line("pippin-5m step, float32", ours, other))


if __name__ == "__main__":
    main()
