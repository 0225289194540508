"""The user's face: calling, naming, batches, strides, threads, and what bad input gets."""

from __future__ import annotations

import logging
import re
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError, DTypeError, ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.ir import Graph, GraphBuilder, Node, TensorInfo
from fastconv.graph.model import Model
from fastconv.graph.session import MAX_PROGRAMS


def small_net(rng: np.random.Generator, shape: tuple[Any, ...] = ("batch", 3, None, None)) -> Graph:
    b = GraphBuilder("small", {})

    def w(*size: int) -> str:
        return b.constant(f"w{len(b.constants)}", rng.standard_normal(size).astype(np.float32) / 4)

    x = b.input("x", shape)
    y = b.add("Relu", b.add("Conv", x, w(8, 3, 3, 3), w(8), strides=[2, 2], pads=[1, 1, 1, 1], name="stem"))
    y = b.add("Relu", b.add("Add", b.add("Conv", y, w(8, 8, 3, 3), pads=[1, 1, 1, 1], name="block"), y))
    y = b.add("Conv", y, w(8, 1, 3, 3), group=8, pads=[1, 1, 1, 1], name="depthwise")
    features = b.add("Concat", y, b.add("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]))
    logits = b.add("Gemm", b.add("Flatten", b.add("GlobalAveragePool", features)), w(5, 16), w(5), transB=1)
    b.output(b.add("Softmax", logits), "scores", ("batch", 5))
    b.output(features, "features", ("batch", 16, None, None))
    return b.build()


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    return Model(small_net(rng))


def images(rng: np.random.Generator, n: int, size: int = 17) -> np.ndarray[Any, Any]:
    return rng.standard_normal((n, 3, size, size)).astype(np.float32)


def test_call_and_run(model: Model, rng: np.random.Generator) -> None:
    x = images(rng, 2)
    scores, features = model(x)
    assert scores.shape == (2, 5)
    assert features.shape == (2, 16, 9, 9)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    (only,) = model.run(["features"], {"x": x})
    np.testing.assert_array_equal(only, features)
    swapped = model.run(["features", "scores"], {"x": x})
    np.testing.assert_array_equal(swapped[1], scores)
    assert [(i.name, i.shape, i.dtype) for i in model.inputs] == [
        ("x", ("batch", 3, None, None), np.dtype(np.float32))
    ]
    assert [o.name for o in model.outputs] == ["scores", "features"]
    assert repr(model).startswith("<Model 'small': x['batch', 3, None, None] -> scores")


def test_results_are_fresh_arrays(model: Model, rng: np.random.Generator) -> None:
    x = images(rng, 1)
    first = model(x)[0]
    kept = first.copy()
    model(2 * x)
    np.testing.assert_array_equal(first, kept)


def test_any_batch_size_and_any_image_size(model: Model, rng: np.random.Generator) -> None:
    """Image i alone is bitwise image i of a batch."""
    for size in (17, 24):
        x = images(rng, 5, size)
        together = model(x)
        for i in range(5):
            for whole, alone in zip(together, model(x[i : i + 1]), strict=True):
                np.testing.assert_array_equal(whole[i : i + 1], alone)


@pytest.mark.parametrize("n", [1, 3])
def test_threads_do_not_change_a_bit(n: int, model: Model, rng: np.random.Generator) -> None:
    x = images(rng, n)
    with fastconv.threads(1):
        expected = model(x)
    with fastconv.threads(2):
        got = model(x)
    for e, g in zip(expected, got, strict=True):
        np.testing.assert_array_equal(e, g)


def test_empty_batch(model: Model) -> None:
    scores, features = model(np.empty((0, 3, 17, 17), np.float32))
    assert scores.shape == (0, 5)
    assert features.shape == (0, 16, 9, 9)
    with pytest.raises(ShapeError, match=r"'stem' .Conv.: x: expected at least 1 pixel"):
        model(np.empty((1, 3, 0, 17), np.float32))


def test_inputs_of_any_strides(model: Model, rng: np.random.Generator) -> None:
    x = images(rng, 2)
    expected = model(x)[0]
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for view in (nhwc.transpose(0, 3, 1, 2), np.repeat(x, 2, 3)[..., ::2], x[:, :, ::-1].copy()[:, :, ::-1]):
        np.testing.assert_array_equal(model(view)[0], expected)


def test_many_shapes_keep_few_programs(model: Model, rng: np.random.Generator) -> None:
    for size in range(8, 8 + 2 * MAX_PROGRAMS):
        model(images(rng, 1, size))
    assert len(model._session.programs) == MAX_PROGRAMS
    assert len(model._session.plans.packed) == 4  # three convolutions and the classifier, packed once


def test_packed_weights_are_released(model: Model, rng: np.random.Generator) -> None:
    model(images(rng, 1))
    kept = [c for c in model._session.constants.values() if len(c.shape) > 1]
    assert len(kept) == 4
    assert all(c._array is None for c in kept)
    model(images(rng, 2, 12))  # other shapes need them no more


def test_weights_of_a_graph_that_nobody_holds_are_freed(rng: np.random.Generator) -> None:
    held: list[weakref.ref[Any]] = []

    def make() -> Graph:
        graph = small_net(rng, ("batch", 3, 16, 16))
        held.extend(weakref.ref(array) for array in graph.constants.values() if array.ndim > 1)
        return graph

    model = Model(make)
    assert len(held) == 4
    assert all(array() is None for array in held)
    model(images(rng, 2, 16))


def test_concurrent_calls(rng: np.random.Generator) -> None:
    """Runs of the same and of different shapes at the same time, planned at the same time too."""
    inputs = [images(rng, n, size) for n in (1, 2) for size in (9, 17, 33)]
    expected = [Model(small_net(np.random.default_rng(7)))(x) for x in inputs]
    shared = Model(small_net(np.random.default_rng(7)))

    def call(i: int) -> None:
        for got, wanted in zip(shared(inputs[i % 6]), expected[i % 6], strict=True):
            np.testing.assert_array_equal(got, wanted)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(300)))
    assert shared._session.pool.bytes <= 8 * max(shared.memory(x.shape).arena_bytes for x in inputs)


