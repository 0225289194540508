"""low_rank: two layers that compute what one did, as nearly as their rank allows, where they are faster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
import small_networks
from fastconv.cli import main
from fastconv.compress import low_rank
from fastconv.compress import low_rank as package_function
from fastconv.compress.agreement import signal_to_noise
from fastconv.errors import ArgumentError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import GraphBuilder

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second form offered be the fastest, and each faster than the layer: no clock decides a test."""
    import sys

    module = sys.modules[package_function.__module__]
    monkeypatch.setattr(module, "in_turns", lambda models, _feeds: [10.0, *range(len(models) - 1, 0, -1)])


def of_rank(rng: np.random.Generator, form: str, shape: tuple[int, ...], rank: int) -> Array:
    """Weights that one of the forms has exactly."""
    n, c, height, width = shape
    if form == "spatial":
        w = np.einsum("nrj,rci->ncij", rng.standard_normal((n, rank, width)),
                      rng.standard_normal((rank, c, height)))  # fmt: skip
    else:
        w = np.einsum("nr,rcij->ncij", rng.standard_normal((n, rank)),
                      rng.standard_normal((rank, c, height, width)))  # fmt: skip
    return (w / 10).astype(np.float32)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"pads": [1, 2, 0, 1]},
    {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 1, 1, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("attrs", CONVOLUTIONS)
@pytest.mark.parametrize("form", ["channels", "spatial"])
def test_a_convolution_of_low_rank_is_two(form: str, attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    b = GraphBuilder("net", {"w": of_rank(rng, form, (24, 16, 3, 5), 4), "b": np.float32(rng.random(24))})
    b.output(
        b.add("Conv", b.input("x", ("batch", 16, 11, 12)), "w", "b", name="c", **attrs),
        shape=("batch", 24, None, None),
    )
    graph = b.build()
    result = low_rank(graph, error=1e-3, forms=[form])
    (layer,) = result.layers
    assert (layer.split, layer.form, layer.rank) == (True, form, 4)
    assert layer.macs[1] < layer.macs[0]
    first, second = (node for node in result.graph.nodes if node.op == "Conv")
    taps = {"channels": ((3, 5), (1, 1)), "spatial": ((3, 1), (1, 5))}[form]
    assert tuple(result.graph.constants[node.inputs[1]].shape[2:] for node in (first, second)) == taps
    x = rng.standard_normal((2, 16, 11, 12)).astype(np.float32)
    assert signal_to_noise(fastconv.Model(graph)(x), result.model()(x)) > 80


@pytest.mark.parametrize(
    "node",
    [
        lambda b, x: b.add("Gemm", x, "w", "b", name="p", alpha=0.5, beta=2.0),
        lambda b, x: b.add("Gemm", x, "wt", "b", name="p", transB=1),
        lambda b, x: b.add("MatMul", x, "w", name="p"),
    ],
)
def test_a_product_of_low_rank_is_two(node: Callable[[GraphBuilder, str], str]) -> None:
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))).astype(np.float32)
    b = GraphBuilder("net", {"w": w, "wt": np.ascontiguousarray(w.T), "b": np.float32(rng.random(30))})
    b.output(node(b, b.input("x", ("batch", 40))), shape=("batch", 30))
    graph = b.build()
    result = low_rank(graph, error=1e-3)
    assert [(layer.form, layer.rank) for layer in result.layers] == [("channels", 3)]
    x = rng.standard_normal((5, 40)).astype(np.float32)
    assert signal_to_noise(fastconv.Model(graph)(x), result.model()(x)) > 80


def test_the_error_is_that_of_the_best_matrix_of_its_rank() -> None:
    """By numpy's singular values; the least rank within the error is taken."""
    w = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    b = GraphBuilder("net", {"w": w})
    b.output(b.add("Conv", b.input("x", (1, 16, 8, 8)), "w", name="c"), shape=(1, 32, 6, 6))
    sizes = np.linalg.svd(w.reshape(32, -1).astype(np.float64), compute_uv=False)
    lost = [float(np.sqrt(np.square(sizes[rank:]).sum() / np.square(sizes).sum())) for rank in range(33)]
    (layer,) = low_rank(b.build(), rank=9, forms=["channels"]).layers
    assert layer.rank == 9
    assert layer.error == pytest.approx(lost[9], rel=1e-6)
    (layer,) = low_rank(b.build(), error=0.6, forms=["channels"]).layers
    assert lost[layer.rank] <= 0.6 < lost[layer.rank - 1]


def test_what_is_not_faster_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules[package_function.__module__]
    monkeypatch.setattr(module, "in_turns", lambda models, _feeds: [1.0] * len(models))
    graph = small_networks.unet()
    result = low_rank(graph, rank=2, shapes=[(1, 3, 32, 32)])
    assert not any(layer.split for layer in result.layers)
    assert any(layer.form for layer in result.layers)
    assert [node.op for node in result.graph.nodes] == [
        node.op for node in low_rank(graph, rank=1000, shapes=[(1, 3, 32, 32)]).graph.nodes
    ]


def test_by_error_the_fastest_and_by_rank_the_nearest_is_taken() -> None:
    w = of_rank(np.random.default_rng(0), "channels", (32, 16, 3, 3), 4)
    b = GraphBuilder("net", {"w": w})
    b.output(b.add("Conv", b.input("x", (1, 16, 8, 8)), "w", name="c"), shape=(1, 32, 6, 6))
    assert low_rank(b.build(), error=0.5).layers[0].form == "spatial"  # the second, which is the fastest
    assert low_rank(b.build(), rank=4).layers[0].form == "channels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "error, rank: expected one"),
        ({"error": 0.1, "rank": 3}, "error, rank: expected one"),
        ({"error": 1.0}, "error: expected a share"),
        ({"error": float("nan")}, "error"),
        ({"rank": 0}, "rank"),
        ({"rank": 3, "forms": ["cp"]}, "forms: expected some of"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        low_rank(small_networks.unet(), **options)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, thin = tmp_path / "net.onnx", tmp_path / "thin.onnx"
    to_file(small_networks.unet(), model)
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    command = ["low-rank", str(model), "-o", str(thin), "--input-shape", "1,3,32,32"]
    assert main([*command, "--error", "0.3", "--data", str(tmp_path / "x.npy"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert any(layer["split"] for layer in record["layers"])
    assert record["outputs"][0]["snr"] > 5
    assert fastconv.load(thin)(x).shape == fastconv.load(model)(x).shape
    assert main([*command, "--rank", "4"]) == 0
    assert "million MACs" in capsys.readouterr().out
    assert main([*command, "--error", "2"]) == 2
