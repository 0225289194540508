"""Importers: a ``torch.nn.Module`` becomes a model, by way of PyTorch's exporter to ONNX and our reader.

Torch is imported when :func:`from_torch` is called. Of its two exporters the one that traces is used
(``dynamo=False``): the newer one needs onnxscript and onnx_ir besides. A trace holds what a run on the
example did. What the tracer doubts is therefore tried: where the model differs from the module on other data,
larger where sizes are open, the tracer's warnings are passed on. Where it does not they are not the user's
concern, nor are those of the exporter.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import check_precision, flag
from fastconv.errors import (
    ArgumentError,
    DTypeError,
    FastconvError,
    MemoryLimitError,
    MissingPackageError,
    ModelError,
    UnsupportedOpError,
)
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.options import checked_passes
from fastconv.importers import onnx
from fastconv.importers.torch_decompositions import decomposed

# Module and model on the same data, relative to the largest output: float32 rounds to 1e-6 in a network.
_AGREEMENT = 1e-3


def from_torch(
    module: Any,
    example: Any,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    passes: str | Sequence[str] = "default",
    precision: str = "fast",
    tune: bool = False,
) -> Model:
    """Make a model of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module
        Any module that ``torch.onnx.export`` takes. It is exported in evaluation mode; its own modes,
        parameters and statistics stay as they are.
    example : torch.Tensor, array or tuple of them
        What the module is called with, one for each argument. The values do not matter, types and ranks do,
        and sizes unless they are open. Arrays of floating-point numbers are taken in the module's type.
    dynamic_batch : bool
        Take any number of images: axis 0 of every input that is as long there as the first one.
    dynamic_size : bool
        Take images of any size: the axes from 2 on, of inputs that have them. Not every module does the
        same for every size; a flat layer after a convolution, for one, needs its own.
    passes, precision, tune
        As for :class:`Model`.

    Returns
    -------
    Model
        With the names of the module's arguments for its inputs, and for its outputs those that a dictionary
        or a named tuple gives them, else ``output`` or ``output_0``, ``output_1`` ...; nested results are
        flattened, and None among them is left out.

    Raises
    ------
    ModelError
        Where the exporter refuses the module; the message has its reason. Where what it wrote computes
        something else than the module, on the example or on random numbers: it loses some writes through
        views of a tensor, for one.
    UnsupportedOpError
        Where it lacks an operator (the message names it), or where the model has one that does not run.
    ArgumentError, DTypeError
        Where the module cannot be called with the example, or is none.
    MissingPackageError
        Where ``torch`` or ``onnx`` is not installed.

    Warns
    -----
    torch.jit.TracerWarning
        Where the module decides by its data, or by open sizes, what it computes, and the model, which
        computes what the example needed, was found to differ from it.

    Notes
    -----
    The module must not be used by another thread meanwhile: its modes are set, and set back.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
    >>> model = from_torch(net, torch.zeros(1, 3, 32, 32), dynamic_size=True)
    >>> x = np.ones((4, 3, 20, 24), np.float32)
    >>> y = model(x)
    >>> y.shape, bool(np.allclose(y, net(torch.from_numpy(x)).detach(), atol=1e-5))
    ((4, 8, 20, 24), True)
    """
    dynamic_batch, dynamic_size = flag("dynamic_batch", dynamic_batch), flag("dynamic_size", dynamic_size)
    passes, tune = checked_passes(passes), flag("tune", tune)
    check_precision(precision)
    torch = _import_torch()
    onnx.import_onnx()  # the exporter needs it too, and would say so in other words
    module = _unwrapped(torch, module)
    inputs = _inputs(torch, module, example)
    axes = _open_axes(inputs, dynamic_batch, dynamic_size)
    with _evaluating(module), torch.no_grad():
        outputs = _outputs(torch, module, inputs)
        data, doubts = _exported(torch, module, inputs, outputs, axes)
        load = partial(_load, data, type(module).__name__, passes, precision)
        _check_export(torch, module, load, inputs, doubted=bool(doubts))
        if doubts and not _agree(torch, module, load, inputs, axes):
            for doubt in doubts:
                warnings.warn_explicit(doubt.message, doubt.category, doubt.filename, doubt.lineno)
    return load(tune=tune)


def _import_torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        message = 'PyTorch is needed to take its modules: pip install "fastconv[torch]"'
        raise MissingPackageError(message) from error
    module: ModuleType = torch
    return module


def _load(data: bytes, name: str, passes: str | Sequence[str], precision: str, *, tune: bool) -> Model:
    return Model(partial(_graph, data, name), passes=passes, precision=precision, tune=tune)


def _graph(data: bytes, name: str) -> Graph:
    return replace(onnx.from_bytes(data, name), name=name)  # the exporter calls them all "main_graph"


# ---------------------------------------------------------------- the module and its arguments


def _unwrapped(torch: ModuleType, module: Any) -> Any:
    """Return the module itself, without torch.compile's or a data-parallel wrapper."""
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        module = module.module
    if not isinstance(module, torch.nn.Module):
        raise DTypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    return module


