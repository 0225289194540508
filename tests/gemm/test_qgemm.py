"""qgemm against sums in int64: the ends of the ranges, every tail of a tile, zero points, threads, views.

On every tier, with the extensions of a tier and without: an extension's kernels stand in for the tier's.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import PackedIntegers, _core, qgemm
from fastconv.testing.guard import guarded
from fastconv.testing.integers import convolve, integer_operator

BYTES = (np.uint8, np.int8)
WEIGHTS = ("safe", "few pairs too large", "normal", "any")


every_kernel = pytest.mark.usefixtures("kernels")


def saturating() -> bool:
    """Tell whether the kernels in use add pairs of products in 16 bits."""
    one = PackedIntegers(np.full((4, 64), 127, np.int8))
    return one.explain() != "8 bits each"


def anything(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def weights(rng, style, k, n):
    """Return s8 weights of which no two neighbours saturate, a few do, more do, or any may."""
    if style == "any":
        return anything(rng, np.int8, k, n)
    if style == "normal":
        return np.clip(np.rint(rng.normal(0, 36, (k, n))), -128, 127).astype(np.int8)
    b = rng.integers(-64, 65, (k, n)).astype(np.int8)
    if style != "safe":
        for _ in range(max(1, k * n // 4096)):
            i, j = rng.integers(max(1, k - 1)), rng.integers(n)
            b[i : i + 2, j] = rng.choice([[127, 127], [-128, -128], [127, 2], [-1, -128]])[: k - i]
    return b


def check(a, b, a_zero=0, b_zero=0, **keywords):
    """Compare with sums in int64, to the last bit."""
    y = qgemm(a, b, a_zero_point=a_zero, b_zero_point=b_zero, **keywords)
    wide_a = a.astype(np.int64) - np.reshape(a_zero, (-1, 1))
    wide_b = b.astype(np.int64) - np.reshape(b_zero, (1, -1))
    expected = wide_a @ wide_b + keywords.get("bias", 0)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(
        y, expected.astype(np.int32), err_msg=f"{a.shape} {b.shape} {a.dtype} {b.dtype}"
    )
    return y


@every_kernel
def test_every_small_size(rng):
    for m, n, k in itertools.product((0, 1, 2, 3, 5), (0, 1, 2, 7, 9), range(11)):
        check(anything(rng, np.uint8, m, k), anything(rng, np.int8, k, n))


@every_kernel
@pytest.mark.parametrize("style", WEIGHTS)
def test_every_tail_of_a_tile(rng, style):
    """Rows up to twice the tallest tile (14), columns up to twice the widest (32), with one more."""
    for m in range(1, 30):
        check(anything(rng, np.uint8, m, 22), weights(rng, style, 22, 67))
    for n in range(1, 66):
        check(anything(rng, np.uint8, 13, 21), weights(rng, style, 21, n))
    for k in (*range(1, 20), 63, 64, 65, 255, 256, 257):
        check(anything(rng, np.uint8, 7, k), weights(rng, style, k, 50))


@every_kernel
@pytest.mark.parametrize("style", WEIGHTS)
def test_the_forms_of_b(rng, style):
    """What one form must hold is what the next is for; where nothing saturates there is but one."""
    b = PackedIntegers(weights(rng, style, 512, 80))
    words = {
        "safe": "8 bits each",
        "few pairs too large": "8 bits each, and",
        "normal": "8 bits each, in an order",
        "any": "16 bits each",
    }
    expected = words[style] if saturating() else "8 bits each"
    assert b.explain().startswith(expected)
    assert b.nbytes >= 512 * 80 * (2 if expected.startswith("16") else 1)


@every_kernel
def test_few_columns_have_longer_lists(rng):
    """What wide weights need copied is dear where few columns share it."""
    few, many = (PackedIntegers(weights(rng, "any", 8, n)).explain() for n in (8, 512))
    assert few.startswith("8 bits each, and" if saturating() else "8 bits each")
    assert many.startswith("16 bits each" if saturating() else "8 bits each")


@every_kernel
@pytest.mark.parametrize(("a_type", "b_type"), list(itertools.product(BYTES, BYTES)))
def test_ends_of_the_ranges(a_type, b_type):
    """Sums whose every pair of products is as large as it can be, of one sign or of alternating ones."""
    ends_a, ends_b = (np.iinfo(t) for t in (a_type, b_type))
    for k, n in [(1, 1), (2, 8), (3, 16), (4, 33), (7, 17), (64, 40), (1023, 24)]:
        rows = [np.full(k, ends_a.max), np.full(k, ends_a.min), np.resize([ends_a.max, ends_a.min], k)]
        a = np.array([*rows, rows[2][::-1]]).astype(a_type)
        signs = np.resize([ends_b.max, ends_b.min], (k, n))
        columns = [
            np.full((k, n), ends_b.max),
            np.full((k, n), ends_b.min),
            signs,
            np.resize(signs, (n, k)).T,
        ]
        for b, a_zero, b_zero in itertools.product(
            columns, (ends_a.min, ends_a.min + 128, ends_a.max), (ends_b.min, ends_b.min + 128, ends_b.max)
        ):
            check(a, b.astype(b_type), a_zero, b_zero)


@every_kernel
def test_one_pair_too_large_at_every_place():
    """A list beside the sums: each place in a word, in a panel and in K, at the end of a row's bytes too."""
    a = np.full((9, 30), 255, np.uint8)
    for k, n in itertools.product((*range(5), 27, 28), (0, 7, 8, 15, 16, 31, 32, 39)):
        b = np.ones((30, 40), np.int8)
        b[k : k + 2, n] = 127, 126
        check(a, b)
        b[k : k + 2, n] = -128, -128
        check(a, b)


