"""torch as a peer runs any network of a file: node by node, or as the module that onnx2torch makes of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.errors import MissingPackageError
from fastconv.graph.ir import Graph, GraphBuilder

pytestmark = pytest.mark.torch
X = np.random.default_rng(2).standard_normal((2, 3, 12, 12), dtype=np.float32)


def network(*, plain: bool) -> Graph:
    """A small network, with operators beyond those that are run node by node if it is not plain."""
    rng = np.random.default_rng(1)
    b = GraphBuilder("small", {})
    w = b.constant("w", rng.standard_normal((8, 3, 3, 3), dtype=np.float32))
    y = b.add("Conv", b.input("x", ("batch", 3, 12, 12)), w, pads=[1, 1, 1, 1])
    if plain:
        y = b.add("Relu", y)
    else:
        y = b.add("Concat", b.add("HardSwish", y), b.add("LeakyRelu", y, alpha=0.1), axis=1)
    b.output(b.add("GlobalAveragePool", y), shape=("batch", 8 if plain else 16, 1, 1))
    return b.build()


def written(graph: Graph, folder: Path) -> Path:
    pytest.importorskip("onnx")
    from fastconv.exporters.onnx import to_proto

    path = folder / "small.onnx"
    path.write_bytes(to_proto(graph, {"x": X.shape}).SerializeToString())
    return path


def need(package: str) -> None:
    """Skip where a package is not installed; to import it here may take what the engine does before."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("plain", [True, False])
def test_any_network_runs(plain: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from fastconv.lab.compare.engines import torch_engine

    if not plain:
        need("onnx2torch")
    graph = network(plain=plain)
    module = torch_engine.module_of(written(graph, tmp_path))
    with torch.inference_mode():
        y = module(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(y, fastconv.Model(graph)(X), rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    need("torchvision")
    from fastconv.lab.compare.engines import torch_engine

    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(MissingPackageError, match="running Concat, HardSwish, LeakyRelu in torch needs"):
        torch_engine.module_of(written(network(plain=False), tmp_path))
