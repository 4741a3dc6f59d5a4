"""The chunked loss against the plain one (whole logits, differentiated by JAX), values and gradients.

python benchmarks/loss.py
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from _table import alternate, machine, ratio_line
from jax import Array

from pippin.devices import keep_freed_memory
from pippin.models.loss import mean_loss

BATCH, LENGTH, WIDTH, VOCABULARY = 8, 256, 256, 8192


def plain(hidden: Array, head: Array, targets: Array) -> Array:
    """The loss as one would write it first."""
    logits = jnp.einsum("bse,ve->bsv", hidden, head.astype(hidden.dtype), preferred_element_type=jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


def main() -> None:
    keep_freed_memory()
    print(machine())
    generator = np.random.default_rng(0)
    head = jnp.asarray(generator.standard_normal((VOCABULARY, WIDTH)) * 0.06, jnp.float32)
    targets = jnp.asarray(generator.integers(0, VOCABULARY, (BATCH, LENGTH)), jnp.int32)
    for dtype in (jnp.float32, jnp.bfloat16):
        hidden = jnp.asarray(generator.standard_normal((BATCH, LENGTH, WIDTH)), dtype)
        ours = jax.jit(jax.grad(lambda h, w: mean_loss(h, w, targets, 0.0)[0], (0, 1)))
        other = jax.jit(jax.grad(lambda h, w: plain(h, w, targets), (0, 1)))
        times = alternate(
            lambda: jax.block_until_ready(ours(hidden, head)),  # noqa: B023
            lambda: jax.block_until_ready(other(hidden, head)),  # noqa: B023
            repeats=15,
        )
        print(ratio_line(f"loss and gradients, {jnp.dtype(dtype).name}", *times))


if __name__ == "__main__":
    main()
