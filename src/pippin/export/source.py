"""What a model of another format offers to the import: shape, tokenizer, and its arrays one at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from pippin.errors import PippinError
from pippin.export.tensors import Slot, slots
from pippin.models.config import ModelConfig


class Held(Protocol):
    """An array that the source holds; `read` gives it in a float type, in the source's own layout."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Source:
    """An opened model.

    Attributes:
        path: the file or folder.
        format: "safetensors" or "gguf".
        config: its shape.
        slots: the arrays that this shape needs.
        arrays: the arrays that it holds, by name.
        tokenizer: as it came.
        hints: what it says of its tokens, see `tokenizer_files.imported_tokenizer`.
        max_positions: the longest sequence it was made for, in tokens; None where it does not say.
        licence: None where it does not say.
        files: what to hash, so that the import says what it read.
        ignored: whether an array that no slot needs may be left out.
    """

    path: Path
    format: str
    config: ModelConfig
    slots: list[Slot]
    arrays: dict[str, Held]
    tokenizer: Tokenizer
    hints: dict[str, str | None]
    max_positions: int | None
    licence: str | None
    files: list[Path]
    ignored: Callable[[str], bool] = field(default=lambda name: False)
    details: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Holds names and shapes against what the shape needs.

        Raises:
            PippinError: an array is missing, has another shape, or is one we do not know.
        """
        needed = {slot.name: slot for slot in self.slots}
        if missing := [name for name in needed if name not in self.arrays]:
            raise PippinError(f"{_some(missing)} missing", where=self.path, fix="fetch it whole")
        unknown = [name for name in self.arrays if name not in needed and not self.ignored(name)]
        if unknown:
            raise PippinError(
                f"{_some(unknown)} not expected of this shape",
                where=self.path,
                fix="the model has parts that Pippin does not compute",
            )
        for name, slot in needed.items():
            if self.arrays[name].shape != slot.shape:
                held, wanted = list(self.arrays[name].shape), list(slot.shape)
                raise PippinError(f"{name} has the shape {held}, not {wanted}", where=self.path)


def needed_slots(
    config: ModelConfig, names: Mapping[str, str], held: Collection[str], where: Path
) -> list[Slot]:
    """The arrays that a shape needs, unless it has more layers or experts than there are arrays at all: a
    damaged number would make a list without end.

    Raises:
        PippinError: it has.
    """
    experts = config.moe.num_experts if config.moe else 1
    if config.num_layers > len(held) or experts > 1 << 16:
        what = f"{config.num_layers:,} layers and {experts:,} experts cannot be in {len(held):,} arrays"
        raise PippinError(what, where=where, fix="fetch it whole")
    return list(slots(config, names))


def _some(names: Iterable[str]) -> str:
    """At most three names, and how many more there are, ready for a verb that follows."""
    every = list(names)
    more = f" and {len(every) - 3} more" if len(every) > 3 else ""
    return f"{', '.join(every[:3])}{more} {'is' if len(every) == 1 else 'are'}"