@every_kernel
@pytest.mark.parametrize(("a_type", "b_type"), list(itertools.product(BYTES, BYTES)))
def test_zero_points(rng, a_type, b_type):
    """One each, and one for each row of a and column of b, as ONNX has them, with a bias."""
    a, b = anything(rng, a_type, 17, 29), anything(rng, b_type, 29, 43)
    bias = rng.integers(-(2**31), 2**31, 43).astype(np.int32)
    for a_zero in (3, np.iinfo(a_type).min, anything(rng, a_type, 17)):
        for b_zero in (-np.iinfo(b_type).min, np.iinfo(b_type).max, anything(rng, b_type, 43)):
            zero = b_zero if np.ndim(b_zero) else min(b_zero, np.iinfo(b_type).max)
            y = check(a, b, a_zero, zero)
            with np.errstate(over="ignore"):
                wrapped = y + bias  # modulo 2**32
            given = qgemm(a, b, a_zero_point=a_zero, b_zero_point=zero, bias=bias)
            np.testing.assert_array_equal(given, wrapped)
            packed = PackedIntegers(b, zero)
            np.testing.assert_array_equal(qgemm(a, packed, a_zero_point=a_zero), y)
            zeros = np.asarray(a_zero, a_type), np.asarray(zero, b_type)
            np.testing.assert_array_equal(y, integer_operator("MatMulInteger", [a, b, *zeros], {}))


@every_kernel
@pytest.mark.parametrize("dtype", BYTES)
def test_quantised_results(rng, dtype):
    """Scales that are powers of two leave nothing to round but the result: ties go to the even number."""
    a, b = anything(rng, np.uint8, 23, 40), weights(rng, "few pairs too large", 40, 37)
    a[:, 8:] = 0
    info = np.iinfo(dtype)
    for zero, b_scale in itertools.product(
        (info.min, info.min + 128, info.max), (1 / 256, 1 / 64, np.exp2(-rng.integers(2, 12, 37)))
    ):
        scale = np.asarray(b_scale, np.float32)
        y = qgemm(
            a, b, a_zero_point=131, a_scale=0.5, b_scale=scale if scale.ndim else b_scale, out_scale=0.25,
            out_zero_point=int(zero), out_dtype=dtype,
        )  # fmt: skip
        one, zeros = np.float32(1), (np.uint8(131), np.int8(0), np.asarray(zero, dtype))
        expected = integer_operator(
            "QLinearMatMul",
            [a, one / 2, zeros[0], b, scale, zeros[1], one / 4, zeros[2]],
            {},
        )
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
    assert len(np.unique(y)) > 20


@every_kernel
@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("k", [32, 36, 40, 64, 256, 260])
def test_short_k(rng, k, dtype):
    """Whole panels of few words, of every height of a tile and of several tiles, one below the other."""
    b = weights(rng, "safe", k, 96)
    scale = rng.uniform(1e-4, 1e-2, 96).astype(np.float32)
    for m in [*range(1, 15), 31, 200]:
        a = anything(rng, np.uint8, m, k)
        sums = check(a, b, 131).astype(np.float32)
        y = qgemm(a, b, a_zero_point=131, a_scale=1.0, b_scale=scale, out_scale=1.0, out_zero_point=21,
                  out_dtype=dtype)  # fmt: skip
        info = np.iinfo(dtype)
        np.testing.assert_array_equal(y, np.clip(np.rint(sums * scale) + 21, info.min, info.max))


