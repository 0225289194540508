"""Every geometry by name, exact on small integers, on every algorithm that accepts it and every tier."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastconv
from fastconv.testing import reference

pytestmark = pytest.mark.usefixtures("tier")


@pytest.mark.parametrize("kernel", [(1, 7), (7, 1), (3, 1), (1, 3), (2, 2), (4, 4), (2, 5), (7, 7), (11, 11)])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
def test_kernels(problem, kernel, stride):
    padding = tuple(k // 2 for k in kernel)
    problem((1, 5, 13, 12), (18, 5, *kernel), stride=stride, padding=padding).check()


@pytest.mark.parametrize("dilation", [1, 2, 3, (1, 4)])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_dilation(problem, dilation, padding):
    problem((1, 6, 14, 15), (17, 6, 3, 3), dilation=dilation, padding=padding).check()


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(
    ("channels", "multiplier"), [(1, 1), (9, 1), (32, 1), (35, 1), (9, 2), (16, 2), (11, 3)]
)
def test_depthwise(problem, k, stride, dilation, channels, multiplier):
    p = problem(
        (1, channels, 15, 17),
        (channels * multiplier, 1, k, k),
        stride=stride,
        dilation=dilation,
        padding=dilation * (k // 2),
        groups=channels,
        activation="relu6",
    )
    p.check(layout="NHWC")


@pytest.mark.parametrize("per_group", [2, 3, 4, 5, 8, 12, 16, 17, 24, 32, 64])
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_grouped(problem, per_group, groups):
    channels = groups * per_group
    problem((1, channels, 6, 7), (channels, per_group, 3, 3), padding=1, groups=groups).check()


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("per_group", [4, 8, 16, 32])
def test_groups_of_whole_vectors(problem, k, stride, dilation, per_group):
    p = problem(
        (1, 3 * per_group, 15, 17),
        (3 * per_group, per_group, k, k),
        stride=stride,
        dilation=dilation,
        padding=dilation * (k // 2),
        groups=3,
        residual=True,
        activation="relu6",
    )
    p.check(layout="NHWC")


@pytest.mark.parametrize(
    ("ic", "oc"), [(1, 3), (3, 1), (2, 5), (4, 8), (8, 4), (7, 2), (16, 1), (1, 16), (5, 33)]
)
@pytest.mark.parametrize("groups", [2, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_of_unequal_channels(problem, ic, oc, groups, stride):
    problem((2, groups * ic, 7, 5), (groups * oc, ic, 3, 2), stride=stride, padding=1, groups=groups).check()


@pytest.mark.parametrize(
    "padding",
    [
        *(0, 1, 4, (2, 0), (0, 3)),
        *((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (3, 1, 0, 2), (0, 0, 1, 1)),
        *("same", "valid"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 9), (11, 10)])
def test_padding(problem, padding, stride, size):
    problem((1, 3, *size), (4, 3, 5, 4), padding=padding, stride=stride).check()
    problem((1, 3, *size), (3, 1, 5, 4), padding=padding, stride=stride, groups=3).check()


def test_padding_beyond_the_kernel_gives_pixels_of_bias_alone(problem):
    problem((1, 3, 2, 2), (4, 3, 3, 3), padding=5).check()
    problem((1, 3, 1, 1), (3, 1, 3, 3), padding=(4, 3, 2, 5), groups=3, stride=2).check()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_same_is_tensorflows(problem, k, stride, dilation):
    for size in range(1, 12):
        p = problem((1, 2, size, size + 1), (3, 2, k, k), stride=stride, dilation=dilation, padding="same")
        y = p.run()
        assert y.shape[2:] == (-(-size // stride), -(-(size + 1) // stride))
        p.check(algorithm="auto")


def test_pads_are_top_left_bottom_right():
    x = np.ones((1, 1, 1, 1), np.float32)
    w = np.ones((1, 1, 1, 1), np.float32)
    y = fastconv.conv2d(x, w, padding=(1, 2, 3, 4))
    assert y.shape == (1, 1, 5, 7)
    assert y[0, 0, 1, 2] == 1
    assert y.sum() == 1


@pytest.mark.parametrize("pixels", range(1, 30))
def test_every_tail_of_rows_and_columns(problem, pixels):
    for oc in (1, 5, 16, 23, 33):
        problem((1, 3, 1, pixels), (oc, 3, 1, 1)).check(layout="NHWC")
        problem((1, 3, pixels, 1), (oc, 3, 3, 1), padding=(1, 0)).check(algorithm="auto")


@pytest.mark.parametrize("ic", [*range(1, 20), 31, 32, 33, 64, 257, 515])
def test_every_depth(problem, ic):
    problem((1, ic, 3, 5), (19, ic, 2, 2), bias=False).check()


def test_deep_sums_stay_exact(problem):
    problem((1, 2048, 2, 3), (40, 2048, 1, 1)).check()
    problem((1, 512, 7, 7), (32, 512, 3, 3), padding=1).check()


@pytest.mark.parametrize(
    ("channels", "kernel", "given"),
    [
        (1024, 1, {}),
        (512, 1, {"stride": 2}),  # two pixels on
        (1024, 1, {"stride": 2}),
        (1024, 1, {"padding": 1}),
        (1024, (1, 3), {"padding": (0, 1), "dilation": 2}),
        (1024, (3, 1), {"stride": (2, 1)}),
        (2048, 1, {"groups": 2}),
    ],
)
def test_pixels_4_kib_apart(problem, channels, kernel, given):
    """They are copied apart, or 14 of them would share the few lines of a set of L1."""
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    per_group = channels // given.get("groups", 1)
    p = problem((2, channels, 5, 16), (34, per_group, *kernel), residual=True, **given)
    p.check(layout="NHWC", algorithm="implicit")
    p.check(algorithm="implicit")


@pytest.mark.parametrize("oc", [*range(1, 35), 47, 48, 49, 63, 64, 65])
def test_every_number_of_output_channels(problem, oc):
    problem((1, 7, 4, 4), (oc, 7, 3, 3), padding=1, residual=True).check()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_no_output_channels(groups, kernel, stride, layout):
    """A layer whose filters were all pruned away has an image of none, as in PyTorch."""
    shape = (2, 9, 8, 7) if layout == "NCHW" else (2, 8, 7, 9)
    x, w = np.ones(shape, np.float32), np.ones((9, 9 // groups, kernel, kernel), np.float32)
    geometry = {"stride": stride, "groups": groups, "layout": layout}
    channel = layout.index("C")
    expected = list(fastconv.conv2d(x, w, **geometry).shape)
    expected[channel] = 0
    none = w[:0]
    for name in ("auto", *fastconv.algorithms()):
        try:
            y = fastconv.conv2d(x, none, none[:, 0, 0, 0], activation="relu", algorithm=name, **geometry)
        except fastconv.ArgumentError as error:
            assert re.match(f"algorithm: '{name}' does not accept .*: .", str(error))  # noqa: PT017
        else:
            assert y.shape == tuple(expected)
    assert fastconv.Conv2d(none, **geometry)(x).shape == tuple(expected)
    assert fastconv.qconv2d(x.astype(np.uint8), none.astype(np.int8), **geometry).shape == tuple(expected)
    if layout == "NCHW":
        transposed = np.ones((9, 0, kernel, kernel), np.float32)
        assert fastconv.conv_transpose2d(x, transposed, groups=groups).shape[:2] == (2, 0)


@pytest.mark.parametrize(("ic", "oc"), [(1, 1), (3, 20), (16, 7), (300, 33), (64, 129), (1024, 17)])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 7), (13, 13), (29, 31)])
def test_planes_and_pixels_give_the_same_bits(problem, ic, oc, size):
    p = problem((2, ic, *size), (oc, ic, 1, 1), integers=False, residual=True, activation="silu")
    p.check()
    planes = p.run(algorithm="planar")
    for layout in ("NCHW", "NHWC"):
        np.testing.assert_array_equal(planes, p.run(layout=layout, algorithm="implicit"))


def test_planes_are_taken_where_they_are_the_layout(problem):
    p = problem((1, 8, 6, 6), (8, 8, 1, 1))
    assert p.algorithm("auto") == "implicit"
    assert fastconv.Conv2d(p.w).algorithm_for(p.x.shape) == "planar"
    assert fastconv.Conv2d(p.w).algorithm_for((1, 8, 1, 1)) == "implicit"
    assert fastconv.Conv2d(p.w, layout="NHWC").algorithm == "implicit"
    assert fastconv.Conv2d(p.w, stride=2).algorithm_for(p.x.shape) == "implicit"
    assert fastconv.Conv2d(p.w, stride=3).algorithm == "implicit"
    with pytest.raises(fastconv.ArgumentError, match=r"'planar' does not accept .*: channels-last"):
        fastconv.Conv2d(p.w, layout="NHWC", algorithm="planar")


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_batches(problem, batch, layout):
    problem((batch, 6, 5, 5), (8, 6, 3, 3), padding=1, residual=True).check(layout=layout)
    problem((batch, 6, 5, 5), (6, 1, 3, 3), padding=1, groups=6).check(layout=layout)


def test_every_algorithm_gets_its_turn(problem):
    dense = problem((1, 8, 6, 6), (8, 8, 3, 3), padding=1)
    depthwise = problem((1, 8, 6, 6), (8, 1, 3, 3), padding=1, groups=8)
    grouped = problem((1, 16, 6, 6), (16, 4, 3, 3), padding=1, groups=4)
    pointwise = problem((1, 8, 6, 6), (8, 8, 1, 1))
    accepted = {name for p in (dense, depthwise, grouped, pointwise) for name in p.results()}
    others = {"bf16", "codebook"}  # that rounds, or is of fully connected layers: tests of their own
    assert accepted == {"auto", *fastconv.algorithms()} - others
    assert {"implicit", "im2col", "depthwise", "direct", "reference"} <= set(fastconv.algorithms())


def test_special_values_pass_through():
    x = np.array([[[[1, np.inf, np.nan, -np.inf, 1]]]], np.float32)
    y = fastconv.conv2d(x, np.ones((1, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(y, x)
    y = fastconv.conv2d(x, np.ones((1, 1, 1, 3), np.float32), padding=(0, 1))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, reference.conv(x, np.ones((1, 1, 1, 3)), padding=(0, 1)))
