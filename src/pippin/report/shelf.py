"""A folder of many assays, read anew whenever it is asked: what is there now, and what cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pippin.errors import PippinError
from pippin.report.folders import find_reports
from pippin.report.page import render_page
from pippin.report.schema import Report, load_report

_Stamp = tuple[int, int, int]  # of a file: inode, bytes, nanoseconds of the last change
_PAGES_KEPT = 16


@dataclass(frozen=True)
class Entry:
    """One `report.json`: either its report, or why it cannot be used."""

    name: str
    path: Path
    report: Report | None
    problem: str = ""


class Shelf:
    """The assays of a folder. A file that has not changed is read once, and a page drawn once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[_Stamp | None, Entry]] = {}
        self._pages: dict[str, tuple[Entry, str]] = {}

    def entries(self) -> list[Entry]:
        """Everything there now, in the order of the names."""
        before, self._read = self._read, {}
        for path in find_reports(self.folder):
            stamp = _stamp(path)
            known = before.get(path)
            fresh = known is None or stamp is None or known[0] != stamp
            self._read[path] = (stamp, self._open(path)) if known is None or fresh else known
        return [entry for _, entry in self._read.values()]

    def find(self, name: str) -> Entry | None:
        """The entry of this name. No file is opened by a name that is not there already."""
        return next((entry for entry in self.entries() if entry.name == name), None)

    def page(self, entry: Entry) -> str:
        """The page of a readable entry, drawn from its `report.json` as it is now."""
        assert entry.report is not None
        kept = self._pages.pop(entry.name, None)
        page = kept[1] if kept and kept[0] is entry else render_page(entry.report)
        self._pages[entry.name] = (entry, page)
        if len(self._pages) > _PAGES_KEPT:
            del self._pages[next(iter(self._pages))]
        return page

    def _open(self, path: Path) -> Entry:
        # The folder may be an assay itself; "." would be no name for it in an address.
        name = path.parent.relative_to(self.folder).as_posix()
        name = (self.folder.resolve().name or "assay") if name == "." else name
        try:
            return Entry(name, path, load_report(path))
        except PippinError as error:
            fix = f" ({error.fix})" if error.fix else ""
            return Entry(name, path, None, " ".join(f"{error.what}{fix}".split()))


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None  # it has just gone, or may not be looked at: reading it will say so
    return status.st_ino, status.st_size, status.st_mtime_ns
