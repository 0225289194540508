"""Importers: what a PyTorch module gives, held against what the model of its export does.

Called by :mod:`fastconv.importers.torch_module`. The exporter loses some of what a module computes, and says
nothing of it; of what it doubts it warns where that matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import FastconvError, MemoryLimitError, ModelError, UnsupportedOpError
from fastconv.graph.model import Model

OTHERWISE = (
    "write that part with other functions of torch, or leave it out of the module and compute it before or"
    " after the model"
)
# Module and model on the same data, relative to the largest output: float32 rounds to 1e-6 in a network.
_AGREEMENT = 1e-3


def leaves(torch: ModuleType, where: str, value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of nested results with their names."""
    if isinstance(value, torch.Tensor):
        yield name or "output", value
        return
    if value is None:
        return
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        keys = getattr(value, "_fields", range(len(value)))
        parts = [
            (key if isinstance(key, str) or name else f"output_{key}", part)
            for key, part in zip(keys, value, strict=True)
        ]
    else:
        raise ModelError(
            f"{where}: expected tensors as results, got {type(value).__name__} for {name or 'output'!r}"
        )
    for key, part in parts:
        yield from leaves(torch, where, part, f"{name}_{key}" if name else str(key))


def copies(inputs: Mapping[str, Any]) -> list[Any]:
    """Return copies of the example: a module may write into what it is given."""
    return [x.clone() for x in inputs.values()]


def copied(torch: ModuleType, value: Any) -> Any:
    """Return a copy of a tensor, and anything else as it is."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def check_export(
    torch: ModuleType, module: Any, model: Model, inputs: Mapping[str, Any], *, doubted: bool
) -> None:
    """Refuse an export that computes something else than the module.

    It is held against the module on the example, and on random numbers, where the tracer has no doubts: of
    what is decided by the data it says so, and the caller is told. A module that gives something else each
    time is not held against anything.
    """
    name = type(module).__name__
    try:
        expected = module(*copies(inputs))
        if _difference(torch, expected, _arrays_of(torch, module(*copies(inputs))), spared=1000):
            return
    except Exception:  # a module that can be called once
        return
    generator = torch.Generator().manual_seed(1)
    other = {key: _elsewhere(torch, x, [], generator) for key, x in inputs.items()}
    for what, data in (("the example", inputs), ("random numbers", other)):
        if data is other:
            if doubted:
                return
            try:
                expected = module(*copies(data))
            except Exception:  # what is no input to it
                return
        try:
            got = model(*(_array(x) for x in copies(data)))
        except (UnsupportedOpError, MemoryLimitError):
            raise
        except FastconvError as error:
            raise ModelError(f"{name}: expected an export that runs on {what}, got: {error}") from error
        found = _difference(torch, expected, _tuple(got), spared=1000)
        if found:
            raise ModelError(
                f"{name}: expected an export that computes what the module does, got another result on"
                f" {what}: {found}; PyTorch's exporter loses, for one, some writes into parts of a tensor:"
                f" {OTHERWISE}"
            )


def _arrays_of(torch: ModuleType, results: Any) -> tuple[npt.NDArray[Any], ...]:
    return tuple(_array(leaf) for _, leaf in leaves(torch, "", results))


def _tuple(results: Any) -> tuple[npt.NDArray[Any], ...]:
    return results if isinstance(results, tuple) else (results,)


def _difference(
    torch: ModuleType, expected: Any, got: Sequence[npt.NDArray[Any]], spared: int | None = None
) -> str:
    """Return how results differ; one of so many elements may, rounded the other way, say, or none."""
    pairs = list(leaves(torch, "", expected))
    if len(pairs) != len(got):
        return f"{len(got)} outputs, not {len(pairs)}"
    for (name, tensor), found in zip(pairs, got, strict=True):
        wanted = _array(tensor)
        if wanted.shape != found.shape:
            return f"{name} has shape {found.shape}, not {wanted.shape}"
        a, b = wanted.astype(np.float64), np.asarray(found, np.float64)
        finite = np.isfinite(a)
        largest = np.abs(a, where=finite, out=np.zeros_like(a)).max(initial=0)
        with np.errstate(invalid="ignore"):
            wrong = ~np.isclose(b, a, rtol=0, atol=_AGREEMENT * largest, equal_nan=True)
        if wrong.sum() > (0 if spared is None else a.size / spared):
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            return (
                f"{name} differs in {wrong.sum()} of {a.size} elements, at {list(at)} {b[at]:.6g},"
                f" not {a[at]:.6g}"
            )
    return ""


def agree(
    torch: ModuleType,
    module: Any,
    model: Model,
    inputs: Mapping[str, Any],
    axes: Mapping[str, list[int]],
) -> bool:
    """Tell whether model and module give the same on other data, twice as long along every open axis."""
    generator = torch.Generator().manual_seed(0)
    other = [_elsewhere(torch, x, axes[name], generator) for name, x in inputs.items()]
    opposite = [-x if x.is_floating_point() else x for x in other]  # for what is decided by a sign
    try:
        return all(
            not _difference(torch, module(*(x.clone() for x in data)), _tuple(model(*map(_array, data))))
            for data in (other, opposite)
        )
    except UnsupportedOpError:
        raise
    except Exception:  # the model's shapes do not fit, or the module refuses the data
        return False


def _elsewhere(torch: ModuleType, x: Any, axes: Sequence[int], generator: Any) -> Any:
    for axis in axes:
        x = torch.cat([x, x], axis)
    if not x.is_floating_point():
        return x.flip(tuple(range(x.ndim)))  # indices stay indices
    return torch.randn(x.shape, generator=generator).to(x)


def _array(x: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = x.cpu().numpy()
    return array
