"""Results that are stored as bf16, because whoever reads them would round them to it.

A convolution of bf16 begins with rounding its input, a pass over memory. Where that is what all readers of a
tensor do, and the convolutions that write it can round what they store, they do: the tensor takes half the
bytes, and the pass is gone. Numbers are rounded once in either case, so not a bit of the results differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastconv.graph.context import Buffer, Step
from fastconv.graph.value import BF16, Tensor


def store_bf16(steps: Sequence[Step], buffers: Sequence[Buffer]) -> tuple[list[Step], list[Buffer]]:
    """Return the steps, not bound yet, and their buffers with what may be bf16 as such."""
    read, written, wide = set(), set(), set()
    for step in steps:
        x = step.inputs[0] if step.inputs else None
        if x is not None and _reads(step):
            read.add(x.buffer)
            others = step.inputs[1:]
        else:
            others = step.inputs
        if _stores(step):
            written.add(step.output.buffer)
        else:
            others = (*others, step.output)
        wide |= {t.buffer for t in (*others, *step.params) if isinstance(t, Tensor)}
    narrow = {i for i in read & written - wide if buffers[i].kind == "arena"}

    def stored(tensor: Tensor) -> Tensor:
        return replace(tensor, dtype=BF16) if tensor.buffer in narrow else tensor

    narrowed = [
        step._replace(inputs=tuple(t and stored(t) for t in step.inputs), output=stored(step.output))
        for step in steps
    ]
    return narrowed, [replace(b, dtype=BF16) if i in narrow else b for i, b in enumerate(buffers)]


def _reads(step: Step) -> bool:
    """Whether a step's first input may be bf16, with the same bits as its result."""
    x = step.inputs[0]
    return step.kind == "conv" and x is not None and step.params[0].reads_bf16(x.shape)


def _stores(step: Step) -> bool:
    """Whether a step can round what it stores. A sum takes its residual's place, as f32."""
    if step.kind != "conv":
        return False
    x, residual = step.inputs
    return x is not None and residual is None and step.params[0].stores_bf16(x.shape)
