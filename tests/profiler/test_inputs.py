"""Counting and timing networks whose inputs are not float32, or whose values decide what runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.model import Model

F32 = np.dtype(np.float32)
CONSTANTS = {"table": np.ones((5, 8), F32), "w": np.ones((8, 3), F32), "k": np.ones((4, 3, 3, 3), F32)}
NETWORKS: dict[str, tuple[list[Node], dict[str, np.ndarray[Any, Any]]]] = {
    "indices": (
        [Node("Gather", "g", ("table", "i"), ("v",)), Node("MatMul", "m", ("v", "w"), ("y",))],
        {"i": np.array([[4, 0, 3]])},
    ),
    "small indices": ([Node("Gather", "g", ("table", "i"), ("y",))], {"i": np.array([4], np.int32)}),
    "mask": (
        [Node("Where", "c", ("mask", "x", "w"), ("y",))],
        {"x": np.ones((8, 3), F32), "mask": np.ones((8, 3), bool)},
    ),
    "bytes": (
        [Node("Cast", "c", ("x",), ("f",), {"to": 1}), Node("Conv", "k", ("f", "k"), ("y",))],
        {"x": np.full((1, 3, 8, 8), 255, np.uint8)},
    ),
    "half": (
        [Node("Cast", "c", ("x",), ("f",), {"to": 1}), Node("Conv", "k", ("f", "k"), ("y",))],
        {"x": np.ones((1, 3, 8, 8), np.float16)},
    ),
    "a shape": (
        [Node("Reshape", "r", ("x", "s"), ("y",))],
        {"x": np.ones((2, 6), F32), "s": np.array([3, 4])},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_of_any_type(name: str) -> None:
    nodes, arrays = NETWORKS[name]
    infos = tuple(TensorInfo(n, a.shape, a.dtype) for n, a in arrays.items())
    used = {n: CONSTANTS[n] for node in nodes for n in node.inputs if n in CONSTANTS}
    model = Model(Graph(name, tuple(nodes), infos, (TensorInfo("y", (), F32),), used))
    given = list(arrays.values())
    kept = [a.copy() for a in given]
    counted = fastconv.count(model, *given)
    assert fastconv.profile(model, *given, seconds=0.01).totals["macs"] == counted.totals["macs"]
    model(*given)  # so that the value that a shape depends on is known
    shapes = [a.shape for a in given]
    assert fastconv.count(model, *shapes).totals == counted.totals
    assert fastconv.profile(model, *shapes, seconds=0.01).totals["macs"] == counted.totals["macs"]
    for a, b in zip(given, kept, strict=True):
        np.testing.assert_array_equal(a, b)
