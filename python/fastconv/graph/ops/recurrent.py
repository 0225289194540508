"""Recurrent layers: RNN, GRU and LSTM, as OCR networks have after their convolutions.

The products with the inputs of all steps are one matrix product, and what remains of each direction is one
step of the program (csrc/nn/recurrent.h), whose weights are packed when the first program is planned. Gates
are in ONNX's order: input, output, forget, cell for LSTM; update, reset, hidden for GRU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fastconv import _core
from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import Activation
from fastconv.graph.ops.integer import zero_of
from fastconv.graph.ops.integer_matmul import integer_product
from fastconv.graph.ops.linear import fully_connected, matmul
from fastconv.graph.ops.quantize import dynamic_quantize_linear, positive
from fastconv.graph.packing import derived, kept
from fastconv.graph.registry import MICROSOFT, op
from fastconv.graph.value import F32, Array, Constant, Floats, Strings, Tensor, Value

# By ONNX's names: the kernels' name, and the defaults of alpha and beta where the function has them.
_FUNCTIONS: dict[str, tuple[str, float | None, float | None]] = {
    "sigmoid": ("sigmoid", None, None),
    "tanh": ("tanh", None, None),
    "relu": ("relu", None, None),
    "leakyrelu": ("leaky_relu", 0.01, None),
    "thresholdedrelu": ("thresholded_relu", 1.0, None),
    "affine": ("affine", 1.0, 0.0),
    "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "hardsigmoid": ("hardsigmoid", 0.2, 0.5),
    "elu": ("elu", 1.0, None),
    "softsign": ("softsign", None, None),
    "softplus": ("softplus", None, None),
}


class _Form(NamedTuple):
    """What the layers differ in: the cell, its gates and states, its functions, how its gates combine."""

    cell: str
    gates: int
    states: int
    functions: tuple[str, ...]  # by default
    reset_after: bool = False
    coupled: bool = False


@dataclass(frozen=True)
class _Quantised:
    """Weights of 8 bits, transposed, as (directions, inputs, gates * h), with scales and zero points."""

    w_scale: Value
    w_zero: Value
    r_scale: Value
    r_zero: Value
    x: list[Value] = field(default_factory=list)  # quantised once for both directions

    def project(self, ctx: Context, rows: Value, w: Value, way: int) -> Value:
        """Multiply the inputs of all steps, quantised over the range that they have."""
        if not self.x:
            parts = dynamic_quantize_linear(ctx, rows)
            assert isinstance(parts, tuple)
            self.x.extend(parts)
        q, scale, zero = self.x
        weights, offsets = _of(ctx, w, way, "w"), _of(ctx, self.w_zero, way, "w_zero")
        sums = integer_product(ctx, q, zero, weights, offsets, F32)
        scales = ctx.binary("mul", scale, _of(ctx, self.w_scale, way))
        return ctx.binary("mul", ctx.cast(sums, F32), scales)


def _of(ctx: Context, value: Value, way: int, name: str = "") -> Value:
    """Return what belongs to one direction, the first axis; of a weight, which has a name, once."""
    if name and isinstance(value, Constant):
        return derived(ctx, value, (name, way), lambda: value.array[way])
    part = value.slice(0, way, 1, 1)
    return ctx.reshape(part, part.shape[1:])


def _functions(names: Sequence[str], alpha: Floats | None, beta: Floats | None) -> list[Activation]:
    """Return the functions that names stand for; parameters go to those that have any."""
    parameters = [list(alpha or ()), list(beta or ())]
    result: list[Activation] = []
    for name in names:
        if name.lower() not in _FUNCTIONS:
            raise UnsupportedOpError(f"activations: expected names among {sorted(_FUNCTIONS)}, got {name!r}")
        kind, *defaults = _FUNCTIONS[name.lower()]
        a, b = (
            0.0 if default is None else given.pop(0) if given else default
            for given, default in zip(parameters, defaults, strict=True)
        )
        result.append(Activation("clamp", 0.0, math.inf) if kind == "relu" else Activation(kind, a, b))
    return result


def _input_bias(b: Array, form: _Form, h: int) -> Array:
    """Return what is added to the inputs' product: all biases, but for one that a GRU resets."""
    wb, rb = np.split(b, 2)
    if form.reset_after:
        rb = np.concatenate([rb[: 2 * h], np.zeros(h, np.float32)])
    return np.asarray(wb + rb)


def _project(
    ctx: Context, rows: Value, w: Value, b: Value | None, way: int, bias: Callable[[Array], Array]
) -> Value:
    """Multiply the inputs of all steps by the weights of one direction, and add ``bias`` of b."""
    if isinstance(w, Constant):
        offset = None if b is None else bias(ctx.array("b", b)[way])
        return fully_connected(
            ctx, rows, w, w.shape[1], lambda a: a[way], b, offset, key=way, piece=f"[{way}]"
        )
    product = matmul(ctx, rows, _of(ctx, w, way).transpose((1, 0)))
    assert not isinstance(product, tuple)
    return product if b is None else ctx.binary("add", product, Constant(bias(ctx.array("b", b)[way])))


