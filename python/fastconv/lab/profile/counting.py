"""The counting contract: what parameters, MACs, FLOPs, bytes and intensity are, for each step of a program.

========  ============================================================================================
MACs      multiply-accumulates of convolutions and matrix products: ``n * oc * oh * ow * (ic / groups)
          * kh * kw``, products with padding included; of a transposed convolution ``n * ic * ih * iw *
          (oc / groups) * kh * kw``; of a matrix product ``M * N * K``
FLOPs     work, not speed: 2 for each MAC. Bias, residual and activation of a convolution are not counted.
          Other steps: 1 an element for an elementwise function, whichever; 2 for a batch normalisation left
          on its own and for PReLU; the window's size for an output of a pooling; 1 an input of a reduction;
          5 an element of softmax; the window + 4 for LRN; 9 for a bilinear resize; 0 for copies. What numpy
          computes (other element types, operators without a kernel) counts by the same rules
executed  FLOPs that the chosen kernel really does: fewer by Winograd, or where part of a kernel meets padding
          alone, more where channels are filled up to whole vectors. The machine's peak is a roof for these
          alone: that of FMAs, or where a step reads or writes numbers of 8 bits that of bytes (``int8``), or
          of Winograd's products of 16 bits (``int16``)
bytes     compulsory memory access: each input, weight and output once, 4 bytes an element of float32 or of
          int32, 1 of 8 bits
predicted the same with the weights as they are packed, Winograd's transformed ones being 1.8 to 4 times
          as many, and once for each part that a batch runs in
intensity FLOPs / bytes
========  ============================================================================================

Parameters are those of the graph as it was given, before batch normalisations are folded: weights, biases,
and the scales and shifts of normalisations; not their running statistics, which are not learned, nor scalars.
The size of a model is 4 bytes a parameter, or 1 where layers multiply by 8-bit ones. A weight that several
layers share counts once.

A step of a kind that has no rule is an error, never a zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fastconv.errors import UnsupportedOpError
from fastconv.graph.context import Step
from fastconv.graph.functions import ACTIVATIONS
from fastconv.graph.program import Program
from fastconv.graph.steps import STEP_KINDS
from fastconv.graph.value import Tensor
from fastconv.lab.profile.executed import OUTPUTS, SPARSE, arithmetic_of, macs_of
from fastconv.lab.profile.weights import bias_of, weights_of

FLOAT = 4  # bytes
WEIGHT_BYTES = {"f32": FLOAT, "bf16": 2, "int8": 1, "int16": 1}  # by arithmetic


@dataclass(frozen=True)
class Work:
    """What a step does: MACs, FLOPs as defined and as executed, bytes that must move and that will.

    ``arithmetic`` says which peak is a roof for what is executed: ``f32``, ``int8``, ``int16`` or ``bit``.
    """

    macs: int
    flops: int
    executed_flops: int
    bytes: int
    predicted_bytes: int
    arithmetic: str


def work_of(step: Step, weights: Mapping[str, tuple[int, ...]], lanes: int, times: int = 1) -> Work:
    """Count a step.

    Parameters
    ----------
    step : Step
        Of a program, planned for concrete shapes.
    weights : mapping of str to tuple of int
        Shapes of the constants by name.
    lanes : int
        Floats of a vector, for the work that is done on incomplete ones.
    times : int
        How often the step runs, on other images each time: its weights must move once.

    Raises
    ------
    UnsupportedOpError
        Where there is no rule for the step.
    """
    tensors = [t for t in (*step.inputs, step.output) if t is not None]
    moved = times * sum(_elements(t) * t.dtype.itemsize for t in tensors)
    arithmetic = arithmetic_of(step)
    if step.is_convolution:
        weight = weights.get(weights_of(step.node))
        if weight is None:
            raise UnsupportedOpError(
                f"node {step.node.name!r} ({step.node.op}): w: expected weights of the model to count by,"
                " got some that its shapes give"
            )
        bias_name = bias_of(step.node)
        bias = math.prod(weights[bias_name]) if bias_name in weights else 0
        macs, executed = (times * n for n in _convolution(step, weight, lanes))
        if step.algorithm in (*SPARSE, "codebook", "xnor"):
            least = moved + step.params[0].packed_bytes
        else:
            least = moved + WEIGHT_BYTES[arithmetic] * _taken(step, weight) + FLOAT * bias
        most = moved + times * step.params[0].packed_bytes
        return Work(macs, 2 * macs, 2 * executed, least, most, arithmetic)
    if step.kind == "gemm":
        a = step.inputs[0]
        assert a is not None
        macs = times * step.output.size * a.shape[-1]
        return Work(macs, 2 * macs, 2 * macs, moved, moved, arithmetic)
    if step.kind == "recurrent":  # of the states alone: the inputs' product is a step of its own
        (projected, *_), layer = step.inputs, step.params[0]
        assert projected is not None
        macs = times * projected.size * step.output.shape[-1]
        moved += layer.packed_bytes
        return Work(macs, 2 * macs, 2 * macs, moved, moved, arithmetic)
    if step.kind == "call" and step.algorithm in _PRODUCTS:
        macs = times * _PRODUCTS[step.algorithm](step)
        return Work(macs, 2 * macs, 2 * macs, moved, moved, arithmetic)
    kind = STEP_KINDS.get(step.kind)
    flops_of = kind.flops if kind else None
    rule = _CALLED.get(step.algorithm) if step.kind == "call" else flops_of
    if rule is None:
        raise UnsupportedOpError(
            f"node {step.node.name!r} ({step.node.op}): expected a kind of step that is counted,"
            f" got {(step.algorithm if step.kind == 'call' else step.kind)!r}"
        )
    flops = times * rule(step)
    return Work(0, flops, flops, moved, moved, arithmetic)


def saved_macs(program: Program) -> int:
    """Return how many multiply-accumulates the steps of a network's program do not do, of the useful ones."""
    return sum(useful - executed for _, useful, executed in _products(program))


