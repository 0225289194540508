"""Bad input to qgemm and PackedIntegers: a typed error that starts with the argument's name."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import ArgumentError, DTypeError, PackedIntegers, ShapeError, qgemm

A, B = np.zeros((4, 3), np.uint8), np.zeros((3, 5), np.int8)
PACKED = PackedIntegers(B)
READ_ONLY = np.zeros((4, 5), np.int32)
READ_ONLY.flags.writeable = False
SHARED = np.zeros(200, np.int8)
SCALES = {"a_scale": 0.5, "b_scale": 0.25}
ALL_SCALES = SCALES | {"out_scale": 2.0}

BAD = [
    ({"a": None}, DTypeError, "a"),
    ({"a": A.astype(np.int32)}, DTypeError, "a"),
    ({"a": A.astype(np.float32)}, DTypeError, "a"),
    ({"a": A.astype(bool)}, DTypeError, "a"),
    ({"a": A[0]}, ShapeError, "a"),
    ({"b": "matrix"}, DTypeError, "b"),
    ({"b": B.astype(np.int16)}, DTypeError, "b"),
    ({"b": B[np.newaxis]}, ShapeError, "b"),
    ({"b": B[:2]}, ShapeError, "b"),
    ({"b": PackedIntegers(B[:2])}, ShapeError, "b"),
    ({"b": PACKED, "b_zero_point": 0}, ArgumentError, "b_zero_point"),
    ({"a_zero_point": -1}, ArgumentError, "a_zero_point"),
    ({"a_zero_point": 256}, ArgumentError, "a_zero_point"),
    ({"a_zero_point": 2**70}, ArgumentError, "a_zero_point"),
    ({"a_zero_point": 1.0}, DTypeError, "a_zero_point"),
    ({"a_zero_point": True}, DTypeError, "a_zero_point"),
    ({"a_zero_point": None}, DTypeError, "a_zero_point"),
    ({"a_zero_point": np.zeros(3, np.uint8)}, ShapeError, "a_zero_point"),
    ({"a_zero_point": np.full(4, 300)}, ArgumentError, "a_zero_point"),
    ({"b_zero_point": 128}, ArgumentError, "b_zero_point"),
    ({"b_zero_point": np.zeros(4, np.int8)}, ShapeError, "b_zero_point"),
    ({"b_zero_point": np.zeros((1, 5), np.int8)}, ShapeError, "b_zero_point"),
    ({"b_zero_point": np.zeros(5)}, DTypeError, "b_zero_point"),
    ({"bias": np.zeros(4, np.int32)}, ShapeError, "bias"),
    ({"bias": np.zeros(5)}, DTypeError, "bias"),
    ({"bias": np.zeros(5, np.float32)}, DTypeError, "bias"),
    (ALL_SCALES | {"bias": np.zeros(5, np.float32)}, DTypeError, "bias"),
    (SCALES | {"bias": np.zeros(4, np.float32)}, ShapeError, "bias"),
    ({"a_scale": 1.0}, ArgumentError, "b_scale"),
    ({"b_scale": 1.0}, ArgumentError, "a_scale"),
    ({"out_scale": 1.0}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": 0.0}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": -1.0}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": float("inf")}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": 1e39}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": float("nan")}, ArgumentError, "a_scale"),
    (SCALES | {"a_scale": "1"}, DTypeError, "a_scale"),
    ({"a_scale": 1e30, "b_scale": 1e30}, ArgumentError, "a_scale"),
    (SCALES | {"b_scale": np.ones(4, np.float32)}, ShapeError, "b_scale"),
    (SCALES | {"b_scale": np.ones(5)}, DTypeError, "b_scale"),
    (SCALES | {"b_scale": np.array([1, 1, np.nan, 1, 1], np.float32)}, ArgumentError, "b_scale"),
    (ALL_SCALES | {"out_scale": 0}, ArgumentError, "out_scale"),
    (ALL_SCALES | {"out_dtype": np.int32}, DTypeError, "out_dtype"),
    (ALL_SCALES | {"out_dtype": "bytes of some kind"}, DTypeError, "out_dtype"),
    (ALL_SCALES | {"out_zero_point": -1}, ArgumentError, "out_zero_point"),
    (ALL_SCALES | {"out_zero_point": 128, "out_dtype": np.int8}, ArgumentError, "out_zero_point"),
    ({"out_dtype": np.uint8}, ArgumentError, "out_dtype"),
    (SCALES | {"out_dtype": np.float32}, ArgumentError, "out_dtype"),
    (SCALES | {"out_zero_point": 3}, ArgumentError, "out_zero_point"),
    ({"out": np.zeros((5, 4), np.int32)}, ShapeError, "out"),
    ({"out": np.zeros((4, 5), np.uint8)}, DTypeError, "out"),
    (SCALES | {"out": np.zeros((4, 5), np.int32)}, DTypeError, "out"),
    ({"out": READ_ONLY}, ArgumentError, "out"),
    ({"b": SHARED[:15].reshape(3, 5), "out": SHARED[:80].view(np.int32).reshape(4, 5)}, ArgumentError, "out"),
]


@pytest.mark.parametrize(("bad", "error", "argument"), BAD, ids=lambda v: str(v)[:60])
def test_qgemm(bad, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        qgemm(**{"a": A, "b": B} | bad)


@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ((None,), DTypeError, "b"),
        ((B.astype(np.int64),), DTypeError, "b"),
        ((B[0],), ShapeError, "b"),
        ((B, 128), ArgumentError, "zero_point"),
        ((B, np.zeros(3, np.int8)), ShapeError, "zero_point"),
    ],
)
def test_packed_integers(arguments, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*got "):
        PackedIntegers(*arguments)
