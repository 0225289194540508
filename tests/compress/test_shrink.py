"""shrink: channels of zeros, constants and unread ones go; the results stay, at the border too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
import small_networks
from fastconv import models
from fastconv.cli import main
from fastconv.compress import shrink
from fastconv.compress.channels import Trace, traced
from fastconv.compress.mask import masked
from fastconv.compress.shrink import PASSES
from fastconv.errors import ArgumentError, ModelError, ShapeError, UnsupportedOpError
from fastconv.exporters.onnx import to_file, to_proto
from fastconv.graph.ir import Graph
from fastconv.graph.passes import run_passes
from fastconv.profiler import count

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


def random_model(name: str) -> Graph:
    architecture = getattr(models, name)
    graph: Graph = architecture.graph(architecture.random_weights())
    rng = np.random.default_rng(1)
    for node in graph.nodes:
        if node.op == "BatchNormalization":  # such as training leaves, so that constants are many
            for given, (low, high) in zip(
                node.inputs[1:], ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5)), strict=True
            ):
                array = graph.constants[given]
                array[:] = rng.uniform(low, high, array.shape)
    return graph


STREAMS = 256 + 512 + 1024 + 2048  # of ResNet-50, each block's sums in one
INNER = 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)
# The size of its image, and how many sets of channels there are, counted by hand from the papers' tables.
FAMILIES: dict[str, tuple[Callable[[], Graph], int, int | None]] = {
    "resnet50": (lambda: random_model("resnet50"), 64, 64 + STREAMS + INNER),
    # The stem and the streams that sums join; what each block expands them to.

    "mobilenet_v2": (
        lambda: random_model("mobilenet_v2"), 64,
        32 + 16 + 24 + 32 + 64 + 96 + 160 + 320 + 1280
        + 96 + 2 * 144 + 3 * 192 + 4 * 384 + 3 * 576 + 3 * 960
    ),
    "mobilenet_v3_small": (lambda: random_model("mobilenet_v3_small"), 64, None),
    "shufflenet_v2_x0_5": (lambda: random_model("shufflenet_v2_x0_5"), 64, None),
    "squeezenet1_1": (
        lambda: random_model("squeezenet1_1"), 64,
        64 + sum(n + 8 * n for n in (16, 16, 32, 32, 48, 48, 64, 64)),
    ),
    "googlenet": (lambda: random_model("googlenet"), 64, None),
    "densenet": (small_networks.densenet, 32, 16 + 6 * (24 + 8) + 20 + 22),
    "unet": (small_networks.unet, 32, 16 + 16 + 32 + 32 + 64 + 32 + 32 + 16),
    "yolo": (small_networks.yolo, 64, None),
}  # fmt: skip


def free_sets(trace: Trace) -> list[int]:
    written = {n for output in trace.layers for n in trace.channels[output].sets.tolist()}
    return sorted(written - trace.frozen.keys())


def expected_macs(trace: Trace, gone: list[int]) -> float:
    """What is left where each layer loses its share of inputs and of outputs."""
    left = 0.0
    for output, layer in trace.layers.items():
        given = trace.channels.get(layer.node.inputs[0])
        inputs = 1 if given is None or layer.depthwise else 1 - np.isin(given.sets, gone).mean()
        left += layer.macs * inputs * (1 - np.isin(trace.channels[output].sets, gone).mean())
    return left


@pytest.mark.parametrize("shifts", [True, False], ids=["zeros", "constants"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, shifts: bool, tmp_path: Path) -> None:
    define, size, sets = FAMILIES[family]
    shape = (1, 3, size, size)
    trace = traced(run_passes(define(), PASSES), [shape])
    free = free_sets(trace)
    if sets is not None:
        assert len(free) == sets
    gone = np.random.default_rng(3).choice(free, int(0.3 * len(free)), replace=False).tolist()
    graph = masked(trace, gone, shifts=shifts)
    result = shrink(graph, shapes=[shape])
    x = np.random.default_rng(4).standard_normal(shape, np.float32)
    expected = fastconv.Model(graph)(x)
    got = result.model()(x)
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)
    before, after = (count(fastconv.Model(g), shape).totals["macs"] for g in (graph, result.graph))
    possible = before - before * expected_macs(trace, gone) / expected_macs(trace, [])
    # The graphs of zeros lose all; those of constants keep one for each layer that sees zeros beside it.
    assert before - after > (0.999 if shifts else 0.8) * possible
    for name, g in (("before", graph), ("after", result.graph)):
        to_file(g, tmp_path / f"{name}.onnx")
    assert (tmp_path / "after.onnx").stat().st_size < 0.75 * (tmp_path / "before.onnx").stat().st_size


def test_other_engines_agree() -> None:
    """The file of a network that is shrunk, its shuffles and constants, as ONNX Runtime runs it."""
    runtime = pytest.importorskip("onnxruntime")
    trace = traced(run_passes(random_model("shufflenet_v2_x0_5"), PASSES), [(1, 3, 64, 64)])
    graph = masked(trace, free_sets(trace)[::3], shifts=False)
    x = np.random.default_rng(4).standard_normal((2, 3, 64, 64), np.float32)
    expected, got = (
        runtime.InferenceSession(to_proto(g).SerializeToString()).run(None, {"input": x})[0]
        for g in (graph, shrink(graph).graph)
    )
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)


def test_five_filters() -> None:
    """Of five filters two are zeros: three are left, and the next layer reads three."""
    b = small_networks.Builder("five")
    x = b.add("Relu", b.conv(b.input("x", (1, 3, 8, 8)), (5, 3, 3, 3), "conv"))
    b.output(b.conv(x, (4, 5, 1, 1), "next"), "y", (1, 4, 8, 8))
    graph = b.build()
    w, bias = (graph.constants[name] for name in graph.nodes[0].inputs[1:])
    w[[1, 3]] = 0
    bias[[1, 3]] = 0
    result = shrink(graph)
    shapes = {
        node.name: result.graph.constants[node.inputs[1]].shape
        for node in result.graph.nodes
        if node.op == "Conv"
    }
    assert shapes == {"conv": (3, 3, 3, 3), "next": (4, 3, 1, 1)}
    np.testing.assert_array_equal(result.graph.constants[result.graph.nodes[0].inputs[1]], w[[0, 2, 4]])
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(result.model()(x), fastconv.Model(graph)(x), rtol=0, atol=1e-5)
    rows = {row.name: (row.inputs, row.outputs) for row in result.report.layers}
    assert rows == {"conv": ((3, 3), (5, 3)), "next": ((5, 3), (4, 4))}


FUNCTIONS: dict[str, dict[str, Any]] = {
    "Sigmoid": {}, "HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "Exp": {}, "HardSwish": {},
    "LeakyRelu": {"alpha": 0.1}, "Softplus": {},
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("pad", [0, 1])
def test_constants_are_folded_where_that_is_exact(function: str, pad: int) -> None:
    """Behind a filter of zeros is f(bias): the next bias takes it in, but not with zeros beside the image."""
    b = small_networks.Builder("constants")
    x = b.conv(b.input("x", (1, 3, 6, 6)), (6, 3, 3, 3), "first")
    y = b.conv(b.add(function, x, **FUNCTIONS[function]), (4, 6, 3, 3), "second", pads=[pad] * 4)
    b.output(y, "y", (1, 4, None, None))
    graph = b.build()
    graph.constants[graph.nodes[0].inputs[1]][[0, 2, 5]] = 0
    result = shrink(graph)
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6), np.float32)
    np.testing.assert_allclose(result.model()(x), fastconv.Model(graph)(x), rtol=0, atol=2e-5)
    first = result.report.layers[0]
    assert first.outputs == (6, 4 if pad else 3)  # one stands for the three
    assert sum(first.kept.values()) == pad
    if pad:
        assert "node 'second' (Conv) sees zeros" in next(iter(first.kept))


def test_what_nobody_reads_goes() -> None:
    b = small_networks.Builder("unread")
    x = b.add("Tanh", b.conv(b.input("x", (1, 3, 6, 6)), (6, 3, 3, 3), "first"))
    x = b.add("Relu", b.conv(x, (8, 6, 3, 3), "second"))
    b.output(b.conv(x, (4, 8, 3, 3), "third"), "y", (1, 4, 6, 6))
    graph = b.build()
    layers = {node.name: node for node in graph.nodes}
    graph.constants[layers["third"].inputs[1]][:, :5] = 0
    graph.constants[layers["second"].inputs[1]][5:, :2] = 0  # so that first's are read by what goes alone
    result = shrink(graph)
    assert {row.name: row.outputs for row in result.report.layers} == {
        "first": (6, 4), "second": (8, 3), "third": (4, 4),
    }  # fmt: skip


@pytest.mark.parametrize("op", ["BatchNormalization", "Mul"])
def test_a_factor_of_zero_makes_a_constant(op: str) -> None:
    b = small_networks.Builder("factor")
    x = b.input("x", (1, 3, 6, 6))
    # A sum: what follows it is not folded into a layer.
    x = b.add("Add", b.conv(x, (6, 3, 3, 3), "first"), b.conv(x, (6, 3, 3, 3), "second"))
    factor = np.float32([1, 0, 2, 0, 0, 3])
    rest = [np.full(6, value, np.float32) for value in (0.5, 0.25, 1)]  # what is added, mean, variance
    factors = factor if op == "BatchNormalization" else factor[:, np.newaxis, np.newaxis]
    x = b.add(op, x, *map(b.array, (factors, *(rest if op == "BatchNormalization" else ()))))
    b.output(b.conv(x, (4, 6, 1, 1), "last"), "y", (1, 4, 6, 6))
    first, second, last = shrink(b.build()).report.layers
    assert first.outputs == second.outputs == last.inputs == (6, 3)
    assert first.changed


def test_a_sum_keeps_what_either_side_has() -> None:
    b = small_networks.Builder("sum")
    x = b.input("x", (1, 3, 6, 6))
    y = b.add("Add", b.conv(x, (6, 3, 3, 3), "left"), b.conv(x, (6, 3, 3, 3), "right"))
    b.output(b.conv(y, (4, 6, 1, 1), "last"), "y", (1, 4, 6, 6))
    graph = b.build()
    for node, gone in zip(graph.nodes[:2], ([0, 1, 2], [2, 3]), strict=True):
        for name in node.inputs[1:]:
            graph.constants[name][gone] = 0
    result = shrink(graph)
    left, right, last = result.report.layers
    assert left.outputs == right.outputs == (6, 5)  # both are zeros in one channel alone
    why = "node 'last' (Conv) reads it where it is no constant"
    assert left.kept == {why: 2}
    assert right.kept == {why: 1}
    assert last.inputs == (6, 5)


def test_groups_stay_alike() -> None:
    b = small_networks.Builder("groups")
    x = b.add("Relu", b.conv(b.input("x", (1, 3, 6, 6)), (12, 3, 3, 3), "first"))
    x = b.add("Relu", b.add("Conv", x, b.weights(12, 4, 3, 3), name="grouped", group=3, pads=[1] * 4))
    b.output(b.conv(x, (4, 12, 1, 1), "last"), "y", (1, 4, 6, 6))
    graph = b.build()
    first, _, grouped, *_ = graph.nodes
    for name in first.inputs[1:]:
        graph.constants[name][[0, 1, 4, 8, 9, 10, 11]] = 0  # two of a group, one, and all
    graph.constants[grouped.inputs[1]][8:] = 0
    result = shrink(graph)
    one, two, three = result.report.layers
    assert (one.outputs, two.outputs, three.inputs) == ((12, 6), (12, 8), (12, 8))
    assert one.kept == {"node 'grouped' (Conv) has groups of one size": 1}
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6), np.float32)
    np.testing.assert_allclose(result.model()(x), fastconv.Model(graph)(x), rtol=0, atol=1e-5)


def test_flat_and_channels_last() -> None:
    """A product reads channels of an image as columns, in either order; PRelu has a slope for each."""
    b = small_networks.Builder("flat")
    x = b.conv(b.input("x", ("batch", 3, 4, 4)), (8, 3, 3, 3), "conv")
    x = b.add("PRelu", x, b.array(np.linspace(0.1, 0.8, 8, dtype=np.float32).reshape(8, 1, 1)))
    flat = b.add("Gemm", b.add("Reshape", x, b.ints(-1, 128)), b.weights(6, 128), transB=1, name="gemm")
    last = b.add("Flatten", b.add("Transpose", x, perm=[0, 2, 3, 1]))
    last = b.add("MatMul", last, b.weights(128, 6), name="matmul")
    b.output(b.add("Concat", flat, last, axis=1), "y", ("batch", 12))
    graph = b.build()
    graph.constants[graph.nodes[0].inputs[1]][[2, 3, 7]] = 0  # constants: MatMul gets a bias for them
    result = shrink(graph)
    assert [row.inputs for row in result.report.layers] == [(3, 3), (128, 80), (128, 80)]
    x = np.random.default_rng(0).standard_normal((3, 3, 4, 4), np.float32)
    np.testing.assert_allclose(result.model()(x), fastconv.Model(graph)(x), rtol=0, atol=1e-5)


def test_networks_whose_plan_depends_on_values_are_refused() -> None:
    b = small_networks.Builder("computed")
    x = b.conv(b.input("x", (1, 3, 6, 6)), (6, 3, 3, 3), "first")
    shift = b.add("Reshape", b.add("GlobalAveragePool", x), b.ints(-1))
    given = b.vector(6, 1, 2), shift, b.vector(6, 0, 1), b.vector(6, 1, 2)
    x = b.add("BatchNormalization", x, *given, name="computed")
    b.output(b.conv(x, (4, 6, 1, 1), "last"), "y", (1, 4, 6, 6))
    with pytest.raises(UnsupportedOpError, match=r"node 'computed' .*: expected shapes that follow from"):
        shrink(b.build())


def test_a_layer_of_zeros_alone_keeps_a_channel() -> None:
    b = small_networks.Builder("zeros")
    x = b.conv(b.input("x", (1, 3, 6, 6)), (6, 3, 3, 3), "first")
    b.output(b.conv(x, (4, 6, 1, 1), "last"), "y", (1, 4, 6, 6))
    graph = b.build()
    graph.constants[graph.nodes[0].inputs[1]][:] = 0
    first, last = shrink(graph).report.layers
    assert first.outputs == last.inputs == (6, 1)
    assert [reason.split("'")[0] for reason in first.kept] == ["value "]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = traced(run_passes(small_networks.unet(), PASSES), [(1, 3, 32, 32)])
    to_file(masked(trace, free_sets(trace)[::3]), tmp_path / "net.onnx")
    out = tmp_path / "small.onnx"
    given = ["shrink", str(tmp_path / "net.onnx"), "-o", str(out), "--input-shape", "1,3,32,32"]
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "16 > 10" in said
    assert "million multiply-accumulates a sample" in said
    assert main([*given, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["file_bytes"] == out.stat().st_size < (tmp_path / "net.onnx").stat().st_size
    assert record["macs"][1] < record["macs"][0]
    x = np.random.default_rng(0).standard_normal((2, 3, 48, 32), np.float32)  # of another size
    y, z = (fastconv.load(tmp_path / name)(x) for name in ("net.onnx", "small.onnx"))
    np.testing.assert_allclose(z, y, rtol=0, atol=1e-5 * np.abs(y).max())


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = small_networks.unet()
    with pytest.raises(ArgumentError, match=r"shapes: expected 1, one an input"):
        shrink(graph, shapes=[(1, 3, 8, 8), (1,)])
    with pytest.raises(ShapeError, match=r"input 'x': expected 3 at axis 1, got 4"):
        shrink(graph, shapes=[(1, 4, 8, 8)])
    b = small_networks.Builder("rows")
    b.output(b.add("Gemm", b.input("x", ("batch", None)), b.weights(3, 4)), "y")
    with pytest.raises(ArgumentError, match=r"shapes: expected a shape for input 'x'"):
        shrink(b.build())
    with pytest.raises(ModelError, match=r"expected a \.onnx file or a model, got '.txt'"):
        shrink("net.txt")
    to_file(graph, tmp_path / "net.onnx")
    assert main(["shrink", str(tmp_path / "net.onnx"), "-o", "small.fcm"]) == 2
    assert "--output: expected a file ending in .onnx" in capsys.readouterr().err
