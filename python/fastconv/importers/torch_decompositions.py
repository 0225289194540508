"""Importers: functions of PyTorch that its exporter lacks, written in others that it has.

Called by :mod:`fastconv.importers.torch_module` for modules that the exporter has refused; not for others, as
a context like this blurs where the tracer's warnings come from. What is replaced: adaptive pooling to a size
that does not divide the image's, ``nearest-exact`` and ``area`` interpolation, ``rms_norm``, ``bilinear``,
``channel_shuffle``, ``vdot``, ``mT``, antialiased interpolation, LSTMs with projections, and batch
normalisation by the statistics of the batch. The sizes of images that these need are those of the example; of
that the tracer warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np


def decomposed(torch: ModuleType) -> AbstractContextManager[Any]:
    """Return a context in which those functions are replaced."""
    table = _table(torch)

    class Decomposed(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined, unused-ignore]
        """Sees every call of a function of torch."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Call the replacement; it may decline by NotImplemented."""
            kwargs = kwargs or {}
            if function in table:
                result = table[function](*args, **kwargs)
                if result is not NotImplemented:
                    return result
            return function(*args, **kwargs)

    context: AbstractContextManager[Any] = Decomposed()
    return context


def _table(torch: ModuleType) -> dict[Any, Callable[..., Any]]:
    functional = torch.nn.functional

    def windows(x: Any, output_size: Any, reduced: Callable[..., Any], rank: int) -> Any:
        """Pool adaptively, axis after axis: a window along each is a slice."""
        shape, spatial = [int(n) for n in x.shape], range(-rank, 0)
        wanted = [output_size] * rank if isinstance(output_size, int) else list(output_size)
        sizes = [shape[axis] if n is None else int(n) for axis, n in zip(spatial, wanted, strict=True)]
        given = [n for n in wanted if n is not None]
        if len(given) == rank and all(shape[axis] % n == 0 for axis, n in zip(spatial, sizes, strict=True)):
            return NotImplemented
        for axis, n in zip(spatial, sizes, strict=True):
            if n != shape[axis]:
                length = shape[axis]
                edges = [(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]
                x = torch.cat(
                    [reduced(x.narrow(axis, low, high - low), dim=axis, keepdim=True) for low, high in edges],
                    axis,
                )
        return x

    def average_pool(rank: int) -> Callable[..., Any]:
        return lambda input, output_size: windows(input, output_size, torch.mean, rank)

    def max_pool(rank: int) -> Callable[..., Any]:
        def pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
            return NotImplemented if return_indices else windows(input, output_size, torch.amax, rank)

        return pool

    def interpolate(
        input: Any,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
    ) -> Any:
        if antialias and mode in ("bilinear", "bicubic") and not align_corners:
            lengths = [int(n) for n in input.shape[2:]]
            both = isinstance(scale_factor, (tuple, list))
            factors = scale_factor if both or scale_factor is None else [scale_factor] * 2
            if size is not None:
                size = [size] * 2 if isinstance(size, int) else [int(n) for n in size]
            elif recompute_scale_factor:
                size = [int(n * factor) for n, factor in zip(lengths, factors, strict=True)]
            if size is None:
                factors = [_factor(n, factor) for n, factor in zip(lengths, factors, strict=True)]
            return antialiased.apply(input, size, None if size else factors, mode)
        if mode not in ("nearest-exact", "area"):
            return NotImplemented
        spatial = [int(n) for n in input.shape[2:]]
        if size is None:
            factors = (
                scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * len(spatial)
            )
            size = [int(n * factor) for n, factor in zip(spatial, factors, strict=True)]
        sizes = [size] * len(spatial) if isinstance(size, int) else [int(n) for n in size]
        if mode == "area":
            pool = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d}.get(
                len(spatial), functional.adaptive_avg_pool3d
            )
            result = windows(input, sizes, torch.mean, len(spatial))
            return pool(input, sizes) if result is NotImplemented else result
        for axis, (n, wanted) in enumerate(zip(spatial, sizes, strict=True), 2):
            nearest = [(2 * i + 1) * n // (2 * wanted) for i in range(wanted)]
            input = input.index_select(axis, torch.tensor(nearest, device=input.device))
        return input

    def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        eps = torch.finfo(input.dtype).eps if eps is None else eps
        axes = list(range(-len(normalized_shape), 0))
        y = input * torch.rsqrt(input.pow(2).mean(axes, keepdim=True) + eps)
        return y if weight is None else y * weight

    def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
        out, n, m = (int(size) for size in weight.shape)
        products = (input1 @ weight.permute(1, 0, 2).reshape(n, out * m)).unflatten(-1, (out, m))
        y = (products * input2.unsqueeze(-2)).sum(-1)
        return y if bias is None else y + bias

    def batch_norm(
        input: Any,
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,  # noqa: ARG001
        eps: float = 1e-5,
    ) -> Any:
        if not training or running_mean is not None or running_var is not None:
            return NotImplemented
        axes = [i for i in range(input.ndim) if i != 1]
        centred = input - input.mean(axes, keepdim=True)
        y = centred * torch.rsqrt(centred.pow(2).mean(axes, keepdim=True) + eps)
        shape = [1, -1] + [1] * (input.ndim - 2)
        y = y if weight is None else y * weight.reshape(shape)
        return y if bias is None else y + bias.reshape(shape)

    antialiased = _antialiased(torch)
    return {
        functional.adaptive_avg_pool1d: average_pool(1),
        functional.adaptive_avg_pool2d: average_pool(2),
        functional.adaptive_avg_pool3d: average_pool(3),
        functional.adaptive_max_pool1d: max_pool(1),
        functional.adaptive_max_pool2d: max_pool(2),
        functional.adaptive_max_pool3d: max_pool(3),
        functional.bilinear: bilinear,
        functional.interpolate: interpolate,
        functional.rms_norm: rms_norm,
        functional.batch_norm: batch_norm,
        torch.lstm: lambda *args: _projected_lstm(torch, *args),
        torch.channel_shuffle: lambda x, groups: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2),
        torch.vdot: lambda x, y: (x * y).sum(),
        torch.Tensor.mT.__get__: lambda x: x.transpose(-2, -1),
    }


