"""precision="bf16": the bound of docs/numbers.md, what rounding does at its ends, and when it is taken."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.testing import reference, tolerance
from fastconv.testing.guard import guarded

SHAPES = {
    "1x1": {"x_shape": (2, 19, 7, 9), "w_shape": (33, 19, 1, 1)},
    "rows that fall on each other": {"x_shape": (1, 2048, 3, 5), "w_shape": (40, 2048, 1, 1)},
    "1x1 stride": {"x_shape": (1, 8, 9, 11), "w_shape": (70, 8, 1, 1), "stride": 2},
    "3x3": {"x_shape": (2, 6, 13, 15), "w_shape": (18, 6, 3, 3), "padding": 1},
    "stem": {"x_shape": (1, 3, 15, 16), "w_shape": (20, 3, 7, 7), "padding": 3, "stride": 2},
    "rows of two rows of the image": {"x_shape": (2, 20, 7, 9), "w_shape": (50, 20, 3, 3), "padding": 1},
    "whole registers": {"x_shape": (1, 64, 6, 17), "w_shape": (8, 64, 2, 3), "stride": (2, 1)},
    "dilation": {"x_shape": (1, 5, 14, 15), "w_shape": (17, 5, 3, 3), "padding": (2, 3), "dilation": 2},
    "mostly padding": {"x_shape": (1, 4, 2, 1), "w_shape": (5, 4, 3, 3), "padding": 4},
    "three dimensions": {"x_shape": (1, 3, 4, 5, 6), "w_shape": (9, 3, 2, 3, 3), "padding": 1},
}
SPECIAL = np.float32(
    (
        *(np.nan, np.inf, -np.inf, 0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8),
        *(3.4e38, 2 - 2**-9, 65504.0, 2.0**-126),
    )
)


def rounded(a: np.ndarray) -> np.ndarray:
    """Return the nearest numbers of 8 significant bits, ties to even, in float64."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8)


def narrow(p):
    """Return the problem whose exact result that of bf16 is held against."""
    return replace(p, x=rounded(p.x), w=rounded(p.w))


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", SHAPES)
def test_results_are_those_of_rounded_numbers(name, layout, problem):
    p = problem(**SHAPES[name], integers=False, residual=True, activation="relu")
    y = p.run(layout=layout, algorithm="bf16", precision="bf16")
    narrow(p).assert_right(y, "implicit", name)
    plain = p.run(layout=layout, algorithm="implicit")
    assert (np.abs(y - plain) > 0).any()  # it did round