def macs_by_arithmetic(program: Program) -> dict[str, int]:
    """Return how many multiply-accumulates the layers of a network's program do, by their arithmetic."""
    found: Counter[str] = Counter()
    for step, _, executed in _products(program):
        found[arithmetic_of(step)] += executed
    return dict(found)


def _products(program: Program) -> Iterator[tuple[Step, int, int]]:
    """Yield the layers with weights, and their multiply-accumulates, useful and executed.

    Those that fill vectors up are left out: nobody counts them of other libraries.
    """
    weights = program.weights
    for times, step in ((stage.times, step) for stage in program.stages for step in stage.steps):
        weight = weights.get(weights_of(step.node)) if step.is_convolution else None
        if weight is not None:
            useful, executed = _convolution(step, weight, 1)
            yield step, times * useful, times * executed


def _is_row(step: Step, weight: tuple[int, ...]) -> bool:
    """Whether a step makes a row of the tiles of a transposed convolution."""
    pointwise = math.prod(step.params[0].kernel) == 1
    return step.node.op == "ConvTranspose" and pointwise and math.prod(weight[2:]) > 1


def _taken(step: Step, weight: tuple[int, ...]) -> int:
    """Return how many of its node's weights a step multiplies by."""
    x, y = step.inputs[0], step.output
    assert x is not None
    whole = len(y.shape) > 2 and not _is_row(step, weight)
    return math.prod(weight) if whole else x.shape[1] * y.shape[1]


def _convolution(step: Step, weight: tuple[int, ...], lanes: int) -> tuple[int, int]:
    """Return the multiply-accumulates of a convolution or fully connected layer, and those executed."""
    useful, executed = _multiplied(step, weight, lanes)
    if step.algorithm in SPARSE:  # each weight that is left is multiplied with each pixel
        x, y = step.inputs[0], step.output
        assert x is not None
        image = x if step.node.op == "ConvTranspose" else y
        pixels = image.size // image.shape[1] if image.shape[1] else 0
        executed = pixels * step.params[0].kept_weights
    return useful, executed


