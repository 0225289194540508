"""Weights of few values: looking them up changes no bit, and "auto" does where weights come from memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Graph, GraphBuilder

every_tier = pytest.mark.usefixtures("tier")

Array = np.ndarray[Any, Any]

L3 = _core.cpu_info()["caches"]["l3"]
LOOKS_UP = {"ref": 0, "avx2": 16, "avx512": 32}  # so many values are faster to look up than to read


def plan(w: Array, algorithm: str = "codebook", bias: Array | None = None, **options: Any) -> _core.Conv:
    """Plan a fully connected layer of weights (outputs, inputs)."""
    return _core.Conv(
        w, bias, spatial=0, stride=[], padding_lo=[], padding_hi=[], dilation=[], groups=1,
        auto_pad="explicit", transposed=False, output_padding=[], precision="fast", algorithm=algorithm,
        **({"act": "none", "alpha": 0.0, "beta": 0.0} | options),
    )  # fmt: skip


def result(conv: _core.Conv, x: Array, residual: Array | None = None) -> Array:
    y = np.empty(conv.out_shape(x.shape), np.float32)
    conv.run(x, y, residual)
    return y


def drawn(rng: np.random.Generator, shape: tuple[int, ...], values: Array) -> Array:
    return values[rng.integers(0, values.size, shape)]


sizes = st.tuples(st.integers(1, 11), st.integers(1, 70), st.integers(1, 140))


@every_tier
@settings(max_examples=40, deadline=None)
@given(sizes=sizes, values=st.integers(1, 32), seed=st.integers(0, 99), more=st.booleans())
def test_the_bits_are_those_of_the_weights_themselves(
    sizes: tuple[int, int, int], values: int, seed: int, more: bool
) -> None:
    """With a bias, a sum and a function, or without."""
    rng = np.random.default_rng(seed)
    rows, k, n = sizes
    w = drawn(rng, (n, k), rng.standard_normal(values, np.float32))
    x, residual = rng.standard_normal((rows, k), np.float32), rng.standard_normal((rows, n), np.float32)
    options: dict[str, Any] = {"bias": residual[0], "act": "silu"} if more else {}
    got, expected = (
        result(plan(w, name, **options), x, residual if more else None) for name in ("codebook", "implicit")
    )
    np.testing.assert_array_equal(got, expected)


@every_tier
@pytest.mark.parametrize("values", [1, 16, 17, 32])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_sums_of_whole_numbers_are_exact(values: int, rows: int, rng: np.random.Generator) -> None:
    w = drawn(rng, (133, 95), np.arange(values, dtype=np.float32) - 7)
    x = rng.integers(-9, 10, (rows, 95)).astype(np.float32)
    conv = plan(w)
    np.testing.assert_array_equal(result(conv, x), x.astype(np.int64) @ w.T.astype(np.int64))
    bits = 4 if values <= 16 else 5
    words = -(-133 // 64) * 64 * -(-95 // (32 // bits))  # of the widest panels
    assert conv.packed_bytes <= 4 * words + 256


@every_tier
def test_threads_and_places_in_a_batch_change_no_bit(rng: np.random.Generator) -> None:
    w = drawn(rng, (700, 900), rng.standard_normal(16, np.float32))
    x = rng.standard_normal((7, 900), np.float32)
    conv = plan(w)
    whole = result(conv, x)
    for row in range(7):
        np.testing.assert_array_equal(result(conv, x[row : row + 1]), whole[row : row + 1])
    with fastconv.threads(1):
        np.testing.assert_array_equal(result(conv, x), whole)


@every_tier
def test_special_values_are_values(rng: np.random.Generator) -> None:
    """0 and -0 are two; a NaN among the weights, and an infinity times 0, are NaN."""
    w = drawn(rng, (40, 30), np.float32([0.0, -0.0, 1.5, np.inf, -1.5, np.nan]))
    x = rng.standard_normal((2, 30), np.float32)
    np.testing.assert_array_equal(result(plan(w), x), result(plan(w, "implicit"), x))
    signed = plan(np.float32([[0.0], [-0.0]]))
    assert np.signbit(result(signed, np.float32([[-1.0]]))).tolist() == [[False, False]]  # 0 + -0
    x[0, 0] = np.inf
    whole = drawn(rng, (40, 30), np.float32([0.0, 1.0]))
    np.testing.assert_array_equal(result(plan(whole), x), result(plan(whole, "implicit"), x))


@every_tier
def test_stored_weights_serve_as_they_are(rng: np.random.Generator) -> None:
    w = drawn(rng, (100, 77), rng.standard_normal(16, np.float32))
    x = rng.standard_normal((3, 77), np.float32)
    original = plan(w)
    arrays = [np.pad(a.view(np.uint8), (0, -a.nbytes % 64)) for a in original.packed()["codebook"]]
    stored = np.concatenate(arrays).view(np.float32)
    for nothing in (np.full(w.shape, np.nan, np.float32), rng.standard_normal(w.shape, np.float32)):
        conv = plan(nothing, stored={"codebook": stored})
        np.testing.assert_array_equal(result(conv, x), result(original, x))
        assert all(np.shares_memory(a, stored) for a in conv.packed()["codebook"])
    for wrong in (stored[:-16], stored[:16], stored[:0], np.pad(stored, (0, 16)), np.zeros_like(stored)):
        with pytest.raises(ShapeError, match="stored weights"):
            plan(w, stored={"codebook": wrong})


def test_why_not() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.standard_normal((40, 30), np.float32), np.ones((40, 30), np.float32)
    with pytest.raises(ArgumentError, match=r"does not accept .*more than 32 values"):
        plan(many)
    assert "more than 32 values" in plan(many, "auto").explain()["rejected"]["codebook"]
    assert "last-level cache" in plan(few, "auto").explain()["rejected"]["codebook"]
    with pytest.raises(ArgumentError, match="not a fully connected layer"):
        fastconv.conv2d(
            np.ones((1, 3, 4, 4), np.float32), np.ones((2, 3, 1, 1), np.float32), algorithm="codebook"
        )


def network(values: int) -> Graph:
    """A layer whose weights of so many values do not fit the last-level cache."""
    k, n = 4096, L3 // 4 // 4096 + 64
    rng = np.random.default_rng(values)
    w = np.tile(drawn(rng, (n // 8, k), rng.standard_normal(values, np.float32)), (8, 1))
    b = GraphBuilder("net", {"w": w, "c": np.ones(len(w), np.float32)})
    y = b.add("Gemm", b.input("x", ("batch", k)), "w", "c", transB=1)
    b.output(b.add("Relu", y), "y", ("batch", len(w)))
    return b.build()


@pytest.mark.skipif(L3 > 64 << 20, reason="the test's weights would stay in the cache")
@pytest.mark.parametrize("values", [16, 32])
def test_a_network_keeps_indices_and_nothing_else(values: int, tier: str) -> None:
    graph = network(values)
    model, w = fastconv.Model(graph), graph.constants["w"]
    x = np.random.default_rng(0).integers(-4, 5, (2, w.shape[1])).astype(np.float32)
    y = model(x)
    looked_up = values <= LOOKS_UP.get(tier, 0)
    (step,) = model.program(x.shape).steps
    assert (step.algorithm == "codebook") == looked_up
    wanted = np.maximum(x.astype(np.float64) @ w.T.astype(np.float64) + 1, 0)
    np.testing.assert_allclose(y, wanted, atol=1e-2)
    if looked_up:
        (conv,) = model._session.plans.packed.values()
        assert conv.packed_bytes < w.size * (4.1 if values == 16 else 5.5) / 8 + 4 * len(w) + 4096
        assert model._session.constants["w"].released


@pytest.mark.skipif(L3 > 64 << 20, reason="the test's weights would stay in the cache")
def test_files_give_indices(tmp_path: Path, tiers: Iterator[str]) -> None:
    """A coded file, when it is opened, and a compiled one, which has them as they are packed."""
    graph = network(16)
    x = np.random.default_rng(0).standard_normal((1, graph.constants["w"].shape[1]), np.float32)
    fastconv.Model(graph).save(tmp_path / "net.fcz", coded=True)
    for tier in tiers:
        if LOOKS_UP.get(tier, 0) < 16:
            continue
        model = fastconv.load(tmp_path / "net.fcz")
        y = model(x)
        assert model._session.constants["w"].released
        model.save(tmp_path / "net.fcm")
        again = fastconv.load(tmp_path / "net.fcm")
        np.testing.assert_array_equal(again(x), y)
        for one in (model, again):
            assert [step.algorithm for step in one.program(x.shape).steps] == ["codebook"]
