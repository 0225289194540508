"""Recurrent layers: RNN, GRU and LSTM, as OCR networks have after their convolutions.

The products with the inputs of all steps are one matrix product; what remains is a loop over time. Gates are
in ONNX's order: input, output, forget, cell for LSTM; update, reset, hidden for GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Constant, Floats, Strings, Value

Function = Callable[[Array], Array]
Cell = Callable[["Direction", Array, tuple[Array, ...]], tuple[Array, ...]]  # of x's part and the state


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)), x.dtype)


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

    r: Array
    recurrent_bias: Array
    peepholes: Array
    functions: Sequence[Function]


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
) -> tuple[Value, ...]:
    """Run a layer; return the states of all steps, then each last state."""
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
    zero = {name: Constant(np.zeros(expected[name], np.float32)) for name in ("b", "initial_h", "p")}
    values = [
        x,
        w,
        r,
        zero["b"] if b is None else b,
        zero["p"] if peepholes is None else peepholes,
        Constant(np.full(n, steps, np.int32)) if lengths is None else lengths,
        *(zero["initial_h"] if v is None else v for v in initial),
    ]

    def run(x: Array, w: Array, r: Array, b: Array, p: Array, lengths: Array, *initial: Array) -> Array:
        result = np.zeros((steps + states, d, n, h), np.float32)
        for i, way in enumerate(ways):
            bias, recurrent_bias = np.split(b[i], 2)
            projected = x @ w[i].T + bias
            chosen = functions[i * len(default) : (i + 1) * len(default)]
            parameters = Direction(r[i], recurrent_bias, p[i], chosen)
            state = tuple(first[i] for first in initial)
            for t in range(steps)[::way]:
                new = cell(parameters, projected[t], state)
                alive = (t < lengths)[:, np.newaxis]
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
    return (way.functions[0](x + h @ way.r.T + way.recurrent_bias),)


def _lstm_cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    h, c = state
    f, g, out = way.functions
    i, o, forget, cell = np.split(x + h @ way.r.T + way.recurrent_bias, 4, axis=-1)
    p_i, p_o, p_f = np.split(way.peepholes, 3)
    new = f(forget + p_f * c) * c + f(i + p_i * c) * g(cell)
    return f(o + p_o * new) * out(new), new


def _coupled_lstm_cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """Compute an LSTM whose forget gate is 1 - the input gate."""
    h, c = state
    f, g, out = way.functions
    i, o, _, cell = np.split(x + h @ way.r.T + way.recurrent_bias, 4, axis=-1)
    p_i, p_o, _ = np.split(way.peepholes, 3)
    gate = f(i + p_i * c)
    new = (1 - gate) * c + gate * g(cell)
    return f(o + p_o * new) * out(new), new


def _gru_cell(reset_after: bool) -> Cell:
    """Return GRU's cell; the reset gate applies to the state, or after the product with its weights."""

    def cell(way: Direction, x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        f, g = way.functions
        x_z, x_r, x_h = np.split(x, 3, axis=-1)
        r_z, r_r, r_h = np.split(way.r, 3)
        b_z, b_r, b_h = np.split(way.recurrent_bias, 3)
        z, reset = f(x_z + h @ r_z.T + b_z), f(x_r + h @ r_r.T + b_r)
        product = reset * (h @ r_h.T + b_h) if reset_after else (reset * h) @ r_h.T + b_h
        return ((1 - z) * g(x_h + product) + z * h,)

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
