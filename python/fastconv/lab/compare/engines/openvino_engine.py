"""OpenVINO in f32 for latency: one stream, input and output set once."""

from __future__ import annotations

import io

import openvino as ov

from fastconv.lab.compare.cases import Case, Prepared
from fastconv.lab.compare.onnx_cases import onnx_case


def prepare(case: Case, mode: str, threads: int) -> Prepared:  # noqa: ARG001
    """Prepare a case; without the hint it would compute in bf16 where the CPU can."""
    model, x, _ = onnx_case(case)
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(io.BytesIO(model)),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
        },
    )
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(x))  # a copy that the request owns

    def run() -> ov.Tensor:
        request.infer()
        return request.get_output_tensor()

    return Prepared(run, lambda y: y.data)
