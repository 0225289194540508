"""Batch, layer and local response normalisation."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")


def statistics(channels: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return a mean, a variance, a weight and a bias."""
    normal = (rng.normal(size=channels).astype(np.float32) for _ in range(3))
    return [next(normal), rng.uniform(0.5, 2, channels).astype(np.float32), *normal]


def assert_batch_norm(y: np.ndarray, x: np.ndarray, arrays: list[np.ndarray], **keywords: float) -> None:
    np.testing.assert_allclose(y, reference.batch_norm(x, *arrays, **keywords), rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("num_threads")
def test_batch_norm_of_arrangements(arrange, arrange_out, rng):
    x, arrays = rng.normal(size=(2, 19, 13, 18)).astype(np.float32), statistics(19, rng)
    out = arrange_out(np.full(x.shape, np.nan, np.float32))
    assert fastconv.batch_norm(arrange(x), *arrays, out=out) is out
    assert_batch_norm(out, x, arrays)
    in_place = arrange(x)
    fastconv.batch_norm(in_place, *arrays[:2], eps=0.1, out=in_place)
    assert_batch_norm(in_place, x, arrays[:2], eps=0.1)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 7), (2, 3, 4, 5), (2, 3, 2, 4, 5), (0, 3, 4, 5)], ids=str)
def test_batch_norm_of_every_rank(shape, rng):
    x, arrays = rng.normal(size=shape).astype(np.float32), statistics(3, rng)
    assert_batch_norm(fastconv.batch_norm(x, *arrays), x, arrays)
    y = fastconv.batch_norm(np.moveaxis(x, 1, -1).copy(), *arrays, layout="NHWC")
    assert y.flags.c_contiguous
    assert_batch_norm(np.moveaxis(y, -1, 1), x, arrays)


def test_batch_norm_touches_nothing_else(rng):
    for n in range(1, 2 * 16 + 2):
        for shape in ((2, n, 1, 3), (2, 3, 1, n)):
            x, arrays = rng.normal(size=shape).astype(np.float32), statistics(shape[1], rng)
            for align_end in (True, False):
                near = [guarded(a, align_end=align_end) for a in arrays]
                out = guarded_empty(shape, align_end=align_end)
                fastconv.batch_norm(guarded(x, align_end=align_end), *near, out=out)
                assert_batch_norm(out, x, arrays)
                last = guarded_empty((shape[0], *shape[2:], shape[1]), align_end=align_end)
                physical = guarded(x.transpose(0, 2, 3, 1), align_end=align_end)
                fastconv.batch_norm(physical, *near, layout="NHWC", out=last)
                assert_batch_norm(last.transpose(0, 3, 1, 2), x, arrays)


def test_channel_affine_with_activation(arrange, rng):
    x = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    scale, shift = rng.normal(size=(2, 5)).astype(np.float32)
    y = np.empty_like(x)
    _core.channel_affine(arrange(x), scale, shift, y, "clamp", 0.0, 1.0)
    exact = np.clip(x.astype(np.float64) * scale[:, None, None] + shift[:, None, None], 0, 1)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


def test_results_do_not_depend_on_threads_or_batch(same_for_threads, same_bits, rng):
    x = rng.normal(size=(2, 40, 50, 51)).astype(np.float32)
    for layout in ("NCHW", "NHWC"):
        arrays = statistics(x.shape[1 if layout == "NCHW" else -1], rng)
        y = same_for_threads(
            lambda arrays=arrays, layout=layout: fastconv.batch_norm(x, *arrays, layout=layout)
        )
        same_bits(fastconv.batch_norm(x[1:], *arrays, layout=layout), y[1:])
    same_for_threads(lambda: lrn(x, x.copy(), 5))


def test_bad_statistics():
    x, v = np.zeros((2, 3, 4, 4), np.float32), np.ones(3, np.float32)
    for keywords, error, message in [
        (
            {"running_mean": v[:2]},
            fastconv.ShapeError,
            "running_mean: expected one element .* 3 channels, got 2",
        ),
        ({"running_var": np.ones(3)}, fastconv.DTypeError, "running_var: expected dtype float32"),
        (
            {"weight": np.ones((1, 3), np.float32)},
            fastconv.ShapeError,
            "weight: expected 1 dimensions, got 2",
        ),
        ({"bias": 3}, fastconv.DTypeError, "bias: expected an array"),
        ({"eps": -1.0}, fastconv.ArgumentError, "eps: expected at least 0, got -1.0"),
        ({"eps": "small"}, fastconv.DTypeError, "eps: expected a number"),
        ({"x": v}, fastconv.ShapeError, "x: expected at least 2 dimensions, got 1"),
    ]:
        with pytest.raises(error, match=message):
            fastconv.batch_norm(**{"x": x, "running_mean": v, "running_var": v, **keywords})


