"""QConv2d beside qconv2d, which test_qconv.py holds to exact sums; and the errors of both."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv
from fastconv import ArgumentError, DTypeError, QConv2d, ShapeError, _core, qconv1d, qconv2d, qconv3d
from fastconv.conv import reopened

every_tier = pytest.mark.usefixtures("tier")


def anything(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


OPTIONS = {
    "sums": {"padding": 1},
    "of every option": {
        "bias": np.arange(8, dtype=np.int32), "stride": (2, 1), "padding": (1, 0, 2, 1),
        "dilation": [1, 2], "groups": 2, "x_dtype": np.int8, "x_zero_point": np.int64(-3),
        "w_zero_point": np.arange(8), "x_scale": np.float32(0.5),
        "w_scale": np.linspace(0.1, 0.9, 8, dtype=np.float32), "out_scale": 7, "out_zero_point": -9,
        "out_dtype": np.int8, "layout": "NHWC", "activation": ("clamp", -100.0, 300.0), "threads": 1,
    },
    "real": {"bias": np.linspace(-1, 1, 8, dtype=np.float32), "x_scale": 0.1, "w_scale": 0.1,
             "padding": "same", "activation": "relu"},
    "an algorithm by name": {"padding": 1, "algorithm": "winograd_f2"},
    "a border": {"padding": (2, 1, 0, 3), "padding_mode": "reflect", "x_zero_point": 7, "layout": "NHWC"},
}  # fmt: skip


def planned(rng, options):
    """Return a plan, its input, and what the function for one call makes of the same arguments."""
    w = anything(rng, np.int8, (8, 6 // options.get("groups", 1), 3, 3))
    x = anything(rng, options.get("x_dtype", np.uint8), (2, 6, 14, 17))
    if options.get("layout") == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    once = {name: value for name, value in options.items() if name not in ("x_dtype", "threads")}
    return QConv2d(w, **options), x, qconv2d(x, w, **once)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_padding_modes(rng, mode, layout):
    """As numpy pads, whatever the zero point is; and the input as it is may not be overwritten."""
    w, x = anything(rng, np.int8, (8, 6, 3, 3)), anything(rng, np.uint8, (2, 6, 14, 17))
    given = {"x_zero_point": 9, "w_zero_point": -5, "stride": 2}
    edges = ((0, 0), (0, 0), (2, 0), (1, 3))
    padded = np.pad(x, edges, mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])
    expected = qconv2d(padded, w, **given)

    def laid(y):
        return np.ascontiguousarray(np.moveaxis(y, 1, -1)) if layout == "NHWC" else y

    options = given | {"padding": (2, 1, 0, 3), "padding_mode": mode, "layout": layout}
    image = laid(x)
    np.testing.assert_array_equal(qconv2d(image, w, **options), laid(expected))
    conv = QConv2d(w, **options)
    assert conv.out_shape(image.shape) == laid(expected).shape
    assert conv.algorithm_for(image.shape) == "dense"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(conv))(image), laid(expected))
    out = np.empty(expected.size * 4 + x.size, np.uint8)
    inside = out[: x.size].reshape(image.shape)
    inside[:] = image
    result = out[: expected.size * 4].view(np.int32).reshape(laid(expected).shape)
    with pytest.raises(ArgumentError, match=r"^out: "):
        conv(inside, out=result)


def test_a_border_that_an_image_has_not():
    x, w = np.zeros((1, 1, 4), np.uint8), np.ones((1, 1, 3), np.int8)
    with pytest.raises(ShapeError, match=r"^padding: .* padding_mode='reflect' of 4 pixels, got 4"):
        qconv1d(x, w, padding=4, padding_mode="reflect")
    with pytest.raises(ArgumentError, match=r"^padding_mode: expected one of zeros, reflect"):
        QConv2d(np.ones((1, 1, 3, 3), np.int8), padding_mode="mirror")


@every_tier
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_plan_gives_what_the_function_gives(rng, options):
    conv, x, expected = planned(rng, options)
    for _ in range(2):
        y = conv(x)
        assert y.dtype == expected.dtype == conv.out_dtype
        assert conv.out_shape(x.shape) == y.shape
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(conv(x[:1]), expected[:1])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_pickles_and_copies(rng, options):
    conv, x, expected = planned(rng, options)
    again = pickle.loads(pickle.dumps(conv))
    assert type(again) is QConv2d
    np.testing.assert_array_equal(again(x), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))(x), expected)
    assert again.explain(x.shape) == conv.explain(x.shape)
    assert repr(again) == repr(conv)
    assert copy.copy(conv) is copy.deepcopy({"conv": conv})["conv"] is conv


def test_what_the_caller_changes_later_has_no_effect(rng):
    w, bias = anything(rng, np.int8, (8, 6, 3, 3)), np.arange(8, dtype=np.int32)
    zeros, scales = np.arange(8), np.linspace(0.1, 0.9, 8, dtype=np.float32)
    x = anything(rng, np.uint8, (1, 6, 9, 9))
    conv = QConv2d(w, bias, w_zero_point=zeros, x_scale=1.0, w_scale=scales)
    expected = conv(x)
    for array in (w, bias, zeros, scales):
        array[...] = 1
    np.testing.assert_array_equal(conv(x), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(conv))(x), expected)


def test_damaged_pickles():
    conv = QConv2d(np.ones((2, 3, 3, 3), np.int8))
    right = conv.__reduce__()[1][1]
    np.testing.assert_array_equal(reopened(QConv2d, right)(np.ones((1, 3, 3, 3), np.uint8)), 27)
    for arguments, error, message in (
        ([], fastconv.ModelError, "^QConv2d: expected a pickle with its arguments"),
        (right | {"residual": None}, fastconv.ModelError, "^QConv2d: expected a pickle with its arguments"),
        (right | {"w": np.ones((2, 3, 3, 3), np.float32)}, DTypeError, "^w: expected dtype uint8 or int8"),
        (right | {"x_dtype": "int32"}, DTypeError, "^x_dtype: expected"),
    ):
        with pytest.raises(error, match=message):
            reopened(QConv2d, arguments)
    with pytest.raises(fastconv.ModelError, match=r"^QConv2d: expected a pickle without a state"):
        conv.__setstate__({"_conv": None})


def test_a_repeated_call_plans_and_allocates_nothing(rng):
    """The plan of the last shapes and its workspace are kept; other shapes in between cost their plans."""
    conv = QConv2d(anything(rng, np.int8, (40, 40, 3, 3)), padding=1, threads=1)
    x = anything(rng, np.uint8, (2, 40, 12, 13))
    out = np.empty(conv.out_shape(x.shape), np.int32)

    def allocations(x, out):
        _core.fail_allocation(1 << 30)
        try:
            conv(x, out=out)
        finally:
            left = _core.fail_allocation(0)
        return (1 << 30) - left

    assert allocations(x, out) > 0
    expected = out.copy()
    assert allocations(x, out) == 0
    np.testing.assert_array_equal(out, expected)
    assert allocations(x[:1, :, :9, :8].copy(), np.empty((1, 40, 9, 8), np.int32)) > 0
    assert allocations(x, out) > 0
    np.testing.assert_array_equal(out, expected)


def test_python_threads_share_a_plan(rng):
    conv = QConv2d(anything(rng, np.int8, (24, 12, 3, 3)), padding=1, x_zero_point=9)
    inputs = [anything(rng, np.uint8, shape) for shape in ((1, 12, 20, 20), (2, 12, 5, 6))]
    expected = [conv(x) for x in inputs]

    def work(i):
        return bool((conv(inputs[i % 2]) == expected[i % 2]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))


def test_explain_gives_a_reason_for_every_other_algorithm():
    conv = QConv2d(np.ones((64, 64, 3, 3), np.int8), padding=1)
    assert conv.algorithm == "auto"
    shape = (1, 64, 40, 40)
    for text, chosen in (
        (conv.explain(shape), conv.algorithm_for(shape)),
        (QConv2d(np.ones((8, 1, 3, 3), np.int8), groups=8).explain(), "depthwise"),
        (QConv2d(np.ones((8, 4, 5, 5), np.int8)).explain(), "dense"),
    ):
        assert text.startswith(f"algorithm {chosen}"), text
        for name in set(_core.integer_algorithms()) - {chosen}:
            assert len(re.findall(rf"^  not {name}: .+", text, re.MULTILINE)) == 1, text
    assert QConv2d(np.ones((8, 4, 5, 5), np.int8)).packed_bytes >= 8 * 4 * 25
    assert repr(conv) == "<fastconv.QConv2d auto NCHW>"


X, W = np.zeros((2, 6, 7, 8), np.uint8), np.zeros((4, 6, 3, 3), np.int8)
READ_ONLY = np.zeros((2, 4, 5, 6), np.int32)
READ_ONLY.flags.writeable = False
SCALES = {"x_scale": 1.0, "w_scale": 1.0}
BYTES_OUT = SCALES | {"out_scale": 1.0}
BAD = [
    ({"x": None}, DTypeError, "x"),
    ({"x": X.astype(np.float32)}, DTypeError, "x"),
    ({"x": X.astype(np.int16)}, DTypeError, "x"),
    ({"x": X[0]}, ShapeError, "x"),
    ({"x": X[:, :, :2]}, ShapeError, "[xw]"),
    ({"x": np.ma.masked_array(X, X == 0)}, DTypeError, "x"),
    ({"w": W.astype(np.float32)}, DTypeError, "w"),
    ({"w": W[0]}, ShapeError, "w"),
    ({"w": W[:, :5]}, ShapeError, "w"),
    ({"w": W[:, :2], "groups": 3}, ShapeError, "groups"),
    ({"groups": 4}, ShapeError, "groups"),
    ({"groups": 0}, ArgumentError, "groups"),
    ({"stride": 0}, ArgumentError, "stride"),
    ({"stride": (1, 1, 1)}, ArgumentError, "stride"),
    ({"dilation": 1.0}, DTypeError, "dilation"),
    ({"padding": -1}, ArgumentError, "padding"),
    ({"padding": "full"}, ArgumentError, "padding"),
    ({"layout": "NCWH"}, ArgumentError, "layout"),
    ({"layout": "NHWC"}, ShapeError, "[xw]"),
    ({"bias": np.zeros(4)}, DTypeError, "bias"),
    ({"bias": np.zeros(4, np.float32)}, DTypeError, "bias"),
    ({"bias": np.zeros(4, np.float32), **BYTES_OUT}, DTypeError, "bias"),
    ({"bias": np.zeros(5, np.int32)}, ShapeError, "bias"),
    ({"x_zero_point": 256}, ArgumentError, "x_zero_point"),
    ({"x_zero_point": -1}, ArgumentError, "x_zero_point"),
    ({"x_zero_point": 1.0}, DTypeError, "x_zero_point"),
    ({"x_zero_point": None}, DTypeError, "x_zero_point"),
    ({"x_zero_point": np.zeros(6, np.uint8)}, ShapeError, "x_zero_point"),
    ({"w_zero_point": 128}, ArgumentError, "w_zero_point"),
    ({"w_zero_point": np.zeros(3, np.int8)}, ShapeError, "w_zero_point"),
    ({"w_zero_point": np.zeros(4)}, DTypeError, "w_zero_point"),
    ({"w_zero_point": np.full(4, 200)}, ArgumentError, "w_zero_point"),
    ({"x_scale": 1.0}, ArgumentError, "w_scale"),
    ({"w_scale": 1.0}, ArgumentError, "x_scale"),
    ({"out_scale": 1.0}, ArgumentError, "x_scale"),
    ({**SCALES, "x_scale": 0.0}, ArgumentError, "x_scale"),
    ({**SCALES, "x_scale": np.ones(2, np.float32)}, DTypeError, "x_scale"),
    ({**SCALES, "x_scale": 1e30, "w_scale": 1e30}, ArgumentError, "x_scale"),
    ({**SCALES, "w_scale": -1.0}, ArgumentError, "w_scale"),
    ({**SCALES, "w_scale": np.ones(3, np.float32)}, ShapeError, "w_scale"),
    ({**SCALES, "w_scale": np.ones(4)}, DTypeError, "w_scale"),
    ({**SCALES, "w_scale": np.array([1, 1, 0, 1], np.float32)}, ArgumentError, "w_scale"),
    ({**SCALES, "out_scale": "1"}, DTypeError, "out_scale"),
    ({"out_zero_point": 1}, ArgumentError, "out_zero_point"),
    ({**BYTES_OUT, "out_zero_point": 256}, ArgumentError, "out_zero_point"),
    ({"out_dtype": np.uint8}, ArgumentError, "out_dtype"),
    ({**BYTES_OUT, "out_dtype": np.int32}, DTypeError, "out_dtype"),
    ({**BYTES_OUT, "out_dtype": "x"}, DTypeError, "out_dtype"),
    ({"activation": "relu"}, ArgumentError, "activation"),
    ({**SCALES, "activation": "silu"}, ArgumentError, "activation"),
    ({**SCALES, "activation": "RELU"}, ArgumentError, "activation"),
    ({"algorithm": "implicit"}, ArgumentError, "algorithm"),
    ({"algorithm": "depthwise"}, ArgumentError, "algorithm"),
    ({"algorithm": None}, DTypeError, "algorithm"),
    ({"out": np.zeros((2, 4, 5, 6), np.uint8)}, DTypeError, "out"),
    ({**SCALES, "out": np.zeros((2, 4, 5, 6), np.int32)}, DTypeError, "out"),
    ({"out": np.zeros((2, 4, 5, 5), np.int32)}, ShapeError, "out"),
    ({"out": READ_ONLY}, ArgumentError, "out"),
    ({"out": np.broadcast_to(np.zeros((4, 5, 6), np.int32), (2, 4, 5, 6))}, ArgumentError, "out"),
    ({**BYTES_OUT, "out": X.reshape(-1)[:240].reshape(2, 4, 5, 6)}, ArgumentError, "out"),
]


@pytest.mark.parametrize(("bad", "error", "argument"), BAD)
def test_errors_name_the_argument(bad, error, argument):
    message = rf"^{argument}: expected .*got |^algorithm: .* does not accept .*: ."
    with pytest.raises(error, match=message):
        qconv2d(**{"x": X, "w": W} | bad)
    planned = {name: value for name, value in bad.items() if name not in ("x", "out")}
    # A plan knows no input: where it is made, or at its first call, which may find its own at fault.
    called = {name: value for name, value in bad.items() if name in ("x", "out")}
    with pytest.raises(error, match=rf"{message}|^x: expected .*got "):
        QConv2d(**{"w": W} | planned)(**{"x": X} | called)


@pytest.mark.parametrize(("function", "spatial"), [(qconv1d, 1), (qconv2d, 2), (qconv3d, 3)])
def test_out_in_the_memory_of_the_weights(function, spatial):
    x, w_shape = np.ones((1, 8, *[3] * spatial), np.uint8), (8, 8, *[1] * spatial)
    memory = np.ones(8 * max(8, 3**spatial), np.uint8)
    w, out = memory[:64].reshape(w_shape), memory[: 8 * 3**spatial].reshape(1, 8, *[3] * spatial)
    with pytest.raises(ArgumentError, match=r"^out: expected memory that no input shares"):
        function(x, w, out=out, **BYTES_OUT)
    assert (memory == 1).all()


def test_the_type_of_the_input_is_a_plans():
    for x_dtype in ("float32", None, "x", np.int32, 3):
        with pytest.raises(DTypeError, match=r"^x_dtype: expected uint8 or int8, got "):
            QConv2d(W, x_dtype=x_dtype)
    with pytest.raises(DTypeError, match=r"^x: expected dtype uint8, as x_dtype says, got int8"):
        QConv2d(W)(X.astype(np.int8))
    with pytest.raises(DTypeError, match=r"^x: expected dtype int8, as x_dtype says, got uint8"):
        QConv2d(W, x_dtype="int8")(X)
    with pytest.raises(ArgumentError, match=r"^x_zero_point: expected int8, from -128 to 127, got 128"):
        QConv2d(W, x_dtype="int8", x_zero_point=128)


def test_messages_name_the_numbers():
    with pytest.raises(ShapeError, match=r"^w: expected ic/groups = 6 channels, got 5"):
        qconv2d(X, W[:, :5])
    names = ", ".join(_core.integer_algorithms())
    with pytest.raises(ArgumentError, match=f"^algorithm: expected 'auto' or one of {names}, got 'fast'"):
        qconv2d(X, W, algorithm="fast")


@pytest.mark.parametrize(
    ("function", "x", "w", "given", "error", "argument"),
    [
        (qconv1d, X, W[0], {}, ShapeError, "x"),
        (qconv1d, X[0], W, {}, ShapeError, "w"),
        (qconv1d, X[0], W[0, :, :7], {"layout": "NCHW"}, ArgumentError, "layout"),
        (qconv1d, X[0], np.zeros((4, 7, 3), np.int8), {"padding": (1, 1, 1)}, ArgumentError, "padding"),
        (qconv3d, X, W, {}, ShapeError, "x"),
        (qconv3d, X[np.newaxis], W, {}, ShapeError, "w"),
    ],
)
def test_the_other_ranks(function, x, w, given, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        function(x, w, **given)
