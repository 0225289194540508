"""The end of quantising: a graph that says of each value that it is bytes, and which, or rounded to bf16.

Bytes are in QDQ form. Of bf16 a layer's weights are numbers, and what it reads goes through a pair of casts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.compress.ranges import Range
from fastconv.compress.scheme import Product, Scheme
from fastconv.compress.weights import ByteWeights
from fastconv.graph.functions import rounded_to_bf16
from fastconv.graph.ir import Graph, Node
from fastconv.graph.ops.bf16 import BFLOAT16
from fastconv.graph.ops.cast import element_type

Array = npt.NDArray[Any]

FLOAT = 1  # ONNX's number
MOST_BIAS = float(1 << 30)  # a bias of 32 bits has room for the sums beside it


class _Writer:
    """Collects nodes and constants under names that nothing else has."""

    def __init__(self, graph: Graph, opset: int) -> None:
        self.taken = {*graph.constants, *(info.name for info in graph.inputs)}
        self.taken |= {name for node in graph.nodes for name in (node.name, *node.outputs)}
        self.constants = dict(graph.constants)
        self.nodes: list[Node] = []
        self.opset = opset
        self._source = graph
        self._rounded: dict[str, str] = {}  # what stands for a value or for weights in bf16

    def name(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def constant(self, wanted: str, array: Array) -> str:
        name = self.name(wanted)
        self.constants[name] = array
        return name

    def convert(self, op: str, inputs: tuple[str, ...], output: str, **attrs: int) -> str:
        self.nodes.append(Node(op, self.name(f"{output}/{op}"), inputs, (output,), attrs, self.opset))
        return output

    def rounded(self, name: str) -> str:
        """Return a value, or weights, as numbers of bf16 that are widened again; once for all readers."""
        if name not in self._rounded:
            array = self.constants.get(name)
            if array is None:
                narrow = self.convert("Cast", (name,), self.name(f"{name}_bf16"), to=BFLOAT16)
            else:
                numbers = rounded_to_bf16(array).astype(element_type("bf16", BFLOAT16))
                narrow = self.constant(f"{name}_bf16", numbers)
            self._rounded[name] = self.convert("Cast", (narrow,), self.name(f"{name}_rounded"), to=FLOAT)
        return self._rounded[name]

    def graph(self) -> Graph:
        """Return the graph with the nodes that were written, and the constants that these read."""
        outputs = {info.name for info in self._source.outputs}
        used = {name for node in self.nodes for name in node.inputs} | outputs
        constants = {name: array for name, array in self.constants.items() if name in used}
        return replace(self._source, nodes=tuple(self.nodes), constants=constants, defaults=())


def insert_conversions(
    graph: Graph,
    scheme: Scheme,
    ranges: Mapping[str, Range],
    weights: Mapping[str, ByteWeights],
    biases: Mapping[str, Array],
) -> Graph:
    """Return a graph in QDQ form, but for layers of bf16.

    Parameters
    ----------
    graph : Graph
    scheme : Scheme
        What becomes bytes, and what is rounded to bf16.
    ranges : mapping of str to Range
        Of each value that does, but for those that share the scale of another.
    weights : mapping of str to ByteWeights
        Of each product, by the name of its result.
    biases : mapping of str to array
        Of each product, f32; they become integers of 32 bits in the scale of the products.
    """
    opset = next((node.opset for node in graph.nodes if not node.domain), 18)
    writer = _Writer(graph, opset)
    known: dict[str, tuple[str, str]] = {}  # scale and zero point of a value, by name

    def parameters(value: str) -> tuple[str, str]:
        source = scheme.source(value)
        if source not in known:
            found = ranges[source]
            known[source] = (
                writer.constant(f"{source}_scale", np.array(found.scale, np.float32)),
                writer.constant(f"{source}_zero_point", np.array(found.zero, np.uint8)),
            )
        return known[source]

    outputs = {info.name for info in graph.outputs}
    values = set(scheme.values)
    renamed: dict[str, str] = {}  # what readers read in the place of a value

    def pass_bytes(value: str, written: str) -> None:
        scale, zero = parameters(value)
        bytes_ = writer.convert("QuantizeLinear", (written, scale, zero), writer.name(f"{value}_quantized"))
        target = value if value in outputs else writer.name(f"{value}_dequantized")
        renamed[value] = writer.convert("DequantizeLinear", (bytes_, scale, zero), target)

    for info in graph.inputs:
        if info.name in values:
            pass_bytes(info.name, info.name)
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        product = scheme.products.get(node.outputs[0])
        if product is not None:
            x_scale = ranges[scheme.source(product.input)].scale
            layer = weights[product.output]
            inputs = (inputs[0], *_write_product(writer, product, x_scale, layer, biases[product.output]))
        elif node.outputs[0] in scheme.bf16:
            inputs = (*map(writer.rounded, inputs[:2]), *inputs[2:])
        results = [name for name in node.outputs if name in values]
        moved = {name: writer.name(f"{name}_float") for name in results if name in outputs}
        names = tuple(moved.get(name, name) for name in node.outputs)
        writer.nodes.append(replace(node, inputs=inputs, outputs=names))
        for name in results:
            pass_bytes(name, moved.get(name, name))
    return writer.graph()


def _write_product(
    writer: _Writer, product: Product, x_scale: float, layer: ByteWeights, bias: Array
) -> tuple[str, ...]:
    """Write weights and bias of a layer as integers, and return the names of what stands for them."""
    stem, names = product.output, [_write_weights(writer, product.output, layer)]
    if product.node.op == "MatMul":
        return tuple(names)
    scale = np.float32(x_scale) * layer.scale
    numbers = np.clip(np.rint(bias.astype(np.float64) / scale.astype(np.float64)), -MOST_BIAS, MOST_BIAS)
    given = (
        writer.constant(f"{stem}_bias_quantized", numbers.astype(np.int32)),
        writer.constant(f"{stem}_bias_scale", scale.astype(np.float32)),
        writer.constant(f"{stem}_bias_zero_point", np.zeros(scale.shape, np.int32)),
    )
    names.append(writer.name(f"{stem}_bias"))
    writer.convert("DequantizeLinear", given, names[1], axis=0)
    return tuple(names)


def _write_weights(writer: _Writer, stem: str, layer: ByteWeights) -> str:
    given = (
        writer.constant(f"{stem}_weight_quantized", layer.numbers),
        writer.constant(f"{stem}_weight_scale", layer.scale),
        writer.constant(f"{stem}_weight_zero_point", np.zeros(layer.scale.shape, np.int8)),
    )
    return writer.convert("DequantizeLinear", given, writer.name(f"{stem}_weight"), axis=layer.axis)


def insert_weights(
    graph: Graph, scheme: Scheme, weights: Mapping[str, ByteWeights], biases: Mapping[str, Array]
) -> Graph:
    """Return a graph whose weights are bytes, and nothing else: they are dequantised before they are used."""
    opset = next((node.opset for node in graph.nodes if not node.domain), 18)
    writer = _Writer(graph, opset)
    for node in graph.nodes:
        product = scheme.products.get(node.outputs[0])
        if product is None:
            writer.nodes.append(node)
            continue
        names = [node.inputs[0], _write_weights(writer, product.output, weights[product.output])]
        if node.op != "MatMul":
            names.append(writer.constant(f"{product.output}_bias", biases[product.output]))
        writer.nodes.append(replace(node, inputs=tuple(names)))
    return writer.graph()
