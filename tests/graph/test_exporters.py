"""Habits of real exporters, each a small model beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ShapeError

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.ort

SEED = 7


def model_of(text: str, opset: int = 17, **weights: np.ndarray[Any, Any]) -> Any:
    """A model from the text of its graph; ``weights`` are added as initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def agree(model: Any, *inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Run a model here and in ONNX Runtime, compare, and return the results."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))
    expected = session.run(None, feeds)
    results = fastconv.load(model).run(None, feeds)
    for got, wanted in zip(results, expected, strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(got, wanted)
    return results


def normal(*shape: int, seed: int = SEED) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


X = normal(1, 4, 8, 8, seed=1)
W = normal(6, 4, 3, 3, seed=2)


def test_weights_in_constant_nodes_and_no_initializers() -> None:
    w = onnx.numpy_helper.from_array(W, "w")
    model = model_of("net (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y) { y = Conv(x, w) }")
    constant = onnx.helper.make_node("Constant", [], ["w"], value=w)
    nodes = [constant, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        node.name = ""
    agree(model, X)


def test_a_bias_that_is_reshaped_and_added() -> None:
    model = model_of(
        """net (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y) {
            c = Conv(x, w)
            s = Constant <value_ints = [1, -1, 1, 1]> ()
            b4 = Reshape(b, s)
            y = Add(c, b4)
        }""",
        w=W,
        b=normal(6),
    )
    agree(model, X)
    assert "binary" not in fastconv.load(model).explain()  # it is the convolution's bias


def test_decomposed_hard_swish_and_silu() -> None:
    model = model_of(
        """net (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y, float[1, 6, 6, 6] z) {
            c = Conv(x, w)
            three = Constant <value_float = 3.0> ()
            six = Constant <value_float = 6.0> ()
            zero = Constant <value_float = 0.0> ()
            a = Add(c, three)
            k = Clip(a, zero, six)
            m = Mul(c, k)
            y = Div(m, six)
            g = Sigmoid(c)
            z = Mul(c, g)
        }""",
        w=W,
    )
    agree(model, X)


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
def test_decomposed_layer_norm(opset: int) -> None:
    axes = "<axes = [-1], keepdims = 1> (t)" if opset < 18 else "<keepdims = 1> (t, last)"
    square = "<axes = [-1], keepdims = 1> (q)" if opset < 18 else "<keepdims = 1> (q, last)"
    model = model_of(
        f"""net (float[1, 4, 8, 8] x) => (float[1, 8, 8, 4] y) {{
            t = Transpose <perm = [0, 2, 3, 1]> (x)
            two = Constant <value_float = 2.0> ()
            eps = Constant <value_float = 0.00001> ()
            last = Constant <value_ints = [-1]> ()
            m = ReduceMean {axes}
            d = Sub(t, m)
            q = Pow(d, two)
            v = ReduceMean {square}
            ve = Add(v, eps)
            s = Sqrt(ve)
            n = Div(d, s)
            g = Mul(n, gamma)
            y = Add(g, beta)
        }}""",
        opset,
        gamma=normal(4),
        beta=normal(4, seed=3),
    )
    if opset < 12:  # no value_float yet
        for node in model.graph.node:
            for a in node.attribute:
                if a.name in ("value_float", "value_ints"):
                    array = np.float32(a.f) if a.name == "value_float" else np.array(a.ints)
                    a.CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(array)))
    agree(model, X)


def test_attention_around_a_cnn() -> None:
    """Shapes are computed at run time in int64, heads split by Reshape and Transpose."""
    model = model_of(
        """net (float[N, 4, H, W] x) => (float[N, 4, H, W] y) {
            shape = Shape(x)
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            i0 = Constant <value_int = 0> ()
            i2 = Constant <value_int = 2> ()
            i3 = Constant <value_int = 3> ()
            n = Gather(shape, zero)
            h = Gather(shape, i2)
            w = Gather(shape, i3)
            hw = Mul(h, w)
            hw1 = Unsqueeze(hw, zero)
            heads = Constant <value_ints = [2, 2]> ()
            split = Concat <axis = 0> (n, heads, hw1)
            q4 = Reshape(x, split)
            q = Transpose <perm = [0, 1, 3, 2]> (q4)
            scores = MatMul(q, q4)
            scale = Constant <value_float = 0.7> ()
            scaled = Mul(scores, scale)
            p = Softmax <axis = -1> (scaled)
            o = MatMul(p, q)
            ot = Transpose <perm = [0, 1, 3, 2]> (o)
            y0 = Reshape(ot, shape)
            y = Add(y0, x)
        }"""
    )
    agree(model, X)
    agree(model, normal(2, 4, 3, 5))


def test_shape_arithmetic_feeds_resize_and_expand() -> None:
    """Range, ConstantOfShape, Cast to int32 and back, floats of scales."""
    model = model_of(
        """net (float[N, 4, H, W] x) => (float[N, 4, H2, W2] y, float[R, C] grid) {
            shape = Shape(x)
            s32 = Cast <to = 6> (shape)
            sf = Cast <to = 1> (s32)
            factor = Constant <value_floats = [1.0, 1.0, 2.0, 1.5]> ()
            larger = Mul(sf, factor)
            whole = Floor(larger)
            sizes = Cast <to = 7> (whole)
            y = Resize <
                mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"
            > (x, , , sizes)
            i2 = Constant <value_int = 2> ()
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            h = Gather(shape, i2)
            rows = Range(start, h, step)
            rowf = Cast <to = 1> (rows)
            ax = Constant <value_ints = [1]> ()
            column = Unsqueeze(rowf, ax)
            dims = Constant <value_ints = [1, 3]> ()
            ones = ConstantOfShape <value = float[1] {1.0}> (dims)
            full = Constant <value_ints = [1, 3]> ()
            wide = Expand(column, full)
            grid = Mul(wide, ones)
        }"""
    )
    agree(model, X)
    agree(model, normal(1, 4, 5, 6))


def test_empty_roi_and_omitted_inputs() -> None:
    model = model_of(
        """net (float[1, 4, 8, 8] x) => (float[1, 4, 16, 16] y) {
            y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, roi, scales)
        }""",
        roi=np.zeros(0, np.float32),
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    agree(model, X)


def test_old_and_new_forms_of_axes() -> None:
    for opset, squeeze, unsqueeze in (
        (11, "<axes = [2, 3]> (m)", "<axes = [0]> (s)"),
        (13, "(m, hw)", "(s, first)"),
    ):
        model = model_of(
            f"""net (float[1, 4, 8, 8] x) => (float[1, 1, 4] y) {{
                m = GlobalAveragePool(x)
                s = Squeeze {squeeze}
                y = Unsqueeze {unsqueeze}
            }}""",
            opset,
            hw=np.array([2, 3]),
            first=np.array([0]),
        )
        agree(model, X)


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_auto_pad(pad: str, stride: int) -> None:
    attributes = f'auto_pad = "{pad}", strides = [{stride}, {stride}]'
    model = model_of(
        f"""net (float[1, 4, 8, 8] x) => (float[N, C, H, W] y, float[N, C, H, W] a, float[N, C, H, W] m) {{
            y = Conv <{attributes}> (x, w)
            a = AveragePool <{attributes}, kernel_shape = [3, 2]> (x)
            m = MaxPool <{attributes}, kernel_shape = [2, 3]> (x)
        }}""",
        w=W,
    )
    agree(model, X)
    agree(
        model_of(
            f"net (float[1, 4, H, W] x) => (float[N, C, H, W] y) {{ y = Conv <{attributes}> (x, w) }}", w=W
        ),
        normal(1, 4, 7, 9),
    )


def test_a_pad_node_before_a_convolution() -> None:
    model = model_of(
        """net (float[1, 4, 8, 8] x) => (float[1, 6, 8, 9] y) {
            p = Pad(x, pads)
            y = Conv(p, w)
        }""",
        w=W,
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 2]),
    )
    agree(model, X)