def _packed(
    ctx: Context,
    form: _Form,
    r: Value,
    b: Value | None,
    quantised: _Quantised | None,
    way: int,
    functions: Sequence[Activation],
    clip: float,
    reverse: bool,
) -> _core.Recurrent:
    """Return one direction with its recurrent weights packed, once for all programs of a model."""
    sources = [r, *([] if b is None else [b])]
    if quantised is not None:
        sources += [quantised.r_scale, quantised.r_zero]

    def build() -> _core.Recurrent:
        weights = ctx.array("r", r)[way]
        scales = hidden_bias = None
        if quantised is not None:
            zero, scale = (ctx.array("r", v)[way] for v in (quantised.r_zero, quantised.r_scale))
            weights = np.subtract(weights, zero, dtype=F32).T
            scales = np.ascontiguousarray(np.broadcast_to(scale, weights.shape[:1]), np.float32)
        if form.reset_after and b is not None:
            hidden_bias = np.ascontiguousarray(ctx.array("b", b)[way, -weights.shape[1] :])
        return _core.Recurrent(
            form.cell,
            weights,
            functions=functions,
            clip=clip,
            reverse=reverse,
            reset_after=form.reset_after,
            coupled=form.coupled,
            hidden_bias=hidden_bias,
            scales=scales,
        )

    return kept(ctx, sources, way, math.prod(r.shape[1:]) * F32.itemsize, build)


def _recurrent(
    ctx: Context,
    form: _Form,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None,
    lengths: Value | None,
    initial: Sequence[Value | None],
    peepholes: Value | None,
    *,
    activations: Sequence[str] | None,
    alpha: Floats | None,
    beta: Floats | None,
    clip: float | None,
    direction: str,
    hidden_size: int | None,
    layout: int = 0,
    quantised: _Quantised | None = None,
) -> tuple[Value, ...]:
    """Run a layer; return the states of all steps, then each last state."""
    ways = {"forward": (1,), "reverse": (-1,), "bidirectional": (1, -1)}.get(direction)
    if ways is None:
        raise ModelError(f"direction: expected forward, reverse or bidirectional, got {direction!r}")
    if clip is not None and not clip > 0:
        raise ModelError(f"clip: expected a number above 0, got {clip}")
    if x.dtype != F32 or len(x.shape) != 3:
        raise ShapeError(f"x: expected 3 dimensions of float32, got shape {x.shape} of {x.dtype}")
    if layout:
        x = x.transpose((1, 0, 2))
    steps, n, features = x.shape
    gates, states = form.gates, form.states
    d, h = len(ways), r.shape[1 if quantised else -1] if len(r.shape) == 3 else 0
    expected = {"w": (d, gates * h, features), "r": (d, gates * h, h), "b": (d, 2 * gates * h)}
    if quantised is not None:
        expected |= {"w": (d, features, gates * h), "r": (d, h, gates * h)}
    expected |= {"initial_h": (d, n, h), "initial_c": (d, n, h), "p": (d, 3 * h), "sequence_lens": (n,)}
    if layout:
        initial = [None if v is None else v.transpose((1, 0, 2)) for v in initial]
    given = {"w": w, "r": r, "b": b, "p": peepholes, "sequence_lens": lengths}
    given |= dict(zip(("initial_h", "initial_c"), initial, strict=False))
    for name, value in given.items():
        if value is not None and value.shape != expected[name]:
            raise ShapeError(f"{name}: expected shape {expected[name]}, got {value.shape}")
    if hidden_size not in (None, h):
        raise ShapeError(f"hidden_size: expected {h}, as in r, got {hidden_size}")
    names = list(activations or form.functions * d)
    each = len(form.functions)
    if len(names) != each * d:
        raise ShapeError(f"activations: expected {each * d} names, got {names}")
    functions = _functions(names, alpha, beta)

    def bias(array: Array) -> Array:
        return _input_bias(array, form, h)

    rows = ctx.reshape(x, (steps * n, features))
    both = ctx.empty((steps + states, d, n, h))
    until = None if lengths is None else ctx.tensor(ctx.cast(lengths, F32))
    for i, way in enumerate(ways):
        layer = _packed(
            ctx, form, r, b, quantised, i, functions[i * each : (i + 1) * each], clip or 0.0, way < 0
        )
        if quantised is None:
            part = _project(ctx, rows, w, b, i, bias)
        else:
            part = quantised.project(ctx, rows, w, i)
            if b is not None:
                part = ctx.binary("add", part, Constant(bias(ctx.array("b", b)[i])))
        tensors = [None if v is None else ctx.tensor(_of(ctx, v, i)) for v in initial]
        tensors += [None] * (2 - len(tensors))
        p = None if peepholes is None else _dense(ctx, _of(ctx, peepholes, i))
        ctx.emit(
            "recurrent",
            (_dense(ctx, ctx.reshape(part, (steps, n, gates * h))), *tensors, p, until),
            both.transpose((1, 0, 2, 3)).at((i,)),
            layer,
            ctx.empty((layer.workspace(n),)),
            algorithm=form.cell,
        )
    every = both.slice(0, 0, 1, steps)
    last = [ctx.reshape(both.slice(0, steps + i, 1, 1), (d, n, h)) for i in range(states)]
    if layout:
        return every.transpose((2, 0, 1, 3)), *(value.transpose((1, 0, 2)) for value in last)
    return every, *last


