"""Fixtures of the model tests: torch's reference networks, how to randomise them and how to compare."""

from __future__ import annotations

import copy
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconv.testing.tolerance import assert_within


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


@pytest.fixture
def image() -> Any:
    """Return a batch of two small images, as a tensor."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    return torch.randn(2, 8, 12, 10)


@pytest.fixture(scope="session")
def do() -> Any:
    """Return the class of modules that call a function with their parts and the input, or two."""
    torch = pytest.importorskip("torch")

    class Do(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, function: Any, *parts: Any) -> None:
            super().__init__()
            self.parts, self.function = torch.nn.ModuleList(parts), function

        def forward(self, x: Any, y: Any = None) -> Any:
            return self.function(*self.parts, *((x,) if y is None else (x, y)))

    return Do


def leaves(torch: Any, value: Any) -> list[Any]:
    """Return the tensors of nested results."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value or ()
    return [leaf for part in parts for leaf in leaves(torch, part)]


@pytest.fixture(scope="session")
def assert_equal() -> Any:
    """Return a function that holds a model's outputs against those of a module in float64."""
    torch = pytest.importorskip("torch")

    def compare(model: Any, module: Any, *inputs: Any) -> None:
        exact = copy.deepcopy(module).double().eval()
        with torch.no_grad():
            expected = [y.numpy() for y in leaves(torch, exact(*(x.double() for x in inputs)))]
        outputs = model(*(x.numpy() for x in inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert len(outputs) == len(expected)
        for got, e in zip(outputs, expected, strict=True):
            # What rounding to float32 may amount to in a network, of the largest output.
            assert_within(got, e, 2e-5 * float(np.abs(e).max()))

    return compare
