"""What ONNX Runtime's optimiser writes, as the ONNX operators that it stands for.

A session with ``optimized_model_filepath`` saves a graph of joined nodes: a convolution with its residual and
activation, a sum with the normalisation after it. They are written out again here, so that all that reads
ONNX's vocabulary reads these files, and the passes join what they would join of any file. FusedMatMul needs
the ranks of its inputs, and is an operator (:mod:`fastconv.graph.ops.linear`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.errors import ModelError, UnsupportedOpError
from fastconv.graph.ir import Node
from fastconv.graph.registry import MICROSOFT, describe

BLOCKED = "com.microsoft.nchwc"
OPSET = 24  # of ONNX, which has all the operators that are written here
CLIP_OPSET = 6  # whose Clip has its limits as attributes

# The activations of FusedConv and FusedGemm: the names of their parameters, in the order of FusedConv's list.
_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "ThresholdedRelu"), ("alpha",)),
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
_SKIP_EPSILON = 1e-12  # of the schemas of SkipLayerNormalization and EmbedLayerNormalization


class _Writer:
    """Writes the nodes that one stands for; the last of them gives its first output, under its name."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nodes: list[Node] = []

    def add(self, op: str, *inputs: str, output: str = "", **attrs: Any) -> str:
        """Append a node for an intermediate value, and return that value's name: ``output`` if it has one."""
        part = f"{len(self.nodes)}/{op}"
        output = output or f"{self.node.outputs[0]}/{part}"
        self.nodes.append(Node(op, f"{self.node.name}/{part}", inputs, (output,), attrs, OPSET))
        return output

    def number(self, value: Any) -> str:
        """Append a constant, and return its name."""
        return self.add("Constant", value=np.asarray(value))

    def last(self, op: str, *inputs: str, outputs: Sequence[str] = (), **attrs: Any) -> None:
        """Append the node that takes the place of the whole."""
        outputs = outputs or self.node.outputs[:1]
        self.nodes.append(Node(op, self.node.name, inputs, tuple(outputs), attrs, OPSET))

    def input(self, index: int) -> str:
        """Return the name of an input; the empty one where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def output(self, index: int) -> str:
        """Return the name of an output; the empty one where it is left out."""
        return self.node.outputs[index] if index < len(self.node.outputs) else ""

    def attributes(self, **known: Any) -> list[Any]:
        """Return attributes, by name with their defaults; others are refused."""
        for name in self.node.attrs:
            if name not in known:
                raise UnsupportedOpError(
                    f"{describe(self.node)}: expected attributes among {sorted(known)}, got {name!r}"
                )
        return [self.node.attrs.get(name, default) for name, default in known.items()]


def written_out(node: Node) -> list[Node]:
    """Return the ONNX nodes that a node of ONNX Runtime's stands for; any other node is itself.

    ModelError where inputs are missing, or an activation's parameters do not fit it; UnsupportedOpError for
    nodes in the layout of one processor, which ONNX Runtime itself asks not to carry elsewhere.
    """
    if node.domain == BLOCKED:
        raise UnsupportedOpError(
            f"{describe(node)}: expected a graph that does not depend on the processor, got images in blocks"
            f" of channels ({BLOCKED}); save the optimised model with graph_optimization_level"
            " ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL"
        )
    entry = _WRITTEN.get((node.domain, node.op))
    if entry is None:
        return [node]
    required, most, write = entry
    writer = _Writer(node)
    if len(node.inputs) > most or not all(map(writer.input, required)):
        raise ModelError(
            f"{describe(node)}: expected at most {most} inputs, among them those at {list(required)},"
            f" got {list(node.inputs)}"
        )
    write(writer)
    return writer.nodes


def _split_activation(node: Node) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return a joined node's own attributes, its activation (empty if none), and that one's attributes."""
    own = {name: value for name, value in node.attrs.items() if not name.startswith("activation")}
    name = node.attrs.get("activation", "")
    if name == "":
        return own, "", {}
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise UnsupportedOpError(
            f"{describe(node)}: activation: expected one of {', '.join(_ACTIVATIONS)}, got {name!r}"
        )
    names = _ACTIVATIONS[name]
    if node.op == "FusedGemm":
        given = {key: node.attrs.get(f"activation_{key}") for key in names}
        return own, name, {key: value for key, value in given.items() if value is not None}
    values = node.attrs.get("activation_params", [])
    if not isinstance(values, list) or len(values) != len(names):
        raise ModelError(
            f"{describe(node)}: activation_params: expected {len(names)} numbers for {name}, got {values!r}"
        )
    return own, name, dict(zip(names, values, strict=True))


def _end_with(writer: _Writer, activation: str, attrs: Mapping[str, Any]) -> None:
    """Have the nodes written so far end in an activation, the joined node's name on the first of them."""
    first, *rest = writer.nodes
    writer.nodes = [replace(first, name=writer.node.name), *rest]
    if not activation:
        writer.nodes[-1] = replace(writer.nodes[-1], outputs=writer.node.outputs[:1])
        return
    (before,) = writer.nodes[-1].outputs
    opset = CLIP_OPSET if activation == "Clip" else OPSET
    name = f"{writer.node.name}/{activation}"
    writer.nodes.append(Node(activation, name, (before,), writer.node.outputs[:1], dict(attrs), opset))


