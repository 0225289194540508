"""Fixtures of the model tests: torch's reference networks, and how to randomise them."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest

_TORCHVISION_OPS = [
    "nms",
    "qnms",
    "roi_align",
    "_roi_align_backward",
    "roi_pool",
    "_roi_pool_backward",
    "ps_roi_align",
    "_ps_roi_align_backward",
    "ps_roi_pool",
    "_ps_roi_pool_backward",
    "deform_conv2d",
    "_deform_conv2d_backward",
]


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Return torchvision; a wheel built for CUDA imports on a CPU once the names of its operators exist."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except ImportError:
            pytest.skip("torchvision is not installed")
        except RuntimeError:
            library = torch.library.Library("torchvision", "DEF")
            for name in _TORCHVISION_OPS:
                library.define(f"{name}() -> ()")
            import torchvision

            torchvision.operator_names = library  # they live as long as the library object
    return torchvision


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
