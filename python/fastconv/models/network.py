"""Models: :class:`Net`, a graph written layer by layer together with the shapes its weights must have.

Called by the model definitions (resnet.py, mobilenet.py ...), which know nothing of the weights but their
shapes: the definition states what every key must look like, :meth:`Net.graph` then holds a file against that
and names each key that is missing, unexpected or of another shape. No kernels and no arithmetic here: fusing
and folding are the graph's passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastconv.errors import ModelError
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.importers.tensors import COUNTERS, Weights

Shapes = Mapping[str, tuple[int, ...]]
Kernel = int | tuple[int, int]  # height and width, or both in one

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


class Misfits(NamedTuple):
    """What keeps weights from being a network's: shapes that differ (as text), and keys."""

    wrong: list[str]
    missing: list[str]
    unexpected: list[str]


class Net:
    """A network under construction: nodes in a :class:`GraphBuilder`, and the shape of each weight by key.

    Parameters
    ----------
    name
        Of the graph; error messages start with it.
    in_channels
        Channels of the input image.
    size
        Height and width that the image must have; None takes any.
    epsilon
        Of every batch normalisation.
    same_padding
        Pad like TensorFlow's SAME (asymmetrically where the stride is 2) instead of (kernel - 1) / 2 all
        round.
    ignored
        How the keys begin that weights may have besides: those of parts that serve training alone.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        size: int | None = None,
        epsilon: float = 1e-5,
        same_padding: bool = False,
        ignored: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._epsilon = epsilon
        self._same_padding = same_padding
        self._ignored = ignored
        self._builder = GraphBuilder(name, {})
        height, width = ("height", "width") if size is None else (size, size)
        self.input = Feature(self._builder.input("input", ("batch", in_channels, height, width)), in_channels)

    # -- layers with weights ---------------------------------------------------------------------------------

    def conv(
        self,
        x: Feature,
        key: str,
        oc: int,
        kernel: Kernel = 1,
        *,
        stride: int = 1,
        pad: int | None = None,
        groups: int = 1,
        bias: bool = True,
    ) -> Feature:
        """Add a convolution, padded by (kernel - 1) / 2 all round unless ``pad`` says how much."""
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        inputs = [self._weight(f"{key}.weight", (oc, x.channels // groups, kh, kw))]
        if bias:
            inputs.append(self._weight(f"{key}.bias", (oc,)))
        ph, pw = ((kh - 1) // 2, (kw - 1) // 2) if pad is None else (pad, pad)
        same = self._same_padding and (ph or pw)
        padding: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if same else {"pads": [ph, pw, ph, pw]}
        y = self._builder.add(
            "Conv",
            x.value,
            *inputs,
            name=key,
            kernel_shape=[kh, kw],
            strides=[stride, stride],
            group=groups,
            **padding,
        )
        return Feature(y, oc)

    def batch_norm(self, x: Feature, key: str) -> Feature:
        """Add batch normalisation."""
        parts = ("weight", "bias", "running_mean", "running_var")
        statistics = [self._weight(f"{key}.{part}", (x.channels,)) for part in parts]
        y = self._builder.add("BatchNormalization", x.value, *statistics, name=key, epsilon=self._epsilon)
        return Feature(y, x.channels)

    def conv_bn(
        self,
        x: Feature,
        conv: str,
        bn: str,
        oc: int,
        kernel: Kernel = 1,
        *,
        stride: int = 1,
        pad: int | None = None,
        groups: int = 1,
    ) -> Feature:
        """Add a convolution without bias, and batch normalisation; ``conv`` and ``bn`` are their keys."""
        y = self.conv(x, conv, oc, kernel, stride=stride, pad=pad, groups=groups, bias=False)
        return self.batch_norm(y, bn)

    def linear(self, x: Feature, key: str, oc: int) -> Feature:
        """Add a fully connected layer of a flat feature."""
        weight, bias = self._weight(f"{key}.weight", (oc, x.channels)), self._weight(f"{key}.bias", (oc,))
        return Feature(self._builder.add("Gemm", x.value, weight, bias, name=key, transB=1), oc)

    def classifier(self, x: Feature, key: str, num_classes: int) -> None:
        """Add global average pooling and a fully connected layer; its result is the graph's output."""
        self.output(self.linear(self.flatten(self.global_average_pool(x)), key, num_classes))

    # -- functions of each element ---------------------------------------------------------------------------

    def relu(self, x: Feature) -> Feature:
        """Add max(x, 0)."""
        return Feature(self._builder.add("Relu", x.value), x.channels)

    def relu6(self, x: Feature) -> Feature:
        """Add min(max(x, 0), 6)."""
        low = self._builder.constant("relu6.min", np.asarray(0, np.float32))
        high = self._builder.constant("relu6.max", np.asarray(6, np.float32))
        return Feature(self._builder.add("Clip", x.value, low, high), x.channels)

    def hard_sigmoid(self, x: Feature) -> Feature:
        """Add relu6(x + 3) / 6."""
        return Feature(self._builder.add("HardSigmoid", x.value, alpha=1 / 6, beta=0.5), x.channels)

    def hard_swish(self, x: Feature) -> Feature:
        """Add x * relu6(x + 3) / 6."""
        return Feature(self._builder.add("HardSwish", x.value), x.channels)

    def add(self, x: Feature, y: Feature) -> Feature:
        """Add the sum of a residual connection."""
        return Feature(self._builder.add("Add", x.value, y.value), x.channels)

    def multiply(self, x: Feature, y: Feature) -> Feature:
        """Add the product of an image and what has its channels and one pixel, or as many."""
        return Feature(self._builder.add("Mul", x.value, y.value), x.channels)

    # -- pooling ---------------------------------------------------------------------------------------------

    def max_pool(
        self, x: Feature, kernel: int, stride: int, *, pad: int | None = None, ceil: bool = False
    ) -> Feature:
        """Add max pooling, padded as a convolution is; ``ceil`` keeps a last window that is not whole."""
        pad = (kernel - 1) // 2 if pad is None else pad
        return self._pool("MaxPool", x, kernel, stride, pads=[pad] * 4, ceil_mode=int(ceil))

    def average_pool(self, x: Feature, kernel: int, stride: int) -> Feature:
        """Add average pooling, padded by (kernel - 1) / 2 all round with zeros that count."""
        return self._pool("AveragePool", x, kernel, stride, pads=[(kernel - 1) // 2] * 4, count_include_pad=1)

    def global_average_pool(self, x: Feature) -> Feature:
        """Add the average of all pixels: an image of one pixel."""
        return Feature(self._builder.add("GlobalAveragePool", x.value), x.channels)

    def _pool(self, op: str, x: Feature, kernel: int, stride: int, **attrs: Any) -> Feature:
        y = self._builder.add(op, x.value, kernel_shape=[kernel, kernel], strides=[stride, stride], **attrs)
        return Feature(y, x.channels)

    # -- channels in another order or shape ------------------------------------------------------------------

    def concat(self, *parts: Feature) -> Feature:
        """Join images along channels."""
        y = self._builder.add("Concat", *(part.value for part in parts), axis=1)
        return Feature(y, sum(part.channels for part in parts))

    def channels(self, x: Feature, start: int, stop: int) -> Feature:
        """Take the channels from ``start`` to before ``stop``."""
        starts, ends, axes = self._ints(start), self._ints(stop), self._ints(1)
        return Feature(self._builder.add("Slice", x.value, starts, ends, axes), stop - start)

    def shuffle(self, x: Feature, groups: int) -> Feature:
        """Put the first channel of every group first, then the second of every group, and so on."""
        split = self._ints(0, groups, x.channels // groups, -1)  # the pixels as one: their number is open
        y = self._builder.add("Transpose", self._builder.add("Reshape", x.value, split), perm=[0, 2, 1, 3])
        shape = self._builder.add("Shape", x.value)
        return Feature(self._builder.add("Reshape", y, shape), x.channels)

    def flatten(self, x: Feature, pixels: int = 1) -> Feature:
        """Make an image of so many pixels one vector."""
        return Feature(self._builder.add("Flatten", x.value), x.channels * pixels)

    # -- the whole -------------------------------------------------------------------------------------------

    def output(self, x: Feature) -> None:
        """Make a flat feature the graph's output."""
        self._builder.output(x.value, shape=("batch", x.channels))

    def misfits(self, shapes: Shapes) -> Misfits:
        """Hold weights of these shapes against the network's."""
        return Misfits(
            wrong=[
                f"{key}: expected shape {shape}, got {shapes[key]}"
                for key, shape in self.shapes.items()
                if key in shapes and shapes[key] != shape
            ],
            missing=[key for key in self.shapes if key not in shapes],
            unexpected=[
                key
                for key in shapes
                if key not in self.shapes and not key.endswith(COUNTERS) and not key.startswith(self._ignored)
            ],
        )

    def graph(self, weights: Weights) -> Graph:
        """Return the graph with its weights.

        Raises
        ------
        ModelError
            If a key is missing, unexpected (other than counters such as ``num_batches_tracked`` and those
            that the definition ignores), not of the expected shape, or not floating-point; the message names
            up to five keys of each kind.
        """
        wrong, missing, unexpected = self.misfits(weights.shapes)
        problems = [
            text + _some(keys)
            for text, keys in (("", wrong), ("missing keys: ", missing), ("unexpected keys: ", unexpected))
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

    def _ints(self, *values: int) -> str:
        return self._builder.constant(f"ints {values}", np.asarray(values, np.int64))


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