def test_nhwc_at_the_door() -> None:
    model = model_of(
        """net (float[1, 8, 8, 4] x) => (float[1, 6, 6, 6] y) {
            t = Transpose <perm = [0, 3, 1, 2]> (x)
            c = Conv(t, w)
            r = Relu(c)
            y = Transpose <perm = [0, 2, 3, 1]> (r)
        }""",
        w=W,
    )
    agree(model, normal(1, 8, 8, 4))
    assert "copy" not in fastconv.load(model).explain()  # NHWC is what kernels have


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1), (1, 6, 1, 1), (1,), (1, 1, 1)])
def test_prelu_slopes(shape: tuple[int, ...]) -> None:
    model = model_of(
        "net (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y) { c = Conv(x, w) y = PRelu(c, s) }",
        w=W,
        s=normal(*shape),
    )
    if shape == (6,):  # as ONNX broadcasts it: along the last axis, 6 wide here
        assert W.shape[0] == 6
    agree(model, X)


def test_dims_that_are_minus_one_or_unknown() -> None:
    model = model_of("net (float[N, 4, H, W] x) => (float[N, 6, A, B] y) { y = Conv(x, w) }", w=W)
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (None, 4, "?", None), strict=True):
        dim.Clear()
        if isinstance(value, int):
            dim.dim_value = value
        elif value:
            dim.dim_param = value
    agree(model, X)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert fastconv.load(model)(X).shape == (1, 6, 6, 6)  # ONNX Runtime refuses it


