"""Torch modules are counted and profiled as models are, so that users of thop or torchstat can switch."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError, DTypeError, MissingPackageError
from fastconv.models import MODELS

pytestmark = [pytest.mark.torch]


@pytest.fixture
def module() -> Any:
    nn = pytest.importorskip("torch").nn
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10)
    return nn.Sequential(*layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_counts_are_thops_and_the_architectures(name: str, torchvision: Any) -> None:
    torch, thop = pytest.importorskip("torch"), pytest.importorskip("thop")
    net = getattr(torchvision.models, name)(weights=None)
    x = torch.zeros(1, 3, 224, 224)
    counted = fastconv.count(net, x)
    assert net.training
    no_products = torch.nn.BatchNorm2d, torch.nn.MaxPool2d, torch.nn.AdaptiveAvgPool2d
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        uncounted = dict.fromkeys(no_products, lambda *_: None)
        macs, params = thop.profile(net.eval(), (x,), custom_ops=uncounted, verbose=False)
    assert (counted.params, counted.totals["macs"]) == (params, macs)
    ours = fastconv.count(MODELS[name](MODELS[name].random_weights()), (1, 3, 224, 224))
    assert counted.totals == ours.totals


def test_an_example_or_its_shape(module: Any) -> None:
    torch = pytest.importorskip("torch")
    shape = (2, 3, 8, 8)
    by_shape = fastconv.count(module, shape)
    assert by_shape.totals["macs"] == 2 * (64 * 8 * 27 + 512 * 10)
    assert by_shape.params == sum(p.numel() for p in module.parameters())
    for example in (torch.zeros(shape), np.zeros(shape, np.float32), list(shape)):
        assert fastconv.count(module, example) == by_shape


def test_profile_runs_a_module(module: Any) -> None:
    torch = pytest.importorskip("torch")
    found = fastconv.profile(module, torch.randn(1, 3, 8, 8), threads=1, seconds=0.05)
    assert [layer.macs for layer in found.layers if layer.macs] == [64 * 8 * 27, 512 * 10]
    assert found.totals["ms"] > 0
    assert module.training


@pytest.mark.parametrize("function", [fastconv.count, fastconv.profile])
def test_what_is_no_module_or_has_no_shape(function: Any, module: Any) -> None:
    with pytest.raises(DTypeError, match=r"model: expected a Model or a torch\.nn\.Module, got str"):
        function("resnet50")
    with pytest.raises(ArgumentError, match="shapes: expected the input shapes, which a torch module"):
        function(module)
    with pytest.raises(ArgumentError, match="example: expected what Sequential can be called with"):
        function(module, (1, 3, 9, 9))


def test_torch_may_be_missing(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackageError, match="PyTorch is needed"):
        fastconv.count(module, (1, 3, 8, 8))
