"""Runs in a process of its own: compiles one step for TPUs that are not there.

One JSON object comes on standard input, which the parent keeps open for as long as it lives; one leaves on
standard output. JAX itself runs on the CPU; libtpu is asked for topologies only.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from typing import Any

from pippin.errors import first_line


def main() -> None:
    """Answers the request, with `error` where libtpu refuses."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write(json.dumps(_answer(request)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # libtpu's threads have nothing more to do


def _end_with_parent() -> None:
    """Standard input ends when the parent does, also when it is killed: no compilation goes on for nobody."""
    sys.stdin.read()
    os._exit(1)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from jax.experimental import topologies

    try:
        devices: Any = topologies.get_topology_desc(request["topology"], platform="tpu").devices
    except Exception as error:  # noqa: BLE001 - whatever libtpu says is the answer
        return {"error": f"libtpu gives no topology '{request['topology']}': {first_line(error)}"}
    found: dict[str, Any] = {"devices": len(devices), "device_kind": devices[0].device_kind}
    if request["job"] is not None:
        found |= _compiled(request, devices[: request["devices"]])
    return found


def _compiled(request: dict[str, Any], devices: Any) -> dict[str, Any]:
    import jax

    from pippin.job import make_job
    from pippin.portability.collectives import collectives, summed
    from pippin.portability.lowering import module_sha256
    from pippin.train.step import Choices, Program

    # As the rules say, and as everywhere else in this part.
    jax.config.update("jax_default_prng_impl", "rbg")
    choices = Choices(**request["choices"])
    program = Program(make_job(request["job"]), choices, compiled=False, devices=devices)
    lowered = program.trace().lower(lowering_platforms=("tpu",))
    sha256 = module_sha256(lowered.compiler_ir("stablehlo"))
    try:
        compiled = lowered.compile()
    except Exception as error:  # noqa: BLE001 - whatever libtpu says is the answer
        return {"error": f"libtpu could not compile it: {' '.join(str(error).split())[:500]}"}
    found = summed(collectives(compiled.as_text(), program.degrees.sizes))
    return {
        "devices": len(devices),
        "module_sha256": sha256,
        "memory": _memory(compiled.memory_analysis()),
        "collectives": [asdict(each) for each in found],
    }


def _memory(found: Any) -> dict[str, int | None]:
    """Bytes of one device. `peak` is what is alive at once, without code; None where JAX does not say."""
    peak = getattr(found, "peak_memory_in_bytes", None)
    return {
        "peak_bytes": int(peak) if peak else None,
        "arguments_bytes": int(found.argument_size_in_bytes),
        "outputs_bytes": int(found.output_size_in_bytes),
        "aliased_bytes": int(found.alias_size_in_bytes),
        "temporaries_bytes": int(found.temp_size_in_bytes),
        "code_bytes": int(found.generated_code_size_in_bytes),
    }


if __name__ == "__main__":
    main()
