"""Autotuning: what is measured, what is kept on disk, and that results are right whatever is picked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import tuning
from fastconv.conv import plan
from fastconv.errors import ArgumentError
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of this test's own, and no memory of others."""
    path = tmp_path / "deep" / "tuning.json"
    monkeypatch.setenv("FASTCONV_TUNING", str(path))
    monkeypatch.setattr(tuning, "_known", {})
    return path


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Replaces the stopwatch: the algorithm with the least time in this dictionary wins; counts the calls."""
    times: dict[str, float] = {}

    def time_algorithms(build, _x_shape, **_layout):
        times["calls"] = times.get("calls", 0) + 1
        accepted = {}
        for name in fastconv.algorithms():
            try:
                build(name)
            except ArgumentError:
                continue
            accepted[name] = times.get(name, 1.0)
        return accepted

    monkeypatch.setattr(tuning, "time_algorithms", time_algorithms)
    return times


def arrays(rng: np.random.Generator, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    x = rng.integers(-3, 4, (1, 16, size, size)).astype(np.float32)
    return x, rng.integers(-3, 4, (24, 16, 3, 3)).astype(np.float32)


def test_times_are_of_every_algorithm_that_accepts(rng):
    _, w = arrays(rng)
    times = tuning.time_algorithms(
        lambda name: plan(w, None, 1, 1, 1, 1, None, name, spatial=2), (1, 16, 9, 9), rounds=1, seconds=1e-4
    )
    assert set(times) == {"sparse_panels", "implicit", "im2col", "winograd_f4", "winograd_f2"}
    assert all(0 < t < 10 for t in times.values())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_fastest_runs_and_is_right(rng, forced, layout):
    x, w = arrays(rng)
    expected = fastconv.conv2d(x, w, padding=1, algorithm="implicit")
    if layout == "NHWC":
        x, expected = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, expected))
    for name in ("im2col", "winograd_f2"):
        forced[name] = 0.5
        conv = fastconv.Conv2d(w, padding=1, layout=layout, tune=True)
        w_later = w.copy()
        w[:] = 0  # the object has its own
        assert conv.algorithm_for(x.shape) == name
        assert f"algorithm {name}" in conv.explain(x.shape)
        np.testing.assert_array_equal(conv(x), expected)
        assert conv.packed_bytes > 0
        w[:] = w_later
        forced[name] = 1.0
        tuning._known.clear()
        tuning.cache_file().unlink()


def test_measured_once_for_each_shape_and_number_of_threads(rng, forced, cache):
    x, w = arrays(rng)
    forced["im2col"] = 0.5
    conv = fastconv.Conv2d(w, padding=1, tune=True)
    assert not cache.exists()  # nothing is measured before it is wanted
    conv(x)
    conv(x)
    assert forced["calls"] == 1
    fastconv.Conv2d(w, padding=1, tune=True)(x)  # this process remembers
    tuning._known.clear()
    fastconv.Conv2d(w, padding=1, tune=True)(x)  # and so does the file
    assert forced["calls"] == 1
    conv(arrays(rng, 13)[0])
    with fastconv.threads(fastconv.get_num_threads() + 1):
        conv(x)
    fastconv.Conv2d(w, padding=1, precision="exact", tune=True)(x)
    assert forced["calls"] == 4
    entries = json.loads(cache.read_text())
    assert list(entries.values()) == ["im2col"] * 4
    facts = json.loads(next(iter(entries)))
    assert {"version", "cpu", "tier", "threads", "dtype", "x", "w", "stride", "padding"} <= set(facts)
    assert [p.name for p in cache.parent.iterdir()] == [cache.name]  # no temporary file stays


def test_what_auto_takes_stays_unless_another_is_clearly_faster(rng, forced):
    x, w = arrays(rng)
    pick = fastconv.Conv2d(w, padding=1).algorithm_for(x.shape)
    other = "im2col" if pick != "im2col" else "implicit"
    forced[other] = 0.99
    assert fastconv.Conv2d(w, padding=1, tune=True).algorithm_for(x.shape) == pick


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"a": 1}', "\x00\xff"])
def test_a_damaged_file_is_measured_anew(rng, forced, cache, content):
    x, w = arrays(rng)
    cache.parent.mkdir()
    cache.write_text(content)
    forced["im2col"] = 0.5
    assert fastconv.Conv2d(w, padding=1, tune=True).algorithm_for(x.shape) == "im2col"
    assert list(json.loads(cache.read_text()).values()) == ["im2col"]


def test_an_algorithm_of_another_build_is_measured_anew(rng, forced, cache):
    x, w = arrays(rng)
    forced["im2col"] = 0.5
    fastconv.Conv2d(w, padding=1, tune=True)(x)
    cache.write_text(json.dumps({key: "gone" for key in json.loads(cache.read_text())}))
    tuning._known.clear()
    assert fastconv.Conv2d(w, padding=1, tune=True).algorithm_for(x.shape) == "im2col"
    assert forced["calls"] == 2


def test_a_file_that_cannot_be_written_warns_and_goes_on(rng, forced, cache):
    x, w = arrays(rng)
    cache.parent.write_text("in the way")
    forced["im2col"] = 0.5
    with pytest.warns(RuntimeWarning, match="tuning results are not kept"):
        assert fastconv.Conv2d(w, padding=1, tune=True).algorithm_for(x.shape) == "im2col"


def test_tune_beside_a_named_algorithm_is_refused(rng):
    with pytest.raises(ArgumentError, match="tune: expected algorithm='auto' beside it, got 'implicit'"):
        fastconv.Conv2d(arrays(rng)[1], algorithm="implicit", tune=True)


@pytest.mark.parametrize("size", [12, None])
def test_a_network_takes_what_was_measured(rng, forced, size):
    x, w = arrays(rng)
    b = GraphBuilder("net", {"w": w})
    y = b.add("Relu", b.add("Conv", b.input("x", ("n", 16, size, size)), "w", pads=[1] * 4))
    b.output(y, "y", ("n", 24, size, size))
    graph = b.build()
    expected = fastconv.conv2d(x, w, padding=1, algorithm="implicit", activation="relu")  # exact
    forced["im2col"] = 0.5
    model = Model(graph, tune=True)
    np.testing.assert_array_equal(model(x), expected)
    assert "im2col" in model.explain(x.shape)
    both = np.concatenate([x, x[:, :, ::-1]])
    np.testing.assert_array_equal(model(both)[:1], expected)  # another batch: the weights are still there
    calls = forced["calls"]
    model(x)
    Model(graph, tune=True)(both)
    assert forced["calls"] == calls


def test_nothing_is_tuned_or_written_unless_asked(rng, forced, cache):
    x, w = arrays(rng)
    fastconv.conv2d(x, w)
    fastconv.Conv2d(w)(x)
    assert "calls" not in forced
    assert not cache.exists()


@pytest.mark.parametrize("name", ["depthwise", "winograd_f4", "reference", "nonsense"])
def test_what_the_file_says_is_held_against_the_convolution(name, rng, cache, monkeypatch):
    """A file of another version, or of somebody else, may name what does not accept the convolution."""
    x = rng.standard_normal((1, 4, 6, 6), np.float32)
    w = rng.standard_normal((4, 4, 1, 1), np.float32)
    expected = fastconv.conv2d(x, w, algorithm="reference")
    fastconv.Conv2d(w, tune=True)(x)
    (key,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: name}))
    monkeypatch.setattr(tuning, "_known", {})
    conv = fastconv.Conv2d(w, tune=True)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)
    assert json.loads(cache.read_text())[key] not in ("nonsense", "depthwise", "winograd_f4", "reference")
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]


def test_zeros_are_of_the_weights_and_not_of_the_geometry(rng, forced, cache):
    """Layers of one geometry differ in their zeros: sparse algorithms are tried for some of them."""
    x = rng.standard_normal((1, 9, 9, 64), np.float32)
    w = rng.standard_normal((32, 64, 1, 1), np.float32)
    forced["sparse_panels"] = 0.5
    sparse = w * (rng.random((1, 64, 1, 1)) < 0.3)
    for weights, expected in ((w, "implicit"), (sparse.astype(np.float32), "sparse_panels"), (w, "implicit")):
        conv = fastconv.Conv2d(weights, layout="NHWC", tune=True)
        assert conv.algorithm_for(x.shape) == expected
        np.testing.assert_array_equal(
            conv(x), fastconv.conv2d(x, weights, layout="NHWC", algorithm="implicit")
        )
    assert forced["calls"] == 2
    assert cache.exists()
