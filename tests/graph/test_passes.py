"""Each pass does what it says, and leaving any of them out changes rounding alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, GraphBuilder, TensorInfo
from fastconv.graph.model import Model
from fastconv.graph.passes import PASSES, run_passes

X = (2, 6, 8, 7)


class Net:
    """A graph with random weights under construction."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.b = GraphBuilder("net", {})
        self.x = self.b.input("x", ("batch", 6, None, None))
        self.steps = ""  # what was quantised last

    def w(self, *shape: int, positive: bool = False) -> str:
        values = self.rng.standard_normal(shape).astype(np.float32)
        values = np.abs(values) + np.float32(0.5) if positive else values
        return self.b.constant(f"w{len(self.b.constants)}", values)

    def number(self, value: float) -> str:
        return self.b.constant(f"w{len(self.b.constants)}", np.array(value, np.float32))

    def conv(self, x: str, oc: int = 6, **attrs: Any) -> str:
        return self.b.add("Conv", x, self.w(oc, 6, 3, 3), self.w(oc), pads=[1, 1, 1, 1], **attrs)

    def batch_norm(self, x: str, c: int = 6) -> str:
        return self.b.add("BatchNormalization", x, self.w(c), self.w(c), self.w(c), self.w(c, positive=True))

    def graph(self, *outputs: str) -> Graph:
        for i, value in enumerate(outputs):
            self.b.output(value, f"y{i}", ("batch", None, None, None))
        return self.b.build()


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def run(graph: Graph, passes: str | Sequence[str], x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    return Model(graph, passes=passes).run(None, {"x": x})


def check_agrees(graph: Graph, rng: np.random.Generator, rtol: float = 2e-5) -> None:
    """All passes, no pass, and all but each one give the same."""
    x = rng.standard_normal(X).astype(np.float32)
    expected = run(graph, "none", x)
    for left_out in (None, *PASSES):
        got = run(graph, [name for name in PASSES if name != left_out], x)
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=rtol, atol=rtol * np.abs(e).max(), err_msg=str(left_out))


@pytest.fixture
def net(rng: np.random.Generator) -> Net:
    return Net(rng)


def test_identity_and_dropout_go(net: Net, rng: np.random.Generator) -> None:
    y = net.b.add("Identity", net.b.add("Relu", net.b.add("Dropout", net.x)))
    graph = net.graph(y)
    assert ops(run_passes(graph, ["eliminate_identity"])) == ["Relu"]
    check_agrees(graph, rng)


def test_identity_of_an_input_stays(net: Net, rng: np.random.Generator) -> None:
    graph = net.graph(net.x, net.x)
    assert ops(run_passes(graph)) == ["Identity", "Identity"]
    x = rng.standard_normal(X).astype(np.float32)
    for y in Model(graph)(x):
        np.testing.assert_array_equal(x, y)


def test_one_value_under_two_output_names(net: Net, rng: np.random.Generator) -> None:
    y = net.b.add("Relu", net.x)
    graph = net.graph(y, y)
    assert ops(run_passes(graph)) == ["Relu", "Identity"]
    check_agrees(graph, rng)


def test_constants_are_folded(net: Net, rng: np.random.Generator) -> None:
    shape = net.b.constant("shape", np.array([6, 1, 1], np.int64))
    ones = net.b.add("ConstantOfShape", shape, value=np.array([2.0], np.float32))
    scale = net.b.add("Add", ones, net.b.add("Sqrt", net.w(6, 1, 1, positive=True)))
    graph = net.graph(net.b.add("Mul", net.b.add("Relu", net.x), scale))
    folded = run_passes(graph, ["fold_constants", "eliminate_identity"])
    assert ops(folded) == ["Relu", "Mul"]
    assert len(folded.constants) == 1
    check_agrees(graph, rng)


def test_dead_nodes_go(net: Net) -> None:
    net.b.add("Tanh", net.x)
    net.conv(net.x)
    graph = run_passes(net.graph(net.b.add("Relu", net.x)), ["eliminate_dead"])
    assert ops(graph) == ["Relu", "Identity"]
    assert not graph.constants


def test_pad_moves_into_convolutions(net: Net, rng: np.random.Generator) -> None:
    padded = net.b.add("Pad", net.x, pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="constant")
    graph = net.graph(net.conv(padded), net.b.add("Conv", padded, net.w(4, 6, 2, 2), auto_pad="VALID"))
    folded = run_passes(graph, ["fold_pad"])
    assert [(n.op, n.attrs.get("pads")) for n in folded.nodes[:2]] == [
        ("Conv", [2, 3, 4, 1]),
        ("Conv", [1, 2, 3, 0]),
    ]
    check_agrees(graph, rng)


