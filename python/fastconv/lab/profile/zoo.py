"""Published figures of classic networks, to hold counts against.

Parameters and multiply-accumulates at the networks' own image size, as torchvision's documentation lists
them or, where torchvision has no such network, as the paper does: to as many digits as are printed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastconv.lab.profile.layers import Count
from fastconv.lab.profile.measure import count
from fastconv.models import MODELS


@dataclass(frozen=True)
class Published:
    """Parameters in millions (if printed) and multiply-accumulates in thousands of millions, and where."""

    params: float | None
    gmacs: float
    source: str


_TORCHVISION = "torchvision's documentation (its GFLOPS are multiply-accumulates)"

#: By the names of :mod:`fastconv.models`.
PUBLISHED: dict[str, Published] = {
    "alexnet": Published(61.10, 0.71, _TORCHVISION),
    "vgg16": Published(138.36, 15.47, _TORCHVISION),
    "vgg19": Published(143.67, 19.63, _TORCHVISION),
    "googlenet": Published(6.62, 1.50, _TORCHVISION),
    "inception_v3": Published(27.16, 5.71, f"{_TORCHVISION}; the parameters with the auxiliary head's 3.3 M"),
    "resnet18": Published(11.69, 1.81, _TORCHVISION),
    "resnet34": Published(21.80, 3.66, _TORCHVISION),
    "resnet50": Published(25.56, 4.09, _TORCHVISION),
    "resnet101": Published(44.55, 7.80, _TORCHVISION),
    "resnet152": Published(60.19, 11.51, _TORCHVISION),
    "resnext50_32x4d": Published(25.03, 4.23, _TORCHVISION),
    "squeezenet1_0": Published(1.25, 0.82, _TORCHVISION),
    "squeezenet1_1": Published(1.24, 0.35, _TORCHVISION),
    "mobilenet_v1": Published(4.2, 0.569, "Howard et al., arXiv:1704.04861, table 8"),
    "mobilenet_v2": Published(3.50, 0.30, _TORCHVISION),
    "mobilenet_v3_large": Published(5.48, 0.22, _TORCHVISION),
    "mobilenet_v3_small": Published(2.54, 0.06, _TORCHVISION),
    "shufflenet_v1": Published(
        None, 0.137, "Zhang et al., arXiv:1707.01083, table 1 (g = 3), which has no parameters"
    ),
    "shufflenet_v2_x1_0": Published(2.28, 0.14, _TORCHVISION),
}


def zoo() -> Iterator[tuple[str, Count, Published]]:
    """Count every classic network with random weights.

    Yields
    ------
    name : str
        As in :mod:`fastconv.models`.
    counted : Count
        One image of the network's own size.
    published : Published
        What is known of it.

    Examples
    --------
    >>> name, counted, published = next(zoo())
    >>> abs(counted.params / 1e6 - published.params) < 0.01
    True
    """
    for name, published in PUBLISHED.items():
        if name in MODELS:
            architecture = MODELS[name]
            model = architecture(architecture.random_weights())
            yield name, count(model, (1, 3, architecture.size, architecture.size)), published
