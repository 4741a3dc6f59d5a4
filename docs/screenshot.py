"""Takes pictures of Pippin's pages with headless Chromium, driven over its own debugging pipe.

    python screenshot.py REPORT.html PICTURE.png [--full] [--dark] [--width 1280] [--height 1600] [--scale 2]
    python screenshot.py REPORT.html PICTURE.png --at chapter-2
    python screenshot.py REPORT.html PICTURE.png --phone
    python screenshot.py REPORT.html PRINT.pdf
    python screenshot.py FOLDER PICTURE.png [--at "?sort=tokens_per_second"]

The page is a file, or a folder of assays as `pippin report serve` shows it: then the Python that runs this
must have Pippin, otherwise it needs no package. Needs Chromium or Chrome on the path, or named by the
environment variable CHROMIUM.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """The browser's program, or None where there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Browser:
    """One page of headless Chromium. `events` collects what the page reported: requests, console, errors."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._buffer = b""
        self._last_id = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while (reply := self._receive()).get("id") != self._last_id:
            self.events.append(reply)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def open(
        self, page: Path | str, *, width: int, height: int, dark: bool = False, scale: float = 1
    ) -> None:
        """Opens a local file, or an address, and waits until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        self.wait_for("Page.loadEventFired")
        # Whatever a page starts after it is loaded would show within a moment.
        self.evaluate("new Promise(done => setTimeout(done, 300))")

    def wait_for(self, method: str) -> None:
        """Waits until the page has reported such an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, promises awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    def screenshot(self, *, full: bool = False) -> bytes:
        """The page as PNG: what the window shows, or all of it."""
        result = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        return base64.b64decode(result["data"])

    def pdf(self) -> bytes:
        """The page as it prints, on A4."""
        result = self.call("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(result["data"])

    def _receive(self, limit_seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + limit_seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read_fd], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self._read_fd, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError("the browser has ended" if ready else "the browser does not answer")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        reply: dict[str, Any] = json.loads(message)
        return reply


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts a browser with an empty profile, and ends it.

    Raises:
        RuntimeError: there is no Chromium, or it does not start.
    """
    program = find_chromium()
    if program is None:
        raise RuntimeError("no Chromium or Chrome on the path; install one, or set CHROMIUM to it")
    to_browser, from_browser = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes to 4; a shell is the portable way to set them.
    script = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["bash", "-c", script, "chromium", program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Browser(from_browser[0], to_browser[1])
        finally:
            os.close(to_browser[1])
            os.close(from_browser[0])
            process.terminate()
            process.wait(20)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder of assays, and gives the address.

    Raises:
        RuntimeError: `pippin report serve` does not start; its own words are on standard error.
    """
    command = [sys.executable, "-c", "from pippin.cli.main import main; main()", "report", "serve"]
    with subprocess.Popen(
        [*command, str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise RuntimeError("`pippin report serve` did not start")
            yield address[0]
        finally:
            process.terminate()


@contextmanager
def address_of(page: Path, place: str) -> Iterator[str]:
    """The address of a file or of a served folder, with a query or the id of an element in it."""
    with served(page) if page.is_dir() else nullcontext(page.resolve().as_uri()) as address:
        query = "" if not place or place.startswith(("?", "compare?")) else "#"
        yield f"{address}{query}{place}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="an HTML file, or a folder of assays")
    parser.add_argument(
        "picture", type=Path, help="where to write: a .png, or a .pdf for the page as printed"
    )
    parser.add_argument("--width", type=int, default=1280, help="window width in CSS pixels (default 1280)")
    parser.add_argument("--height", type=int, default=1600, help="window height in CSS pixels (default 1600)")
    parser.add_argument("--scale", type=float, default=2, help="picture pixels for one CSS pixel (default 2)")
    parser.add_argument("--phone", action="store_true", help="a window of 360 x 780")
    parser.add_argument("--dark", action="store_true", help="the dark colour scheme")
    parser.add_argument("--full", action="store_true", help="the whole page instead of the window")
    parser.add_argument("--at", default="", help="the id of the element to begin with, or the served query")
    options = parser.parse_args()
    width, height = (360, 780) if options.phone else (options.width, options.height)
    with browser() as page, address_of(options.page, options.at) as address:
        page.open(address, width=width, height=height, dark=options.dark, scale=options.scale)
        printed = options.picture.suffix == ".pdf"
        content = page.pdf() if printed else page.screenshot(full=options.full)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    options.picture.write_bytes(content)


if __name__ == "__main__":
    main()
