"""The weights that read removed channels, made good by those of the channels that stay.

Channels of an image move together: what a removed one carried the others know in part. The weights that read
those are changed so that a layer's results on data have the least squared error (He et al. 2017,
arXiv:1707.06168).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from fastconv._progress import track
from fastconv.compress.channels import Trace
from fastconv.compress.compensate import DAMPING, input_rows
from fastconv.compress.decide import read_channels
from fastconv.compress.layers import Layer
from fastconv.compress.samples import Samples
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.passes.editor import Editor
from fastconv.graph.value import F32, Array

BATCH = 4
LAYERS = 8  # whose inputs are in memory at once


def refitted(trace: Trace, removed: Collection[int], samples: Samples) -> Graph:
    """Return a network whose layers do without some sets of channels as well as they can.

    Weights of the removed channels are zeros in it. Layers with groups, and transposed convolutions, lose
    them without more.
    """
    edit = Editor(trace.graph)
    gone = np.fromiter(removed, np.int64, len(removed))
    touched: list[tuple[str, Layer, Array]] = []
    for output, layer in trace.layers.items():
        given = read_channels(trace, layer)
        if given is None or layer.groups > 1 or layer.node.op == "ConvTranspose":
            continue
        lost = np.isin(given.sets, gone)
        if lost.any() and not lost.all():
            touched.append((output, layer, lost))
    parts = [touched[i : i + LAYERS] for i in range(0, len(touched), LAYERS)]
    for part in track(parts, "refitting layers"):
        names = list(dict.fromkeys(layer.node.inputs[0] for _, layer, _ in part))
        rows: dict[str, list[Array]] = {output: [] for output, _, _ in part}
        model = Model(trace.graph)
        for feeds in samples.batches(BATCH):
            values = dict(zip(names, model.run(names, feeds), strict=True))
            for output, layer, _ in part:
                rows[output].append(_rows(layer, values[layer.node.inputs[0]], trace))
        for output, layer, lost in part:
            _refit(edit, output, layer, lost, np.concatenate(rows[output]))
    return edit.build()


def _rows(layer: Layer, x: Array, trace: Trace) -> Array:
    """Return what a layer multiplies its weights by: (rows, inputs x taps)."""
    if layer.node.op != "Conv":
        return x.reshape(-1, layer.inputs)
    flat: Array = input_rows(x, layer.node, trace.graph.constants[layer.node.inputs[1]])[0]
    return flat.reshape(len(flat), -1, layer.inputs).transpose(0, 2, 1).reshape(len(flat), -1)


def _refit(edit: Editor, output: str, layer: Layer, lost: Array, rows: Array) -> None:
    taps = layer.weights.shape[2]
    gone, left = (np.flatnonzero(np.repeat(which, taps)) for which in (lost, ~lost))
    biased = layer.node.op != "MatMul"  # a bias makes good for means
    mean = rows.mean(0, dtype=np.float64) if biased else np.zeros(rows.shape[1])
    rows = rows - mean.astype(np.float32)
    products = (rows[:, left].T @ rows).astype(np.float64) / len(rows)
    known = products[:, left]
    known += DAMPING * (np.trace(known) / len(left) or 1.0) * np.eye(len(left))
    flat = layer.weights.reshape(layer.outputs, -1).astype(np.float64)
    added = np.linalg.solve(known, products[:, gone] @ flat[:, gone].T).T
    weights = np.zeros_like(flat)
    weights[:, left] = flat[:, left] + added
    bias = layer.bias + flat[:, gone] @ mean[gone] - added @ mean[left]
    own, own_bias, node = layer.rewritten(weights.reshape(layer.weights.shape), bias, 1)
    inputs = [node.inputs[0], edit.constant(node.inputs[1], own)]
    if biased:
        inputs.append(edit.constant(f"{output}:bias", own_bias, F32))
    edit.put(edit.writer[output], replace(node, inputs=tuple(inputs)))