@pytest.mark.torch
def test_batch_norm_means_what_torch_means(rng):
    torch = pytest.importorskip("torch")
    x, arrays = rng.normal(size=(2, 5, 6, 7)).astype(np.float32), statistics(5, rng)
    y = torch.nn.functional.batch_norm(torch.from_numpy(x), *(torch.from_numpy(a) for a in arrays)).numpy()
    np.testing.assert_allclose(fastconv.batch_norm(x, *arrays), y, rtol=1e-4, atol=1e-5)


def lrn(x: np.ndarray, y: np.ndarray, size: int, beta: float = 0.75) -> np.ndarray:
    _core.lrn(x, y, size, 0.5, beta, 2.0)
    return y


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.75), (1, 1.0), (3, 0.6), (50, 0.75)])
def test_lrn_of_arrangements(arrange, size, beta, rng):
    x = rng.normal(size=(2, 24, 6, 7)).astype(np.float32)
    y = lrn(arrange(x), arrange(np.full(x.shape, np.nan, np.float32)), size, beta)
    np.testing.assert_allclose(y, reference.lrn(x, size, 0.5, beta, 2.0), rtol=2e-6, atol=1e-7)


def test_lrn_touches_nothing_else(rng):
    for n in range(1, 2 * 16 + 2):
        for shape in ((1, n, 1, 2), (1, 3, 1, n)):
            x = rng.normal(size=shape).astype(np.float32)
            exact = reference.lrn(x, 5, 0.5, 0.75, 2.0)
            for align_end in (True, False):
                y = lrn(guarded(x, align_end=align_end), guarded_empty(shape, align_end=align_end), 5)
                np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-7)
                last = guarded(x.transpose(0, 2, 3, 1), align_end=align_end)
                out = guarded_empty(last.shape, align_end=align_end)
                lrn(last.transpose(0, 3, 1, 2), out.transpose(0, 3, 1, 2), 5)
                np.testing.assert_allclose(out.transpose(0, 3, 1, 2), exact, rtol=2e-6, atol=1e-7)


def assert_layer_norm(
    y: np.ndarray, x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float
) -> None:
    exact = x.astype(np.float64)
    centred = exact - exact.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + shift
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=4e-6)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("n", [1, 3, 24, 64, 100, 1000, 70_000])
def test_layer_norm(n, rng):
    rows = (4, 7) if n <= 1000 else (2, 3)
    x = rng.normal(3, 2, (*rows, n)).astype(np.float32)
    for size in (n, 1):
        scale, shift = rng.normal(size=(2, size)).astype(np.float32)
        for view in (x, x[:, ::2], x.transpose(1, 0, 2)):
            y = np.full((view.shape[0], 9, n), np.nan, np.float32)[:, : view.shape[1]]
            _core.layer_norm(view, scale, shift, y, 1e-3)
            assert_layer_norm(y, view, scale, shift, 1e-3)
        in_place = x.copy()
        _core.layer_norm(in_place, scale, shift, in_place, 1e-3)
        assert_layer_norm(in_place, x, scale, shift, 1e-3)


def test_layer_norm_touches_nothing_else(rng):
    for n in range(1, 2 * 16 + 2):
        x, scale, shift = (rng.normal(size=s).astype(np.float32) for s in ((3, n), n, n))
        for align_end in (True, False):
            y = guarded_empty((3, n), align_end=align_end)
            near = [guarded(a, align_end=align_end) for a in (x, scale, shift)]
            _core.layer_norm(*near, y, 1e-5)
            assert_layer_norm(y, x, scale, shift, 1e-5)


def test_layer_norm_of_large_values_does_not_cancel(rng):
    x = (10_000 + rng.normal(size=(3, 500))).astype(np.float32)
    y, one, zero = np.empty_like(x), np.ones(1, np.float32), np.zeros(1, np.float32)
    _core.layer_norm(x, one, zero, y, 1e-5)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    np.testing.assert_allclose(y, expected, atol=2e-3)  # the mean is rounded at the size of x


def test_layer_norm_does_not_depend_on_threads(same_for_threads, rng):
    x = rng.normal(size=(300, 200)).astype(np.float32)
    scale, shift = rng.normal(size=(2, 200)).astype(np.float32)

    def run() -> np.ndarray:
        y = np.empty_like(x)
        _core.layer_norm(x, scale, shift, y, 1e-5)
        return y

    same_for_threads(run)


def test_layer_norm_errors():
    x, v = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    with pytest.raises(fastconv.ShapeError, match=r"scale: expected a contiguous array of shape \(3,\)"):
        _core.layer_norm(x, v[:2], v, x, 0.0)
    with pytest.raises(fastconv.ShapeError, match=r"shift: expected a contiguous array of shape \(1,\)"):
        _core.layer_norm(x, v[:1], v, x, 0.0)
    with pytest.raises(fastconv.ArgumentError, match="x, y: expected the last dimension to be contiguous"):
        _core.layer_norm(np.zeros((3, 2), np.float32).T, v, v, x, 0.0)
    with pytest.raises(fastconv.ShapeError, match="x: expected at least 1 dimension"):
        _core.layer_norm(np.zeros((), np.float32), v, v, np.zeros((), np.float32), 0.0)
