"""Fixtures that more than one part uses."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pippin.devices import use_compiler_options

# How long an example takes says something of the machine and its other work, nothing of the code.
settings.register_profile(
    "unclocked", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unclocked")


@pytest.fixture(autouse=True)
def no_compiler_options() -> Iterator[None]:
    """No test compiles with the options that an earlier one set for its process."""
    yield
    use_compiler_options({})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts empty file systems of so many bytes (rounded up to pages), unmounted when the test ends.

    Only root may mount; where that is refused the test is skipped with what the system said.
    """
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        folder = tmp_path / f"small_disk_{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(folder)]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("a small disk needs the command `mount`")
        if result.returncode:
            pytest.skip(f"a small disk needs the right to mount a tmpfs: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        # Lazy, so that a file still open in a failed test does not leave the mount behind.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Makes an import of JAX, or of what stands on it, fail as it does where it is not installed.
REFUSAL = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"jax", "jaxlib", "optax", "orbax"}:
            raise ModuleNotFoundError(f"{name} must not be needed here")

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="session")
def without_jax() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code, by default the command itself with the arguments, where JAX cannot be imported."""

    def run(
        *arguments: object, code: str = "from pippin.cli.main import main\nmain()"
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", REFUSAL + code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def screenshot() -> ModuleType:
    """docs/screenshot.py, whose browser the tests drive too."""
    spec = importlib.util.spec_from_file_location(
        "screenshot", Path(__file__).parents[1] / "docs" / "screenshot.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(screenshot: ModuleType) -> Iterator[Any]:
    """A headless browser, or a skip that says that there is none."""
    if screenshot.find_chromium() is None:
        pytest.skip("no Chromium or Chrome on the path, and the variable CHROMIUM names none")
    with screenshot.browser() as browser:
        yield browser


COMPLAINTS = (
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
    "Network.loadingFailed",
)


@dataclass(frozen=True)
class Visit:
    """A page as a browser shows it, every `details` opened."""

    browser: Any
    axe: str

    def open(self, page: Path | str, width: int = 1280, *, dark: bool = False) -> None:
        """Opens a file or an address."""
        self.browser.open(page, width=width, height=800, dark=dark)
        self.browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for, itself included; what it carries in itself is none."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]

    @property
    def complaints(self) -> list[Any]:
        """What the page wrote to the console, threw, or failed to load."""
        return [event for event in self.browser.events if event.get("method") in COMPLAINTS]

    @property
    def scroll_width(self) -> int:
        """Pixels that the page is wide; more than the window is where it runs over."""
        return int(self.browser.evaluate("document.documentElement.scrollWidth"))

    @property
    def text_outside(self) -> list[str]:
        """Text that sticks out of its drawing by more than two pixels."""
        outside: list[str] = self.browser.evaluate(
            """[...document.querySelectorAll('.drawing svg')].filter(svg => svg.getClientRects().length)
            .flatMap(svg => [...svg.querySelectorAll('text')].filter(text => {
                const own = text.getBoundingClientRect(), box = svg.getBoundingClientRect();
                return own.left < box.left - 2 || own.right > box.right + 2
                    || own.top < box.top - 2 || own.bottom > box.bottom + 2;
            }).map(text => text.textContent))"""
        )
        return outside

    def press(self, key: str) -> None:
        """A key of the keyboard, `Tab`, `Enter` or `Space`, pressed and let go."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            name = " " if key == "Space" else key
            self.browser.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=key, windowsVirtualKeyCode=code, **more
            )

    def go(self, act: Callable[[], object]) -> None:
        """Does what leads to another page, and waits until that is loaded."""
        self.browser.events.clear()
        act()
        self.browser.wait_for("Page.loadEventFired")

    def wait_for(self, file: Path, limit_seconds: float = 30) -> str:
        """The content of a file that the browser saves."""
        deadline = time.monotonic() + limit_seconds
        while not file.exists() and time.monotonic() < deadline:
            self.browser.evaluate("new Promise(done => setTimeout(done, 50))")
        return file.read_text()

    def violations(self) -> list[str]:
        """What axe-core finds against the page, of any impact, a line for each rule it breaks."""
        if not self.axe:
            pytest.skip("no axe-core: pip install --no-deps axe-playwright-python (`make test` does)")
        self.browser.evaluate(self.axe)
        found = json.loads(
            self.browser.evaluate("axe.run(document, {resultTypes: ['violations']}).then(JSON.stringify)")
        )
        assert found["testEngine"]["name"] == "axe-core" and found["passes"]
        return [
            f"{each['impact']} {each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}"
            for each in found["violations"]
        ]


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, which judges pages; empty where the package that carries it is not installed."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        return ""
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def visit(browser: Any, axe: str) -> Visit:
    """A page in the browser, with what the tests of all pages ask of it."""
    return Visit(browser, axe)
