"""The specification of every kernel, in float64 numpy: what the fast code must compute, up to rounding.

Written for reading and independent of the implementation: a convolution is a sum over kernel taps of shifted,
strided slices of the padded input, a transposed one scatters the same slices. Everything is in NCHW order
with any number of spatial dimensions, takes any real array and returns float64. The ``*_magnitude`` functions
return the same sums with every term replaced by its absolute value, from which
:mod:`fastconv.testing.tolerance` derives error bounds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
AnyArray: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = int | Sequence[int]  # one value for every spatial dimension, or one each
Padding: TypeAlias = int | str | Sequence[int]  # see pads()
Index: TypeAlias = tuple[Any, ...]
Activation: TypeAlias = str | tuple[Any, ...] | None  # "relu", ("leaky_relu", 0.2), ("clamp", 0.0, 6.0)


# ---- shapes --------------------------------------------------------------------------------------------


def per_axis(value: Ints, spatial: int) -> tuple[int, ...]:
    """Return one value per spatial dimension: an int counts for all of them."""
    values = (value,) * spatial if isinstance(value, int) else tuple(value)
    if len(values) != spatial:
        raise ValueError(f"expected 1 or {spatial} values, got {len(values)}")
    return values


def pads(
    padding: Padding,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Return (low, high) padding per spatial dimension for every form that `padding` may have.

    An int; one per dimension; all lows, then all highs; "valid"; "same", which makes ceil(size / stride)
    outputs with the odd pixel at the high end (TensorFlow's SAME, ONNX's SAME_UPPER); "same_lower", which has
    it at the low end.
    """
    spatial = len(size)
    if padding == "valid":
        return ((0, 0),) * spatial
    if isinstance(padding, str):
        pairs = []
        for i, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            small, large = total // 2, total - total // 2
            pairs.append({"same": (small, large), "same_lower": (large, small)}[padding])
        return tuple(pairs)
    values = (padding,) * spatial if isinstance(padding, int) else tuple(padding)
    if len(values) == 2 * spatial:
        return tuple(zip(values[:spatial], values[spatial:], strict=True))
    return tuple((p, p) for p in per_axis(values, spatial))


def _taps(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], out: Sequence[int]
) -> Iterator[tuple[Index, Index]]:
    """Yield the index of each kernel tap and of the padded input it meets: out[p] sees in[p * s + t * d]."""
    for tap in itertools.product(*map(range, kernel)):
        window = (
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, s, d, o in zip(tap, stride, dilation, out, strict=True)
        )
        yield (..., *tap), (..., *window)


# ---- convolution ---------------------------------------------------------------------------------------


