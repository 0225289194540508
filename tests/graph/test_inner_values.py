"""Any value of a graph can be asked for by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, GraphBuilder, TensorInfo
from fastconv.testing import reference

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)
W = np.random.default_rng(1).standard_normal((4, 3, 3, 3), np.float32)


def graph() -> Graph:
    """A convolution, its activation and a sum, which passes make one step of."""
    b = GraphBuilder("net", {"w": W, "v": W.mean((1, 2, 3))[:, None, None]})
    y = b.add("Conv", b.input("x", ("batch", 3, None, None)), "w", name="conv", pads=[1, 1, 1, 1])
    y = b.add("Relu", b.add("Add", y, "v", name="shift"), name="relu")
    b.output(y, "y", ("batch", 4, None, None))
    return b.build()


def test_values_before_and_after_an_activation() -> None:
    model = fastconv.Model(graph())
    before, after, y = model.run(["shift:out", "relu:out", "y"], {"x": X})
    expected = reference.conv(X, W, padding=1) + W.mean((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(before, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(after, np.maximum(before, 0))
    np.testing.assert_array_equal(y, after)
    np.testing.assert_allclose(model(X), y, rtol=1e-4, atol=1e-4)
    assert [info.name for info in model.outputs] == ["y"]  # the model itself is as it was


def test_inputs_constants_and_a_value_twice() -> None:
    x, w, first, second = fastconv.Model(graph()).run(["x", "w", "conv:out", "conv:out"], {"x": X})
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(first, second)


def test_a_model_of_a_function() -> None:
    model = fastconv.Model(graph)
    assert model.source_graph().nodes == graph().nodes
    (conv,) = model.run(["conv:out"], {"x": X})
    np.testing.assert_allclose(conv, reference.conv(X, W, padding=1), rtol=1e-4, atol=1e-4)


def test_names_that_there_are_none_of() -> None:
    model = fastconv.Model(graph())
    with pytest.raises(ArgumentError, match=r"names among \['y'\], or of other values .*, got 'conv'"):
        model.run(["y", "conv"], {"x": X})
    with pytest.raises(ArgumentError, match=r"feeds: expected arrays for \['x'\]"):
        model.run(["conv:out"], {"image": X})


def test_a_file_with_weights_among_its_inputs(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from fastconv.exporters.onnx import to_file

    defaults = (TensorInfo("w", W.shape, W.dtype),)
    to_file(replace(graph(), defaults=defaults), tmp_path / "net.onnx")
    model = fastconv.load(tmp_path / "net.onnx")
    (conv,) = model.run(["conv:out"], {"x": X, "w": 2 * W})
    (once,) = model.run(["conv:out"], {"x": X})
    np.testing.assert_allclose(conv, 2 * once, rtol=1e-4, atol=1e-4)
