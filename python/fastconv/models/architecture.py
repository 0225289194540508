"""Models: :class:`Architecture`, the type of a row of the table in ``fastconv.models``.

A row is called with weights and returns a runnable model; it also knows the input size and the preprocessing
that the published weights of that architecture were trained with.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import integer, shown
from fastconv._files import path_of
from fastconv.errors import ArgumentError, FastconvError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.importers.graph_file import GraphFile
from fastconv.importers.weights import Source, read_weights
from fastconv.models.network import Net, Shapes
from fastconv.models.preprocess import Images, preprocess


@dataclass(frozen=True)
class Architecture:
    """A network that a set of weights turns into a model.

    Called as ``architecture(weights, num_classes=None)``: ``weights`` is a path to a ``.pth``,
    ``.safetensors`` or ``.npz`` file or to a folder of ``.npy`` files, a file's bytes, or a mapping from key
    to array; ``num_classes`` is checked
    if given, otherwise taken from the weights, as is the width where the architecture comes in several.
    Returns a :class:`fastconv.graph.model.Model`; raises :class:`fastconv.errors.ModelError`, which names
    the keys, if one is missing, unexpected or of the wrong shape. Counters such as ``num_batches_tracked``
    are ignored. Of a checkpoint, that set of arrays is taken of which most fit, without what wrappers such
    as DataParallel put before the names.

    Parameters
    ----------
    name
        The name in ``fastconv.models``.
    define
        The definition: shapes of the weights and number of classes -> :class:`Net`.
    keys
        Whose key names the weights have; "fastconv" where there are no others (see the definition).
    size, mean, std
        Height and width of the input, and what makes it of RGB values in 0 ... 255: (x - mean) / std.
    crop, resample
        Share of the shorter side that the centre crop keeps, and the filter of the resizing before it.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> model = resnet18(resnet18.random_weights(num_classes=10))
    >>> model(np.zeros((1, 3, 64, 64), np.float32)).shape
    (1, 10)
    """

    name: str
    define: Callable[[Shapes, int | None], Net] = field(repr=False)
    keys: str
    size: int = 224
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    crop: float = 0.875
    resample: str = "bilinear"

    def __call__(self, weights: Source | None = None, *, num_classes: int | None = None) -> Model:
        """Return a runnable model of weights, which have no default."""
        if weights is None:
            raise ArgumentError(
                f"weights: expected a file or arrays, got None; {self.name}.random_weights() draws some"
            )
        read = partial(self.graph, num_classes=num_classes)
        if isinstance(weights, str | os.PathLike):
            return Model(GraphFile(read, path_of(weights, "weights")))
        return Model(partial(read, weights))

    def graph(self, weights: Source, *, num_classes: int | None = None) -> Graph:
        """Return the graph with its weights, before any pass; takes and raises what a call does."""
        if num_classes is not None:
            num_classes = integer("num_classes", num_classes, 1)
        arrays = read_weights(weights, fitting=partial(self.fitting, num_classes=num_classes))
        return self.define(arrays.shapes, num_classes).graph(arrays)

    def fitting(self, shapes: Shapes, *, num_classes: int | None = None) -> int:
        """Return how many of these shapes of weights, by key, are those of the network."""
        try:
            expected = self.define(shapes, num_classes).shapes
        except FastconvError:  # of a width that there is none of
            return 0
        return sum(shapes.get(key) == shape for key, shape in expected.items())

    def preprocess(self, images: Images) -> npt.NDArray[np.float32]:
        """Make the network's input of one or several images; see :func:`fastconv.models.preprocess`."""
        return preprocess(
            images, self.size, mean=self.mean, std=self.std, crop=self.crop, resample=self.resample
        )

    def random_weights(self, *, num_classes: int = 1000, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Return weights drawn at random, scaled so that activations neither vanish nor overflow.

        Parameters
        ----------
        num_classes
            Rows of the classifier.
        seed
            Of numpy's default generator: the same seed gives the same weights.

        Returns
        -------
        dict
            Every key with a float32 array, in the order of the layers.
        """
        num_classes = integer("num_classes", num_classes, 1)
        try:
            rng = np.random.default_rng(operator.index(seed))
        except Exception:  # no integer, or one below 0
            raise ArgumentError(f"seed: expected an integer of at least 0, got {shown(seed)}") from None
        weights: dict[str, npt.NDArray[Any]] = {}
        for key, shape in self.define({}, num_classes).shapes.items():
            if len(shape) > 1:  # He et al., arXiv:1502.01852
                fan_in = np.prod(shape[1:])
                weights[key] = rng.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
            elif key.endswith(("bias", "running_mean")):
                weights[key] = rng.standard_normal(shape, np.float32) * np.float32(0.1)
            else:
                weights[key] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        return weights
