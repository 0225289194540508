"""A graph as a torch module: the same nodes and weights, run by torch's functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fastconv.graph.ir import Graph
from fastconv.lab.compare.walk import pads_of, walk


class GraphModule(torch.nn.Module):  # type: ignore[misc]  # torch is optional: mypy does not read it
    """Runs a graph of one input and one output; its floating-point constants are buffers."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._buffer_names: dict[str, str] = {}
        self._node_parameters: dict[str, Any] = {}  # shapes, limits of Clip: they stay numpy's
        for i, (name, array) in enumerate(graph.constants.items()):
            if array.dtype == np.float32 and array.ndim > 0:
                self._buffer_names[name] = f"constant_{i}"
                self.register_buffer(f"constant_{i}", torch.from_numpy(np.array(array)))
            else:
                self._node_parameters[name] = array

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the graph."""
        buffers = {name: getattr(self, buffer) for name, buffer in self._buffer_names.items()}
        (y,) = walk(self.graph, {self.graph.inputs[0].name: x}, OPS, {**self._node_parameters, **buffers})
        return y


def _padded(x: Any, attrs: Mapping[str, Any], kernel: Any, fill: float) -> tuple[Any, tuple[int, int]]:
    """Return x and the symmetric padding left to do; torch's functions take no other, so it is done here."""
    top, left, bottom, right = pads_of(attrs, x.shape[2:], kernel)
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def _conv(x: Any, w: Any, bias: Any = None, **attrs: Any) -> Any:
    x, padding = _padded(x, attrs, w.shape[2:], 0.0)
    return F.conv2d(
        x, w, bias, attrs.get("strides", 1), padding, attrs.get("dilations", 1), attrs.get("group", 1)
    )


def _max_pool(x: Any, *, kernel_shape: list[int], **attrs: Any) -> Any:
    x, padding = _padded(x, attrs, kernel_shape, float("-inf"))
    return F.max_pool2d(
        x, kernel_shape, attrs.get("strides", 1), padding, ceil_mode=bool(attrs.get("ceil_mode", 0))
    )


def _gemm(a: Any, b: Any, c: Any, **attrs: Any) -> Any:
    """Run the fully connected layer that every Gemm of these networks is."""
    assert attrs.get("transA", 0) == 0
    assert attrs.get("alpha", 1.0) == attrs.get("beta", 1.0) == 1.0
    return F.linear(a, b if attrs.get("transB", 0) else b.T, c)


OPS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "AveragePool": lambda x, kernel_shape, strides=1, **_: F.avg_pool2d(x, kernel_shape, strides),
    "BatchNormalization": lambda x, w, b, mean, var, epsilon=1e-5, **_: F.batch_norm(
        x, mean, var, w, b, eps=epsilon
    ),
    "Clip": lambda x, lo, hi: F.hardtanh(x, float(lo), float(hi)),
    "Conv": _conv,
    "Flatten": lambda x, axis=1: torch.flatten(x, axis),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "Identity": lambda x: x,
    "MatMul": torch.matmul,
    "MaxPool": _max_pool,
    "Relu": F.relu,
    "Reshape": lambda x, shape: torch.reshape(x, [int(n) for n in shape]),
    "Softmax": lambda x, axis=-1: F.softmax(x, dim=axis),
    "Transpose": lambda x, perm: x.permute(perm),
}
