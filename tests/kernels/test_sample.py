"""Pools of volumes and to a size, pixels moved and sampled, borders: against torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
F = torch.nn.functional
RNG = np.random.default_rng(0)


def floats(*shape):
    return torch.from_numpy(RNG.standard_normal(shape, dtype=np.float32))


def close(got, want):
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def last(x):
    return x.movedim(1, -1).contiguous()


LAYOUT = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_adaptive_pools(kind, spatial):
    x = floats(2, 5, *(7, 6, 9)[:spatial])
    name = f"adaptive_{kind}_pool{spatial}d"
    for size in (1, 3, 8, (4,) * spatial, *([(None, 2, 5)[:spatial]] if spatial > 1 else [])):
        want = getattr(F, name)(x, size)
        close(getattr(fastconv, name)(x, size), want)
        close(getattr(fastconv, name)(last(x), size, layout=LAYOUT[spatial]), last(want))


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pools_of_volumes(kind):
    x, name = floats(2, 3, 7, 6, 9), f"{kind}_pool3d"
    more = {"count_include_pad": False} if kind == "avg" else {"dilation": (1, 2, 1)}
    for kernel, stride, pad, ceil in (
        (2, None, 0, False),
        ((3, 2, 1), (2, 1, 3), (1, 1, 0), True),
        (3, 2, 1, True),
    ):
        for options in ({}, more):
            want = getattr(F, name)(x, kernel, stride, pad, ceil_mode=ceil, **options)
            close(getattr(fastconv, name)(x, kernel, stride, pad, ceil_mode=ceil, **options), want)
            out = torch.empty_like(last(want))
            got = getattr(fastconv, name)(
                last(x), kernel, stride, pad, ceil_mode=ceil, layout="NDHWC", out=out, **options
            )
            assert got is out
            close(out, last(want))


def test_pixels_moved():
    x = floats(2, 18, 4, 6)
    assert torch.equal(fastconv.pixel_shuffle(x, 3), F.pixel_shuffle(x, 3))
    assert torch.equal(fastconv.pixel_unshuffle(x, 2), F.pixel_unshuffle(x, 2))
    assert torch.equal(fastconv.pixel_shuffle(last(x), 3, layout="NHWC"), last(F.pixel_shuffle(x, 3)))


@pytest.mark.parametrize("channels", [3, 12])
def test_grid_sample(channels):
    x = floats(2, channels, 6, 7)
    grid = torch.from_numpy((RNG.random((2, 4, 5, 2)) * 3 - 1.5).astype(np.float32))
    for mode, padding, aligned in itertools.product(
        ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (False, True)
    ):
        want = F.grid_sample(x, grid, mode, padding, aligned)
        close(fastconv.grid_sample(x, grid, mode, padding, aligned), want)
        close(fastconv.grid_sample(last(x), grid, mode, padding, aligned, layout="NHWC"), last(want))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_padding_modes(mode, spatial):
    of_torch = getattr(torch.nn, f"Conv{spatial}d")
    function, planned = getattr(fastconv, f"conv{spatial}d"), getattr(fastconv, f"Conv{spatial}d")
    x = floats(2, 4, *(7, 6, 9)[:spatial])
    cases = [
        {"padding": 2, "stride": 2},
        {"padding": (1, 3, 2)[:spatial], "groups": 2},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
    ]
    for case in cases:
        module = of_torch(4, 6, 3, padding_mode=mode, **case)
        with torch.no_grad():
            want = module(x)
            close(function(x, module.weight, module.bias, padding_mode=mode, **case), want)
            conv = planned(module.weight, module.bias, padding_mode=mode, layout=LAYOUT[spatial], **case)
        close(conv(last(x)), last(want))
        shape = tuple(last(x).shape)
        assert conv.out_shape(shape) == tuple(last(want).shape)
        assert f"{conv.algorithm_for(shape)}, tile" in conv.explain()


def test_a_border_that_an_image_has_not():
    x, w = floats(1, 1, 4), floats(1, 1, 3)
    for mode, pad in (("reflect", 4), ("circular", 5)):
        with pytest.raises(
            fastconv.ShapeError, match=f"^padding: .* padding_mode='{mode}' of 4 pixels, got {pad}"
        ):
            fastconv.conv1d(x, w, padding=pad, padding_mode=mode)
    with pytest.raises(fastconv.ArgumentError, match=r"^padding_mode: expected one of zeros, reflect"):
        fastconv.Conv1d(w, padding_mode="mirror")
