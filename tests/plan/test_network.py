"""Collectives against sums made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pippin.plan.network import Network

# Eight chips a domain at 100 bytes/s, 10 bytes/s out; latencies of a second and ten.
NODE: dict[str, Any] = {
    "domain": np.float64(8),
    "axes": np.float64(1),
    "up": np.float64(100),
    "up_latency": np.float64(0),
    "out": np.float64(10),
    "out_latency": np.float64(0),
}


def network(**changes: Any) -> Network:
    return Network(**{**NODE, **changes})


def test_a_gather_inside_a_domain_is_a_ring() -> None:
    # 7 of 8 shards of 100 bytes arrive over one link.
    assert network().gather_seconds(800.0, 8, 1) == pytest.approx(7 * 100 / 100)


def test_a_gather_across_nodes_uses_every_card() -> None:
    # Two nodes of eight: each chip fetches its counterpart's 1/16, then the node shares 8 shares of 1/8.
    seconds = network().gather_seconds(1600.0, 16, 1)
    assert seconds == pytest.approx(100 / 10 + 7 * 200 / 100)
    # With one card for the whole node it would be 800 / 10 = 80 s and more.
    assert seconds < 80


def test_ranks_a_node_apart_have_one_card_each() -> None:
    assert network().gather_seconds(400.0, 4, 8) == pytest.approx(3 * 100 / 10)


def test_one_rank_exchanges_nothing() -> None:
    assert network(up_latency=1.0, out_latency=1.0).gather_seconds(400.0, 1, 1) == 0


def test_latency_grows_with_the_logarithm_of_the_group() -> None:
    slow = network(up_latency=np.float64(1), out_latency=np.float64(10))
    assert slow.gather_seconds(0.0, 64, 1) == pytest.approx(np.log2(8) * 1 + np.log2(8) * 10)


def test_copies_for_one_domain_cross_the_network_once() -> None:
    # Of 16 ranks 8 are elsewhere, in one domain: 8 copies of a token travel there as one.
    seconds = network().exchange_seconds(1600.0, 16, 1, 8.0)
    assert seconds == pytest.approx(1600 * (7 / 16) / 100 + 1600 * (8 / 16) * (2 / 8) / 10)


def test_a_message_to_a_neighbour_of_the_domain_stays_inside() -> None:
    assert network().send_seconds(100.0, 4) == pytest.approx(1.0)
    assert network().send_seconds(100.0, 8) == pytest.approx(10.0)
