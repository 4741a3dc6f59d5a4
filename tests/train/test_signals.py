"""The request to stop, in this process. Real commands get real signals in tests/cli/test_signals.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from pippin.train.signals import Interrupted, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert stop.requested == 0
        os.kill(os.getpid(), number)
        assert stop.requested == number
    assert Interrupted(number, "stopped").exit_status == 128 + number


def test_what_was_there_before_is_there_again() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with StopRequest():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before[1])
    assert signal.getsignal(signal.SIGINT) == before[0]


def test_one_signal_each_in_two_requests_are_not_two() -> None:
    for _ in range(2):
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested == signal.SIGINT


def test_outside_of_the_main_thread_it_does_nothing() -> None:
    before, requests = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopRequest() as stop:
            requests.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requests == [0]
    assert signal.getsignal(signal.SIGINT) == before


NATIVE = """
import hashlib
from pippin.train.signals import StopRequest
with StopRequest() as stop:
    print("busy", flush=True)
    # One call into C: no Python signal handler runs before it returns, which takes a day.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1, 2**20)
"""


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_the_second_leaves_at_once_though_the_main_thread_is_in_native_code(first: str, second: str) -> None:
    with subprocess.Popen([sys.executable, "-c", NATIVE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"busy\n"
        process.send_signal(getattr(signal, first))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.7)  # the first alone does not end it
        process.send_signal(getattr(signal, second))
        assert process.wait(timeout=60) == 128 + getattr(signal, second)
