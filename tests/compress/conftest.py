"""Fixtures of the tests of compression: a small network of the layers that are quantised, its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.graph.ir import Graph, GraphBuilder

Array = np.ndarray[Any, Any]
MakeGraph = Callable[..., Graph]


def mobile_graph(seed: int = 0, channels: int = 16) -> Graph:
    """Return a stem, an inverted residual with ReLU6 and a sum, pools, a concatenation and a classifier.

    The channels of the depthwise layer reach differently far, as those of trained networks of this kind do.
    """
    rng = np.random.default_rng(seed)
    b = GraphBuilder("mobile", {})

    def w(*shape: int) -> str:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return b.constant(f"w{len(b.constants)}", values.astype(np.float32))

    def vector(n: int, low: float, high: float) -> str:
        return b.constant(f"v{len(b.constants)}", rng.uniform(low, high, n).astype(np.float32))

    def norm(x: str, n: int) -> str:
        scale = b.constant(f"s{len(b.constants)}", np.exp(rng.uniform(-3, 1, n)).astype(np.float32))
        given = (scale, vector(n, -0.3, 0.3), vector(n, -0.1, 0.1), vector(n, 0.5, 1.5))
        return b.add("BatchNormalization", x, *given)

    def relu6(x: str) -> str:
        low, high = (b.constant(f"c{len(b.constants)}", np.array(v, np.float32)) for v in (0, 6))
        return b.add("Clip", x, low, high)

    c, wide = channels, 2 * channels
    x = b.input("x", ("batch", 3, None, None))
    y = b.add("Relu", norm(b.add("Conv", x, w(c, 3, 3, 3), name="stem", pads=[1] * 4, strides=[2, 2]), c))
    z = relu6(norm(b.add("Conv", y, w(wide, c, 1, 1), name="expand"), wide))
    z = relu6(norm(b.add("Conv", z, w(wide, 1, 3, 3), name="depthwise", pads=[1] * 4, group=wide), wide))
    z = b.add("Add", norm(b.add("Conv", z, w(c, wide, 1, 1), name="project"), c), y, name="sum")
    pooled = b.add("MaxPool", z, name="max", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    mean = b.add("AveragePool", z, name="mean", kernel_shape=[2, 2], strides=[2, 2])
    z = b.add("Concat", pooled, mean, name="both", axis=1)
    z = b.add("HardSwish", b.add("Conv", z, w(c, wide, 3, 3), vector(c, -0.2, 0.2), name="last"))
    z = b.add("Flatten", b.add("GlobalAveragePool", z))
    b.output(
        b.add("Gemm", z, w(10, c), vector(10, -0.1, 0.1), transB=1, name="classifier"), "y", ("batch", 10)
    )
    return b.build()


@pytest.fixture(scope="session")
def mobile() -> MakeGraph:
    """Return a function that makes the network of a seed."""
    return mobile_graph


@pytest.fixture(scope="session")
def images() -> Array:
    """Twenty-four smooth images of mean 0, as photos are."""
    rng = np.random.default_rng(5)
    coarse = rng.standard_normal((24, 3, 8, 8), np.float32)
    smooth = np.repeat(np.repeat(coarse, 4, 2), 4, 3)
    return smooth + 0.1 * rng.standard_normal(smooth.shape, np.float32)