def _multiplied(step: Step, weight: tuple[int, ...], lanes: int) -> tuple[int, int]:
    """Return the same where no weight is left out."""
    x, y = step.inputs[0], step.output
    assert x is not None
    if len(y.shape) == 2:  # the weights of Gemm and MatMul come either way round
        inner, oc = x.shape[1], y.shape[1]
        return y.size * inner, y.shape[0] * inner * _whole(oc, lanes)
    if _is_row(step, weight):
        pixels = x.size
        return pixels * y.shape[1], pixels * _whole(y.shape[1], lanes)
    if step.node.op == "ConvTranspose":
        _, ocg, *kernel = weight
        pixels = math.prod(kernel) * x.size
        return pixels * ocg, pixels * _whole(ocg, lanes)
    oc, icg, *kernel = weight
    macs = y.size * icg * math.prod(kernel)
    n, _, *out = y.shape
    groups = x.shape[1] // icg
    taken = list(step.params[0].kernel[-len(out) :])  # of the kernel: what meets the image
    if step.algorithm in OUTPUTS:
        dilation = step.node.attrs.get("dilations") or [1] * len(out)
        filters = n * groups * icg * _whole(oc // groups, lanes)
        return macs, macs_of(step.algorithm, filters, out, taken, dilation)
    # Small groups share vectors, whole groups fill their own; of bytes each group is a product of its own.
    shared = oc // groups < lanes and not (step.kind == "integer_conv" and step.algorithm == "dense")
    columns = _whole(oc, lanes) if shared else groups * _whole(oc // groups, lanes)
    return macs, n * math.prod(out) * columns * icg * math.prod(taken)


def _whole(n: int, lanes: int) -> int:
    return -(-n // lanes) * lanes


def _elements(tensor: Tensor) -> int:
    """Count the elements of memory that a view has: repeated ones once."""
    return math.prod(n for n, s in zip(tensor.shape, tensor.strides, strict=True) if s != 0 or n == 0)


def _input(step: Step) -> int:
    x = step.inputs[0]
    assert x is not None
    return x.size


# -- steps that numpy computes, by the name of the call: the operator's, unless it has another ---------------


def _inner(step: Step) -> int:
    """Return the multiply-accumulates of a matrix product."""
    a = step.inputs[0]
    assert a is not None
    return step.output.size * a.shape[-1]


def _filters(step: Step) -> int:
    """Return the multiply-accumulates of a convolution whose weights are the input of most dimensions."""
    x, *others = (t for t in step.inputs if t is not None)
    w = next(t for t in others if len(t.shape) == len(x.shape))
    if step.node.op == "ConvTranspose":
        return x.size * math.prod(w.shape[1:])
    return step.output.size * math.prod(w.shape[1:])


def _einstein(step: Step) -> int:
    """Return the multiply-accumulates of a sum of products: the sizes of all its letters multiplied."""
    terms = step.node.attrs["equation"].replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    extra = 1
    for term, x in zip(terms, step.inputs, strict=True):
        assert x is not None
        head, _, tail = term.partition("...")
        rest = x.shape[len(head) : len(x.shape) - len(tail)]
        extra = max(extra, math.prod(rest)) if "..." in term else extra
        ends = x.shape[: len(head)] + x.shape[len(x.shape) - len(tail) :]
        sizes.update(zip(head + tail, ends, strict=True))
    return extra * math.prod(sizes.values())


_PRODUCTS: dict[str, Callable[[Step], int]] = {
    **dict.fromkeys(("matmul", "gemm", "matmulinteger", "qlinearmatmul"), _inner),
    **dict.fromkeys(("conv", "convtranspose", "convinteger", "qlinearconv", "deformconv"), _filters),
    "einsum": _einstein,
}


def _taps(step: Step) -> int:
    """Return an operation for each element of each window."""
    return step.output.size * math.prod(step.node.attrs.get("kernel_shape") or (1,))


_MOVES = (
    "copy fill bitcast gather gatherelements gathernd scatter scatterelements scatternd onehot where concat "
    "pad tile trilu compress reversesequence maxunpool col2im hardmax"
)
_REDUCTIONS = (
    "mean sum max min reduceprod argmax argmin topk cumsum cumprod globallppool globalaveragepool "
    "globalmaxpool dynamicquantizelinear"
)
_ELEMENTWISE = (
    "cast clamp add sub mul div pow mod equal less lessorequal greater greaterorequal and or xor not "
    "bitwiseand bitwiseor bitwisexor bitwisenot bitshift acos acosh asin asinh atan atanh ceil cos cosh "
    "floor round sin sinh tan sign isnan isinf shrink prelu quantizelinear dequantizelinear logsoftmax "
    "lpnormalization reducelogsumexp affinegrid signconv"
)
_WINDOWS = "maxpool indices averagepool lppool maxroipool roialign"
_INTERPOLATIONS = "resize upsample gridsample"

_CALLED: dict[str, Callable[[Step], int]] = {
    **dict.fromkeys(_MOVES.split(), lambda _: 0),
    **dict.fromkeys(_REDUCTIONS.split(), _input),
    **dict.fromkeys([*_ELEMENTWISE.split(), *ACTIVATIONS], lambda step: step.output.size),
    **dict.fromkeys(_WINDOWS.split(), _taps),
    **dict.fromkeys(_INTERPOLATIONS.split(), lambda step: 9 * step.output.size),
}
