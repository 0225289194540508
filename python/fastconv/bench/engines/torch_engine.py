"""PyTorch: eager on NCHW and on channels_last for single layers; channels_last and jit-frozen for networks.

Networks are run node by node from the same graph as everyone's, which in eager mode costs what a module's
forward costs, and which jit traces into the same program as it would the module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from fastconv.bench.cases import Case, Prepared, conv_arrays, gemm_arrays


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    torch.set_num_threads(threads)
    run = {"gemm": _gemm, "conv": _conv, "model": _model}[case.kind](case, mode)

    def without_autograd() -> Any:
        with torch.inference_mode():
            return run()

    return Prepared(without_autograd, lambda y: y.numpy())


def _gemm(case: Case, mode: str) -> Callable[[], Any]:  # noqa: ARG001
    a, b = map(torch.from_numpy, gemm_arrays(case))
    out = torch.empty(a.shape[0], b.shape[1])
    return lambda: torch.mm(a, b, out=out)


def _conv(case: Case, mode: str) -> Callable[[], Any]:
    layer = case.layer
    x, w, bias = map(torch.from_numpy, conv_arrays(case))
    top, left, bottom, right = layer.padding
    padding = (top, left)
    if mode == "channels_last":
        x, w = x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last)
    stride, dilation, groups = layer.stride, layer.dilation, layer.groups
    if (top, left) == (bottom, right):
        return lambda: F.conv2d(x, w, bias, stride, padding, dilation, groups)
    edges = (left, right, top, bottom)
    return lambda: F.conv2d(F.pad(x, edges), w, bias, stride, 0, dilation, groups)


def _model(case: Case, mode: str) -> Callable[[], Any]:
    from fastconv.bench.networks import network
    from fastconv.bench.torch_graph import GraphModule

    graph, image = network(case)
    x = torch.from_numpy(image)
    if x.shape[1] == 3:  # else it is NHWC, and the graph's own transposition makes it channels_last
        x = x.to(memory_format=torch.channels_last)
    module: Any = GraphModule(graph).eval().to(memory_format=torch.channels_last)
    if mode == "jit_frozen":
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and still faster than eager mode
            module = torch.jit.optimize_for_inference(torch.jit.trace(module, x))
    return lambda: module(x)