def yolo_head() -> Any:
    """A detection head as YOLOv8 exports it: two scales, boxes by softmax over 16 bins, a grid of anchors."""
    return model_of(
        """net (float[1, 80, 8, 8] a, float[1, 80, 4, 4] b) => (float[1, 20, 80] y) {
            s = Constant <value_ints = [1, 80, -1]> ()
            fa = Reshape(a, s)
            fb = Reshape(b, s)
            all = Concat <axis = 2> (fa, fb)
            box, cls = Split <axis = 1> (all, parts)
            bins = Constant <value_ints = [1, 4, 16, 80]> ()
            b4 = Reshape(box, bins)
            bt = Transpose <perm = [0, 2, 1, 3]> (b4)
            p = Softmax <axis = 1> (bt)
            d = Conv(p, dfl)
            four = Constant <value_ints = [1, 4, 80]> ()
            dist = Reshape(d, four)
            lt, rb = Split <axis = 1> (dist, halves)
            x1 = Sub(anchors, lt)
            x2 = Add(anchors, rb)
            sum = Add(x1, x2)
            two = Constant <value_float = 2.0> ()
            centre = Div(sum, two)
            size = Sub(x2, x1)
            xywh = Concat <axis = 1> (centre, size)
            scaled = Mul(xywh, strides)
            prob = Sigmoid(cls)
            y = Concat <axis = 1> (scaled, prob)
        }""",
        parts=np.array([64, 16]),
        halves=np.array([2, 2]),
        dfl=np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1),
        anchors=normal(1, 2, 80),
        strides=np.repeat(np.float32([8, 16]), [64, 16])[None],
    )


def test_a_yolo_head() -> None:
    agree(yolo_head(), normal(1, 80, 8, 8), normal(1, 80, 4, 4))


def test_selection_of_detections_at_the_end() -> None:
    """TopK by a k that is computed, Gather by indices that are, thresholds by NonZero and GatherND."""
    model = model_of(
        """net (float[N, 5] boxes) => (float[K, 5] best, float[M] over, int64[K] order) {
            column = Constant <value_int = 4> ()
            score = Gather <axis = 1> (boxes, column)
            shape = Shape(score)
            three = Constant <value_ints = [3]> ()
            k = Min(shape, three)
            top, order = TopK(score, k)
            best = Gather(boxes, order)
            half = Constant <value_float = 0.5> ()
            high = Greater(score, half)
            where = NonZero(high)
            rows = Transpose(where)
            over = GatherND(score, rows)
        }"""
    )
    for n in (2, 10, 50):
        agree(model, np.random.default_rng(n).random((n, 5), np.float32))
    agree(model, np.zeros((4, 5), np.float32))  # nothing is over


def test_branches() -> None:
    """An If as torch.jit exports it: by a rank or a size that is known, or by a value that is not."""
    model = model_of(
        """net (float[N, 3] x, bool[1] flag) => (float[N, 3] y) {
            y = If (flag) <
                then_branch = then () => (float[N, 3] t) { a = Relu(x) t = Add(a, w) },
                else_branch = other () => (float[N, 3] t) {
                    z = Constant <value_int = 0> ()
                    shape = Shape(x)
                    n = Gather(shape, z)
                    many = Constant <value_int = 4> ()
                    big = Greater(n, many)
                    t = If (big) <
                        then_branch = large () => (float[N, 3] u) { u = Neg(x) },
                        else_branch = small () => (float[N, 3] u) { u = Mul(x, w) }
                    >
                }
            >
        }""",
        w=normal(3),
    )
    for n in (2, 6):
        for flag in (True, False):
            agree(model, normal(n, 3), np.array([flag]))
    with pytest.raises(ShapeError, match=r"node '.*' .If.: condition: expected one bool"):
        fastconv.load(model).run(None, {"x": normal(2, 3), "flag": np.array([True, False])})


def test_half_precision_weights() -> None:
    """A float16 model: inputs, weights and outputs are stored in it; sums are not rounded to it."""
    model = model_of(
        "net (float16[1, 4, 8, 8] x) => (float16[1, 6, 6, 6] y) { c = Conv(x, w) y = Relu(c) }",
        w=W.astype(np.float16),
    )
    x = X.astype(np.float16)
    y = fastconv.load(model)(x)
    assert y.dtype == np.float16
    wide = fastconv.conv2d(x.astype(np.float32), W.astype(np.float16).astype(np.float32), activation="relu")
    np.testing.assert_array_equal(y, wide.astype(np.float16))
