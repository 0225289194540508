"""Other packages with threads and kernels of their own in one process, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]

OURS = """
import numpy as np
import fastconv
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 16, 40, 40), dtype=np.float32)
w = rng.standard_normal((32, 16, 3, 3), dtype=np.float32)
def ours():
    return fastconv.conv2d(x, w, padding=1)
fastconv.set_num_threads(2)
if FIRST:
    ours()
"""

THEIRS = {
    "torch": """
import torch
torch.set_num_threads(2)
def theirs():
    return torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1).numpy()
""",
    "onnxruntime": """
import onnx, onnxruntime
h = onnx.helper
graph = h.make_graph([h.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "net",
                     [h.make_tensor_value_info("x", 1, x.shape)], [h.make_tensor_value_info("y", 1, None)],
                     [onnx.numpy_helper.from_array(w, "w")])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
def theirs():
    return session.run(None, {"x": x})[0]
""",
    "openvino": """
import openvino
from openvino import opset13 as ops
image = ops.parameter(x.shape, np.float32, name="x")
node = ops.convolution(image, ops.constant(w), [1, 1], [1, 1], [1, 1], [1, 1])

compiled = openvino.compile_model(openvino.Model([node], [image], "net"), "CPU",
                                  {"INFERENCE_PRECISION_HINT": "f32"})
def theirs():
    return compiled([x])[compiled.output(0)]
""",
}

BOTH = """
import threading
expected, mode = ours(), np.float32(1e-39) * np.float32(1)
scale = np.abs(expected).max()
wrong = []
def many(work):
    for _ in range(20):
        if not np.abs(work() - expected).max() < 1e-5 * scale:
            wrong.append(work)
for work in (ours, theirs, ours, theirs):
    many(work)
callers = [threading.Thread(target=many, args=(work,)) for work in (ours, theirs)]
for c in callers: c.start()
for c in callers: c.join()
assert not wrong and np.array_equal(ours(), expected)
assert np.float32(1e-39) * np.float32(1) == mode
"""


@pytest.mark.parametrize("first", ["fastconv", "the other"])
@pytest.mark.parametrize("package", THEIRS)
def test_both_in_one_process(script: Script, package: str, first: str) -> None:
    """Imported and used in either order, one after the other and at the same time; then the process ends."""
    pytest.importorskip(package)
    if package == "onnxruntime":
        pytest.importorskip("onnx")
    if first == "fastconv":
        script(THEIRS[package] + BOTH, setup=OURS.replace("FIRST", "True"))
    else:
        script(OURS.replace("FIRST", "False") + THEIRS[package] + BOTH, setup=f"import {package}\n")