def _inputs(torch: ModuleType, module: Any, example: Any) -> dict[str, Any]:
    """Return the example's tensors, on the module's device, by the names of the module's arguments."""
    values = example if isinstance(example, tuple) else (example,)
    if not values:
        raise ArgumentError("example: expected a tensor, an array or a tuple of them, got an empty tuple")
    parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    tensors = [_tensor(torch, value, parameter) for value in values]
    names = [_unlike(module.state_dict(), name) for name in _arguments(module, len(tensors))]
    return dict(zip(names, tensors, strict=True))


def _arguments(module: Any, count: int) -> list[str]:
    """Return names for the first arguments of a module."""
    try:
        arguments = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # a traced module's
        arguments = []
    named = [a.name for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"input_{i}" for i in range(count)]


def _tensor(torch: ModuleType, value: Any, parameter: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to(parameter.device).clone()  # the module may write into it
    if not isinstance(value, np.ndarray):
        raise DTypeError(
            f"example: expected a tensor, an array or a tuple of them, got {type(value).__name__}"
        )
    if value.dtype.kind not in "fiub":
        raise DTypeError(f"example: expected numbers, got an array of dtype {value.dtype}")
    tensor = torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    return tensor.to(parameter.device, parameter.dtype if value.dtype.kind == "f" else tensor.dtype)


def _unlike(taken: Container[str], name: str) -> str:
    """Return a name that is not taken: the graph's inputs, outputs and parameters have one space of names."""
    while name in taken:
        name += "_"
    return name


def _open_axes(inputs: Mapping[str, Any], batch: bool, size: bool) -> dict[str, list[int]]:
    """Return the axes of each input that may have any length."""
    lengths = {name: tuple(x.shape) for name, x in inputs.items()}
    images = next(iter(lengths.values()))[:1]
    return {
        name: [
            *([0] if batch and shape and shape[:1] == images else []),
            *(range(2, len(shape)) if size else []),
        ]
        for name, shape in lengths.items()
    }


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Set a module to evaluation, and every part of it back to its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        module.train(modes[0][1])  # for what modules of their own do besides
        for part, training in modes:  # parts may be in another mode than the whole
            part.training = training


def _outputs(torch: ModuleType, module: Any, inputs: Mapping[str, Any]) -> list[str]:
    """Run the module on the example and return the names of its outputs."""
    try:
        results = module(*_copies(inputs))
    except Exception as error:  # a module's code may raise anything
        shapes = ", ".join(f"{name} {list(x.shape)} of {x.dtype}" for name, x in inputs.items())
        raise ArgumentError(
            f"example: expected what {type(module).__name__} can be called with, got {shapes}: {_said(error)}"
        ) from error
    names: list[str] = []
    for name, _ in _leaves(torch, type(module).__name__, results):
        names.append(_unlike({*inputs, *names, *module.state_dict()}, name))
    if not names:
        raise ModelError(f"{type(module).__name__}: expected tensors as results, got none")
    return names


def _leaves(torch: ModuleType, where: str, value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
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
        yield from _leaves(torch, where, part, f"{name}_{key}" if name else str(key))


# ---------------------------------------------------------------- the export


def _exported(
    torch: ModuleType,
    module: Any,
    inputs: Mapping[str, Any],
    outputs: list[str],
    axes: Mapping[str, list[int]],
) -> tuple[bytes, list[warnings.WarningMessage]]:
    """Return the module as the contents of an ONNX file, and what the tracer doubts about it."""
    errors = torch.onnx.errors
    try:
        with _traceable(torch, module):
            try:
                return _written(torch, module, inputs, outputs, axes)
            except (errors.UnsupportedOperatorError, errors.SymbolicValueError):
                with decomposed(torch):
                    return _written(torch, module, inputs, outputs, axes)
    except errors.UnsupportedOperatorError as error:
        raise UnsupportedOpError(_refusal(module, error)) from error
    except Exception as error:  # the exporter and the module's code may raise anything
        raise ModelError(_refusal(module, error)) from error


def _written(
    torch: ModuleType,
    module: Any,
    inputs: Mapping[str, Any],
    outputs: list[str],
    axes: Mapping[str, list[int]],
) -> tuple[bytes, list[warnings.WarningMessage]]:
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # what the exporter says of itself: it is deprecated ...
        warnings.simplefilter("always", torch.jit.TracerWarning)
        torch.jit.TracerWarning.ignore_lib_warnings()  # as torch does: about shape checks of its own
        torch.onnx.export(
            module,
            tuple(_copies(inputs)),
            file,
            dynamo=False,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={
                name: {axis: "batch" if axis == 0 else f"{name}_{axis}" for axis in open_}
                for name, open_ in axes.items()
            },
            # Layers and parameters stay the module's: for EVAL the exporter folds batch normalisations, and
            # makes equal parameters one unless they are inputs too. We fold them ourselves.
            training=torch.onnx.TrainingMode.PRESERVE,
            keep_initializers_as_inputs=True,
        )
    places = {(doubt.filename, doubt.lineno): doubt for doubt in caught}
    return file.getvalue(), list(places.values())


@contextmanager
def _traceable(torch: ModuleType, module: Any) -> Iterator[None]:
    """Keep from the exporter what it cannot handle, and from the user what it prints."""

    def flattened(_module: Any, _inputs: Any, results: Any) -> Any:
        return tuple(leaf for _, leaf in _leaves(torch, "", results))

    own = vars(module).get("forward")  # modules may have one besides that of their class
    forward = module.forward
    hook = module.register_forward_hook(flattened)
    if not isinstance(module, torch.jit.ScriptModule):
        # The default of an argument, where it is a number, would become an input: this has no such arguments.
        # What it writes into its inputs it writes into copies: the graph has its inputs as they were.
        module.forward = lambda *args: forward(*(_copied(torch, a) for a in args))
    log = torch._C._jit_onnx_log  # prints the whole graph when an operator is missing
    torch._C._jit_onnx_log = lambda *_: None
    fused = torch.backends.mha.get_fastpath_enabled()  # attention as one operator, which ONNX has not
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch._C._jit_onnx_log = log
        if own is not None:
            module.forward = own
        else:
            vars(module).pop("forward", None)
        hook.remove()


def _refusal(module: Any, error: Exception) -> str:
    return f"{type(module).__name__}: expected a module that torch.onnx.export takes, it says: {_said(error)}"


def _said(error: Exception) -> str:
    """Return the start of what an error says, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 500 else f"{words[:500]} ..."


# ---------------------------------------------------------------- whether the export is the module


def _copies(inputs: Mapping[str, Any]) -> list[Any]:
    """Return copies of the example: a module may write into what it is given."""
    return [x.clone() for x in inputs.values()]


def _copied(torch: ModuleType, value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _check_export(
    torch: ModuleType, module: Any, load: Callable[..., Model], inputs: Mapping[str, Any], *, doubted: bool
) -> None:
    """Refuse an export that computes something else than the module.

    It is held against the module on the example, and on random numbers, where the tracer has no doubts: of
    what is decided by the data it says so, and the caller is told. A module that gives something else each
    time is not held against anything.
    """
    name = type(module).__name__
    try:
        expected = module(*_copies(inputs))
        if _difference(torch, expected, _arrays_of(torch, module(*_copies(inputs))), spared=1000):
            return
    except Exception:  # a module that can be called once
        return
    try:
        model = load(tune=False)
    except FastconvError:  # which comes again, after what the tracer doubts
        return
    generator = torch.Generator().manual_seed(1)
    other = {key: _elsewhere(torch, x, [], generator) for key, x in inputs.items()}
    for what, data in (("the example", inputs), ("random numbers", other)):
        if data is other:
            if doubted:
                return
            try:
                expected = module(*_copies(data))
            except Exception:  # what is no input to it
                return
        try:
            got = model(*(_array(x) for x in _copies(data)))
        except (UnsupportedOpError, MemoryLimitError):
            raise
        except FastconvError as error:
            raise ModelError(f"{name}: expected an export that runs on {what}, got: {error}") from error
        found = _difference(torch, expected, _tuple(got), spared=1000)
        if found:
            raise ModelError(
                f"{name}: expected an export that computes what the module does, got another result on"
                f" {what}: {found}; PyTorch's exporter loses, for one, some writes into parts of a tensor"
            )


def _arrays_of(torch: ModuleType, results: Any) -> tuple[npt.NDArray[Any], ...]:
    return tuple(_array(leaf) for _, leaf in _leaves(torch, "", results))


def _tuple(results: Any) -> tuple[npt.NDArray[Any], ...]:
    return results if isinstance(results, tuple) else (results,)


def _difference(
    torch: ModuleType, expected: Any, got: Sequence[npt.NDArray[Any]], spared: int | None = None
) -> str:
    """Return how results differ; one of so many elements may, rounded the other way, say, or none."""
    pairs = list(_leaves(torch, "", expected))
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


# ---------------------------------------------------------------- whether what the tracer doubts matters


def _agree(
    torch: ModuleType,
    module: Any,
    load: Callable[..., Model],
    inputs: Mapping[str, Any],
    axes: Mapping[str, list[int]],
) -> bool:
    """Tell whether model and module give the same on other data, twice as long along every open axis."""
    generator = torch.Generator().manual_seed(0)
    other = [_elsewhere(torch, x, axes[name], generator) for name, x in inputs.items()]
    opposite = [-x if x.is_floating_point() else x for x in other]  # for what is decided by a sign
    try:
        model = load(tune=False)  # one that goes: what it needs for larger data than the example goes too
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