@pytest.mark.parametrize(
    "attrs",
    [
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 1.0},
        {"pads": [0, 0, -1, 1, 0, 0, 1, 1]},
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "edge"},
        {"pads": [1, 0, 1, 1, 0, 0, 1, 1]},
    ],
)
def test_pad_that_is_no_border_of_zeros_stays(
    attrs: dict[str, Any], net: Net, rng: np.random.Generator
) -> None:
    graph = net.graph(net.conv(net.b.add("Pad", net.x, **attrs)))
    assert ops(run_passes(graph))[0] == "Pad"
    check_agrees(graph, rng)


def test_pad_that_another_node_reads_stays(net: Net, rng: np.random.Generator) -> None:
    padded = net.b.add("Pad", net.x, pads=[0, 0, 1, 1, 0, 0, 1, 1])
    graph = net.graph(net.conv(padded), net.b.add("Relu", padded))
    assert ops(run_passes(graph))[0] == "Pad"
    check_agrees(graph, rng)


def test_batch_norm_and_arithmetic_fold_into_a_convolution(net: Net, rng: np.random.Generator) -> None:
    y = net.batch_norm(net.conv(net.x))
    y = net.b.add("Mul", y, net.w(6, 1, 1))
    y = net.b.add("Sub", net.w(1, 6, 1, 1), net.b.add("Add", net.number(0.5), y))
    graph = net.graph(net.b.add("Div", y, net.w(6, 1, 1, positive=True)))
    folded = run_passes(graph)
    assert ops(folded) == ["Conv"]
    assert len(folded.nodes[0].absorbed) == 5
    check_agrees(graph, rng)


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_norm_folds_into_a_transposed_convolution(
    groups: int, net: Net, rng: np.random.Generator
) -> None:
    y = net.b.add("ConvTranspose", net.x, net.w(6, 4, 3, 3), group=groups, strides=[2, 2])
    graph = net.graph(net.batch_norm(y, 4 * groups))
    assert ops(run_passes(graph)) == ["ConvTranspose"]
    check_agrees(graph, rng)


def test_arithmetic_folds_into_matrix_products(net: Net, rng: np.random.Generator) -> None:
    rows = net.b.add("Flatten", net.b.add("GlobalAveragePool", net.x))
    y = net.b.add("Gemm", rows, net.w(5, 6), net.w(5), transB=1)
    y = net.b.add("Mul", net.batch_norm(y, 5), net.w(5))
    y = net.b.add("Add", net.b.add("MatMul", y, net.w(5, 4)), net.w(4))
    graph = net.graph(net.b.add("Mul", net.w(4), y))
    assert ops(run_passes(graph)) == ["GlobalAveragePool", "Flatten", "Gemm", "FusedMatMul"]
    check_agrees(graph, rng)


def test_batch_norm_absorbs_what_follows(net: Net, rng: np.random.Generator) -> None:
    y = net.b.add("Concat", net.x, net.b.add("MaxPool", net.x, kernel_shape=[1, 1]), axis=1)
    y = net.b.add("Add", net.b.add("Mul", net.batch_norm(y, 12), net.w(12, 1, 1)), net.w(12, 1, 1))
    graph = net.graph(net.b.add("Relu", y))
    assert ops(run_passes(graph)) == ["MaxPool", "Concat", "BatchNormalization"]
    check_agrees(graph, rng)


def test_arithmetic_that_is_not_by_channel_stays(net: Net, rng: np.random.Generator) -> None:
    y = net.b.add("Add", net.conv(net.x), net.w(8, 7))
    y = net.b.add("Mul", net.conv(y), net.w(1, 1, 6, 1, 1))  # makes five dimensions of four
    graph = net.graph(y)
    assert ops(run_passes(graph)) == ["Conv", "Add", "Conv", "Mul"]
    check_agrees(graph, rng)


def test_a_value_that_is_read_twice_is_not_folded(net: Net, rng: np.random.Generator) -> None:
    y = net.conv(net.x)
    graph = net.graph(net.batch_norm(y), net.b.add("Relu", y), y)
    assert ops(run_passes(graph)) == ["Conv", "BatchNormalization", "Relu"]
    check_agrees(graph, rng)


