"""The one list of layer shapes: what tests check and benchmarks time, by the name of the network.

``CONV_TABLES["resnet50"]`` is the tuple of that network's distinct convolutions in execution order, each with
the number of times it occurs; ``GEMM_TABLES["squares"]`` likewise for matrix products. A new table is one
more entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True)
class ConvLayer:
    """A convolution of one image: its geometry and how often its network runs it.

    Attributes
    ----------
    name : str
        Unique within its table, such as ``"64>64@56 k3"``.
    ic, oc : int
        Input and output channels.
    size, kernel : tuple of int
        Input size in pixels and kernel size, one number for each spatial dimension.
    stride, dilation, groups : int
        As in :func:`fastconv.conv2d`, the same in every dimension; dilation 1 is dense.
    padding : tuple of int
        All lows, then all highs: top, left, bottom, right. None where empty.
    transposed : bool
        Whether the layer upsamples, as :func:`fastconv.conv_transpose2d`.
    output_padding : int
        Of a transposed layer.
    count : int
        How many layers of the network have this geometry.
    """

    name: str
    ic: int
    oc: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: tuple[int, ...] = ()
    dilation: int = 1
    groups: int = 1
    transposed: bool = False
    output_padding: int = 0
    count: int = 1

    @property
    def spatial(self) -> int:
        """Spatial dimensions."""
        return len(self.size)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one NCHW image."""
        return (1, self.ic, *self.size)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of the OIHW weights; those of a transposed layer are IOHW."""
        outer, inner = (self.ic, self.oc) if self.transposed else (self.oc, self.ic)
        return (outer, inner // self.groups, *self.kernel)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Low and high padding of each dimension."""
        padding = self.padding or (0,) * (2 * self.spatial)
        return tuple(zip(padding[: self.spatial], padding[self.spatial :], strict=True))

    @property
    def out(self) -> tuple[int, ...]:
        """Output size in pixels."""
        spans = tuple(self.dilation * (k - 1) + 1 for k in self.kernel)
        edges = tuple(low + high for low, high in self.pads)
        if self.transposed:
            return tuple(
                (n - 1) * self.stride + span + self.output_padding - edge
                for n, span, edge in zip(self.size, spans, edges, strict=True)
            )
        return tuple(
            (n + edge - span) // self.stride + 1
            for n, span, edge in zip(self.size, spans, edges, strict=True)
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, those with padding included (FLOPs are twice as many)."""
        pixels = math.prod(self.size if self.transposed else self.out)
        return pixels * self.oc * self.ic // self.groups * math.prod(self.kernel)

    @property
    def kwargs(self) -> dict[str, object]:
        """The keyword arguments of fastconv's function that make this layer."""
        options: dict[str, object] = {
            "stride": self.stride,
            "padding": self.padding or 0,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        return options | ({"output_padding": self.output_padding} if self.transposed else {})

    def resized(self, *size: int) -> ConvLayer:
        """Return the same layer on an image of another size."""
        return replace(self, size=size)


@dataclass(frozen=True)
class GemmShape:
    """A matrix product C[m, n] = A[m, k] B[k, n]."""

    m: int
    n: int
    k: int

    @property
    def name(self) -> str:
        """``"64x3136x576"``."""
        return f"{self.m}x{self.n}x{self.k}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates (FLOPs are twice as many)."""
        return self.m * self.n * self.k


def _layer(
    ic: int,
    oc: int,
    size: int | tuple[int, ...],
    kernel: int | tuple[int, ...] = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    padding: str = "half",
    transposed: bool = False,
    output_padding: int = 0,
    count: int = 1,
) -> ConvLayer:
    """Square images unless said; padding "half" is k // 2 all around, "same" TensorFlow's, "valid" none."""
    rank = len(kernel) if isinstance(kernel, tuple) else 2
    sizes = (size,) * rank if isinstance(size, int) else size
    kernels = (kernel,) * rank if isinstance(kernel, int) else kernel

    def pads(n: int, k: int) -> tuple[int, int]:
        span = dilation * (k - 1)
        if padding == "half":
            return span // 2, span // 2
        if padding == "valid":
            return 0, 0
        total = max((-(-n // stride) - 1) * stride + span + 1 - n, 0)
        return total // 2, total - total // 2

    edges = [pads(n, k) for n, k in zip(sizes, kernels, strict=True)]
    name = f"{ic}>{oc}@" + "x".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))
    name += " k" + "x".join(map(str, kernels if len(set(kernels)) > 1 or rank > 2 else kernels[:1]))
    name += f" s{stride}" if stride > 1 else ""
    name += f" d{dilation}" if dilation > 1 else ""
    name += f" g{groups}" if groups > 1 else ""
    name += " transposed" if transposed else ""
    half = all(edge == (dilation * (k - 1) // 2,) * 2 for edge, k in zip(edges, kernels, strict=True))
    name += "" if half else f" {padding}"
    lows, highs = zip(*edges, strict=True)
    return ConvLayer(
        name, ic, oc, sizes, kernels, stride, (*lows, *highs), dilation, groups, transposed,
        output_padding, count,
    )  # fmt: skip


def _depthwise(
    channels: int, size: int, kernel: int = 3, stride: int = 1, *, padding: str = "half", count: int = 1
) -> ConvLayer:
    return _layer(channels, channels, size, kernel, stride, groups=channels, padding=padding, count=count)


def _distinct(layers: Iterable[ConvLayer]) -> tuple[ConvLayer, ...]:
    """Merge layers of equal geometry, adding their counts, in the order of their first occurrence."""
    merged: dict[str, ConvLayer] = {}
    for layer in layers:
        seen = merged.get(layer.name)
        merged[layer.name] = layer if seen is None else replace(seen, count=seen.count + layer.count)
    return tuple(merged.values())


def _bottleneck_net(*, groups: int = 1, width: int = 1) -> Iterator[ConvLayer]:
    """ResNet-50 v1.5 (the stride is on the 3x3, as in torchvision); `width` widens the 3x3 as in ResNeXt."""
    yield _layer(3, 64, 224, 7, 2)
    ic, size = 64, 56
    for planes, blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        inner, oc = planes * width, planes * 4
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            yield _layer(ic, inner, size)
            yield _layer(inner, inner, size, 3, stride, groups=groups)
            if block == 0:
                yield _layer(ic, oc, size, 1, stride)
            size //= stride
            yield _layer(inner, oc, size)
            ic = oc


# Stages of networks made of inverted residuals: kernel, expanded channels, output channels, stride.
_Stages = tuple[tuple[int, int, int, int], ...]


def _stages(*rows: tuple[int, int, int, int, int], ic: int) -> _Stages:
    """Expand the rows (kernel, expansion factor, output channels, repeats, stride) of the papers' tables."""
    stages = []
    for kernel, factor, oc, repeats, stride in rows:
        for i in range(repeats):
            stages.append((kernel, ic * factor, oc, stride if i == 0 else 1))
            ic = oc
    return tuple(stages)


def _inverted_residual_net(
    stem: int, stages: _Stages, head: int, *, padding: str = "half"
) -> Iterator[ConvLayer]:
    """Expand by 1x1, filter each channel by kxk, project by 1x1 (MobileNet V2, section 3.3)."""
    yield _layer(3, stem, 224, 3, 2, padding=padding)
    ic, size = stem, 112
    for kernel, expanded, oc, stride in stages:
        if expanded != ic:
            yield _layer(ic, expanded, size)
        yield _depthwise(expanded, size, kernel, stride, padding=padding)
        size //= stride
        yield _layer(expanded, oc, size)
        ic = oc
    yield _layer(ic, head, size)


def _mobilenet_v1() -> Iterator[ConvLayer]:
    yield _layer(3, 32, 224, 3, 2)
    ic, size = 32, 112
    for oc, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ):
        yield _depthwise(ic, size, 3, stride)
        size //= stride
        yield _layer(ic, oc, size)
        ic = oc


def _shufflenet_v2() -> Iterator[ConvLayer]:
    yield _layer(3, 24, 224, 3, 2)
    ic, size = 24, 56
    for branch, blocks in ((58, 4), (116, 8), (232, 4)):
        yield _depthwise(ic, size, 3, 2)
        yield _layer(ic, branch, size // 2)
        yield _layer(ic, branch, size)
        yield _depthwise(branch, size, 3, 2)
        size //= 2
        yield _layer(branch, branch, size)
        yield _layer(branch, branch, size, count=2 * (blocks - 1))
        yield _depthwise(branch, size, count=blocks - 1)
        ic = 2 * branch
    yield _layer(464, 1024, 7)


def _shufflenet_v1() -> Iterator[ConvLayer]:
    """Yield the grouped 1x1 convolutions of ShuffleNet V1 with 3 groups, and the depthwise ones."""
    for channels, size, blocks in ((240, 28, 3), (480, 14, 7), (960, 7, 3)):
        inner = channels // 4
        yield _layer(channels, inner, size, groups=3, count=blocks)
        yield _depthwise(inner, size, count=blocks)
        yield _layer(inner, channels, size, groups=3, count=blocks)


def _squeezenet() -> Iterator[ConvLayer]:
    """SqueezeNet 1.1: fire modules of a squeezing 1x1, and expanding 1x1 and 3x3."""
    yield _layer(3, 64, 224, 3, 2, padding="valid")
    for ic, squeeze, expand, size in (
        *((64, 16, 64, 55), (128, 16, 64, 55), (128, 32, 128, 27), (256, 32, 128, 27)),
        *((256, 48, 192, 13), (384, 48, 192, 13), (384, 64, 256, 13), (512, 64, 256, 13)),
    ):
        yield _layer(ic, squeeze, size)
        yield _layer(squeeze, expand, size)
        yield _layer(squeeze, expand, size, 3)
    yield _layer(512, 1000, 13)


def _vgg16() -> Iterator[ConvLayer]:
    for widths, size in (
        ((3, 64, 64), 224),
        ((64, 128, 128), 112),
        ((128, 256, 256, 256), 56),
        ((256, 512, 512, 512), 28),
        ((512, 512, 512, 512), 14),
    ):
        for ic, oc in pairwise(widths):
            yield _layer(ic, oc, size, 3)


_INCEPTION_V3 = (  # the kinds that ResNet lacks: no padding, odd sizes, 5x5, 1x7 and 7x1, 1x3 and 3x1
    _layer(3, 32, 299, 3, 2, padding="valid"),
    _layer(32, 32, 149, 3, padding="valid"),
    _layer(32, 64, 147, 3),
    _layer(64, 80, 73),
    _layer(80, 192, 73, 3, padding="valid"),
    _layer(192, 64, 35),
    _layer(48, 64, 35, 5),
    _layer(64, 96, 35, 3, count=4),
    _layer(96, 96, 35, 3, count=3),
    _layer(288, 384, 35, 3, 2, padding="valid"),
    _layer(96, 96, 35, 3, 2, padding="valid"),
    _layer(128, 128, 17, (1, 7), count=2),
    _layer(128, 192, 17, (7, 1)),
    _layer(160, 160, 17, (1, 7), count=4),
    _layer(160, 160, 17, (7, 1), count=4),
    _layer(192, 192, 17, (1, 7), count=4),
    _layer(192, 192, 17, (7, 1), count=4),
    _layer(192, 320, 17, 3, 2, padding="valid"),
    _layer(384, 384, 8, (1, 3), count=4),
    _layer(384, 384, 8, (3, 1), count=4),
    _layer(448, 384, 8, 3, count=2),
)

_DEEPBENCH = (  # speech, text in the wild, and two GoogLeNet layers of the inference set
    _layer(1, 32, (161, 700), (20, 5), 2, padding="valid"),
    _layer(1, 16, (48, 480), 3),
    _layer(192, 32, 28, 5),
    _layer(832, 128, 7, 5),
)

_SINGLES = (  # one layer of each kind: what a quick comparison with other libraries runs
    _layer(3, 64, 224, 7, 2),
    _layer(64, 64, 56),
    _layer(64, 64, 56, 3),
    _layer(64, 256, 56),
    _layer(128, 128, 28, 3),
    _layer(256, 256, 14, 3),
    _layer(512, 512, 7, 3),
    _layer(1024, 256, 14),
    _layer(2048, 512, 7),
    _layer(256, 512, 56, 1, 2),
    _layer(128, 128, 56, 3, 2),
    _depthwise(32, 112),
    _depthwise(64, 112, 3, 2),
    _depthwise(128, 56),
    _depthwise(512, 14),
    _depthwise(1024, 7),
    _depthwise(576, 14, 5),
    _layer(128, 128, 56, 3, groups=32),
    _layer(256, 256, 28, 3, groups=8),
)

# Table 2 of MobileNet V2; B0 of EfficientNet's table 1, without squeeze-and-excite; table 1 of MobileNet V3.
_MOBILENET_V2 = _stages(
    *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (3, 6, 32, 3, 2), (3, 6, 64, 4, 2)),
    *((3, 6, 96, 3, 1), (3, 6, 160, 3, 2), (3, 6, 320, 1, 1)),
    ic=32,
)
_EFFICIENTNET_LITE0 = _stages(
    *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2)),
    *((5, 6, 112, 3, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)),
    ic=32,
)
_MOBILENET_V3: _Stages = (
    *((3, 16, 16, 1), (3, 64, 24, 2), (3, 72, 24, 1), (5, 72, 40, 2), (5, 120, 40, 1), (5, 120, 40, 1)),
    *((3, 240, 80, 2), (3, 200, 80, 1), (3, 184, 80, 1), (3, 184, 80, 1), (3, 480, 112, 1)),
    *((3, 672, 112, 1), (5, 672, 160, 2), (5, 960, 160, 1), (5, 960, 160, 1)),
)

CONV_TABLES: dict[str, tuple[ConvLayer, ...]] = {
    "singles": _SINGLES,
    "resnet50": _distinct(_bottleneck_net()),
    "resnext50": _distinct(_bottleneck_net(groups=32, width=2)),
    "mobilenet_v1": _distinct(_mobilenet_v1()),
    "mobilenet_v2": _distinct(_inverted_residual_net(32, _MOBILENET_V2, 1280)),
    "mobilenet_v3": _distinct(_inverted_residual_net(16, _MOBILENET_V3, 960)),
    "efficientnet_lite0": _distinct(_inverted_residual_net(32, _EFFICIENTNET_LITE0, 1280, padding="same")),
    "shufflenet_v1": _distinct(_shufflenet_v1()),
    "shufflenet_v2": _distinct(_shufflenet_v2()),
    "squeezenet": _distinct(_squeezenet()),
    "vgg16": _distinct(_vgg16()),
    "inception_v3": _INCEPTION_V3,
    "deepbench": _DEEPBENCH,
}


def _where(wanted: Callable[[ConvLayer], bool], *tables: str) -> tuple[ConvLayer, ...]:
    """Collect the distinct layers of some tables that are of a kind."""
    layers = (replace(layer, count=1) for table in tables for layer in CONV_TABLES[table])
    return tuple({layer.name: layer for layer in layers if wanted(layer)}.values())


_MOBILE = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "efficientnet_lite0")

# Kinds of layers, wherever they occur.
CONV_TABLES |= {
    "depthwise": _where(lambda layer: layer.groups == layer.ic, *_MOBILE),
    # Two filters a channel, holes, and the large kernels of ConvNeXt.
    "depthwise_odd": (
        *(_layer(c, 2 * c, n, 3, groups=c) for c, n in ((32, 112), (128, 56), (512, 14))),
        *(_layer(c, c, n, 3, dilation=2, groups=c) for c, n in ((64, 56), (256, 28), (512, 14))),
        *(_layer(c, c, n, 7, groups=c) for c, n in ((96, 56), (192, 28), (384, 14), (768, 7))),
    ),
    # ResNeXt-50's, ShuffleNet V1's, and 4 and 8 channels a group.
    "grouped": (
        *_where(lambda layer: 1 < layer.groups < layer.ic, "resnext50", "shufflenet_v1"),
        *(_layer(c, c, n, 3, groups=c // 4) for c, n in ((64, 56), (256, 28))),
        *(_layer(c, c, n, 3, groups=c // 8) for c, n in ((128, 56), (512, 14))),
    ),
    "odd_channels": _where(
        lambda layer: layer.kernel == (1, 1) and (layer.ic % 16 > 0 or layer.oc % 16 > 0),
        *("shufflenet_v2", "mobilenet_v2", "squeezenet"),
    ),
    "stems": _where(lambda layer: layer.ic == 3 and layer.stride == 2, "resnet50", *_MOBILE, "inception_v3"),
    # Upsampling as in DCGAN and U-Net, the holes of DeepLab, Inception's long kernels, video.
    "misc": (
        _layer(512, 256, 8, 4, 2, transposed=True),
        _layer(128, 64, 32, 4, 2, transposed=True),
        _layer(256, 128, 28, 2, 2, transposed=True),
        _layer(64, 64, 56, 3, 2, transposed=True, output_padding=1),
        _layer(256, 256, 28, 3, dilation=2),
        _layer(512, 512, 28, 3, dilation=4),
        *_where(lambda layer: 7 in layer.kernel and 1 in layer.kernel, "inception_v3"),
        _layer(32, 64, (16, 56, 56), (3, 3, 3)),
        _layer(64, 64, (8, 28, 28), (3, 3, 3)),
        _layer(64, 64, (8, 56, 56), (1, 3, 3)),
    ),
}

GEMM_TABLES: dict[str, tuple[GemmShape, ...]] = {
    "squares": tuple(GemmShape(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)),
    # Channel-major products of convolutions (M = output channels, N = pixels).
    "channel_major": tuple(
        GemmShape(m, n, k)
        for m, n, k in (
            *((64, 3136, 64), (64, 3136, 576), (256, 3136, 64), (512, 196, 1024)),
            *((2048, 49, 512), (512, 49, 4608)),
        )
    ),
    # A matrix-vector product, a narrow one, a shallow one, a deep one, and two of ResNet-50's, pixels first.
    "skinny": tuple(
        GemmShape(m, n, k)
        for m, n, k in (
            *((1, 4096, 4096), (4096, 32, 4096), (10000, 64, 10), (100, 100, 10000)),
            *((3136, 64, 576), (12544, 64, 147)),
        )
    ),
    # ResNet-50's convolutions as products of pixels (M) by output channels (N).
    "resnet50": tuple(
        GemmShape(math.prod(layer.out), layer.oc, layer.ic * math.prod(layer.kernel))
        for layer in _distinct(_bottleneck_net())
    ),
}
# The eighteen of every kind, so that one geometric mean speaks for the matrix product.
GEMM_TABLES["mixed"] = sum((GEMM_TABLES[kind] for kind in ("squares", "channel_major", "skinny")), ())
