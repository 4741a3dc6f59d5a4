"""`pippin export` and `pippin import`."""

from __future__ import annotations

import sys
from pathlib import Path

from pippin.cli.display import Display
from pippin.errors import PippinError
from pippin.export.importing import import_model
from pippin.export.to_hf import export_hf, parse_size


def run_export(run: Path, to: str, out: Path, *, dtype: str, max_shard_size: str, verify: bool) -> None:
    """Exports and prints what was written and what was verified."""
    if to != "hf":
        fix = "known: hf" + ("; docs/export.md says why not GGUF" if to.lower() == "gguf" else "")
        raise PippinError(f"no format named '{to}'", where="--to", fix=fix)
    shard_bytes = parse_size(max_shard_size)
    with Display(sys.stderr) as display:
        done = export_hf(run, out, dtype=dtype, max_shard_bytes=shard_bytes, verify=verify, observer=display)
    print(f"exported: step {done.provenance.step}, {done.array_bytes / 1e6:,.1f} MB of {dtype} ({out})")
    checked = done.verification
    print(f"verified: {checked}" if checked else "not verified (--verify does, with torch and transformers)")


def run_import(source: str, out: Path, corpus: str, boundary: str | None, overrides: list[str]) -> None:
    """Imports and prints what came in."""
    with Display(sys.stderr) as display:
        imported = import_model(
            source, out, corpus=corpus, boundary=boundary, overrides=overrides, observer=display
        )
    record = imported.record
    parting = record["boundary"]
    print(f"imported: {record['num_parameters']:,} parameters from {record['format']} ({out})")
    print(f"boundary: {parting['token']} (id {parting['id']}): {parting['why']}")
    print(f"licence:  {record['licence'] or 'the source does not say'}")
