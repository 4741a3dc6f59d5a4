"""What the checks draw on: the catalog, the measurements, and model FLOPs of the shapes that were run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pippin.catalog import Catalog, CatalogChip
from pippin.catalog.chips import Format
from pippin.catalog.claims import Measurement, load_measurements
from pippin.catalog.instances import PriceKind, current
from pippin.models.config import ModelConfig
from pippin.models.presets import ALL_PRESETS
from pippin.plan.claims.finding import Number
from pippin.plan.counts import num_parameters, training_flops_per_token
from pippin.plan.shape import Shapes


def _llama2(d_model: int, num_layers: int, num_kv_heads: int, ffn_dim: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=32_000,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=d_model // 128,
        num_kv_heads=num_kv_heads,
        ffn_dim=ffn_dim,
        tie_embeddings=False,
    )


# arXiv 2307.09288 and the published configuration files.
SHAPES = {"llama2-7b": _llama2(4096, 32, 32, 11008), "llama2-70b": _llama2(8192, 80, 8, 28672)}


def shape_of(model: str) -> ModelConfig:
    """The shape of a model that a measurement names."""
    return SHAPES[model] if model in SHAPES else ModelConfig(**ALL_PRESETS[model])


FlopCount = Literal["causal attention", "full attention", "6 N and full attention"]
COUNTS: tuple[FlopCount, ...] = get_args(FlopCount)
# Definitions differ in small terms beside these three, and seconds are rounded: allowed for in comparisons.
ROOM = 0.03


def flops_per_token(model: str, sequence_length: int, count: FlopCount = "causal attention") -> float:
    """Model FLOPs of a trained token.

    Causal attention counts half of the pairs of a sequence, full attention all. "6 N" takes every parameter
    for a product, embedding and norms included, as many trainers do.
    """
    config = shape_of(model)
    flops = training_flops_per_token(config, sequence_length)
    if count == "causal attention":
        return flops
    shapes = Shapes.of(config)
    width = config.num_layers * int((shapes.heads * (shapes.head_dim + shapes.value_dim))[0])
    if count == "6 N and full attention":
        return 6.0 * num_parameters(config) + 6.0 * sequence_length * width
    return flops + 6.0 * (sequence_length - (sequence_length + 1) / 2) * width  # pairs above the diagonal


@dataclass(frozen=True)
class Seen:
    """A price of one chip-hour, with its basis in words; `now` unless a newer one has replaced it."""

    usd: float
    kind: PriceKind
    basis: str
    as_of: str
    now: bool


@dataclass(frozen=True)
class Run:
    """A measured step: so many chips, so many seconds."""

    model: str
    chip: CatalogChip
    chips: int
    seconds: float
    sequence_length: int
    source: str

    @property
    def chip_seconds(self) -> float:
        return self.chips * self.seconds


@dataclass(frozen=True)
class Evidence:
    """Look-ups that the checks share. Nothing is typed in here; everything has its row."""

    catalog: Catalog

    def chip(self, chip_id: str) -> CatalogChip:
        return self.catalog.chip(chip_id)

    def tflops(self, chip_id: str, number_format: Format) -> float:
        """Rated dense peak; raises where the catalog has none, for a check that cannot do without."""
        value = self.chip(chip_id).tflops(number_format)
        if value is None:
            raise LookupError(f"no {number_format} peak of {chip_id}")
        return value

    def ratio(self, top: str, bottom: str, column: str) -> Number:
        """One column of two chips, divided."""
        above, below = (getattr(self.chip(chip), column) for chip in (top, bottom))
        value = None if above is None or below is None else above / below
        return Number(value, "times", f"{column} of {top} ({above}) over {bottom} ({below})")

    def prices(self, instance_id: str, kind: PriceKind | None = None) -> list[Seen]:
        """Usable prices of a chip-hour, older ones too, by date; the same figure of one kind counts once."""
        box = self.catalog.instance(instance_id)
        rows = [p for p in self.catalog.prices if p.instance_id == instance_id and p.usable]
        now = set(map(id, current(tuple(rows))))
        seen: dict[tuple[str, float], Seen] = {}
        for price in sorted(rows, key=lambda row: (bool(row.users_fields), row.as_of)):
            if kind in (None, price.kind) and price.usd_per_hour:
                usd = price.usd_per_hour / (box.chips or box.vcpus or 1)
                seen[(price.kind, usd)] = Seen(usd, price.kind, price.basis, price.as_of, id(price) in now)
        return list(seen.values())

    def price(self, instance_id: str, kind: PriceKind) -> Seen:
        """The newest of a kind; a user's own comes first."""
        seen = self.prices(instance_id, kind)
        if not seen:
            raise LookupError(f"no {kind} price of {instance_id}")
        return seen[-1]

    def measured(self, name: str) -> Measurement:
        return load_measurements()[name]

    def run(self, name: str) -> Run:
        row = self.measured(f"{name}-seconds")
        assert row.chips and row.sequence_length
        return Run(row.model, self.chip(row.chip_id), row.chips, row.value, row.sequence_length, row.source)
