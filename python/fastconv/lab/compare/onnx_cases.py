"""Cases as ONNX models, for the engines that take those."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.exporters.onnx import to_proto
from fastconv.graph.ir import GraphBuilder
from fastconv.lab.compare.cases import Case, conv_arrays, gemm_arrays
from fastconv.lab.compare.network_files import files_of


def onnx_case(case: Case) -> tuple[bytes, npt.NDArray[np.float32], tuple[int, ...]]:
    """Return the model, its input and the shape of its output.

    Weights are constants, which the engines pack beforehand; so is B of a product, for them alone.
    """
    if case.kind == "model":
        files = files_of(case)
        return files.model.read_bytes(), files.x, files.expected.shape
    if case.kind == "gemm":
        a, b = gemm_arrays(case)
        shape: tuple[int, ...] = (a.shape[0], b.shape[1])
        builder = GraphBuilder("gemm", {"b": b})
        y = builder.add("MatMul", builder.input("x", a.shape), "b")
        builder.output(y, shape=shape)
        return to_proto(builder.build()).SerializeToString(), a, shape
    layer = case.layer
    x, w, bias = conv_arrays(case)
    shape = (1, layer.oc, *layer.out)
    builder = GraphBuilder("conv", {"w": w, "bias": bias})
    attributes: dict[str, Any] = {
        "strides": [layer.stride] * layer.spatial,
        "pads": list(layer.padding) or [0] * (2 * layer.spatial),
        "dilations": [layer.dilation] * layer.spatial,
        "group": layer.groups,
    }
    if layer.transposed:
        attributes["output_padding"] = [layer.output_padding] * layer.spatial
    op = "ConvTranspose" if layer.transposed else "Conv"
    y = builder.add(op, builder.input("x", x.shape), "w", "bias", **attributes)
    builder.output(y, shape=shape)
    return to_proto(builder.build()).SerializeToString(), x, shape
