"""fastconv as a backend of the ONNX API, for ``onnx.backend.test`` and whatever else runs models through it.

>>> import onnx, fastconv.backend  # doctest: +SKIP
>>> fastconv.backend.run_model(onnx.load("net.onnx"), [x])  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv._arguments import integer, shown
from fastconv.errors import ArgumentError, DTypeError, FastconvError, MissingPackageError
from fastconv.graph.model import Model
from fastconv.graph.value import Array
from fastconv.importers import load

try:
    import onnx
    from onnx.backend.base import Backend, BackendRep, Device, DeviceType
except ImportError as error:
    raise MissingPackageError("the package onnx is needed for fastconv.backend: pip install onnx") from error


class FastconvRep(BackendRep):  # type: ignore[misc]
    """A prepared model."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, inputs: Sequence[Any] | Mapping[str, Any], **kwargs: Any) -> tuple[Array, ...]:
        """Run on arrays in the order of the graph's inputs, or by their names."""
        del kwargs
        names = [info.name for info in self.model.inputs]
        if not isinstance(inputs, Mapping):
            inputs = _listed(inputs)
            if len(inputs) != len(names):
                raise ArgumentError(f"inputs: expected {len(names)} arrays, got {len(inputs)}")
            inputs = dict(zip(names, inputs, strict=True))
        arrays = {name: _array(f"input {name!r}", value) for name, value in inputs.items()}
        return tuple(self.model.run(None, arrays))


class FastconvBackend(Backend):  # type: ignore[misc]
    """The interface of :mod:`onnx.backend.base`."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether a model's operators and types are supported."""
        try:
            cls.prepare(model, device, **kwargs)
        except FastconvError:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> FastconvRep:
        """Load a ModelProto; the options are those of :func:`fastconv.load`."""
        if not cls.supports_device(device):
            raise ArgumentError(f"device: expected 'CPU', got {shown(device)}")
        return FastconvRep(load(model, **kwargs))

    @classmethod
    def run_node(
        cls,
        node: Any,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """Run one node; element types of its outputs that are not given are those of its first input."""
        opset = integer("opset_version", kwargs.pop("opset_version", onnx.defs.onnx_opset_version()), 1)
        helper = onnx.helper
        if not isinstance(node, onnx.NodeProto):
            raise DTypeError(f"node: expected a NodeProto, got {shown(node)}")
        arrays = [_array("inputs", x) for x in _listed(inputs)]
        if len(arrays) != sum(map(bool, node.input)):
            raise ArgumentError(f"inputs: expected {sum(map(bool, node.input))} arrays, got {len(arrays)}")

        def info(name: str, dtype: np.dtype[Any], shape: Sequence[int] | None) -> Any:
            try:
                element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            except (ValueError, KeyError, TypeError):
                raise DTypeError(f"inputs: expected arrays of numbers, got {dtype}") from None
            return helper.make_tensor_value_info(name, element, shape)

        given = [name for name in node.input if name]
        first = arrays[0].dtype if arrays else np.dtype(np.float32)
        types = [dtype for dtype, _ in outputs_info or ()] or [first] * len(node.output)
        graph = helper.make_graph(
            [node],
            node.op_type,
            [info(name, x.dtype, x.shape) for name, x in zip(given, arrays, strict=True)],
            [info(name, np.dtype(t), None) for name, t in zip(node.output, types, strict=False)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
        return cls.prepare(model, device, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is the CPU."""
        try:
            return isinstance(device, str) and bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):  # onnx's, for what is no device
            return False


def _listed(inputs: Any) -> list[Any]:
    """Return the inputs in their order; DTypeError where they are no sequence."""
    several = np.ndim(inputs) > 0 if isinstance(inputs, np.ndarray) else isinstance(inputs, Sequence)
    if not several or isinstance(inputs, str | bytes):
        raise DTypeError(f"inputs: expected a sequence of arrays, got {shown(inputs)}")
    return list(inputs)


def _array(name: str, value: Any) -> Array:
    """Return what numpy makes of a value: numbers and lists of them are arrays here."""
    try:
        return np.asarray(value)
    except Exception as error:  # whatever the exporter raises
        raise DTypeError(f"{name}: expected an array, got {type(value).__name__} and: {error}") from error


is_compatible = FastconvBackend.is_compatible
prepare = FastconvBackend.prepare
run = FastconvBackend.run_model
run_model = FastconvBackend.run_model
run_node = FastconvBackend.run_node
supports_device = FastconvBackend.supports_device
