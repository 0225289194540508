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
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fastconv._arguments import check_precision, flag
from fastconv._types import Precision
from fastconv.errors import (
    ArgumentError,
    DTypeError,
    FastconvError,
    MissingPackageError,
    ModelError,
    UnsupportedOpError,
)
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.options import checked_passes
from fastconv.importers import onnx
from fastconv.importers.messages import import_onnx
from fastconv.importers.torch_check import OTHERWISE, agree, check_export, copied, copies, leaves
from fastconv.importers.torch_decompositions import decomposed

# What else helps, by what the exporter says.
_ADVICE = (
    ("batch_size and channel_size must be", "give the number of images: dynamic_batch=False"),
    ("unknown batch size", "give the number of images: dynamic_batch=False"),
    ("input size not accessible", "give the size of the images: dynamic_size=False"),
)


def from_torch(
    module: Any,
    example: Any,
    *,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    passes: str | Sequence[str] = "default",
    precision: Precision = "fast",
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
    import_onnx()  # the exporter needs it too, and would say so in other words
    module = _unwrapped(torch, module)
    inputs = _inputs(torch, module, example)
    axes = _open_axes(inputs, dynamic_batch, dynamic_size)
    with _evaluating(module), torch.no_grad():
        outputs = _outputs(torch, module, inputs)
        data, doubts = _exported(torch, module, inputs, outputs, axes)
        load = partial(_load, data, type(module).__name__, passes, precision)
        try:
            model = load(tune=False)
        except FastconvError as error:
            _pass_on([] if isinstance(error, UnsupportedOpError) else doubts)  # which may be why
            raise
        check_export(torch, module, model, inputs, doubted=bool(doubts))
        if doubts and not agree(torch, module, model, inputs, axes):
            _pass_on(doubts)
    if tune:  # now, for the shapes that are declared alone
        return load(tune=True)
    model.release_memory()  # what it needed for larger data than the example goes
    return model


def _pass_on(doubts: Sequence[warnings.WarningMessage]) -> None:
    for doubt in doubts:
        warnings.warn_explicit(doubt.message, doubt.category, doubt.filename, doubt.lineno)


def _import_torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        message = "PyTorch is needed to take its modules: pip install torch onnx"
        raise MissingPackageError(message) from error
    module: ModuleType = torch
    return module


def _load(data: bytes, name: str, passes: str | Sequence[str], precision: Precision, *, tune: bool) -> Model:
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
        results = module(*copies(inputs))
    except Exception as error:  # a module's code may raise anything
        shapes = ", ".join(f"{name} {list(x.shape)} of {x.dtype}" for name, x in inputs.items())
        raise ArgumentError(
            f"example: expected what {type(module).__name__} can be called with, got {shapes}: {_said(error)}"
        ) from error
    names: list[str] = []
    for name, _ in leaves(torch, type(module).__name__, results):
        names.append(_unlike({*inputs, *names, *module.state_dict()}, name))
    if not names:
        raise ModelError(f"{type(module).__name__}: expected tensors as results, got none")
    return names


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
            except (errors.UnsupportedOperatorError, errors.SymbolicValueError, AssertionError):
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
            tuple(copies(inputs)),
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
        return tuple(leaf for _, leaf in leaves(torch, "", results))

    own = vars(module).get("forward")  # modules may have one besides that of their class
    forward = module.forward
    hook = module.register_forward_hook(flattened)
    if not isinstance(module, torch.jit.ScriptModule):
        # The default of an argument, where it is a number, would become an input: this has no such arguments.
        # What it writes into its inputs it writes into copies: the graph has its inputs as they were.
        module.forward = lambda *args: forward(*(copied(torch, a) for a in args))
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
    """Return what the exporter says, and what can be done."""
    said = _said(error)
    advice = next((advice for words, advice in _ADVICE if words in said), OTHERWISE)
    if advice is OTHERWISE and any(hasattr(part, "parametrizations") for part in module.modules()):
        advice = "give it plain weights: torch.nn.utils.parametrize.remove_parametrizations(part, name)"
    return (
        f"{type(module).__name__}: expected a module that torch.onnx.export takes, it says: {said}; {advice}"
    )


def _said(error: Exception) -> str:
    """Return the start of what an error says, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 500 else f"{words[:500]} ..."
