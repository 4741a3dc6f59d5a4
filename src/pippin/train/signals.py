"""Ctrl-C and SIGTERM: the first asks the run to save and leave, the second leaves at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The run was asked to stop, and has saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        self.signal_number = signal_number
        super().__init__(message)

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells report it."""
        return 128 + self.signal_number


class StopRequest:
    """While entered, `requested` holds the first signal's number, 0 before any.

    Python runs signal handlers between byte codes, so not while the compiler or a long step has the
    thread. The interpreter writes each signal's number to a socket at once, however; a thread that
    reads it counts, and ends the process at the second.
    """

    def __init__(self) -> None:
        self.requested = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals reach the main thread only; a caller in another stops us its own way
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        threading.Thread(target=self._watch, name="second signal", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._write.close()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.requested = self.requested or number

    def _watch(self) -> None:
        seen = 0
        with self._read:
            while received := self._read.recv(16):
                for number in received:
                    seen += number in _SIGNALS
                    if seen >= 2:
                        os._exit(128 + number)
