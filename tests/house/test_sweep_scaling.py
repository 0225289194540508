"""Sweeps over threads and sizes, of floats and of 8 bits."""

from __future__ import annotations

from typing import Any

import pytest

from fastconv import sweep
from fastconv.errors import ArgumentError
from fastconv.lab.sweeps import scaling
from fastconv.roofline import Roof
from fastconv.testing.shapes import GemmShape

SHORT: dict[str, Any] = {"rounds": 1, "seconds": 1e-5}


@pytest.fixture(scope="module")
def roof() -> Roof:
    return Roof(1)


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_threads_are_compared_with_one(dtype):
    work = [GemmShape(16, 16, 16), *sweep.square_layers([6], [8])]
    found = sweep.sweep_threads(work, [2], dtype=dtype, **SHORT)
    assert found.dtype == dtype
    assert [(p.name, p.threads) for p in found.points] == [
        (one.name, count) for one in work for count in (1, 2)
    ]
    for point in found.points:
        assert point.efficiency == pytest.approx(point.speedup / point.threads)
        assert point.threads > 1 or point.speedup == 1
    assert set(found.peaks) == {"1", "2"}
    with pytest.raises(ArgumentError, match="work"):
        sweep.sweep_threads([])
    with pytest.raises(ArgumentError, match="dtype"):
        sweep.sweep_threads(work, [1], dtype="int4", **SHORT)


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_sizes_have_exponents(roof, dtype):
    found = sweep.sweep_sizes(**SHORT, factor=0.1, roof=roof, dtype=dtype)
    by_variable = {series.variable: series for series in found.series}
    assert by_variable["N"].work_exponent == pytest.approx(3)
    assert by_variable["channels"].work_exponent == pytest.approx(2)
    assert by_variable["side"].work_exponent == pytest.approx(2)
    assert by_variable["batch"].work_exponent == pytest.approx(1)
    for series in found.series:
        assert list(series.working_set) == sorted(series.working_set)
    with pytest.raises(ArgumentError, match="factor"):
        sweep.sweep_sizes(factor=0)
    with pytest.raises(ArgumentError, match="sizes"):
        scaling.slope([1], [1])
