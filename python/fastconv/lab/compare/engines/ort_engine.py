"""ONNX Runtime: models of one node for single layers; input and output are bound: a run copies neither.

With more than one thread it is timed with its default pool, whose threads spin between runs, and with one
that sleeps.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from fastconv.lab.compare.cases import Case, Prepared
from fastconv.lab.compare.onnx_cases import onnx_case


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if "sleep" in mode else "1")
    model, x, shape = onnx_case(case)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    binding = session.io_binding()
    value = ort.OrtValue.ortvalue_from_numpy(x)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    y = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, y)

    def run() -> ort.OrtValue:
        session.run_with_iobinding(binding)
        return y

    return Prepared(run, lambda y: y.numpy())
