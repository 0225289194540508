"""What a case must give, computed in float64, and how many floating-point operations that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.graph.ir import Graph
from fastconv.lab.compare.cases import Case, conv_arrays, gemm_arrays
from fastconv.lab.compare.layer_work import padding_macs
from fastconv.lab.compare.network_files import files_of
from fastconv.lab.compare.walk import pads_of, walk
from fastconv.testing import reference

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Expected:
    """The float64 result (NCHW for a convolution) and its operations, a multiply-accumulate being two.

    Of these, `padding_flops` are with padding, and nobody needs to do them.
    """

    output: npt.NDArray[np.float64]
    flops: int
    padding_flops: int = 0


def expected(case: Case) -> Expected:
    """Compute a case in float64.

    >>> from fastconv.testing.shapes import GemmShape
    >>> expected(Case.of(GemmShape(2, 3, 4))).flops
    48
    """
    if case.kind == "gemm":
        a, b = gemm_arrays(case)
        return Expected(reference.gemm(a, b), 2 * case.gemm.macs)
    if case.kind in ("conv", "xnor"):
        x, w, bias = conv_arrays(case)
        options: dict[str, Any] = case.layer.kwargs
        conv = reference.conv_transpose if case.layer.transposed else reference.conv
        return Expected(conv(x, w, bias, **options), 2 * case.layer.macs, 2 * padding_macs(case.layer))
    files = files_of(case)
    return Expected(files.expected, files.flops)


def expected_graph(graph: Graph, x: Array) -> tuple[npt.NDArray[np.float64], int]:
    """Run a graph node by node in float64, counting the operations of convolutions and products."""
    flops = 0

    def count(op: str, inputs: tuple[Any, ...], y: Array) -> None:
        nonlocal flops
        if op == "Conv":
            flops += 2 * y.size * inputs[1][0].size
        elif op in ("Gemm", "MatMul"):
            flops += 2 * y.size * inputs[0].shape[-1]

    (output,) = walk(graph, {graph.inputs[0].name: x}, OPS, graph.constants, count)
    return np.asarray(output, np.float64), flops


def _conv(x: Array, w: Array, bias: Array | None = None, **attrs: Any) -> Array:
    return reference.conv(
        x,
        w,
        bias,
        stride=attrs.get("strides", 1),
        padding=pads_of(attrs, x.shape[2:], w.shape[2:]),
        dilation=attrs.get("dilations", 1),
        groups=attrs.get("group", 1),
    )


def _gemm(a: Array, b: Array, c: Array | None = None, **attrs: Any) -> Array:
    return reference.gemm(
        a,
        b,
        c,
        alpha=attrs.get("alpha", 1.0),
        beta=attrs.get("beta", 1.0),
        trans_a=bool(attrs.get("transA", 0)),
        trans_b=bool(attrs.get("transB", 0)),
    )


def _pool(pool: Callable[..., Array], **fixed: Any) -> Callable[..., Array]:
    def run(x: Array, *, kernel_shape: list[int], **attrs: Any) -> Array:
        return pool(
            x,
            kernel_shape,
            stride=attrs.get("strides", 1),
            padding=pads_of(attrs, x.shape[2:], kernel_shape),
            ceil_mode=bool(attrs.get("ceil_mode", 0)),
            **fixed,
        )

    return run


# The operators of the networks of fastconv.models that are timed; inputs are positional, attributes keywords.
OPS: Mapping[str, Callable[..., Array]] = {
    "Add": lambda a, b: np.asarray(a, np.float64) + b,
    "AveragePool": _pool(reference.avg_pool, count_include_pad=False),
    "BatchNormalization": lambda x, w, b, mean, var, epsilon=1e-5, **_: reference.batch_norm(
        x, mean, var, w, b, epsilon
    ),
    "Clip": lambda x, lo, hi: np.clip(x, lo, hi),
    "Conv": _conv,
    "Flatten": lambda x, axis=1: x.reshape(int(np.prod(x.shape[:axis])), -1),
    "Gemm": _gemm,
    "GlobalAveragePool": reference.global_avg_pool,
    "Identity": lambda x: x,
    "MatMul": lambda a, b: np.asarray(a, np.float64) @ b,
    "MaxPool": _pool(reference.max_pool),
    "Relu": lambda x: np.maximum(x, 0),
    "Reshape": lambda x, shape: x.reshape(shape),
    "Softmax": lambda x, axis=-1: reference.softmax(x, axis),
    "Transpose": lambda x, perm: x.transpose(perm),
}