@pytest.mark.usefixtures("tier_and_bf16")
@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 40), n=st.integers(1, 70), k=st.integers(1, 90), seed=st.integers(0, 99))
def test_matrix_products_are_those_of_rounded_numbers(m, n, k, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((n, k), np.float32)
    c, bias = rng.standard_normal((m, n), np.float32), rng.standard_normal(n, np.float32)
    out = np.full((m, 2 * n), np.nan, np.float32)[:, ::2]
    y = fastconv.gemm(
        np.asfortranarray(a), b, c, alpha=0.5, beta=2.0, trans_b=True, bias=bias, precision="bf16", out=out
    )
    expected = 0.5 * (rounded(a) @ rounded(b).T) + 2.0 * c + bias
    magnitude = 0.5 * np.abs(rounded(a)) @ np.abs(rounded(b)).T + 2.0 * np.abs(c) + np.abs(bias)
    tolerance.assert_within(y, expected, tolerance.sum_bound(magnitude, k))


@pytest.mark.usefixtures("tier_and_bf16")
def test_the_bound_of_what_rounding_costs(problem):
    """Against the numbers that were given: each factor is off by 2^-8 of itself at most."""
    p = problem((2, 64, 9, 9), (32, 64, 3, 3), padding=1, integers=False)
    y = p.run(layout="NHWC", algorithm="bf16", precision="bf16")
    magnitude = reference.conv_magnitude(p.x, p.w, p.bias, **p.geometry)
    bound = tolerance.bf16_bound(magnitude, 64 * 9)
    tolerance.assert_within(y, p.expected, bound)
    assert (np.abs(y - p.expected) > tolerance.sum_bound(magnitude, 64 * 9)).any()


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of numpy, on NaN and infinity
def test_one_number_times_one_is_that_number_rounded():
    x = SPECIAL.reshape(1, 1, 1, -1)
    y = fastconv.conv2d(x, np.ones((1, 1, 1, 1), np.float32), precision="bf16", algorithm="bf16")
    expected = np.where(np.isfinite(x), rounded(x), x)
    np.testing.assert_array_equal(y, expected.astype(np.float32))  # 3.4e38 is infinity in bf16


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_is_not_finite_stays_where_it_is(problem):
    """Neither the zeros that fill up pairs nor padding meet it."""
    p = problem((1, 7, 6, 6), (9, 7, 3, 3), padding=1, integers=False)
    x = p.x.copy()
    x[0, 6, 2, 3], x[0, 0, 5, 5] = np.inf, np.nan
    special = replace(p, x=x)
    y = special.run(layout="NHWC", algorithm="bf16", precision="bf16")
    expected = reference.conv(special.x, special.w, special.bias, **special.geometry)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(y[infinite], expected[infinite].astype(np.float32))
    assert np.isfinite(y[np.isfinite(expected)]).all()


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("k", [1, 40])
def test_denormals_are_kept_or_zeros(k):
    """Of what is multiplied, and of sums: 1.5 - 1 of the smallest number that is none."""
    x = np.zeros((4, k), np.float32)
    x[:, 0] = 2.0**-130, -(2.0**-133), 2.0**-126, 1.5 * 2.0**-126
    y = fastconv.gemm(x, np.ones((k, 1), np.float32), precision="bf16")[:, 0]
    assert ((y == x[:, 0]) | (y == 0) & (np.abs(x[:, 0]) < 2.0**-126)).all()
    if k > 1:
        x[:, 33] = -(2.0**-126)
        sums = fastconv.gemm(x[2:], np.ones((k, 1), np.float32), precision="bf16")[:, 0]
        assert sums[0] == 0
        assert sums[1] in (0, 2.0**-127)


@pytest.mark.usefixtures("tier_and_bf16")
def test_bits_do_not_depend_on_threads_batch_and_layout(rng):
    w, bias = rng.standard_normal((40, 37, 3, 3), np.float32), rng.standard_normal(40, np.float32)
    x = rng.standard_normal((3, 17, 19, 37), np.float32)
    conv = fastconv.Conv2d(w, bias, padding=1, precision="bf16", algorithm="bf16", layout="NHWC")
    planes = fastconv.Conv2d(w, bias, padding=1, precision="bf16", algorithm="bf16")
    first = conv(x)
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(conv(x[1:2]), first[1:2])
            np.testing.assert_array_equal(
                planes(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1), first
            )
    rows = rng.standard_normal((30, 333), np.float32)
    b = rng.standard_normal((333, 65), np.float32)
    whole = fastconv.gemm(rows, b, precision="bf16")
    for m in (1, 2, 5, 17):
        np.testing.assert_array_equal(fastconv.gemm(rows[:m], b, precision="bf16"), whole[:m])


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("align_end", [True, False])
def test_nothing_beyond_the_arrays_is_touched(align_end, problem):
    for shape in ("1x1", "stem", "3x3"):
        p = problem(**SHAPES[shape], integers=False)
        guards = {n: guarded(getattr(p, n), align_end=align_end) for n in ("x", "w", "bias")}
        p = replace(p, **guards)
        narrow(p).assert_right(p.run(algorithm="bf16", precision="bf16"), "implicit")


def test_it_has_to_be_asked_for(rng):
    w = rng.standard_normal((64, 64, 1, 1), np.float32)
    assert "not bf16: precision is not bf16" in fastconv.Conv2d(w).explain((1, 64, 14, 14))
    for precision in ("fast", "exact"):
        with pytest.raises(fastconv.ArgumentError, match=r"'bf16' does not accept .*: precision is not bf16"):
            fastconv.Conv2d(w, algorithm="bf16", precision=precision)
    with pytest.raises(fastconv.ArgumentError, match="precision: expected 'fast', 'exact' or 'bf16'"):
        fastconv.gemm(w[:, :, 0, 0], w[:, :, 0, 0], precision="bfloat16")
    with pytest.raises(fastconv.ArgumentError, match=r"'bf16' does not accept .*: groups"):
        fastconv.Conv2d(w[:, :32], algorithm="bf16", precision="bf16", groups=2)


@pytest.mark.usefixtures("tier_and_bf16")
def test_auto_takes_it_where_the_processor_gains(rng):
    """Where pairs take an instruction of their own, all but Winograd's layers; elsewhere it says why not."""
    w = rng.standard_normal((64, 256, 1, 1), np.float32)
    conv = fastconv.Conv2d(w, precision="bf16", layout="NHWC")
    instruction = _core.peak_instructions(_core.active_tier()).get("bf16")
    if instruction:
        assert conv.algorithm_for((1, 56, 56, 256)) == "bf16" or re.search(
            rf"not bf16: {instruction} does \d+ % of the products of f32 a second, it takes 130 %",
            conv.explain(),
        )
        if instruction == "tdpbf16ps":
            return  # more than what Winograd saves
        square = fastconv.Conv2d(rng.standard_normal((64, 64, 3, 3), np.float32), padding=1, precision="bf16")
        assert square.algorithm_for((1, 64, 56, 56)).startswith("winograd")
    else:
        assert conv.algorithm_for((1, 56, 56, 256)) == "implicit"
        assert "not bf16: no instruction of this tier multiplies bf16" in conv.explain((1, 56, 56, 256))
