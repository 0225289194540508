"""The kinds of steps of a program, each declared once.

A kind is a method of ``_core.Program`` of the same name. Here stands what the passes over a list of steps and
the profiler must know of it; a kind that is not declared can not be emitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastconv.graph.context import Step


class StepKind(NamedTuple):
    """What is known of a kind of step.

    Attributes
    ----------
    flops : callable, optional
        The FLOPs of a step, by the counting contract of :mod:`fastconv.lab.profile.counting`. None where they
        are 2 for each multiply-accumulate, which that module counts.
    over : tuple of int
        Which inputs the output may take the place of. All kernels read the residual of an element before they
        write it, and write each element once; elementwise ones may have an operand as their result.
    along_first_axis : callable
        Whether what the step computes at an index of its output's first axis needs its inputs at that index
        alone: then a batch may be cut there.
    is_named : bool
        Whether the first parameter says which function is computed.
    """

    flops: Callable[[Step], int] | None
    over: tuple[int, ...] = ()
    along_first_axis: Callable[[Step], bool] = lambda _: False
    is_named: bool = False


def _nothing(_: Step) -> int:
    return 0


def _output(step: Step) -> int:
    return step.output.size


def _input(step: Step) -> int:
    x = step.inputs[0]
    assert x is not None
    return x.size


def _window(step: Step) -> int:
    kernel: tuple[int, int] = step.params[0]
    return step.output.size * math.prod(kernel)


def _outputs(each: int) -> Callable[[Step], int]:
    return lambda step: each * step.output.size


def _always(_: Step) -> bool:
    return True


def _on_another_axis(step: Step) -> bool:
    return step.params[0] not in (0, -len(step.output.shape))


STEP_KINDS: dict[str, StepKind] = {
    "conv": StepKind(None, over=(1,), along_first_axis=_always),  # over the residual
    "integer_conv": StepKind(None, along_first_axis=_always),
    "gemm": StepKind(None),
    "recurrent": StepKind(None),
    "call": StepKind(None),
    "activate": StepKind(_output, over=(0,), along_first_axis=_always),
    "binary": StepKind(_output, over=(0, 1), along_first_axis=_always, is_named=True),
    "prelu": StepKind(_outputs(2), over=(0,), along_first_axis=_always),
    "channel_affine": StepKind(_outputs(2), over=(0,), along_first_axis=_always),
    "compare": StepKind(_output, along_first_axis=_always, is_named=True),
    "logic": StepKind(_output, along_first_axis=_always, is_named=True),
    "choose": StepKind(_nothing, along_first_axis=_always),
    "max_pool2d": StepKind(_window, along_first_axis=_always),
    "avg_pool2d": StepKind(_window, along_first_axis=_always),
    "lrn": StepKind(lambda step: step.output.size * (step.params[0] + 4), along_first_axis=_always),
    "layer_norm": StepKind(_outputs(8), over=(0,), along_first_axis=_always),
    "softmax": StepKind(_outputs(5), along_first_axis=_on_another_axis),
    "reduce": StepKind(_input, along_first_axis=_always, is_named=True),
    "resize2d": StepKind(
        lambda step: 0 if step.params[0] == "nearest" else 9 * step.output.size, along_first_axis=_always
    ),
    "grid_sample": StepKind(_outputs(9)),
    "top_k": StepKind(_input),
    "copy": StepKind(_nothing, along_first_axis=_always),
    "cast": StepKind(_output, over=(0,), along_first_axis=_always),
    "fill": StepKind(_nothing, along_first_axis=_always),
    "quantize": StepKind(_output, along_first_axis=_always),
    "dequantize": StepKind(_output, along_first_axis=_always),
    "dynamic_range": StepKind(_input),
    "lookup": StepKind(_output, over=(0,), along_first_axis=_always),
    "quantized_binary": StepKind(_output, over=(0, 1), along_first_axis=_always, is_named=True),
    "quantized_avg_pool2d": StepKind(_window, along_first_axis=_always),
}
