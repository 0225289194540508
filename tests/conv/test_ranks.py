"""One and three spatial dimensions: 3x3x3, and the pseudo-3-D pair of 1x3x3 and 3x1x1."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.usefixtures("tier")


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 1), (2, 3, 4), (7, 1, 5)])
@pytest.mark.parametrize("stride", [1, 2, (1, 2, 3)])
@pytest.mark.parametrize("dilation", [1, (2, 1, 1), 2])
def test_conv3d(problem, kernel, stride, dilation):
    padding = tuple(k // 2 for k in kernel)
    shapes = (1, 3, 9, 8, 9), (10, 3, *kernel)
    size = [9 + 2 * p for p in padding]
    spread = dilation if isinstance(dilation, tuple) else (dilation,) * 3
    if any(d * (k - 1) + 1 > s - 1 for d, k, s in zip(spread, kernel, size, strict=True)):
        pytest.skip("the kernel is larger than the padded input")
    problem(*shapes, stride=stride, padding=padding, dilation=dilation, residual=True).check()


@pytest.mark.parametrize("padding", [0, 1, (1, 0, 2), (0, 1, 2, 3, 4, 5), "same", "valid"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv3d_padding_and_groups(problem, padding, layout):
    for groups in (1, 2, 4):
        problem((2, 4, 5, 6, 4), (8, 4 // groups, 3, 3, 2), padding=padding, stride=2, groups=groups).check(
            layout=layout
        )


@pytest.mark.parametrize("k", [1, 2, 3, 7, 15])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, 3, (3,), (0, 5), "same", "valid"])
def test_conv1d(problem, k, stride, padding):
    for groups in (1, 3, 6):
        problem((2, 6, 19), (12, 6 // groups, k), stride=stride, padding=padding, groups=groups).check()


def test_an_image_is_a_volume_of_one_slice(problem):
    p = problem((2, 5, 7, 8), (9, 5, 3, 3), padding=1)
    volume = fastconv.conv3d(p.x[:, :, None], p.w[:, :, None], p.bias, padding=(0, 1, 1))
    np.testing.assert_array_equal(volume[:, :, 0], p.run())
    row = fastconv.conv1d(p.x[:, :, 3], p.w[:, :, 1], p.bias, padding=1)
    image = fastconv.conv2d(p.x[:, :, 3:4], p.w[:, :, 1:2], p.bias, padding=(0, 1))
    np.testing.assert_array_equal(row, image[:, :, 0])
