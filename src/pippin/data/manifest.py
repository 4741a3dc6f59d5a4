"""`manifest.json` of a dataset: where the text comes from, how it became tokens, and what its files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from pippin.errors import PippinError
from pippin.storage import canonical_sha256, read_json, write_json

FORMAT_VERSION = 1
FILE_NAME = "manifest.json"
Split = Literal["train", "validation"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Frozen):
    """One file of token ids."""

    file: str
    tokens: PositiveInt
    sha256: str


class SplitInfo(_Frozen):
    """One side of the split. `tokens` counts the boundaries too, `utf8_bytes` is the text alone."""

    documents: PositiveInt
    groups: PositiveInt
    tokens: PositiveInt
    utf8_bytes: PositiveInt
    shards: tuple[Shard, ...]


class Splits(_Frozen):
    train: SplitInfo
    validation: SplitInfo


class Manifest(_Frozen):
    """Everything the token stream depends on. Token ids are little-endian `dtype`."""

    format_version: int
    name: str
    licence: str
    source: str
    corpus_sha256: str
    validation_fraction: float
    vocab_size: PositiveInt
    tokenizer_sha256: str
    boundary_id: NonNegativeInt
    dtype: Literal["uint16", "uint32"]
    splits: Splits

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON of all fields."""
        return canonical_sha256(self.model_dump(mode="json"))

    def split(self, name: Split) -> SplitInfo:
        return self.splits.train if name == "train" else self.splits.validation


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest with its own hash in it as `sha256`."""
    write_json(folder / FILE_NAME, {**manifest.model_dump(mode="json"), "sha256": manifest.sha256})


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest and checks it against its hash.

    Raises:
        PippinError: missing, torn, altered, or of another format version.
    """
    path = folder / FILE_NAME
    value = read_json(path)
    if not isinstance(value, dict):
        raise PippinError("the manifest is not a JSON object", where=path)
    if value.get("format_version") != FORMAT_VERSION:
        found = value.get("format_version")
        raise PippinError(f"the manifest has format version {found}, not {FORMAT_VERSION}", where=path)
    sha256 = value.pop("sha256", None)
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PippinError(f"the manifest is wrong at {place}: {first['msg']}", where=path) from error
    if sha256 != manifest.sha256:
        raise PippinError("the manifest is damaged: its hash does not fit its content", where=path)
    return manifest
