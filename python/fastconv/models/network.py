"""Models: :class:`Net`, a graph written layer by layer together with the shapes its weights must have.

Called by the model definitions (resnet.py, mobilenet.py ...), which know nothing of the weights but their
shapes: the definition states what every key must look like, :meth:`Net.graph` then holds a file against that
and names each key that is missing, unexpected or of another shape. No kernels and no arithmetic here: fusing
and folding are the graph's passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fastconv.errors import ModelError
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.importers.tensors import Weights

Shapes = Mapping[str, tuple[int, ...]]

_LISTED = 5  # keys of each kind that an error names


def dim(shapes: Shapes, key: str, axis: int, default: int) -> int:
    """Return one dimension of a weight, ``default`` if the weight is missing or has another rank."""
    shape = shapes.get(key, ())
    return (shape[axis] or default) if axis < len(shape) else default


@dataclass(frozen=True)
class Feature:
    """A value of the graph and the number of its channels."""

    value: str
    channels: int


class Net:
    """A network under construction: nodes in a :class:`GraphBuilder`, and the shape of each weight by key.

    Parameters
    ----------
    name
        Of the graph; error messages start with it.
    in_channels
        Channels of the input image.
    epsilon
        Of every batch normalisation.
    same_padding
        Pad like TensorFlow's SAME (asymmetrically where the stride is 2) instead of (kernel - 1) / 2 all
        round.
    """

    def __init__(
        self, name: str, *, in_channels: int = 3, epsilon: float = 1e-5, same_padding: bool = False
    ) -> None:
        self.name = name
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._epsilon = epsilon
        self._same_padding = same_padding
        self._builder = GraphBuilder(name, {})
        self.input = Feature(
            self._builder.input("input", ("batch", in_channels, "height", "width")), in_channels
        )

    def conv_bn(
        self,
        x: Feature,
        conv: str,
        bn: str,
        oc: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> Feature:
        """Add a convolution without bias, and batch normalisation; ``conv`` and ``bn`` are their keys."""
        weight = self._weight(f"{conv}.weight", (oc, x.channels // groups, kernel, kernel))
        pad = (kernel - 1) // 2
        padding = {"auto_pad": "SAME_UPPER"} if self._same_padding and pad else {"pads": [pad] * 4}
        y = self._builder.add(
            "Conv",
            x.value,
            weight,
            name=conv,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            group=groups,
            **padding,
        )
        statistics = [
            self._weight(f"{bn}.{part}", (oc,)) for part in ("weight", "bias", "running_mean", "running_var")
        ]
        y = self._builder.add("BatchNormalization", y, *statistics, name=bn, epsilon=self._epsilon)
        return Feature(y, oc)

    def relu(self, x: Feature) -> Feature:
        """Add max(x, 0)."""
        return Feature(self._builder.add("Relu", x.value), x.channels)

    def relu6(self, x: Feature) -> Feature:
        """Add min(max(x, 0), 6)."""
        low = self._builder.constant("relu6.min", np.asarray(0, np.float32))
        high = self._builder.constant("relu6.max", np.asarray(6, np.float32))
        return Feature(self._builder.add("Clip", x.value, low, high), x.channels)

    def add(self, x: Feature, y: Feature) -> Feature:
        """Add the sum of a residual connection."""
        return Feature(self._builder.add("Add", x.value, y.value), x.channels)

    def max_pool(self, x: Feature, kernel: int, stride: int) -> Feature:
        """Add max pooling, padded by (kernel - 1) / 2 all round."""
        y = self._builder.add(
            "MaxPool",
            x.value,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[(kernel - 1) // 2] * 4,
        )
        return Feature(y, x.channels)

    def classifier(self, x: Feature, key: str, num_classes: int) -> None:
        """Add global average pooling and a fully connected layer; its result is the graph's output."""
        weight = self._weight(f"{key}.weight", (num_classes, x.channels))
        bias = self._weight(f"{key}.bias", (num_classes,))
        y = self._builder.add("Flatten", self._builder.add("GlobalAveragePool", x.value))
        y = self._builder.add("Gemm", y, weight, bias, name=key, transB=1)
        self._builder.output(y, shape=("batch", num_classes))

    def graph(self, weights: Weights) -> Graph:
        """Return the graph with its weights.

        Raises
        ------
        ModelError
            If a key is missing, unexpected (other than ``num_batches_tracked``), not of the expected shape,
            or not floating-point; the message names up to five keys of each kind.
        """
        shapes = weights.shapes
        missing = [key for key in self.shapes if key not in shapes]
        extra = [key for key in shapes if key not in self.shapes and not key.endswith("num_batches_tracked")]
        wrong = [
            f"{key}: expected shape {shape}, got {shapes[key]}"
            for key, shape in self.shapes.items()
            if key in shapes and shapes[key] != shape
        ]
        problems = [
            text + _some(keys)
            for text, keys in (("", wrong), ("missing keys: ", missing), ("unexpected keys: ", extra))
            if keys
        ]
        if problems:
            raise ModelError(f"{self.name}: {'; '.join(problems)} (in {weights.source})")
        for key in self.shapes:
            array = weights[key]
            if array.dtype != np.float32:
                raise ModelError(f"{self.name}: {key}: expected a floating-point array, got {array.dtype}")
            self._builder.constant(key, array)
        return self._builder.build()

    def _weight(self, key: str, shape: tuple[int, ...]) -> str:
        self.shapes[key] = shape
        return key


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
