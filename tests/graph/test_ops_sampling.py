"""GridSample, AffineGrid and DeformConv, against ONNX Runtime, torch and float64 sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

Array = np.ndarray[Any, Any]

MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


@pytest.mark.torch
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grid_sample(
    mode: str, padding: str, align: int, dtype: Any, check_node: Any, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    for size in ((5, 7), (1, 4), (2, 3, 4)):
        if len(size) == 3 and mode == "cubic":
            continue  # torch has none
        x = rng.standard_normal((2, 3, *size)).astype(dtype)
        out = (4, 6) if len(size) == 2 else (3, 2, 5)
        grid = rng.uniform(-1.9, 1.9, (2, *out, len(size))).astype(dtype)
        expected = torch.nn.functional.grid_sample(
            torch.from_numpy(x), torch.from_numpy(grid), MODES[mode], padding, bool(align)
        )
        for opset in (20, 16) if len(size) == 2 else (20,):
            check_node(
                "GridSample",
                [x, grid],
                expected=[expected.numpy()],
                outputs=[dtype],
                opset=opset,
                mode=MODES[mode] if opset == 16 else mode,
                padding_mode=padding,
                align_corners=align,
            )


@pytest.mark.ort
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", list(MODES))
def test_grid_sample_far_outside(
    mode: str, padding: str, align: int, check_node: Any, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((1, 2, 5, 6)).astype(np.float32)
    grid = rng.uniform(-9, 9, (1, 4, 4, 2)).astype(np.float32)
    grid[0, 0, 0] = [3e5, -3e5]
    options = {"padding_mode": padding, "align_corners": align}
    check_node("GridSample", [x, grid], opset=16, mode=MODES[mode], rtol=2e-4, **options)


@pytest.mark.torch
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 2, 6), (2, 1, 3, 4, 5)])
def test_affine_grid(size: tuple[int, ...], align: int, check_node: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    spatial = len(size) - 2
    theta = rng.standard_normal((size[0], spatial, spatial + 1)).astype(np.float32)
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), list(size), bool(align)).numpy()
    check_node("AffineGrid", [theta, np.array(size)], expected=[expected], opset=20, align_corners=align)


def deformed(
    x: Array, w: Array, offset: Array, mask: Array | None, attrs: dict[str, Any], offset_group: int
) -> Array:
    """The definition, a sum over taps of bilinear samples, in float64."""
    n, channels, height, width = x.shape
    oc, group_ic, kh, kw = w.shape
    stride, dilation = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1])
    pads, groups = attrs.get("pads", [0] * 4), attrs.get("group", 1)
    oh, ow = offset.shape[2:]
    offset = offset.reshape(n, offset_group, kh, kw, 2, oh, ow)
    weights = np.ones((n, offset_group, kh, kw, oh, ow)) if mask is None else mask
    weights = weights.reshape(n, offset_group, kh, kw, oh, ow)
    y = np.zeros((n, oc, oh, ow))

    def pixel(plane: Array, i: int, j: int) -> float:
        return float(plane[i, j]) if 0 <= i < height and 0 <= j < width else 0.0

    for b, o, c, i, j, r, s in np.ndindex(n, oc, group_ic, kh, kw, oh, ow):
        channel = o // (oc // groups) * group_ic + c
        g = channel // (channels // offset_group)
        at_y = r * stride[0] - pads[0] + i * dilation[0] + float(offset[b, g, i, j, 0, r, s])
        at_x = s * stride[1] - pads[1] + j * dilation[1] + float(offset[b, g, i, j, 1, r, s])
        top, left = int(np.floor(at_y)), int(np.floor(at_x))
        t, u = at_y - top, at_x - left
        plane = x[b, channel]
        value = (
            (1 - t) * (1 - u) * pixel(plane, top, left)
            + (1 - t) * u * pixel(plane, top, left + 1)
            + t * (1 - u) * pixel(plane, top + 1, left)
            + t * u * pixel(plane, top + 1, left + 1)
        )
        y[b, o, r, s] += w[o, c, i, j] * weights[b, g, i, j, r, s] * value
    return y


@pytest.mark.parametrize(
    ("w_shape", "offset_group", "attrs"),
    [
        ((4, 4, 3, 3), 1, {}),
        ((4, 4, 3, 2), 2, {"pads": [1, 0, 1, 1], "strides": [2, 1]}),
        ((6, 2, 2, 2), 4, {"group": 2, "dilations": [2, 1]}),
        ((4, 4, 1, 1), 1, {"pads": [0, 0, 0, 0]}),
    ],
    ids=str,
)
@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv(
    w_shape: Any, offset_group: int, attrs: Any, masked: bool, check_node: Any, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 4, 6, 5)).astype(np.float32)
    w = rng.standard_normal(w_shape).astype(np.float32)
    stride, dilation = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1])
    pads = attrs.get("pads", [0] * 4)
    out = [
        (x.shape[2 + i] + pads[i] + pads[2 + i] - (w_shape[2 + i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    taps = w_shape[2] * w_shape[3]
    offset = rng.uniform(-2, 2, (2, offset_group * taps * 2, *out)).astype(np.float32)
    mask = rng.uniform(0, 1, (2, offset_group * taps, *out)).astype(np.float32) if masked else None
    bias = rng.standard_normal(w_shape[0]).astype(np.float32)
    expected = deformed(x, w, offset, mask, attrs, offset_group) + bias.reshape(1, -1, 1, 1)
    options = {"opset": 19, "offset_group": offset_group, **attrs}
    inputs = [x, w, offset, bias, *([mask] if masked else [])]
    check_node("DeformConv", inputs, expected=[expected.astype(np.float32)], **options)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        ("GridSample", [np.ones((1, 1, 3, 3)), np.ones((1, 2, 2, 3))], {}, "x, grid: expected"),
        ("GridSample", [np.ones((2, 1, 3, 3)), np.ones((1, 2, 2, 2))], {}, "grid: expected a grid for each"),
        (
            "GridSample",
            [np.ones((1, 1, 3, 3)), np.ones((1, 2, 2, 2))],
            {"mode": "sinc"},
            "mode, padding_mode",
        ),
        ("AffineGrid", [np.ones((1, 2, 3)), np.array([1, 1, 3])], {}, "theta, size: expected"),
        (
            "DeformConv",
            [np.ones((1, 2, 4, 4)), np.ones((1, 2, 2, 2)), np.ones((1, 9, 3, 3))],
            {},
            r"offset: expected shape \(1, 8, 3, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, inputs: Any, attrs: Any, message: str, node_model: Any
) -> None:
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in inputs]
    model, feeds = node_model(op, arrays, opset=20, **attrs)
    with pytest.raises(fastconv.FastconvError, match=f"node 'node' .*{message}"):
        fastconv.load(model).run(None, feeds)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_what_is_nowhere_is_outside(mode: str, check_node: Any) -> None:
    x, grid = np.ones((1, 1, 3, 3), np.float32), np.full((1, 1, 2, 2), np.nan, np.float32)
    grid[0, 0, 1] = [np.inf, -np.inf]
    check_node("GridSample", [x, grid], expected=[np.zeros((1, 1, 1, 2), np.float32)], opset=20, mode=mode)
