"""Recurrent layers: RNN, GRU and LSTM, as OCR networks have after their convolutions.

The products with the inputs of all steps are one matrix product, a step of its own for each direction; what
remains is a loop over time in numpy, where the number of calls counts. Gates are in ONNX's order: input,
output, forget, cell for LSTM; update, reset, hidden for GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv import _core
from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ops.integer import EXACT, integer_product, largest_sums, zero_of
from fastconv.graph.ops.linear import matmul
from fastconv.graph.ops.quantize import MICROSOFT, U8, dynamic_quantize_linear, dynamic_range, positive
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Constant, Floats, Strings, Value

Function = Callable[[Array], Array]
Product = Callable[[Array, Array], Array]
Cell = Callable[["Direction", Array, tuple[Array, ...]], tuple[Array, ...]]  # of x's part and the state


def _sigmoid(x: Array) -> Array:
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.divide(1, y, out=y)


# By ONNX's names, from alpha and beta with their defaults.
_FUNCTIONS: dict[str, tuple[Callable[[float, float], Function], float, float]] = {
    "sigmoid": (lambda _a, _b: _sigmoid, 0.0, 0.0),
    "tanh": (lambda _a, _b: np.tanh, 0.0, 0.0),
    "relu": (lambda _a, _b: lambda x: np.maximum(x, 0), 0.0, 0.0),
    "leakyrelu": (lambda a, _b: lambda x: np.where(x < 0, a * x, x), 0.01, 0.0),
    "thresholdedrelu": (lambda a, _b: lambda x: np.where(x > a, x, 0), 1.0, 0.0),
    "affine": (lambda a, b: lambda x: a * x + b, 1.0, 0.0),
    "scaledtanh": (lambda a, b: lambda x: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda a, b: lambda x: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda a, _b: lambda x: np.where(x < 0, a * np.expm1(x), x), 1.0, 0.0),
    "softsign": (lambda _a, _b: lambda x: x / (1 + np.abs(x)), 0.0, 0.0),
    "softplus": (lambda _a, _b: lambda x: np.logaddexp(x, 0), 0.0, 0.0),
}


@dataclass(frozen=True)
class Direction:
    """Parameters of one direction: recurrent weights, biases, peepholes, and the functions of the gates."""

    r: Array  # transposed
    recurrent_bias: Array  # of a GRU; others have it in x's part
    peepholes: Array | None
    functions: Sequence[Function]
    product: Product  # of a state with r, plus x's part


def _functions(
    names: Sequence[str], each: int, alpha: Floats | None, beta: Floats | None, clip: float | None
) -> list[Function]:
    """Return the functions that names stand for, ``each`` a direction; parameters go to those with any."""
    parameters = [list(alpha or ()), list(beta or ())]
    result: list[Function] = []
    for name in names:
        if name.lower() not in _FUNCTIONS:
            raise UnsupportedOpError(f"activations: expected names among {sorted(_FUNCTIONS)}, got {name!r}")
        make, *defaults = _FUNCTIONS[name.lower()]
        a, b = (
            given.pop(0) if default and given else default
            for given, default in zip(parameters, defaults, strict=True)
        )
        # The third is LSTM's, of the cell's state. ONNX Runtime clips the gates alone, and so do we.
        gate = len(result) % each < 2
        result.append(_clipped(make(a, b), clip if gate else None))
    return result


def _clipped(function: Function, clip: float | None) -> Function:
    return function if clip is None else lambda x: function(np.clip(x, -clip, clip))


def _project(ctx: Context, rows: Value, w: Value, way: int) -> Value:  # noqa: ARG001
    """Multiply the inputs of all steps by the weights of one direction."""
    product = matmul(ctx, rows, w.transpose((1, 0)))
    assert not isinstance(product, tuple)
    return product


def _times(r: Array, way: int) -> Product:  # noqa: ARG001
    """Return the function of a state and x's part that adds the product with one direction's weights."""

    def product(state: Array, x: Array) -> Array:
        sums = np.empty(x.shape, np.float32)
        _core.gemm(state, r, x, sums, 1.0, 1.0, None, "none", 0.0, 0.0)
        return sums

    return product


def _recurrent(
    ctx: Context,
    cell: Cell,
    gates: int,
    states: int,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None,
    lengths: Value | None,
    initial: Sequence[Value | None],
    peepholes: Value | None,
    *,
    activations: Sequence[str] | None,
    default: Sequence[str],
    alpha: Floats | None,
    beta: Floats | None,
    clip: float | None,
    direction: str,
    hidden_size: int | None,
    layout: int,
    project: Callable[[Context, Value, Value, int], Value] = _project,
    times: Callable[..., Product] = _times,
    scales: Sequence[Value] = (),
) -> tuple[Value, ...]:
    """Run a layer; return the states of all steps, then each last state.

    ``times`` gets the recurrent weights, transposed, and the number of a direction, and ``scales``.
    """
    ways = {"forward": (1,), "reverse": (-1,), "bidirectional": (1, -1)}.get(direction)
    if ways is None:
        raise ModelError(f"direction: expected forward, reverse or bidirectional, got {direction!r}")
    if x.dtype != F32 or len(x.shape) != 3:
        raise ShapeError(f"x: expected 3 dimensions of float32, got shape {x.shape} of {x.dtype}")
    if layout:
        x = x.transpose((1, 0, 2))
    steps, n, features = x.shape
    d, h = len(ways), r.shape[-1]
    expected = {"w": (d, gates * h, features), "r": (d, gates * h, h), "b": (d, 2 * gates * h)}
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
    names = list(activations or tuple(default) * d)
    if len(names) != len(default) * d:
        raise ShapeError(f"activations: expected {len(default) * d} names, got {names}")
    functions = _functions(names, len(default), alpha, beta, clip)
    rows = ctx.reshape(x, (steps * n, features))
    projected = [project(ctx, rows, ctx.reshape(w.slice(0, i, 1, 1), expected["w"][1:]), i) for i in range(d)]
    zero = {name: Constant(np.zeros(expected[name], np.float32)) for name in ("b", "initial_h")}
    values = [
        r.transpose((0, 2, 1)),
        *projected,
        zero["b"] if b is None else b,
        *(zero["initial_h"] if v is None else v for v in initial),
        *([] if peepholes is None else [peepholes]),
        *([] if lengths is None else [lengths]),
        *scales,
    ]

    def run(r: Array, *arrays: Array) -> Array:
        rest = iter(arrays)
        inputs = [next(rest).reshape(steps, n, gates * h) for _ in ways]
        biases = np.split(next(rest), 2, axis=1)
        first = [next(rest) for _ in initial]
        p = None if peepholes is None else next(rest)
        until = None if lengths is None else next(rest)[:, np.newaxis]
        product_scales = list(rest)
        result = np.zeros((steps + states, d, n, h), np.float32)
        for i, way in enumerate(ways):
            bias, recurrent_bias = (b[i] for b in biases)
            part = inputs[i] + (bias if gates == 3 else bias + recurrent_bias)
            chosen = functions[i * len(default) : (i + 1) * len(default)]
            product = times(r[i], i, *product_scales)
            parameters = Direction(r[i], recurrent_bias, None if p is None else p[i], chosen, product)
            state = tuple(values[i] for values in first)
            for t in range(steps)[::way]:
                new = cell(parameters, part[t], state)
                if until is None:
                    result[t, i] = new[0]
                    state = new
                    continue
                alive = t < until
                result[t, i] = np.where(alive, new[0], 0)
                state = tuple(np.where(alive, a, b) for a, b in zip(new, state, strict=True))
            result[steps:, i] = state
        return result

    both = ctx.call(run, values, (steps + states, d, n, h), F32)
    every = both.slice(0, 0, 1, steps)
    last = [ctx.reshape(both.slice(0, steps + i, 1, 1), (d, n, h)) for i in range(states)]
    if layout:
        return every.transpose((2, 0, 1, 3)), *(value.transpose((1, 0, 2)) for value in last)
    return every, *last


def _rnn_cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    (h,) = state
    return (way.functions[0](way.product(h, x)),)


def _lstm_cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    f, g, out = way.functions
    k = h.shape[-1]
    sums = way.product(h, x)
    if way.peepholes is None:  # three gates at once
        gates = f(sums[..., : 3 * k])
        new = gates[..., 2 * k :] * c
        new += gates[..., :k] * g(sums[..., 3 * k :])
        return gates[..., k : 2 * k] * out(new), new
    i, o, forget, cell = np.split(sums, 4, axis=-1)
    p_i, p_o, p_f = np.split(way.peepholes, 3)
    new = f(forget + p_f * c) * c + f(i + p_i * c) * g(cell)
    return f(o + p_o * new) * out(new), new


def _coupled_lstm_cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """Compute an LSTM whose forget gate is 1 - the input gate."""
    h, c = state
    f, g, out = way.functions
    i, o, _, cell = np.split(way.product(h, x), 4, axis=-1)
    p_i, p_o, _ = (0, 0, 0) if way.peepholes is None else np.split(way.peepholes, 3)
    gate = f(i + p_i * c)
    new = (1 - gate) * c + gate * g(cell)
    return f(o + p_o * new) * out(new), new


def _gru_cell(reset_after: bool) -> Cell:
    """Return GRU's cell; the reset gate applies to the state, or after the product with its weights."""

    def cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        f, g = way.functions
        k = h.shape[-1]
        b_h, r_h = way.recurrent_bias[2 * k :], way.r[:, 2 * k :]
        gates = f(x[..., : 2 * k] + h @ way.r[:, : 2 * k] + way.recurrent_bias[: 2 * k])
        z, reset = gates[..., :k], gates[..., k:]
        product = reset * (h @ r_h + b_h) if reset_after else (reset * h) @ r_h + b_h
        return ((1 - z) * g(x[..., 2 * k :] + product) + z * h,)

    return cell


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
        ctx, _rnn_cell, 1, 1, x, w, r, b, sequence_lens, [initial_h], None,
        activations=activations, default=("Tanh",), alpha=activation_alpha, beta=activation_beta, clip=clip,
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
    cell = _gru_cell(linear_before_reset != 0)
    return _recurrent(
        ctx, cell, 3, 1, x, w, r, b, sequence_lens, [initial_h], None,
        activations=activations, default=("Sigmoid", "Tanh"), alpha=activation_alpha, beta=activation_beta,
        clip=clip, direction=direction, hidden_size=hidden_size, layout=layout,
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
    cell = _coupled_lstm_cell if input_forget else _lstm_cell
    return _recurrent(
        ctx, cell, 4, 2, x, w, r, b, sequence_lens, [initial_h, initial_c], p,
        activations=activations, default=("Sigmoid", "Tanh", "Tanh"), alpha=activation_alpha,
        beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size, layout=layout,
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

    def of(value: Value, way: int) -> Value:
        """Return the number, or those of the columns, of one direction."""
        part = value.slice(0, way, 1, 1)
        return ctx.reshape(part, part.shape[1:])

    quantised: list[Value] = []  # x is, once

    def project(ctx: Context, rows: Value, w: Value, way: int) -> Value:
        if not quantised:
            parts = dynamic_quantize_linear(ctx, rows)
            assert isinstance(parts, tuple)
            quantised.extend(parts)
        q, scale, zero = quantised
        sums = integer_product(ctx, q, zero, w.transpose((1, 0)), of(w_zero, way))
        return ctx.binary("mul", ctx.cast(sums, F32), ctx.binary("mul", scale, of(w_scale, way)))

    def centred(r: Array, zero: Array) -> Array:
        return np.subtract(r, zero.reshape(directions, 1, -1), dtype=F32)

    weights = ctx.call(centred, [r, r_zero], r.shape, F32)
    exact = False  # whether f32 holds all sums
    if isinstance(weights, Constant):
        exact = largest_sums(weights.array.transpose(0, 2, 1), U8).max(initial=0) < EXACT

    def times(r: Array, way: int, r_scales: Array) -> Product:
        r = r if exact else r.astype(np.float64)

        def product(state: Array, x: Array) -> Array:
            scale, zero = dynamic_range(state)
            q = np.clip(np.rint(state / scale) + zero, 0, 255) - zero
            if exact:
                sums = np.empty(x.shape, F32)
                _core.gemm(q, r, None, sums, 1.0, 0.0, None, "none", 0.0, 0.0)
            else:
                sums = np.matmul(q, r).astype(F32)
            sums *= scale * r_scales[way]
            sums += x
            return sums

        return product

    cell = _coupled_lstm_cell if input_forget else _lstm_cell
    return _recurrent(
        ctx, cell, 4, 2, x, w.transpose((0, 2, 1)), weights.transpose((0, 2, 1)), b, sequence_lens,
        [initial_h, initial_c], p, activations=activations, default=("Sigmoid", "Tanh", "Tanh"),
        alpha=activation_alpha, beta=activation_beta, clip=clip, direction=direction,
        hidden_size=hidden_size, layout=0, project=project, times=times, scales=[r_scale],
    )  # fmt: skip
