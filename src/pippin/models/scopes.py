"""Names of the parts of a step, for `jax.named_scope`. The compiler keeps them with every operation, forward
and backward: a trace shows them, and an assay adds up time by them. They change nothing of what is computed.
"""

from __future__ import annotations

NORM = "norm"
# The layers' products with parameters, and the conversions around them.
PRODUCT = "product"
ROTARY = "rotary"
ATTENTION = "attention"
# The elementwise half of SwiGLU.
GATE = "gate"
# Routing tokens to experts and back, and the experts' own products.
EXPERTS = "experts"
EXPERT_PRODUCT = "expert_product"
RESIDUAL = "residual"
# The loop over layers: slices of stacked parameters, what is kept for backward.
LAYERS = "layers"
EMBEDDING = "embedding"
VOCABULARY = "vocabulary"
# Ticks in which a pipeline fills or drains; whatever is done in them.
BUBBLE = "bubble"
# Gradients added up over micro-batches.
ACCUMULATION = "accumulation"
OPTIMIZER = "optimizer"
# JAX's own name for what `jax.checkpoint` computes again.
RECOMPUTED = "rematted_computation"
