"""Numbers of 8 bits, element by element: the bytes of ONNX's formulas in numpy, on every tier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.errors import FastconvError
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")

Array = np.ndarray[Any, Any]
Run = Callable[..., Array]
SIZES = [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 127, 128, 129, 200]
TYPES = [np.uint8, np.int8]
ZEROS = {np.uint8: (0, 3, 128, 255), np.int8: (-128, -3, 0, 127)}


def saturated(quotient: Array, zero: int, dtype: Any) -> Array:
    """Return the text of QuantizeLinear, each operation in f32; NaN gives 0, as numpy converts it here."""
    info = np.iinfo(dtype)
    steps = np.rint(quotient) + np.float32(zero)
    return np.where(np.isnan(steps), 0, np.clip(steps, info.min, info.max)).astype(dtype)


def quantised(x: Array, scale: float, zero: int, dtype: Any) -> Array:
    with np.errstate(all="ignore"):
        return saturated(x / np.float32(scale), zero, dtype)


def values(q: Array, scale: float, zero: int) -> Array:
    return (q.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def bytes_of(rng: np.random.Generator, dtype: Any, *shape: int) -> Array:
    return rng.integers(0, 256, shape).astype(np.uint8).view(dtype)


def scalars(scale: float, zero: int, dtype: Any) -> tuple[Array, Array]:
    return np.asarray(scale, np.float32), np.asarray(zero, dtype)


def edges(scale: float, rng: np.random.Generator) -> Array:
    """Numbers on, next to and far from where a rounding changes."""
    with np.errstate(over="ignore"):
        ties = (np.arange(-600, 600) / 2 * np.float32(scale)).astype(np.float32)
    special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-42, -1e-42])
    near = [np.nextafter(ties, np.float32(s * np.inf), dtype=np.float32) for s in (-1, 1)]
    spread = np.clip(rng.normal(size=999) * 99 * scale, -3e38, 3e38).astype(np.float32)
    return np.concatenate([ties, *near, special, spread])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.0172, 3e-39, 7e37])
def test_quantize(step: Run, dtype: Any, scale: float, rng: np.random.Generator) -> None:
    x = edges(scale, rng)
    for zero in ZEROS[dtype]:
        y = step("quantize", (x, *scalars(scale, zero, dtype)), np.empty(x.shape, dtype))
        np.testing.assert_array_equal(y, quantised(x, scale, zero, dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_dequantize(step: Run, dtype: Any, rng: np.random.Generator, same_bits: Any) -> None:
    x = np.arange(256, dtype=np.uint8).view(dtype)
    for zero in ZEROS[dtype]:
        scale = np.float32(rng.uniform(0.001, 2))
        y = step("dequantize", (x, *scalars(scale, zero, dtype)), np.empty(256, np.float32))
        same_bits(y, values(x, scale, zero))


def test_dequantize_sums(step: Run, rng: np.random.Generator, same_bits: Any) -> None:
    ends = np.iinfo(np.int32)
    x = rng.integers(ends.min, ends.max, 203, endpoint=True).astype(np.int32)
    x[:4] = ends.min, ends.max, 2**24 + 1, -(2**25) - 2
    scale = np.asarray(0.0371, np.float32)
    y = step("dequantize", (x, scale, None), np.empty(x.shape, np.float32))
    same_bits(y, x.astype(np.float64).astype(np.float32) * scale)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.usefixtures("num_threads")
def test_arrangements(
    step: Run, arrange: Any, arrange_out: Any, dtype: Any, rng: np.random.Generator
) -> None:
    shape = (2, 19, 13, 17)
    x = rng.normal(size=shape).astype(np.float32)
    q, scale = scalars(0.02, 5, dtype), 0.02
    y = step("quantize", (arrange(x), *q), arrange_out(np.zeros(shape, dtype)))
    np.testing.assert_array_equal(y, quantised(x, scale, 5, dtype))
    back = step("dequantize", (arrange(y), *q), arrange_out(np.zeros(shape, np.float32)))
    np.testing.assert_array_equal(back, values(y, scale, 5))
    table = rng.permutation(256).astype(np.uint8)
    z = step("lookup", (arrange(y), table), arrange_out(np.zeros(shape, np.uint8)))
    np.testing.assert_array_equal(z, table[np.ascontiguousarray(y).view(np.uint8)])


def test_every_size_beside_unmapped_memory(step: Run, rng: np.random.Generator) -> None:
    table = rng.permutation(256).astype(np.uint8)
    q = scalars(0.1, 7, np.uint8)
    for n in SIZES:
        x, b = rng.normal(size=n).astype(np.float32) * 9, bytes_of(rng, np.uint8, n)
        s = rng.integers(-9999, 9999, n).astype(np.int32)
        for end in (True, False):

            def at(a: Array, end: bool = end) -> Array:
                return guarded(a, align_end=end)

            def out(dtype: Any, n: int = n, end: bool = end) -> Array:
                return guarded_empty((n,), dtype, align_end=end)

            y = step("quantize", (at(x), *q), out(np.uint8))
            np.testing.assert_array_equal(y, quantised(x, 0.1, 7, np.uint8))
            y = step("dequantize", (at(b), *q), out(np.float32))
            np.testing.assert_array_equal(y, values(b, 0.1, 7))
            y = step("dequantize", (at(s), q[0], None), out(np.float32))
            np.testing.assert_array_equal(y, s.astype(np.float32) * q[0])
            y = step("lookup", (at(b), at(table)), out(np.uint8))
            np.testing.assert_array_equal(y, table[b])
            pair = (0.1, 7), (0.2, 3), (0.25, 9)
            y = step("quantized_binary", (at(b), at(b)), out(np.uint8), "add", *pair)
            np.testing.assert_array_equal(y, sum_of(b, b, "add", pair, np.uint8))


def test_a_table_over_its_operand(step: Run) -> None:
    table = np.arange(255, -1, -1, dtype=np.uint8)
    for n in SIZES:
        x = np.arange(n).astype(np.uint8)
        expected = table[x]
        step("lookup", (x, table), x)
        np.testing.assert_array_equal(x, expected)


def sum_of(a: Array, b: Array, op: str, pair: Any, dtype: Any) -> Array:
    left, right = values(a, *pair[0]), values(b, *pair[1])
    return quantised(left + right if op == "add" else left * right, *pair[2], dtype)


@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_pair_of_numbers(step: Run, op: str, dtype: Any, rng: np.random.Generator) -> None:
    a, b = (v.view(dtype) for v in np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2))
    for zero in ZEROS[dtype]:
        scales = rng.uniform(0.01, 0.1, 3).astype(np.float32).tolist()
        pair = (scales[0], zero), (scales[1], 1), (scales[2], zero)
        y = step("quantized_binary", (a, b), np.empty(a.shape, dtype), op, *pair)
        np.testing.assert_array_equal(y, sum_of(a, b, op, pair, dtype))


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("channels", [1, 5, 24, 300])
def test_binary_broadcasts(
    step: Run, arrange: Any, arrange_out: Any, channels: int, rng: np.random.Generator
) -> None:
    shape = (2, channels, 9, 14)
    x, pair = bytes_of(rng, np.uint8, *shape), ((0.02, 7), (0.01, 4), (0.03, 11))
    for other in (
        shape,
        (2, channels, 1, 1),
        (1, channels, 1, 1),
        (1, 1, 1, 1),
        (2, 1, 9, 14),
        (1, 1, 1, 14),
    ):
        gate = bytes_of(rng, np.uint8, *other)
        expected = sum_of(x, np.broadcast_to(gate, shape), "mul", pair, np.uint8)
        y = arrange_out(np.zeros(shape, np.uint8))
        step("quantized_binary", (arrange(x), np.broadcast_to(gate, shape)), y, "mul", *pair)
        np.testing.assert_array_equal(y, expected)
        swapped = pair[1], pair[0], pair[2]
        step("quantized_binary", (np.broadcast_to(gate, shape), arrange(x)), y, "mul", *swapped)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.usefixtures("num_threads")
def test_dynamic_range(step: Run, arrange: Any, rng: np.random.Generator, same_bits: Any) -> None:
    for shape in ((1, 1, 1), (3, 2, 5), (2, 40, 31, 33)):
        for shift in (0, 9, -9):
            x = (rng.normal(size=shape) + shift).astype(np.float32)
            low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
            scale = np.float32(1) if low == high else (high - low) / np.float32(255)
            y = step("dynamic_range", (arrange(x),), np.empty(2, np.float32))
            same_bits(y[:1], np.float32([scale]))
            assert y[1] == -low / scale
    for x in (np.zeros(77, np.float32), np.empty(0, np.float32)):
        assert step("dynamic_range", (x,), np.empty(2, np.float32)).tolist() == [1, 0]
    for n in (1, 40, 5000, 40000):
        x = np.zeros(n, np.float32)
        x[rng.integers(n)] = np.nan
        assert np.isnan(step("dynamic_range", (x,), np.empty(2, np.float32))).all()


@pytest.mark.parametrize(
    ("kind", "dtypes", "message"),
    [
        ("quantize", "f4 f4 i1 u1", "expected u8 elements, got s8"),
        ("quantize", "f4 f4 i4 i4", "expected s8 or u8 elements, got s32"),
        ("quantize", "i4 f4 u1 u1", "expected f32 elements, got s32"),
        ("dequantize", "u1 f4 i1 f4", "expected u8 elements, got s8"),
        ("dequantize", "u2 f4 u2 f4", "expected s8 or u8 elements, got u16"),
        ("dequantize", "u1 f8 u1 f4", "expected f32 elements, got f64"),
    ],
)
def test_elements_that_a_step_has_no_kernel_for(step: Run, kind: str, dtypes: str, message: str) -> None:
    x, scale, zero, y = dtypes.split()
    operands = np.zeros(5, x), np.ones((), scale), np.zeros((), zero)
    with pytest.raises(FastconvError, match=message):
        step(kind, operands, np.zeros(5, y))


def test_operands_of_the_wrong_size(step: Run) -> None:
    x, one, zero, y = (
        np.zeros(5, np.float32),
        np.ones((), np.float32),
        np.zeros((), np.uint8),
        np.zeros(5, "u1"),
    )
    with pytest.raises(FastconvError, match="scale: expected 1 elements, got 2"):
        step("quantize", (x, np.ones(2, np.float32), zero), y)
    with pytest.raises(FastconvError, match=r"y: expected shape \(5,\), got \(4,\)"):
        step("quantize", (x, one, zero), y[:4])
    with pytest.raises(FastconvError, match="table: expected 256 elements"):
        step("lookup", (y, np.zeros(255, np.uint8)), y)
    with pytest.raises(FastconvError, match="op: expected add or mul"):
        step("quantized_binary", (y, y), y, "div", (1, 0), (1, 0), (1, 0))
