"""sparsify: the smallest weights, or blocks of them, become zeros, as many as were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
import small_networks
from fastconv.cli import main
from fastconv.compress import sparsify
from fastconv.compress.prepare import graph_of
from fastconv.compress.sparsify import rows_of
from fastconv.errors import ArgumentError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, Node

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


def two_layers(seed: int = 0, small: float = 1.0) -> Graph:
    """Two layers of 16 input channels and more; ``small`` scales the weights of the second."""
    b = small_networks.Builder("two", seed)
    x = b.conv(b.input("x", ("batch", 16, 6, 6)), (32, 16, 3, 3), "first")
    b.output(b.conv(x, (20, 32, 1, 1), "second", pads=[0] * 4), "y", ("batch", 20, 6, 6))
    graph = b.build()
    graph.constants[graph.nodes[1].inputs[1]][...] *= np.float32(small)
    return graph


def weights(graph: Graph) -> list[Array]:
    return [graph.constants[node.inputs[1]] for node in graph.nodes if node.op == "Conv"]


@settings(max_examples=15, deadline=None)
@given(zeros=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_of_each_layer_the_smallest_weights_go(zeros: float, seed: int) -> None:
    graph = two_layers(seed)
    result = sparsify(graph, zeros)
    for before, after, layer in zip(weights(graph), weights(result.graph), result.layers, strict=True):
        gone = after == 0
        assert gone.sum() == round(zeros * before.size)
        assert (after[~gone] == before[~gone]).all()
        assert np.abs(before[gone]).max(initial=0) <= np.abs(before[~gone]).min()
        assert layer.zeros == pytest.approx(gone.mean())


@settings(max_examples=15, deadline=None)
@given(zeros=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_blocks_are_sixteen_output_channels_wide(zeros: float, seed: int) -> None:
    graph = two_layers(seed)
    result = sparsify(graph, zeros, pattern="1x16")
    for before, after, layer in zip(weights(graph), weights(result.graph), result.layers, strict=True):
        powers = [], []
        for first in range(0, len(after), 16):  # the second layer's last block has four channels
            kept = (after[first : first + 16] != 0).all(0)
            assert (kept | (after[first : first + 16] == 0).all(0)).all()
            power = np.square(before[first : first + 16].astype(np.float64)).mean(0)
            powers[0].extend(power[~kept])
            powers[1].extend(power[kept])
        assert len(powers[0]) == round(zeros * (len(powers[0]) + len(powers[1])))
        assert max(powers[0], default=0) <= min(powers[1])
        assert layer.blocks == pytest.approx(len(powers[0]) / (len(powers[0]) + len(powers[1])))


def test_layers_bear_what_they_can() -> None:
    """Scaling a layer changes nothing; few large weights that carry it let the others go."""
    graph = two_layers(small=100.0)
    w = weights(graph)[1]
    w[...] *= np.where(np.random.default_rng(1).random(w.shape) < 0.1, 1, 0.001).astype(np.float32)
    result = sparsify(graph, 0.5, spread="adaptive")
    first, second = result.layers
    total = first.weights + second.weights
    assert result.zeros == pytest.approx(0.5, abs=1 / total)
    assert second.zeros > 0.85
    assert first.zeros < 0.5


def test_shares_of_some_layers_and_what_has_no_kernel(mobile: Callable[..., Graph]) -> None:
    graph = two_layers()
    names = [node.name for node in graph.nodes]
    result = sparsify(graph, 0.5, layer_zeros={names[0]: 0, names[1]: 0.75})
    assert [layer.zeros for layer in result.layers] == [0, 0.75]
    pruned = sparsify(mobile(), 0.5)
    depthwise = [w for w in weights(pruned.graph) if w[0].size < 16]
    assert depthwise
    assert all(w.all() for w in depthwise)


@pytest.mark.parametrize(
    ("op", "shape", "attrs"),
    [
        ("Conv", (6, 2, 3, 3), {"group": 3}),
        ("ConvTranspose", (6, 2, 3, 3), {"group": 3}),
        ("Gemm", (5, 7), {}),
        ("Gemm", (5, 7), {"transB": 1}),
        ("MatMul", (2, 5, 7), {}),
    ],
)
def test_rows_are_a_view_by_group_output_input_and_tap(op: str, shape: Any, attrs: Any) -> None:
    w = np.arange(np.prod(shape)).reshape(shape)
    rows = rows_of(Node(op, "node", ("x", "w"), ("y",), attrs), w)
    assert np.shares_memory(rows, w)
    if op == "Conv":
        assert rows[1, 1, 1, 4] == w[3, 1, 1, 1]
    elif op == "ConvTranspose":
        assert rows[1, 1, 0, 4] == w[2, 1, 1, 1]
    elif op == "MatMul":
        assert rows[1, 6, 4, 0] == w[1, 4, 6]
    else:
        assert rows[0, 3, 2, 0] == (w[3, 2] if attrs else w[2, 3])


def test_the_report_says_how_far_results_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = two_layers()
    x = np.random.default_rng(0).standard_normal((4, 16, 6, 6), np.float32)
    result = sparsify(graph, 0.3, data=x)
    expected, got = fastconv.Model(graph)(x), result.model()(x)
    noise = np.square(got.astype(np.float64) - expected).sum()
    (output,) = result.outputs
    assert output.snr == pytest.approx(
        10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise), abs=0.1
    )
    to_file(graph, tmp_path / "net.onnx")
    out = tmp_path / "sparse.onnx"
    command = ["prune", str(tmp_path / "net.onnx"), "-o", str(out)]
    assert main([*command, "--zeros", "0.5", "--pattern", "1x16", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [layer["blocks"] for layer in record["layers"]] == [0.5, 0.5]
    assert (weights(graph_of(out))[0] == 0).mean() == 0.5
    assert main([*command, "--zeros", "0.5", "--spread", "adaptive"]) == 0
    assert "of all weights are zeros" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--keep, --zeros: expected one of them, got neither"),
        (["--keep", "0.5", "--zeros", "0.5"], "--keep, --zeros: expected one of them, got both"),
        (["--keep", "0.5", "--pattern", "1x16"], "--pattern: expected none beside --keep"),
        (["--zeros", "0.5", "--multiple", "8"], "--multiple: expected none beside --zeros"),
        (["--zeros", "1.5"], "zeros: expected a share from 0 to below 1, got 1.5"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_file(two_layers(), tmp_path / "net.onnx")
    assert main(["prune", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out.onnx"), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"pattern": "2x4"}, "pattern: expected 'single', '1x16', '1x32', got '2x4'"),
        ({"spread": "all"}, "spread: expected 'layer', 'adaptive', got 'all'"),
        ({"layer_zeros": {"none": 0.5}}, "layer_zeros: expected layers of the network, got 'none'"),
        ({"layer_zeros": {"first": 1}}, r"layer_zeros\['first'\]: expected a share"),
    ],
)
def test_bad_arguments(keywords: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sparsify(two_layers(), 0.5, **keywords)


def test_weights_must_be_finite() -> None:
    graph = two_layers()
    weights(graph)[0][0, 0, 0, 0] = np.nan
    with pytest.raises(ArgumentError, match="expected finite weights"):
        sparsify(graph, 0.5)
