"""Which layers of a graph become integers, and which of its values are bytes between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fastconv._arguments import shown
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, Node
from fastconv.graph.passes.editor import Editor
from fastconv.graph.registry import activation_of
from fastconv.graph.value import F32

SMALL = 0.01  # of all weights: a last product with fewer gains nothing that could be measured
# What multiplies by weights.
_PRODUCTS = ("Conv", "Gemm", "MatMul")
# Functions of single values, which become tables of 256 bytes.
_FUNCTIONS = frozenset(
    (
        *("Abs", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu"),
        *("Sigmoid", "Softplus", "Tanh"),
    )
)
_POOLS = frozenset(("AveragePool", "GlobalAveragePool"))
_SUMS = frozenset(("Add", "Mul"))
# What only moves bytes: its result has the scale of its input.
_MOVES = frozenset(
    (
        *("DepthToSpace", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "SpaceToDepth", "Squeeze"),
        *("Transpose", "Unsqueeze"),
    )
)
_SHAPES = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze"))
# Those in whose last step a clamp costs nothing.
_CLAMPED = frozenset(("Conv", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool", "Concat"))
QUANTIZED_OPS = frozenset(
    (
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"),
        *("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QGemm", "QLinearConcat"),
        *("MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    )
)


@dataclass(frozen=True)
class Product:
    """A layer with weights: its node, the names of weights and bias, and the axis of the output channels.

    ``output`` names its result before any activation, and the layer.
    """

    node: Node
    weights: str
    bias: str
    axis: int
    channels: int

    @property
    def output(self) -> str:
        """The name of its result."""
        return self.node.outputs[0]

    @property
    def input(self) -> str:
        """The name of what is multiplied by the weights."""
        return self.node.inputs[0]


@dataclass(frozen=True)
class Scheme:
    """What is to be quantised.

    Attributes
    ----------
    products : mapping
        The layers whose weights become bytes, by the name of their result, in order.
    values : tuple of str
        The values that become bytes, in order.
    shared : mapping of str to str
        For a value whose scale is that of another, the other's name.
    """

    products: Mapping[str, Product]
    values: tuple[str, ...]
    shared: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)  # layers left in float: their result, why
    clamped: Mapping[str, str] = field(default_factory=dict)  # results, and what their clamp makes of them
    bf16: frozenset[str] = frozenset()  # of the layers left in float those of bf16: their results

    def source(self, name: str) -> str:
        """Return the value whose scale a value has."""
        while name in self.shared:
            name = self.shared[name]
        return name


def scheme_of(graph: Graph, exclude: Collection[str] = (), exclude_ops: Collection[str] = ()) -> Scheme:
    """Return what of a graph is to be quantised.

    Parameters
    ----------
    graph : Graph
        Batch normalisations are in the weights already.
    exclude : collection of str
        Layers that stay as they are: names of nodes or of their results; ArgumentError where none has one.
    exclude_ops : collection of str
        Kinds of operators that do.
    """
    _check_names(graph, exclude)
    edit = Editor(graph)
    outputs = {info.name for info in graph.outputs}
    products: dict[str, Product] = {}
    kept: dict[str, str] = {}
    written: set[str] = set()  # values that a node on integers writes
    members: list[Node] = []
    fused: dict[str, str] = {}  # results that only a clamp reads, which their node does itself: its result
    for node in graph.nodes:
        named = {node.name, *node.outputs} & set(exclude)
        if node.op in _PRODUCTS and not node.domain:
            product = product_of(edit, node)
            reason = product if isinstance(product, str) else ""
            if named or node.op in exclude_ops:
                reason = "excluded"
            if reason or isinstance(product, str):
                kept[node.outputs[0]] = reason
                continue
            products[product.output] = product
        elif node.domain or named or node.op in exclude_ops or not _follows(edit, node, written):
            continue
        clamp = activation_of(node, edit.constants) if node.op in ("Relu", "Clip") else None
        inner = edit.private_producer(node.inputs[0]) if clamp is not None else None
        if inner is not None and inner.op in _CLAMPED and inner.outputs[0] not in {*fused, *outputs}:
            fused[inner.outputs[0]] = node.outputs[0]
        members.append(node)
        written.add(node.outputs[0])
    _leave_ends(edit, products, members, kept)
    return _with_values(graph, edit, products, members, fused, kept)


def _leave_ends(
    edit: Editor, products: dict[str, Product], members: list[Node], kept: dict[str, str]
) -> None:
    """Take from the members what gains nothing at the ends of a network: a small last product, and shapes.

    What they read, as a mean that costs nothing in floats, then needs no rounding either.
    """
    weights = sum(edit.constants[product.weights].size for product in products.values())
    for node in reversed(members.copy()):
        name = node.outputs[0]
        if any(name in _operands(edit, reader) for reader in members):
            continue
        if node.op in _SHAPES:
            members.remove(node)
        elif node.op == "Gemm" and edit.constants[products[name].weights].size < SMALL * weights:
            kept[name] = "its sums are results, and it is too small to gain"
            products.pop(name)
            members.remove(node)


def _with_values(
    graph: Graph,
    edit: Editor,
    products: Mapping[str, Product],
    members: list[Node],
    fused: Mapping[str, str],
    kept: Mapping[str, str],
) -> Scheme:
    """Find the values between the members, and which of them share a scale."""
    outputs = {info.name for info in graph.outputs}
    reads = {name for node in members for name in _operands(edit, node)}
    values: dict[str, None] = {info.name: None for info in graph.inputs if info.name in reads}
    chosen = {node.outputs[0] for node in members}
    shared: dict[str, str] = {}
    for node in graph.nodes:
        name = node.outputs[0]
        if name not in chosen:
            values |= {n: None for n in node.outputs if n in reads}
            continue
        # Sums that nobody needs as bytes are good floats already: those of a last product, or of a mean.
        last = node.op in ("Gemm", "GlobalAveragePool") and name not in reads
        if name in fused or last:
            continue
        values[name] = None
        source = node.inputs[0]
        if node.op in _MOVES and source in values:
            shared[name] = source
        elif node.op == "Concat":
            for part in node.inputs:
                alone = len(edit.readers[part]) == 1 and part not in outputs and part not in shared
                if part in values and alone and part != name:
                    shared[part] = name
    return Scheme(products, tuple(values), shared, kept, fused)


def _check_names(graph: Graph, exclude: Collection[str]) -> None:
    known = {name for node in graph.nodes for name in (node.name, *node.outputs)}
    for name in exclude:
        if name not in known:
            raise ArgumentError(f"exclude: expected names of nodes or of their results, got {shown(name)}")


def _operands(edit: Editor, node: Node) -> list[str]:
    """Return the inputs that a node on integers takes as bytes."""
    if node.op in _PRODUCTS or node.op in _MOVES or node.op in _FUNCTIONS or node.op in _POOLS:
        return [node.inputs[0]]
    return [name for name in node.inputs if name not in edit.constants]


def _follows(edit: Editor, node: Node, written: set[str]) -> bool:
    """Whether a node can work on bytes, and those of what it reads are there."""
    if node.op in _FUNCTIONS or node.op in _MOVES or node.op in _POOLS:
        if any(name and name not in edit.constants for name in node.inputs[1:]):
            return False
        if node.op == "Resize" and node.attrs.get("mode", "nearest") != "nearest":
            return False
        dilated = any(d != 1 for d in node.attrs.get("dilations", ()))
        return node.inputs[0] in written and len(node.outputs) == 1 and not (node.op in _POOLS and dilated)
    if node.op in _SUMS or node.op == "Concat":
        return all(name in written for name in node.inputs) and len(set(node.inputs)) == len(node.inputs)
    return False


def product_of(edit: Editor, node: Node) -> Product | str:
    """Return a layer with constant weights, or why it cannot be one of integers."""
    x, name, bias = (*node.inputs, "")[:3]
    w = edit.constants.get(name)
    if w is None or x in edit.constants:
        return "its weights are no constants"
    if w.dtype != F32 or not w.size:
        return f"its weights are {w.dtype}, of shape {w.shape}"
    if node.op != "Conv" and w.ndim != 2:
        return f"its weights have {w.ndim} dimensions"
    if node.op == "Gemm" and (node.attrs.get("transA") or _scaled(node)):
        return "it is transposed or scaled"
    transposed = node.op == "Gemm" and node.attrs.get("transB")
    axis = 0 if node.op == "Conv" or transposed else 1
    channels = w.shape[axis]
    b = edit.constants.get(bias)
    if bias and (b is None or b.dtype != F32 or b.shape != (channels,)):
        return "its bias is no vector of constants"
    return Product(node, name, bias, axis, channels)


def _scaled(node: Node) -> bool:
    return any(node.attrs.get(key, 1.0) != 1.0 for key in ("alpha", "beta"))