def test_profile_has_a_time_for_each_step(model: Model, rng: np.random.Generator) -> None:
    x = images(rng, 1)
    executable = model._session.plan((x.shape,))
    outputs, seconds = executable.run_profiled([x])
    assert len(seconds) == len(executable.steps)
    assert all(s >= 0 for s in seconds)
    np.testing.assert_array_equal(outputs[0], model(x)[0])


def test_explain(model: Model) -> None:
    with pytest.raises(ArgumentError, match="shapes: expected the input shapes"):
        model.explain()
    text = model.explain((1, 3, 32, 32))
    assert text == model.explain()
    title, *lines = text.splitlines()
    threads, arena = fastconv.get_num_threads(), model.memory((1, 3, 32, 32)).arena_bytes
    assert title.endswith(f"{len(lines) - 1} steps, {threads} threads, arena {arena} bytes")
    columns = ["step", "algorithm", "tile", "input", "output", "memory", "workspace", "nodes"]
    assert lines[0].split() == columns
    assert any("conv + residual + relu" in line and "block Add_" in line for line in lines)
    assert any("depthwise" in line.split("(")[0] for line in lines)
    assert "(1, 3, 32, 32)" in lines[1]
    places = [m.groups() for line in lines for m in re.finditer(r"\b(\d+)\+(\d+)\b", line)]
    assert places
    assert all(int(offset) + int(size) <= arena for offset, size in places)


