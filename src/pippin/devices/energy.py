"""Finds the meter of the chip at hand, or says why there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pippin.devices.limits import read_text
from pippin.devices.metering import Counter, CounterMeter, Meter
from pippin.devices.nvml import NvmlUnusableError, import_nvml, open_nvml


@dataclass(frozen=True)
class NoMeter:
    """No energy can be read, and why."""

    reason: str


_REASONS = {
    # AWS Neuron documentation, SDK 2.30 to 2.33: neuron-monitor user guide, neuron-sysfs user guide.
    "neuron": "neuron-monitor reports no energy, and the driver gives power only as a percentage of a "
    "maximum that AWS does not publish",
    "tpu": "no energy or power reading is known for TPUs",
    "rocm": "the energy of AMD GPUs is not read by this version",
}


def find_meter(
    platform: str,
    *,
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    nvml: ModuleType | None = None,
) -> Meter | NoMeter:
    """A running meter for what JAX computes on, or the reason why there is none.

    A meter has a background thread: call its `close` in the end.

    Args:
        platform: as in `Chip.platform`.
        root: where `sys` lies.
        environment: tells which GPUs the process may see; `os.environ` if not given.
        nvml: stands in for the `pynvml` module.
    """
    if platform == "cpu":
        return _find_rapl(root)
    if platform == "cuda":
        try:
            library = import_nvml() if nvml is None else nvml
            return open_nvml(library, os.environ if environment is None else environment)
        except NvmlUnusableError as error:
            return NoMeter(str(error))
    return NoMeter(_REASONS.get(platform, f"no energy meter is known for the platform '{platform}'"))


def _rapl_zones(root: Path) -> list[Path]:
    """RAPL's package zones: not the parts of a package, not the platform, not the duplicates over MMIO.

    AMD processors show the same zones under the same names. Source: Linux, Documentation/power/powercap.
    """
    folder = root / "sys/class/powercap"
    if not folder.is_dir():
        return []
    zones = sorted(zone for zone in folder.iterdir() if re.fullmatch(r"intel-rapl:\d+", zone.name))
    return [zone for zone in zones if (read_text(zone / "name") or "").startswith("package")]


def _rapl_counter(zone: Path) -> Counter:
    wraps_at = int((zone / "max_energy_range_uj").read_text())
    path = zone / "energy_uj"
    return Counter(
        label=str(path), read=lambda: int(path.read_text()), joules_per_count=1e-6, wraps_at=wraps_at
    )


def _find_rapl(root: Path) -> Meter | NoMeter:
    """The packages' counters.

    A counter of 32 bits wraps after 65 kJ (unit 2**-16 J) or 262 kJ (2**-14 J), a minute at 1 kW; the
    meter's thread reads three times as often.
    """
    try:
        zones = _rapl_zones(root)
        if not zones:
            return NoMeter(
                "no RAPL package counter under /sys/class/powercap; virtual machines, containers and "
                "processors other than x86 have none"
            )
        packages = "1 CPU package" if len(zones) == 1 else f"{len(zones)} CPU packages"
        scope = f"{packages}, without memory modules and the rest of the machine"
        return CounterMeter("RAPL", scope, [_rapl_counter(zone) for zone in zones])
    except PermissionError as error:
        path = f"/{Path(error.filename).relative_to(root)}" if error.filename else "/sys/class/powercap"
        return NoMeter(f"{path} is for root only, as in Linux since 5.10; 'sudo chmod a+r' on it opens it")
    except (OSError, ValueError) as error:
        return NoMeter(f"the RAPL counters cannot be read: {error}")