def test_swish_is_recognised(net: Net, rng: np.random.Generator) -> None:
    y = net.conv(net.x)
    y = net.b.add("Mul", net.b.add("Sigmoid", y), y)
    z = net.conv(net.x)
    z = net.b.add("Mul", z, net.b.add("HardSigmoid", z, alpha=1 / 6, beta=0.5))
    graph = net.graph(y, z)
    assert [n.activation.kind for n in run_passes(graph).nodes] == ["silu", "hardswish"]
    check_agrees(graph, rng)


@pytest.mark.parametrize("form", ["x * clip / 6", "x * (clip / 6)", "clip * (1 / 6)"])
def test_hard_functions_are_recognised(form: str, net: Net, rng: np.random.Generator) -> None:
    x = net.conv(net.x)
    clip = net.b.add("Clip", net.b.add("Add", x, net.number(3.0)), net.number(0.0), net.number(6.0))
    if form == "x * clip / 6":
        y = net.b.add("Div", net.b.add("Mul", x, clip), net.number(6.0))
    elif form == "x * (clip / 6)":
        y = net.b.add("Mul", x, net.b.add("Div", clip, net.number(6.0)))
    else:
        y = net.b.add("Mul", clip, net.number(1 / 6))
    graph = net.graph(y)
    expected = "hardsigmoid" if form == "clip * (1 / 6)" else "hardswish"
    assert [n.activation.kind for n in run_passes(graph).nodes] == [expected]
    check_agrees(graph, rng)


@pytest.mark.parametrize("form", ["x * (erf + 1) * 0.5", "(erf + 1) * 0.5 * x", "0.5 x * (1 + erf)"])
@pytest.mark.parametrize("scaled", ["Div", "Mul"])
def test_gelu_is_recognised(form: str, scaled: str, net: Net, rng: np.random.Generator) -> None:
    b, c = net.b, net.conv(net.x)
    root = net.number(2**0.5 if scaled == "Div" else 0.5**0.5)
    erf = b.add("Erf", b.add(scaled, c, root))
    one, half = net.number(1), net.number(0.5)
    if form == "x * (erf + 1) * 0.5":
        y = b.add("Mul", b.add("Mul", c, b.add("Add", erf, one)), half)
    elif form == "(erf + 1) * 0.5 * x":
        y = b.add("Mul", b.add("Mul", b.add("Add", erf, one), half), c)
    else:
        y = b.add("Mul", b.add("Mul", c, half), b.add("Add", one, erf))
    graph = net.graph(y)
    assert [n.activation.kind for n in run_passes(graph).nodes] == ["gelu"]
    check_agrees(graph, rng)


@pytest.mark.parametrize("wrong", ["scale", "one", "half", "x", "read twice"])
def test_what_is_no_gelu(wrong: str, net: Net, rng: np.random.Generator) -> None:
    b, c = net.b, net.conv(net.x)
    other = net.conv(net.x)
    erf = b.add("Erf", b.add("Div", c, net.number(1.4 if wrong == "scale" else 2**0.5)))
    sum_ = b.add("Add", erf, net.number(2 if wrong == "one" else 1))
    product = b.add("Mul", other if wrong == "x" else c, sum_)
    y = b.add("Mul", product, net.number(0.25 if wrong == "half" else 0.5))
    graph = net.graph(y, *([sum_] if wrong == "read twice" else []))
    assert {n.activation.kind for n in run_passes(graph).nodes} == {"none", "erf"}
    check_agrees(graph, rng)


def quantised(
    net: Net, x: str, scale: float = 0.05, zero: Any = None, back: tuple[float, Any] | None = None
) -> str:
    """Add what quantises a value and what turns it back, as quantisers write them around each layer."""

    def add(op: str, x: str, scale: float, zero: Any) -> str:
        zeros = [] if zero is None else [net.b.constant(f"w{len(net.b.constants)}", zero)]
        return net.b.add(op, x, net.number(scale), *zeros)

    net.steps = add("QuantizeLinear", x, scale, zero)
    return add("DequantizeLinear", net.steps, *((scale, zero) if back is None else back))


