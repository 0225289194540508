"""What is computed by functions of numpy enters no BLAS: its threads heed no fastconv.threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]

# The threads that numpy's BLAS has, and the seconds that they and our own worked during a call.
SETUP = """
import os, time
import numpy as np
import threadpoolctl

loaded = threadpoolctl.ThreadpoolController().lib_controllers
blas = next((lib for lib in loaded if lib.internal_api == "openblas"), None)
if blas is None:
    print("no OpenBLAS")
    raise SystemExit
blas.set_num_threads(2)
A = np.random.default_rng(0).standard_normal((700, 700))
A @ A
others = {int(t) for t in os.listdir("/proc/self/task")} - {os.getpid()}
assert others, "BLAS has no thread of its own"
time.sleep(0.3)  # they sleep by now

def worked(call):
    def seconds():
        return sum(int(open(f"/proc/self/task/{t}/schedstat").read().split()[0]) * 1e-9 for t in others)
    before = seconds()
    call()
    return seconds() - before

assert worked(lambda: [A @ A for _ in range(5)]) > 2e-3, "the threads of BLAS are not seen to work"
time.sleep(0.3)

import onnx
import fastconv

def model(op, inputs, constants={}, opset=20, **attributes):
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    arrays = {**inputs, **constants}
    graph = helper.make_graph(
        [helper.make_node(op, list(arrays), ["y"], **attributes)], "net",
        [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return fastconv.load(proto, threads=1), list(inputs.values())

rng = np.random.default_rng(1)
f64 = lambda *shape: rng.standard_normal(shape)
f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
u8 = lambda *shape: rng.integers(0, 256, shape).astype(np.uint8)
"""
CASES = {
    "MatMul of f64": 'model("MatMul", {"a": f64(400, 500), "b": f64(500, 300)})',
    "MatMul of a stack of f64": 'model("MatMul", {"a": f64(3, 400, 500)}, {"b": f64(500, 300)})',
    "Gemm of f64": 'model("Gemm", {"a": f64(400, 500), "b": f64(300, 500)}, {"c": f64(300)}, transB=1)',
    "Einsum of three": 'model("Einsum", {"a": f32(300, 300), "b": f32(300, 300), "c": f32(300, 300)},'
    ' equation="ij,jk,kl->il")',
    "Einsum of f64": 'model("Einsum", {"a": f64(300, 300), "b": f64(300, 300)}, equation="ij,kj->ik")',
    "Einsum with an ellipsis": 'model("Einsum", {"a": f32(2, 300, 300), "b": f32(300, 300)},'
    ' equation="...ij,jk->...ik")',
    "MatMulInteger": 'model("MatMulInteger", {"a": u8(400, 500), "b": u8(500, 300)})',
    "ConvInteger": 'model("ConvInteger", {"x": u8(1, 128, 20, 20), "w": u8(128, 128, 3, 3)})',
    "Conv of f64": 'model("Conv", {"x": f64(1, 128, 20, 20)}, {"w": f64(128, 128, 3, 3)})',
    "ConvTranspose of f64": 'model("ConvTranspose", {"x": f64(1, 128, 20, 20)}, {"w": f64(128, 128, 3, 3)})',
    "DeformConv": 'model("DeformConv", {"x": f32(1, 64, 20, 20), "w": f32(128, 64, 3, 3),'
    ' "offset": f32(1, 18, 18, 18)})',
    "AffineGrid": 'model("AffineGrid", {"theta": f32(2, 2, 3)}, {"size": np.array([2, 3, 700, 700])})',
    "AffineGrid of f64": 'model("AffineGrid", {"theta": f64(2, 2, 3)}, {"size": np.array([2, 3, 700, 700])})',
    "GRU": 'model("GRU", {"x": f32(5, 64, 200), "w": f32(1, 600, 200), "r": f32(1, 600, 200)},'
    " hidden_size=200)",
}


@pytest.mark.parametrize("case", CASES)
def test_no_thread_of_blas_works(case: str, script: Script) -> None:
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("onnx")
    told = script(
        f"""
net, inputs = {CASES[case]}
took = worked(lambda: [net(*inputs) for _ in range(3)])
assert took < 2e-4, f"threads of BLAS worked for {{1e3 * took:.2f}} ms"
assert {{int(t) for t in os.listdir("/proc/self/task")}} - {{os.getpid()}} == others, "further threads"
print("none worked")
""",
        setup=SETUP,
    )
    if "no OpenBLAS" in told:
        pytest.skip("numpy has another BLAS, whose threads are not known")
    assert "none worked" in told