def test_verbose_prints_a_line_and_a_time_for_each_step(
    model: Model,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By logging, where the program has set it up, as pytest has, and on standard error where not."""
    x = images(rng, 1)
    quiet = model(x)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")
    monkeypatch.setenv("FASTCONV_VERBOSE", "1")
    model(x)
    assert capfd.readouterr() == ("", "")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("fastconv", "INFO")
    monkeypatch.setattr(logging.getLogger("fastconv"), "propagate", False)
    loud = model(x)
    out, err = capfd.readouterr()
    assert err.splitlines()[1] == record.getMessage().splitlines()[1]
    for a, b in zip(quiet, loud, strict=True):
        np.testing.assert_array_equal(a, b)
    assert out == ""
    title, header, *lines = err.splitlines()
    assert title.endswith(" ms")
    assert header.split()[:3] == ["ms", "step", "algorithm"]
    assert len(lines) == len(model.explain().splitlines()) - 2
    assert all(float(line.split()[0]) >= 0 for line in lines)


def test_layers(model: Model, rng: np.random.Generator) -> None:
    layers = model.layers
    assert [(layer.name, layer.parameters) for layer in layers[:3]] == [
        ("stem", 8 * 27 + 8),
        ("block", 8 * 72),
        ("depthwise", 72),
    ]
    assert layers[0].algorithm == ""
    assert layers[0].bytes == 4 * layers[0].parameters
    model(images(rng, 1))
    assert all(layer.algorithm for layer in model.layers)
    assert sum(layer.parameters for layer in model.layers) == 224 + 576 + 72 + 85
    assert list(model.layers[0].shapes.values()) == [(8, 3, 3, 3), (8,)]
    assert all(layer.bytes > 0 for layer in model.layers)


def test_fixed_shapes_are_planned_at_once(rng: np.random.Generator) -> None:
    model = Model(small_net(rng, ("batch", 3, 16, 16)))
    assert model.explain()
    assert model.layers[0].algorithm


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feed", "error", "message"),
    [
        (np.zeros((1, 3, 9, 9)), DTypeError, "input 'x': expected dtype float32 .* got float64"),
        (np.zeros((1, 3, 9, 9), ">f4"), DTypeError, "input 'x': expected dtype float32 .* other byte order"),
        (np.zeros((1, 3, 9, 9), object), DTypeError, "input 'x': expected dtype float32 .* got object"),
        ([["1.0"]], DTypeError, "input 'x': expected numbers"),
        (np.zeros((3, 9, 9), np.float32), ShapeError, "input 'x': expected 4 dimensions, got 3"),
        (np.zeros((1, 4, 9, 9), np.float32), ShapeError, "input 'x': expected 3 at axis 1, got 4"),
    ],
)
def test_wrong_input(feed: Any, error: type[Exception], message: str, model: Model) -> None:
    with pytest.raises(error, match=message):
        model(feed)


def test_wrong_names_and_counts(model: Model) -> None:
    x = np.zeros((1, 3, 9, 9), np.float32)
    with pytest.raises(ArgumentError, match="inputs: expected 1 arrays, got 2"):
        model(x, x)
    with pytest.raises(ArgumentError, match=r"feeds: expected arrays for \['x'\], got \['image'\]"):
        model.run(None, {"image": x})
    with pytest.raises(ArgumentError, match=r"output_names: expected names among .*, got 'probs'"):
        model.run(["probs"], {"x": x})


def test_shapes_that_do_not_fit_name_the_node() -> None:
    b = GraphBuilder("bad", {"w": np.ones((4, 3, 5, 5), np.float32)})
    b.output(b.add("Conv", b.input("x", ("batch", 3, None, None)), "w", name="stem"), "y", ("batch", 4, 1, 1))
    model = Model(b.build())
    with pytest.raises(ShapeError, match=r"node 'stem' \(Conv\): w: expected a kernel no larger than"):
        model(np.zeros((1, 3, 4, 4), np.float32))
    assert model(np.zeros((1, 3, 5, 5), np.float32)).shape == (1, 4, 1, 1)  # and the model still works


def one_node(
    op: str, *inputs: str, constants: dict[str, Any] | None = None, domain: str = "", **attrs: Any
) -> Graph:
    node = Node(op, "the node", inputs, ("y",), attrs, 13, domain)
    f32 = np.dtype(np.float32)
    return Graph(
        "one",
        (node,),
        (TensorInfo("x", ("batch", 3, 4, 4), f32),),
        (TensorInfo("y", ("batch", None, None, None), f32),),
        constants or {},
    )


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (
            one_node("Convolution", "x"),
            UnsupportedOpError,
            "'ai.onnx', opset 13; the nearest supported: Conv",
        ),
        (one_node("relu", "x"), UnsupportedOpError, "nearest supported: Relu"),
        (one_node("Conv", "x", domain="com.vendor"), UnsupportedOpError, "of domain 'com.vendor', opset 13"),
        (one_node("Conv", "x"), ModelError, "expected 2 to 3 inputs, got 1"),
        (one_node("Relu", ""), ModelError, "expected 1 to 1 inputs, got 0"),
        (one_node("Relu", "x", slope=1), UnsupportedOpError, r"expected attributes among \[\], got 'slope'"),
        (one_node("LRN", "x"), ModelError, "attribute size: expected int, got none"),
        (one_node("LRN", "x", size="3"), ModelError, "attribute size: expected int, got '3'"),
        (one_node("MaxPool", "x", kernel_shape=[2, 0]), ArgumentError, "kernel"),
        (one_node("MaxPool", "x", kernel_shape=[2]), ShapeError, "kernel_shape: expected 2 integers"),
        (one_node("MaxPool", "x", kernel_shape=[2, 2], strides=[0, 1]), ArgumentError, "stride"),
        (
            one_node("MaxPool", "x", kernel_shape=[2, 2], auto_pad="SAME"),
            ArgumentError,
            "auto_pad: expected one of",
        ),
        (one_node("Transpose", "x", perm=[0, 1, 2, 2]), ShapeError, "perm: expected each axis once"),
        (one_node("Concat", "x", axis=4), ShapeError, "axis: expected -4 to 3, got 4"),
        (one_node("Reshape", "x", "s", constants={"s": np.array([5, -1])}), ShapeError, "the 48 elements of"),
        (one_node("Reshape", "x", "x"), ShapeError, "shape: expected a vector of at most"),
        (one_node("DepthToSpace", "x", blocksize=0), ShapeError, "blocksize"),
        (one_node("Expand", "x", "s", constants={"s": np.array([2**40, 1, 1, 1])}), ShapeError, "at most"),
        (
            one_node("Add", "x", "s", constants={"s": np.ones(5, np.float32)}),
            ShapeError,
            "that broadcast, got",
        ),
        (one_node("Add", "x", "s", constants={"s": np.ones(4)}), DTypeError, "float32 and float64"),
        (one_node("Softmax", "x", axis=9), ShapeError, "axis"),
        (one_node("Cast", "x", to=8), UnsupportedOpError, "to: expected an element type among"),
        (one_node("Gelu", "x", approximate="erf"), UnsupportedOpError, "approximate: expected 'none'"),
    ],
    ids=lambda v: v.nodes[0].op if isinstance(v, Graph) else "",
)
def test_bad_graphs(graph: Graph, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as info:
        Model(graph)(np.zeros((1, 3, 4, 4), np.float32))
    assert str(info.value).startswith("node 'the node' (")


@pytest.mark.parametrize(
    ("w", "attrs", "message"),
    [
        ((4, 2, 3, 3), {}, "x: expected 2 channels"),
        ((4, 3, 3), {}, "w: expected|dimensions"),
        ((4, 3, 3, 3), {"group": 0}, "group"),
        ((4, 3, 3, 3), {"strides": [0, 1]}, "stride"),
        ((4, 3, 3, 3), {"strides": [1, 1, 1]}, "strides: expected 2 integers"),
        ((4, 3, 3, 3), {"pads": [-1, 0, 0, 0]}, "padding"),
        ((4, 3, 3, 3), {"dilations": [2**40, 1]}, "dilation"),
        ((4, 3, 3, 3), {"kernel_shape": [5, 5]}, "kernel_shape: expected .3, 3. as in the weights"),
        ((4, 3, 0, 3), {}, "w: expected"),
    ],
)
def test_bad_convolutions(w: tuple[int, ...], attrs: dict[str, Any], message: str) -> None:
    graph = one_node("Conv", "x", "w", constants={"w": np.ones(w, np.float32)}, **attrs)
    with pytest.raises((ShapeError, ArgumentError), match=message):
        Model(graph)


def test_batch_that_the_graph_fixes() -> None:
    f32 = np.dtype(np.float32)
    node = Node("Reshape", "flatten", ("x", "s"), ("y",))
    graph = Graph(
        "fixed",
        (node,),
        (TensorInfo("x", (1, 3, 4), f32),),
        (TensorInfo("y", (1, 12), f32),),
        {"s": np.array([1, -1])},
    )
    model = Model(graph)
    assert model(np.zeros((1, 3, 4), np.float32)).shape == (1, 12)
    with pytest.raises(ShapeError, match=r"input 'x': expected a batch of 1, .* would have shape \(1, 24\)"):
        model(np.zeros((2, 3, 4), np.float32))
