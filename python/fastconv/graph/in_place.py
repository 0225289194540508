"""Steps that write over an operand that nobody reads after: a residual, or an elementwise argument.

The result of ``conv(x) + r`` takes the place of ``r``: one buffer less is alive while the step runs, and what
it writes is in the cache, since it has just been read. All kernels read the residual of an element before
they write it, and write each element once; elementwise ones may have an operand as their result
(csrc/kernels/eltwise.inl.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastconv.graph.context import Buffer, Step
from fastconv.graph.memory import lifetimes_of
from fastconv.graph.steps import STEP_KINDS
from fastconv.graph.value import Tensor


def write_in_place(steps: Sequence[Step], buffers: Sequence[Buffer]) -> list[Step]:
    """Return the steps with the buffers of outputs replaced by those of operands that die there."""
    lives = lifetimes_of(steps, buffers)
    last = {buffer: life.last for buffer, life in lives.items()}
    place: dict[int, int] = {}  # of a buffer that another one stands for

    def moved(tensor: Tensor) -> Tensor:
        at = place.get(tensor.buffer)
        return tensor if at is None else replace(tensor, buffer=at)

    result = []
    for i, step in enumerate(steps):
        inputs = tuple(t if t is None else moved(t) for t in step.inputs)
        y = step.output
        if y.buffer not in place and _is_whole(y, buffers) and lives[y.buffer].first == i:
            for over in (inputs[i] for i in STEP_KINDS[step.kind].over):
                if over is None or not _is_whole(over, buffers) or last[over.buffer] != i:
                    continue
                # A convolution reads its x for other elements than the one it writes; elementwise steps may
                # have one operand twice, but not two views of one buffer.
                others = inputs[:1] if step.kind == "conv" else [t for t in inputs if t != over]
                alone = all(t is None or t.buffer != over.buffer for t in others)
                if alone and _lies_as(over, y):
                    place[y.buffer] = over.buffer
                    last[over.buffer] = last[y.buffer]
                    break
        result.append(step._replace(inputs=inputs, output=moved(y)))
    return result


def _lies_as(a: Tensor, b: Tensor) -> bool:
    """Whether the same elements of two tensors are at the same bytes of their buffers."""
    return (a.shape, a.strides, a.dtype.itemsize) == (b.shape, b.strides, b.dtype.itemsize)


def _is_whole(tensor: Tensor, buffers: Sequence[Buffer]) -> bool:
    """Whether a tensor is all of a buffer of the arena."""
    buffer = buffers[tensor.buffer]
    return buffer.kind == "arena" and tensor.offset == 0 and tensor.size == buffer.size
