"""Opens a folder in the layout of transformers: config.json, tokenizer.json, safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pippin.errors import PippinError, explained
from pippin.export.hf_config import from_hf
from pippin.export.safetensors_file import Entry, read_header
from pippin.export.source import Source, needed_slots
from pippin.storage import read_json, sha256_file

SINGLE, INDEX, EXPORT_RECORD = "model.safetensors", "model.safetensors.index.json", "pippin.json"
TRAINED = "a run of Pippin"


def open_hf(folder: Path) -> Source:
    """Opens the folder and checks every file that is read.

    Raises:
        PippinError: a file is missing, damaged, or says what we do not know.
    """
    content = _object(folder / "config.json")
    config, family = from_hf(content, folder / "config.json")
    record = _export_record(folder)
    files = _weight_files(folder)
    arrays: dict[str, Any] = {}
    for path, names in files.items():
        arrays |= _entries(path, names)
    raw_tokenizer = folder / "tokenizer.json"
    if not raw_tokenizer.exists():
        raise PippinError("there is no tokenizer.json", where=folder, fix="Pippin reads byte-level BPE only")
    settings = _object(folder / "tokenizer_config.json", missing_ok=True)
    return Source(
        path=folder,
        format="safetensors",
        config=config,
        slots=needed_slots(config, family.names, arrays, folder),
        arrays=arrays,
        tokenizer=_tokenizer(raw_tokenizer),
        hints=_hints(settings),
        max_positions=content.get("max_position_embeddings"),
        licence=_licence(folder),
        files=[folder / "config.json", raw_tokenizer, *files],
        ignored=lambda name: _is_ignored(name, config.tie_embeddings),
        details={"model_type": family.model_type} | _before(record),
    )


def _is_ignored(name: str, tied: bool) -> bool:
    """Frequencies that old versions saved, and a copy of the embedding beside it."""
    return name.endswith(".rotary_emb.inv_freq") or (tied and name == "lm_head.weight")


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    with explained(path):
        raw = path.read_bytes()
    try:
        return Tokenizer.from_str(raw.decode())
    except Exception as error:  # The library raises bare Exception.
        raise PippinError(f"not a tokenizer: {error}", where=path) from error


def _hints(settings: dict[str, Any]) -> dict[str, str | None]:
    def name(key: str) -> str | None:
        token = settings.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        return token if isinstance(token, str) else None

    return {"bos": name("bos_token") if settings.get("add_bos_token") else None, "eos": name("eos_token")}


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """The safetensors files, with the names that the index expects in each (None: there is no index)."""
    if (folder / INDEX).exists():
        weight_map = _object(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise PippinError("it has no weight_map", where=folder / INDEX)
        files: dict[Path, set[str] | None] = {}
        for name, file in weight_map.items():
            if not isinstance(file, str) or Path(file).name != file:
                raise PippinError(f"{file!r} is not the name of a file in this folder", where=folder / INDEX)
            names = files.setdefault(folder / file, set())
            assert names is not None
            names.add(name)
        return files
    if (folder / SINGLE).exists():
        return {folder / SINGLE: None}
    pickled = any(folder.glob("*.bin"))
    fix = "only safetensors are read, not pickles: convert it" if pickled else "check the folder"
    raise PippinError(f"there is no {SINGLE} and no {INDEX}", where=folder, fix=fix)


def _entries(path: Path, expected: set[str] | None) -> dict[str, Entry]:
    entries = read_header(path)
    if expected is not None and expected != set(entries):
        name = min(expected ^ set(entries))
        who = "the index has it alone" if name in expected else "the file has it alone"
        raise PippinError(f"file and index disagree on {name}: {who}", where=path, fix="fetch both again")
    return entries


def _export_record(folder: Path) -> dict[str, Any]:
    """What Pippin says of a folder that it wrote, empty for others'.

    Safetensors have no checksum; the record carries the hash of each file, and they are compared.
    """
    record = _object(folder / EXPORT_RECORD, missing_ok=True)
    hashes = record.get("files")
    for name, wanted in (hashes if isinstance(hashes, dict) else {}).items():
        path = folder / Path(str(name)).name
        with explained(path):
            if sha256_file(path) != wanted:
                what = f"the file is not the one that was exported ({EXPORT_RECORD} has another SHA-256)"
                raise PippinError(what, where=path, fix=f"export it again, or remove {EXPORT_RECORD}")
    return record


def _before(record: dict[str, Any]) -> dict[str, Any]:
    """What an export of ours started from and was trained on: its licences go where the weights go."""
    origins = [origin for origin in record.get("origins") or [] if isinstance(origin, dict)]
    data = record.get("data")
    if isinstance(data, dict):
        kept = {"licence": data.get("licence"), "corpus": data.get("corpus")}
        origins.append({"source": TRAINED, "parameter_sha256": record.get("parameter_sha256"), **kept})
    return {"origins": origins} if origins else {}


def _licence(folder: Path) -> str | None:
    """The licence that the model card's front matter names."""
    card = folder / "README.md"
    if not card.exists():
        return None
    with explained(card):
        text = card.read_text(encoding="utf-8", errors="replace")
    front = text.split("---")[1] if text.startswith("---") and text.count("---") >= 2 else ""
    found = [line.partition(":")[2].strip() for line in front.splitlines() if line.startswith("license:")]
    # "other" says only that the licences stand elsewhere: in the record, where the folder is ours.
    return found[0] if found and found[0] != "other" else None


def _object(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    if missing_ok and not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise PippinError("not a JSON object", where=path)
    return value
