"""`pippin check` as it is called: virtual devices for the mesh, JSON, exit status, lines of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.cli.check import _lines as lines

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples/quickstart.toml"
MESH = ("--set", "mesh.fsdp=4", "--set", "mesh.tensor=2")
SMALL = ("train.sequence_length=64", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=1")


def test_a_sharded_job_is_one_module_for_all_targets(pippin: Any, tmp_path: Path) -> None:
    result = pippin("check", QUICKSTART, "--targets", "cpu,cuda,tpu,neuron", *MESH, "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["identical"] is True and answer["run_on_hardware"] is False
    assert {key: answer["layout"][key] for key in ("devices", "fsdp", "tensor")} == {
        "devices": 8, "fsdp": 4, "tensor": 2,
    }  # fmt: skip
    assert list(answer["targets"]) == ["cpu", "cuda", "tpu", "neuron"]
    for target in answer["targets"].values():
        assert target["lint"] == [] and target["nothing_else_differs"] is True
        assert [change["what"] for change in target["rules_changed"]]
    # No kernel is written for more than one device, and each is named with the reason.
    assert "more than one device" in answer["targets"]["tpu"]["kernel"]["not_in_step"]
    assert "cuDNN" in answer["targets"]["cuda"]["kernel"]["not_lowered"]
    # What jax.checkpoint writes into a sharded step is not known to run on Neuron, and is not passed over.
    assert answer["untried"] == {"neuron": ["reduced precision"]}
    said = "\n".join(lines(answer))
    untried = r"allowed but UNTRIED on this target, reduced precision, \d+ times: Neuron does not support"
    assert re.search(untried, said)
    assert said.count("no operation that it is known not to run") == 4
    assert "no operation that it is known not to run, reduced precision aside" in said


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, int]:
    """A copy of the package whose residual stream goes through a conditional; and the line that does it."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "src/pippin/models/decoder.py"
    lines = path.read_text().splitlines()
    place = next(
        i for i, line in enumerate(lines) if line.endswith("    return x_BSE + mixed, (kept, report)")
    )
    indent = lines[place].removesuffix(lines[place].lstrip())
    lines.insert(place, f"{indent}mixed = lax.cond(mixed[0, 0, 0] > 0, jnp.sin, jnp.cos, mixed)")
    path.write_text("\n".join(lines))
    return path, place + 1


def test_a_spoilt_copy_leaves_with_status_1_and_names_the_line(pippin: Any, spoilt: tuple[Path, int]) -> None:
    path, line = spoilt
    environment = pippin.environment | {"PYTHONPATH": str(path.parents[2])}
    more = [argument for each in SMALL for argument in ("--set", each)]
    result = pippin("check", QUICKSTART, "--targets", "neuron", *more, env=environment)
    assert result.returncode == 1, result.stderr
    assert f"conditional: stablehlo.case at {path}:{line}" in result.stdout
    assert "Nothing ran on a GPU, TPU or Trainium" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--targets", "cpu,gpu"), "no target named 'gpu' (known: cpu, cuda, tpu, neuron)"),
        (("--targets", ""), "no target is named"),
        (("--targets", "cpu", "--topology", "v5e:2x4"), "a topology is one of TPUs"),
        (("--set", "mesh.tensor=4096"), "at most 1,024 can be stood in for here"),
        (("--set", "mesh.tensr=2"), "did you mean 'tensor'"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    here: Callable[..., Any], arguments: tuple[str, ...], says: str
) -> None:
    outcome = here("check", QUICKSTART, *arguments)
    assert outcome.status == 2 and says in outcome.err and outcome.err.count("\n") == 1


def test_a_step_that_is_not_lowered_is_not_compiled_and_the_rest_is_told(
    here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pippin.portability.compile_ahead.count_devices", lambda topology, observer: 1)
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    small = [argument for each in (*SMALL, "chip.attention=cudnn") for argument in ("--set", each)]
    outcome = here("check", QUICKSTART, *small, "--targets", "tpu", "--topology", "v5e:1x1")
    assert outcome.status == 1, outcome.err
    assert "portable form (reference attention" in outcome.out
    assert "NOT compiled: nothing to compile for v5e:1x1: " in outcome.out


def test_without_libtpu_a_topology_is_refused(
    here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    outcome = here("check", QUICKSTART, "--topology", "v5e:2x4")
    assert outcome.status == 2 and "pip install 'pippin[tpu-compile]'" in outcome.err
