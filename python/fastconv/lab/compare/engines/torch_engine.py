"""PyTorch in its modes: eager on NCHW (the plain function), channels_last, and frozen by jit.

Torchvision's networks run as their modules. The others run node by node from the graph of everyone's file:
in eager mode that costs what a module's forward costs, and jit traces it into the same program. A file with
operators beyond those of torch_graph.py runs as the module that onnx2torch makes of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from fastconv.errors import MissingPackageError
from fastconv.lab.compare.cases import Case, Prepared, conv_arrays, gemm_arrays
from fastconv.lab.compare.network_files import files_of
from fastconv.lab.compare.networks import import_torchvision, is_torchvision, torchvision_module

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    torch.set_num_threads(threads)
    with torch.no_grad():
        run = {"gemm": _gemm, "conv": _conv, "xnor": _conv, "model": _model}[case.kind](case, mode)

    def without_autograd() -> Any:
        with torch.inference_mode():
            return run()

    return Prepared(without_autograd, lambda y: y.numpy())


def _gemm(case: Case, mode: str) -> Callable[[], Any]:  # noqa: ARG001
    a, b = map(torch.from_numpy, gemm_arrays(case))
    out = torch.empty(a.shape[0], b.shape[1])
    return lambda: torch.mm(a, b, out=out)


class _Layer(torch.nn.Module):  # type: ignore[misc]  # torch is optional: mypy does not read it
    """A convolution as a module; padding that is not symmetric, which torch's functions lack, goes first."""

    def __init__(self, case: Case, w: Any, bias: Any) -> None:
        super().__init__()
        layer = case.layer
        self.w, self.bias = torch.nn.Parameter(w), torch.nn.Parameter(bias)
        symmetric = all(low == high for low, high in layer.pads)
        padding = tuple(low for low, _ in layer.pads) if symmetric else (0,) * layer.spatial
        self.edges = () if symmetric else tuple(n for pair in reversed(layer.pads) for n in pair)
        self.options: tuple[Any, ...] = (layer.stride, padding, layer.dilation, layer.groups)
        self.function: Any = {2: F.conv2d, 3: F.conv3d}[layer.spatial]
        if layer.transposed:
            self.function = F.conv_transpose2d
            self.options = (layer.stride, padding, layer.output_padding, layer.groups, layer.dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layer."""
        return self.function(F.pad(x, self.edges) if self.edges else x, self.w, self.bias, *self.options)


def _conv(case: Case, mode: str) -> Callable[[], Any]:
    x, w, bias = map(torch.from_numpy, conv_arrays(case))
    if mode != "nchw":
        x, w = (t.to(memory_format=CHANNELS_LAST[t.dim()]) for t in (x, w))
    layer: Any = _Layer(case, w, bias).eval()
    return _run(layer, x, mode)


def _model(case: Case, mode: str) -> Callable[[], Any]:
    files = files_of(case)
    x = torch.from_numpy(files.x)
    name = case.parameters["model"]
    module = torchvision_module(name) if is_torchvision(case) else module_of(files.model)
    if mode != "nchw":
        module = module.to(memory_format=torch.channels_last)
        if x.shape[1] == 3:  # else it is NHWC, and the graph's own transposition makes it channels_last
            x = x.to(memory_format=torch.channels_last)
    return _run(module, x, mode)


def module_of(path: Path) -> Any:
    """Return an ONNX file's network as a torch module."""
    from fastconv.importers.onnx import from_file
    from fastconv.lab.compare.torch_graph import OPS, GraphModule

    graph = from_file(path)
    beyond = sorted({node.op for node in graph.nodes} - set(OPS))
    if not beyond:
        return GraphModule(graph).eval()
    import_torchvision()  # which onnx2torch imports in its turn
    try:
        from onnx2torch import convert
    except ImportError as error:
        raise MissingPackageError(
            f"running {', '.join(beyond)} in torch needs a package: pip install onnx2torch"
        ) from error
    return convert(path).eval()


def _run(module: Any, x: torch.Tensor, mode: str) -> Callable[[], Any]:
    if mode == "jit":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and still faster than eager mode
            module = torch.jit.optimize_for_inference(torch.jit.trace(module, x))
    return lambda: module(x)
