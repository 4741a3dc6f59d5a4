"""What differs between chips in training, picked by kind of chip from `rules.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pippin.catalog.tables import read_data


class Rules(BaseModel):
    """The choices for one kind of chip.

    `attention` is a wish: where the backend cannot do a job's arrays the trainer takes the reference and says
    why. `scan_layers` false means that the layers are unrolled; `remat_needs_scan` that they are scanned all
    the same where backward computes again, because the compiler would merge that with the first computation
    and keep everything. `compiler_options` are XLA's, by name. `default_preset` is the model that an assay
    trains when none is asked for. `fp8` are the 8-bit number formats in which an assay tries products; it
    reports those that do not run as such.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_name: str
    attention: Literal["reference", "cudnn", "splash", "nki"]
    scan_layers: bool
    remat_needs_scan: bool = False
    compute_dtype: Literal["float32", "bfloat16"]
    prng: Literal["rbg"]
    remat: Literal["none", "selective", "full"] = "none"
    default_preset: str
    fp8: tuple[str, ...] = ("float8_e4m3fn", "float8_e5m2")
    compiler_options: dict[str, bool | int | str] = {}
    why: str = Field(min_length=1)

    def scan(self, remat: str) -> bool:
        """Whether to scan the layers under this rematerialisation."""
        return self.scan_layers or (self.remat_needs_scan and remat != "none")


class _Conditions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: tuple[str, ...] = ()
    device_kind: str | None = None
    simd: tuple[str, ...] = ()
    min_cores: int = 0
    min_memory_bytes: int | None = None
    below_memory_bytes: int | None = None

    def hold(
        self, platform: str, device_kind: str, simd: Collection[str], cores: int, memory_bytes: int | None
    ) -> bool:
        if self.platform and platform not in self.platform:
            return False
        if self.device_kind is not None and not re.fullmatch(self.device_kind, device_kind):
            return False
        if cores < self.min_cores or not set(self.simd) <= set(simd):
            return False
        return self._memory_fits(memory_bytes)

    def _memory_fits(self, memory_bytes: int | None) -> bool:
        if self.min_memory_bytes is None and self.below_memory_bytes is None:
            return True
        if memory_bytes is None:
            return False
        if self.min_memory_bytes is not None and memory_bytes < self.min_memory_bytes:
            return False
        return self.below_memory_bytes is None or memory_bytes < self.below_memory_bytes


@cache
def load_rules() -> tuple[tuple[_Conditions, Rules], ...]:
    """The rules with their conditions, in the order in which they are tried."""
    table = []
    for entry in tomllib.loads(read_data("rules.toml"))["rule"]:
        conditions = {key: entry.pop(key) for key in list(entry) if key in _Conditions.model_fields}
        rule = Rules.model_validate({"rule_name": entry.pop("name"), **entry})
        table.append((_Conditions.model_validate(conditions), rule))
    return tuple(table)


def select_rules(
    platform: str,
    simd: Collection[str] = (),
    cores: int = 1,
    memory_bytes: int | None = None,
    *,
    device_kind: str = "",
) -> Rules:
    """The first rule whose conditions hold; the last one, "generic", always does.

    Args:
        platform: "cpu", "cuda", "rocm", "tpu", "neuron", or anything else.
        simd: instruction sets of a CPU, as `devices.detect` names them.
        cores: processor cores this process may use.
        memory_bytes: memory of one device; None where unknown.
        device_kind: `device.device_kind` as JAX reports it.
    """
    return next(
        rule
        for conditions, rule in load_rules()
        if conditions.hold(platform, device_kind, simd, cores, memory_bytes)
    )
