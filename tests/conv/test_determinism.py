"""The bitwise promise: the same bits for any number of threads, any position in the batch, and any layout."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv

every_tier = pytest.mark.usefixtures("tier")

PROBLEMS = {
    "stem": {"x_shape": (3, 3, 33, 35), "w_shape": (40, 3, 7, 7), "stride": 2, "padding": 3},
    "3x3": {"x_shape": (3, 33, 14, 15), "w_shape": (47, 33, 3, 3), "padding": 1},
    "1x1": {"x_shape": (3, 130, 7, 7), "w_shape": (200, 130, 1, 1)},
    "one pixel": {"x_shape": (3, 300, 1, 1), "w_shape": (120, 300, 1, 1)},
    "depthwise": {"x_shape": (3, 70, 19, 17), "w_shape": (70, 1, 5, 5), "padding": 2, "groups": 70},
    "grouped": {"x_shape": (3, 64, 11, 12), "w_shape": (64, 4, 3, 3), "padding": 1, "groups": 16},
    "wide groups": {"x_shape": (3, 60, 9, 9), "w_shape": (60, 20, 3, 3), "padding": 1, "groups": 3},
}


@pytest.fixture(params=PROBLEMS)
def reals(request, problem):
    return problem(**PROBLEMS[request.param], integers=False, residual=True, activation="silu")


@every_tier
def test_threads_do_not_change_a_bit(reals):
    for layout in ("NCHW", "NHWC"):
        with fastconv.threads(1):
            one = reals.results(layout=layout)
        for threads in (2, 3):
            with fastconv.threads(threads):
                many = reals.results(layout=layout)
            for name in one:
                np.testing.assert_array_equal(one[name], many[name], err_msg=name)


@every_tier
def test_the_batch_does_not_change_a_bit(reals):
    whole = reals.results(layout="NHWC")
    for i in range(len(reals.x)):
        alone = type(reals)(
            reals.x[i : i + 1],
            reals.w,
            reals.bias,
            reals.residual[i : i + 1],
            reals.activation,
            reals.geometry,
        ).results(layout="NHWC")
        for name in whole:
            np.testing.assert_array_equal(whole[name][i], alone[name][0], err_msg=name)


def test_layouts_and_repetition_do_not_change_a_bit(reals):
    first = reals.results(layout="NHWC")
    for layout in ("NHWC", "NCHW"):
        again = reals.results(layout=layout)
        for name in first:
            np.testing.assert_array_equal(first[name], again[name], err_msg=f"{name} {layout}")
