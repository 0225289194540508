"""Fixtures of the model tests: torch's reference networks, and how to randomise them."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def timm(torchvision: ModuleType) -> ModuleType:
    """Return timm, which imports torchvision."""
    assert torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("timm")


@pytest.fixture(scope="session")
def randomised() -> Any:
    """Return a function that seeds torch, builds a network and draws its batch-normalisation statistics."""
    torch = pytest.importorskip("torch")

    def build(make: Any, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        net = make()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.1)
                torch.nn.init.normal_(module.running_mean, 0, 0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        return net.eval()

    return build
