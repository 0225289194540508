"""What type checkers must say of a caller's code: mypy holds the marks of errors to those that it finds.

An ``ignore`` where there is nothing to ignore is an error of its own (``warn_unused_ignores``).
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastconv

Array = NDArray[np.float32]


class Tensor:
    """An array of another library."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return None

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def right(x: Array, w: Array, tensor: Tensor) -> None:
    """Take arrays of any library and lists; give back what came."""
    assert_type(fastconv.conv2d(x, w, padding="same", layout="NHWC", activation=("leaky_relu", 0.1)), Array)
    assert_type(fastconv.conv2d([[[[1.0]]]], w.tolist(), [1, 2], precision="exact"), Array)
    assert_type(fastconv.conv2d(tensor, tensor, padding_mode="circular"), Tensor)
    assert_type(fastconv.Conv2d(w, padding=(1, 1), layout="NCHW")(tensor), Tensor)
    assert_type(fastconv.max_pool2d(x, 2, layout="NHWC"), Array)
    assert_type(fastconv.interpolate(x, scale_factor=2, mode="bilinear"), Array)


def wrong(x: Array, w: Array) -> None:
    """Refuse what is no array and no known name."""
    fastconv.conv2d("hello", w)  # type: ignore[arg-type]
    fastconv.conv2d(x, 3)  # type: ignore[arg-type]
    fastconv.conv2d(x, w, "bias")  # type: ignore[arg-type]
    fastconv.conv2d(x, w, padding="sane")  # type: ignore[arg-type]
    fastconv.conv2d(x, w, layout="NHCW")  # type: ignore[arg-type]
    fastconv.conv2d(x, w, activation="rulu")  # type: ignore[arg-type]
    fastconv.conv2d(x, w, precision="exactly")  # type: ignore[arg-type]
    fastconv.load("net.onnx", precision="exactly")  # type: ignore[arg-type]
    fastconv.conv2d(x, w, padding_mode="mirror")  # type: ignore[arg-type]
    fastconv.conv1d(x, w, layout="NCHW")  # type: ignore[arg-type]
    fastconv.Conv2d(w, layout="NHCW")  # type: ignore[arg-type]
    fastconv.Conv3d("hello")  # type: ignore[arg-type]
    fastconv.Conv2d(w)("hello")  # type: ignore[arg-type]
    fastconv.relu("hello")  # type: ignore[arg-type]
    fastconv.max_pool2d(x, 2, layout="NCW")  # type: ignore[arg-type]
    fastconv.gemm(x, "hello")  # type: ignore[arg-type]
    fastconv.interpolate(x, 2, mode="linear")  # type: ignore[arg-type]
    fastconv.qconv2d(x, w, layout="NWC")  # type: ignore[arg-type]
