"""Passes that join nodes into one that computes the same in one step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.registry import FASTCONV_DOMAIN, activation_of, lookup


def fuse_swish(graph: Graph) -> Graph:
    """Recognise silu, mish, hardswish and hardsigmoid where they are spelled out in smaller operators."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        found = None if node is None else _swish(edit, node)
        if node is None or found is None:
            continue
        op, domain, attrs, x, parts = found
        for part in parts:
            edit.remove(edit.writer[part.outputs[0]])
        edit.put(i, absorbing(replace(node, op=op, domain=domain, attrs=attrs, inputs=(x,)), *parts))
    return edit.build()


def _swish(edit: Editor, node: Node) -> tuple[str, str, dict[str, float], str, list[Node]] | None:
    """Return operator, domain, attributes, input and absorbed nodes of the function that ends at a node."""
    if node.domain or node.op not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    scaled = _over_six(edit, node)
    if scaled is not None:  # clip(x + 3, 0, 6) / 6, alone or times x
        clip = _relu6_of_x_plus_3(edit, scaled)
        if clip is not None:
            x, parts = clip
            return "HardSigmoid", "", {"alpha": 1 / 6, "beta": 0.5}, x, parts
        product = edit.private_producer(scaled)
        if product is None or product.domain or product.op != "Mul":
            return None
        for x, gate in (product.inputs, product.inputs[::-1]):
            clip = _relu6_of_x_plus_3(edit, gate)
            if clip is not None and clip[0] == x:
                return "HardSwish", "", {}, x, [product, *clip[1]]
        return None
    for x, gate in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
        producer = edit.private_producer(gate)
        if producer is not None and (producer.domain, producer.op) == ("", "Tanh"):
            softplus = edit.private_producer(producer.inputs[0])
            if softplus is not None and (softplus.op, softplus.inputs) == ("Softplus", (x,)):
                return "Mish", "", {}, x, [producer, softplus]
        if producer is None or producer.inputs[:1] != (x,):
            continue
        activation = activation_of(producer, edit.constants)
        if activation is None:
            continue
        if activation.kind == "sigmoid":
            return "Silu", FASTCONV_DOMAIN, {}, x, [producer]
        if activation.kind == "hardsigmoid" and np.allclose(activation[1:], (1 / 6, 0.5), rtol=1e-6):
            return "HardSwish", "", {}, x, [producer]
    return None


def _over_six(edit: Editor, node: Node) -> str | None:
    """Return what a node divides by six."""
    for value, other in (node.inputs, node.inputs[::-1]):
        number = edit.scalar(other)
        if number is None:
            continue
        if node.op == "Div" and other == node.inputs[1] and number == 6:
            return value
        if node.op == "Mul" and abs(number - 1 / 6) < 1e-7:
            return value
    return None


def _relu6_of_x_plus_3(edit: Editor, name: str) -> tuple[str, list[Node]] | None:
    clip = edit.private_producer(name)
    if clip is None or activation_of(clip, edit.constants) != ("clamp", 0.0, 6.0):
        return None
    shifted = edit.private_producer(clip.inputs[0])
    if shifted is None or shifted.domain or shifted.op != "Add":
        return None
    for x, other in (shifted.inputs, shifted.inputs[::-1]):
        if edit.scalar(other) == 3:
            return x, [clip, shifted]
    return None


def fuse_gelu(graph: Graph) -> Graph:
    """Recognise gelu, x * (1 + erf(x / sqrt(2))) / 2, in whatever order its factors are multiplied.

    The same with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) instead of erf is its approximation.
    """
    edit = Editor(graph)
    for i, node in enumerate(graph.nodes):
        found = _gelu(edit, i) if (node.domain, node.op) in (("", "Erf"), ("", "Tanh")) else None
        if found is None:
            continue
        x, last, parts = found
        attrs = {"approximate": "tanh"} if node.op == "Tanh" else {}
        for part in parts:
            edit.remove(edit.writer[part.outputs[0]])
        end = edit.nodes[last]
        assert end is not None
        edit.put(last, absorbing(replace(end, op="Gelu", attrs=attrs, inputs=(x,)), *parts))
    return edit.build()


