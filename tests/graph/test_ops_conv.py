"""Convolutions in forms beyond those of test_ops.py: transposed, in other element types, and Col2Im."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv

Array = np.ndarray[Any, Any]

CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 6, 9, 8), (4, 6, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ((2, 6, 9, 8), (9, 2, 3, 2), {"group": 3, "dilations": [2, 3]}),
    ((1, 6, 9, 8), (6, 1, 3, 3), {"group": 6, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 6, 9, 8), (4, 6, 2, 4), {"auto_pad": "SAME_LOWER"}),
    ((2, 6, 11), (5, 6, 3), {"pads": [3, 1]}),
    ((1, 4, 5, 6, 7), (6, 2, 3, 1, 2), {"group": 2, "strides": [1, 2, 2], "pads": [1, 0, 1, 0, 0, 1]}),
]

TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 6, 5, 4), (6, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ((2, 6, 5, 4), (6, 2, 3, 2), {"group": 3, "dilations": [2, 3]}),
    ((1, 6, 5, 4), (6, 1, 3, 3), {"group": 6, "strides": [2, 2], "output_padding": [1, 0]}),
    ((1, 6, 5, 4), (6, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ((1, 6, 5, 4), (6, 2, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    ((1, 6, 5, 4), (6, 2, 3, 3), {"output_shape": [12, 8], "strides": [3, 2]}),
    ((1, 6, 5, 4), (6, 2, 3, 3), {"output_shape": [10, 7], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 6, 5, 4), (6, 2, 3, 3), {"output_shape": [9, 8], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((2, 6, 7), (6, 3, 4), {"strides": [3], "pads": [1, 2]}),
    ((2, 6, 5, 4), (6, 1, 2, 2), {"strides": [2, 2]}),
    ((2, 6, 5, 4), (6, 5, 2, 3), {"strides": [2, 3]}),
    ((1, 6, 5, 4), (6, 24, 4, 1), {"strides": [4, 1], "auto_pad": "SAME_UPPER"}),
    ((1, 6, 5, 4), (6, 2, 2, 3), {"strides": [2, 3], "output_shape": [9, 12]}),
    ((1, 6, 5, 4), (6, 1, 2, 2), {"strides": [2, 2], "group": 3}),
    ((1, 4, 3, 2, 4), (4, 2, 2, 3, 2), {"strides": [2, 1, 2], "group": 2, "pads": [0, 1, 0, 1, 1, 0]}),
]


@pytest.mark.ort
@pytest.mark.parametrize(
    ("op", "case"),
    [*zip(itertools.repeat("Conv"), CONVOLUTIONS), *zip(itertools.repeat("ConvTranspose"), TRANSPOSED)],
    ids=str,
)
def test_convolutions(
    op: str, case: Any, check_node: Any, runtime: Any, node_model: Any, rng: np.random.Generator
) -> None:
    x_shape, w_shape, attrs = case
    oc = w_shape[0] if op == "Conv" else w_shape[1] * attrs.get("group", 1)
    inputs = [rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, (oc,))]
    for given in (inputs, inputs[:2]):
        check_node(op, given, opset=11, **attrs)
        (expected,) = runtime(*node_model(op, given, opset=11, **attrs))
        wide, dtype = [a.astype(np.float64) for a in given], np.float64
        check_node(op, wide, outputs=[dtype], expected=[expected.astype(dtype)], opset=11, **attrs)


@pytest.mark.ort
@pytest.mark.parametrize("activation", ["Sigmoid", "Relu", None])
@pytest.mark.parametrize("channels", [1, 3, 20])
def test_upsampling_by_transposed_convolutions(
    channels: int, activation: str | None, onnx: Any, make_model: Any, runtime: Any, rng: np.random.Generator
) -> None:
    """As at the end of a text detector: a convolution for each row of a tile, into a concatenation too."""
    weights = {"w": rng.standard_normal((7, channels, 2, 3)), "b": rng.standard_normal(channels)}
    node = onnx.helper.make_node
    nodes = [
        node("ConvTranspose", ["x", "w", "b"], ["t"], strides=[2, 3]),
        node(activation or "Identity", ["t"], ["a"]),
        node("Relu", ["z"], ["r"]),
        node("Concat", ["r", "a"], ["y"], axis=1),
    ]
    constants = {name: array.astype(np.float32) for name, array in weights.items()}
    for outputs in (["a"], ["y"], ["y", "a"]):
        inputs: dict[str, Any] = {"x": ["n", 7, "h", "w"], "z": ["n", 2, "h2", "w3"]}
        model = make_model(nodes, inputs, constants, outputs)
        ours = fastconv.load(model)
        for n, h, w in ((1, 4, 5), (2, 3, 1), (1, 30, 31)):
            feeds = {name: rng.standard_normal((n, c, a * h, b * w)).astype(np.float32)
                     for name, c, a, b in (("x", 7, 1, 1), ("z", 2, 2, 3))}  # fmt: skip
            for got, expected in zip(ours.run(None, feeds), runtime(model, feeds), strict=True):
                np.testing.assert_allclose(got, expected, 1e-5, 1e-5)
        assert ours.explain().count(" conv ") == 2


def test_f64_is_f64(check_node: Any, rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((1, 4, 6, 6)), rng.standard_normal((3, 4, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, w)
    check_node("Conv", [x, w], outputs=[np.float64], expected=[expected], rtol=1e-13)


def test_half_precision(check_node: Any, rng: np.random.Generator) -> None:
    x, w = (rng.standard_normal(s).astype(np.float16) for s in ((1, 4, 6, 6), (3, 4, 3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, w.astype(np.float64)).astype(np.float16)
    check_node("Conv", [x, w], outputs=[np.float16], expected=[expected], rtol=1e-3, opset=22)


def test_a_residual_and_an_activation_of_f64(onnx: Any, rng: np.random.Generator) -> None:
    helper, DOUBLE = onnx.helper, onnx.TensorProto.DOUBLE
    x, w = rng.standard_normal((1, 4, 6, 6)), rng.standard_normal((4, 4, 1, 1))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(n, DOUBLE, None if n == "y" else x.shape) for n in "xy"]
    graph = helper.make_graph(nodes, "test", infos[:1], infos[1:], [onnx.numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    expected = np.maximum(np.einsum("nchw,ocij->nohw", x, w) + x, 0)
    (got,) = fastconv.load(model).run(None, {"x": x})
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, 1e-13)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("size", "block", "attrs"),
    [
        ((5, 6), (2, 3), {}),
        ((7, 8), (3, 2), {"strides": [2, 1], "pads": [1, 0, 1, 0]}),
        ((7, 8), (2, 2), {"dilations": [2, 3], "strides": [1, 2], "pads": [0, 1, 0, 1]}),
    ],
    ids=str,
)
def test_col2im(size: Any, block: Any, attrs: Any, check_node: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    options = {
        "dilation": attrs.get("dilations", 1),
        "padding": attrs.get("pads", [0, 0])[:2],
        "stride": attrs.get("strides", 1),
    }
    image = torch.from_numpy(rng.standard_normal((2, 3, *size)).astype(np.float32))
    columns = torch.nn.functional.unfold(image, block, **options)
    expected = torch.nn.functional.fold(columns, size, block, **options).numpy()
    inputs = [columns.numpy(), np.array(size), np.array(block)]
    check_node("Col2Im", inputs, expected=[expected], opset=18, **attrs)


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "message"),
    [
        ("Conv", [(1, 4, 5, 5), (2, 3, 3, 3)], {}, "x: expected 3 channels, got 4"),
        ("Conv", [(1, 4, 5, 5), (3, 2, 3, 3)], {"group": 2}, "group: expected a divisor of 3"),
        ("Conv", [(1, 4, 2, 5), (3, 4, 3, 3)], {}, "w: expected a kernel no larger"),
        ("Conv", [(1, 4, 5, 5), (3, 4, 3, 3), (2,)], {}, "b: expected 3 values"),
        ("ConvTranspose", [(1, 4, 5, 5), (3, 2, 3, 3)], {}, "x: expected 3 channels, got 4"),
    ],
)
def test_what_does_not_fit_is_refused_in_f64(
    op: str, shapes: Any, attrs: Any, message: str, node_model: Any
) -> None:
    inputs = [np.ones(shape) for shape in shapes]
    model, feeds = node_model(op, inputs, outputs=[np.dtype(float)], **attrs)
    with pytest.raises(fastconv.FastconvError, match=f"node 'node' .*{message}"):
        fastconv.load(model).run(None, feeds)
    mixed = [inputs[0], *(a.astype(np.float32) for a in inputs[1:])]
    model, feeds = node_model(op, mixed, outputs=[np.dtype(float)], **attrs)
    with pytest.raises(fastconv.FastconvError, match="all alike"):
        fastconv.load(model).run(None, feeds)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_same_has_stride_times_the_size(
    auto_pad: str, kernel: int, stride: int, node_model: Any
) -> None:
    # With a kernel below the stride nothing reaches the last pixels: they are zeros.
    rng = np.random.default_rng(kernel)
    size = 5
    for dtype in (np.float32, np.float64):
        x, w = (rng.integers(-4, 5, s).astype(dtype) for s in ((1, 2, size), (2, 3, kernel)))
        full = np.zeros((1, 3, max((size - 1) * stride + kernel, size * stride)))
        for i in range(size):
            full[:, :, i * stride : i * stride + kernel] += np.einsum("nc,cok->nok", x[:, :, i], w)
        total = max(0, (size - 1) * stride + kernel - size * stride)
        lo = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        options = {"strides": [stride], "auto_pad": auto_pad, "outputs": [np.dtype(dtype)]}
        model, feeds = node_model("ConvTranspose", [x, w], constant=[1], **options)
        (y,) = fastconv.load(model).run(None, feeds)
        np.testing.assert_array_equal(y, full[:, :, lo : lo + size * stride])
