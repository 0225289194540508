"""MNN in f32: networks alone, converted once; input and output stay on the host."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import MNN
import numpy as np

from fastconv.lab.compare.cases import Case, Prepared
from fastconv.lab.compare.network_files import files_of

# What MNN.tools.mnnconvert does, without its report to the makers, for which it installs packages.
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


def prepare(case: Case, mode: str, threads: int) -> Prepared:  # noqa: ARG001
    """Prepare a network; "high" keeps every product in f32."""
    files = files_of(case)
    converted = files.folder / "model.mnn"
    if not converted.exists():
        subprocess.run(
            [
                *(sys.executable, "-c", _CONVERT, "-f", "ONNX", "--bizCode", "bench"),
                *("--modelFile", str(files.model), "--MNNModel", str(converted)),
            ],
            check=True,
            capture_output=True,
        )
    interpreter = MNN.Interpreter(str(converted))
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    x = files.x
    interpreter.getSessionInput(session).copyFrom(_host(x))
    output = interpreter.getSessionOutput(session)
    y = _host(np.zeros(files.expected.shape, np.float32))

    def run() -> Any:
        interpreter.runSession(session)
        output.copyToHostTensor(y)
        return y

    return Prepared(run, lambda tensor: np.array(tensor.getData()).reshape(files.expected.shape))


def _host(array: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)
