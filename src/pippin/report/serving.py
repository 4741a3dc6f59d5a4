"""A folder of assays as a site for this machine alone. What is asked for is looked up, not opened by name."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pippin.errors import PippinError, explained
from pippin.report import compare_page
from pippin.report.comparison import compare
from pippin.report.folders import PAGE, REPORT
from pippin.report.html import render_template
from pippin.report.index import Query, render_index
from pippin.report.shelf import Shelf
from pippin.report.sides import make_side

HOST = "127.0.0.1"
_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a request gets."""

    status: HTTPStatus
    kind: str
    body: bytes


class Site:
    """Answers requests for one folder; nothing is kept between them but what has not changed."""

    def __init__(self, folder: Path, version: str) -> None:
        self._shelf = Shelf(folder)
        self._version = version
        # Drawing changes settings of the plotting library that all threads share.
        self._lock = threading.Lock()

    def answer(self, target: str) -> Answer:
        """The answer to a GET of a path with its query.

        `/` is the table, `/assay/NAME/report.html` a page, `/assay/NAME/report.json` its report,
        `/compare?a=NAME&b=NAME` two sides; either may be named several times.
        """
        try:
            path, query = urlsplit(target).path, urlsplit(target).query
        except ValueError:  # such as a host in brackets that are not closed
            return Answer(HTTPStatus.BAD_REQUEST, _TEXT, b"not an address\n")
        with self._lock:
            if path == "/":
                return self._index(query)
            if path == "/compare":
                return self._compare(parse_qs(query, errors="surrogateescape"))
            return self._file(unquote(path, errors="surrogateescape"))

    def _index(self, query: str) -> Answer:
        page = render_index(
            self._shelf.entries(),
            Query.parse(parse_qs(query)),
            folder=_printable(str(self._shelf.folder)),
            version=self._version,
        )
        return Answer(HTTPStatus.OK, _HTML, page.encode(errors="replace"))

    def _compare(self, asked: dict[str, list[str]]) -> Answer:
        sides = []
        for label in ("A", "B"):
            entries = [self._shelf.find(name) for name in dict.fromkeys(asked.get(label.lower(), []))]
            readable = [(str(entry.path), entry.report) for entry in entries if entry and entry.report]
            if not entries or len(readable) < len(entries):
                why = "is not there, or cannot be read" if entries else "has no assay: mark one"
                return self._refused("Nothing to compare", [f"{label} {why}"])
            paths, reports = zip(*readable, strict=True)
            try:
                sides.append(make_side(label, paths, reports))
            except PippinError as error:
                return self._refused("Nothing to compare", [_printable(str(error))])
        found = compare(*sides)
        if not found.comparable:
            return self._refused("Not comparable", found.reasons)
        return Answer(HTTPStatus.OK, _HTML, compare_page.render_page(found, *sides).encode(errors="replace"))

    def _refused(self, title: str, reasons: Sequence[str]) -> Answer:
        page = render_template(
            "pippin.report",
            "refused.html.j2",
            version=self._version,
            command=f"pippin report serve {_printable(str(self._shelf.folder))}",
            title=title,
            reasons=reasons,
        )
        return Answer(HTTPStatus.OK, _HTML, page.encode(errors="replace"))

    def _file(self, path: str) -> Answer:
        name, _, file = path.removeprefix("/assay/").rpartition("/")
        entry = self._shelf.find(name) if path.startswith("/assay/") and file in (PAGE, REPORT) else None
        if entry is None:
            return Answer(HTTPStatus.NOT_FOUND, _TEXT, b"nothing here: the table of all assays is at /\n")
        if entry.report is None:
            problem = _printable(f"{entry.name}: {entry.problem}\n")
            return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, _TEXT, problem.encode())
        if file == REPORT:
            return Answer(HTTPStatus.OK, "application/json", entry.report.to_json().encode())
        return Answer(HTTPStatus.OK, _HTML, self._shelf.page(entry).encode())


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._send(self._answer(), with_body=True)

    def do_HEAD(self) -> None:
        self._send(self._answer(), with_body=False)

    def _answer(self) -> Answer:
        # A page elsewhere whose name is made to point at this machine must not read what is served here.
        if self.headers.get("Host") not in self.server.hosts:
            return Answer(HTTPStatus.FORBIDDEN, _TEXT, b"this address only: " + self.server.address.encode())
        return self.server.site.answer(self.path)

    def _send(self, answer: Answer, *, with_body: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: only `cli/` prints."""


class Server(ThreadingHTTPServer):
    """Serves a site to this machine alone.

    Args:
        site: what answers.
        port: 0 takes a free one.

    Raises:
        PippinError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise PippinError(
                f"port {port} cannot be had: {error.strerror}", fix="give another, or --port 0 for a free one"
            ) from error
        own = self.server_address[1]
        self.hosts = {f"{HOST}:{own}", f"localhost:{own}"}
        self.address = f"http://{HOST}:{own}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away before it has its answer is no matter."""


def open_site(folder: Path, version: str) -> Site:
    """The site of a folder.

    Raises:
        PippinError: it is no folder, or cannot be listed.
    """
    with explained(folder):
        next(folder.iterdir(), None)
    return Site(folder, version)


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()
