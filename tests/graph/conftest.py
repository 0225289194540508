"""Fixtures of the graph tests: ONNX models of one node, ONNX Runtime to compare with, a network to save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv.graph.ir import Graph, GraphBuilder

Array = npt.NDArray[Any]
MakeModel = Callable[..., Any]
MakeGraph = Callable[..., Graph]
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


@pytest.fixture(scope="session")
def network() -> MakeGraph:
    """Return a function of a random generator and an image size, or None for any, that makes a graph."""
    return everything_that_packs


def everything_that_packs(rng: np.random.Generator, size: int | None = 20) -> Graph:
    """One of everything that packs: depthwise, groups, Winograd, transposed, classifiers of both kinds."""
    b = GraphBuilder("everything", {})

    def w(*shape: int) -> str:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return b.constant(f"w{len(b.constants)}", values.astype(np.float32))

    x = b.input("x", ("batch", 3, size, size))
    y = b.add("Conv", x, w(32, 3, 3, 3), w(32), strides=[2, 2], pads=[1, 1, 1, 1], name="stem")
    y = b.add("Clip", y, b.constant("low", np.float32(0)), b.constant("high", np.float32(6)))
    y = b.add("Relu", b.add("Add", b.add("Conv", y, w(32, 32, 3, 3), pads=[1] * 4, name="block"), y))
    y = b.add("Conv", y, w(32, 1, 3, 3), group=32, pads=[1] * 4, name="depthwise")
    y = b.add("LeakyRelu", b.add("Conv", y, w(24, 8, 3, 3), group=4, name="groups"), alpha=0.1)
    y = b.add("ConvTranspose", y, w(24, 10, 2, 2), strides=[2, 2], name="transposed")
    y = b.add("Conv", y, w(40, 10, 1, 1), w(40), name="pointwise")
    flat = b.add("Flatten", b.add("GlobalAveragePool", y))
    y = b.add("Gemm", flat, w(24, 40), w(24), transB=1, alpha=0.5)
    y = b.add("Add", b.add("MatMul", y, w(24, 10)), w(10))
    b.output(b.add("Softmax", y), "y", ("batch", 10))
    return b.build()


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
