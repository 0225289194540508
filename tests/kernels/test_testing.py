"""The tools of the tests: guarded arrays are guarded, tolerances reject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastconv.testing import reference, tolerance
from fastconv.testing.guard import PAGE, guarded, guarded_empty


def permissions(address):
    """Return what the kernel lets this process do with the page of an address, as "rw-"."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, allowed = line.split()[:2]
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return allowed[:3]
    return "unmapped"


@pytest.mark.parametrize("shape", [(1,), (3, 5), (1024,), (1025,)])
def test_the_byte_outside_a_guarded_array_cannot_be_touched(shape):
    a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for align_end in (True, False):
        g = guarded(a, align_end=align_end)
        np.testing.assert_array_equal(g, a)
        assert g.flags.writeable
        start, end = g.ctypes.data, g.ctypes.data + g.nbytes
        assert (end if align_end else start) % PAGE == 0
        assert permissions(end if align_end else start - 1) == "---"
        assert permissions(start) == permissions(end - 1) == "rw-"
    assert guarded(a[:0]).shape == (0, *shape[1:])


def test_guarded_arrays_keep_their_memory():
    views = [guarded_empty((100,))[10:20] for _ in range(50)]
    for view in views:
        assert np.isnan(view).all()
        view[...] = 1


def test_gamma_bounds_a_sum_of_roundings(rng):
    for k in (1, 10, 1000, 100000):
        x = rng.random((1, k), np.float32)
        naive = np.zeros(1, np.float32)
        for chunk in x[0, : min(k, 2000)]:
            naive += chunk
        exact = x[:, : min(k, 2000)].astype(np.float64).sum(axis=1)
        tolerance.assert_within(naive, exact, tolerance.sum_bound(exact, min(k, 2000)))
    assert tolerance.gamma(2, "bf16") > tolerance.gamma(2, "f16") > tolerance.gamma(2)
    with pytest.raises(ValueError, match="no bound"):
        tolerance.gamma(2**24)


def test_the_bound_is_tight_enough_to_see_bfloat16(rng):
    x, w = rng.standard_normal((1, 16, 8, 8), np.float32), rng.standard_normal((8, 16, 3, 3), np.float32)
    rounded = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
    bound = tolerance.sum_bound(reference.conv_magnitude(x, w), 16 * 9)
    tolerance.assert_within(reference.conv(x, w).astype(np.float32), reference.conv(x, w), bound)
    with pytest.raises(AssertionError, match="out of bounds"):
        tolerance.assert_within(reference.conv(rounded, w).astype(np.float32), reference.conv(x, w), bound)


def test_assert_within_shows_the_worst_element():
    expected = np.zeros((2, 3))
    actual = np.zeros((2, 3), np.float32)
    actual[0, 1], actual[1, 2] = 0.5, 2.0
    with pytest.raises(AssertionError, match=r"2 of 6 .* at \(1, 2\) expected .*0.* got .*2.0.* here"):
        tolerance.assert_within(actual, expected, 0.1, "here")
    actual[0, 0] = np.nan
    with pytest.raises(AssertionError, match=r"3 of 6 .* at \(0, 0\)"):
        tolerance.assert_within(actual, expected, 0.1)
    with pytest.raises(AssertionError, match="expected shape"):
        tolerance.assert_within(actual[:1], expected, 9.0)


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        "silu",
        "gelu",
        "gelu_tanh",
        "mish",
        "hardswish",
        "tanh",
        "sigmoid",
        ("leaky_relu", -2.0),
        ("elu", 1.5),
        "hardsigmoid",
    ],
)
def test_activation_bounds_hold(activation):
    """Moving the argument by its bound moves the value by no more than the bound of the value."""
    x = np.linspace(-20, 20, 4001)
    for delta in (1e-3, 0.1):
        bound = tolerance.activation_bound(np.full_like(x, delta), x, activation)
        for moved in (x - delta, x + delta):
            error = np.abs(reference.activate(moved, activation) - reference.activate(x, activation))
            assert (error <= bound + 1e-12).all()


def test_units_in_the_last_place():
    one, tiny, huge = np.float32(1), np.float32(1e-45), np.finfo(np.float32).max
    for actual, exact, units in [
        (np.nextafter(one, np.float32(2)), 1.0, 1.0),
        (np.nextafter(one, np.float32(0)), 1.0, 0.5),  # the binade is that of the exact value
        (one, 1 - 2.0**-24, 1.0),
        (np.float32(0), float(tiny), 1.0),
        (3 * tiny, 2.5 * float(tiny), 0.5),
        (np.float32(np.inf), float(huge), 1.0),
        (huge, 2.0**128, 1.0),
        (np.float32(np.inf), 1e300, 0.0),
        (np.float32(np.inf), np.inf, 0.0),
        (np.float32(-np.inf), np.inf, 2.0**25),
        (np.float32(np.nan), np.nan, 0.0),
        (np.float32(np.nan), 1.0, np.inf),
        (one, np.nan, np.inf),
    ]:
        assert tolerance.ulp_error(np.array([actual]), np.array([exact])) == [units], (actual, exact)
    assert tolerance.ulp_error(np.float32([0]), np.array([2.0**-30]), least=0.5) == [2.0**-6]


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["exp", "sigmoid", "silu", "gelu", "gelu_tanh", "mish", "tanh", "elu", "softplus", "erf"]
)
def test_the_reference_is_exact_to_the_last_places_of_double(name):
    """Against 60 digits at every size of argument: what is left in units of float32 is float32's error."""
    mp = pytest.importorskip("mpmath")  # comes with torch
    definitions = {
        "exp": mp.exp,
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda x: x / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
        "tanh": mp.tanh,
        "elu": lambda x: x if x > 0 else mp.expm1(x),
        "softplus": lambda x: mp.log1p(mp.exp(x)),
        "erf": mp.erf,
    }
    sizes = np.concatenate([2.0 ** np.arange(-148, 7), np.linspace(0.01, 13.9, 300), [17.1, 35, 87.3, 103.2]])
    x = np.concatenate([sizes, -sizes]).astype(np.float32)
    x = x[np.abs(x) < 110]
    with mp.workdps(60):
        for value, got in zip(x.tolist(), reference.activate(x, name).tolist(), strict=True):
            exact = definitions[name](mp.mpf(value))
            assert abs(got - exact) <= abs(exact) * 2.0**-44 + 2.0**-200, (value, got, exact)
