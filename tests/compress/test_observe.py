"""Statistics of values between layers: against numpy on all values at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.compress import Histogram, observe
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model

Array = np.ndarray[Any, Any]
MakeGraph = Callable[..., Graph]


def counted(*parts: Array) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def values(seed: int, scale: float) -> Array:
    return (np.random.default_rng(seed).standard_normal(5000) * scale).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 3e8])
def test_a_histogram_counts_every_value_once(scale: float) -> None:
    x = values(0, scale)
    x[::7] = 0
    found = counted(x)
    assert found.counts.sum() + found.zeros == x.size
    assert found.zeros == np.count_nonzero(x == 0)
    edges = (found.start + np.arange(found.counts.size + 1)) * found.width
    expected, _ = np.histogram(x[x != 0].astype(np.float64), edges)
    np.testing.assert_array_equal(found.counts, expected)


def test_order_and_batches_make_no_difference() -> None:
    parts = [values(1, 0.01), values(2, 100.0), values(3, 1.0) - 50, np.zeros(3, np.float32)]
    first, second, third = counted(*parts), counted(*parts[::-1]), counted(np.concatenate(parts))
    for other in (second, third):
        assert (other.width, other.start, other.zeros) == (first.width, first.start, first.zeros)
        np.testing.assert_array_equal(other.counts, first.counts)


@pytest.mark.parametrize("q", [0.0, 0.1, 10.0, 50.0, 90.0, 99.9, 100.0])
def test_percentiles(q: float) -> None:
    x = np.maximum(values(4, 2.0), -0.5)
    found = counted(x)
    assert abs(found.percentile(q) - np.percentile(x, q, method="inverted_cdf")) <= found.width


def test_percentiles_of_zeros_are_zero() -> None:
    x = np.zeros(1000, np.float32)
    assert counted(x).percentile(99.9) == 0
    x[:3] = 8
    assert counted(x).percentile(50) == 0
    assert counted(x).percentile(100) == pytest.approx(8, rel=1e-3)


def test_statistics_are_those_of_all_values(mobile: MakeGraph, images: Array) -> None:
    graph = mobile()
    found = observe(graph, images, batch=5)
    names = ["x", "stem:out", "sum:out", "classifier:out", "y"]
    assert set(names) <= set(found)
    model = Model(graph)
    for name, array in zip(names, model.run(names, {"x": images}), strict=True):
        s, axes = found[name], (0, *range(2, array.ndim))
        assert (s.samples, s.shape) == (24, array.shape[1:])
        assert s.low == pytest.approx(array.min(), rel=1e-4)
        assert s.high == pytest.approx(array.max(), rel=1e-4)
        np.testing.assert_allclose(s.channel_low, array.min(axes), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(s.channel_high, array.max(axes), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(s.channel_mean, array.mean(axes, np.float64), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(s.channel_square, np.square(array, dtype=np.float64).mean(axes), rtol=1e-3)
        assert s.square == pytest.approx(np.square(array, dtype=np.float64).mean(), rel=1e-3)


def test_values_that_are_asked_for(mobile: MakeGraph, images: Array) -> None:
    found = observe(fastconv.Model(mobile()), images[:2], ["expand:out"])
    assert list(found) == ["expand:out"]
    assert found["expand:out"].shape == (32, 16, 16)


def test_data_may_come_in_many_forms(mobile: MakeGraph, images: Array, tmp_path: Any) -> None:
    graph, x = mobile(), images[:3]
    np.save(tmp_path / "x.npy", x)
    expected = observe(graph, x, ["y"])["y"]
    for data in (list(x), [x[:1], x[1:]], {"x": x}, ({"x": a} for a in x), tmp_path / "x.npy"):
        found = observe(graph, data, ["y"])["y"]
        assert (found.samples, found.low, found.high) == (3, expected.low, expected.high)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((0, 3, 32, 32), np.float32), ArgumentError, "expected at least one sample, got none"),
        ([], ArgumentError, "expected at least one sample, got none"),
        (np.zeros((2, 4, 32, 32), np.float32), ShapeError, r"shape \(3, any, any\) .* got \(4, 32, 32\)"),
        (np.zeros((2, 32), np.float32), ShapeError, "expected samples of shape"),
        (np.full((1, 3, 8, 8), np.nan, np.float32), ArgumentError, "expected finite numbers .* got NaN"),
        (np.full((1, 3, 8, 8), np.inf, np.float32), ArgumentError, "expected finite .* got an infinity"),
        (np.array([["a"]]), DTypeError, "expected float32 for input 'x'"),
        (5, DTypeError, "data: expected a path, arrays, or mappings .* got 5"),
        ({"image": np.zeros((1, 3, 8, 8))}, ArgumentError, r"expected arrays for \['x'\], got \['image'\]"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(mobile: MakeGraph, data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        observe(mobile(), data)


def test_files_that_do_not_fit(mobile: MakeGraph, tmp_path: Any) -> None:
    with pytest.raises(ArgumentError, match=r"data: expected photos .* got none"):
        observe(mobile(), tmp_path)
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(fastconv.ModelError, match=r"x\.npy: expected an array"):
        observe(mobile(), tmp_path / "x.npy")


def test_results_that_are_not_finite() -> None:
    b = GraphBuilder("log", {})
    b.output(b.add("Log", b.input("x", ("batch", 3)), name="log"), "y", ("batch", 3))
    with pytest.raises(
        ArgumentError, match="expected finite results, got NaN or infinity in value 'log:out'"
    ):
        observe(b.build(), np.zeros((1, 3), np.float32), ["log:out"])


def test_an_interrupt_ends_it(mobile: MakeGraph, images: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fastconv.Model(mobile())
    runs: list[int] = []
    plain = Model.run

    def run(self: Model, names: Any, feeds: Any) -> Any:
        runs.append(1)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return plain(self, names, feeds)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "run", run)
        with pytest.raises(KeyboardInterrupt):
            observe(model, images, ["stem:out"], batch=2)
    assert observe(model, images, ["stem:out"])["stem:out"].samples == len(images)
