"""Resize in forms beyond those of test_ops.py, against ONNX Runtime and torch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.ort

X = (1, 2, 7, 6)
SCALES = ([1, 1, 2, 1.5], [1, 1, 0.65, 0.7], [1, 1, 0.5, 2.3])  # without ties that a rounding error decides
COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
NO_ROI = np.zeros(0, np.float32)


def image(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def f32(values: Any) -> Any:
    return np.array(values, np.float32)


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_cubic(scales: Any, coordinates: str, check_node: Any, rng: np.random.Generator) -> None:
    x = image(rng, *X)
    for a, outside in ((-0.75, 0), (-0.5, 1)):
        check_node(
            "Resize",
            [x, NO_ROI, f32(scales)],
            opset=19,
            mode="cubic",
            coordinate_transformation_mode=coordinates,
            cubic_coeff_a=a,
            exclude_outside=outside,
        )


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_half_pixel_symmetric(scales: Any, mode: str, check_node: Any, rng: np.random.Generator) -> None:
    check_node(
        "Resize",
        [image(rng, *X), NO_ROI, f32(scales)],
        opset=19,
        mode=mode,
        coordinate_transformation_mode="half_pixel_symmetric",
    )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [[1, 1, 0.6, 0.7], [1, 1, 0.35, 0.5], [1, 1, 0.4, 2]], ids=str)
def test_antialias(mode: str, scales: Any, check_node: Any, rng: np.random.Generator) -> None:
    x = image(rng, 1, 2, 19, 16)
    for outside in (0, 1):
        options = {"mode": mode, "antialias": 1, "exclude_outside": outside}
        check_node("Resize", [x, NO_ROI, f32(scales)], opset=19, **options)


@pytest.mark.torch
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(8, 5), (4, 9), (30, 3)])
def test_antialias_as_torch(mode: str, size: Any, check_node: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = image(rng, 1, 2, 20, 15)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x), size, mode=mode, antialias=True, align_corners=False
    ).numpy()
    check_node(
        "Resize",
        [x, None, None, np.array([1, 2, *size])],
        expected=[expected],
        opset=19,
        mode={"bilinear": "linear", "bicubic": "cubic"}[mode],
        antialias=1,
        exclude_outside=1,  # torch's windows end at the border
        cubic_coeff_a=-0.5,
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "roi",
    [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0.2, 0.3, 1, 1, 0.7, 0.9], [0, 0, -0.2, 0.5, 1, 1, 0.7, 1.4]],
    ids=str,
)
def test_crop_and_resize(mode: str, roi: Any, check_node: Any, rng: np.random.Generator) -> None:
    options = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.5,
    }
    x = image(rng, *X)
    check_node("Resize", [x, f32(roi), None, np.array([1, 2, 5, 9])], opset=13, **options)
    check_node("Resize", [x, f32(roi), None, np.array([1, 2, 1, 3])], opset=13, **options)
    if mode != "nearest":
        part = f32([*roi[2:4], *roi[6:8]])
        check_node("Resize", [x, part, None, np.array([4, 8])], opset=18, axes=[2, 3], **options)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller", "stretch"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_aspect_ratio(policy: str, mode: str, check_node: Any, rng: np.random.Generator) -> None:
    for sizes in ([7, 8], [15, 9], [3, 11]):
        check_node(
            "Resize",
            [image(rng, *X), None, None, np.array(sizes)],
            opset=18,
            axes=[2, 3],
            keep_aspect_ratio_policy=policy,
            mode=mode,
        )


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_volumes(coordinates: str, check_node: Any, rng: np.random.Generator) -> None:
    x = image(rng, 1, 2, 4, 5, 6)
    scales = f32([1, 1, 2, 1.5, 0.7])
    options = {"opset": 13, "coordinate_transformation_mode": coordinates}
    check_node("Resize", [x, NO_ROI, scales], mode="linear", **options)
    check_node("Resize", [x, NO_ROI, scales], mode="nearest", **options)


@pytest.mark.torch
def test_four_dimensions(check_node: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = image(rng, 3, 2, 4, 5)
    # One after another: along the channels and images too.
    y = torch.from_numpy(x)
    for axis, size in ((0, 5), (1, 3), (2, 7), (3, 4)):
        moved = y.movedim(axis, -1)
        flat = torch.nn.functional.interpolate(moved.reshape(1, -1, moved.shape[-1]), size, mode="linear")
        y = flat.reshape(*moved.shape[:-1], size).movedim(-1, axis)
    check_node(
        "Resize",
        [x, None, None, np.array([5, 3, 7, 4])],
        expected=[y.contiguous().numpy()],
        opset=19,
        mode="linear",
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_nearest_of_other_types(dtype: Any, check_node: Any, rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, X).astype(dtype)
    for scales, nearest in itertools.product(
        SCALES, ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ):
        options = {"opset": 19, "mode": "nearest", "nearest_mode": nearest}
        inputs = [x, NO_ROI, f32(scales)]
        check_node("Resize", inputs, outputs=[dtype], **options)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_f64_is_as_f32(
    mode: str, check_node: Any, runtime: Any, node_model: Any, rng: np.random.Generator
) -> None:
    x = image(rng, *X)
    for scales in SCALES:
        inputs = [x, NO_ROI, f32(scales)]
        (expected,) = runtime(*node_model("Resize", inputs, opset=19, mode=mode))
        wide = [x.astype(np.float64), NO_ROI, f32(scales)]
        expected = expected.astype(np.float64)
        check_node("Resize", wide, outputs=[np.float64], expected=[expected], opset=19, mode=mode)


def test_integers_are_rounded_and_saturated(check_node: Any, runtime: Any, node_model: Any) -> None:
    x = np.array([0, 253, 253, 0, 7, 253], np.uint8).reshape(1, 1, 1, 6)
    single = x.astype(np.float32)
    scales = f32([1, 1, 1, 2.5])
    for mode in ("linear", "cubic"):
        (exact,) = runtime(*node_model("Resize", [single, NO_ROI, scales], opset=19, mode=mode))
        assert mode == "linear" or (exact.max() > 256 and exact.min() < -1)
        expected = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
        check_node(
            "Resize", [x, NO_ROI, scales], outputs=[np.uint8], expected=[expected], opset=19, mode=mode
        )


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_opsets(opset: int, check_node: Any, rng: np.random.Generator) -> None:
    x, scales = image(rng, *X), f32([1, 1, 2, 3])
    for mode in ("nearest", "linear"):
        if opset == 10:
            check_node("Resize", [x, scales], opset=10, mode=mode)
        elif opset == 9:
            check_node("Upsample", [x, scales], opset=9, mode=mode)
        else:
            check_node("Upsample", [x], opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("inputs", "attrs", "message"),
    [
        ([None, None, np.array([1, 2, 3])], {}, "sizes: expected 4 numbers"),
        ([None, None, np.array([1, 2, 3, -1])], {}, "sizes: expected 0 or more"),
        ([None, f32([1, 1, 0, 1])], {}, "scales: expected positive"),
        ([None, f32([1, 1, 2, 2])], {"mode": "sharp"}, "mode: expected one of nearest"),
        ([None, f32([1, 1, 2, 2])], {"nearest_mode": "up"}, "nearest_mode: expected one of"),
        ([None, f32([1, 1, 2, 2])], {"antialias": 1}, "antialias: expected 0"),
        (
            [None, f32([1, 1, 2, 2])],
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "roi: expected 8 numbers",
        ),
        (
            [f32([0, 0]), f32([1, 1, 2, 2])],
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "roi: expected 4 numbers",
        ),
    ],
)
def test_bad_forms_are_refused(inputs: Any, attrs: Any, message: str, node_model: Any) -> None:
    model, feeds = node_model("Resize", [np.ones(X, np.float32), *inputs], opset=19, **attrs)
    with pytest.raises(fastconv.FastconvError, match=f"node 'node' .*{message}"):
        fastconv.load(model).run(None, feeds)


@pytest.mark.parametrize("nearest", ["floor", "round_prefer_ceil"])
def test_a_mapping_of_opset_11(nearest: str, check_node: Any, rng: np.random.Generator) -> None:
    check_node(
        "Resize",
        [image(rng, *X), NO_ROI, f32([1, 1, 2, 1.7])],
        opset=11,
        mode="nearest",
        nearest_mode=nearest,
        coordinate_transformation_mode="tf_half_pixel_for_nn",
    )


def test_results_too_large_are_refused_before_they_are_planned(node_model: Any) -> None:
    sizes = np.array([1, 2, 10**9, 10**9])
    for mode in ("nearest", "cubic"):
        model, feeds = node_model("Resize", [np.ones(X, np.float32), None, None, sizes], opset=19, mode=mode)
        with pytest.raises(fastconv.FastconvError, match=r"node 'node' .*result: expected at most"):
            fastconv.load(model).run(None, feeds)