@pytest.mark.parametrize("zero", [None, np.uint8(0), np.uint8(131), np.int8(-128), np.int8(7)], ids=repr)
@pytest.mark.parametrize("before", ["Conv", "Add", "input"])
def test_quantised_and_back_at_once(zero: Any, before: str, net: Net, rng: np.random.Generator) -> None:
    zero = None if zero is None else np.array(zero)
    if before == "input":
        y = net.conv(quantised(net, net.x, 0.03, zero))
    else:
        y = quantised(net, net.conv(quantised(net, net.x, 0.03, zero)), 0.2, zero)
        if before == "Add":
            y = quantised(net, net.b.add("Add", y, net.conv(net.x)), 0.3, zero)
    graph = net.graph(y)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {*ops(run_passes(graph))}
    assert len(run_passes(graph).nodes) == {"input": 2, "Conv": 2, "Add": 3}[before]
    x = rng.standard_normal(X).astype(np.float32)
    np.testing.assert_array_equal(run(graph, "default", x)[0], run(graph, "none", x)[0])


@pytest.mark.parametrize(("element", "before"), [(6, "Cast"), (6, "Add"), (11, "Cast"), (11, "Add")])
def test_other_types_are_quantised_to_float32(
    element: int, before: str, net: Net, rng: np.random.Generator
) -> None:
    y = net.b.add("Cast", net.x, to=element)  # int32, float64
    y = net.b.add("Add", y, y) if before == "Add" else y
    graph = net.graph(net.conv(quantised(net, y, 0.3, np.array(100, np.uint8))))
    assert "DequantizeLinear" not in ops(run_passes(graph))
    x = 20 * rng.standard_normal(X).astype(np.float32)
    np.testing.assert_array_equal(run(graph, "default", x)[0], run(graph, "none", x)[0])


@pytest.mark.parametrize(
    ("limits", "zero", "gone"),
    [
        ((0, np.inf), np.uint8(0), True),
        ((0, np.inf), np.int8(-128), True),
        ((0, np.inf), np.uint8(1), False),  # -1 step would pass
        ((0, 6), np.uint8(0), False),  # 120 steps of 0.05: 255 would pass
        ((0, 12.75), np.uint8(0), True),
        ((0, 12.7), np.uint8(0), False),
        ((-6.4, 6.35), np.int8(0), True),
    ],
)
def test_a_relu_that_the_quantised_range_makes_needless(
    limits: tuple[float, float], zero: Any, gone: bool, net: Net, rng: np.random.Generator
) -> None:
    y = net.b.add("Clip", net.conv(net.x), *map(net.number, limits))
    graph = net.graph(quantised(net, y, 0.05, np.array(zero)))
    first, *rest = run_passes(graph).nodes
    assert first.activation.kind == ("fake_quantize" if gone else "clamp")
    assert [node.op for node in rest] == ([] if gone else ["FakeQuantize"])
    x = 3 * rng.standard_normal(X).astype(np.float32)
    np.testing.assert_array_equal(run(graph, "default", x)[0], run(graph, "none", x)[0])


@pytest.mark.parametrize(
    "case", ["other scale", "other zero point", "16 bits", "by channel", "read twice", "an output"]
)
def test_what_stays_integers(case: str, net: Net, rng: np.random.Generator) -> None:
    zero = np.array(3, np.uint16 if case == "16 bits" else np.uint8)
    if case == "by channel":
        scales, zeros = net.w(6, positive=True), net.b.constant("zeros", np.zeros(6, np.uint8))
        net.steps = net.b.add("QuantizeLinear", net.x, scales, zeros)
        y = net.b.add("DequantizeLinear", net.steps, scales, zeros)
    else:
        back = {"other scale": (0.1, zero), "other zero point": (0.05, np.array(4, np.uint8))}.get(case)
        y = quantised(net, net.x, 0.05, zero, back)
    if case == "read twice":
        y = net.b.add("Add", y, net.b.add("Cast", net.steps, to=1))
    graph = net.graph(net.conv(y), *([net.steps] if case == "an output" else []))
    assert "QuantizeLinear" in ops(run_passes(graph))
    if case != "an output":  # its element type is not f32, as the graph says
        x = rng.standard_normal(X).astype(np.float32)
        np.testing.assert_array_equal(run(graph, "default", x)[0], run(graph, "none", x)[0])


def test_sigmoid_of_another_value_is_no_swish(net: Net, rng: np.random.Generator) -> None:
    graph = net.graph(net.b.add("Mul", net.b.add("Sigmoid", net.x), net.b.add("Relu", net.x)))
    assert ops(run_passes(graph)) == ["Sigmoid", "Relu", "Mul"]
    check_agrees(graph, rng)


