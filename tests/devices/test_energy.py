"""Which meter a machine has: RAPL from files made for the test, NVML from a library made for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pippin.devices import Meter, MeterError, NoMeter, find_meter
from pippin.devices.metering import CounterMeter, PowerMeter


@contextmanager
def running(found: Meter | NoMeter) -> Iterator[CounterMeter | PowerMeter]:
    assert isinstance(found, CounterMeter | PowerMeter), found
    try:
        yield found
    finally:
        found.close()


def reason(found: Meter | NoMeter) -> str:
    assert isinstance(found, NoMeter)
    return found.reason


# RAPL


def write_zone(root: Path, zone: str, name: str, microjoules: int, wraps_at: int = 262_143_328_850) -> Path:
    folder = root / "sys/class/powercap" / zone
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_rapl_adds_packages_and_nothing_else(tmp_path: Path) -> None:
    first = write_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = write_zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    others = [
        write_zone(tmp_path, "intel-rapl:0:0", "core", 1),
        write_zone(tmp_path, "intel-rapl:0:1", "dram", 1),
        write_zone(tmp_path, "intel-rapl:2", "psys", 1),
        write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1),
    ]
    with running(find_meter("cpu", root=tmp_path)) as meter:
        assert meter.name == "RAPL"
        assert meter.scope.startswith("2 CPU packages")
        assert meter.read_joules() == 0.0
        for other in others:
            other.write_text("900000000\n")
        first.write_text("6500000\n")
        second.write_text("7000000\n")
        assert meter.read_joules() == pytest.approx(1.5)


def test_rapl_counter_wraps(tmp_path: Path) -> None:
    energy = write_zone(tmp_path, "intel-rapl:0", "package-0", 65_532_000_000, wraps_at=65_532_610_987)
    with running(find_meter("cpu", root=tmp_path)) as meter:
        energy.write_text("1000000\n")
        assert meter.read_joules() == pytest.approx(0.610987 + 1.0)
        assert meter.scope.startswith("1 CPU package,")


def test_rapl_that_vanishes_is_a_meter_error(tmp_path: Path) -> None:
    energy = write_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    with running(find_meter("cpu", root=tmp_path)) as meter:
        energy.unlink()
        with pytest.raises(MeterError, match="RAPL: the energy meter stopped working"):
            meter.read_joules()


def test_no_rapl(tmp_path: Path) -> None:
    assert reason(find_meter("cpu", root=tmp_path)).startswith("no RAPL package counter under")
    # Containers often hide what the links of the class folder point to.
    (tmp_path / "sys/class/powercap").mkdir(parents=True)
    (tmp_path / "sys/class/powercap/intel-rapl:0").symlink_to(tmp_path / "hidden")
    assert reason(find_meter("cpu", root=tmp_path)).startswith("no RAPL package counter under")


def test_rapl_for_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energy = write_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    read_text = Path.read_text

    def guarded(path: Path, *args: Any, **more: Any) -> str:
        if path == energy:  # file modes do not stop a test that runs as root
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", guarded)
    text = reason(find_meter("cpu", root=tmp_path))
    assert text.startswith("/sys/class/powercap/intel-rapl:0/energy_uj is for root only")


def test_rapl_with_nonsense(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1).write_text("what?")
    assert reason(find_meter("cpu", root=tmp_path)).startswith("the RAPL counters cannot be read")


# NVML


class NvmlError(Exception):
    pass


class FakeNvml(ModuleType):
    """Boards as lists of readings; a missing list is a function the board does not support."""

    NVMLError = NvmlError

    def __init__(
        self,
        energies: list[list[int] | None],
        powers: list[list[int] | None] | None = None,
        names: list[str] | None = None,
        split: bool | None = None,
    ) -> None:
        super().__init__("pynvml")
        self.energies, self.powers, self.split = energies, powers or [None] * len(energies), split
        self.names = names or ["NVIDIA H200"] * len(energies)
        self.users = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.users -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.energies)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index >= len(self.energies):
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return int(uuid.removeprefix("GPU-"))

    def nvmlDeviceGetName(self, board: int) -> str:  # noqa: N802
        return self.names[board]

    def nvmlDeviceGetMigMode(self, board: int) -> tuple[int, int]:  # noqa: N802
        if self.split is None:
            raise NvmlError("Not Supported")
        return int(self.split), int(self.split)

    def nvmlDeviceGetTotalEnergyConsumption(self, board: int) -> int:  # noqa: N802
        return self._next(self.energies[board])

    def nvmlDeviceGetPowerUsage(self, board: int) -> int:  # noqa: N802
        return self._next(self.powers[board])

    @staticmethod
    def _next(readings: list[int] | None) -> int:
        if readings is None:
            raise NvmlError("Not Supported")
        return readings.pop(0) if len(readings) > 1 else readings[0]


def test_nvml_adds_boards_in_joules() -> None:
    nvml = FakeNvml([[1000, 3500], [500_000, 500_500]], split=False)
    with running(find_meter("cuda", nvml=nvml, environment={})) as meter:
        assert (meter.name, meter.scope) == ("NVML energy counter", "2 GPU boards, without the host")
        assert meter.read_joules() == pytest.approx(3.0)
    assert nvml.users == 0


@pytest.mark.parametrize(
    ("visible", "joules"),
    [("1", 20.0), ("0, 2", 401.0), ("GPU-2", 400.0), ("2,-1,0", 400.0)],
)
def test_nvml_counts_only_boards_the_process_may_see(visible: str, joules: float) -> None:
    nvml = FakeNvml([[0, 1000], [0, 20_000], [0, 400_000]])
    with running(find_meter("cuda", nvml=nvml, environment={"CUDA_VISIBLE_DEVICES": visible})) as meter:
        assert meter.read_joules() == pytest.approx(joules)


def test_boards_without_a_counter_are_sampled() -> None:
    nvml = FakeNvml([None, None], powers=[[60_000], [40_000]])
    with running(find_meter("cuda", nvml=nvml, environment={})) as meter:
        assert isinstance(meter, PowerMeter)
        assert meter.name == "NVML power"
        assert meter._read_watts() == 100.0
        assert meter.read_joules() >= 0
    assert nvml.users == 0


@pytest.mark.parametrize(
    ("nvml", "environment", "start"),
    [
        (FakeNvml([None]), {}, "NVML gives neither energy nor power: Not Supported"),
        (FakeNvml([]), {}, "NVML shows no GPU"),
        (FakeNvml([[0]]), {"CUDA_VISIBLE_DEVICES": ""}, "NVML shows no GPU"),
        (FakeNvml([[0]]), {"CUDA_VISIBLE_DEVICES": "3"}, "NVML gives neither energy nor power: Invalid"),
        (FakeNvml([[0]]), {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "NVML counts the energy of whole boards"),
        (FakeNvml([[0]], split=True), {}, "NVML counts the energy of whole boards"),
        (
            FakeNvml([[0], [0]], names=["NVIDIA H200", "NVIDIA T400"]),
            {"CUDA_VISIBLE_DEVICES": "0"},
            "unlike GPUs are picked by number",
        ),
    ],
)
def test_reasons_why_nvml_does_not_serve(nvml: FakeNvml, environment: dict[str, str], start: str) -> None:
    assert reason(find_meter("cuda", nvml=nvml, environment=environment)).startswith(start)
    assert nvml.users == 0


def test_unlike_boards_in_pci_order_are_fine() -> None:
    nvml = FakeNvml([[0, 1000], [0, 2000]], names=["NVIDIA H200", "NVIDIA T400"])
    environment = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    with running(find_meter("cuda", nvml=nvml, environment=environment)) as meter:
        assert meter.read_joules() == pytest.approx(1.0)


def test_nvml_that_fails_in_the_run_is_a_meter_error() -> None:
    nvml = FakeNvml([[0, 1]])
    with running(find_meter("cuda", nvml=nvml, environment={})) as meter:
        nvml.energies[0] = None
        with pytest.raises(MeterError, match="Not Supported"):
            meter.read_joules()


def test_absent_or_wrong_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert reason(find_meter("cuda")).startswith("nvidia-ml-py is not installed")
    monkeypatch.setitem(sys.modules, "pynvml", ModuleType("pynvml"))
    assert reason(find_meter("cuda")).startswith("the installed 'pynvml' is not NVIDIA's")

    class NoDriver(FakeNvml):
        def nvmlInit(self) -> None:  # noqa: N802
            raise NvmlError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", NoDriver([[0]]))
    assert reason(find_meter("cuda")) == "NVML does not start: NVML Shared Library Not Found"


# The others


@pytest.mark.parametrize(
    ("platform", "part"),
    [
        ("neuron", "a percentage of a maximum that AWS does not publish"),
        ("tpu", "no energy or power reading is known"),
        ("rocm", "not read by this version"),
        ("metal", "no energy meter is known for the platform 'metal'"),
    ],
)
def test_platforms_without_a_meter_say_why(platform: str, part: str) -> None:
    assert part in reason(find_meter(platform))
