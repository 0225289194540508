"""What the sweeps over threads and sizes time: products and layers, of floats or of 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.conv import Conv2d
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case, conv_arrays, gemm_arrays
from fastconv.lab.compare.layer_work import executed_macs
from fastconv.lab.profile.executed import OUTPUTS
from fastconv.ops.qgemm import PackedIntegers, qgemm
from fastconv.qconv import QConv2d
from fastconv.testing.shapes import ConvLayer, GemmShape

Work = ConvLayer | GemmShape
Array = np.ndarray[Any, Any]
DTYPES = ("f32", "int8")
# Weights as training leaves them: few neighbours are large together.
STANDARD_DEVIATION = 30


@dataclass(frozen=True)
class Prepared:
    """A product, or a layer, NHWC and planned, on arrays made now.

    Attributes
    ----------
    call : callable
        Computes it.
    executed_flops : float
        The operations that are really done, two for each multiply-add.
    arithmetic : str
        Whose peak they are held against: ``f32``, ``int8`` or ``int16``.
    working_set : int
        Bytes of all operands, the weights as they are given.
    """

    call: Callable[[], object]
    executed_flops: float
    arithmetic: str
    working_set: int


def prepare(work: Work, batch: int = 1, dtype: str = "f32") -> Prepared:
    """Make the arrays of a product or a layer, and plan it."""
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    case = Case.of(work)
    if isinstance(work, GemmShape):
        a, b = gemm_arrays(case)
        if dtype == "f32":
            y = np.empty((work.m, work.n), np.float32)

            def call() -> None:
                _core.gemm(a, b, None, y, 1.0, 0.0, None, "none", 0.0, 0.0)
        else:
            a, b, y = _activations(a), _weights(b), np.empty((work.m, work.n), np.int32)
            packed = PackedIntegers(b)

            def call() -> None:
                qgemm(a, packed, out=y)

        return Prepared(call, 2.0 * work.macs, dtype, a.nbytes + b.nbytes + y.nbytes)
    return _layer(work, case, batch, dtype)


def _layer(work: ConvLayer, case: Case, batch: int, dtype: str) -> Prepared:
    x, w, bias = conv_arrays(case)
    options: dict[str, Any] = work.kwargs
    pixels = np.repeat(np.ascontiguousarray(np.moveaxis(x, 1, -1)), batch, axis=0)
    conv: Conv2d | QConv2d
    if dtype == "f32":
        out: Any = np.float32
        conv = Conv2d(w, bias, **options, layout="NHWC")
    else:
        pixels, w, out = _activations(pixels), _weights(w), np.uint8
        scales: dict[str, Any] = {"x_scale": 1 / 64, "w_scale": 1 / 128, "out_scale": 1 / 8}
        conv = QConv2d(w, **scales, out_dtype=out, **options, layout="NHWC")
    y = np.empty(conv.out_shape(pixels.shape), out)
    algorithm = conv.algorithm_for(pixels.shape)
    arithmetic = "int16" if dtype == "int8" and algorithm in OUTPUTS else dtype
    return Prepared(
        lambda: conv(pixels, out=y),
        2.0 * batch * executed_macs(work, algorithm),
        arithmetic,
        pixels.nbytes + w.nbytes + y.nbytes,
    )


def _activations(x: Array) -> Array:
    numbers: Array = np.rint(x * 40 + 128).clip(0, 255).astype(np.uint8)
    return numbers


def _weights(w: Array) -> Array:
    numbers: Array = np.rint(w / w.std() * STANDARD_DEVIATION).clip(-127, 127).astype(np.int8)
    return numbers