def _gelu(edit: Editor, at: int) -> tuple[str, int, list[Node]] | None:
    """Return the input of the gelu around an Erf or Tanh, the index of its last node, and the rest."""
    node = edit.nodes[at]
    argument = None if node is None else (_of_erf if node.op == "Erf" else _of_tanh)(edit, node)
    if node is None or argument is None:
        return None
    x, inner = argument
    plus_one = _only_reader(edit, node)
    if plus_one is None or not _adds_one(edit, plus_one[1], node):
        return None
    first = _only_reader(edit, plus_one[1])
    if first is None or first[1].op != "Mul":
        return None
    parts = [*inner, node, plus_one[1]]
    factor = next(name for name in first[1].inputs if name != plus_one[1].outputs[0])
    half = edit.private_producer(factor)
    if half is not None and half.op == "Mul" and _times(edit, half, 0.5) == x:
        return x, first[0], [*parts, half]
    second = _only_reader(edit, first[1])
    if second is None or second[1].op != "Mul":
        return None
    rest = next(name for name in second[1].inputs if name != first[1].outputs[0])
    if (factor == x and edit.scalar(rest) == 0.5) or (rest == x and edit.scalar(factor) == 0.5):
        return x, second[0], [*parts, first[1]]
    return None


def _of_erf(edit: Editor, erf: Node) -> tuple[str, list[Node]] | None:
    """Return x and the node where the argument is x / sqrt(2)."""
    scaled = edit.private_producer(erf.inputs[0])
    x = None if scaled is None else _times(edit, scaled, 1 / math.sqrt(2))
    return None if scaled is None or x is None else (x, [scaled])


def _of_tanh(edit: Editor, tanh: Node) -> tuple[str, list[Node]] | None:
    """Return x and the nodes where the argument is sqrt(2 / pi) * (x + 0.044715 x^3)."""
    scaled = edit.private_producer(tanh.inputs[0])
    inner = None if scaled is None else _times(edit, scaled, math.sqrt(2 / math.pi))
    sum_ = None if inner is None else edit.private_producer(inner)
    if scaled is None or sum_ is None or sum_.domain or sum_.op != "Add":
        return None
    for x, cubic in (sum_.inputs, sum_.inputs[::-1]):
        product = edit.private_producer(cubic)
        cubed = None if product is None else _times(edit, product, 0.044715)
        cube = None if cubed is None else _cube(edit, cubed, x)
        if product is not None and cube is not None:
            return x, [scaled, sum_, product, *cube]
    return None


def _cube(edit: Editor, name: str, x: str) -> list[Node] | None:
    """Return the nodes that compute x^3, as a power or as two products."""
    node = edit.private_producer(name)
    if node is None or node.domain or len(node.inputs) != 2:
        return None
    if node.op == "Pow":
        return [node] if node.inputs[0] == x and edit.scalar(node.inputs[1]) == 3 else None
    for one, other in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
        square = edit.private_producer(other)
        if one == x and square is not None and not square.domain:
            two = square.op == "Pow" and square.inputs[0] == x and edit.scalar(square.inputs[1]) == 2
            if two or (square.op == "Mul" and square.inputs == (x, x)):
                return [node, square]
    return None


def _times(edit: Editor, node: Node, number: float) -> str | None:
    """Return what a node multiplies by a number, or divides by its inverse."""
    if node.domain or node.op not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        scalar = edit.scalar(other)
        if scalar and node.op == "Mul" and math.isclose(scalar, number, rel_tol=1e-5):
            return value
        if scalar and node.op == "Div" and other == node.inputs[1]:
            return value if math.isclose(1 / scalar, number, rel_tol=1e-5) else None
    return None


def _adds_one(edit: Editor, node: Node, known: Node) -> bool:
    """Whether a node adds 1 to the result of another."""
    return node.op == "Add" and any(
        edit.scalar(name) == 1 for name in node.inputs if name != known.outputs[0]
    )


def _only_reader(edit: Editor, node: Node) -> tuple[int, Node] | None:
    """Return index and node of what alone reads a node's result, once."""
    name = node.outputs[0]
    readers = edit.readers.get(name, set())
    if name in edit.outputs or len(readers) != 1:
        return None
    (index,) = readers
    reader = edit.nodes[index]
    alone = (
        reader is not None
        and not reader.domain
        and len(reader.inputs) == 2
        and reader.inputs.count(name) == 1
    )
    return (index, reader) if reader is not None and alone else None


