"""fastconv itself: planned and prepacked, as a network runs it, and the plain function too."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._threads import set_num_threads
from fastconv.conv import Conv2d, Convolution, plan, run
from fastconv.importers import load
from fastconv.lab.compare.cases import Case, Prepared, conv_arrays, gemm_arrays
from fastconv.lab.compare.layer_work import executed_macs
from fastconv.lab.compare.network_files import files_of
from fastconv.lab.profile.counting import macs_by_arithmetic, saved_macs
from fastconv.lab.profile.executed import OUTPUTS
from fastconv.ops.conv import conv2d, conv3d, conv_transpose2d
from fastconv.ops.gemm import gemm
from fastconv.qconv import QConv2d
from fastconv.xnor import XnorConv2d

ARITHMETIC = {"xnor": "bit", "int8": "int8"}  # of a convolution of signs, by mode; of others f32


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    set_num_threads(threads)
    if case.kind == "gemm":
        a, b = gemm_arrays(case)
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
        return Prepared(lambda: gemm(a, b, out=out))
    if case.kind == "conv":
        return _conv(case, mode)
    if case.kind == "xnor":
        return _signs(case, mode)
    files = files_of(case)
    x, model = files.x, load(files.model)
    program = model.program(x.shape)
    others = {name: macs for name, macs in macs_by_arithmetic(program).items() if name != case.arithmetic}
    return Prepared(lambda: model(x), saved_macs=saved_macs(program), other_macs=others)


def _conv(case: Case, mode: str) -> Prepared:
    layer = case.layer
    x, w, bias = conv_arrays(case)
    options: dict[str, Any] = layer.kwargs
    planned = {"activation": None, "algorithm": "auto", "transposed": layer.transposed, **options}
    if mode == "functional":
        functions = {2: conv2d, 3: conv3d}
        function: Any = conv_transpose2d if layer.transposed else functions[layer.spatial]
        once = () if layer.transposed else x.shape
        algorithm = plan(
            w, bias, spatial=layer.spatial, planar=not layer.transposed, once_for=once, **planned
        ).algorithm(x.shape)
        saved = layer.macs - executed_macs(layer, algorithm)
        return Prepared(lambda: function(x, w, bias, **options), np.asarray, saved, algorithm)
    conv = plan(w, bias, spatial=layer.spatial, **planned)  # as Conv2d, of any rank
    algorithm = conv.algorithm(x.shape)
    saved = layer.macs - executed_macs(layer, algorithm)
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = np.empty((1, *layer.out, layer.oc), np.float32)
    return Prepared(
        lambda: run(conv, x, None, y, True, layer.spatial), lambda y: np.moveaxis(y, -1, 1), saved, algorithm
    )


def _signs(case: Case, mode: str) -> Prepared:
    """Prepare a convolution of signs: as that, by an algorithm for f32, or in 8 bits."""
    layer = case.layer
    x, w, bias = conv_arrays(case)
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    options: dict[str, Any] = {**layer.kwargs, "layout": "NHWC"}
    conv: Convolution
    if mode == "xnor":
        conv = XnorConv2d(w, bias, **options)
    elif mode == "int8":
        x = x.astype(np.int8)
        scale = np.abs(w[:, 0, 0, 0])
        conv = QConv2d(
            np.sign(w).astype(np.int8), bias, **options, x_dtype="int8", x_scale=1.0, w_scale=scale
        )
    else:
        conv = Conv2d(w, bias, **options, algorithm=mode)
    algorithm = conv.algorithm_for(x.shape)
    executed = executed_macs(layer, algorithm)
    others = {}
    if mode in ARITHMETIC:
        others = {"int16" if mode == "int8" and algorithm in OUTPUTS else ARITHMETIC[mode]: executed}
    y = np.empty((1, *layer.out, layer.oc), np.float32)
    return Prepared(
        lambda: conv(x, out=y), lambda y: np.moveaxis(y, -1, 1), layer.macs - executed, algorithm, others
    )
