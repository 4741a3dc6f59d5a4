"""Finds the chip at hand and the meter of its energy, and sets the process up for it.

JAX is imported only inside functions.
"""

from pippin.devices.allocator import give_back_freed_memory, keep_freed_memory, reserve_large_pages
from pippin.devices.compiler import Option, compile_program, compiler_options, use_compiler_options
from pippin.devices.detect import Chip, detect
from pippin.devices.energy import NoMeter, find_meter
from pippin.devices.memory import peak_memory_bytes
from pippin.devices.metering import Meter, MeterError
from pippin.devices.trace import EnergyTrace

__all__ = [
    "Chip",
    "EnergyTrace",
    "Meter",
    "MeterError",
    "NoMeter",
    "Option",
    "compile_program",
    "compiler_options",
    "detect",
    "find_meter",
    "give_back_freed_memory",
    "keep_freed_memory",
    "peak_memory_bytes",
    "reserve_large_pages",
    "use_compiler_options",
]
