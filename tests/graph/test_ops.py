"""Every operator in its variants, as a model of one node, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.ort


class Case:
    """One node: shapes of its run-time inputs, then constants (arrays, or shapes of random weights)."""

    def __init__(
        self,
        op: str,
        shapes: Sequence[Sequence[int]],
        *constants: Any,
        opset: int = 13,
        outputs: int = 1,
        positive: bool = False,
        order: Sequence[int] | None = None,
        **attrs: Any,
    ) -> None:
        self.op, self.shapes, self.constants, self.attrs = op, shapes, constants, attrs
        self.opset, self.outputs, self.positive, self.order = opset, outputs, positive, order

    def __repr__(self) -> str:
        parts = [self.op, f"v{self.opset}", *("x".join(map(str, s)) for s in self.shapes)]
        parts += [
            c.name if isinstance(c, W) else "-" if c is None else str(np.shape(c)) for c in self.constants
        ]
        return " ".join([*parts, *(f"{k}={v}" for k, v in self.attrs.items())])


class W:
    """Random f32 weights of a shape."""

    def __init__(self, *shape: int, positive: bool = False) -> None:
        self.shape, self.positive = shape, positive
        self.name = "w" + "x".join(map(str, shape))


def i64(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def scalar(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, np.float32)


X = (2, 6, 9, 8)  # an image batch
STATS = (W(6), W(6), W(6), W(6, positive=True))

CONV = [
    Case("Conv", [X], W(4, 6, 3, 3)),
    Case("Conv", [X], W(4, 6, 3, 3), W(4), pads=[1, 1, 1, 1]),
    Case("Conv", [X], W(4, 6, 3, 2), W(4), pads=[0, 1, 2, 0], strides=[2, 1], kernel_shape=[3, 2]),
    Case("Conv", [X], W(4, 6, 3, 3), dilations=[2, 1], strides=[1, 2]),
    Case("Conv", [X], W(9, 2, 3, 3), W(9), group=3, pads=[1, 1, 1, 1]),
    Case("Conv", [X], W(6, 1, 3, 3), group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
    Case("Conv", [X], W(12, 1, 5, 5), W(12), group=6, pads=[2, 2, 2, 2]),
    Case("Conv", [X], W(4, 6, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    Case("Conv", [X], W(4, 6, 2, 4), auto_pad="SAME_LOWER"),
    Case("Conv", [X], W(4, 6, 2, 4), auto_pad="VALID"),
    Case("Conv", [X], W(4, 6, 1, 1), opset=1),
    Case("Conv", [(2, 6, 11)], W(5, 6, 3), W(5), pads=[1, 1], strides=[2]),
    Case("Conv", [(1, 4, 5, 6, 7)], W(5, 4, 3, 3, 3), W(5), pads=[1] * 6),
    Case("Conv", [(1, 4, 5, 6, 7)], W(5, 4, 1, 3, 3), strides=[1, 2, 2]),
    Case("ConvTranspose", [X], W(6, 4, 3, 3), W(4)),
    Case("ConvTranspose", [X], W(6, 4, 2, 2), strides=[2, 2]),
    Case("ConvTranspose", [X], W(6, 4, 3, 3), W(4), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    Case("ConvTranspose", [X], W(6, 2, 3, 3), group=2, pads=[1, 0, 0, 1], strides=[3, 2]),
    Case("ConvTranspose", [X], W(6, 4, 3, 3), dilations=[2, 2]),
    Case("ConvTranspose", [X], W(6, 4, 3, 3), strides=[2, 2], output_shape=[18, 16]),
    Case("ConvTranspose", [X], W(6, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    Case("ConvTranspose", [X], W(6, 4, 4, 4), strides=[2, 2], auto_pad="SAME_LOWER"),
    Case("ConvTranspose", [(2, 6, 11)], W(6, 3, 4), strides=[2]),
    Case("ConvTranspose", [(1, 4, 3, 4, 5)], W(4, 3, 2, 2, 2), strides=[2, 2, 2]),
]

LINEAR = [
    Case("Gemm", [(5, 7)], W(7, 4), W(4)),
    Case("Gemm", [(5, 7)], W(4, 7), W(4), transB=1),
    Case("Gemm", [(7, 5)], W(4, 7), W(1, 4), transA=1, transB=1, alpha=0.5, beta=2.0),
    Case("Gemm", [(5, 7)], W(7, 4), opset=11),
    Case("Gemm", [(5, 7)], W(7, 4), W(), alpha=0.25),
    Case("Gemm", [(5, 7)], W(7, 4), W(5, 1), beta=0.5),
    Case("Gemm", [(5, 7)], W(7, 4), W(5, 4)),
    Case("Gemm", [(5, 7), (7, 4)], W(4)),
    Case("Gemm", [(7, 5), (4, 7), (5, 4)], transA=1, transB=1, alpha=2.0, beta=0.5),
    Case("MatMul", [(5, 7)], W(7, 4)),
    Case("MatMul", [(2, 3, 5, 7)], W(7, 4)),
    Case("MatMul", [(5, 7), (7, 4)]),
    Case("MatMul", [(2, 3, 5, 7), (3, 7, 4)]),
    Case("MatMul", [(2, 1, 5, 7)], W(3, 7, 4)),
    Case("MatMul", [(7,)], W(7, 4)),
    Case("MatMul", [(5, 7)], W(7)),
    Case("MatMul", [(7,), (7,)]),
    Case("MatMul", [(2, 5, 7), (7,)]),
]

NORM = [
    Case("BatchNormalization", [X], *STATS, opset=7),
    Case("BatchNormalization", [X], *STATS, opset=9, epsilon=0.01),
    Case("BatchNormalization", [X], *STATS, opset=15, momentum=0.5),
    Case("BatchNormalization", [(3, 6)], *STATS, opset=14),
    Case("BatchNormalization", [(3, 6, 5)], *STATS),
    Case("LRN", [X], size=3),
    Case("LRN", [(1, 20, 4, 5)], size=5, alpha=0.05, beta=0.6, bias=2.0),
    Case("LayerNormalization", [X], W(8), W(8), opset=17),
    Case("LayerNormalization", [X], W(8), opset=17, epsilon=0.1),
    Case("LayerNormalization", [X], W(9, 8), W(9, 8), opset=17, axis=2),
    Case("LayerNormalization", [X], W(*X), W(*X), opset=17, axis=0),
    Case("LayerNormalization", [(2, 3, 100)], W(1), W(100), opset=17),
    Case("LayerNormalization", [(2, 5, 1)], W(1), W(1), opset=17),
    Case("LayerNormalization", [(300,)], W(300), W(300), opset=17),
    Case("InstanceNormalization", [X], W(6), W(6)),
    Case("InstanceNormalization", [X], np.ones(6, np.float32), np.zeros(6, np.float32)),
    Case("InstanceNormalization", [(2, 1, 50)], W(1), W(1), epsilon=0.2),
    Case("Softmax", [X], opset=11),
    Case("Softmax", [X], opset=11, axis=2),
    Case("Softmax", [X], opset=11, axis=-1),
    Case("Softmax", [(3, 10)], opset=9),
    Case("Softmax", [X]),
    Case("Softmax", [X], axis=1),
    Case("Softmax", [(3, 10)], axis=0),
]

POOL = [
    Case("MaxPool", [X], kernel_shape=[2, 2]),
    Case("MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    Case("MaxPool", [X], kernel_shape=[3, 2], strides=[2, 2], pads=[0, 1, 1, 0]),
    Case("MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    Case("MaxPool", [X], kernel_shape=[2, 2], dilations=[3, 2]),
    Case("MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    Case("MaxPool", [X], kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    Case("MaxPool", [X], kernel_shape=[3, 3], auto_pad="VALID"),
    Case("MaxPool", [(2, 3, 10)], kernel_shape=[3], strides=[2], pads=[1, 1]),
    Case("MaxPool", [(2, 3, 5, 6, 7)], kernel_shape=[2, 3, 2], strides=[1, 2, 2], pads=[1, 1, 0, 0, 1, 1]),
    Case("AveragePool", [X], kernel_shape=[3, 3]),
    Case("AveragePool", [X], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    Case("AveragePool", [X], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    Case("AveragePool", [X], kernel_shape=[3, 2], pads=[0, 1, 1, 0], strides=[2, 1]),
    Case("AveragePool", [X], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, opset=19),
    Case("AveragePool", [X], kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    Case("AveragePool", [X], kernel_shape=[2, 2], dilations=[2, 2], opset=19),
    Case("AveragePool", [(2, 3, 10)], kernel_shape=[3], pads=[1, 1]),
    Case("AveragePool", [(2, 3, 5, 6, 7)], kernel_shape=[2, 3, 2], pads=[1, 1, 0, 0, 1, 1]),
    Case("GlobalAveragePool", [X]),
    Case("GlobalAveragePool", [(2, 3, 10)]),
    Case("GlobalMaxPool", [X]),
    Case("GlobalMaxPool", [(2, 3, 4, 5, 6)]),
]

ACTIVATION = [
    Case("Relu", [X]),
    Case("Clip", [X], opset=6, min=-0.5, max=0.75),
    Case("Clip", [X], scalar(-0.5), scalar(0.5)),
    Case("Clip", [X], scalar(0.1)),
    Case("Clip", [X], None, scalar(0.1)),
    Case("LeakyRelu", [X]),
    Case("LeakyRelu", [X], alpha=0.3),
    Case("Sigmoid", [X]),
    Case("Tanh", [X]),
    Case("HardSigmoid", [X]),
    Case("HardSigmoid", [X], alpha=0.3, beta=0.4),
    Case("HardSwish", [X], opset=14),
    Case("Elu", [X], alpha=0.5),
    Case("Gelu", [X], opset=20),
    Case("Gelu", [X], opset=20, approximate="tanh"),
    Case("Mish", [X], opset=18),
    Case("Exp", [X]),
    Case("Sqrt", [X], positive=True),
    Case("Abs", [X]),
    Case("Neg", [(3,)]),
    Case("PRelu", [X], W(6, 1, 1)),
    Case("PRelu", [X], W(1)),
    Case("PRelu", [X, X]),
]

ELEMENTWISE = [
    *(Case(op, [X, X]) for op in ("Add", "Sub", "Mul", "Div")),
    *(Case(op, [X], W(6, 1, 1)) for op in ("Add", "Sub", "Mul", "Div")),
    *(Case(op, [X], W(), order=(1, 0)) for op in ("Add", "Sub", "Mul", "Div")),
    Case("Add", [X, (2, 6, 1, 1)]),
    Case("Mul", [(2, 6, 1, 1), X]),
    Case("Add", [(1, 6, 1, 1), (2, 1, 3, 4)]),
    Case("Mul", [(5,), (3, 5)]),
    Case("Pow", [X], scalar(2.0)),
    Case("Pow", [X], scalar(0.5), positive=True),
    Case("Pow", [X], np.array(3, np.int64)),
    Case("Pow", [X], f32(3)),
    Case("Pow", [X], f32(2), order=(0, 1)),
    Case("Pow", [(3,)], np.full((1, 1), 2, np.float32)),
    Case("Sum", [X]),
    Case("Sum", [X, X, (6, 1, 1)]),
    Case("Min", [X, X, X]),
    Case("Max", [X], W(8)),
]

REDUCE = [
    *(Case(op, [X], axes=[2, 3]) for op in ("ReduceMean", "ReduceMax", "ReduceMin")),
    Case("ReduceMean", [X], axes=[1], keepdims=0),
    Case("ReduceMean", [X], keepdims=0),
    Case("ReduceSum", [X], i64(1, -1), keepdims=0),
    Case("ReduceSum", [X], noop_with_empty_axes=1),
    Case("ReduceSum", [X], opset=11, axes=[0]),
    Case("ReduceMean", [X], i64(2, 3), opset=18),
    Case("ReduceMax", [(4, 5)], i64(0), opset=18),
]

TENSOR = [
    Case("Concat", [X, X], axis=1),
    Case("Concat", [X, (2, 6, 1, 8), X], axis=2),
    Case("Concat", [X, (1, 6, 9, 8)], axis=0),
    Case("Concat", [X], W(2, 3, 9, 8), axis=1),
    Case("Concat", [(2, 3), (2, 4)], axis=-1),
    Case("Concat", [(2, 1, 5, 4, 3), (2, 1, 5, 4, 3)], axis=1),
    Case("Concat", [(2, 5, 1, 3), (2, 5, 1, 3)], axis=2),
    Case("Split", [X], outputs=2, axis=1, opset=11),
    Case("Split", [X], outputs=3, axis=1, opset=11, split=[1, 2, 3]),
    Case("Split", [X], i64(4, 2), outputs=2, axis=1),
    Case("Split", [X], outputs=2, axis=3),
    Case("Split", [X], outputs=2, axis=2, opset=18, num_outputs=2),
    Case("Slice", [X], opset=9, starts=[1, 2], ends=[5, -1], axes=[1, 3]),
    Case("Slice", [X], i64(0, 8), i64(9, 0), i64(2, 3), i64(2, -3)),
    Case("Slice", [X], i64(-1), i64(-(2**62)), i64(-1), i64(-1)),
    Case("Slice", [X], i64(1, 1), i64(2, 2**40)),
    Case("Reshape", [X], i64(0, -1)),
    Case("Reshape", [X], i64(0, 3, 2, 9, 8)),
    Case("Reshape", [X], i64(2, 0, 72), opset=14, allowzero=0),
    Case("Reshape", [X], i64(-1), opset=5),
    Case("Flatten", [X]),
    Case("Flatten", [X], axis=3),
    Case("Flatten", [X], axis=-2),
    Case("Transpose", [X]),
    Case("Transpose", [X], perm=[0, 2, 3, 1]),
    Case("Squeeze", [(2, 1, 3, 1)], opset=11),
    Case("Squeeze", [(2, 1, 3, 1)], opset=11, axes=[1]),
    Case("Squeeze", [(2, 1, 3, 1)], i64(-1)),
    Case("Unsqueeze", [(2, 3)], opset=11, axes=[0, 3]),
    Case("Unsqueeze", [(2, 3)], i64(1, -1)),
    Case("Expand", [(2, 1, 3)], i64(4, 1, 5, 3)),
    Case("Expand", [(2, 1, 3)], i64(1, 5, 1)),
    Case("Gather", [X], np.array(2, np.int64), axis=1),
    Case("Gather", [X], i64(5, 3, 1), axis=1),
    Case("Gather", [X], np.array([[0, 5], [-1, 2]], np.int64), axis=1),
    Case("Gather", [X], i64(1), axis=0),
    Case("Pad", [X], opset=2, pads=[0, 0, 1, 2, 0, 0, 3, 0]),
    Case("Pad", [X], i64(0, 1, 1, 2, 0, 0, 3, 0), scalar(1.5)),
    Case("Pad", [X], i64(0, 0, -1, 2, 0, 0, -2, -3)),
    Case("Pad", [X], i64(1, 2, 3, 4), scalar(0.5), i64(-1, 1), opset=18),
    *(Case("Pad", [X], i64(0, 0, 2, 3, 0, 0, 1, 4), mode=mode) for mode in ("edge", "reflect")),
    Case("Pad", [X], i64(1, 2, 0, 3, 0, 2, 0, 0), mode="wrap", opset=19),
    Case("Identity", [X]),
    Case("Dropout", [X], opset=10, ratio=0.3),
    Case("Dropout", [X], scalar(0.3), np.array(False)),
    Case("Cast", [X], to=1),
    Case("DepthToSpace", [(2, 12, 3, 4)], blocksize=2),
    Case("DepthToSpace", [(2, 12, 3, 4)], blocksize=2, mode="CRD"),
    Case("SpaceToDepth", [(2, 3, 4, 6)], blocksize=2),
]

E32 = f32()  # an omitted list, as files before opset 13 write it
RESIZE = [
    Case("Upsample", [X], f32(1, 1, 2, 3), opset=9),
    Case("Upsample", [X], opset=7, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
    Case("Upsample", [X], f32(1, 1, 2, 2), opset=9, mode="linear"),
    Case("Resize", [X], f32(1, 1, 2, 2), opset=10),
    Case("Resize", [X], f32(1, 1, 0.5, 1.5), opset=10, mode="linear"),
    Case("Resize", [X], E32, f32(1, 1, 2, 2), opset=11),
    Case("Resize", [X], E32, E32, i64(2, 6, 13, 5), opset=11, mode="linear"),
    Case("Resize", [X], None, f32(1, 1, 1.7, 2.3)),
    Case(
        "Resize",
        [X],
        None,
        None,
        i64(2, 6, 18, 16),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    Case(
        "Resize",
        [X],
        None,
        None,
        i64(2, 6, 1, 16),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    Case("Resize", [X], None, f32(1, 1, 2, 2), mode="linear", coordinate_transformation_mode="asymmetric"),
    *(
        Case(
            "Resize",
            [X],
            None,
            f32(1, 1, 0.6, 1.5),
            nearest_mode=nearest,
            coordinate_transformation_mode=mode,
        )
        for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for mode in ("half_pixel", "asymmetric")
    ),
    Case("Resize", [(1, 4, 5, 3)], None, f32(1, 2, 2, 1), mode="nearest"),
    Case("Resize", [(2, 3, 5)], None, f32(1, 1, 2), mode="linear"),
    Case("Resize", [X], None, f32(2, 3), opset=18, axes=[2, 3]),
]

CASES = CONV + LINEAR + NORM + POOL + ACTIVATION + ELEMENTWISE + REDUCE + TENSOR + RESIZE


LAYOUTS = ("row major", "channels last", "sub-view")


def wrapped(
    onnx: Any, layout: str, name: str, x: np.ndarray[Any, Any]
) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """Return nodes that give a node its input ``name`` in a layout, and what to feed them."""
    rank = x.ndim
    if layout == "channels last":
        outer = [0, *range(2, rank), 1] if rank > 1 else [0]
        inner = [outer.index(i) for i in range(rank)]
        nodes = [onnx.helper.make_node("Transpose", [f"fed {name}"], [name], perm=inner)]
        return nodes, np.ascontiguousarray(x.transpose(outer))
    if layout == "sub-view" and rank:  # every second element of the last axis, from the second on
        fed = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), np.nan, np.float32)
        fed[..., 1::2] = x
        slicing = [f"{name} {part}" for part in ("starts", "ends", "axes", "steps")]
        constants = [
            onnx.helper.make_node("Constant", [], [n], value_ints=[v])
            for n, v in zip(slicing, (1, 2**31, -1, 2), strict=True)
        ]
        return [*constants, onnx.helper.make_node("Slice", [f"fed {name}", *slicing], [name])], fed
    return [onnx.helper.make_node("Identity", [f"fed {name}"], [name])], x


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_matches_onnx_runtime(
    case: Case, make_model: Any, runtime: Any, onnx: Any, rng: np.random.Generator
) -> None:
    def random(shape: Sequence[int], positive: bool) -> np.ndarray[Any, Any]:
        values = rng.standard_normal(shape).astype(np.float32)
        return np.abs(values) + np.float32(0.1) if positive else values

    feeds = {f"x{i}": random(shape, case.positive) for i, shape in enumerate(case.shapes)}
    constants: dict[str, Any] = {}
    names = list(feeds)
    for i, c in enumerate(case.constants):
        names.append("" if c is None else f"c{i}")
        if c is not None:
            constants[f"c{i}"] = random(c.shape, c.positive) if isinstance(c, W) else c
    names = names if case.order is None else [names[i] for i in case.order]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = onnx.helper.make_node(case.op, names, outputs, "node", **case.attrs)

    def model_of(nodes: list[Any], fed: Mapping[str, Any]) -> Any:
        return make_model(nodes, {n: a.shape for n, a in fed.items()}, constants, outputs, case.opset)

    expected = runtime(model_of([node], feeds), feeds)
    for layout in LAYOUTS if case.opset >= 13 else LAYOUTS[:2]:
        pairs = {name: wrapped(onnx, layout, name, x) for name, x in feeds.items()}
        fed = {f"fed {name}": x for name, (_, x) in pairs.items()}
        model = model_of([*(n for nodes, _ in pairs.values() for n in nodes), node], fed)
        for passes in ("default", "none"):
            got = fastconv.load(model, passes=passes).run(None, fed)
            check_equal(got, expected)


def check_equal(got: Sequence[Any], expected: Sequence[Any]) -> None:
    assert [g.shape for g in got] == [e.shape for e in expected]
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype
        assert g.flags.c_contiguous
        np.testing.assert_allclose(g, e, rtol=2e-5, atol=2e-5 * max(1.0, float(np.abs(e).max(initial=0))))


def test_squares_are_products(onnx: Any, make_model: Any, rng: np.random.Generator) -> None:
    node = onnx.helper.make_node("Pow", ["x", "two"], ["y"])
    model = fastconv.load(make_model([node], {"x": ["n", 7]}, {"two": np.float32([2])}))
    x = rng.standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(model(x), x * x)
    assert "binary mul" in model.explain()


@pytest.mark.parametrize("op", ["GroupNormalization", "InstanceNormalization", "MeanVarianceNormalization"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_normalisation_of_a_large_mean(op: str, channels_last: bool, onnx: Any, make_model: Any) -> None:
    # One rounding of the mean costs half a unit in its last place; sums of the pixels lost more.
    make = onnx.helper.make_node
    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((1, 4, 40, 40)) * 0.01).astype(np.float32)
    given = x.transpose(0, 2, 3, 1).copy() if channels_last else x
    wide = x.astype(np.float64)
    groups = wide.reshape(1, 2, -1) if op == "GroupNormalization" else wide.reshape(1, 4, -1)
    expected = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-12)
    attrs = {} if op == "MeanVarianceNormalization" else {"epsilon": 1e-12}
    attrs |= {"num_groups": 2} if op == "GroupNormalization" else {}
    vectors = [] if op == "MeanVarianceNormalization" else ["s", "b"]
    nodes = [make("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if channels_last else []
    nodes.append(make(op, ["t" if channels_last else "x", *vectors], ["y"], **attrs))
    constants = {"s": np.ones(4, np.float32), "b": np.zeros(4, np.float32)} if vectors else {}
    y = fastconv.load(make_model(nodes, {"x": given.shape}, constants, opset=21))(given)
    limit = 1.5 * float(np.spacing(np.float32(1000))) / 2 / 0.01
    assert np.abs(y - expected.reshape(x.shape)).max() < limit