def test_residual_and_relu_are_fused(net: Net, rng: np.random.Generator) -> None:
    shortcut = net.b.add("Relu", net.conv(net.x))
    y = net.b.add("Relu", net.b.add("Add", net.conv(shortcut), shortcut))
    y = net.b.add("Relu", net.b.add("Sum", net.conv(net.x), net.conv(y)))
    graph = net.graph(y)
    fused = run_passes(graph)
    assert ops(fused) == ["Conv", "FusedConv", "Conv", "FusedConv"]
    assert [n.activation.kind for n in fused.nodes] == ["clamp", "clamp", "none", "clamp"]
    check_agrees(graph, rng)


def test_residual_may_broadcast(net: Net, rng: np.random.Generator) -> None:
    small = net.b.add("GlobalAveragePool", net.x)
    down = net.b.add("Relu", net.b.add("Add", net.conv(net.x), small))
    up = net.b.add("Relu", net.b.add("Add", net.x, net.conv(net.b.add("GlobalMaxPool", net.x))))
    graph = net.graph(down, up)
    assert ops(run_passes(graph)).count("FusedConv") == 2
    check_agrees(graph, rng)


def test_sum_of_a_value_with_itself_is_not_fused(net: Net, rng: np.random.Generator) -> None:
    y = net.conv(net.x)
    graph = net.graph(net.b.add("Add", y, y))
    assert ops(run_passes(graph)) == ["Conv", "Add"]
    check_agrees(graph, rng)


def test_activations_are_fused_once(net: Net, rng: np.random.Generator) -> None:
    y = net.b.add("Tanh", net.b.add("LeakyRelu", net.conv(net.x)))
    z = net.b.add("Sigmoid", net.b.add("Sub", net.x, net.b.add("MaxPool", net.x, kernel_shape=[1, 1])))
    graph = net.graph(y, z)
    fused = run_passes(graph)
    assert [(n.op, n.activation.kind) for n in fused.nodes] == [
        ("Conv", "leaky_relu"),
        ("Tanh", "none"),
        ("MaxPool", "none"),
        ("Sub", "sigmoid"),
    ]
    check_agrees(graph, rng)


def test_an_output_keeps_its_value(net: Net, rng: np.random.Generator) -> None:
    y = net.conv(net.x)
    graph = net.graph(net.b.add("Relu", y))
    also = replace(graph, outputs=(*graph.outputs, TensorInfo(y, (None,) * 4, np.dtype(np.float32))))
    assert ops(run_passes(also)) == ["Conv", "Relu"]
    check_agrees(also, rng)


def test_unknown_pass_is_an_error(net: Net) -> None:
    graph = net.graph(net.b.add("Relu", net.x))
    with pytest.raises(ArgumentError, match="passes: expected names among default, none, eliminate_identity"):
        Model(graph, passes=["fold_everything"])


@pytest.mark.parametrize("cube", ["Pow", "Mul"])
def test_gelu_by_tanh_is_recognised(cube: str, net: Net, rng: np.random.Generator) -> None:
    b, c = net.b, net.conv(net.x)
    x3 = b.add("Pow", c, net.number(3)) if cube == "Pow" else b.add("Mul", b.add("Mul", c, c), c)
    inner = b.add("Add", c, b.add("Mul", net.number(0.044715), x3))
    tanh = b.add("Tanh", b.add("Mul", net.number((2 / np.pi) ** 0.5), inner))
    y = b.add("Mul", b.add("Mul", c, b.add("Add", tanh, net.number(1))), net.number(0.5))
    graph = net.graph(y)
    assert [n.activation.kind for n in run_passes(graph).nodes] == ["gelu_tanh"]
    check_agrees(graph, rng)


@pytest.mark.parametrize("wrong", ["factor", "cube", "x", "scale"])
def test_what_is_no_gelu_by_tanh(wrong: str, net: Net, rng: np.random.Generator) -> None:
    b, c = net.b, net.conv(net.x)
    x3 = b.add("Pow", c, net.number(2 if wrong == "cube" else 3))
    cubic = b.add("Mul", net.number(0.05 if wrong == "factor" else 0.044715), x3)
    inner = b.add("Add", net.x if wrong == "x" else c, cubic)
    tanh = b.add("Tanh", b.add("Mul", net.number(1.0 if wrong == "scale" else (2 / np.pi) ** 0.5), inner))
    graph = net.graph(b.add("Mul", b.add("Mul", c, b.add("Add", tanh, net.number(1))), net.number(0.5)))
    assert "gelu_tanh" not in [n.activation.kind for n in run_passes(graph).nodes]
    check_agrees(graph, rng)


