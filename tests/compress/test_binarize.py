"""binarize: weights are the nearest sign times a scale, files have a bit for each, and layers run on bits."""

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
from fastconv.cli import main
from fastconv.compress import binarize
from fastconv.compress.agreement import signal_to_noise
from fastconv.errors import ArgumentError, DTypeError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, GraphBuilder

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


def network(seed: int = 0) -> Graph:
    """A first convolution, one with a normalisation, one of 8 groups, and three products."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    constants = {
        "a": normal(64, 3, 3, 3), "b": normal(64, 64, 3, 3), "depthwise": normal(64, 1, 3, 3),
        "scale": normal(64), "shift": normal(64), "mean": normal(64), "var": np.ones(64, np.float32),
        "c": normal(64, 32), "d": normal(16, 32), "bias": normal(16), "e": normal(16, 5),
    }  # fmt: skip
    b = GraphBuilder("net", constants)
    y = b.add("Conv", b.input("x", ("batch", 3, 12, 12)), "a", name="stem")
    y = b.add("Conv", b.add("Relu", y), "b", name="middle")
    y = b.add("BatchNormalization", y, "scale", "shift", "mean", "var")
    y = b.add("Conv", y, "depthwise", group=64, name="channels")
    y = b.add("MatMul", b.add("Flatten", b.add("GlobalAveragePool", y)), "c", name="one")
    y = b.add("Gemm", y, "d", "bias", transB=1, name="two")
    b.output(b.add("MatMul", y, "e", name="head"), "y", ("batch", 5))
    return b.build()


def images(count: int = 3) -> Array:
    return np.random.default_rng(1).standard_normal((count, 3, 12, 12)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), alpha=st.floats(0, 3))
def test_no_sign_and_scale_are_nearer(seed: int, alpha: float) -> None:
    """The definition of BWN: alpha * sign(W) with the least squared error, filter by filter."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((9, 12)).astype(np.float32)
    b = GraphBuilder("net", {"w": w})
    b.output(b.add("Gemm", b.input("x", ("batch", 12)), "w", transB=1))
    graph = binarize(b.build(), exclude=()).graph
    signs, scale = (graph.constants[name] for name in graph.nodes[0].inputs[:2])
    assert set(np.unique(signs)) <= {-1, 1}
    found = signs * scale[:, None].astype(np.float64)
    error = np.square(found - w).sum(1)
    other = alpha * rng.choice([-1, 1], w.shape)
    assert (error <= np.square(other - w).sum(1) + 1e-6).all()
    assert (error <= np.square(alpha * np.sign(w) - w).sum(1) + 1e-6).all()


@pytest.mark.parametrize("suffix", [".onnx", ".fcz", ".fcm"])
def test_files_have_the_same_weights_and_few_bytes(suffix: str, tmp_path: Path) -> None:
    result = binarize(network())
    path = tmp_path / f"net{suffix}"
    if suffix == ".fcm":
        result.model().save(path)
    else:
        result.save(path)
    x = images()
    np.testing.assert_array_equal(fastconv.load(path)(x), result.model()(x))
    kept = [layer.name for layer in result.layers if not layer.kept]
    assert kept == ["middle", "one", "two"]
    binary = [layer for layer in result.layers if not layer.kept]
    floats = sum(layer.before for layer in result.layers if layer.kept)
    assert all(layer.after <= layer.weights / 8 + 700 for layer in binary)  # scales, tables of codes
    if suffix == ".fcz":
        assert path.stat().st_size < floats + sum(layer.after for layer in binary) + 9000


def test_the_report_says_what_of_the_weights_is_left() -> None:
    graph = network()
    result = binarize(graph, data=images())
    by_name = {layer.name: layer for layer in result.layers}
    assert by_name["stem"].kept == by_name["head"].kept == "excluded"
    assert by_name["channels"].kept == "its filters read fewer than 8 channels"
    w = graph.constants["c"]
    nearest = np.sign(w) * np.abs(w).mean(0, keepdims=True)
    assert by_name["one"].snr == pytest.approx(signal_to_noise(w, nearest), abs=1e-4)
    (output,) = result.outputs
    expected, got = fastconv.Model(graph)(images()), result.model()(images())
    assert output.snr == pytest.approx(signal_to_noise(expected, got), abs=1e-3)


