"""What must be said of a model wherever it goes: its job, its data, and what it started from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pippin.export.hf_source import TRAINED
from pippin.storage import read_json
from pippin.train.digest import parameter_sha256
from pippin.train.run import IMPORTED, RECORD, SUMMARY
from pippin.train.saved import Saved


@dataclass(frozen=True)
class Provenance:
    """Where the parameters come from.

    Attributes:
        job_hash: of the job in the run's folder.
        step: of the checkpoint.
        tokens: trained on up to there, in this run.
        parameter_sha256: of the checkpoint's parameters.
        held_out_bits_per_byte: of the finished run; None where it was not scored.
        max_positions: the longest sequence it was trained on here, or as an imported model came, in tokens.
        data: corpus, licence and source; None where the run does not say (it trained on nothing).
        origins: licence and source of the models it started from, the first of them first.
    """

    job_hash: str
    step: int
    tokens: int
    parameter_sha256: str
    held_out_bits_per_byte: float | None
    max_positions: int
    data: dict[str, str] | None
    origins: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def provenance_of(saved: Saved) -> Provenance:
    """Reads what the run's folder says of itself."""
    imported = _read(saved, IMPORTED)
    record = _read(saved, RECORD)
    summary = _read(saved, SUMMARY)
    bits = summary.get("validation_bits_per_byte") if summary.get("steps") == saved.step else None
    return Provenance(
        job_hash=saved.job.hash,
        step=saved.step,
        tokens=saved.step * saved.job.tokens_per_step,
        parameter_sha256=parameter_sha256(saved.parameters),
        held_out_bits_per_byte=bits,
        max_positions=imported.get("max_positions") or saved.job.train.sequence_length,
        data=record.get("data"),
        origins=_imported(imported) + _origins(record),
    )


def _read(saved: Saved, name: str) -> dict[str, Any]:
    path = saved.folder / name
    value = read_json(path) if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _origins(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What a run started from, and that one in its turn."""
    initial = record.get("initial")
    if not isinstance(initial, dict):
        return []
    if IMPORTED in initial:
        return _imported(initial[IMPORTED])
    before = initial.get(RECORD, {})
    trained = {
        "source": TRAINED,
        "parameter_sha256": initial.get("parameter_sha256"),
        "licence": (before.get("data") or {}).get("licence"),
        "corpus": (before.get("data") or {}).get("corpus"),
    }
    return [*_origins(before), trained]


def _imported(imported: dict[str, Any]) -> list[dict[str, Any]]:
    """The folder that was imported, after what it says it came from."""
    return [*imported.get("origins", []), _origin(imported)] if imported else []


def _origin(imported: dict[str, Any]) -> dict[str, Any]:
    kept = ("format", "name", "licence", "files", "parameter_sha256")
    # The name of the file, not its path: that is of no use to whoever gets the model.
    source = str(imported.get("source", "")).rstrip("/").rpartition("/")[2]
    return {"source": source, **{key: imported[key] for key in kept if key in imported}}