@every_kernel
@pytest.mark.parametrize("dtype", BYTES)
def test_ties_go_to_even(dtype):
    sums = np.arange(-21, 22, dtype=np.int8)
    y = qgemm(np.full((1, 1), 1, np.uint8), sums[np.newaxis], a_scale=1.0, b_scale=0.5, out_scale=1.0,
              out_zero_point=20, out_dtype=dtype)  # fmt: skip
    np.testing.assert_array_equal(y[0], np.rint(sums / 2) + 20)


@every_kernel
def test_any_scales(rng):
    """The sums are rounded to float32, multiplied by the scales' product in float32, and rounded again."""
    a, b = anything(rng, np.uint8, 31, 100), anything(rng, np.int8, 100, 29)
    a_scale, out_scale = np.float32(0.0173), np.float32(1.31)
    b_scale = rng.uniform(1e-4, 1e-2, 29).astype(np.float32)
    sums = check(a, b, 7, 3).astype(np.float32)
    zeros = {"a_zero_point": 7, "b_zero_point": 3}
    scales = {"a_scale": a_scale, "b_scale": b_scale}
    expected = np.rint(sums * (a_scale * b_scale / out_scale)) + np.float32(17)
    y = qgemm(a, b, **zeros, **scales, out_scale=out_scale, out_zero_point=17)
    np.testing.assert_array_equal(y, np.clip(expected, 0, 255))
    y = qgemm(a, b, **zeros, **scales, out_scale=out_scale, out_zero_point=17, out_dtype="int8")
    np.testing.assert_array_equal(y, np.clip(expected, -128, 127))
    y = qgemm(a, b, **zeros, **scales)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, sums * (a_scale * b_scale))
    bias = rng.standard_normal(29).astype(np.float32)
    y = qgemm(a, b, **zeros, **scales, bias=bias)
    np.testing.assert_array_equal(y, sums * (a_scale * b_scale) + bias)
    huge = qgemm(a, b, **zeros, a_scale=1e18, b_scale=1e18, out_scale=1.0)
    np.testing.assert_array_equal(huge, np.where(sums > 0, 255, 0))


VIEWS = {
    "dense": lambda a: a,
    "fortran": np.asfortranarray,
    "rows apart": lambda a: np.repeat(a, 3, axis=0)[::3],
    "columns apart": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "both reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "a corner": lambda a: np.pad(a, 3, constant_values=77)[3:-3, 3:-3],
    "one row": lambda a: np.broadcast_to(a[:1], a.shape),
}


@every_kernel
def test_views(rng):
    a, b = anything(rng, np.uint8, 19, 23), anything(rng, np.int8, 23, 37)
    for (name_a, of_a), (name_b, of_b) in itertools.product(VIEWS.items(), repeat=2):
        for va in (of_a(a), of_a(a.view(np.int8))):
            vb = of_b(b)
            expected = va.astype(np.int64) @ vb.astype(np.int64)
            np.testing.assert_array_equal(qgemm(va, vb), expected, err_msg=f"{name_a}, {name_b}")


@every_kernel
def test_rows_on_each_other_in_the_cache(rng):
    """Rows a multiple of 4 KiB apart are copied where a tile is tall, and give the same sums."""
    a = anything(rng, np.uint8, 150, 4096)[:, :130]
    check(a, anything(rng, np.int8, 130, 70))
    check(anything(rng, np.int8, 33, 4096), anything(rng, np.int8, 4096, 9))


@every_kernel
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8, np.int8])
def test_out_of_any_strides(rng, dtype):
    scales = {"a_scale": 0.5, "b_scale": 0.01} if dtype != np.int32 else {}
    if np.dtype(dtype).itemsize == 1:
        scales |= {"out_scale": 2.0, "out_dtype": dtype}
    for m, n, k in [(1, 1, 1), (7, 5, 3), (31, 70, 20), (5, 9, 0)]:
        a, b = anything(rng, np.uint8, m, k), anything(rng, np.int8, k, n)
        expected = qgemm(a, b, **scales)
        assert expected.dtype == dtype
        for place in (
            lambda x: x, lambda x: x.T.copy().T, lambda x: x[::-1, ::-1],
            lambda x: np.repeat(x, 2, 1)[:, ::2], lambda x: np.pad(x, 2, constant_values=9)[2:-2, 2:-2],
        ):  # fmt: skip
            out = place(np.full((m, n), 9, dtype))
            whole = out if out.base is None else out.base
            outside = whole.size - m * n
            assert qgemm(a, b, **scales, out=out) is out
            np.testing.assert_array_equal(out, expected)
            assert (whole == 9).sum() >= outside, "memory between the elements of out was written"