def conv(
    x: AnyArray,
    w: AnyArray,
    bias: AnyArray | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Convolve (correlate, as every network does) x (n, ic, ...) with w (oc, ic / groups, ...).

    The spatial rank, 0 to 3, is w's; rank 0 is a fully connected layer.

    Examples
    --------
    >>> import numpy as np
    >>> conv(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1)[0, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    kernel = w.shape[2:]
    spatial = len(kernel)
    stride, dilation = per_axis(stride, spatial), per_axis(dilation, spatial)
    edges = pads(padding, x.shape[2:], kernel, stride, dilation)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), *edges))
    out = [
        (i - d * (k - 1) - 1) // s + 1
        for i, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    n, ic, oc = x.shape[0], x.shape[1], w.shape[0]
    weights = np.asarray(w, np.float64).reshape(groups, oc // groups, ic // groups, *kernel)
    y = np.zeros((n, groups, oc // groups, math.prod(out)))
    for tap, window in _taps(kernel, stride, dilation, out):
        pixels = padded[window].reshape(n, groups, ic // groups, math.prod(out))
        y += weights[tap] @ pixels
    return add_channels(y.reshape(n, oc, *out), bias)


def conv_transpose(
    x: AnyArray,
    w: AnyArray,
    bias: AnyArray | None = None,
    *,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """Transpose of :func:`conv`: each pixel of x (n, ic, ...) spreads w (ic, oc / groups, ...).

    ``out = (in - 1) * stride - low - high + dilation * (kernel - 1) + 1 + output_padding``.
    """
    kernel = w.shape[2:]
    spatial = len(kernel)
    stride, dilation = per_axis(stride, spatial), per_axis(dilation, spatial)
    extra = per_axis(output_padding, spatial)
    edges = pads(padding, x.shape[2:], kernel, stride, dilation)
    n, ic, size = x.shape[0], x.shape[1], x.shape[2:]
    oc = w.shape[1] * groups
    full = [
        (i - 1) * s + d * (k - 1) + 1 + e
        for i, k, s, d, e in zip(size, kernel, stride, dilation, extra, strict=True)
    ]
    weights = np.asarray(w, np.float64).reshape(groups, ic // groups, oc // groups, *kernel)
    pixels = np.asarray(x, np.float64).reshape(n, groups, ic // groups, math.prod(size))
    y = np.zeros((n, oc, *full))
    for tap, window in _taps(kernel, stride, dilation, size):
        y[window] += (weights[tap].swapaxes(1, 2) @ pixels).reshape(n, oc, *size)
    inside: Index = (..., *(slice(lo, f - hi) for f, (lo, hi) in zip(full, edges, strict=True)))
    return add_channels(y[inside], bias)


def conv_magnitude(
    x: AnyArray, w: AnyArray, bias: AnyArray | None = None, residual: AnyArray | None = None, **geometry: Any
) -> Array:
    """Sum |x| |w| + |bias| + |residual| of a convolution with the keywords of :func:`conv`."""
    return _plus_magnitude(conv(np.abs(x), np.abs(w), _abs(bias), **geometry), residual)


def conv_transpose_magnitude(
    x: AnyArray, w: AnyArray, bias: AnyArray | None = None, residual: AnyArray | None = None, **geometry: Any
) -> Array:
    """Sum |x| |w| + |bias| + |residual| of a transposed convolution."""
    return _plus_magnitude(conv_transpose(np.abs(x), np.abs(w), _abs(bias), **geometry), residual)


def epilogue(
    acc: Array,
    residual: AnyArray | None = None,
    activation: Activation = None,
) -> Array:
    """Return act(acc + residual), what follows a convolution or a product that already holds its bias."""
    return activate(acc if residual is None else acc + residual, activation)


def _abs(x: AnyArray | None) -> AnyArray | None:
    return None if x is None else np.abs(x)


def _plus_magnitude(acc: Array, residual: AnyArray | None) -> Array:
    return acc if residual is None else acc + np.abs(residual)


def add_channels(y: Array, bias: AnyArray | None) -> Array:
    """Return y with the bias, if any, added to its channels."""
    return y if bias is None else y + _channels(bias, y.ndim)


def _channels(v: AnyArray, ndim: int) -> Array:
    """Shape a vector over dimension 1, so that it broadcasts."""
    return np.asarray(v, np.float64).reshape(-1, *(1,) * (ndim - 2))


# ---- matrix products -----------------------------------------------------------------------------------


def gemm(
    a: AnyArray,
    b: AnyArray,
    c: AnyArray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: AnyArray | None = None,
    activation: Activation = None,
) -> Array:
    """Return act(alpha * op(a) @ op(b) + beta * c + bias), with c and bias broadcast."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    y = alpha * ((left.T if trans_a else left) @ (right.T if trans_b else right))
    if c is not None:
        y = y + beta * np.asarray(c, np.float64)
    if bias is not None:
        y = y + bias
    return activate(y, activation)


def gemm_magnitude(
    a: AnyArray,
    b: AnyArray,
    c: AnyArray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: AnyArray | None = None,
) -> Array:
    """Sum |alpha| |a| |b| + |beta c| + |bias| of a matrix product."""
    return gemm(
        np.abs(a),
        np.abs(b),
        _abs(c),
        alpha=abs(alpha),
        beta=abs(beta),
        trans_a=trans_a,
        trans_b=trans_b,
        bias=_abs(bias),
    )


# ---- element by element --------------------------------------------------------------------------------


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def _hardsigmoid(x: Array, alpha: float = 1 / 6, beta: float = 0.5) -> Array:
    return np.clip(alpha * x + beta, 0.0, 1.0)


def _erfc(z: Array) -> Array:
    """1 - erf(z); numpy has none, and math.erfc is called where it is neither 2, nor 0, nor a line."""
    z = np.asarray(z)
    y = np.where(z < -6.0, 2.0, np.where(z > 28.0, 0.0, 1.0 - z * (2.0 / math.sqrt(math.pi))))
    bent = (np.abs(z) > 2.0**-18) & (z >= -6.0) & (z <= 28.0)
    y[bent] = np.fromiter(map(math.erfc, z[bent].tolist()), np.float64, int(bent.sum()))
    return y


def _gelu(x: Array) -> Array:
    # erfc keeps its relative accuracy for large negative x, where 1 + erf would cancel
    return x * _erfc(-x / math.sqrt(2.0)) / 2.0


def _gelu_tanh(x: Array) -> Array:
    # x * (1 + tanh(u)) / 2, where 1 + tanh(u) = 2 * sigmoid(2 u) does not cancel
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _mish(x: Array) -> Array:
    return x * np.tanh(np.logaddexp(x, 0.0))


ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "clamp": lambda x, lo, hi: np.minimum(np.maximum(x, lo), hi),
    "leaky_relu": lambda x, alpha=0.01: np.where(x < 0, alpha * x, x),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda x: x * _hardsigmoid(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
    "tanh": np.tanh,
    "elu": lambda x, alpha=1.0: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x),
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "neg": np.negative,
    "erf": lambda x: np.vectorize(math.erf, otypes=[np.float64])(x),
    "log": np.log,
    "softplus": lambda x: np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "reciprocal": lambda x: 1.0 / x,
    "thresholded_relu": lambda x, alpha=1.0: np.where(x > alpha, x, 0.0),
    "affine": lambda x, alpha=1.0, beta=0.0: alpha * x + beta,
    "scaled_tanh": lambda x, alpha=1.0, beta=1.0: alpha * np.tanh(beta * x),
    "selu": lambda x, alpha, beta: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), beta * x),
    "celu": lambda x, alpha=1.0: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0) / alpha), x),
}


def activate(x: AnyArray, activation: Activation) -> Array:
    """Apply an activation given as a name or as (name, alpha[, beta]), defined as in torch.nn.functional.

    Examples
    --------
    >>> activate(np.array([-1.0, 8.0]), "relu6").tolist()
    [0.0, 6.0]
    >>> activate(np.array([-1.0, 8.0]), ("leaky_relu", 0.5)).tolist()
    [-0.5, 8.0]
    """
    x = np.asarray(x, np.float64)
    if activation is None:
        return x
    name, *parameters = (activation,) if isinstance(activation, str) else activation
    return ACTIVATIONS[name](x, *parameters)


def prelu(x: AnyArray, slope: AnyArray) -> Array:
    """Return x where it is not negative and slope * x elsewhere, with slope broadcast to x."""
    x = np.asarray(x, np.float64)
    return np.where(x < 0, slope * x, x)


# ---- pooling -------------------------------------------------------------------------------------------


def _windows(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    edges: Sequence[tuple[int, int]],
    ceil_mode: bool,
    fill: float,
    beyond: float,
) -> Array:
    """Return every window's values on a new last axis: `fill` in the padding, `beyond` past its high end."""
    out, overhang = [], []
    for i, k, s, d, (lo, hi) in zip(x.shape[2:], kernel, stride, dilation, edges, strict=True):
        span = d * (k - 1) + 1
        room = i + lo + hi - span
        o = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (o - 1) * s >= i + lo:
            o -= 1  # the last window would start in the high padding
        out.append(o)
        overhang.append((0, max(0, (o - 1) * s + span - i - lo - hi)))
    padded = np.pad(x, ((0, 0), (0, 0), *edges), constant_values=fill)
    padded = np.pad(padded, ((0, 0), (0, 0), *overhang), constant_values=beyond)
    return np.stack([padded[w] for _, w in _taps(kernel, stride, dilation, out)], axis=-1)


def max_pool(
    x: AnyArray,
    kernel: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Array:
    """Return each window's maximum; padding never wins, NaN always does. `stride` defaults to the kernel."""
    x = np.asarray(x, np.float64)
    spatial = x.ndim - 2
    kernel = per_axis(kernel, spatial)
    stride, dilation = per_axis(kernel if stride is None else stride, spatial), per_axis(dilation, spatial)
    edges = pads(padding, x.shape[2:], kernel, stride, dilation)
    return np.asarray(_windows(x, kernel, stride, dilation, edges, ceil_mode, -np.inf, -np.inf).max(axis=-1))


def avg_pool(
    x: AnyArray,
    kernel: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Return each window's mean over its part inside the padded input, or inside the input itself.

    What a ceil_mode window has beyond the padded input never counts.
    """
    x = np.asarray(x, np.float64)
    spatial = x.ndim - 2
    kernel = per_axis(kernel, spatial)
    stride, dense = per_axis(kernel if stride is None else stride, spatial), (1,) * spatial
    edges = pads(padding, x.shape[2:], kernel, stride, dense)
    total = _windows(x, kernel, stride, dense, edges, ceil_mode, 0.0, 0.0).sum(axis=-1)
    ones = np.ones((1, 1, *x.shape[2:]))
    pixels = _windows(ones, kernel, stride, dense, edges, ceil_mode, float(count_include_pad), 0.0)
    return np.asarray(total / pixels.sum(axis=-1))


def global_avg_pool(x: AnyArray) -> Array:
    """Return the mean over all spatial dimensions, kept with size 1."""
    return np.asarray(np.asarray(x, np.float64).mean(axis=tuple(range(2, x.ndim)), keepdims=True))


# ---- normalisation -------------------------------------------------------------------------------------


def batch_norm(
    x: AnyArray,
    mean: AnyArray,
    var: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    eps: float = 1e-5,
) -> Array:
    """Return weight * (x - mean) / sqrt(var + eps) + bias along dimension 1."""
    scale = 1.0 / np.sqrt(np.asarray(var, np.float64) + eps)
    if weight is not None:
        scale = scale * weight
    y = (np.asarray(x, np.float64) - _channels(mean, x.ndim)) * _channels(scale, x.ndim)
    return add_channels(y, bias)


def softmax(x: AnyArray, axis: int = -1) -> Array:
    """Return exp(x) normalised to sum 1 along `axis`."""
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def lrn(x: AnyArray, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """Local response normalisation: x / (k + alpha / size * sum of squares of `size` channels around)^beta.

    A window holds floor((size - 1) / 2) channels before and ceil((size - 1) / 2) after its own (ONNX LRN).
    """
    x = np.asarray(x, np.float64)
    square = np.pad(x * x, ((0, 0), ((size - 1) // 2, size // 2), *((0, 0),) * (x.ndim - 2)))
    total = sum(square[:, i : i + x.shape[1]] for i in range(size))
    return np.asarray(x / (k + alpha / size * total) ** beta)


# ---- resizing ------------------------------------------------------------------------------------------


def _source(out: int, size: int, scale: float, coordinates: str) -> Array:
    """Return the input coordinate of every output pixel of one dimension."""
    i = np.arange(out, dtype=np.float64)
    if coordinates == "align_corners":
        return i * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "pytorch_half_pixel" and out == 1:
        return np.zeros(1)
    return (i + 0.5) / scale - 0.5


_ROUNDING: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}


def interpolate(
    x: AnyArray,
    size: Sequence[int],
    *,
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    rounding: str = "floor",
    scale: Sequence[float] | None = None,
) -> Array:
    """Resize every spatial dimension of x to `size` by "nearest" or (multi)"linear" interpolation.

    `coordinates` and `rounding` bear the names of ONNX Resize. torch's nearest is ("asymmetric", "floor"),
    its bilinear "half_pixel" or "align_corners". `scale` (out / in by default) enters the coordinates.
    """
    y = np.asarray(x, np.float64)
    for axis, out in enumerate(size, start=2):
        length = y.shape[axis]
        at = _source(out, length, out / length if scale is None else scale[axis - 2], coordinates)
        if mode == "nearest":
            y = y.take(np.clip(_ROUNDING[rounding](at), 0, length - 1).astype(int), axis)
        else:
            at = np.clip(at, 0, length - 1)
            lower = np.floor(at).astype(int)
            share = (at - lower).reshape(-1, *(1,) * (y.ndim - axis - 1))
            y = y.take(lower, axis) * (1 - share) + y.take(np.minimum(lower + 1, length - 1), axis) * share
    return y
