"""Runs every command of the README, in order, in a clean copy of the checkout with a home of its own.

    python tests/project/run_readme.py [--already-run "make test"] ...

The copy has what git tracks or would track, so that a file somebody forgot to add is missed here and not by
the first reader. A command that fails ends it; `--already-run` names a command that whoever calls has run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a new user's shell does not have. PATH and pip's own settings stay.
_NOT_INHERITED = re.compile(
    r"XDG_.*|PIPPIN_.*|VIRTUAL_ENV|PYTHON(PATH|HOME)|MAKE(FLAGS|LEVEL|OVERRIDES)|MFLAGS"
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELLS = {"bash", "sh", "shell", "console", "zsh"}
# The README's table of files has them in the first column; an assay's folder must hold all.
_FILES = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)
ASSAY_FOLDER = "assays/first"


@dataclass(frozen=True)
class Block:
    """The commands of one fenced block, and the line of the README on which they begin."""

    line: int
    commands: str


def blocks(text: str) -> list[Block]:
    """The shell blocks of a Markdown text.

    Raises:
        ValueError: a block is marked as a shell's in another way than ```bash, and would not be run.
    """
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        if match[1] in _SHELLS - {"bash"}:
            raise ValueError(f"line {line}: mark commands with ```bash, not ```{match[1]}")
        if match[1] == "bash":
            found.append(Block(line, match[2]))
    return found


def script(found: Collection[Block], already_run: Collection[str] = ()) -> str:
    """One Bash script for all blocks, so that a later one has the folder and variables of an earlier one.

    Raises:
        ValueError: a command said to have run is not in the README.
    """
    lines, left = ["set -euo pipefail"], set(already_run)
    for block in found:
        heading = f"\n== README.md, line {block.line} (after %d s)\n%s\n"
        lines.append(f"printf {shlex.quote(heading)} $SECONDS {shlex.quote(block.commands)} >&2")
        for line in block.commands.splitlines():
            command = re.sub(r"\s+#.*", "", line).strip()
            left.discard(command)
            lines.append(f"echo '(ran before: {command})' >&2" if command in already_run else line)
    if left:
        raise ValueError(f"not a command of the README: {', '.join(sorted(left))}")
    return "\n".join(lines) + "\n"


def named_files(text: str) -> list[str]:
    """The files that the README's table says a folder holds."""
    _, _, table = text.partition("## What is in a folder")
    section, _, _ = table.partition("\n## ")
    return [name for cell in _FILES.findall(section) for name in re.findall(r"`([^`]+)`", cell)]


def copy_checkout(target: Path, root: Path = ROOT) -> None:
    """Copies what git tracks, and what it neither tracks nor ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def fresh_environment(home: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of somebody who has just come: a home of their own, and no settings for us."""
    kept = {name: value for name, value in inherited.items() if not _NOT_INHERITED.fullmatch(name)}
    return {**kept, "HOME": str(home)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--already-run", action="append", default=[], metavar="COMMAND")
    options = parser.parse_args()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = script(blocks(readme), options.already_run)
    with tempfile.TemporaryDirectory(prefix="pippin-readme-") as folder:
        checkout, home = Path(folder, "pippin"), Path(folder, "home")
        home.mkdir()
        copy_checkout(checkout)
        begun = time.monotonic()
        status = subprocess.run(
            ["bash", "-c", commands],
            cwd=checkout,
            env=fresh_environment(home, os.environ),
            stdin=subprocess.DEVNULL,
        ).returncode
        seconds = time.monotonic() - begun
        if status:
            print(f"README: a command failed with status {status} after {seconds:.0f} s", file=sys.stderr)
            return status
        missing = [name for name in named_files(readme) if not (checkout / ASSAY_FOLDER / name).exists()]
        if missing:
            print(f"README: {ASSAY_FOLDER} does not hold {', '.join(missing)}", file=sys.stderr)
            return 1
    print(f"README: every command ran, in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