def _dense(ctx: Context, value: Value) -> Tensor:
    """Return a value whose last dimension is contiguous."""
    tensor = ctx.tensor(value)
    if not tensor.shape or tensor.strides[-1] == 1 or tensor.size == 0:
        return tensor
    return ctx.copy(tensor, ctx.empty(tensor.shape))


@op("RNN", ignore=("output_sequence",))
def rnn(
    ctx: Context,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Value, ...]:
    """H = f(x W + h R + b), for each step."""
    return _recurrent(
        ctx, _Form("rnn", 1, 1, ("Tanh",)), x, w, r, b, sequence_lens, [initial_h], None,
        activations=activations, alpha=activation_alpha, beta=activation_beta, clip=clip,
        direction=direction, hidden_size=hidden_size, layout=layout,
    )  # fmt: skip


@op("GRU", ignore=("output_sequence",))
def gru(
    ctx: Context,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Value, ...]:
    """Gated recurrent unit (Cho et al., 2014)."""
    form = _Form("gru", 3, 1, ("Sigmoid", "Tanh"), reset_after=linear_before_reset != 0)
    return _recurrent(
        ctx, form, x, w, r, b, sequence_lens, [initial_h], None,
        activations=activations, alpha=activation_alpha, beta=activation_beta, clip=clip,
        direction=direction, hidden_size=hidden_size, layout=layout,
    )  # fmt: skip


@op("LSTM", ignore=("output_sequence",))
def lstm(
    ctx: Context,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    initial_c: Value | None = None,
    p: Value | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Value, ...]:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), with peepholes."""
    form = _Form("lstm", 4, 2, ("Sigmoid", "Tanh", "Tanh"), coupled=input_forget != 0)
    return _recurrent(
        ctx, form, x, w, r, b, sequence_lens, [initial_h, initial_c], p,
        activations=activations, alpha=activation_alpha, beta=activation_beta, clip=clip,
        direction=direction, hidden_size=hidden_size, layout=layout,
    )  # fmt: skip


@op("DynamicQuantizeLSTM", MICROSOFT, ignore=("output_sequence",))
def dynamic_quantize_lstm(
    ctx: Context,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    initial_c: Value | None = None,
    p: Value | None = None,
    w_scale: Value | None = None,
    w_zero_point: Value | None = None,
    r_scale: Value | None = None,
    r_zero_point: Value | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
) -> tuple[Value, ...]:
    """Run an LSTM whose weights have 8 bits; inputs and states are quantised over the range that they have.

    The weights are the transposes of those of LSTM: (directions, inputs, 4 h) and (directions, h, 4 h).
    """
    if w_scale is None or w_zero_point is None or r_scale is None or r_zero_point is None:
        raise ModelError("w_scale, w_zero_point, r_scale, r_zero_point: expected all four, got fewer")
    if len(w.shape) != 3 or len(r.shape) != 3:
        raise ShapeError(f"w, r: expected 3 dimensions each, got shapes {w.shape} and {r.shape}")
    w_zero, r_zero = zero_of(w_zero_point, w), zero_of(r_zero_point, r)
    directions, columns = w.shape[0], w.shape[2]
    parameters = {"w_scale": w_scale, "w_zero_point": w_zero, "r_scale": r_scale, "r_zero_point": r_zero}
    for name, value in parameters.items():
        if value.shape not in ((directions,), (directions, columns)):
            expected = f"{(directions,)} or {(directions, columns)}"
            raise ShapeError(f"{name}: expected shape {expected}, got {value.shape}")
    for name, value in (("w_scale", w_scale), ("r_scale", r_scale)):
        positive(name, value)
    form = _Form("lstm", 4, 2, ("Sigmoid", "Tanh", "Tanh"), coupled=input_forget != 0)
    return _recurrent(
        ctx, form, x, w, r, b, sequence_lens, [initial_h, initial_c], p,
        activations=activations, alpha=activation_alpha, beta=activation_beta, clip=clip,
        direction=direction, hidden_size=hidden_size,
        quantised=_Quantised(w_scale, w_zero, r_scale, r_zero),
    )  # fmt: skip
