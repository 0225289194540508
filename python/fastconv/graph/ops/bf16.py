"""Layers whose inputs a file rounds to bf16, as the pass ``use_bf16`` writes them.

Their weights are numbers of bf16 already. The kernels for bf16 round the other input as they read it. Where
the planner takes another algorithm, that input is rounded in a step of its own, and the layer computes in
f32: the same function but for the order of sums.
"""

from __future__ import annotations

import functools
from typing import Any

from fastconv.graph.context import Context
from fastconv.graph.ops.cast import element_type
from fastconv.graph.ops.conv import conv
from fastconv.graph.ops.linear import gemm, matmul
from fastconv.graph.registry import FASTCONV_DOMAIN, OpFunction, op
from fastconv.graph.value import F32, Value

BFLOAT16 = 16  # ONNX's number


def _of_bf16(function: OpFunction) -> OpFunction:
    """Return a layer's function, of the same signature, whose first input is rounded."""

    @functools.wraps(function)
    def lower(ctx: Context, x: Value, *others: Value | None, **attrs: Any) -> Value | tuple[Value, ...]:
        if x.dtype != F32:  # from other types it is rounded once, not by way of f32
            x = ctx.cast(ctx.cast(x, element_type("to", BFLOAT16)), F32)
        with ctx.rounding():
            return function(ctx, x, *others, **attrs)

    return lower


op("Bf16Conv", FASTCONV_DOMAIN)(_of_bf16(conv))
op("Bf16Gemm", FASTCONV_DOMAIN)(_of_bf16(gemm))
op("Bf16MatMul", FASTCONV_DOMAIN)(_of_bf16(matmul))
