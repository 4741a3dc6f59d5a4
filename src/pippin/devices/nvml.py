"""The energy of NVIDIA GPUs, through NVIDIA's management library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from pippin.devices.metering import Counter, CounterMeter, Meter, PowerMeter

_WHOLE_BOARDS = "NVML counts the energy of whole boards, and this process has a part of one (MIG)"


class NvmlUnusableError(Exception):
    """NVML cannot give the energy of this process's GPUs; the message is the reason."""


def import_nvml() -> ModuleType:
    """NVIDIA's `pynvml`, which is optional.

    Raises:
        NvmlUnusableError: it is not installed.
    """
    try:
        import pynvml
    except ImportError as error:
        raise NvmlUnusableError("nvidia-ml-py is not installed: pip install 'pippin[nvidia]'") from error
    module: ModuleType = pynvml
    return module


def _selection(environment: Mapping[str, str]) -> list[str] | None:
    """Entries of CUDA_VISIBLE_DEVICES up to the first that ends it; None is all devices."""
    text = environment.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    entries = []
    for entry in (part.strip() for part in text.split(",")):
        if not entry or entry.startswith("-"):  # CUDA ignores what follows an invalid entry
            break
        entries.append(entry)
    return entries


def _boards(nvml: ModuleType, environment: Mapping[str, str]) -> list[Any]:
    """Handles of the boards that the process may see."""
    count = nvml.nvmlDeviceGetCount()
    selection = _selection(environment)
    if selection is None:
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    if any(entry.startswith("MIG-") for entry in selection):
        raise NvmlUnusableError(_WHOLE_BOARDS)
    if any(entry.isdigit() for entry in selection):
        _check_order(nvml, environment, count)
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(entry))
        if entry.isdigit()
        else nvml.nvmlDeviceGetHandleByUUID(entry)
        for entry in selection
    ]


def _check_order(nvml: ModuleType, environment: Mapping[str, str], count: int) -> None:
    """NVML numbers boards by PCI address; CUDA puts the fastest first, which matters among unlike boards."""
    if environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return
    names = {nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)}
    if len(names) > 1:
        raise NvmlUnusableError(
            "unlike GPUs are picked by number: set CUDA_DEVICE_ORDER=PCI_BUS_ID to say which"
        )


def _is_split(nvml: ModuleType, board: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(board)
    except nvml.NVMLError:  # boards that cannot be split do not answer
        return False
    return bool(current)


def _reading(nvml: ModuleType, function: str, board: Any) -> Callable[[], int]:
    """A call of NVML whose errors are ordinary runtime errors."""
    call = getattr(nvml, function)

    def read() -> int:
        try:
            return int(call(board))
        except nvml.NVMLError as error:
            raise RuntimeError(str(error)) from error

    return read


def _meter(nvml: ModuleType, boards: Sequence[Any]) -> Meter:
    """The boards' energy counters, or their power where they have none.

    Raises:
        RuntimeError: they give neither; both meters take a first reading at once.
    """
    scope = f"{len(boards)} GPU board{'s' if len(boards) > 1 else ''}, without the host"
    try:
        counters = [
            Counter(f"GPU {index}", _reading(nvml, "nvmlDeviceGetTotalEnergyConsumption", board), 1e-3)
            for index, board in enumerate(boards)
        ]
        return CounterMeter("NVML energy counter", scope, counters, on_close=nvml.nvmlShutdown)
    except RuntimeError:
        milliwatts = [_reading(nvml, "nvmlDeviceGetPowerUsage", board) for board in boards]
        return PowerMeter(
            "NVML power",
            scope,
            lambda: sum(read() for read in milliwatts) / 1000,
            on_close=nvml.nvmlShutdown,
        )


def open_nvml(nvml: ModuleType, environment: Mapping[str, str]) -> Meter:
    """A meter over all boards this process may see.

    Boards since Volta count their energy in mJ; for others the power is sampled and integrated.

    Args:
        nvml: the `pynvml` module.
        environment: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are read.

    Raises:
        NvmlUnusableError: the library or the driver is absent or too old, or the boards cannot be told apart.
    """
    try:
        nvml.nvmlInit()
    except AttributeError as error:
        raise NvmlUnusableError("the installed 'pynvml' is not NVIDIA's: pip install nvidia-ml-py") from error
    except nvml.NVMLError as error:
        raise NvmlUnusableError(f"NVML does not start: {error}") from error
    try:
        boards = _boards(nvml, environment)
        if not boards:
            raise NvmlUnusableError("NVML shows no GPU to this process")
        if any(_is_split(nvml, board) for board in boards):
            raise NvmlUnusableError(_WHOLE_BOARDS)
        return _meter(nvml, boards)
    except NvmlUnusableError:
        nvml.nvmlShutdown()
        raise
    except (nvml.NVMLError, AttributeError, RuntimeError) as error:
        nvml.nvmlShutdown()
        raise NvmlUnusableError(f"NVML gives neither energy nor power: {error}") from error
