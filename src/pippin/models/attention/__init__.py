"""One attention function, by named backend, and the pieces from which a mesh makes others."""

from pippin.models.attention.backends import BACKENDS, Attention, Use, attention_backend, choose_attention
from pippin.models.attention.blocked import reference_attention
from pippin.models.attention.naive import masked_attention, naive_attention
from pippin.models.attention.partial import Part, merge, part_gradients, partial_attention
from pippin.models.attention.tiles import Places

__all__ = [
    "BACKENDS",
    "Attention",
    "Part",
    "Places",
    "Use",
    "attention_backend",
    "choose_attention",
    "masked_attention",
    "merge",
    "naive_attention",
    "part_gradients",
    "partial_attention",
    "reference_attention",
]