def test_mish_is_recognised(net: Net, rng: np.random.Generator) -> None:
    c = net.conv(net.x)
    graph = net.graph(net.b.add("Mul", c, net.b.add("Tanh", net.b.add("Softplus", c))))
    assert [n.activation.kind for n in run_passes(graph).nodes] == ["mish"]
    check_agrees(graph, rng)
    other = net.graph(net.b.add("Mul", net.x, net.b.add("Tanh", net.b.add("Softplus", net.conv(net.x)))))
    assert [n.activation.kind for n in run_passes(other).nodes][1:] == ["softplus", "none", "none"]


def branch(net: Net, kernel: int, groups: int = 1, **attrs: Any) -> str:
    """A convolution of x as large as x, and its batch normalisation."""
    w = net.w(6, 6 // groups, kernel, kernel)
    half = attrs.get("dilations", [1, 1])[0] * (kernel // 2)
    return net.batch_norm(net.b.add("Conv", net.x, w, group=groups, pads=[half] * 4, **attrs))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("dilations", [[1, 1], [2, 2]])
def test_branches_become_one_convolution(
    groups: int, dilations: list[int], net: Net, rng: np.random.Generator
) -> None:
    y = net.b.add("Add", net.batch_norm(net.x), branch(net, 1, groups, dilations=dilations))
    y = net.b.add("Add", branch(net, 5, groups, dilations=dilations), y)
    y = net.b.add("Add", y, branch(net, 3, groups, dilations=dilations))
    y = net.b.add("Add", y, net.x) if groups == 6 else y
    graph = net.graph(net.b.add("Relu", net.batch_norm(y)))
    merged = run_passes(graph)
    assert ops(merged) == ["Conv"]
    assert len(merged.nodes[0].absorbed) == (12 if groups == 6 else 11)
    check_agrees(graph, rng)


def test_strided_branches_become_one_convolution(net: Net, rng: np.random.Generator) -> None:
    graph = net.graph(net.b.add("Add", branch(net, 1, strides=[2, 2]), branch(net, 3, strides=[2, 2])))
    assert ops(run_passes(graph)) == ["Conv"]
    check_agrees(graph, rng)


def test_branches_without_bias_or_centre_become_one_convolution(net: Net, rng: np.random.Generator) -> None:
    wide = net.b.add("Conv", net.x, net.w(6, 6, 2, 4), pads=[1, 2, 0, 1])
    part = net.b.add("Conv", net.x, net.w(6, 6, 1, 2), pads=[0, 1, 0, 0])  # its taps are (1, 1) and (1, 2)
    graph = net.graph(net.b.add("Add", part, wide))
    merged = run_passes(graph)
    assert ops(merged) == ["Conv"]
    assert merged.nodes[0].inputs[2] == ""
    check_agrees(graph, rng)


@pytest.mark.parametrize("why", ["stride", "dilation", "groups", "value", "read twice", "activation", "size"])
def test_branches_that_differ_stay(why: str, net: Net, rng: np.random.Generator) -> None:
    b = net.b
    first = b.add("Conv", net.x, net.w(6, 6, 3, 3), pads=[1, 1, 1, 1])
    if why == "stride":  # 8 x 7 become 8 x 7 in either
        second = b.add("Conv", net.x, net.w(6, 6, 1, 1), strides=[2, 2], pads=[4, 3, 3, 3])
    elif why == "dilation":
        second = b.add("Conv", net.x, net.w(6, 6, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
    elif why == "groups":
        second = b.add("Conv", net.x, net.w(6, 2, 3, 3), group=3, pads=[1, 1, 1, 1])
    elif why == "value":
        second = b.add("Conv", b.add("Relu", net.x), net.w(6, 6, 1, 1))
    elif why == "size":  # broadcasts: one column
        second = b.add("Conv", b.add("GlobalAveragePool", net.x), net.w(6, 6, 1, 1))
    else:
        second = b.add("Conv", net.x, net.w(6, 6, 1, 1))
    second = b.add("Relu", second) if why == "activation" else second
    graph = net.graph(b.add("Add", first, second), *([second] if why == "read twice" else []))
    left = [n for n in run_passes(graph).nodes if n.op in ("Conv", "FusedConv")]
    assert len(left) == 2
    check_agrees(graph, rng)