def fuse_integer_sums(graph: Graph) -> Graph:
    """Let an integer layer give its sums as floats, as most are computed, where a Cast follows."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.domain or node.op != "Cast" or node.attrs.get("to") not in (1, "FLOAT"):
            continue
        layer = edit.private_producer(node.inputs[0])
        if layer is None or layer.domain or layer.op not in ("ConvInteger", "MatMulInteger"):
            continue
        at = edit.writer[node.inputs[0]]
        edit.remove(i)
        op = f"{layer.op}ToFloat"
        edit.put(at, absorbing(layer, node, op=op, domain=FASTCONV_DOMAIN, outputs=node.outputs))
    return edit.build()


def fuse_quantization(graph: Graph) -> Graph:
    """Have values that are quantised to 8 bits and back at once stay f32: rounded to multiples of the scale.

    The bits are the same. A relu before it is left out where the range of the quantised does its work.
    """
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.op != "DequantizeLinear":
            continue
        quantize = edit.private_producer(node.inputs[0])
        steps = _steps(edit, quantize) if quantize is not None and quantize.op == "QuantizeLinear" else None
        if quantize is None or steps is None or steps != _steps(edit, node):
            continue
        scale, least, _ = steps
        x, parts = quantize.inputs[0], [quantize]
        clamp = edit.private_producer(x)
        known = None if clamp is None else activation_of(clamp, edit.constants)
        if clamp is not None and known is not None and known.kind == "clamp":
            lo, hi = (np.rint(np.float32(limit) / np.float32(scale)) for limit in known[1:])
            if lo <= least and hi >= least + 255:
                x, parts = clamp.inputs[0], [quantize, clamp]
        for part in parts:
            edit.remove(edit.writer[part.outputs[0]])
        attrs = {"scale": scale, "least": least}
        new = replace(node, op="FakeQuantize", domain=FASTCONV_DOMAIN, attrs=attrs, inputs=(x,))
        edit.put(i, absorbing(new, *parts))
    return edit.build()


def _steps(edit: Editor, node: Node) -> tuple[float, float, np.dtype[Any]] | None:
    """Return scale, least multiple and integers of a node that quantises a tensor to 8 bits, or back."""
    scale, zero_point = (edit.constants.get(name) for name in (*node.inputs[1:3], "", "")[:2])
    if scale is None or scale.size != 1 or scale.dtype != np.float32 or not 0 < scale.reshape(()) < math.inf:
        return None
    if any(node.attrs.get(name) for name in ("block_size", "output_dtype", "precision")):
        return None
    if len(node.inputs) > 2 and node.inputs[2]:
        if zero_point is None or zero_point.size != 1 or zero_point.dtype not in (np.uint8, np.int8):
            return None
    else:
        zero_point = np.zeros(1, np.uint8)
    dtype = zero_point.dtype
    return float(scale.reshape(())), float(np.iinfo(dtype).min) - float(zero_point.reshape(())), dtype


def fuse_residual(graph: Graph) -> Graph:
    """Let a convolution add the other operand of a sum to its result as it stores it."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.domain or node.op not in ("Add", "Sum") or len(node.inputs) != 2:
            continue
        found = [
            (edit.writer[value], value, residual)
            for value, residual in (node.inputs, node.inputs[::-1])
            if residual not in edit.constants and _is_plain_conv(edit.private_producer(value))
        ]
        if not found or "axis" in node.attrs:
            continue
        at, _, residual = max(found)
        conv = edit.nodes[at]
        assert conv is not None
        bias = conv.inputs[2] if len(conv.inputs) > 2 else ""
        fused = absorbing(
            conv,
            node,
            op=conv.op if conv.domain else "FusedConv",
            domain=FASTCONV_DOMAIN,
            inputs=(*conv.inputs[:2], bias, residual),
            outputs=node.outputs,
            activation=node.activation,
        )
        edit.remove(at)
        edit.put(i, fused)
    return edit.build()


def _is_plain_conv(node: Node | None) -> bool:
    """Whether a node is a convolution that adds and applies nothing yet."""
    if node is None or node.activation != NO_ACTIVATION or any(node.inputs[3:]):
        return False
    ours = ("SignConv", "Bf16Conv") if node.domain == FASTCONV_DOMAIN else ()
    return (node.domain, node.op) == ("", "Conv") or node.op in ours


def fuse_activation(graph: Graph) -> Graph:
    """Apply an elementwise function where the node before it stores its result."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        activation = None if node is None else activation_of(node, edit.constants)
        target = None if node is None or activation is None else edit.private_producer(node.inputs[0])
        if node is None or target is None or not lookup(target).fusable or target.activation != NO_ACTIVATION:
            continue
        at = edit.writer[node.inputs[0]]
        edit.remove(i)
        edit.put(at, absorbing(target, node, activation=activation, outputs=node.outputs))
    return edit.build()
