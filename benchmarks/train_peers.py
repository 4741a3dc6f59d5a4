"""Training the same model through Pippin and through PyTorch, in the same run, as ratios.

python benchmarks/train_peers.py [--json] [--rounds 5] [--only "pippin float32,eager plain float32"]

Every program runs in a process of its own with all cores, from the same initial weights, on the same tokens,
with float32 master weights, AdamW on every parameter and the same clipping. They take turns: a round is some
steps of each, so that a drift of the machine hits all alike. The float32 programs must agree on the loss of
the first five steps within 1e-3, or the run fails. On a GPU (`--device cuda --shape 1.3b`) a process is
started anew for each turn, because several models do not fit the card at once. litgpt takes part
where it is installed. All programs take a quarter of an hour on two cores, `--only float32 --steps 1` and
`--only bfloat16 --steps 1` about half of it each.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _peer_setup import SHAPES, Shape
from _table import machine

HERE = Path(__file__).parent
COMPARED_STEPS, LOSS_TOLERANCE = 5, 1e-3
TORCH = [
    (mode, kind, dtype)
    for dtype in ("float32", "bfloat16")
    for mode in ("eager", "compile")
    for kind in ("transformers", "plain", *(["litgpt"] if find_spec("litgpt") else []))
]


@dataclass
class Program:
    """One worker and what it has reported. Lists hold one entry a round."""

    name: str
    dtype: str
    command: list[str]
    losses: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0
    failed: str | None = None
    process: subprocess.Popen[str] | None = None

    @property
    def label(self) -> str:
        return f"{self.name} {self.dtype}"

    def start(self) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read when the worker dies)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self._read()

    def take(self, steps: int) -> dict[str, Any]:
        """Has the worker take steps; an empty report if it died."""
        if self.failed or not self.process or not self.process.stdin:
            return {}
        with suppress(BrokenPipeError):  # it is gone: what it said last is read below
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        report = self._read()
        self.peak_memory_bytes = max(self.peak_memory_bytes, report.get("peak_memory_bytes", 0))
        return report

    def stop(self) -> None:
        if self.process:
            self.process.communicate()
        self.process = None

    def _read(self) -> dict[str, Any]:
        assert self.process and self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self.process.wait()
        self.errors.seek(0)
        lines = [text.strip() for text in self.errors.read().splitlines() if text.strip()]
        self.failed = lines[-1][:200] if lines else f"ended with status {self.process.returncode}"
        return {}


def programs(shape_name: str, device: str, only: str | None) -> list[Program]:
    """Pippin in both types, then PyTorch in every combination."""
    found = [
        Program("pippin", dtype, [sys.executable, str(HERE / "_peer_pippin.py"), dtype, shape_name, device])
        for dtype in ("float32", "bfloat16")
    ]
    script = str(HERE / "_peer_torch.py")
    for mode, kind, dtype in TORCH:
        command = [sys.executable, script, kind, mode, dtype, shape_name, device]
        found.append(Program(f"pytorch {mode} {kind}", dtype, command))
    return [
        program for program in found if not only or any(part in program.label for part in only.split(","))
    ]


def measure(found: list[Program], shape: Shape, rounds: int, steps: int, fresh: bool) -> None:
    """First the compared steps (they warm up, too), then rounds in which every program takes its turn."""
    for program in found:
        say(f"{program.label}: first {COMPARED_STEPS} steps")
        program.start()
        program.losses = program.take(COMPARED_STEPS).get("losses", [])
        if fresh or program.failed:
            program.stop()
    for number in range(rounds):
        for program in found:
            if program.failed:
                continue
            if fresh:
                program.start()
                program.take(1)
            report = program.take(steps)
            if report:
                rate = shape.tokens_per_step / statistics.median(report["seconds"])
                program.tokens_per_second.append(rate)
                program.processor_seconds.append(statistics.median(report["processor_seconds"]))
                say(f"round {number + 1} of {rounds}, {program.label}: {rate:.0f} tokens/s")
            if fresh:
                program.stop()
    for program in found:
        program.stop()


def check_losses(found: list[Program]) -> dict[str, float]:
    """The largest difference to the first program's losses, of each; float32 within the tolerance.

    Raises:
        SystemExit: a float32 program disagrees.
    """
    whole = [program for program in found if len(program.losses) == COMPARED_STEPS]
    apart = {
        program.label: max(abs(a - b) for a, b in zip(program.losses, whole[0].losses, strict=True))
        for program in whole
    }
    wrong = [p.label for p in whole if p.dtype == "float32" and not apart[p.label] <= LOSS_TOLERANCE]
    if wrong:
        raise SystemExit(f"the losses of {', '.join(wrong)} differ by more than {LOSS_TOLERANCE}: {apart}")
    return apart


def summary(found: list[Program], shape: Shape, apart: dict[str, float], device: str) -> dict[str, Any]:
    """What `--json` prints. A ratio is the median over rounds of Pippin's best to the best peer's."""
    ran = [program for program in found if program.tokens_per_second]
    return {
        "shape": asdict(shape),
        "machine": f"{machine()}, torch {version('torch')}, transformers {version('transformers')}, "
        f"{processor_name() if device == 'cpu' else device}",
        "results": [
            {
                "program": program.name,
                "dtype": program.dtype,
                "tokens_per_second": statistics.median(program.tokens_per_second),
                "tokens_per_second_range": [min(program.tokens_per_second), max(program.tokens_per_second)],
                "peak_memory_bytes": program.peak_memory_bytes,
                "processor_seconds_per_step": statistics.median(program.processor_seconds),
                "largest_loss_difference": apart.get(program.label),
            }
            for program in ran
        ],
        "not_run": {program.label: program.failed for program in found if program.failed},
        **ratio(ran, "ratio_to_best_f32", lambda program: program.dtype == "float32"),
        **ratio(ran, "ratio_to_best", lambda program: True),
    }


def ratio(ran: list[Program], name: str, counts: Any) -> dict[str, Any]:
    """Throughput to the fastest peer's (median of the rounds, and range), memory to the same peer's.

    Of a program that died the rounds before count.
    """
    ours = [p for p in ran if p.name == "pippin" and counts(p)]
    peers = [p for p in ran if p.name != "pippin" and counts(p)]
    if not ours or not peers:
        return {name: None}
    own, best = (max(group, key=lambda p: statistics.median(p.tokens_per_second)) for group in (ours, peers))
    each = sorted(a / b for a, b in zip(own.tokens_per_second, best.tokens_per_second, strict=False))
    processor = statistics.median(best.processor_seconds) / statistics.median(own.processor_seconds)
    return {
        name: statistics.median(each),
        f"{name}_range": [each[0], each[-1]],
        f"{name}_peer": best.label,
        f"{name}_in_processor_time": processor,
        f"{name}_memory": own.peak_memory_bytes / best.peak_memory_bytes,
    }


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def table(result: dict[str, Any]) -> str:
    """The results for people."""
    lines = [result["machine"], f"shape: {result['shape']}", ""]
    lines.append(f"{'program':34} {'type':9} {'tokens/s':>9} {'range':>15} {'peak MB':>8} {'loss apart':>10}")
    for row in result["results"]:
        low, high = row["tokens_per_second_range"]
        lines.append(
            f"{row['program']:34} {row['dtype']:9} {row['tokens_per_second']:9.0f} {low:7.0f}-{high:7.0f} "
            f"{row['peak_memory_bytes'] / 1e6:8.0f} {row['largest_loss_difference']:10.1e}"
        )
    lines += [f"not run: {label}: {reason}" for label, reason in result["not_run"].items()]
    for name in ("ratio_to_best_f32", "ratio_to_best"):
        if result[name] is not None:
            low, high = result[f"{name}_range"]
            lines.append(
                f"{name}: {result[name]:.2f} (from {low:.2f} to {high:.2f}) of {result[f'{name}_peer']}; "
                f"in processor time {result[f'{name}_in_processor_time']:.2f}, "
                f"memory {result[f'{name}_memory']:.2f}"
            )
    return "\n".join(lines)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", help="programs whose label has one of these parts, separated by commas")
    options = parser.parse_args()
    shape, found = SHAPES[options.shape], programs(options.shape, options.device, options.only)
    try:
        measure(found, shape, options.rounds, options.steps, fresh=options.device == "cuda")
    finally:
        for program in found:
            program.stop()
    result = summary(found, shape, check_losses(found), options.device)
    print(json.dumps(result, indent=1) if options.json else table(result))


if __name__ == "__main__":
    main()
