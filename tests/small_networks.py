"""Small networks of the families that shrinking is tested on and that fastconv.models has none of."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastconv.graph.ir import Graph, GraphBuilder

Array = np.ndarray[Any, Any]


class Builder(GraphBuilder):
    """A graph with random weights."""

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__(name, {})
        self.rng = np.random.default_rng(seed)

    def array(self, values: Array) -> str:
        return self.constant(f"c{len(self.constants)}", values)

    def ints(self, *values: int) -> str:
        return self.array(np.array(values, np.int64))

    def vector(self, n: int, low: float, high: float) -> str:
        return self.array(self.rng.uniform(low, high, n).astype(np.float32))

    def weights(self, *shape: int) -> str:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return self.array((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def conv(self, x: str, shape: tuple[int, ...], name: str = "", **attrs: Any) -> str:
        """Add a convolution with a bias, of the same size unless padding is given."""
        attrs = {"pads": [shape[2] // 2] * 4, **attrs}
        return self.add("Conv", x, self.weights(*shape), self.vector(shape[0], -0.3, 0.3), name=name, **attrs)

    def norm(self, x: str, n: int) -> str:
        given = (
            self.vector(n, low, high) for low, high in ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5))
        )
        return self.add("BatchNormalization", x, *given)

    def split(self, x: str, *sizes: int) -> list[str]:
        """Cut channels into pieces."""
        starts = np.cumsum((0, *sizes))
        ends = [self.ints(int(n)) for n in starts]
        return [self.add("Slice", x, a, b, self.ints(1)) for a, b in pairwise(ends)]

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))


def densenet() -> Graph:
    """Return two blocks of normalise, activate, convolve, join, with a transition between them."""
    b = Builder("densenet")
    x, c = b.conv(b.input("x", ("batch", 3, None, None)), (16, 3, 3, 3), "stem"), 16
    for block in range(2):
        for i in range(3):
            y = b.add("Relu", b.norm(x, c))
            y = b.add("Conv", y, b.weights(24, c, 1, 1), name=f"bottleneck{block}{i}")
            y = b.add("Relu", b.norm(y, 24))
            y = b.add("Conv", y, b.weights(8, 24, 3, 3), name=f"grow{block}{i}", pads=[1] * 4)
            x, c = b.add("Concat", x, y, axis=1), c + 8
        x = b.add("Conv", b.add("Relu", b.norm(x, c)), b.weights(c // 2, c, 1, 1), name=f"transition{block}")
        x, c = b.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), c // 2
    x = b.add("Flatten", b.add("GlobalAveragePool", b.add("Relu", b.norm(x, c))))
    b.output(b.add("Gemm", x, b.weights(10, c), b.vector(10, -1, 1), transB=1), "y", ("batch", 10))
    return b.build()


def unet() -> Graph:
    """Return two levels down and up, one up by a transposed convolution, one by pixels repeated."""
    b = Builder("unet")
    x = b.input("x", ("batch", 3, None, None))
    skips = []
    for level, (ic, oc) in enumerate(((3, 16), (16, 32))):
        x = b.add("Relu", b.conv(x, (oc, ic, 3, 3), f"down{level}a"))
        x = b.add("Relu", b.norm(b.conv(x, (oc, oc, 3, 3), f"down{level}b"), oc))
        skips.append(x)
        x = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.add("Relu", b.conv(x, (64, 32, 3, 3), "bottom"))
    up = b.weights(64, 32, 2, 2)
    x = b.add(
        "ConvTranspose", x, up, b.vector(32, -0.2, 0.2), name="up1", kernel_shape=[2, 2], strides=[2, 2]
    )
    x = b.add("Concat", skips[1], x, axis=1)
    x = b.add("Relu", b.conv(x, (32, 64, 3, 3), "join1"))
    scales = b.array(np.array([1, 1, 2, 2], np.float32))
    x = b.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    x = b.add("Relu", b.conv(b.add("Concat", x, skips[0], axis=1), (16, 48, 3, 3), "join0"))
    b.output(b.conv(x, (2, 16, 1, 1), "mask"), "y", ("batch", 2, None, None))
    return b.build()


def yolo() -> Graph:
    """Return a network as YOLOv8's: C2f and SPPF blocks, a path up, heads whose boxes are sums of bins."""
    b = Builder("yolo")

    def conv(x: str, oc: int, ic: int, k: int = 1, stride: int = 1, name: str = "") -> str:
        return b.silu(b.conv(x, (oc, ic, k, k), name, strides=[stride] * 2))

    def c2f(x: str, oc: int, ic: int, n: int, shortcut: bool, name: str) -> str:
        half = oc // 2
        both = conv(x, oc, ic, name=f"{name}.in")
        parts = b.split(both, half, half)
        y = parts[1]
        for i in range(n):
            z = conv(conv(y, half, half, 3, name=f"{name}.{i}a"), half, half, 3, name=f"{name}.{i}b")
            y = b.add("Add", y, z) if shortcut else z
            parts.append(y)
        return conv(b.add("Concat", *parts, axis=1), oc, half * (2 + n), name=f"{name}.out")

    x = conv(b.input("x", (1, 3, 64, 64)), 16, 3, 3, 2, "stem")
    p3 = c2f(conv(x, 32, 16, 3, 2, "down1"), 32, 32, 1, shortcut=True, name="c2f1")
    p4 = c2f(conv(p3, 64, 32, 3, 2, "down2"), 64, 64, 2, shortcut=True, name="c2f2")
    pooled = [conv(p4, 32, 64, name="sppf.in")]
    for _ in range(3):
        pooled.append(b.add("MaxPool", pooled[-1], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    p4 = conv(b.add("Concat", *pooled, axis=1), 64, 128, name="sppf.out")
    up = b.add("Resize", p4, "", b.array(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    p3 = c2f(b.add("Concat", up, p3, axis=1), 32, 96, 1, shortcut=False, name="c2f3")
    rows = []
    for level, (p, ic) in enumerate(((p3, 32), (p4, 64))):
        box = b.conv(conv(p, 32, ic, 3, name=f"box{level}"), (32, 32, 1, 1), f"bins{level}")
        kind = b.conv(conv(p, 24, ic, 3, name=f"class{level}"), (5, 24, 1, 1), f"scores{level}")
        rows.append(b.add("Reshape", b.add("Concat", box, kind, axis=1), b.ints(1, 37, -1)))
    both = b.add("Concat", *rows, axis=2)
    boxes, classes = b.split(both, 32, 5)
    bins = b.add("Reshape", boxes, b.ints(1, 4, 8, -1))
    bins = b.add("Softmax", b.add("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    weights = b.array(np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1))
    boxes = b.add("Reshape", b.add("Conv", bins, weights, name="dfl"), b.ints(1, 4, -1))
    b.output(b.add("Concat", boxes, b.add("Sigmoid", classes), axis=1), "y", (1, 9, None))
    return b.build()
