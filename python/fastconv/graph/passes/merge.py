"""The pass that adds up convolutions of one value: the branches of a network that was trained with more."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fastconv.graph.budget import Budget
from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.passes.fold import affine_of, fold_affine
from fastconv.graph.value import Array


def merge_branches(graph: Graph, budget: Budget | None = None) -> Graph:
    """Make one convolution of the sum of several of one value, where a kernel holds the others.

    RepVGG, MobileOne and the like are trained so: W1 * x + W2 * x = (W1 + W2) * x, a smaller kernel with
    zeros around it; x after a batch normalisation is a kernel of one tap (Ding et al. 2021). So is x
    itself, but only where the convolution is depthwise: others add it as their residual. What multiplies
    and shifts channels may then be folded into the one that is left.
    """
    edit = Editor(graph, budget)
    merged = False
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.domain or node.op not in ("Add", "Sum") or len(node.inputs) != 2:
            continue
        if "axis" in node.attrs or node.activation != NO_ACTIVATION:
            continue
        for first, second in (node.inputs, node.inputs[::-1]):
            found = _merged(edit, first, second)
            if found is None:
                continue
            conv, parts = found
            for part in parts:
                edit.remove(edit.writer[part.outputs[0]])
            edit.put(i, absorbing(conv, *parts[1:], node, outputs=node.outputs))
            merged = True
            break
    graph = edit.build()
    return fold_affine(graph, budget) if merged else graph


def _merged(edit: Editor, first: str, second: str) -> tuple[Node, list[Node]] | None:
    """Return the convolution of ``first`` with ``second`` added, and the nodes that it stands for."""
    conv = edit.private_producer(first)
    kernel = None if conv is None else _kernel_of(edit, conv)
    if conv is None or kernel is None or not edit.budget.allows(4 * 8 * kernel.w.size):
        return None
    branch = _branch(edit, conv, kernel, second)
    place = None if branch is None else kernel.place_of(branch.kernel)
    if branch is None or place is None:
        return None
    w, other = kernel.w.astype(np.float64), branch.kernel
    w[place] += other.w
    inputs = [conv.inputs[0], edit.constant(conv.inputs[1], w), ""]
    shift = np.broadcast_to(kernel.bias + other.bias, w.shape[:1])
    if shift.any():
        inputs[2] = edit.constant(f"{conv.outputs[0]}:bias", shift)
    return replace(conv, inputs=tuple(inputs)), [conv, *branch.nodes]


class _Kernel(NamedTuple):
    """Weights, bias (a vector or 0) and, along each axis, padding before and after, and dilation."""

    w: Array
    bias: Array
    pads: list[tuple[int, int]]
    dilations: list[int]

    def place_of(self, other: _Kernel) -> tuple[slice, ...] | None:
        """Return which of the taps are the other's: those that see the same pixels for the same output."""
        place = [slice(None), slice(None)]
        for k, other_k, (lo, hi), (other_lo, other_hi), d in zip(
            self.w.shape[2:], other.w.shape[2:], self.pads, other.pads, self.dilations, strict=True
        ):
            first, rest = divmod(lo - other_lo, d)
            # Results of one size reach equally far beyond the image's end as well.
            last = (k - 1) * d - hi == (first + other_k - 1) * d - other_hi + rest
            if rest or first < 0 or first + other_k > k or not last:
                return None
            place.append(slice(first, first + other_k))
        return tuple(place)


def _kernel_of(edit: Editor, node: Node) -> _Kernel | None:
    """Return what a plain convolution with constant weights sums."""
    if (node.domain, node.op) != ("", "Conv") or node.activation != NO_ACTIVATION:
        return None
    w = edit.constants.get(node.inputs[1])
    if w is None or w.ndim < 3 or w.dtype != np.float32 or node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    name, spatial = (node.inputs[2] if len(node.inputs) > 2 else ""), w.ndim - 2
    bias = edit.constants.get(name) if name else np.zeros(())
    pads = list(node.attrs.get("pads") or [0] * 2 * spatial)
    strides, dilations = (list(node.attrs.get(a) or [1] * spatial) for a in ("strides", "dilations"))
    lengths = len(strides) == len(dilations) == spatial and len(pads) == 2 * spatial
    if not lengths or min(dilations) < 1 or bias is None or (name and bias.shape != w.shape[:1]):
        return None
    pairs = list(zip(pads[:spatial], pads[spatial:], strict=True))
    return _Kernel(w, bias.astype(np.float64), pairs, dilations)


class _Branch(NamedTuple):
    kernel: _Kernel
    nodes: list[Node]


def _branch(edit: Editor, conv: Node, kernel: _Kernel, name: str) -> _Branch | None:
    """Return what is added to a convolution as a kernel on its x, and the nodes that it stands for."""
    x, spatial = conv.inputs[0], len(kernel.pads)
    factor, offset, nodes = np.ones(()), np.zeros(()), []
    if name != x:
        node = edit.private_producer(name)
        if node is None or x not in node.inputs[:1]:
            return None
        other = _kernel_of(edit, node)
        if other is not None:
            alike = all(_attribute(conv, a, spatial) == _attribute(node, a, spatial) for a in _ALIKE)
            fits = other.w.ndim == kernel.w.ndim and other.w.shape[:2] == kernel.w.shape[:2]
            return _Branch(other, [node]) if alike and fits else None
        affine = affine_of(edit, node) if node.op == "BatchNormalization" else None
        if affine is None or node.activation != NO_ACTIVATION:
            return None
        (_, factor, offset), nodes = affine, [node]
    # x by channel: one tap, which a stride must not skip, from each channel to itself.
    channels, group = kernel.w.shape[0], conv.attrs.get("group", 1)
    square = group >= 1 and channels == group * kernel.w.shape[1]
    strided = _attribute(conv, "strides", spatial) != [1] * spatial
    if not square or strided or (not nodes and group != channels):
        return None
    if any(v.shape not in ((), (channels,)) for v in (factor, offset)) or not np.isfinite(factor).all():
        return None
    w = np.zeros((*kernel.w.shape[:2], *[1] * spatial))
    each = np.arange(channels)
    w[each, each % kernel.w.shape[1], ...] = np.broadcast_to(factor, channels).reshape(-1, *[1] * spatial)
    return _Branch(_Kernel(w, offset, [(0, 0)] * spatial, [1] * spatial), nodes)


_ALIKE = ("strides", "dilations", "group")


def _attribute(node: Node, name: str, spatial: int) -> object:
    """Return an attribute of a convolution, or its default."""
    if name == "group":
        return node.attrs.get(name, 1)
    return list(node.attrs.get(name) or [1] * spatial)