def _antialiased(torch: ModuleType) -> Any:
    """Return an interpolation that the exporter writes as a Resize with antialias."""

    class Antialiased(torch.autograd.Function):  # type: ignore[misc, name-defined, unused-ignore]
        """Of a tensor, a size or None, factors or None, and the mode."""

        @staticmethod
        def forward(_: Any, input: Any, size: Any, scales: Any, mode: str) -> Any:
            """Interpolate as torch does."""
            return torch.nn.functional.interpolate(input, size, scales, mode, antialias=True)

        @staticmethod
        def symbolic(g: Any, input: Any, size: Any, scales: Any, mode: str) -> Any:
            """Write the node; batch and channels stay what they are."""
            none = g.op("Constant", value_t=torch.zeros(0))
            factors, sizes = none, None
            if size is None:
                factors = g.op("Constant", value_t=torch.tensor([1.0, 1.0, *scales]))
            else:
                sizes = g.op(
                    "Concat",
                    g.op("Shape", input, start_i=0, end_i=2),
                    g.op("Constant", value_t=torch.tensor(size)),
                    axis_i=0,
                )
            return g.op(
                "Resize",
                input,
                none,
                factors,
                *([] if sizes is None else [sizes]),
                antialias_i=1,
                coordinate_transformation_mode_s="half_pixel",
                mode_s="linear" if mode == "bilinear" else "cubic",
                cubic_coeff_a_f=-0.5,  # torch's with antialias
                exclude_outside_i=1,
            )

    return Antialiased


def _factor(length: int, factor: float) -> float:
    """Return a factor that makes the same length as a number of 32 bits: 0.7 of 10 are 7, not 6.9999999."""
    single = np.float32(factor)
    if int(length * float(single)) < int(length * factor):
        single = np.nextafter(single, np.float32(np.inf))
    return float(single)


def _projected_lstm(
    torch: ModuleType,
    input: Any,
    states: Any,
    parameters: Any,
    has_biases: Any = None,
    layers: Any = None,
    dropout: Any = None,  # noqa: ARG001  (of training)
    train: Any = None,
    bidirectional: Any = None,
    batch_first: Any = None,
) -> Any:
    """Return an LSTM whose outputs are projected, as one without whose recurrent weights are products.

    With h = P u the gates see W h = (W P) u, so u may be the state; a given h is P times the least such u.
    Packed sequences, whose second argument is their sizes, are left to torch.
    """
    per_layer = 5 if has_biases else 3
    if not isinstance(states, (list, tuple)) or len(parameters) != per_layer * layers * (1 + bidirectional):
        return NotImplemented
    hidden, cells = states
    directions = 1 + bidirectional
    last: list[list[Any]] = [[], []]
    for layer in range(layers):
        first = layer * directions
        weights, projections, starts = [], [], []
        for i in range(first, first + directions):
            *given, projection = parameters[i * per_layer : (i + 1) * per_layer]
            given[1] = given[1] @ projection
            weights += given
            projections.append(projection)
            starts.append(hidden[i] @ _inverse(torch, projection).T)
        start = torch.stack(starts), cells[first : first + directions]
        options = has_biases, 1, 0.0, train, bidirectional, batch_first
        output, h, c = torch.lstm(input, start, weights, *options)
        parts = zip(output.chunk(directions, -1), projections, strict=True)
        input = torch.cat([part @ projection.T for part, projection in parts], -1)
        last[0] += [state @ projection.T for state, projection in zip(h, projections, strict=True)]
        last[1].append(c)
    return input, torch.stack(last[0]), torch.cat(last[1])


def _inverse(torch: ModuleType, matrix: Any) -> Any:
    """Return the pseudo-inverse of a parameter as a constant: ONNX has no such operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # it does not depend on the data
        array = matrix.detach().cpu().numpy()
    return torch.from_numpy(np.linalg.pinv(array.astype(np.float64))).to(matrix)
