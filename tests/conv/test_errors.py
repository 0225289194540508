"""Bad input: a typed error that starts with the argument's name and says what was expected and what came."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastconv
from fastconv import ArgumentError, DTypeError, FastconvError, ShapeError


def f32(*shape):
    return np.zeros(shape, np.float32)


X, W = f32(2, 6, 7, 8), f32(4, 6, 3, 3)
SEQUENCE, VOLUME = f32(1, 6, 9), f32(1, 6, 4, 4, 4)
DEPTHWISE = {"w": f32(6, 1, 3, 3), "groups": 6}
READ_ONLY = f32(2, 4, 5, 6)
READ_ONLY.flags.writeable = False
SHARED = f32(2 * 6 * 7 * 8)

# What conv2d gets in place of x = X, w = W; the error; the argument that its message must start with.
BAD = [
    # x and w: what they are
    ({"x": None}, DTypeError, "x"),
    ({"x": "image"}, DTypeError, "x"),
    ({"x": [["1.0"]]}, DTypeError, "x"),
    ({"x": object()}, DTypeError, "x"),
    ({"x": X.astype(np.float64)}, DTypeError, "x"),
    ({"x": X.astype(np.float16)}, DTypeError, "w"),
    ({"x": X.astype(np.int32)}, DTypeError, "x"),
    ({"x": X.astype(np.complex64)}, DTypeError, "x"),
    ({"x": X.astype(bool)}, DTypeError, "x"),
    ({"x": X.astype(object)}, DTypeError, "x"),
    ({"x": X.astype(">f4")}, DTypeError, "x"),
    ({"x": X.astype("U1")}, DTypeError, "x"),
    ({"x": np.zeros(3, [("a", "f4")])}, DTypeError, "x"),
    ({"w": None}, DTypeError, "w"),
    ({"w": 3.0}, DTypeError, "w"),
    ({"w": W.astype(np.float64)}, DTypeError, "w"),
    ({"w": W.astype(object)}, DTypeError, "w"),
    ({"w": W.astype(">f4")}, DTypeError, "w"),
    # ranks
    ({"x": f32()}, ShapeError, "x"),
    ({"x": f32(6)}, ShapeError, "x"),
    ({"x": f32(6, 7, 8)}, ShapeError, "x"),
    ({"x": f32(1, 2, 6, 7, 8)}, ShapeError, "x"),
    ({"x": f32(*(1,) * 20)}, ShapeError, "x"),
    ({"w": f32(4, 6, 3)}, ShapeError, "w"),
    ({"w": f32(4, 6, 3, 3, 3)}, ShapeError, "w"),
    ({"w": f32()}, ShapeError, "w"),
    # channels and groups
    ({"w": f32(4, 5, 3, 3)}, ShapeError, "w"),
    ({"w": f32(4, 3, 3, 3)}, ShapeError, "w"),
    ({"w": f32(4, 6, 3, 3), "groups": 2}, ShapeError, "w"),
    ({"x": f32(2, 7, 8, 6)}, ShapeError, "w"),
    ({"w": f32(4, 2, 3, 3), "groups": 3}, ShapeError, "groups"),
    ({"groups": 4}, ShapeError, "groups"),
    ({"groups": 0}, ArgumentError, "groups"),
    ({"groups": -1}, ArgumentError, "groups"),
    ({"groups": 2**31}, ArgumentError, "groups"),
    ({"groups": 2**200}, ArgumentError, "groups"),
    ({"groups": 1.0}, DTypeError, "groups"),
    ({"groups": True}, DTypeError, "groups"),
    ({"groups": "1"}, DTypeError, "groups"),
    ({"groups": None}, DTypeError, "groups"),
    # empty dimensions
    ({"w": f32(4, 6, 0, 3)}, ShapeError, "w"),
    ({"w": f32(4, 6, 3, 0)}, ShapeError, "w"),
    ({"x": f32(2, 0, 7, 8), "w": f32(4, 0, 3, 3)}, ShapeError, "w"),
    ({"x": f32(2, 6, 0, 8)}, ShapeError, "[xw]"),
    ({"x": f32(2, 6, 7, 0), "padding": 4}, ShapeError, "[xw]"),
    ({"x": f32(0, 6, 2, 8)}, ShapeError, "[xw]"),
    # stride, dilation
    *(
        ({name: value}, error, name)
        for name in ("stride", "dilation")
        for value, error in [
            (0, ArgumentError),
            (-1, ArgumentError),
            ((1, 0), ArgumentError),
            ((-2, 1), ArgumentError),
            ((1, 1, 1), ArgumentError),
            ((), ArgumentError),
            (2**31, ArgumentError),
            (2**62, ArgumentError),
            (2**64, ArgumentError),
            (-(2**63), ArgumentError),
            ((1, 2**62), ArgumentError),
            (1.0, DTypeError),
            (float("nan"), DTypeError),
            ((1, float("nan")), DTypeError),
            (float("inf"), DTypeError),
            (True, DTypeError),
            (None, DTypeError),
            ("2", DTypeError),
            (np.array([1.0, 2.0]), DTypeError),
            ({1: 1}, DTypeError),
        ]
    ),
    # padding
    ({"padding": -1}, ArgumentError, "padding"),
    ({"padding": (0, -1)}, ArgumentError, "padding"),
    ({"padding": (0, 0, 0, -1)}, ArgumentError, "padding"),
    ({"padding": (1, 2, 3)}, ArgumentError, "padding"),
    ({"padding": (1, 2, 3, 4, 5)}, ArgumentError, "padding"),
    ({"padding": ()}, ArgumentError, "padding"),
    ({"padding": "SAME"}, ArgumentError, "padding"),
    ({"padding": "full"}, ArgumentError, "padding"),
    ({"padding": ""}, ArgumentError, "padding"),
    ({"padding": 0.5}, DTypeError, "padding"),
    ({"padding": float("nan")}, DTypeError, "padding"),
    ({"padding": None}, DTypeError, "padding"),
    ({"padding": ((1, 1), (1, 1))}, DTypeError, "padding"),
    ({"padding": 2**31}, ArgumentError, "padding"),
    ({"padding": 2**62}, ArgumentError, "padding"),
    # a kernel larger than the padded input
    ({"w": f32(4, 6, 8, 3)}, ShapeError, "[xw]"),
    ({"w": f32(4, 6, 3, 9)}, ShapeError, "[xw]"),
    ({"w": f32(4, 6, 10, 3), "padding": 1}, ShapeError, "[xw]"),
    ({"dilation": 4}, ShapeError, "[xw]"),
    ({"dilation": 2**31 - 1}, ShapeError, "[xw]"),
    ({"dilation": (1, 4), "padding": "valid"}, ShapeError, "[xw]"),
    ({**DEPTHWISE, "dilation": 4}, ShapeError, "[xw]"),
    # bias
    ({"bias": f32(5)}, ShapeError, "bias"),
    ({"bias": f32(3)}, ShapeError, "bias"),
    ({"bias": f32(0)}, ShapeError, "bias"),
    ({"bias": f32(4, 1)}, ShapeError, "bias"),
    ({"bias": f32()}, ShapeError, "bias"),
    ({"bias": 1.0}, DTypeError, "bias"),
    ({"bias": np.zeros(4)}, DTypeError, "bias"),
    ({"bias": np.zeros(4, ">f4")}, DTypeError, "bias"),
    # residual
    ({"residual": f32(2, 4, 5, 5)}, ShapeError, "residual"),
    ({"residual": f32(1, 4, 5, 6)}, ShapeError, "residual"),
    ({"residual": f32(4, 5, 6)}, ShapeError, "residual"),
    ({"residual": f32(2, 5, 6, 4)}, ShapeError, "residual"),
    ({"residual": np.zeros((2, 4, 5, 6))}, DTypeError, "residual"),
    ({"residual": 0}, DTypeError, "residual"),
    # out
    ({"out": f32(2, 4, 5, 5)}, ShapeError, "out"),
    ({"out": f32(4, 5, 6)}, ShapeError, "out"),
    ({"out": f32(2, 5, 6, 4)}, ShapeError, "out"),
    ({"out": f32(1, 4, 5, 6)}, ShapeError, "out"),
    ({"out": np.zeros((2, 4, 5, 6))}, DTypeError, "out"),
    ({"out": np.zeros((2, 4, 5, 6), ">f4")}, DTypeError, "out"),
    ({"out": [1.0]}, DTypeError, "out"),
    ({"out": "file"}, DTypeError, "out"),
    ({"out": READ_ONLY}, ArgumentError, "out"),
    ({"out": np.broadcast_to(f32(4, 5, 6), (2, 4, 5, 6))}, ArgumentError, "out"),
    (
        {"x": SHARED.reshape(X.shape), "out": SHARED[: 2 * 4 * 5 * 6].reshape(2, 4, 5, 6)},
        ArgumentError,
        "out",
    ),
    (
        {"residual": SHARED[:240].reshape(2, 4, 5, 6), "out": SHARED[1:241].reshape(2, 4, 5, 6)},
        ArgumentError,
        "out",
    ),
    # names
    ({"activation": "RELU"}, ArgumentError, "activation"),
    ({"activation": "softmax"}, ArgumentError, "activation"),
    ({"activation": ""}, ArgumentError, "activation"),
    ({"activation": 1}, ArgumentError, "activation"),
    ({"activation": ()}, ArgumentError, "activation"),
    ({"activation": ("relu", 1.0)}, ArgumentError, "activation"),
    ({"activation": ("leaky_relu", 0.1, 0.2)}, ArgumentError, "activation"),
    ({"activation": ("clamp", 0.0, 1.0, 2.0)}, ArgumentError, "activation"),
    ({"activation": ("leaky_relu", "x")}, DTypeError, "activation"),
    ({"activation": ("clamp", float("nan"), 1.0)}, ArgumentError, "activation"),
    ({"activation": np.maximum}, ArgumentError, "activation"),
    ({"algorithm": "fastest"}, ArgumentError, "algorithm"),
    ({"algorithm": ""}, ArgumentError, "algorithm"),
    ({"algorithm": None}, DTypeError, "algorithm"),
    ({"algorithm": 3}, DTypeError, "algorithm"),
    ({"algorithm": "depthwise"}, ArgumentError, "algorithm"),
    ({"algorithm": "direct"}, ArgumentError, "algorithm"),
    ({"layout": "nchw"}, ArgumentError, "layout"),
    ({"layout": "NCWH"}, ArgumentError, "layout"),
    ({"layout": None}, ArgumentError, "layout"),
    ({"layout": "NHWC"}, ShapeError, "[xw]"),
]


def name_of(value):
    """Return a name that is the same in every process."""
    return re.sub(r" at 0x\w+", "", str(value))[:60] if isinstance(value, dict) else None


@pytest.mark.parametrize(("bad", "error", "argument"), BAD, ids=name_of)
def test_conv2d(bad, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got |^algorithm: .* does not accept .*: ."):
        fastconv.conv2d(**{"x": X, "w": W} | bad)
    assert issubclass(error, FastconvError)
    assert issubclass(error, TypeError if error is DTypeError else ValueError)


PLAN = [row for row in BAD if not row[0].keys() & {"x", "out", "residual"} and row[2] != "[xw]"]


@pytest.mark.parametrize(("bad", "error", "argument"), PLAN, ids=name_of)
def test_conv2d_plan(bad, error, argument):
    """A Conv2d reports the same mistakes, when it is made or, where only the input shows them, later."""
    with pytest.raises(
        error, match=rf"^({argument}|x): expected .*got |^algorithm: .* does not accept .*: ."
    ):
        fastconv.Conv2d(**{"w": W} | bad)(X)


def transpose(w, x=X, **keywords):
    return lambda: fastconv.conv_transpose2d(x, w, **keywords)


def conv1d(w, x=SEQUENCE, **keywords):
    return lambda: fastconv.conv1d(x, w, **keywords)


def conv3d(w, x=VOLUME, **keywords):
    return lambda: fastconv.conv3d(x, w, **keywords)


def plan(x=X, layout="NCHW", **keywords):
    return lambda: fastconv.Conv2d(W, layout=layout)(x, **keywords)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (conv1d(f32(4, 6, 3), X), ShapeError, "x"),
        (conv1d(W), ShapeError, "w"),
        (conv1d(f32(4, 6, 3), stride=(1, 1)), ArgumentError, "stride"),
        (conv1d(f32(4, 6, 3), padding=(1, 1, 1)), ArgumentError, "padding"),
        (conv1d(f32(4, 6, 10)), ShapeError, "[xw]"),
        (conv1d(f32(4, 6, 3), layout="NCHW"), ArgumentError, "layout"),
        (conv3d(f32(4, 6, 3, 3, 3), X), ShapeError, "x"),
        (conv3d(W), ShapeError, "w"),
        (conv3d(f32(4, 6, 3, 3, 3), stride=(1, 1)), ArgumentError, "stride"),
        (conv3d(f32(4, 6, 3, 3, 3), padding=(1,) * 4), ArgumentError, "padding"),
        (conv3d(f32(4, 6, 5, 3, 3)), ShapeError, "[xw]"),
        (transpose(f32(5, 4, 3, 3)), ShapeError, "[xw]"),
        (transpose(f32(6, 4, 3)), ShapeError, "w"),
        (transpose(f32(6, 4, 3, 3), f32(6, 7, 8)), ShapeError, "x"),
        (transpose(f32(6, 4, 3, 3), groups=4), ShapeError, "groups"),
        (transpose(f32(6, 4, 3, 3), groups=0), ArgumentError, "groups"),
        (transpose(f32(6, 4, 3, 3), stride=0), ArgumentError, "stride"),
        (transpose(f32(6, 4, 3, 3), padding=5), ShapeError, "padding"),
        (transpose(f32(6, 4, 3, 3), output_padding=1), ArgumentError, "output_padding"),
        (transpose(f32(6, 4, 3, 3), output_padding=-1), ArgumentError, "output_padding"),
        (transpose(f32(6, 4, 3, 3), output_padding=0.0), DTypeError, "output_padding"),
        (transpose(f32(6, 4, 3, 3), bias=f32(6)), ShapeError, "bias"),
        (transpose(f32(6, 4, 3, 3), f32(1, 6, 0, 3)), ShapeError, "x"),
        (plan(f32(1, 5, 7, 7)), ShapeError, "x"),
        (plan(f32(6, 7, 7)), ShapeError, "x"),
        (plan(f32(1, 6, 2, 7)), ShapeError, "[xw]"),
        (plan(out=f32(2, 4, 5, 5)), ShapeError, "out"),
        (plan(residual=f32(2, 4, 5, 5)), ShapeError, "residual"),
        (plan(layout="NHWC"), ShapeError, "x"),
        (lambda: fastconv.Conv2d(W).out_shape((1, 6, 7)), ShapeError, "x"),
        (lambda: fastconv.Conv2d(W, layout="NHWC").out_shape((1, 6, 7)), ShapeError, "x"),
    ],
)
def test_the_other_convolutions(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        call()


@pytest.mark.parametrize("padding", [2**20, 2**25, 2**30, (0, 2**31 - 1), (2**31 - 1,) * 4])
@pytest.mark.parametrize("groups", [1, 6])
def test_a_result_beyond_memory_is_an_error(padding, groups):
    with pytest.raises((FastconvError, MemoryError)):
        fastconv.conv2d(X, f32(6, 6 // groups, 1, 1), padding=padding, groups=groups)


@pytest.mark.parametrize("huge", [2**20, 2**31 - 1])
def test_huge_attributes_that_make_sense(huge):
    x, w = np.ones((1, 2, 3, 3), np.float32), np.ones((2, 2, 1, 1), np.float32)
    assert fastconv.conv2d(x, w, stride=huge).tolist() == [[[[2.0]], [[2.0]]]]
    assert (fastconv.conv2d(x, w, dilation=huge) == 2).all()
    assert fastconv.conv2d(x, np.ones((2, 1, 1, 1), np.float32), stride=huge, groups=2).shape == (1, 2, 1, 1)
    assert fastconv.conv2d(x, w, padding=(5, 0), stride=(huge, 1)).shape == (1, 2, 1, 3)


def test_messages_name_the_numbers():
    with pytest.raises(ShapeError, match=re.escape("w: expected ic/groups = 6 channels, got 5")):
        fastconv.conv2d(X, f32(4, 5, 3, 3))
    with pytest.raises(ArgumentError, match=r"^algorithm: expected .*got 'fastest'"):
        fastconv.conv2d(X, W, algorithm="fastest")


@pytest.mark.parametrize("kernel", [1, 3])
def test_out_in_the_memory_of_the_weights(kernel):
    # A 1x1 kernel may be multiplied from where it is, so that results would be computed from results.
    for function, spatial in (
        *((fastconv.conv1d, 1), (fastconv.conv2d, 2), (fastconv.conv3d, 3)),
        (fastconv.conv_transpose2d, 2),
    ):
        x = np.ones((2, 8, *[9] * spatial), np.float32)
        w_shape = (8, 8, *[kernel] * spatial)
        want = function(x, np.ones(w_shape, np.float32))
        memory = np.ones(max(want.size, np.prod(w_shape)), np.float32)
        w, out = memory[: np.prod(w_shape)].reshape(w_shape), memory[: want.size].reshape(want.shape)
        with pytest.raises(fastconv.ArgumentError, match=r"^out: expected memory that no input shares"):
            function(x, w, out=out)
        assert (memory == 1).all()
