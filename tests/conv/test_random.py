"""Random convolutions of every kind against the float64 reference, and against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.testing import reference, tolerance

every_tier = pytest.mark.usefixtures("tier")

ACTIVATIONS = [
    None,
    *("relu", "relu6", "leaky_relu", "sigmoid", "silu", "hardswish", "hardsigmoid", "gelu", "tanh"),
    *("gelu_tanh", "mish"),
    *(("leaky_relu", 0.25), ("clamp", -1.5, 2.0), ("hardsigmoid", 0.2, 0.4)),
]


@st.composite
def convolutions(draw, spatial=2, explicit_padding=False):
    """Draw the arguments of make_problem: groups, kernels up to 7, strides, dilations, forms of padding."""
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 4, 8, 17, 32)))
    per_group = st.integers(1, 40) if groups == 1 else st.integers(1, max(1, 36 // groups))
    ic, oc = draw(per_group), draw(per_group)
    if groups > 1 and draw(st.booleans()):
        ic = 1  # depthwise, with a multiplier of oc
    kernel = [draw(st.sampled_from((1, 1, 2, 3, 3, 3, 4, 5, 7))) for _ in range(spatial)]
    stride = tuple(draw(st.integers(1, 3)) for _ in range(spatial))
    dilation = tuple(draw(st.sampled_from((1, 1, 1, 2, 3))) for _ in range(spatial))
    lo = [draw(st.integers(0, 3)) for _ in range(spatial)]
    hi = [draw(st.integers(0, 3)) for _ in range(spatial)]
    forms = [tuple(lo)] if explicit_padding else [tuple(lo), lo[0], (*lo, *hi), "same", "valid"]
    padding = draw(st.sampled_from(forms))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = reach
    if isinstance(padding, int):
        least = [r - 2 * padding for r in reach]
    elif isinstance(padding, tuple):
        high = padding[spatial:] or padding
        least = [r - a - b for r, a, b in zip(reach, padding, high, strict=False)]
    elif padding == "same":
        least = [1] * spatial
    size = [max(1, i) + draw(st.integers(0, 12)) for i in least]
    return {
        "x_shape": (draw(st.integers(1, 2)), groups * ic, *size),
        "w_shape": (groups * oc, ic, *kernel),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "residual": draw(st.booleans()),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@settings(max_examples=300, derandomize=True)
@given(convolutions(), st.sampled_from(("NCHW", "NHWC")))
def test_random_convolutions_are_within_the_bound(problem, arguments, layout):
    problem(**arguments, integers=False).check(algorithm="auto", layout=layout)


@every_tier
@settings(max_examples=60, derandomize=True)
@given(convolutions(), st.sampled_from(("NCHW", "NHWC")))
def test_every_algorithm_and_tier_on_integers(problem, arguments, layout):
    activation = arguments.pop("activation")
    problem(**arguments, activation="relu" if activation else None).check(layout=layout)


@settings(max_examples=60, derandomize=True)
@given(st.one_of(convolutions(spatial=1), convolutions(spatial=3)), st.sampled_from(("NCHW", "NHWC")))
def test_random_conv1d_and_conv3d(problem, arguments, layout):
    problem(**arguments, integers=False).check(layout=layout)


@pytest.mark.torch
@settings(max_examples=300, derandomize=True)
@given(st.one_of(convolutions(explicit_padding=True), convolutions(spatial=3, explicit_padding=True)))
def test_random_convolutions_agree_with_torch_in_float64(problem, torch, arguments):
    p = problem(**arguments | {"activation": None, "residual": False}, integers=False)
    convolve = torch.nn.functional.conv2d if p.w.ndim == 4 else torch.nn.functional.conv3d
    x, w, bias = (None if a is None else torch.from_numpy(a.astype(np.float64)) for a in (p.x, p.w, p.bias))
    expected = convolve(
        x, w, bias, *(p.geometry[name] for name in ("stride", "padding", "dilation", "groups"))
    )
    tolerance.assert_within(p.run(), expected.numpy(), p.bound(), f"{arguments}")
    np.testing.assert_allclose(reference.conv(p.x, p.w, p.bias, **p.geometry), expected, rtol=1e-9, atol=1e-9)
