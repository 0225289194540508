"""Winograd convolution: its specification, its error, when it is taken, and precision="exact"."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv.testing.winograd import winograd_conv

every_tier = pytest.mark.usefixtures("tier")

FORMS = [("winograd_f4", 3), ("winograd_f2", 3), ("winograd_f2", 5)]


@pytest.mark.parametrize(("algorithm", "kernel"), FORMS)
@pytest.mark.parametrize("dilation", [1, 2, (3, 1)])
def test_the_reference_form_is_a_convolution(problem, algorithm, kernel, dilation):
    p = problem((2, 6, 13, 15), (4, 3, kernel, kernel), padding=(1, 2), dilation=dilation, groups=2)
    y = winograd_conv(p.x, p.w, p.bias, m=int(algorithm[-1]), **p.geometry)
    np.testing.assert_allclose(y, p.expected, rtol=1e-12, atol=1e-10)


@every_tier
@pytest.mark.parametrize(("algorithm", "kernel"), FORMS)
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (4, 4), (5, 9), (13, 14), (17, 3)])
@pytest.mark.parametrize("padding", [0, 1, 2, (0, 3, 5, 1), "same"])
def test_every_edge(problem, algorithm, kernel, size, padding):
    x = (2, 5, *(max(i, kernel) for i in size))
    p = problem(x, (9, 5, kernel, kernel), padding=padding, residual=True, integers=False)
    for layout in ("NCHW", "NHWC"):
        p.check(algorithm=algorithm, layout=layout)


@every_tier
@pytest.mark.parametrize(("algorithm", "kernel"), FORMS)
@pytest.mark.parametrize("dilation", [2, 3, (1, 2), (7, 5)])
def test_dilation(problem, algorithm, kernel, dilation):
    p = problem((1, 7, 31, 33), (6, 7, kernel, kernel), padding=4, dilation=dilation, integers=False)
    p.check(algorithm=algorithm)


@every_tier
@pytest.mark.parametrize(("algorithm", "kernel"), FORMS)
@pytest.mark.parametrize("channels", [(1, 1), (15, 17), (16, 16), (17, 33), (40, 64), (70, 65)])
@pytest.mark.parametrize("groups", [1, 3])
def test_channel_tails(problem, algorithm, kernel, channels, groups):
    ic, oc = channels
    p = problem(
        (1, groups * ic, 9, 10), (groups * oc, ic, kernel, kernel), padding=kernel // 2, groups=groups,
        integers=False, residual=True, activation="silu",
    )  # fmt: skip
    p.check(algorithm=algorithm, layout="NHWC")


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish", ("leaky_relu", 0.2), "sigmoid"])
def test_epilogue(problem, activation):
    p = problem(
        (2, 20, 11, 9), (35, 20, 3, 3), padding=1, integers=False, residual=True, activation=activation
    )
    p.check(algorithm="winograd_f4", layout="NHWC")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 40, 8, 8), (5, 40, 30, 30)])
def test_few_and_many_tiles(problem, threads, shape):
    p = problem(shape, (130, 40, 3, 3), padding=1, integers=False)
    with fastconv.threads(1):
        one = p.run(algorithm="winograd_f4", layout="NHWC")
    p.assert_right(one, "winograd_f4")
    with fastconv.threads(threads):
        np.testing.assert_array_equal(p.run(algorithm="winograd_f4", layout="NHWC"), one)


def test_slices_of_a_volume(problem):
    p = problem((2, 12, 3, 10, 11), (20, 12, 1, 3, 3), padding=(0, 1, 1), integers=False)
    p.check(algorithm="winograd_f4")
    p.check(algorithm="winograd_f2", layout="NHWC")


@every_tier
@pytest.mark.parametrize(("algorithm", "limit"), [("winograd_f4", 3e-6), ("winograd_f2", 6e-7)])
def test_the_error_that_the_documentation_states(problem, algorithm, limit):
    """64 to 64 channels at 56 pixels, ResNet's: relative to the root mean square of the result."""
    p = problem((1, 64, 56, 56), (64, 64, 3, 3), padding=1, integers=False, bias=False)
    error = p.run(algorithm=algorithm, layout="NHWC") - p.expected
    assert np.sqrt((error**2).mean() / (p.expected**2).mean()) < limit


def plan(channels, kernel=3, **keywords):
    return fastconv.Conv2d(
        np.ones((channels, channels, kernel, kernel), np.float32),
        padding=kernel // 2,
        layout="NHWC",
        **keywords,
    )


@every_tier
def test_it_is_taken_where_it_pays():
    conv = plan(64)
    assert conv.algorithm == "auto"
    assert conv.algorithm_for((1, 56, 56, 64)) == "winograd_f4"
    assert conv.algorithm_for((1, 1, 1, 64)) == "implicit"
    assert plan(64, 5).algorithm_for((1, 56, 56, 64)) == "winograd_f2"
    text = conv.explain((1, 1, 1, 64))
    assert "not winograd_f4: accepts, but does not pay for this size" in text
    assert "56x56: winograd_f4" in conv.explain()
    assert "not depthwise: not depthwise with multiplier 1" in conv.explain()


def test_the_choice_sees_neither_batch_nor_threads():
    for size in range(1, 20):
        choices = set()
        for threads in (1, 2, 4):
            with fastconv.threads(threads):
                conv = plan(128)
                choices |= {conv.algorithm_for((n, size, size, 128)) for n in (1, 3, 16)}
        assert len(choices) == 1


def test_one_object_serves_sizes_that_want_other_algorithms(problem):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((32, 24, 3, 3)).astype(np.float32)
    conv, kept = fastconv.Conv2d(w, padding=1), w.copy()
    w[...] = np.nan  # the object has a copy
    sizes = set()
    for shape in [(1, 24, 28, 28), (1, 24, 1, 1), (2, 24, 28, 28), (1, 24, 1, 1)]:
        p = type(problem((1, 1, 1, 1), (1, 1, 1, 1)))(
            rng.standard_normal(shape).astype(np.float32), kept, geometry={"padding": 1}
        )
        p.assert_right(conv(p.x))
        sizes.add(conv.packed_bytes)
    assert len(sizes) == 2  # packed once for each


def test_exact_precision_refuses_f4(problem):
    p = problem((1, 64, 28, 28), (64, 64, 3, 3), padding=1)
    exact = p.run(precision="exact", layout="NHWC")
    np.testing.assert_array_equal(exact, p.expected)
    conv = plan(64, precision="exact")
    assert conv.algorithm_for((1, 56, 56, 64)) != "winograd_f4"
    assert "not winograd_f4: precision is exact" in conv.explain()
    with pytest.raises(
        fastconv.ArgumentError, match=r"^algorithm: 'winograd_f4' does not accept .* precision"
    ):
        plan(64, precision="exact", algorithm="winograd_f4")
    with pytest.raises(
        fastconv.ArgumentError, match=r"^precision: expected 'fast', 'exact' or 'bf16', got 'best'"
    ):
        plan(64, precision="best")


@pytest.mark.parametrize(
    ("w_shape", "geometry", "reason"),
    [
        ((4, 4, 3, 3), {"stride": 2}, "stride is not 1"),
        ((4, 4, 3, 1), {}, "no transform for a kernel of 1x3x1"),
        ((4, 4, 7, 7), {}, "no transform for a kernel of 1x7x7"),
    ],
)
def test_reasons(problem, w_shape, geometry, reason):
    p = problem((1, 4, 9, 9), w_shape, **geometry)
    with pytest.raises(fastconv.ArgumentError, match=reason):
        p.run(algorithm="winograd_f2")
