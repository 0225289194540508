"""Weights that share few values: k-means, pruning, the layers' settings, and the file that comes of them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv.cli import main
from fastconv.compress.agreement import signal_to_noise
from fastconv.compress.codebook import codebook, nearest, pruned
from fastconv.compress.sharing import share
from fastconv.errors import ArgumentError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, GraphBuilder

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def graph() -> Graph:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    constants = {
        "a": normal(32, 3, 3, 3), "scale": 1 + normal(32) / 10, "shift": normal(32), "mean": normal(32),
        "var": np.ones(32, np.float32), "b": normal(64, 32, 3, 3), "c": normal(64, 10), "d": normal(10),
    }  # fmt: skip
    b = GraphBuilder("net", constants)
    y = b.add("Conv", b.input("x", ("batch", 3, 12, 12)), "a", name="stem")
    y = b.add("Relu", b.add("BatchNormalization", y, "scale", "shift", "mean", "var"))
    y = b.add("Relu", b.add("Conv", y, "b", name="middle"))
    y = b.add("Flatten", b.add("GlobalAveragePool", y))
    b.output(b.add("Add", b.add("MatMul", y, "c", name="head"), "d"), "y", ("batch", 10))
    return b.build()


def images(count: int) -> Array:
    return np.random.default_rng(1).standard_normal((count, 3, 12, 12)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 9), st.integers(0, 99))
def test_a_codebook_is_where_k_means_rests(size: int, levels: int, seed: int) -> None:
    """Each value is nearest to its centre, and each centre the mean of its values."""
    values = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    centres = codebook(values, levels)
    assert len(centres) <= levels
    at = nearest(values, centres)
    distance = np.abs(values[:, None] - centres)
    assert np.allclose(distance[np.arange(size), at], distance.min(1), atol=1e-6)
    for i in set(at.tolist()):
        assert np.isclose(values[at == i].mean(), centres[i], atol=1e-5)


def test_codebooks_of_very_many_values_are_those_of_all() -> None:
    values = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    centres = codebook(values, 16)
    error = np.square(values - centres[nearest(values, centres)]).mean()
    assert error < 1.02 * 0.01154  # Max's quantiser of 16 levels of normal numbers
    assert np.array_equal(centres, codebook(values[::-1], 16))


def test_entropy_trades_error_for_bits() -> None:
    """For its entropy a codebook that weighs it leaves less error."""
    values = np.random.default_rng(0).laplace(size=200_000).astype(np.float32)

    def point(levels: int, entropy: bool) -> tuple[float, float]:
        centres = codebook(values, levels, "entropy" if entropy else "error")
        at = nearest(values, centres)
        p = np.bincount(at) / values.size
        return float(-(p[p > 0] * np.log2(p[p > 0])).sum()), signal_to_noise(values, centres[at])

    plain, weighed = point(32, False), point(96, True)
    # A bit more is worth 6.02 dB where steps are fine.
    assert weighed[1] - 6.02 * weighed[0] > plain[1] - 6.02 * plain[0] + 0.5


def test_pruning_takes_the_smallest() -> None:
    w = np.random.default_rng(0).standard_normal((20, 10)).astype(np.float32)
    result = pruned(w, 0.75)
    assert np.count_nonzero(result) == 50
    assert np.abs(w[result == 0]).max() <= np.abs(result[result != 0]).min()
    assert np.array_equal(result[result != 0], w[result != 0])
    assert np.count_nonzero(pruned(np.ones(10, np.float32), 0.3)) == 7
    assert pruned(w, 0) is w


def test_each_layer_has_its_own_bits_and_share(graph: Graph) -> None:
    result = share(
        graph, 3, 0.5, layer_bits={"first": 8, "MatMul": 0}, layer_prune={"stem": 0, "MatMul": 0.9}
    )
    values = [result.graph.constants[node.inputs[1]] for node in result.graph.nodes if len(node.inputs) > 1]
    stem, middle, head = [w for w in values if w.ndim > 1]
    assert 100 < np.unique(stem).size <= 256
    assert np.unique(middle).size == 8
    assert np.count_nonzero(middle) == middle.size // 2
    assert np.count_nonzero(head) == 64
    assert np.array_equal(head[head != 0], graph.constants["c"][head != 0])
    assert [layer.values for layer in result.layers[:2]] == [np.unique(stem).size, 8]
    assert result.layers[1].kept == 0.5
    assert result.layers[1].after < middle.nbytes / 8
    assert sum(layer.before for layer in result.layers) == 4 * (864 + 32 * 64 * 9 + 640)


def test_with_many_bits_the_network_stays_what_it_was(graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    x = images(4)
    expected = fastconv.Model(graph)(x)
    found = [share(graph, bits).model()(x) for bits in (3, 5, 8)]
    signal = [signal_to_noise(expected, y) for y in found]
    assert all(b > a + 6 for a, b in pairwise(signal))
    result = share(graph, 5)
    for name in ("net.fcz", "net.onnx"):
        result.save(tmp_path / name)
        assert np.array_equal(fastconv.load(tmp_path / name)(x), found[1])
    assert (tmp_path / "net.fcz").stat().st_size < (tmp_path / "net.onnx").stat().st_size / 3


def test_layers_are_given_bits_until_the_signal_is_there(graph: Graph) -> None:
    x = images(24)
    expected = fastconv.Model(graph)(x)
    sizes = []
    for least in (15, 30, 45):
        result = share(graph, min_snr=least, data=x)
        assert signal_to_noise(expected, result.model()(x)) > least - 1
        sizes.append(sum(layer.after for layer in result.layers))
    assert sizes[0] < sizes[1] < sizes[2]


def test_steps_are_bytes_in_the_file_and_zeros_stay(graph: Graph, tmp_path: Path) -> None:
    """Of pruned weights none comes back; every file computes what the result does."""
    pytest.importorskip("onnx")
    x = images(24)
    result = share(graph, prune=0.5, min_snr=25, data=x, layer_bits={"head": 8})
    assert [layer.kept <= 0.5 for layer in result.layers] == [True, True, True]
    numbers = [w for w in result.graph.constants.values() if w.dtype == np.int8 and w.ndim > 1]
    assert sorted(w.shape for w in numbers) == [(32, 3, 3, 3), (64, 32, 3, 3)]
    expected = result.model()(x)
    for name in ("net.fcz", "net.onnx"):
        result.save(tmp_path / name)
        assert np.array_equal(fastconv.load(tmp_path / name)(x), expected)
    assert (tmp_path / "net.fcz").stat().st_size < (tmp_path / "net.onnx").stat().st_size


def test_a_signal_that_bytes_do_not_reach_is_refused(graph: Graph) -> None:
    with pytest.raises(
        ArgumentError, match=r"min_snr: expected at most the .* dB that weights of 8 bits reach"
    ):
        share(graph, min_snr=120, data=images(4))


def test_rounding_with_data_leaves_less_error_for_its_bytes(graph: Graph) -> None:
    """Than codebooks of any aim do, on data that it has not seen."""
    seen, x = images(64)[:48], images(64)[48:]
    expected = fastconv.Model(graph)(x)

    def point(**options: Any) -> tuple[int, float]:
        result = share(graph, **options)
        size = sum(layer.after for layer in result.layers)
        return size, signal_to_noise(expected, result.model()(x))

    size, signal = point(min_snr=20, data=seen)
    codebooks = [point(bits=bits, aim=aim) for bits in (3, 4, 5) for aim in ("error", "entropy", "relative")]
    assert max((snr for n, snr in codebooks if n <= size), default=0.0) < signal - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "bits: expected 1 to 8"),
        ({"bits": -1}, "bits"),
        ({"prune": 1.0}, "prune: expected a share"),
        ({"prune": float("nan")}, "prune"),
        ({"layer_bits": {"none": 3}}, "layer_bits: expected layers by name"),
        ({"layer_prune": {"stem": 2}}, "layer_prune"),
        ({"min_snr": 20}, "min_snr, data: expected both"),
    ],
)
def test_bad_arguments(graph: Graph, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        share(graph, **options)


def test_weights_that_are_not_finite_are_refused(graph: Graph) -> None:
    bad = graph.constants["b"].copy()
    bad[0, 0, 0, 0] = np.inf
    odd = Graph("net", graph.nodes, graph.inputs, graph.outputs, {**graph.constants, "b": bad})
    with pytest.raises(ArgumentError, match="finite weights, got others in node 'middle'"):
        share(odd)


def test_the_command(graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    model, small = tmp_path / "net.onnx", tmp_path / "net.fcz"
    to_file(graph, model)
    command = ["compress", str(model), "-o", str(small)]
    assert main([*command, "--bits", "4", "--prune", "0.8", "--layer-bits", "first=8", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [round(layer["kept"], 2) for layer in record["layers"]] == [0.2, 0.2, 0.2]
    assert record["bytes"] == small.stat().st_size < record["before"] / 4
    assert fastconv.load(small)(images(1)).shape == (1, 10)
    np.save(tmp_path / "x.npy", images(8))
    assert main([*command, "--min-snr", "25", "--data", str(tmp_path / "x.npy")]) == 0
    assert "times smaller" in capsys.readouterr().out
    for wrong in (["--layer-bits", "first"], ["--bits", "4", "--min-snr", "3"], ["--prune", "1"]):
        assert main([*command, *wrong]) == 2
    assert main(["compress", str(model), "-o", str(tmp_path / "net.fcm")]) == 2
