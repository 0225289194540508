"""Equalisation: the network computes the same, and its channels reach equally far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.compress import observe
from fastconv.compress.equalize import equalized, streams_of
from fastconv.compress.prepare import prepared
from fastconv.compress.samples import samples_of
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model

Array = np.ndarray[Any, Any]


def spread(found: Any) -> float:
    """How much farther the widest channel reaches than the middle one."""
    reach = np.maximum(np.abs(found.channel_low), np.abs(found.channel_high))
    return float(reach.max() / np.median(reach))


def test_the_network_is_the_same(mobile: Callable[..., Graph], images: Array) -> None:
    graph = prepared(mobile(), samples_of(images, mobile()))
    before = observe(graph, images)
    after, changed = equalized(graph, before)
    assert changed > 0
    y, z = Model(graph)(images), Model(after)(images)
    assert np.abs(y - z).max() < 1e-4 * np.abs(y).max()
    deep = next(s for s in streams_of(graph, before) if any(n.name == "depthwise" for n in s.readers))
    (value,) = (name for name in deep.values if name in before and name != "expand:out" and "Clip" in name)
    assert spread(observe(after, images)[value]) < 0.8 * spread(before[value])


def test_which_layers_share_channels(mobile: Callable[..., Graph], images: Array) -> None:
    graph = prepared(mobile(), samples_of(images, mobile()))
    found = [
        ([n.name for n in s.writers], [n.name for n in s.readers], [limit for _, limit in s.limits])
        for s in streams_of(graph, observe(graph, images))
    ]
    # What the stem and the last layer of the block write is joined by the sum, and read by a concatenation.
    assert found == [(["expand"], ["depthwise"], [6.0]), (["depthwise"], ["project"], [6.0])]


def test_a_residual_stream_and_its_classifier(images: Array) -> None:
    """Three layers write it, by sums, and a layer and a classifier behind its mean read it."""
    rng = np.random.default_rng(2)
    spread_out = np.exp(rng.uniform(-4, 1, (8, 1, 1, 1)))
    b = GraphBuilder("net", {})

    def w(*shape: int, by: Any = 1.0) -> str:
        return b.constant(f"w{len(b.constants)}", (by * rng.standard_normal(shape)).astype(np.float32))

    first = b.add(
        "Relu", b.add("Conv", b.input("x", ("batch", 3, 32, 32)), w(8, 3, 1, 1, by=spread_out), name="a")
    )
    inner = b.add("Relu", b.add("Conv", first, w(8, 8, 1, 1), name="b"))
    second = b.add("Add", b.add("Conv", inner, w(8, 8, 1, 1, by=spread_out), name="c"), first)
    third = b.add("Relu", b.add("Add", b.add("Conv", second, w(8, 8, 1, 1, by=spread_out), name="d"), second))
    y = b.add("Gemm", b.add("Flatten", b.add("GlobalAveragePool", third)), w(4, 8), transB=1, name="e")
    b.output(y, "y", ("batch", 4))
    graph = b.build()
    before = observe(graph, images)
    named = [({n.name for n in s.writers}, {n.name for n in s.readers}) for s in streams_of(graph, before)]
    assert ({"a", "c", "d"}, {"b", "d", "e"}) in named
    after, changed = equalized(graph, before)
    assert changed >= 1
    y, z = Model(graph)(images), Model(after)(images)
    assert np.abs(y - z).max() < 1e-4 * np.abs(y).max()
    assert spread(observe(after, images)[second]) < 0.5 * spread(before[second])


@pytest.mark.parametrize("between", ["Sigmoid", "Neg", "Softmax"])
def test_what_does_not_commute_is_left(between: str, images: Array) -> None:
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal((4, 4, 1, 1), np.float32) for name in ("w", "v")}
    b = GraphBuilder("net", constants)
    y = b.add(between, b.add("Conv", b.input("x", ("batch", 4, 3, 3)), "w"))
    b.output(b.add("Conv", y, "v"), "y", ("batch", 4, 3, 3))
    x = images.reshape(-1)[:720].reshape(-1, 4, 3, 3)
    assert streams_of(b.build(), observe(b.build(), x)) == []


def test_weights_of_several_layers_are_left() -> None:
    w = np.random.default_rng(1).standard_normal((4, 4, 1, 1), np.float32)
    b = GraphBuilder("net", {"w": w})
    b.output(b.add("Conv", b.add("Relu", b.add("Conv", b.input("x", ("batch", 4, 3, 3)), "w")), "w"), "y")
    x = np.ones((2, 4, 3, 3), np.float32)
    assert streams_of(b.build(), observe(b.build(), x)) == []
