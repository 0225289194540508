"""Fast convolutions for the CPU: kernels, and an executor that runs real networks on them.

``fastconv.conv2d`` and its kin take numpy arrays and mean what ``torch.nn.functional`` means;
``fastconv.Conv2d`` is a convolution planned once; ``fastconv.load`` runs an ONNX model, ``fastconv.models``
weights of known architectures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastconv import _interpreter  # noqa: F401  (refuses to be imported in a subinterpreter)

try:
    from fastconv import _core
except ImportError as error:  # a source tree without the compiled module, or one for another Python
    raise ImportError(
        "fastconv: the compiled module fastconv._core is missing; run 'pip install .' in the source tree, "
        "and start Python outside of it"
    ) from error

from fastconv._config import show_config
from fastconv._threads import get_num_threads, set_num_threads, threads
from fastconv.conv import Conv2d
from fastconv.errors import (
    ArgumentError,
    DTypeError,
    FastconvError,
    MemoryLimitError,
    MissingPackageError,
    ModelError,
    ShapeError,
    UnsupportedOpError,
)
from fastconv.ops.activation import (
    gelu,
    hardsigmoid,
    hardswish,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from fastconv.ops.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from fastconv.ops.conv import (
    algorithms,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from fastconv.ops.gemm import gemm, linear, matmul
from fastconv.ops.norm import batch_norm, group_norm, instance_norm, layer_norm
from fastconv.ops.pool import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool2d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from fastconv.ops.qconv import qconv1d, qconv2d, qconv3d
from fastconv.ops.qgemm import PackedIntegers, qgemm
from fastconv.ops.resize import interpolate
from fastconv.ops.sample import grid_sample, pixel_shuffle, pixel_unshuffle
from fastconv.ops.xnor import xnor_conv2d
from fastconv.planned import Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastconv.qconv import QConv2d
from fastconv.xnor import XnorConv2d

if TYPE_CHECKING:
    from fastconv import models
    from fastconv.compress import optimize, quantize
    from fastconv.graph.model import Model
    from fastconv.importers import from_torch, load
    from fastconv.lab.profile import count, profile

__version__: str = _core.__version__

__all__ = [
    "ArgumentError",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DTypeError",
    "FastconvError",
    "MemoryLimitError",
    "MissingPackageError",
    "Model",
    "ModelError",
    "PackedIntegers",
    "QConv2d",
    "ShapeError",
    "UnsupportedOpError",
    "XnorConv2d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "algorithms",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "count",
    "from_torch",
    "gelu",
    "gemm",
    "get_num_threads",
    "global_avg_pool2d",
    "grid_sample",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "leaky_relu",
    "linear",
    "load",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "models",
    "optimize",
    "pixel_shuffle",
    "pixel_unshuffle",
    "profile",
    "qconv1d",
    "qconv2d",
    "qconv3d",
    "qgemm",
    "quantize",
    "relu",
    "relu6",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
    "threads",
    "xnor_conv2d",
]


def __getattr__(name: str) -> Any:
    # The graph layer costs imports that a caller of conv2d does not need: it comes when first asked for.
    if name in ("from_torch", "load"):
        from fastconv import importers

        return getattr(importers, name)
    if name in ("optimize", "quantize"):
        from fastconv import compress

        return getattr(compress, name)
    if name == "Model":
        from fastconv.graph import model

        return model.Model
    if name in ("count", "profile"):
        from fastconv.lab import profile

        return getattr(profile, name)
    if name == "models":
        import fastconv.models

        return fastconv.models
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
