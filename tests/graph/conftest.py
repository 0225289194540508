"""Fixtures of the graph tests: ONNX models of one node, and ONNX Runtime to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv

Array = npt.NDArray[Any]
MakeModel = Callable[..., Any]
Runtime = Callable[[Any, Mapping[str, Array]], list[Array]]
CheckNode = Callable[..., None]


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


def _node_model(
    op: str,
    inputs: Sequence[Array | None],
    *,
    constant: Sequence[int] = (),
    outputs: Sequence[np.dtype[Any]] = (np.dtype(np.float32),),
    opset: int = 21,
    domain: str = "",
    **attrs: Any,
) -> tuple[Any, dict[str, Array]]:
    """Make a model of one node, which holds its ``constant`` inputs, and what to feed it."""
    from onnx import helper, numpy_helper

    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    arrays = {f"x{i}": a for i, a in enumerate(inputs) if a is not None}
    fixed = {f"x{i}" for i in constant}
    element = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [helper.make_node(op, names, [f"y{i}" for i in range(len(outputs))], "node", domain=domain, **attrs)],
        "test",
        [
            helper.make_tensor_value_info(n, element(a.dtype), a.shape)
            for n, a in arrays.items()
            if n not in fixed
        ],
        [helper.make_tensor_value_info(f"y{i}", element(d), None) for i, d in enumerate(outputs)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items() if n in fixed],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return model, {n: a for n, a in arrays.items() if n not in fixed}


@pytest.fixture(scope="session")
def check_node(onnx: Any, runtime: Runtime) -> CheckNode:  # noqa: ARG001
    """Return a function that compares a node of any element types with ONNX Runtime, or what is expected."""

    def check(
        op: str,
        inputs: Sequence[Array | None],
        *,
        expected: Sequence[Array] | None = None,
        outputs: Sequence[Any] = (np.float32,),
        rtol: float = 2e-5,
        **options: Any,
    ) -> None:
        """Check a node with all inputs at run time, and with all but the first in the model.

        Floats agree within ``rtol`` of the largest; integers exactly.
        """
        dtypes = [np.dtype(d) for d in outputs]
        model, feeds = _node_model(op, inputs, outputs=dtypes, **options)
        if expected is None:
            expected = runtime(model, feeds)
        given = [i for i, a in enumerate(inputs) if a is not None]
        for constant in ((), given[1:], given):
            model, feeds = _node_model(op, inputs, outputs=dtypes, constant=constant, **options)
            got = fastconv.load(model).run(None, feeds)
            assert [g.dtype for g in got] == dtypes
            assert [g.shape for g in got] == [e.shape for e in expected]
            for g, e in zip(got, expected, strict=True):
                if g.dtype.kind in "iu":
                    np.testing.assert_array_equal(g, e, f"{op} {options}")
                else:
                    scale = max(1.0, float(np.abs(e[np.isfinite(e)]).max(initial=0)))
                    np.testing.assert_allclose(g, e, rtol, rtol * scale, err_msg=f"{op} {options}")

    return check


@pytest.fixture(scope="session")
def node_model(onnx: Any) -> MakeModel:  # noqa: ARG001
    """Return the function that makes a model of one node of any element types."""
    return _node_model
