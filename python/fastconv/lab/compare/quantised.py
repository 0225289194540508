"""Networks of 8 bits to compare on: ONNX Runtime's quantiser writes them, float64 says what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.importers.onnx import from_file
from fastconv.lab.compare.expected import OPS
from fastconv.lab.compare.walk import walk

Array = npt.NDArray[Any]

CALIBRATION = 4  # inputs whose ranges are taken
PER_CHANNEL = 13  # the first opset that has scales for channels


def quantise(path: Path, x: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Replace a network by one in QDQ form: weights of s8 with a scale a channel, activations of u8.

    The ranges are those of x and of copies of it with noise. No two layers share a bias: it would get the
    scale of one of them.
    """
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            noisy = (x + rng.normal(0, 0.1, x.shape).astype(np.float32) for _ in range(CALIBRATION - 1))
            self.left = iter([x, *noisy])

        def get_next(self) -> dict[str, Array] | None:
            given = next(self.left, None)
            return None if given is None else {name: given}

    name = from_file(path).inputs[0].name
    plain = path.with_name("f32.onnx")
    model = onnx.load(str(path))
    if next(s.version for s in model.opset_import if not s.domain) < PER_CHANNEL:
        model = onnx.version_converter.convert_version(model, PER_CHANNEL)
    onnx.save(model, str(plain))
    # As the quantiser wants it: a BatchNormalization that is not folded would stay in floats.
    quant_pre_process(str(plain), str(plain), skip_symbolic_shape=True)
    model = onnx.load(str(plain))
    _copy_biases(model.graph)
    onnx.save(model, str(plain))
    quantize_static(
        str(plain),
        str(path),
        Inputs(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _copy_biases(graph: Any) -> None:
    """Give each layer a bias of its own where several have one, by name or through an Identity."""
    arrays = {array.name: array for array in graph.initializer}
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    for i, node in enumerate(graph.node):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        name = node.input[2]
        while name in source:
            name = source[name]
        if name in arrays:
            own = graph.initializer.add()
            own.CopyFrom(arrays[name])
            own.name = node.input[2] = f"{name}:{i}"


def expected_quantised(path: Path, x: Array) -> npt.NDArray[np.float64]:
    """Run a network in QDQ form in float64, node by node."""
    graph = from_file(path)
    (output,) = walk(graph, {graph.inputs[0].name: x}, QDQ_OPS, graph.constants, lambda *_: None)
    return np.asarray(output, np.float64)


def _spread(values: Array, axis: int, rank: int) -> Array:
    shape = [-1 if i == axis else 1 for i in range(rank)]
    return values.reshape(()) if values.size == 1 else values.reshape(shape)


def _quantize(x: Array, scale: Array, zero: Array, axis: int = 1) -> Array:
    info = np.iinfo(zero.dtype)
    steps = np.rint(x / _spread(scale.astype(np.float64), axis, x.ndim)) + _spread(zero, axis, x.ndim)
    numbers: Array = np.clip(steps, info.min, info.max).astype(zero.dtype)
    return numbers


def _dequantize(x: Array, scale: Array, zero: Array, axis: int = 1) -> Array:
    wide = x.astype(np.float64) - _spread(zero, axis, x.ndim)
    return np.asarray(wide * _spread(scale.astype(np.float64), axis, x.ndim))


QDQ_OPS: Mapping[str, Callable[..., Array]] = {
    **OPS,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Constant": lambda value: value,
    "DequantizeLinear": _dequantize,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Mul": lambda a, b: np.asarray(a, np.float64) * b,
    "QuantizeLinear": _quantize,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
