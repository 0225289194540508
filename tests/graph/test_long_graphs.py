"""Graphs of thousands of nodes: what is done with each takes the same time however many there are."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model

CONSTANTS = {
    "w": np.full((4, 4, 1, 1), 0.2, np.float32),
    "vector": np.full(4, 0.5, np.float32),
    "channels": np.full((1, 4, 1, 1), 1.5, np.float32),
}


def normalised(b: GraphBuilder, x: str) -> str:
    """A convolution and its batch normalisation, all with the same weights."""
    return b.add("BatchNormalization", b.add("Conv", x, "w"), *["vector"] * 4)


def residual(b: GraphBuilder, x: str) -> str:
    """A convolution whose input is added to its result: most values live for two steps."""
    return b.add("Add", b.add("Conv", x, "w"), x)


def affine(b: GraphBuilder, x: str) -> str:
    """Arithmetic with constants by channel, which asks for the rank of what is far before."""
    return b.add("Relu", b.add("Mul", x, "channels"))


def chain(block: Callable[[GraphBuilder, str], str], count: int) -> Graph:
    """A graph of one block after another."""
    b = GraphBuilder("chain", CONSTANTS)
    x = b.input("x", (1, 4, 2, 2))
    for _ in range(count):
        x = block(b, x)
    b.output(x, "y", (1, 4, 2, 2))
    return b.build()


@pytest.mark.parametrize("block", [normalised, residual, affine])
def test_time_grows_with_the_number_of_nodes(block: Callable[[GraphBuilder, str], str]) -> None:
    def seconds(count: int) -> float:
        graph = chain(block, count)
        start = time.process_time()
        Model(graph)
        return time.process_time() - start

    seconds(20)
    short, long = min(seconds(250) for _ in range(3)), min(seconds(4000) for _ in range(2))
    assert long < 48 * short  # 16 for 16 times the nodes; 256 where each looks at all others


def test_copies_of_a_shared_weight_have_names_of_their_own() -> None:
    """Each pair folds its own normalisation into the one weight that they share."""
    b = GraphBuilder("shared", {**CONSTANTS, "other": np.full(4, 2, np.float32)})
    x = b.input("x", (1, 4, 1, 1))
    first = b.add("BatchNormalization", b.add("Conv", x, "w"), *["vector"] * 4)
    b.output(b.add("BatchNormalization", b.add("Conv", first, "w"), *["other"] * 4), "y")
    graph = b.build()
    x_value = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    expected = Model(graph, passes="none")(x_value)
    np.testing.assert_allclose(Model(graph)(x_value), expected, rtol=1e-5)