def _fused_conv(writer: _Writer) -> None:
    own, activation, attrs = _split_activation(writer.node)
    inputs = writer.node.inputs[: 3 if writer.input(2) else 2]
    y = writer.add("Conv", *inputs, **own)
    if writer.input(3):
        writer.add("Add", y, writer.input(3))
    _end_with(writer, activation, attrs)


def _fused_gemm(writer: _Writer) -> None:
    own, activation, attrs = _split_activation(writer.node)
    writer.add("Gemm", *writer.node.inputs[: 3 if writer.input(2) else 2], **own)
    _end_with(writer, activation, attrs)


def _gelu(writer: _Writer) -> None:
    writer.attributes()
    writer.last("Gelu", writer.input(0))


def _bias_gelu(writer: _Writer) -> None:
    writer.attributes()
    writer.last("Gelu", writer.add("Add", writer.input(0), writer.input(1)))


def _fast_gelu(writer: _Writer) -> None:
    writer.attributes()
    x = writer.add("Add", writer.input(0), writer.input(1)) if writer.input(1) else writer.input(0)
    writer.last("Gelu", x, approximate="tanh")


def _quick_gelu(writer: _Writer) -> None:
    (alpha,) = writer.attributes(alpha=1.702)
    writer.last("Swish", writer.input(0), alpha=alpha)


def _simplified(writer: _Writer) -> None:
    axis, epsilon, _ = writer.attributes(axis=-1, epsilon=1e-5, stash_type=1)
    writer.last("RMSNormalization", *writer.node.inputs, axis=axis, epsilon=epsilon)


def _with_skip(writer: _Writer, bias: str) -> str:
    """Write the sum of a layer's result, its bias and what skips it; the fourth output is that sum."""
    total = writer.output(3)
    x, skip = writer.input(0), writer.input(1)
    if not bias:
        return writer.add("Add", x, skip, output=total)
    return writer.add("Add", writer.add("Add", x, bias), skip, output=total)


def _skip_layer_norm(writer: _Writer) -> None:
    (epsilon,) = writer.attributes(epsilon=_SKIP_EPSILON)
    x = _with_skip(writer, writer.input(4))
    vectors = (writer.input(2), *filter(None, (writer.input(3),)))
    writer.last("LayerNormalization", x, *vectors, outputs=writer.node.outputs[:3], axis=-1, epsilon=epsilon)


def _skip_simplified(writer: _Writer) -> None:
    (epsilon,) = writer.attributes(epsilon=_SKIP_EPSILON)
    x = _with_skip(writer, writer.input(3))
    writer.last("RMSNormalization", x, writer.input(2), axis=-1, epsilon=epsilon)


def _embed_layer_norm(writer: _Writer) -> None:
    """Write the sum of the vectors of words, positions and segments, normalised.

    Positions count from 0 where they are not given. A second output has the lengths that a mask tells.
    """
    epsilon, _ = writer.attributes(epsilon=_SKIP_EPSILON, mask_index_type=0)
    ids, segments, words, places, kinds, gamma, beta, mask, positions = map(writer.input, range(9))
    if bool(segments) != bool(kinds):
        raise ModelError(
            f"{describe(writer.node)}: expected segment ids and their vectors, or neither,"
            f" got {segments!r} and {kinds!r}"
        )
    x = writer.add("Gather", words, ids)
    if positions:
        x = writer.add("Add", x, writer.add("Gather", places, positions))
    else:
        length = writer.add("Shape", ids, start=1, end=2)
        x = writer.add("Add", x, writer.add("Slice", places, writer.number([0]), length))
    if segments:
        x = writer.add("Add", x, writer.add("Gather", kinds, segments))
    if writer.output(2):
        writer.add("Identity", x, output=writer.output(2))
    if writer.output(1):
        if mask:
            total = writer.add("ReduceSum", mask, writer.number([1]), keepdims=0)
            writer.add("Cast", total, output=writer.output(1), to=6)
        else:  # zeros, as ONNX Runtime gives them
            batch, zero = writer.add("Shape", ids, start=0, end=1), np.zeros(1, np.int32)
            writer.add("ConstantOfShape", batch, output=writer.output(1), value=zero)
    writer.last("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)


# By domain and operator: which inputs there must be, how many there may be, and what writes it out.
_WRITTEN: Mapping[tuple[str, str], tuple[tuple[int, ...], int, Callable[[_Writer], None]]] = {
    (MICROSOFT, "FusedConv"): ((0, 1), 4, _fused_conv),
    (MICROSOFT, "FusedGemm"): ((0, 1), 3, _fused_gemm),
    (MICROSOFT, "Gelu"): ((0,), 1, _gelu),
    (MICROSOFT, "BiasGelu"): ((0, 1), 2, _bias_gelu),
    (MICROSOFT, "FastGelu"): ((0,), 2, _fast_gelu),
    (MICROSOFT, "QuickGelu"): ((0,), 1, _quick_gelu),
    (MICROSOFT, "SkipLayerNormalization"): ((0, 1, 2), 5, _skip_layer_norm),
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): ((0, 1, 2), 4, _skip_simplified),
    (MICROSOFT, "EmbedLayerNormalization"): ((0, 2, 3, 5, 6), 9, _embed_layer_norm),
    ("", "SimplifiedLayerNormalization"): ((0, 1), 2, _simplified),
}
