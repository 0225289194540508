"""gemm against float64: sizes around every edge of the blocking, transposes, views, epilogues, threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv.testing import reference, tolerance
from fastconv.testing.guard import guarded, guarded_empty
from fastconv.testing.shapes import GEMM_TABLES

every_tier = pytest.mark.usefixtures("tier")

EDGES = sorted({*range(1, 11), 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 127, 128, 129})


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


def check(a, b, c=None, **keywords):
    """Compare with the reference: exactly where all data are integers and the factors powers of two."""
    y = fastconv.gemm(a, b, c, **keywords)
    assert y.dtype == np.float32
    activation = keywords.pop("activation", None)
    keywords.pop("out", None)
    linear = reference.gemm(a, b, c, **keywords)
    if all(v is None or (v == np.rint(v)).all() for v in (a, b, c, keywords.get("bias"))):
        bound = np.zeros_like(linear)
    else:
        k = a.shape[0 if keywords.get("trans_a") else 1]
        bound = tolerance.sum_bound(reference.gemm_magnitude(a, b, c, **keywords), k)
    if activation is not None:
        bound = tolerance.activation_bound(bound, linear, activation)
    tolerance.assert_within(
        y, reference.activate(linear, activation), bound, f"{a.shape} {b.shape} {keywords}"
    )
    return y


@every_tier
def test_every_small_size(rng):
    for m, n, k in itertools.product(range(11), repeat=3):
        check(integers(rng, m, k), integers(rng, k, n))


@every_tier
def test_every_tail_of_a_tile(rng):
    """Rows up to twice the tallest tile (14), columns up to twice the widest (32), with one more."""
    for m in range(1, 30):
        check(integers(rng, m, 5), integers(rng, 5, 67))
    for n in range(1, 66):
        check(integers(rng, 13, 7), integers(rng, 7, n), bias=integers(rng, n))


@every_tier
@pytest.mark.parametrize("dimension", ["m", "n", "k"])
def test_edges_of_one_dimension(rng, dimension):
    for size, (other, third) in itertools.product(EDGES, [(7, 19), (33, 16)]):
        m, n, k = {"m": (size, other, third), "n": (other, size, third), "k": (other, third, size)}[dimension]
        check(integers(rng, m, k), integers(rng, k, n))


@every_tier
@pytest.mark.parametrize("k", [255, 256, 257, 511, 512, 513, 767, 1000, 1024, 1025, 2049, 5000])
def test_deep_sums_cross_every_block_of_k(rng, k):
    for m, n in [(1, 1), (3, 17), (31, 50)]:
        a, b, bias = integers(rng, m, k), integers(rng, k, n), integers(rng, n)
        check(a, b, integers(rng, m, n), beta=2.0, bias=bias, activation="relu")


@every_tier
@pytest.mark.parametrize(
    "shape",
    [(1, 1000, 300), (1000, 1, 300), (300, 300, 1), (1, 1, 3000), (2000, 3, 5), (3, 2000, 5), (700, 70, 600)],
)
def test_skinny(rng, shape):
    m, n, k = shape
    for trans_a, trans_b in itertools.product((False, True), repeat=2):
        a = integers(rng, *((k, m) if trans_a else (m, k)))
        b = integers(rng, *((n, k) if trans_b else (k, n)))
        check(a, b, trans_a=trans_a, trans_b=trans_b)


KINDS = ("squares", "channel_major", "skinny")
BENCHMARKS = [shape for kind in KINDS for shape in GEMM_TABLES[kind] if shape.macs < 3e8]


@pytest.mark.parametrize("shape", BENCHMARKS, ids=lambda s: s.name)
def test_the_shapes_of_the_benchmarks(rng, shape):
    a = rng.standard_normal((shape.m, shape.k), np.float32)
    check(a, rng.standard_normal((shape.k, shape.n), np.float32))


@pytest.mark.parametrize("shape", BENCHMARKS, ids=lambda s: s.name)
def test_they_are_exact_on_integers(rng, tiers, shape):
    a, b = integers(rng, shape.m, shape.k), integers(rng, shape.k, shape.n)
    assert 16 * shape.k < 2**24  # no sum rounds
    expected = (a.astype(np.float64) @ b).astype(np.float32)
    for _ in tiers:
        np.testing.assert_array_equal(fastconv.gemm(a, b), expected)


@settings(max_examples=150, derandomize=True)
@given(
    st.integers(0, 70), st.integers(0, 70), st.integers(0, 300), st.integers(0, 2**32 - 1),
    st.sampled_from((1.0, -0.7, 0.0, 3.25)), st.sampled_from((0.0, 1.0, -1.3)),
    st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from((None, "full", "row", "column", "scalar")),
    st.sampled_from((None, "relu", "leaky_relu", "sigmoid", "silu", "gelu", "tanh", ("clamp", -1.0, 2.0))),
)  # fmt: skip
def test_random(m, n, k, seed, alpha, beta, trans_a, trans_b, bias, c_form, activation):
    rng = np.random.default_rng(seed)
    data = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
    c_shape = {"full": (m, n), "row": (n,), "column": (m, 1), "scalar": ()}
    check(
        data(*((k, m) if trans_a else (m, k))),
        data(*((n, k) if trans_b else (k, n))),
        data(*c_shape[c_form]) if c_form else None,
        alpha=alpha,
        beta=beta,
        trans_a=trans_a,
        trans_b=trans_b,
        bias=data(n) if bias else None,
        activation=activation,
    )


VIEWS = {
    "dense": lambda a: a,
    "fortran": np.asfortranarray,
    "rows apart": lambda a: np.repeat(a, 3, axis=0)[::3],
    "columns apart": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "rows reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "columns reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "both reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "a corner": lambda a: np.pad(a, 3, constant_values=np.nan)[3:-3, 3:-3],
    "one row": lambda a: np.broadcast_to(a[:1], a.shape),
    "one column": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "one number": lambda a: np.broadcast_to(a[:1, :1], a.shape),
    "between elements": lambda a: (
        np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(a.shape)
    ),
}


@every_tier
@pytest.mark.parametrize("size", [(19, 37, 23), (65, 40, 300)])
def test_views(rng, size):
    m, n, k = size
    a, b, c = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
    for (name_a, of_a), (name_b, of_b) in itertools.product(VIEWS.items(), repeat=2):
        va, vb = of_a(a), of_b(b)
        np.testing.assert_array_equal(
            fastconv.gemm(va, vb), reference.gemm(va, vb), err_msg=f"{name_a}, {name_b}"
        )
    for of_c in VIEWS.values():
        check(a, b, of_c(c), beta=1.0, bias=integers(rng, 2 * n)[::2])


OUTPUTS = {
    "dense": lambda m, n: np.full((m, n), np.nan, np.float32),
    "fortran": lambda m, n: np.full((n, m), np.nan, np.float32).T,
    "columns apart": lambda m, n: np.full((m, 2 * n), np.nan, np.float32)[:, ::2],
    "rows apart": lambda m, n: np.full((3 * m, n), np.nan, np.float32)[1::3],
    "reversed": lambda m, n: np.full((m, n), np.nan, np.float32)[::-1, ::-1],
    "a corner": lambda m, n: np.full((m + 4, n + 4), np.nan, np.float32)[2:-2, 2:-2],
}


@every_tier
@pytest.mark.parametrize("form", OUTPUTS)
def test_out_of_any_strides(rng, form):
    for m, n, k in [(1, 1, 1), (7, 5, 3), (31, 70, 20), (20, 33, 600), (5, 9, 0)]:
        a, b, c = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
        out = OUTPUTS[form](m, n)
        whole = out if out.base is None else out.base
        assert check(a, b, c, beta=-1.0, activation="relu", out=out) is out
        assert np.isnan(whole).sum() == whole.size - out.size, (
            "memory between the elements of out was written"
        )


@every_tier
@pytest.mark.parametrize("form", OUTPUTS)
def test_c_may_be_out(rng, form):
    for m, n, k in [(7, 5, 3), (31, 70, 600)]:
        a, b, c = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
        out = OUTPUTS[form](m, n)
        out[...] = c
        fastconv.gemm(a, b, out, beta=0.5, alpha=2.0, out=out)
        np.testing.assert_array_equal(out, 2 * (a @ b) + c / 2)


def test_c_and_bias_may_share_memory_with_out(rng):
    a, b = integers(rng, 9, 8), integers(rng, 8, 9)
    out = integers(rng, 9, 9)
    expected = a @ b + out.T
    np.testing.assert_array_equal(fastconv.gemm(a, b, out.T, beta=1.0, out=out), expected)
    expected = a @ b + out[3]
    np.testing.assert_array_equal(fastconv.gemm(a, b, out[3], beta=1.0, out=out), expected)
    expected = a @ b + out[2]
    np.testing.assert_array_equal(fastconv.gemm(a, b, bias=out[2], out=out), expected)


def test_beta_zero_does_not_read_c(rng):
    a, b = integers(rng, 5, 6), integers(rng, 6, 7)
    nan = np.full((5, 7), np.nan, np.float32)
    np.testing.assert_array_equal(fastconv.gemm(a, b, nan), a @ b)
    np.testing.assert_array_equal(fastconv.gemm(a, b, nan, beta=0.0, out=nan), a @ b)


@every_tier
@pytest.mark.parametrize("activation", ["relu", None])
def test_an_empty_sum_is_zero(rng, activation):
    a, b = integers(rng, 3, 0), integers(rng, 0, 20)
    check(a, b, activation=activation)
    check(a, b, integers(rng, 20), beta=3.0, bias=integers(rng, 20), activation=activation)
    assert fastconv.gemm(integers(rng, 0, 4), integers(rng, 4, 5)).shape == (0, 5)
    assert fastconv.gemm(integers(rng, 4, 3), integers(rng, 3, 0)).shape == (4, 0)


@every_tier
def test_special_values_pass_through():
    a = np.array([[np.inf, 1], [1, np.nan], [0, 1]], np.float32)
    b = np.ones((2, 40), np.float32)
    expected = np.repeat(np.array([[np.inf], [np.nan], [1]]), 40, axis=1)
    np.testing.assert_array_equal(fastconv.gemm(a, b), expected)


@every_tier
def test_guarded(rng):
    """Every operand beside an unmapped page, at every tail of the tiles."""
    sizes = [(m, 1 + m % 5, 1 + m % 7) for m in range(1, 30)]
    sizes += [(1 + n % 9, n, 1 + n % 6) for n in range(1, 66)]
    sizes += [(3, 18, k) for k in (1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257)]
    for (m, n, k), align_end in itertools.product(sizes, (True, False)):
        place = lambda array: guarded(array, align_end=align_end)  # noqa: B023, E731
        a, b, c, bias = (place(integers(rng, *s)) for s in ((m, k), (k, n), (m, n), (n,)))
        out = guarded_empty((m, n), align_end=align_end)
        expected = a @ b + c + bias
        np.testing.assert_array_equal(fastconv.gemm(a, b, c, beta=1.0, bias=bias, out=out), expected)
        transposed = place(a.T).T, place(b.T).T
        np.testing.assert_array_equal(fastconv.gemm(*transposed, out=out), a @ b)


@every_tier
def test_threads_do_not_change_a_bit(rng):
    for m, n, k in [(300, 200, 1000), (1, 500, 400), (500, 3, 700), (37, 53, 2000)]:
        a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        results = []
        for threads in (1, 2, 3):
            with fastconv.threads(threads):
                results.append(fastconv.gemm(a, b, activation="silu"))
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])
