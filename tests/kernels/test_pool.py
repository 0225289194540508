"""Pooling against the float64 reference and torch, over random geometry and every memory order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")

GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (1, 4), "stride": (2, 1), "padding": (0, 2)},
    {"kernel_size": (5, 2), "stride": (1, 3), "padding": (2, 1), "ceil_mode": True},
    {"kernel_size": 5, "stride": 1, "padding": 2},  # down and across
    {"kernel_size": 9, "stride": 1, "padding": 4},
    {"kernel_size": 3, "stride": 3, "ceil_mode": True},
    {"kernel_size": 1, "stride": 2},
]
DILATED: list[dict[str, Any]] = [
    {"kernel_size": 3, "dilation": 2, "stride": 1, "padding": 1},
    {"kernel_size": (2, 3), "dilation": (3, 2), "stride": 2, "padding": (1, 1), "ceil_mode": True},
]


def kernel_last(geometry: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    rest = dict(geometry)
    return rest.pop("kernel_size"), rest


def assert_max(y: np.ndarray, x: np.ndarray, geometry: dict[str, Any]) -> None:
    kernel, rest = kernel_last(geometry)
    np.testing.assert_array_equal(y, reference.max_pool(x, kernel, **rest))


def assert_average(y: np.ndarray, x: np.ndarray, geometry: dict[str, Any]) -> None:
    kernel, rest = kernel_last(geometry)
    exact = reference.avg_pool(x, kernel, **rest)
    assert y.shape == exact.shape
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("geometry", GEOMETRIES + DILATED, ids=str)
def test_max_of_arrangements(arrangements, geometry, rng):
    x = rng.normal(size=(2, 19, 13, 18)).astype(np.float32)
    kernel, rest = kernel_last(geometry)
    exact = reference.max_pool(x, kernel, **rest)
    for arrange in arrangements:
        np.testing.assert_array_equal(fastconv.max_pool2d(arrange(x), **geometry), exact)
        out = arrange(np.full(exact.shape, np.nan, np.float32))
        assert fastconv.max_pool2d(arrange(x), **geometry, out=out) is out
        np.testing.assert_array_equal(out, exact)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_average_of_arrangements(arrangements, geometry, count_include_pad, rng):
    geometry = {**geometry, "count_include_pad": count_include_pad}
    x = rng.normal(size=(2, 19, 13, 18)).astype(np.float32)
    kernel, rest = kernel_last(geometry)
    exact = reference.avg_pool(x, kernel, **rest)
    for arrange in arrangements:
        y = fastconv.avg_pool2d(arrange(x), **geometry)
        assert y.shape == exact.shape
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
        out = arrange(np.full(y.shape, np.nan, np.float32))
        fastconv.avg_pool2d(arrange(x), **geometry, out=out)
        np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-5)


def test_outputs_arranged_otherwise(arrange, arrange_out, rng):
    x = rng.normal(size=(2, 19, 13, 18)).astype(np.float32)
    for geometry in (GEOMETRIES[1], GEOMETRIES[6]):
        out = arrange_out(np.full_like(fastconv.max_pool2d(x, **geometry), np.nan))
        assert_max(fastconv.max_pool2d(arrange(x), **geometry, out=out), x, geometry)
        assert_average(fastconv.avg_pool2d(arrange(x), **geometry, out=out), x, geometry)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[3], GEOMETRIES[6]], ids=str)
def test_every_size_touches_nothing_else(geometry, layout, rng):
    for channels, width in [
        *((c, 9) for c in range(1, 2 * 16 + 2)),
        *((2, w) for w in range(6, 50)),
        (67, 11),
    ]:
        x = rng.normal(size=(1, channels, 7, width)).astype(np.float32)
        for align_end in (True, False):
            for pool, check in ((fastconv.max_pool2d, assert_max), (fastconv.avg_pool2d, assert_average)):
                physical = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
                shape = pool(physical, **geometry, layout=layout).shape
                out = guarded_empty(shape, align_end=align_end)
                pool(guarded(physical, align_end=align_end), **geometry, layout=layout, out=out)
                check(out if layout == "NCHW" else out.transpose(0, 3, 1, 2), x, geometry)


@given(data=st.data())
def test_random_geometry(data):
    axes = []
    for _ in range(2):
        kernel, dilation = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
        window = (kernel - 1) * dilation + 1
        padding = data.draw(st.integers(0, window // 2))
        size = data.draw(st.integers(max(1, window - 2 * padding), 20))
        axes.append((size, kernel, data.draw(st.integers(1, 7)), padding, dilation))
    size, kernel, stride, padding, dilation = zip(*axes, strict=True)
    geometry = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": data.draw(st.booleans()),
    }
    layout = data.draw(st.sampled_from(["NCHW", "NHWC"]))
    n, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.integers(-50, 50, (n, channels, *size)).astype(np.float32)

    def run(pool: Any, **keywords: Any) -> np.ndarray:
        if layout == "NCHW":
            return pool(x, **geometry, **keywords)
        y = pool(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), **geometry, **keywords, layout="NHWC")
        return y.transpose(0, 3, 1, 2)

    assert_max(run(fastconv.max_pool2d, dilation=dilation), x, {**geometry, "dilation": dilation})
    if dilation == (1, 1):
        for include in (False, True):
            y = run(fastconv.avg_pool2d, count_include_pad=include)
            assert_average(y, x, {**geometry, "count_include_pad": include})


@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[3], GEOMETRIES[6]], ids=str)
def test_nan_and_infinity(arrange, geometry):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 37, 9, 11)).astype(np.float32)
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(x.shape) < 0.03] = -np.inf
    x[0, 0] = -np.inf
    x[1, 5] = np.inf
    assert_max(fastconv.max_pool2d(arrange(x), **geometry), x, geometry)
    y = fastconv.avg_pool2d(arrange(x), **geometry)
    kernel, rest = kernel_last(geometry)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(reference.avg_pool(x, kernel, **rest)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("pool", [fastconv.max_pool2d, fastconv.avg_pool2d])
def test_results_do_not_depend_on_threads_or_batch(pool, layout, same_for_threads, same_bits, rng):
    x = rng.normal(size=(3, 56, 57, 40)).astype(np.float32)
    for geometry in (GEOMETRIES[0], GEOMETRIES[6]):
        y = same_for_threads(lambda geometry=geometry: pool(x, **geometry, layout=layout))
        same_bits(pool(x[2:], **geometry, layout=layout), y[2:])


def test_wide_images_are_cut_into_pieces(rng):
    x = rng.normal(size=(1, 1, 4, 40_000)).astype(np.float32)
    for geometry in ({"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": (4, 9), "stride": 1}):
        assert_max(fastconv.max_pool2d(x, **geometry), x, geometry)
    many = np.repeat(x[..., :5000], 3, axis=1).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    geometry = {"kernel_size": (4, 33), "stride": 1, "padding": (0, 16)}
    assert_max(fastconv.max_pool2d(many, **geometry), many, geometry)
    wide = {"kernel_size": (1, 6000), "stride": 100}
    assert_max(fastconv.max_pool2d(x[:, :, :1, :9000], **wide), x[:, :, :1, :9000], wide)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_windows_in_the_padding_alone(layout, channels):
    x = np.ones((1, channels, 1, 6) if layout == "NCHW" else (1, 1, 6, channels), np.float32)
    # Taps at rows -1 and 1 of an image of row 0.
    y = fastconv.max_pool2d(x, (2, 1), stride=1, padding=(1, 0), dilation=(2, 1), layout=layout)
    np.testing.assert_array_equal(y, np.full(x.shape, -np.inf))


@pytest.mark.torch
@pytest.mark.parametrize("geometry", GEOMETRIES + DILATED, ids=str)
def test_means_what_torch_means(geometry, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 5, 13, 18)).astype(np.float32)
    t = torch.from_numpy(x)
    y = fastconv.max_pool2d(t, **geometry)
    np.testing.assert_array_equal(y, torch.nn.functional.max_pool2d(t, **geometry).numpy())
    if "dilation" in geometry:
        return
    for include in (False, True):
        y = torch.nn.functional.avg_pool2d(t, **geometry, count_include_pad=include).numpy()
        ours = fastconv.avg_pool2d(x, **geometry, count_include_pad=include)
        np.testing.assert_allclose(ours, y, rtol=1e-5, atol=1e-6)


def test_memory_order_of_new_results():
    x = np.zeros((1, 8, 8, 3), np.float32)
    assert fastconv.max_pool2d(x, 2, layout="NHWC").flags.c_contiguous
    assert fastconv.max_pool2d(x, 2).flags.c_contiguous
    assert fastconv.max_pool2d(x.transpose(0, 3, 1, 2), 2).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(("auto_pad", "padding"), [("same_upper", "same"), ("same_lower", "same_lower")])
def test_same_padding(auto_pad, padding):
    for size in range(1, 12):
        for kernel in range(1, 5):
            for stride in range(1, 5):
                axis = (size, size), (kernel,) * 2, (stride,) * 2
                edges = reference.pads(padding, *axis, (1, 1))
                oh, ow, low, high = _core.pool_out_shape(
                    size, size, axis[1], axis[2], (1, 1), (0, 0), (0, 0), False, auto_pad
                )
                assert oh == ow == -(-size // stride)
                assert list(zip(low, high, strict=True)) == [tuple(edge) for edge in edges]


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"kernel_size": 0}, fastconv.ArgumentError, "kernel_size: expected an integer of at least 1, got 0"),
        ({"kernel_size": 2.0}, fastconv.DTypeError, "kernel_size: expected an integer, got float 2.0"),
        ({"kernel_size": True}, fastconv.DTypeError, "kernel_size: expected an integer, got True"),
        (
            {"kernel_size": "22"},
            fastconv.DTypeError,
            "kernel_size: expected an integer or 2 of them, got '22'",
        ),
        ({"kernel_size": (2, float("nan"))}, fastconv.DTypeError, "kernel_size: .* got float nan"),
        ({"kernel_size": (1, 2, 3)}, fastconv.ArgumentError, "kernel_size: expected .* got 3 values"),
        ({"kernel_size": ()}, fastconv.ArgumentError, "kernel_size: expected .* got 0 values"),
        ({"kernel_size": 2**40}, fastconv.ArgumentError, r"kernel_size: expected an integer below 2\*\*31"),
        (
            {"kernel_size": 7},
            fastconv.ShapeError,
            "kernel_size: expected a window of at most .* height, 6, got 7",
        ),
        ({"kernel_size": 2, "stride": -1}, fastconv.ArgumentError, "stride: .* at least 1, got -1"),
        ({"kernel_size": 2, "stride": (1, 0)}, fastconv.ArgumentError, "stride: .* at least 1, got 0"),
        ({"kernel_size": 2, "padding": -1}, fastconv.ArgumentError, "padding: .* at least 0, got -1"),
        (
            {"kernel_size": 3, "padding": 2},
            fastconv.ArgumentError,
            "padding: expected at most half .* 3, got 2",
        ),
        ({"kernel_size": 2, "dilation": 0}, fastconv.ArgumentError, "dilation: .* at least 1, got 0"),
        ({"kernel_size": 2, "layout": "nchw"}, fastconv.ArgumentError, "layout: expected 'NCHW' or 'NHWC'"),
        ({"kernel_size": 2, "layout": None}, fastconv.ArgumentError, "layout: .* got None"),
    ],
    ids=str,
)
def test_bad_arguments(keywords, error, message):
    with pytest.raises(error, match=message):
        fastconv.max_pool2d(np.zeros((1, 2, 6, 6), np.float32), **keywords)


@pytest.mark.parametrize("shape", [(1, 2, 0, 6), (1, 2, 6, 0)])
def test_images_without_pixels(shape):
    with pytest.raises(fastconv.ShapeError, match=r"x: expected a .* of at least 1"):
        fastconv.max_pool2d(np.zeros(shape, np.float32), 2)


def test_bad_output_shape():
    x = np.zeros((1, 2, 6, 6), np.float32)
    with pytest.raises(fastconv.ShapeError, match=r"out: expected shape \(1, 2, 3, 3\), got \(1, 2, 2, 2\)"):
        fastconv.max_pool2d(x, 2, out=np.zeros((1, 2, 2, 2), np.float32))
    with pytest.raises(fastconv.ArgumentError, match="out: expected memory"):
        fastconv.max_pool2d(x, 3, stride=1, padding=1, out=x)
