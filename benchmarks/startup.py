"""Wall time of `pippin --help` against `python -c pass`, whole processes taken in turn.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys

from _table import alternate, machine, ratio_line


def main() -> None:
    print(machine())
    ours = [sys.executable, "-c", "from pippin.cli.main import main; main()", "--help"]
    other = [sys.executable, "-c", "pass"]
    times = alternate(
        lambda: subprocess.run(ours, stdout=subprocess.DEVNULL, check=True),
        lambda: subprocess.run(other, stdout=subprocess.DEVNULL, check=True),
        repeats=9,
    )
    print(ratio_line("pippin --help against an empty Python program", *times))


if __name__ == "__main__":
    main()
