"""Bad input to gemm and matmul: a typed error that starts with the argument's name."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import ArgumentError, DTypeError, ShapeError


def f32(*shape):
    return np.zeros(shape, np.float32)


A, B = f32(4, 3), f32(3, 5)
READ_ONLY = f32(4, 5)
READ_ONLY.flags.writeable = False
SHARED = f32(64)

BAD = [
    ({"a": None}, DTypeError, "a"),
    ({"a": [[1.0, 2.0, "3.0"]]}, DTypeError, "a"),
    ({"a": np.zeros((4, 3))}, DTypeError, "a"),
    ({"a": np.zeros((4, 3), ">f4")}, DTypeError, "a"),
    ({"a": np.zeros((4, 3), object)}, DTypeError, "a"),
    ({"a": np.zeros((4, 3), np.int64)}, DTypeError, "a"),
    ({"b": np.zeros((3, 5), np.float16)}, DTypeError, "b"),
    ({"b": "matrix"}, DTypeError, "b"),
    ({"a": f32(3)}, ShapeError, "a"),
    ({"a": f32(1, 4, 3)}, ShapeError, "a"),
    ({"b": f32(3)}, ShapeError, "b"),
    ({"b": f32()}, ShapeError, "b"),
    ({"b": f32(4, 5)}, ShapeError, "b"),
    ({"b": f32(0, 5)}, ShapeError, "b"),
    ({"trans_a": True}, ShapeError, "b"),
    ({"trans_b": True}, ShapeError, "b"),
    ({"c": f32(4, 4)}, ShapeError, "c"),
    ({"c": f32(5, 4)}, ShapeError, "c"),
    ({"c": f32(4)}, ShapeError, "c"),
    ({"c": f32(2, 4, 5)}, ShapeError, "c"),
    ({"c": np.zeros((4, 5))}, DTypeError, "c"),
    ({"c": 1.0}, DTypeError, "c"),
    ({"bias": f32(4)}, ShapeError, "bias"),
    ({"bias": f32(1, 5)}, ShapeError, "bias"),
    ({"bias": np.zeros(5)}, DTypeError, "bias"),
    ({"alpha": "1"}, DTypeError, "alpha"),
    ({"alpha": None}, DTypeError, "alpha"),
    ({"alpha": 1j}, DTypeError, "alpha"),
    ({"alpha": float("nan")}, ArgumentError, "alpha"),
    ({"beta": f32(2)}, DTypeError, "beta"),
    ({"beta": float("nan")}, ArgumentError, "beta"),
    ({"activation": "rely"}, ArgumentError, "activation"),
    ({"activation": ("clamp", "low")}, DTypeError, "activation"),
    ({"out": f32(5, 4)}, ShapeError, "out"),
    ({"out": f32(20)}, ShapeError, "out"),
    ({"out": np.zeros((4, 5))}, DTypeError, "out"),
    ({"out": [[0.0]]}, DTypeError, "out"),
    ({"out": READ_ONLY}, ArgumentError, "out"),
    ({"out": np.broadcast_to(f32(5), (4, 5))}, ArgumentError, "out"),
    ({"a": SHARED[:12].reshape(4, 3), "out": SHARED[11:31].reshape(4, 5)}, ArgumentError, "out"),
    ({"b": SHARED[:15].reshape(3, 5), "out": SHARED[:20].reshape(4, 5)}, ArgumentError, "out"),
]


@pytest.mark.parametrize(
    ("bad", "error", "argument"), BAD, ids=lambda v: str(v)[:60] if isinstance(v, dict) else None
)
def test_gemm(bad, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        fastconv.gemm(**{"a": A, "b": B} | bad)


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ((f32(), B), ShapeError, "a"),
        ((A, f32()), ShapeError, "b"),
        ((A, f32(4, 5)), ShapeError, "b"),
        ((f32(2), f32(3)), ShapeError, "b"),
        ((f32(2, 4, 3), f32(3, 3, 5)), ShapeError, "b"),
        ((f32(*(1,) * 7), B), ShapeError, "a"),
        ((A, B, f32(5, 4)), ShapeError, "out"),
        ((A, B, np.zeros((4, 5))), DTypeError, "out"),
        ((A, None), DTypeError, "b"),
        ((np.zeros((4, 3)), B), DTypeError, "a"),
    ],
)
def test_matmul(arguments, error, argument):
    a, b, *out = arguments
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        fastconv.matmul(a, b, **({"out": out[0]} if out else {}))
