"""Importers: functions of PyTorch that its exporter lacks, written in others that it has.

Called by :mod:`fastconv.importers.torch_module` for modules that the exporter has refused; not for others, as
a context like this blurs where the tracer's warnings come from. What is replaced: adaptive pooling to a size
that does not divide the image's, ``nearest-exact`` and ``area`` interpolation, ``rms_norm``, ``bilinear``,
``channel_shuffle``, ``vdot``, ``mT``. The sizes of images that these need are those of the example; of that
the tracer warns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any


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
        input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *_: Any, **__: Any
    ) -> Any:
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
        torch.channel_shuffle: lambda x, groups: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2),
        torch.vdot: lambda x, y: (x * y).sum(),
        torch.Tensor.mT.__get__: lambda x: x.transpose(-2, -1),
    }
