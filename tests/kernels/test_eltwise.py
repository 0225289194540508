"""Activations to the last places, operators with broadcasting, in every memory order."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty
from fastconv.testing.tolerance import ULPS, ulp_error

pytestmark = pytest.mark.usefixtures("tier")

PARAMETERS = {
    "clamp": (-1.0, 6.0),
    "leaky_relu": (0.1,),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0,),
    "thresholded_relu": (1.5,),
    "affine": (0.3, 0.4),
    "scaled_tanh": (1.7, 0.6),
    "selu": (1.75, 1.05),
    "celu": (0.7,),
}
SPECIAL = np.float32(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e-39, -3e-39, 3e38, -3e38, 1e-5, -1e-5]
)


def activate(x: np.ndarray, act: str) -> np.ndarray:
    alpha, beta = (*PARAMETERS.get(act, ()), 0.0, 0.0)[:2]
    y = np.full_like(x, np.nan)
    _core.activate(x, y, act, alpha, beta)
    return y


def expected(x: np.ndarray, act: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        if act == "none":
            return x.astype(np.float64)
        alphas = tuple(float(np.float32(p)) for p in PARAMETERS.get(act, ()))
        return reference.activate(x, (act, *alphas))


def neighbours(x: float, count: int = 512) -> np.ndarray:
    """Return that many floats on either side of a number and of its negative."""
    bits = np.abs(np.float32(x)).view(np.uint32).astype(np.int64) + np.arange(-count, count + 1)
    bits = bits[bits >= 0].astype(np.uint32)
    return np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)


# Where the kernels take another branch, clamp, or leave the normal numbers; and the ends of float32.
BENDS = [
    *(0.0, 2.0**-126, np.finfo(np.float32).max, np.inf),
    *(1e-4, 3.0, 6.0, 14.0, 14.5, 20.0, 40.0, 86.0, 87.33655, 88.72284, 89.0, 103.97208, 104.0, 110.0, 112.0),
    *((n + 0.5) * np.log(2) for n in range(-150, 130)),  # where x = n ln 2 + r takes the next n
]


def floats() -> np.ndarray:
    """Return each 4093rd float, all around what is special in the kernels, and many where functions bend."""
    bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
    rng = np.random.default_rng(1)
    dense = [rng.uniform(-scale, scale, 20_000).astype(np.float32) for scale in (0.4, 2, 8, 20, 110)]
    near = [neighbours(x, 512 if i < 19 else 64) for i, x in enumerate(BENDS)]
    return np.concatenate([bits.view(np.float32), *dense, *near, SPECIAL])


@pytest.fixture(scope="module")
def many_floats() -> np.ndarray:
    return floats()


@pytest.fixture(scope="module")
def exact_values(many_floats: np.ndarray) -> Callable[[str], np.ndarray]:
    """Return a function that gives the float64 values, worked out once for all tiers."""
    return functools.lru_cache(lambda act: expected(many_floats, act))


@pytest.mark.parametrize("act", ULPS)
def test_accuracy_over_all_floats(act, many_floats, exact_values):
    y, exact = activate(many_floats, act), exact_values(act)
    least = {"hardsigmoid": 0.5, "affine": 0.4}.get(act, 0.0)  # alpha * x + beta cancels
    error = ulp_error(y, exact, least)
    worst = np.argmax(error)
    assert error[worst] <= ULPS[act], (
        f"{y[worst]} for {exact[worst]} at {many_floats[worst]!r}: {error[worst]} units in the last place"
    )


@pytest.mark.parametrize("act", ULPS)
def test_every_length_gives_the_same_bits_and_touches_nothing_else(act, same_bits, rng):
    x = np.concatenate([SPECIAL, rng.normal(0, 3, 60).astype(np.float32)])
    whole = activate(x, act)
    for n in range(1, 2 * 16 + 2):
        for start in (0, 5):
            part = x[start : start + n]
            for align_end in (True, False):
                y = guarded_empty(part.shape, align_end=align_end)
                _core.activate(
                    guarded(part, align_end=align_end), y, act, *(*PARAMETERS.get(act, ()), 0.0, 0.0)[:2]
                )
                same_bits(y, whole[start : start + n])


@pytest.mark.parametrize("act", ["clamp", "silu"])
@pytest.mark.usefixtures("num_threads")
def test_activation_of_arrangements(arrange, arrange_out, act, same_bits, rng):
    x = rng.normal(0, 3, (2, 5, 40, 43)).astype(np.float32)
    y = arrange_out(np.full(x.shape, np.nan, np.float32))
    _core.activate(arrange(x), y, act, *(*PARAMETERS.get(act, ()), 0.0, 0.0)[:2])
    same_bits(y, activate(x, act))


OPERATORS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
}


def binary(
    op: str, a: np.ndarray, b: np.ndarray, act: str = "none", out: np.ndarray | None = None
) -> np.ndarray:
    y = np.full(np.broadcast_shapes(a.shape, b.shape), np.nan, np.float32) if out is None else out
    _core.binary(op, np.broadcast_to(a, y.shape), np.broadcast_to(b, y.shape), y, act, 0.0, 6.0)
    return y


def assert_operator(y: np.ndarray, op: str, a: np.ndarray, b: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        exact = OPERATORS[op](a, b)
    if op == "pow":
        np.testing.assert_allclose(y, exact, rtol=1e-6)
    else:
        np.testing.assert_array_equal(y, exact)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 5, 6, 7), (2, 5, 6, 7)),
        ((2, 5, 6, 7), (1, 5, 1, 1)),
        ((2, 5, 6, 7), ()),
        ((), (2, 5, 6, 7)),
        ((2, 5, 6, 7), (2, 1, 6, 7)),
        ((2, 5, 1, 1), (1, 1, 6, 7)),
        ((2, 5, 6, 7), (7,)),
    ],
    ids=str,
)
def test_operators_broadcast(arrange_out, op, left, right, rng):
    a, b = (rng.uniform(0.1, 4, shape).astype(np.float32) for shape in (left, right))
    out = arrange_out(np.full(np.broadcast_shapes(left, right), np.nan, np.float32))
    assert_operator(binary(op, a, b, out=out), op, a, b)


@pytest.mark.parametrize("op", OPERATORS)
def test_operators_of_arrangements_in_place(arrange, op, rng):
    a, b = (rng.uniform(0.1, 4, (2, 5, 6, 7)).astype(np.float32) for _ in range(2))
    y = arrange(a)
    binary(op, y, arrange(b), out=y)
    assert_operator(y, op, a, b)


@pytest.mark.parametrize("op", OPERATORS)
def test_operators_of_special_values(op):
    a, b = (m.ravel() for m in np.meshgrid(SPECIAL, SPECIAL))
    assert_operator(binary(op, a, b), op, a, b)


@pytest.mark.parametrize("op", OPERATORS)
def test_operators_touch_nothing_else(op, rng):
    for n in range(1, 2 * 16 + 2):
        a, b = (rng.uniform(0.1, 4, n).astype(np.float32) for _ in range(2))
        for align_end in (True, False):
            y = guarded_empty((n,), align_end=align_end)
            binary(op, guarded(a, align_end=align_end), guarded(b, align_end=align_end), out=y)
            assert_operator(y, op, a, b)
            binary(op, guarded(a, align_end=align_end), guarded(b[:1], align_end=align_end), out=y)
            assert_operator(y, op, a, b[:1])


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("channels", [1, 3, 8, 100, 256, 257, 600])
def test_a_value_for_each_channel_of_channels_last(channels, rng):
    x = rng.normal(size=(2, 21, 20, channels)).astype(np.float32)
    for shape in ((channels,), (2, 1, 1, channels)):
        b = rng.normal(size=shape).astype(np.float32)
        for op in ("sub", "mul"):
            assert_operator(binary(op, x, b), op, x, b)
            assert_operator(binary(op, b, x), op, b, x)
            assert_operator(binary(op, x[:, ::2, 1:], b), op, x[:, ::2, 1:], b)


def test_operator_with_activation(rng):
    a, b = (rng.normal(0, 5, (2, 8, 50, 50)).astype(np.float32) for _ in range(2))
    np.testing.assert_array_equal(binary("add", a, b, "clamp"), np.clip(a + b, 0, 6))


@pytest.mark.usefixtures("num_threads")
def test_prelu(arrange, arrange_out, rng):
    x, slope = (
        rng.normal(size=(2, 5, 30, 31)).astype(np.float32),
        rng.normal(size=(5, 1, 1)).astype(np.float32),
    )
    y = arrange_out(np.full(x.shape, np.nan, np.float32))
    _core.prelu(arrange(x), np.broadcast_to(slope, x.shape), y)
    np.testing.assert_array_equal(y, np.where(x < 0, slope * x, x))


def test_prelu_touches_nothing_else(rng):
    for n in range(1, 2 * 16 + 2):
        for shape, slopes in (((1, n, 2, 3), (n, 1, 1)), ((1, 3, 1, n), (3, 1, 1)), ((n,), (n,))):
            x, slope = (rng.normal(size=s).astype(np.float32) for s in (shape, slopes))
            for align_end in (True, False):
                y, near = guarded_empty(shape, align_end=align_end), guarded(slope, align_end=align_end)
                _core.prelu(guarded(x, align_end=align_end), np.broadcast_to(near, shape), y)
                np.testing.assert_array_equal(y, np.where(x < 0, slope * x, x))


def test_results_do_not_depend_on_threads(same_for_threads, rng):
    x = rng.normal(size=(1, 30, 101, 103)).astype(np.float32)
    scale = rng.normal(size=(30, 1, 1)).astype(np.float32)
    for act in ULPS:
        same_for_threads(lambda act=act: activate(x, act))
    for op in OPERATORS:
        same_for_threads(lambda op=op: binary(op, np.abs(x), scale))


@pytest.mark.parametrize("scale", [1.0, 0.0235, 3e-7, 1e35])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("zero_point", [0, 100])
def test_quantised_and_back(scale, dtype, zero_point, many_floats, same_bits):
    """The bits of integers: ties to even, no -0; NaN is the least."""
    ends, step = np.iinfo(dtype), np.float32(scale)
    ties = (np.arange(-300, 300) + 0.5).astype(np.float32) * step
    x = np.concatenate([many_floats, ties, np.nextafter(ties, np.float32(0)), ties[:7]])
    with np.errstate(all="ignore"):
        whole = np.rint(x / step) + np.float32(zero_point)
    quantised = np.clip(np.where(np.isnan(x), ends.min, whole), ends.min, ends.max).astype(dtype)
    y = np.full_like(x, np.nan)
    _core.activate(x, y, "fake_quantize", scale, ends.min - zero_point)
    same_bits(y, (quantised.astype(np.float32) - np.float32(zero_point)) * step)


FUNCTIONS = [
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "silu",
    "hardswish",
    "hardsigmoid",
    "gelu",
    "tanh",
]


@pytest.mark.torch
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_mean_what_torch_means(name, rng):
    torch = pytest.importorskip("torch")
    x = np.concatenate([rng.normal(0, 4, 1000).astype(np.float32), SPECIAL[:8]])
    if name == "gelu":  # torch's AVX-512 code multiplies 0 by infinity
        x = x[~np.isinf(x)]
    y = getattr(torch.nn.functional, name)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(getattr(fastconv, name)(x), y, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(getattr(fastconv, name)(torch.from_numpy(x)), getattr(fastconv, name)(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_write_where_they_are_told(name, arrange, same_bits, rng):
    function = getattr(fastconv, name)
    x = rng.normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
    y = function(x)
    assert y is not x
    in_place = arrange(x)
    assert function(in_place, out=in_place) is in_place
    same_bits(in_place, y)
    out = np.empty((2, 4, 5, 3), np.float32)
    function(arrange(x), out=out.transpose(0, 3, 1, 2))
    same_bits(out.transpose(0, 3, 1, 2), y)


def test_new_results_keep_the_memory_order(rng):
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32).transpose(0, 3, 1, 2)
    assert fastconv.relu(x).strides == x.strides


def test_empty_and_scalar_arrays():
    assert fastconv.relu(np.empty((0, 3), np.float32)).shape == (0, 3)
    assert fastconv.gelu(np.array(0.0, np.float32)) == 0
    assert fastconv.leaky_relu(np.float32([-1.0]), np.float64(0.5))[0] == -0.5


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0, "2.0"], fastconv.DTypeError, "x: expected numbers .* got a list"),
        (1.0, fastconv.DTypeError, "x: expected an array .* got float"),
        (np.zeros(3), fastconv.DTypeError, "x: expected dtype float32 .* got float64"),
        (np.zeros(3, np.int32), fastconv.DTypeError, "x: .* got int32"),
        (np.zeros(3, ">f4"), fastconv.DTypeError, "x: .* native byte order, got float32 in the other"),
        (np.array([None]), fastconv.DTypeError, "x: .* got object"),
        (np.zeros((1,) * 7, np.float32), fastconv.ShapeError, "x: expected at most 6 dimensions, got 7"),
    ],
)
def test_bad_arrays(x, error, message):
    with pytest.raises(error, match=message):
        fastconv.relu(x)


def test_bad_outputs():
    x = np.zeros((4, 4), np.float32)
    read_only = np.zeros_like(x)
    read_only.flags.writeable = False
    whole = np.zeros((5, 4), np.float32)
    for out, error, message in [
        (x.tolist(), fastconv.DTypeError, "out: expected a numpy array, got list"),
        (np.zeros((4, 4)), fastconv.DTypeError, "out: expected dtype float32"),
        (np.zeros((4, 5), np.float32), fastconv.ShapeError, r"out: expected shape \(4, 4\), got \(4, 5\)"),
        (read_only, fastconv.ArgumentError, "out: expected a writable array"),
        (
            np.lib.stride_tricks.as_strided(x, (4, 4), (0, 4)),
            fastconv.ArgumentError,
            "out: expected distinct",
        ),
        (x.T, fastconv.ArgumentError, "out: expected memory that no input shares"),
    ]:
        with pytest.raises(error, match=message):
            fastconv.relu(x, out=out)
    with pytest.raises(fastconv.ArgumentError, match="out: expected memory"):
        fastconv.relu(whole[1:], out=whole[:-1])
    fastconv.relu(whole[:, ::2], out=whole[:, 1::2])  # interleaved, but not one element in common


@pytest.mark.parametrize("slope", ["1", True, None, float("nan"), 1j])
def test_bad_numbers(slope):
    with pytest.raises(fastconv.FastconvError, match="negative_slope: expected a number, got"):
        fastconv.leaky_relu(np.zeros(3, np.float32), slope)


def test_unaligned_input_is_copied():
    raw = np.zeros(4 * 6 + 1, np.uint8)[1:].view(np.float32)
    raw[...] = -1
    np.testing.assert_array_equal(fastconv.relu(raw), np.zeros(6, np.float32))
