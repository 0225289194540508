"""A backend of ``torch.compile`` for inference: ``torch.compile(module, backend="fastconv")``.

TorchDynamo cuts a module's Python code into graphs. Each becomes a model, by way of
:func:`fastconv.from_torch`, when it first runs, or stays with PyTorch where it cannot: :func:`graphs` says
which, and why. What a graph computes is held against PyTorch before it is used. Parameters and buffers are
constants of the model; the names that PyTorch's registry of backends has are entry points
(``torch_dynamo_backends``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger
from types import ModuleType
from typing import Any

import numpy as np

from fastconv.errors import FastconvError
from fastconv.graph.model import Model
from fastconv.importers import from_torch

MAX_MODELS = 4  # input shapes of a graph whose models are kept: each has packed weights of its own
_LOG = getLogger(__name__)


@dataclass(frozen=True)
class RanGraph:
    """A graph of TorchDynamo's that ran, with inputs of some shapes.

    Attributes
    ----------
    operators : int
        How many calls it is of.
    shapes : tuple of tuple of int
        Of its inputs, without parameters and buffers.
    where : {"fastconv", "torch"}
        What runs it.
    reason : str
        Why PyTorch does; else empty.
    """

    operators: int
    shapes: tuple[tuple[int, ...], ...]
    where: str
    reason: str = ""

    def __str__(self) -> str:
        shapes = ", ".join(str(list(shape)) for shape in self.shapes)
        return f"{self.where}: {self.operators} operators on {shapes}{self.reason and ': '}{self.reason}"


_GRAPHS: deque[RanGraph] = deque(maxlen=1000)


def graphs() -> tuple[RanGraph, ...]:
    """Return the graphs that ran in this process so far (the last thousand), and where.

    The logger ``fastconv.torch_compile`` says the same as it happens: INFO of what fastconv runs, WARNING of
    what it does not.

    Examples
    --------
    >>> left_to_torch = [ran for ran in graphs() if ran.where == "torch"]
    """
    return tuple(_GRAPHS)


def backend(graph: Any, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Compile one of TorchDynamo's graphs; PyTorch calls this where ``backend="fastconv"``.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    example_inputs : sequence
        Tensors and sizes, of which only their number counts: what a graph needs is known when it runs.

    Returns
    -------
    callable
        Of the same inputs; gives what the graph does.

    Notes
    -----
    PyTorch runs a graph that is asked for gradients (use ``torch.no_grad()``), that writes into its inputs or
    gives views of them, that is random, whose tensors are not on the CPU, that runs under autocast, or that
    has an operator that fastconv lacks.

    A model is made anew where a parameter has been written to since. A write that PyTorch itself does not
    count, as one through ``parameter.data``, goes unseen.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    >>> compiled = torch.compile(net, backend=backend)
    >>> x = torch.ones(1, 3, 16, 16)
    >>> with torch.no_grad():
    ...     y = compiled(x)
    ...     bool(torch.allclose(y, net(x), atol=1e-5))
    True
    >>> print(graphs()[-1])
    fastconv: 2 operators on [1, 3, 16, 16]
    """
    del example_inputs
    return _Compiled(graph)