@every_kernel
@pytest.mark.parametrize("style", WEIGHTS)
def test_guarded(rng, style):
    """Every operand beside an unmapped page, at every tail of the tiles and of a word."""
    sizes = [(m, 1 + m % 5, 1 + m % 7) for m in range(1, 30)]
    sizes += [(1 + n % 9, n, 1 + n % 6) for n in range(1, 66)]
    sizes += [(3, 18, k) for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 256, 257)]
    for (m, n, k), align_end in itertools.product(sizes, (True, False)):
        a, b = anything(rng, np.uint8, m, k), weights(rng, style, k, n)
        place = lambda array: guarded(array, align_end=align_end)  # noqa: B023, E731
        out = guarded(np.zeros((m, n), np.int32), align_end=align_end)
        expected = a.astype(np.int64) @ b.astype(np.int64)
        np.testing.assert_array_equal(qgemm(place(a), place(b), out=out), expected)
        quantised = guarded(np.zeros((m, n), np.uint8), align_end=align_end)
        qgemm(place(a.view(np.int8)), place(b), a_scale=1.0, b_scale=1.0, out_scale=1.0, out=quantised)


@every_kernel
@pytest.mark.parametrize("style", WEIGHTS)
@pytest.mark.parametrize("channels", [1, 3, 4, 7, 32])
def test_windows_of_an_image(rng, style, channels):
    """Rows and taps anywhere in A, and rows anywhere in C, as a convolution of pixels has them."""
    (h, w), (kh, kw), oc, spare = (9, 11), (3, 2), 21, 5
    image = anything(rng, np.uint8, h, w, channels)
    kernel = weights(rng, style, kh * kw * channels, oc)
    pixels = [(y, x) for y in range(h - kh + 1) for x in range(w - kw + 1)]
    rows = [(y * w + x) * channels for y, x in pixels]
    taps = [(ky * w + kx) * channels for ky, kx in itertools.product(range(kh), range(kw))]
    places = rng.permutation(len(rows)) * (oc + spare)
    out = np.full(len(rows) * (oc + spare), 12345, np.int32)
    place = guarded(image.ravel(), align_end=True)
    _core.multiply_taps(place, rows, taps, kernel, places.tolist(), out)

    oihw = kernel.astype(np.int64).reshape(kh, kw, channels, oc).transpose(3, 2, 0, 1)
    expected = convolve(image.astype(np.int64).transpose(2, 0, 1)[np.newaxis], oihw, {})
    found = out.reshape(len(rows), oc + spare)
    np.testing.assert_array_equal(found[places // (oc + spare), :oc].T, expected.reshape(oc, -1))
    assert (found[:, oc:] == 12345).all()


@every_kernel
@pytest.mark.parametrize("style", ["normal", "any"])
def test_threads_do_not_change_a_bit(rng, style):
    for m, n, k in [(300, 200, 1000), (1, 500, 400), (500, 3, 700), (37, 53, 2000)]:
        a, b = anything(rng, np.int8, m, k), weights(rng, style, k, n).view(np.uint8) ^ np.uint8(128)
        for threads in (1, 2, 3):
            with fastconv.threads(threads):
                check(a, b, -7, 100)


@every_kernel
@pytest.mark.parametrize("style", WEIGHTS)
@pytest.mark.parametrize("dtype", BYTES)
def test_first_product_of_a_thread(rng, style, dtype):
    """A thread's scratch is empty then: rows that are copied are not written where none were asked for."""
    for m, n, k in [(300, 200, 1000), (64, 40, 1024), (5, 3, 7), (37, 53, 128)]:
        a, b = anything(rng, dtype, m, k), weights(rng, style, k, n)
        with ThreadPoolExecutor(1) as thread, fastconv.threads(2):
            thread.submit(check, a, b, 3, -5).result()


@every_kernel
@settings(max_examples=60)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, 90), st.integers(0, 2**32 - 1),
    st.sampled_from(BYTES), st.sampled_from(BYTES), st.sampled_from(WEIGHTS), st.booleans(), st.booleans(),
)  # fmt: skip
def test_random(m, n, k, seed, a_type, b_type, style, zeros, biased):
    rng = np.random.default_rng(seed)
    b = weights(rng, style, k, n) if k else np.zeros((0, n), np.int8)
    if b_type == np.uint8:
        b = (b.astype(np.int16) + 128).astype(np.uint8)
    a_zero, b_zero = (int(anything(rng, t, 1)[0]) if zeros else 0 for t in (a_type, b_type))
    bias = {"bias": rng.integers(-(2**20), 2**20, n).astype(np.int32)} if biased else {}
    check(anything(rng, a_type, m, k), b, a_zero, b_zero, **bias)
