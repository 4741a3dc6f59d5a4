"""What one device computes of the objective: the decoder on its part of a micro-batch, with the functions
that meet the other devices. On one device these do nothing, and the program is the plain one.

Shapes: B and S are this device's sequences and, over all of a tensor-parallel group, places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pippin.job import Job
from pippin.models import decoder, scopes
from pippin.models.attention import Attention
from pippin.models.balance import router_objective
from pippin.models.functions import Functions, Parameters
from pippin.models.loss import mean_loss, token_losses
from pippin.models.moe import RouterReport
from pippin.models.parameters import parameter_specs
from pippin.parallel import context, vocabulary
from pippin.parallel.degrees import TOKEN_AXES, Degrees
from pippin.parallel.exchange import Exchange
from pippin.parallel.experts import experts
from pippin.parallel.layers import Remat, layer_loop
from pippin.parallel.rules import map_specs, split_dim

# The router decides in float32, so its matrix is not rounded on the way.
_WIDE = "router"


class Part(NamedTuple):
    """Tokens of a micro-batch, int32 (B, S) each."""

    inputs: Array
    targets: Array
    segments: Array


class Sums(NamedTuple):
    """What a part adds to the global figures: its share of the mean loss, and the routers' sums."""

    loss: Array
    report: RouterReport | None


@dataclass(frozen=True)
class Objective:
    """The objective of a job as seen by one device of a mesh.

    Attributes:
        job: what is trained.
        degrees: the mesh.
        attention: the backend, for devices that hold whole sequences.
        compute_dtype: of activations and products.
        remat: what backward finds kept.
        scan: loop over layers, or write them out.
    """

    job: Job
    degrees: Degrees
    attention: Attention
    compute_dtype: Any
    remat: Remat
    scan: bool

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.degrees)

    def __call__(self, parameters: Parameters, load_LX: Array | None, part: Part) -> tuple[Array, Sums]:
        """The part's share of the global objective, and its sums. Shares add up over all devices' parts.

        Here and below, embedding and head are whole along fsdp: see `gather_ends`.
        """
        x_BSE = self.embed(parameters["embedding"], part.inputs).astype(self.compute_dtype)
        x_BSE, report = self.run_layers(parameters, x_BSE, part.segments)
        share, loss = self.head(parameters, x_BSE, part.targets)
        return share + self.router_share(report, load_LX), Sums(loss, report)

    def losses(self, parameters: Parameters, part: Part) -> Array:
        """Cross-entropy of each token in nats, (B, S)."""
        x_BSE = self.embed(parameters["embedding"], part.inputs).astype(self.compute_dtype)
        x_BSE, _ = self.run_layers(parameters, x_BSE, part.segments)
        return self.token_losses(parameters, x_BSE, part.targets)

    @jax.named_scope(scopes.EMBEDDING)
    def embed(self, table_VE: Array, tokens_BS: Array) -> Array:
        """The residual stream's beginning, of this device's part of the sequence."""
        found = vocabulary.look_up_part(self.exchange, table_VE, tokens_BS)
        return self.exchange.scatter_sum(self.exchange.sum(found, "stage"), "tensor", 1)

    def run_layers(
        self, parameters: Parameters, x_BSE: Array, segments_BS: Array
    ) -> tuple[Array, RouterReport | None]:
        """This device's layers, and what their routers saw: on a tensor-parallel group each has its share."""
        x_BSE, report = decoder.run_layers(
            parameters,
            x_BSE,
            segments_BS,
            self.job.shape,
            functions=self.functions,
            positions_S=context.positions(self.exchange, segments_BS.shape[1]),
        )
        return x_BSE, self._once(report)

    @jax.named_scope(scopes.VOCABULARY)
    def head(self, parameters: Parameters, x_BSE: Array, targets_BS: Array) -> tuple[Array, Array]:
        """The share of the objective that comes from the vocabulary, and the share of the mean loss."""
        return mean_loss(
            self._hidden(parameters, x_BSE),
            decoder.head_matrix(parameters),
            targets_BS,
            self.job.train.z_loss,
            self.job.tokens_per_step,
            vocabulary.split_vocabulary(self.exchange),
        )

    def router_share(self, report: RouterReport | None, load_LX: Array | None) -> Array:
        """The share of the objective that comes from these layers' routers."""
        if report is None or load_LX is None or self.job.shape.moe is None:
            return jnp.zeros((), jnp.float32)
        return router_objective(report, load_LX, self.job.shape.moe, self.job.tokens_per_step)

    def token_losses(self, parameters: Parameters, x_BSE: Array, targets_BS: Array) -> Array:
        """Cross-entropy of each token from the last layer's output, (B, S)."""
        rows = vocabulary.split_vocabulary(self.exchange)
        hidden_BSE = self._hidden(parameters, x_BSE)
        return token_losses(hidden_BSE, decoder.head_matrix(parameters), targets_BS, rows)

    def _hidden(self, parameters: Parameters, x_BSE: Array) -> Array:
        """The normed state of all tokens of a tensor-parallel group."""
        normed = decoder.rms_norm(x_BSE, parameters["final_norm"], self.job.shape.norm_epsilon)
        return self.functions.enter(normed)

    @cached_property
    def functions(self) -> Functions:
        """What the decoder is handed on this mesh."""
        exchange = self.exchange
        return Functions(
            attention=context.attention(exchange, self.attention),
            # Between the products of a tensor-parallel group each device holds a part of the sequence.
            enter=lambda x: exchange.gather(x, "tensor", 1),
            leave=lambda x: exchange.scatter_sum(x, "tensor", 1),
            experts=experts(exchange),
            layers=layer_loop(
                self.gather_layer if self.degrees.fsdp > 1 else None, self.remat, scan=self.scan
            ),
        )

    def gather_ends(self, parameters: Parameters) -> Parameters:
        """With embedding and head whole along fsdp, in float32: the loss adds up their gradients in it."""
        ends = {name: value for name, value in parameters.items() if name in ("embedding", "head")}
        specs = {name: self._specs[name] for name in ends}
        return parameters | self._gather(specs, ends, jnp.float32, first_dim=0)

    def gather_layer(self, layer: Parameters) -> Parameters:
        """One layer's parameters whole along fsdp."""
        stack = "layers" if "key" in layer else "reuse_layers"
        return self._gather(self._specs[stack], layer, self.compute_dtype, first_dim=1)

    def _once(self, report: RouterReport | None) -> RouterReport | None:
        """Every device of a tensor-parallel group routes the same tokens: together they count once."""
        if report is None:
            return None
        share = 1 / self.degrees.tensor
        report = jax.tree.map(lambda x: self.exchange.sum(x * share, "tensor") if share < 1 else x, report)
        shared: RouterReport = self.exchange.vary(report, "stage", *TOKEN_AXES)
        return shared

    @cached_property
    def _specs(self) -> Any:
        return parameter_specs(self.job.shape)

    def _gather(self, specs: Any, parameters: Parameters, dtype: Any, *, first_dim: int) -> Parameters:
        def gather(spec: Any, x: Array) -> Array:
            dim = split_dim(spec, "fsdp", self.degrees)
            kept = jnp.float32 if _WIDE in spec.axes else dtype
            return self.exchange.gather_parameter(x, None if dim is None else dim - first_dim, kept)

        gathered: Parameters = map_specs(gather, specs, parameters)
        return gathered
