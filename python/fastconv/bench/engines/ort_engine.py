"""ONNX Runtime: models of one node for single layers; input and output are bound: a run copies neither.

With more than one thread it is timed with its default pool, whose threads spin between runs, and with one
that sleeps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from fastconv.bench.cases import Case, Prepared, conv_arrays, gemm_arrays
from fastconv.bench.onnx_writer import to_onnx
from fastconv.graph.ir import Graph, GraphBuilder


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if mode == "sleep" else "1")
    graph, feeds = {"gemm": _gemm, "conv": _conv, "model": _model}[case.kind](case)
    model = to_onnx(graph, {name: x.shape for name, x in feeds.items()}).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    binding = session.io_binding()
    values = {name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in feeds.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    shape = session.run(None, feeds)[0].shape
    y = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, y)

    def run() -> ort.OrtValue:
        session.run_with_iobinding(binding)
        return y

    return Prepared(run, lambda y: y.numpy())


Feeds = dict[str, npt.NDArray[np.float32]]


def _gemm(case: Case) -> tuple[Graph, Feeds]:
    a, b = gemm_arrays(case)
    builder = GraphBuilder(
        "gemm", {}
    )  # B is an input: a constant would be packed beforehand, and numpy's is not
    y = builder.add("MatMul", builder.input("a", a.shape), builder.input("b", b.shape))
    builder.output(y, shape=(a.shape[0], b.shape[1]))
    return builder.build(), {"a": a, "b": b}


def _conv(case: Case) -> tuple[Graph, Feeds]:
    layer = case.layer
    x, w, bias = conv_arrays(case)
    builder = GraphBuilder("conv", {"w": w, "bias": bias})
    y = builder.add(
        "Conv", builder.input("x", x.shape), "w", "bias",
        strides=[layer.stride] * 2, pads=list(layer.padding), dilations=[layer.dilation] * 2,
        group=layer.groups,
    )  # fmt: skip
    builder.output(y, shape=(1, layer.oc, layer.oh, layer.ow))
    return builder.build(), {"x": x}


def _model(case: Case) -> tuple[Graph, Feeds]:
    from fastconv.bench.networks import network

    graph, x = network(case)
    return graph, {graph.inputs[0].name: x}
