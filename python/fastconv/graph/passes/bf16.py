"""The pass that finds layers of numbers that are rounded to bf16: the place of bf16 in an ONNX file.

A file says of such a layer that its input went through ``Cast(to=BFLOAT16)`` and ``Cast(to=FLOAT)``, and
that its weights are constants which bf16 holds exactly. Any runtime computes that, and fastconv's kernels for
bf16 do the same in one step.
"""

from __future__ import annotations

import numpy as np

from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.ops.bf16 import BFLOAT16
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.registry import FASTCONV_DOMAIN
from fastconv.graph.value import F32, Array

_LAYERS = {"Conv": "Bf16Conv", "Gemm": "Bf16Gemm", "MatMul": "Bf16MatMul"}


def use_bf16(graph: Graph) -> Graph:
    """Let layers both of whose inputs are rounded to bf16 read the numbers from before the rounding."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.domain or node.op not in _LAYERS or node.activation != NO_ACTIVATION:
            continue
        casts = _casts(edit, node.inputs[0])
        if casts is None or not _multiplies_bf16(edit, node):
            continue
        # Casts that others read too stay, for those.
        alone = edit.private_producer(node.inputs[0]) is not None
        inputs = (casts[0].inputs[0], *node.inputs[1:])
        changes = {"op": _LAYERS[node.op], "domain": FASTCONV_DOMAIN, "inputs": inputs}
        edit.put(i, absorbing(node, *(casts if alone else ()), **changes))
    return edit.build()


def _casts(edit: Editor, name: str) -> tuple[Node, Node] | None:
    """Return the two nodes that round a value to bf16 and widen it, the first one first."""
    wide = edit.producer(name)
    narrow = None if wide is None or not _is_cast(wide, 1, "FLOAT") else edit.producer(wide.inputs[0])
    if wide is None or narrow is None or not _is_cast(narrow, BFLOAT16, "BFLOAT16"):
        return None
    return narrow, wide


def _is_cast(node: Node, number: int, name: str) -> bool:
    return (node.domain, node.op) == ("", "Cast") and node.attrs.get("to") in (number, name)


def _multiplies_bf16(edit: Editor, node: Node) -> bool:
    """Whether a layer's weights are constants that bf16 holds, and are multiplied as they are."""
    w = edit.constants.get(node.inputs[1])
    if w is None or not is_bf16(w) or (node.op != "Conv" and w.ndim != 2):
        return False
    if node.op != "Gemm":
        return True
    bias = (*node.inputs, "")[2]
    columns = w.shape[0 if node.attrs.get("transB") else 1]
    known = edit.constants.get(bias)
    plain = not bias or (known is not None and known.shape in ((), (1,), (columns,), (1, 1), (1, columns)))
    return plain and node.attrs.get("alpha", 1.0) == 1


def is_bf16(array: Array) -> bool:
    """Whether numbers are f32 ones that bf16 holds exactly: the lower half of their bits is zeros.

    >>> is_bf16(np.array([1.5, -0.0, np.inf], np.float32)), is_bf16(np.array([0.1], np.float32))
    (True, False)
    """
    return array.dtype == F32 and not (np.ascontiguousarray(array).view(np.uint32) & 0xFFFF).any()
