"""Winograd convolution of bytes: equal to sums in int64, up to the very bound that each form has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.testing.guard import guarded_empty

FORMS = ("winograd_f4", "winograd_f2")
LIMITS = {"winograd_f4": 2**25, "winograd_f2": 2**29}
ZERO_POINTS = (0, 128, 255)
every_kernel = pytest.mark.usefixtures("kernels")

# n, image, padding, input and output channels: every remainder of a tile, tails of every vector.
LAYERS = [
    (1, (1, 1), 1, 1, 1),
    (2, (1, 7), 1, 3, 16),
    (1, (2, 3), 1, 17, 3),
    (1, (3, 3), 0, 16, 17),
    (3, (4, 5), 1, 3, 64),
    (1, (5, 4), 2, 64, 130),
    (1, (6, 7), 0, 130, 1),
    (2, (7, 7), 1, 17, 33),
    (1, (8, 9), 1, 1, 17),
    (1, (9, 6), 0, 64, 16),
    (1, (13, 14), 1, 130, 64),
    (1, (15, 15), 2, 31, 41),
    (1, (28, 29), 1, 33, 48),
    (1, (57, 31), 1, 16, 17),
    (1, (33, 57), 2, 3, 5),
]


def plan_of(w, padding, algorithm, *, x_zero=0, out=np.int32, **given):
    options = {"bias": None, "scale": None, "shift": None, "low": 0.0, "high": 0.0, "zero": 0} | given
    return _core.IntegerConv(
        w, options.pop("bias"), spatial=2, stride=[1, 1], padding_lo=[padding] * 2, padding_hi=[padding] * 2,
        dilation=[1, 1], groups=1, auto_pad="explicit", transposed=False, output_padding=[0, 0],
        w_zero=np.zeros(1, np.int32), x_signed=False, x_zero=x_zero, out=np.dtype(out), algorithm=algorithm,
        **options,
    )  # fmt: skip


def sums_of(x, w, padding, x_zero):
    """Return the sums in int64 of x (n, h, w, ic), through exact products in float64: |sum| < 2**53."""
    edges = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    wide = np.pad(x.astype(np.float64) - x_zero, edges)
    h, width = wide.shape[1] - 2, wide.shape[2] - 2
    y = np.zeros((len(x), h, width, len(w)))
    for i, j in itertools.product(range(3), repeat=2):
        y += wide[:, i : i + h, j : j + width] @ w[:, :, i, j].T.astype(np.float64)
    return y.astype(np.int64)


def run(plan, x, *, out=np.int32, x_zero=None):
    """Run on channels-last arrays."""
    n, h, w, oc = (plan.out_shape((x.shape[0], x.shape[3], *x.shape[1:3]))[i] for i in (0, 2, 3, 1))
    y = np.full((n, h, w, oc), 77, out)
    plan.run(x.transpose(0, 3, 1, 2), y.transpose(0, 3, 1, 2), x_zero)
    return y


def anything(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_edge(rng, algorithm, layer):
    n, size, padding, ic, oc = layer
    x, w = anything(rng, np.uint8, n, *size, ic), anything(rng, np.int8, oc, ic, 3, 3)
    bias = anything(rng, np.int32, oc)
    for x_zero in ZERO_POINTS:
        expected = (sums_of(x, w, padding, x_zero) + bias).astype(np.int32)
        known = plan_of(w, padding, algorithm, x_zero=x_zero, bias=bias)
        np.testing.assert_array_equal(run(known, x), expected)
        told = plan_of(w, padding, algorithm, x_zero=None, bias=bias)
        np.testing.assert_array_equal(run(told, x, x_zero=x_zero), expected)


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
def test_ends_of_the_ranges(algorithm):
    """Numbers of the transforms that are as large as they can be, of one sign and of alternating ones."""
    oc, ic, size = 5, 64, 7
    ones = np.indices((oc, ic, 3, 3)).sum(0)[..., :] % 2
    columns = np.indices((oc, ic, 3, 3))[3] % 2
    filters = [np.full((oc, ic, 3, 3), end) for end in (-128, 127)]
    filters += [np.where(signs, -128, 127) for signs in (ones, columns)]
    checks = np.indices((1, size, size, ic))
    images = [np.full((1, size, size, ic), end) for end in (0, 255)]
    images += [np.where(checks[1:3].sum(0) % 2, 0, 255), np.where(checks[2] % 2, 255, 0)]
    for w, x, x_zero in itertools.product(filters, images, ZERO_POINTS):
        w8, x8 = w.astype(np.int8), x.astype(np.uint8)
        expected = sums_of(x8, w8, 1, x_zero).astype(np.int32)
        np.testing.assert_array_equal(run(plan_of(w8, 1, algorithm, x_zero=x_zero), x8), expected)


def filter_that_sums_to(total):
    """Return a filter (1, ic, 3, 3) of which 255 times the sum is the most that is below the total."""
    sum_of_weights = (total - 1) // 255
    whole, rest = divmod(sum_of_weights, 127)
    taps = np.zeros(-(-(whole + 1) // 9) * 9, np.int8)
    taps[:whole], taps[whole] = 127, rest
    return np.random.default_rng(3).permutation(taps).reshape(1, -1, 3, 3)


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_exact_up_to_the_bound(algorithm, sign):
    """The largest sum that a form accepts, and one weight more: refused, and the next algorithm's."""
    limit = LIMITS[algorithm]
    w = sign * filter_that_sums_to(limit)
    x = np.full((1, 3, 3, w.shape[1]), 255, np.uint8)
    for x_zero, image in ((0, x), (255, np.zeros_like(x))):
        y = run(plan_of(w, 1, algorithm, x_zero=x_zero), image)
        np.testing.assert_array_equal(y, sums_of(image, w, 1, x_zero))
        assert limit - 255 <= abs(int(y[0, 1, 1, 0])) < limit

    beyond = w.copy()
    beyond.reshape(-1)[np.argmin(np.abs(w))] += sign
    reason = f"exact for sums below {limit}; those of channel 0 may reach {limit // 255 * 255 + 255}"
    for x_zero in (0, 255, None):
        with pytest.raises(ArgumentError, match=reason):
            plan_of(beyond, 1, algorithm, x_zero=x_zero)
    plan_of(beyond, 1, algorithm, x_zero=128)  # from there no byte is 255 away
    plan = plan_of(beyond, 1, "auto")
    assert plan.explain((1, w.shape[1], 56, 56))["rejected"][algorithm].endswith(reason[-30:])
    np.testing.assert_array_equal(run(plan, x), sums_of(x, beyond, 1, 0))


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
@pytest.mark.parametrize("oc", [16, 37])
def test_what_becomes_of_the_sums(rng, algorithm, dtype, oc):
    x, w = anything(rng, np.uint8, 1, 10, 13, 19), anything(rng, np.int8, oc, 19, 3, 3)
    bias = rng.integers(-9999, 9999, oc).astype(np.int32)
    scale = rng.uniform(1e-4, 1e-3, oc).astype(np.float32)
    y = (sums_of(x, w, 1, 100) + bias).astype(np.float32) * scale
    given = {"x_zero": 100, "bias": bias, "scale": scale, "out": dtype}
    if dtype == np.float32:
        shift = rng.normal(size=oc).astype(np.float32)
        given |= {"shift": shift, "low": -5.0, "high": 6.0}
        expected = np.clip(y + shift, np.float32(-5), np.float32(6))
    else:
        info, zero = np.iinfo(dtype), 7
        given |= {"low": float(info.min - zero), "high": float(info.max - zero), "zero": zero}
        expected = (np.clip(np.rint(y), info.min - zero, info.max - zero) + zero).astype(dtype)
        assert len(np.unique(expected)) > 100
    np.testing.assert_array_equal(run(plan_of(w, 1, algorithm, **given), x, out=dtype), expected)


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
def test_part_of_the_channels_of_larger_arrays(rng, algorithm):
    """Pixels further apart than their channels are long, as between layers that are concatenated."""
    w = anything(rng, np.int8, 21, 18, 3, 3)
    x, y = anything(rng, np.uint8, 2, 9, 8, 40), np.full((2, 9, 8, 50), 77, np.int32)
    plan = plan_of(w, 1, algorithm, x_zero=3)
    plan.run(x[..., 5:23].transpose(0, 3, 1, 2), y[..., 9:30].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(y[..., 9:30], sums_of(x[..., 5:23], w, 1, 3))
    assert (y[..., :9] == 77).all()
    assert (y[..., 30:] == 77).all()


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
@pytest.mark.parametrize("channels", [(1, 3), (15, 17), (16, 16), (20, 40), (33, 9)])
@pytest.mark.parametrize("align_end", [True, False])
def test_guarded(rng, algorithm, channels, align_end):
    """Bytes of x and of the result beside an unmapped page."""
    ic, oc = channels
    w = anything(rng, np.int8, oc, ic, 3, 3)
    scale = np.full(oc, 2.0**-8, np.float32)
    plan = plan_of(w, 1, algorithm, x_zero=9, scale=scale, out=np.uint8, high=255.0)
    for size in ((4, 4), (5, 7), (9, 8)):
        x = guarded_empty((1, *size, ic), np.uint8, align_end=align_end)
        y = guarded_empty((1, *size, oc), np.uint8, align_end=align_end)
        x[...] = anything(rng, np.uint8, *x.shape)
        plan.run(x.transpose(0, 3, 1, 2), y.transpose(0, 3, 1, 2))
        expected = np.clip(np.rint(sums_of(x, w, 1, 9) / 256), 0, 255)
        np.testing.assert_array_equal(y, expected)


@every_kernel
@pytest.mark.parametrize("algorithm", FORMS)
@pytest.mark.parametrize("shape", [(1, 8, 8, 40), (5, 30, 30, 40)])
def test_few_and_many_tiles(rng, algorithm, shape):
    """Threads share the blocks of tiles, or the panels of output channels; no bit depends on them."""
    x, w = anything(rng, np.uint8, *shape), anything(rng, np.int8, 130, shape[3], 3, 3)
    expected = sums_of(x, w, 1, 128).astype(np.int32)
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(run(plan_of(w, 1, algorithm, x_zero=128), x), expected)


def test_it_is_taken_where_it_pays(rng, tier):
    w = rng.integers(-64, 65, (64, 64, 3, 3)).astype(np.int8)
    plan = plan_of(w, 1, "auto")
    if tier == "avx512" and "amx_int8" in fastconv.show_config("dict")["tiers"]["extensions"]:
        # Its products have no tile registers, and direct ones have 16 times as many.
        assert plan.algorithm((1, 64, 56, 56)) == "dense"
        return
    assert plan.algorithm((1, 64, 56, 56)) == "winograd_f4"
    assert plan.explain((1, 64, 56, 56))["tile"].startswith("F(4x4) ")
    assert plan.algorithm((1, 64, 1, 1)) == "dense"
    reasons = plan.explain((1, 64, 1, 1))["rejected"]
    assert reasons["winograd_f4"] == "accepts, but does not pay for this size"
    assert plan_of(w[:1, :3].copy(), 1, "auto").algorithm((1, 3, 56, 56)) == "dense"
    for batch, threads in itertools.product((1, 16), (1, 4)):
        with fastconv.threads(threads):
            assert plan.algorithm((batch, 64, 7, 7)) == plan.algorithm((1, 64, 7, 7))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stride": [1, 2]}, "stride is not 1"),
        ({"dilation": [2, 2]}, "dilation is not 1"),
        ({"groups": 2}, "groups"),
        ({"w_zero": np.array([1], np.int32)}, "weights have zero points"),
        ({"transposed": True}, "transposed"),
        ({"w": np.ones((4, 4, 5, 3), np.int8)}, "no transform for a kernel of 1x5x3"),
    ],
)
@pytest.mark.parametrize("algorithm", FORMS)
def test_reasons(algorithm, changes, reason):
    given = {
        "w": np.ones((4, 4, 3, 3), np.int8), "bias": None, "spatial": 2, "stride": [1, 1],
        "padding_lo": [1, 1], "padding_hi": [1, 1], "dilation": [1, 1], "groups": 1, "auto_pad": "explicit",
        "transposed": False, "output_padding": [0, 0], "w_zero": np.array([0], np.int32), "x_signed": False,
        "x_zero": 0, "out": np.dtype(np.int32), "scale": None, "shift": None, "low": 0.0, "high": 0.0,
        "zero": 0, "algorithm": algorithm,
    }  # fmt: skip
    with pytest.raises(ArgumentError, match=f"{algorithm}' does not accept this convolution: {reason}"):
        _core.IntegerConv(**(given | changes))
