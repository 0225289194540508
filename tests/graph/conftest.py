"""Fixtures of the graph tests: ONNX models of one node, and ONNX Runtime to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
MakeModel = Callable[..., Any]
Runtime = Callable[[Any, Mapping[str, Array]], list[Array]]


@pytest.fixture(scope="session")
def onnx() -> Any:
    return pytest.importorskip("onnx")


@pytest.fixture(scope="session")
def make_model(onnx: Any) -> MakeModel:
    """Return a function that makes a model of nodes, f32 inputs, constants and output names."""
    TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

    def make(
        nodes: Sequence[Any],
        inputs: Mapping[str, Sequence[int | str]],
        constants: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = ("y",),
        opset: int = 13,
    ) -> Any:
        graph = helper.make_graph(
            list(nodes),
            "test",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=min(10, 3 if opset < 9 else 8))

    return make


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """Return a function that runs a model in ONNX Runtime, one thread, no graph optimisation."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3

    def run(model: Any, feeds: Mapping[str, Array]) -> list[Array]:
        session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        results: list[Array] = session.run(None, dict(feeds))
        return results

    return run
