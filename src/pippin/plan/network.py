"""Collectives on two tiers of links: inside a scale-up domain, and between domains.

Ranks are numbered so that tensor-parallel ones are neighbours, then context, data (experts among them), and
pipeline stages last; of a group whose members are `stride` ranks apart, `domain / stride` share a domain.
A group that spans domains runs in two tiers: each chip exchanges within its domain, then its share of the
buffer with its counterparts elsewhere, so that all network cards of a node carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.plan.coefficients import Coefficients
from pippin.plan.layout import Floats
from pippin.plan.system import Systems


@dataclass(frozen=True)
class Network:
    """Links as collectives see them, per row or as scalars. Bytes/s one way and per chip; seconds."""

    domain: Floats
    axes: Floats
    up: Floats
    up_latency: Floats
    out: Floats
    out_latency: Floats

    @classmethod
    def of(cls, systems: Systems, c: Coefficients) -> Network:
        return cls(
            domain=systems.domain_chips,
            axes=systems.ring_axes,
            up=systems.scaleup_bytes_per_second * c.scaleup,
            up_latency=systems.scaleup_latency,
            out=systems.scaleout_bytes_per_second * c.scaleout,
            out_latency=systems.scaleout_latency,
        )

    def inside(self, size: Any, stride: Any) -> Floats:
        """Members of a group that share a scale-up domain."""
        members: Floats = np.minimum(np.maximum(np.floor(self.domain / stride), 1.0), size)
        return members

    def gather_seconds(self, array_bytes: Any, size: Any, stride: Any, *, axes: Any = None) -> Floats:
        """One all-gather, or one reduce-scatter, of an array of so many bytes; an all-reduce is two.

        Args:
            array_bytes: of the whole array.
            size: ranks of the group.
            stride: how many ranks apart they are.
            axes: of the torus' axes those that the group runs along; all where not given.
        """
        inside = self.inside(size, stride)
        across = size / inside
        share = array_bytes / inside
        up = self.up if axes is None else self.up * np.minimum(axes / self.axes, 1.0)
        transfer: Floats = share * ((inside - 1.0) / up + (1.0 - inside / size) / self.out)
        seconds: Floats = transfer + self.up_latency * np.log2(inside) + self.out_latency * np.log2(across)
        return seconds

    def exchange_seconds(self, rank_bytes: Any, size: Any, stride: Any, copies: Any) -> Floats:
        """One all-to-all in which each rank sends so many bytes.

        Args:
            rank_bytes: what a rank sends in all, were every copy sent by itself.
            size: ranks of the group.
            stride: how many ranks apart they are.
            copies: copies of a token among `rank_bytes`; those for one domain cross the network once.
        """
        inside = self.inside(size, stride)
        across = size / inside
        near = (inside - 1.0) / size
        # A token's copies go to at most as many other domains as there are.
        far = (1.0 - inside / size) * np.minimum(1.0, across / copies)
        latency = self.up_latency * (inside > 1) + self.out_latency * (across > 1)
        seconds: Floats = rank_bytes * (near / self.up + far / self.out) + latency
        return seconds

    def send_seconds(self, message_bytes: Any, stride: Any) -> Floats:
        """One message to the rank `stride` away."""
        near = stride < self.domain
        bandwidth = np.where(near, self.up / self.axes, self.out)
        seconds: Floats = message_bytes / bandwidth + np.where(near, self.up_latency, self.out_latency)
        return seconds
