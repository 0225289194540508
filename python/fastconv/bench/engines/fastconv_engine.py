"""fastconv itself: planned and prepacked, as a network runs it, and the plain function too."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconv
from fastconv.bench.cases import Case, Prepared, conv_arrays, gemm_arrays
from fastconv.bench.executed import executed_macs, saved_macs
from fastconv.bench.networks import network
from fastconv.conv import plan
from fastconv.graph.model import Model
from fastconv.testing.shapes import ConvLayer


def prepare(case: Case, mode: str, threads: int) -> Prepared:
    """Prepare a case."""
    fastconv.set_num_threads(threads)
    if case.kind == "gemm":
        a, b = gemm_arrays(case)
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
        return Prepared(lambda: fastconv.gemm(a, b, out=out))
    if case.kind == "conv":
        return _conv(case, mode)
    graph, x = network(case)
    model = Model(graph)
    saved = saved_macs(model._executable((x.shape,)), model._constants)
    return Prepared(lambda: model(x), saved_macs=saved)


def _conv(case: Case, mode: str) -> Prepared:
    layer = case.layer
    x, w, bias = conv_arrays(case)
    options: dict[str, Any] = layer.kwargs
    if mode == "function":
        y = np.empty((1, layer.oc, layer.oh, layer.ow), np.float32)
        once = plan(
            w, bias, **options, activation=None, algorithm="auto", spatial=2, once_for=x.shape
        ).algorithm()  # fmt: skip
        return Prepared(
            lambda: fastconv.conv2d(x, w, bias, out=y, **options), np.asarray, *_executed(layer, once)
        )
    conv = fastconv.Conv2d(w, bias, layout="NHWC", **options)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    y = np.empty((1, layer.oh, layer.ow, layer.oc), np.float32)
    executed = _executed(layer, conv.algorithm_for(x.shape))
    return Prepared(lambda: conv(x, out=y), lambda y: y.transpose(0, 3, 1, 2), *executed)


def _executed(layer: ConvLayer, algorithm: str) -> tuple[int, str]:
    return layer.macs - executed_macs(layer, algorithm), algorithm
