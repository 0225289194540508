"""fastconv itself: planned and prepacked, as a network runs it, and the plain function too."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconv
from fastconv.bench.cases import Case, Prepared, conv_arrays, gemm_arrays
from fastconv.bench.networks import files_of
from fastconv.conv import plan, run
from fastconv.profiler.executed import executed_macs, saved_macs


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    fastconv.set_num_threads(threads)
    if case.kind == "gemm":
        a, b = gemm_arrays(case)
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
        return Prepared(lambda: fastconv.gemm(a, b, out=out))
    if case.kind == "conv":
        return _conv(case, mode)
    files = files_of(case)
    x, model = files.x, fastconv.load(files.model)
    saved = saved_macs(model._executable((x.shape,)), model._constants)
    return Prepared(lambda: model(x), saved_macs=saved)


def _conv(case: Case, mode: str) -> Prepared:
    layer = case.layer
    x, w, bias = conv_arrays(case)
    options: dict[str, Any] = layer.kwargs
    planned = {"activation": None, "algorithm": "auto", "transposed": layer.transposed, **options}
    if mode == "functional":
        functions = {2: fastconv.conv2d, 3: fastconv.conv3d}
        function: Any = fastconv.conv_transpose2d if layer.transposed else functions[layer.spatial]
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
