"""Zeros in the place of channels: what tools that prune by masks leave of a network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from fastconv.compress.channels import Trace
from fastconv.graph.ir import Graph
from fastconv.graph.passes.editor import Editor


def masked(trace: Trace, sets: Collection[int], *, shifts: bool = True) -> Graph:
    """Return a network with zeros for all filters that write some sets of channels.

    Parameters
    ----------
    trace : Trace
    sets : collection of int
        Their numbers.
    shifts : bool
        Whether biases and batch normalisations write zeros too. Without it they are as they were, and the
        channels are constants.
    """
    edit = Editor(trace.graph)
    chosen = np.fromiter(sets, np.int64, len(sets))
    for i, node in enumerate(trace.graph.nodes):
        layer, known = trace.layers.get(node.outputs[0]), trace.channels.get(node.outputs[0])
        if known is None or (layer is None and node.op != "BatchNormalization"):
            continue
        gone = np.isin(known.sets, chosen)
        inputs = list(node.inputs)
        if layer is not None:
            weights = np.where(gone[:, None, None], 0, layer.weights)
            bias = np.where(gone & shifts, 0.0, layer.bias)
            own, own_bias, node = layer.rewritten(weights, bias, layer.groups)
            inputs[1] = edit.constant(inputs[1], own)
            if len(inputs) > 2 and inputs[2]:
                inputs[2] = edit.constant(inputs[2], own_bias)
        elif shifts:
            for k in (1, 2):  # factor and shift
                inputs[k] = edit.constant(inputs[k], np.where(gone, 0, trace.graph.constants[inputs[k]]))
        edit.put(i, replace(node, inputs=tuple(inputs)))
    return edit.build()