def exact_network() -> Graph:
    """A network whose sums are exact in f32: no sign depends on a rounding."""
    rng = np.random.default_rng(0)

    def halves(*shape: int) -> Array:
        return rng.choice(np.float32([-0.5, 0.5]), shape)

    constants = {
        "a": halves(64, 3, 1, 1),
        "b": halves(64, 64, 3, 3),
        "c": halves(64, 32),
        "d": halves(16, 32),
    }
    b = GraphBuilder("net", {**constants, "bias": halves(16), "e": halves(16, 5)})
    y = b.add("Conv", b.add("Conv", b.input("x", ("batch", 3, 10, 10)), "a"), "b")
    y = b.add("MatMul", b.add("Flatten", b.add("GlobalAveragePool", y)), "c")
    b.output(b.add("MatMul", b.add("Gemm", y, "d", "bias", transB=1), "e"), "y", ("batch", 5))
    return b.build()


@pytest.mark.parametrize("suffix", [".onnx", ".fcz"])
def test_layers_that_read_signs_run_on_bits(suffix: str, tmp_path: Path) -> None:
    x = np.random.default_rng(2).integers(-3, 4, (3, 3, 10, 10)).astype(np.float32)
    result = binarize(exact_network(), inputs=True)
    assert [node.op for node in result.graph.nodes].count("Sign") == 3
    result.save(tmp_path / f"net{suffix}")
    model = fastconv.load(tmp_path / f"net{suffix}")
    assert model.explain(x.shape).count(" xnor ") == 3
    np.testing.assert_array_equal(model(x), fastconv.Model(result.graph, passes="none")(x))


def test_scales_take_the_size_of_what_is_read() -> None:
    graph, x = network(), images()
    without, with_data = (binarize(graph, inputs=True, data=data) for data in (None, x))
    expected = fastconv.Model(graph)(x)
    (output,) = with_data.outputs
    assert not without.outputs
    assert output.snr > signal_to_noise(expected, without.model()(x))


def test_signs_that_are_there_stay() -> None:
    """Of a network that was trained with signs the weights alone change."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((16, 32, 3, 3)).astype(np.float32)
    b = GraphBuilder("net", {"w": w})
    b.output(b.add("Conv", b.add("Sign", b.input("x", ("n", 32, 8, 8))), "w"))
    x = rng.standard_normal((2, 32, 8, 8)).astype(np.float32)
    result = binarize(b.build(), inputs=True, exclude=(), data=x)
    assert [node.op for node in result.graph.nodes] == ["Sign", "DequantizeLinear", "Conv"]
    scale = next(
        a for a in result.graph.constants.values() if a.shape == (16,) and a.dtype == np.float32 and a.any()
    )
    np.testing.assert_allclose(scale, np.abs(w).mean((1, 2, 3)), rtol=1e-6)


def test_weights_that_others_read_stay() -> None:
    rng = np.random.default_rng(0)
    b = GraphBuilder("net", {"w": rng.standard_normal((16, 16)).astype(np.float32)})
    y = b.add("Gemm", b.input("x", ("n", 16)), "w")
    b.output(b.add("Gemm", y, "w", transB=1))
    (layer,) = binarize(b.build(), exclude=()).layers
    assert layer.kept == "others read its weights, or it is transposed"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to_file(network(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", images())
    out = tmp_path / "net.fcz"
    command = ["binarize", str(tmp_path / "net.onnx"), "-o", str(out), "--data", str(tmp_path / "x.npy")]
    assert main([*command, "--inputs", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["file_bytes"] == out.stat().st_size
    assert [layer["kept"] for layer in record["layers"]].count("") == 3
    assert main([*command, "--exclude", "Conv"]) == 0
    said = capsys.readouterr().out
    assert said.count("signs") == 3
    assert "SNR" in said
    assert main([*command, "--exclude", "none"]) == 2
    assert "exclude: expected layers by name" in capsys.readouterr().err


def test_bad_arguments(mobile: Callable[..., Graph]) -> None:
    graph = mobile()
    with pytest.raises(DTypeError, match="inputs: expected True or False"):
        binarize(graph, inputs="yes")  # type: ignore[arg-type]
    name = next(node for node in graph.nodes if node.op == "Conv").inputs[1]
    graph.constants[name][0, 0, 0, 0] = np.nan
    with pytest.raises(ArgumentError, match="expected finite weights"):
        binarize(graph)