class _Compiled:
    """A graph, with a model for each of the last shapes, or None where PyTorch runs it."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._operators = sum(node.op.startswith("call_") for node in graph.graph.nodes)
        self._models: OrderedDict[tuple[Any, ...], _Frozen | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Any) -> Any:
        import torch

        key: tuple[Any, ...] = (
            torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"),
            *((x.shape, x.dtype, x.device, x.requires_grad) if isinstance(x, torch.Tensor) else int(x)
              for x in inputs),
        )  # fmt: skip
        with self._lock:
            known = key in self._models
            frozen = self._models.get(key)
            if not known or (frozen is not None and frozen.outdated(inputs)):
                frozen = self._models[key] = self._compiled(torch, inputs)
            self._models.move_to_end(key)
            if len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        return self._graph(*inputs) if frozen is None else frozen(torch, inputs)

    def _compiled(self, torch: ModuleType, inputs: Sequence[Any]) -> _Frozen | None:
        """Make a model of the graph for such inputs, and say where it runs."""
        free = [i for i, x in enumerate(inputs) if isinstance(x, torch.Tensor) and not _is_constant(x)]
        reason = "" if free else "it has no inputs"
        reason = reason or _kind_reason(torch, inputs) or _effect_reason(torch, self._graph, inputs)
        frozen = None
        if not reason:
            try:
                module = _with_constants(torch, self._graph, inputs, free)
                examples = tuple(inputs[i].detach().clone() for i in free)
                frozen = _Frozen(from_torch(module, examples, dynamic_batch=False), inputs, free)
            except FastconvError as error:
                reason = str(error)
        shapes = tuple(tuple(inputs[i].shape) for i in free)
        ran = RanGraph(self._operators, shapes, "torch" if reason else "fastconv", reason)
        _GRAPHS.append(ran)
        (_LOG.warning if reason else _LOG.info)("%s", ran)
        return frozen


class _Frozen:
    """A model of a graph, and the constants that it was made with."""

    def __init__(self, model: Model, inputs: Sequence[Any], free: Sequence[int]) -> None:
        self._model, self._free = model, free
        self._constants = [
            (i, x, _version(x), x.data_ptr())
            for i, x in enumerate(inputs)
            if i not in free and hasattr(x, "data_ptr")
        ]

    def outdated(self, inputs: Sequence[Any]) -> bool:
        """Tell whether a constant is another tensor now, or has been written to."""
        return any(
            inputs[i] is not x or _version(x) != version or x.data_ptr() != address
            for i, x, version, address in self._constants
        )

    def __call__(self, torch: ModuleType, inputs: Sequence[Any]) -> tuple[Any, ...]:
        results = self._model(*(inputs[i].detach().resolve_neg().numpy() for i in self._free))
        results = results if isinstance(results, tuple) else (results,)
        return tuple(torch.from_numpy(np.asarray(y)) for y in results)


def _version(tensor: Any) -> int:
    """Return how often a tensor has been written to."""
    count: int = tensor._version
    return count


def _is_constant(x: Any) -> bool:
    """Tell whether a tensor is a parameter or a buffer of a module, which TorchDynamo marks."""
    return getattr(x, "_dynamo_static_input_type", None) is not None and not x.is_inference()


def _with_constants(torch: ModuleType, graph: Any, inputs: Sequence[Any], free: Sequence[int]) -> Any:
    """Return a module of the free inputs alone; what else the graph takes are its parameters and numbers."""

    class Constants(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.numbers = {i: x for i, x in enumerate(inputs) if not isinstance(x, torch.Tensor)}
            for i, x in enumerate(inputs):
                if i not in free and i not in self.numbers:
                    self.register_buffer(f"constant_{i}", x.detach())

        def forward(self, *given: Any) -> Any:
            values = dict(zip(free, given, strict=True)) | self.numbers
            return graph(*(
                values[i] if i in values else getattr(self, f"constant_{i}") for i in range(len(inputs))
            ))  # fmt: skip

    return Constants()


def _kind_reason(torch: ModuleType, inputs: Sequence[Any]) -> str:
    """Return why a graph with such inputs stays with PyTorch, whatever it does; empty where it need not."""
    tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
    if any(x.device.type != "cpu" for x in tensors):
        return "it has tensors that are not on the CPU"
    if any(x.layout != torch.strided or x.dtype == torch.bfloat16 or x.is_complex() for x in tensors):
        return "it has tensors of a kind that numpy lacks"
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return "gradients are asked for; call it under torch.no_grad()"
    return "it runs under autocast" if torch.is_autocast_enabled("cpu") else ""


def _effect_reason(torch: ModuleType, graph: Any, inputs: Sequence[Any]) -> str:
    """Run a graph twice, and return why it is no function from tensors to tensors; empty where it is one."""
    # Under inference mode tensors would not count what is written to them.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
        copies = [x.detach().clone() if isinstance(x, torch.Tensor) else x for x in inputs]
        tensors = [x for x in copies if isinstance(x, torch.Tensor)]
        versions = [_version(x) for x in tensors]
        first = graph(*copies)
        if versions != [_version(x) for x in tensors]:
            return "it writes into its inputs"
        if not all(isinstance(y, torch.Tensor) for y in first):
            return "it gives more than tensors"
        held = {x.untyped_storage().data_ptr() for x in tensors}
        if any(y.untyped_storage().data_ptr() in held for y in first):
            return "it gives views of its inputs"
        same = (torch.allclose(a, b, equal_nan=True) for a, b in zip(first, graph(*copies), strict=True))
        return "" if all(same) else "it is random"
