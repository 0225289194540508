"""Counts beside those of the field's counters, each difference explained by its definition.

========== ==============================================================================================
fvcore     an FMA is one "flop": convolutions and linear layers have our MACs; others are counted apart
thop       the same, and 4 an element of a batch normalisation, 1 an input of a pooling
torchinfo  "mult-adds" are parameters times positions: biases are counted, and batch normalisations once
onnx-tool  biases are counted
========== ==============================================================================================
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pytest

from fastconv.models import MODELS
from fastconv.profiler import Count, count

NETWORKS = [
    "alexnet",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
]
pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(params=NETWORKS, scope="module")
def pair(request: pytest.FixtureRequest, torchvision: Any) -> tuple[Any, Count]:
    """A network as torchvision's module, and our count of the same architecture."""
    options = {"aux_logits": False, "init_weights": False} if request.param == "googlenet" else {}
    module = getattr(torchvision.models, request.param)(**options).eval()
    architecture = MODELS[request.param]
    return module, count(architecture(architecture.random_weights()), (1, 3, 224, 224))


def outputs_of(module: Any, modules: list[Any]) -> int:
    """Count the elements that some of a network's modules put out, by hooks."""
    torch = pytest.importorskip("torch")
    total = 0

    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel()

    handles = [m.register_forward_hook(hook) for m in modules]
    with torch.no_grad():
        module(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    return total


def test_fvcore(pair: tuple[Any, Count]) -> None:
    torch, nn = pytest.importorskip("torch"), pytest.importorskip("fvcore.nn")
    module, counted = pair
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = nn.FlopCountAnalysis(module, torch.zeros(1, 3, 224, 224))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_operator = analysis.by_operator()
    assert by_operator["conv"] + by_operator["linear"] == counted.totals["macs"]


def test_torchinfo(pair: tuple[Any, Count]) -> None:
    torch, torchinfo = pytest.importorskip("torch"), pytest.importorskip("torchinfo")
    module, counted = pair
    summary = torchinfo.summary(module, input_data=torch.zeros(1, 3, 224, 224), verbose=0)
    assert summary.total_params == counted.params
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    biased = [m for m in module.modules() if isinstance(m, layers) and m.bias is not None]
    extra = summary.total_mult_adds - counted.totals["macs"] - outputs_of(module, biased)
    assert 0 <= extra <= 2 * sum(m.num_features for m in module.modules() if hasattr(m, "num_features"))


def test_thop(pair: tuple[Any, Count]) -> None:
    torch, thop = pytest.importorskip("torch"), pytest.importorskip("thop")
    module, counted = pair
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        macs, params = thop.profile(module, (torch.zeros(1, 3, 224, 224),), verbose=False)
    assert params == counted.params
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    extra = macs - counted.totals["macs"] - 4 * outputs_of(module, norms)
    assert 0 <= extra <= 0.01 * counted.totals["macs"]  # poolings


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_onnx_tool(name: str) -> None:
    onnx_tool = pytest.importorskip("onnx_tool")
    from fastconv.exporters.onnx import to_proto

    architecture = MODELS[name]
    weights = architecture.random_weights()
    shape = (1, 3, 224, 224)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model = onnx_tool.Model(to_proto(architecture.graph(weights), {"input": shape}))
        model.graph.shape_infer({"input": np.zeros(shape, np.float32)})
        model.graph.profile()
    macs = sum(node.macs[0] for node in model.graph.nodemap.values() if node.op_type in ("Conv", "Gemm"))
    counted = count(architecture(weights), shape)
    added = sum(
        int(np.prod(layer.output))
        for layer in counted.layers
        if layer.macs and (name == "squeezenet1_1" or (layer.op == "conv" and len(layer.output) == 2))
    )
    assert macs == counted.totals["macs"] + added  # biases: of all convolutions, or of the classifier alone
