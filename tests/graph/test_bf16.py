"""Networks of precision="bf16": fully connected layers on every tier, what explain() says, and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv import Model, _core
from fastconv.testing import tolerance
from small_networks import Builder

Array = npt.NDArray[np.float32]
Build = Callable[[], Builder]
WIDE = 1100  # of a matrix that no L2 holds


def rounded(a: Array) -> npt.NDArray[np.float64]:
    """Return the nearest numbers of 8 significant bits."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8))


def connected() -> tuple[Builder, Array]:
    """Return a network of one fully connected layer, and its weights."""
    b = Builder("connected")
    w = b.weights(WIDE, WIDE)
    b.output(b.add("Gemm", b.input("x", ("batch", WIDE)), w, transB=1, name="wide"), "y", ("batch", WIDE))
    return b, b.constants[w].copy()


def convolved() -> Builder:
    """Return a network with layers that gain, and one whose Winograd form is faster."""
    b = Builder("convolved")
    x = b.conv(b.input("x", ("batch", 64, 28, 28)), (128, 64, 1, 1), "pointwise")
    x = b.conv(x, (64, 128, 3, 3), "square")
    b.output(b.conv(x, (32, 16, 3, 3), "grouped", group=4), "y", ("batch", 32, 28, 28))
    return b


@pytest.mark.usefixtures("tier_and_bf16")
def test_a_layer_that_waits_for_memory_is_rounded_on_every_tier(rng: np.random.Generator) -> None:
    network, w = connected()
    model = Model(network.build(), precision="bf16")
    x = rng.standard_normal((5, WIDE), np.float32)
    y = model(x)
    magnitude = np.abs(rounded(x)) @ np.abs(rounded(w)).T
    tolerance.assert_within(y, rounded(x) @ rounded(w).T, tolerance.sum_bound(magnitude, WIDE))
    np.testing.assert_array_equal(model(x[2:3]), y[2:3])
    assert model.program(x.shape).steps[0].algorithm == "bf16"
    weights = sum(conv.packed_bytes for conv in model._session.plans.packed.values())
    assert weights < 0.6 * w.nbytes


@pytest.mark.usefixtures("tier_and_bf16")
def test_what_stays_in_f32_says_why(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 64, 28, 28), np.float32)
    graph = convolved().build()
    model = Model(graph, precision="bf16")
    model(x)
    told = [line for line in model.explain().splitlines() if line.startswith("in f32, not bf16 (")]
    assert "in f32, not bf16 (groups): grouped" in told
    gains = "bf16" in _core.peak_instructions(_core.active_tier())
    assert gains or any("(no instruction of this tier multiplies bf16): pointwise square" in t for t in told)
    plain = Model(graph)
    plain(x)
    assert "bf16" not in plain.explain()


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("build", [lambda: connected()[0], convolved], ids=["connected", "convolved"])
def test_files_keep_what_a_network_needs(build: Build, tmp_path: Path, rng: np.random.Generator) -> None:
    model = Model(build().build(), precision="bf16")
    shape = [1 if isinstance(n, str) or n is None else n for n in model.inputs[0].shape]
    x = rng.standard_normal(shape, np.float32)
    expected = model(x)
    for packed in (True, False):
        model.save(tmp_path / "net.fcm", packed=packed)
        same = fastconv.load(tmp_path / "net.fcm")
        np.testing.assert_array_equal(same(x), expected)
        assert same.explain() == model.explain()
    again = fastconv.load(tmp_path / "net.fcm", precision="fast")
    assert "bf16" not in [step.algorithm for step in again.program(x.shape).steps]


@pytest.mark.parametrize("build", [lambda: connected()[0], convolved], ids=["connected", "convolved"])
def test_a_file_runs_where_the_instruction_is_missing(
    build, tmp_path: Path, rng: np.random.Generator
) -> None:  # type: ignore[no-untyped-def]
    model = Model(build().build(), precision="bf16")
    shape = [1 if isinstance(n, str) or n is None else n for n in model.inputs[0].shape]
    x = rng.standard_normal(shape, np.float32)
    expected = model(x)
    model.save(tmp_path / "net.fcm", packed=True)
    _core.set_extensions_active("")
    try:
        got = fastconv.load(tmp_path / "net.fcm")(x)
    finally:
        _core.set_extensions_active("all")
    np.testing.assert_allclose(got, expected, atol=0.03 * np.abs(expected).max())
