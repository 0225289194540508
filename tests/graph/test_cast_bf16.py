"""Casts between float32 and bfloat16: steps of kernels, with the numbers of ml_dtypes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastconv import Model
from fastconv.graph.ir import Graph
from small_networks import Builder

ml_dtypes = pytest.importorskip("ml_dtypes")

Array = np.ndarray[Any, Any]
BF16 = np.dtype(ml_dtypes.bfloat16)
FLOAT, BFLOAT16 = 1, 16


def casts(*to: int, perm: tuple[int, ...] = (), x: Any = np.float32, y: Any = np.float32) -> Graph:
    """Return a graph of casts of a matrix, one after another, which may be transposed before them."""
    b = Builder("casts")
    value = b.input("x", ("batch", None))
    if perm:
        value = b.add("Transpose", value, perm=list(perm))
    for number in to:
        value = b.add("Cast", value, to=number)
    b.output(value, "y", (None, None))
    graph = b.build()
    (given,), (result,) = graph.inputs, graph.outputs
    return replace(
        graph,
        inputs=(given._replace(dtype=np.dtype(x)),),
        outputs=(result._replace(dtype=np.dtype(y)),),
    )


def kinds(model: Model, x: Array) -> set[str]:
    return {step.kind for step in model.program(x.shape).steps} - {"copy"}


@pytest.mark.usefixtures("tier")
@settings(max_examples=60, deadline=None)
@given(
    bits=arrays.arrays(np.uint32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=70)),
    perm=st.sampled_from([(), (1, 0)]),
)
def test_any_number_is_cast_as_ml_dtypes_does(bits: Array, perm: tuple[int, ...]) -> None:
    x = bits.view(np.float32)
    model = Model(casts(BFLOAT16, FLOAT, perm=perm))
    expected = (x.T if perm else x).astype(BF16).astype(np.float32)
    y = model(x)
    np.testing.assert_array_equal(y, expected)
    signs = np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(y)[~signs], np.signbit(expected)[~signs])
    assert kinds(model, x) == {"cast"}


@pytest.mark.usefixtures("tier")
def test_inputs_and_outputs_may_be_bfloat16(rng: np.random.Generator) -> None:
    x = rng.standard_normal((300, 700), np.float32)
    narrowing, widening = Model(casts(BFLOAT16, y=BF16)), Model(casts(FLOAT, x=BF16))
    y = narrowing(x)
    assert y.dtype == BF16
    np.testing.assert_array_equal(y.view(np.uint16), x.astype(BF16).view(np.uint16))
    np.testing.assert_array_equal(widening(y), y.astype(np.float32))
    assert kinds(narrowing, x) == kinds(widening, y) == {"cast"}
