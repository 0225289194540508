"""Malformed models: tensors whose parts disagree, and graphs that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from adversarial.case import FLOAT, HUGE, SUSPECT, Case, X, floats, ints, net, node
from fastconv.errors import FastconvError, MemoryLimitError, ModelError, ShapeError, UnsupportedOpError

Change = Callable[[Any], None]


def convolution() -> Any:
    """Return a right model: a convolution with initializers ``w`` and ``b``, and Relu."""
    nodes = node("Conv", "x w b", "c", "conv", pads=[1] * 4), node("Relu", "c", "y")
    return net(*nodes, w=floats(4, 3, 3, 3), b=floats(4))


def changed(name: str, change: Change, error: type[FastconvError], text: str) -> Case:
    """Return a case that is a right model but for one change."""

    def build(_: Any) -> Any:
        model = convolution()
        change(model)
        return model

    return Case(name, build, error, text)


def of_weights(change: Change) -> Change:
    """Apply a change to the weights."""
    return lambda model: change(model.graph.initializer[0])


def fields(**values: Any) -> Change:
    """Set fields of the weights: a list replaces what is repeated."""

    def change(tensor: Any) -> None:
        for name, value in values.items():
            if isinstance(value, list):
                getattr(tensor, name)[:] = value
            else:
                setattr(tensor, name, value)

    return of_weights(change)


def in_the_message(**values: Any) -> Change:
    """Like :func:`fields`, with the elements not in ``raw_data``."""

    def change(model: Any) -> None:
        model.graph.initializer[0].ClearField("raw_data")
        fields(**values)(model)

    return change


def segment(tensor: Any) -> None:
    """Call a tensor a part of one of a terabyte."""
    tensor.segment.begin, tensor.segment.end = 0, 1 << 40


W = "initializer 'w': expected"

TENSORS: Mapping[str, tuple[Change, type[FastconvError], str]] = {
    "a negative dimension": (fields(dims=[-4, 3, 3, 3]), ModelError, W),
    "two negative dimensions": (fields(dims=[-4, 3, -3, 3]), ModelError, W),
    "dimensions that overflow 64 bits": (fields(dims=[HUGE, 4, 1, 1]), ModelError, W),
    "dimensions that overflow to the right size": (fields(dims=[HUGE, 4, 108, 1]), ModelError, W),
    "dimensions that overflow and 0": (fields(dims=[HUGE, HUGE, 0]), ModelError, "."),
    "40 dimensions": (fields(dims=[1] * 40), ModelError, W),
    "2^40 elements": (fields(dims=[1 << 20, 1 << 20]), ModelError, W),
    "more elements than bytes": (fields(dims=[5, 3, 3, 3]), ModelError, f"{W} 540 bytes"),
    "fewer elements than bytes": (fields(dims=[3, 3, 3, 3]), ModelError, f"{W} 324 bytes"),
    "no dimensions": (fields(dims=[]), ModelError, f"{W} 4 bytes"),
    "a byte too few": (
        of_weights(lambda t: setattr(t, "raw_data", t.raw_data[:-1])),
        ModelError,
        f"{W} 432 bytes",
    ),
    "no data": (in_the_message(), ModelError, W),
    "fewer numbers than elements": (in_the_message(float_data=[1.0] * 107), ModelError, W),
    "more numbers than elements": (in_the_message(float_data=[1.0] * 109), ModelError, W),
    "numbers of another type": (in_the_message(int64_data=[1] * 108), ModelError, W),
    "8-bit numbers out of range": (in_the_message(data_type=3, int32_data=[300] * 108), ModelError, "."),
    "an undefined type": (fields(data_type=0), ModelError, W),
    "an unknown type": (fields(data_type=999), ModelError, W),
    "a negative type": (fields(data_type=-1), ModelError, W),
    "strings": (fields(data_type=8), UnsupportedOpError, W),
    "complex numbers": (fields(data_type=14, dims=[2, 3, 3, 3]), FastconvError, "."),
    "weights of integers": (fields(data_type=6), FastconvError, "conv"),
    "a 4-bit type in bytes": (fields(data_type=22), FastconvError, "."),
    "a segment of a larger tensor": (of_weights(segment), FastconvError, W),
    "the name of another": (
        of_weights(lambda t: setattr(t, "name", "b")),
        ModelError,
        "initializer 'b': expected one definition",
    ),
}  # fmt: skip


def graph(change: Change) -> Change:
    """Apply a change to the graph."""
    return lambda model: change(model.graph)


def put(index: int, field: str, *names: str) -> Change:
    """Set the inputs or outputs of a node."""

    def change(model: Any) -> None:
        getattr(model.graph.node[index], field)[:] = names

    return change


def attribute(**values: Any) -> Change:
    """Add an attribute whose fields are given to the suspect."""

    def change(model: Any) -> None:
        added = model.graph.node[1].attribute.add()
        for name, value in values.items():
            if name == "g":
                added.g.CopyFrom(value)
            else:
                setattr(added, name, value)

    return change


def subgraph(model: Any) -> None:
    """Add a graph as an attribute."""
    import onnx

    attribute(name="body", type=5, g=onnx.GraphProto(name="inner"))(model)


def sparse(model: Any) -> None:
    """Add a sparse initializer without values."""
    import onnx

    model.graph.sparse_initializer.append(onnx.SparseTensorProto())


def local_functions(*bodies: str) -> Change:
    """Add local functions ``f0``, ``f1`` ... of calls, by their names, and call the first."""

    def change(model: Any) -> None:
        from onnx import helper

        opsets = [*model.opset_import, helper.make_opsetid("local", 1)]
        for i, body in enumerate(bodies):
            nodes, value = [], "a"
            for j, op in enumerate(body.split()):
                domain = "local" if op.startswith("f") else ""
                nodes.append(helper.make_node(op, [value], [f"b{j}"], domain=domain))
                value = f"b{j}"
            made = helper.make_function("local", f"f{i}", ["a"], [value], nodes, opsets)
            model.functions.append(made)
        model.opset_import.append(opsets[-1])
        model.graph.node[1].op_type, model.graph.node[1].domain = "f0", "local"

    return change


def dimension(**values: Any) -> Change:
    """Change a dimension of the input."""

    def change(model: Any) -> None:
        dim = model.graph.input[0].type.tensor_type.shape.dim[2]
        for name, value in values.items():
            setattr(dim, name, value)

    return change


def inputs(*shape: int) -> Change:
    """Give the input another shape."""

    def change(model: Any) -> None:
        from onnx import helper

        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, shape))

    return change


def sequence(model: Any) -> None:
    """Make a sequence of tensors of the input."""
    from onnx import helper

    info = helper.make_tensor_sequence_value_info("x", FLOAT, None)
    model.graph.input[0].CopyFrom(info)


NODE = f"node '{SUSPECT}' \\(Relu\\): "

GRAPHS: Mapping[str, tuple[Change, type[FastconvError], str]] = {
    "a node that reads itself": (put(1, "input", "y"), ModelError, f"{NODE}.*'y'"),
    "a cycle": (put(0, "input", "y", "w"), ModelError, "node 'conv'.*'y'"),
    "a value that nothing writes": (put(1, "input", "nowhere"), ModelError, f"{NODE}.*'nowhere'"),
    "an output written twice": (put(1, "output", "c"), ModelError, f"{NODE}.*'c' again"),
    "an output over an initializer": (put(1, "output", "w"), ModelError, f"{NODE}.*'w' again"),
    "an output over an input": (put(1, "output", "x"), ModelError, f"{NODE}.*'x' again"),
    "two outputs of one name": (put(1, "output", "y", "y"), ModelError, f"{NODE}.*'y' again"),
    "an output that the operator has not": (put(1, "output", "c2", "y"), UnsupportedOpError, "output 'y'"),
    "a node without outputs": (put(1, "output"), ModelError, f"{NODE}.*output"),
    "a node without inputs": (put(1, "input"), ModelError, f"{NODE}.*inputs"),
    "an empty input": (put(1, "input", ""), ModelError, f"{NODE}.*inputs"),
    "a result that nothing writes": (
        graph(lambda g: setattr(g.output[0], "name", "z")),
        ModelError,
        "output 'z'",
    ),
    "no results": (graph(lambda g: g.ClearField("output")), ModelError, "expected an ONNX model"),
    "an unknown operator": (
        graph(lambda g: setattr(g.node[1], "op_type", "Rélu")),
        UnsupportedOpError,
        f"node '{SUSPECT}'.*supported",
    ),
    "no operator": (
        graph(lambda g: setattr(g.node[1], "op_type", "")),
        UnsupportedOpError,
        f"node '{SUSPECT}'",
    ),
    "an unknown domain": (
        graph(lambda g: setattr(g.node[1], "domain", "com.evil")),
        ModelError,
        f"{NODE}.*domain",
    ),
    "our own domain": (
        graph(lambda g: setattr(g.node[1], "domain", "fastconv")),
        ModelError,
        f"{NODE}.*domain",
    ),
    "no operator set": (lambda m: m.ClearField("opset_import"), ModelError, "opset"),
    "no graph": (lambda m: m.ClearField("graph"), ModelError, "expected an ONNX model"),
    "a subgraph": (subgraph, UnsupportedOpError, f"{NODE}.*body"),
    "an attribute of no type": (attribute(name="a"), UnsupportedOpError, f"{NODE}attribute a"),
    "an attribute of an unknown type": (
        attribute(name="a", type=13),
        UnsupportedOpError,
        f"{NODE}attribute a",
    ),
    "an attribute that names Python": (
        attribute(name="__class__", type=2, i=1),
        UnsupportedOpError,
        f"{NODE}.*__class__",
    ),
    "an attribute named like an argument": (
        attribute(name="ctx", type=2, i=1),
        UnsupportedOpError,
        f"{NODE}.*'ctx'",
    ),
    "an attribute that passes write": (
        attribute(name="activation", type=2, i=1),
        UnsupportedOpError,
        f"{NODE}.*'activation'",
    ),
    "an empty sparse initializer": (sparse, ModelError, "element type"),
    "a function that calls itself": (local_functions("f0"), ModelError, "'f0', which calls itself"),
    "functions in a circle": (local_functions("f1", "f2", "f1"), ModelError, "which calls itself"),
    "functions of 2^60 nodes": (
        local_functions(*(f"f{i + 1} f{i + 1}" for i in range(60)), "Relu"),
        ModelError,
        "local functions of at most",
    ),
    "an input of a negative size": (dimension(dim_value=-8), ModelError, "input 'x'"),
    "an input of 2^62": (dimension(dim_value=HUGE), ModelError, "input 'x'"),
    "an input without type": (graph(lambda g: g.input[0].ClearField("type")), ModelError, "input 'x'"),
    "an input without shape": (
        graph(lambda g: g.input[0].type.tensor_type.ClearField("shape")),
        ModelError,
        "input 'x'",
    ),
    "an input of an unknown type": (
        graph(lambda g: setattr(g.input[0].type.tensor_type, "elem_type", 999)),
        ModelError,
        "input 'x'",
    ),
    "an input of strings": (
        graph(lambda g: setattr(g.input[0].type.tensor_type, "elem_type", 8)),
        UnsupportedOpError,
        "input 'x'",
    ),
    "an input that is a sequence": (sequence, ModelError, "input 'x'"),
    "two inputs of one name": (graph(lambda g: g.input.append(g.input[0])), ModelError, "inputs"),
    "an input of another rank": (inputs(1, 3, 8), ShapeError, "node 'conv'"),
    "an input of other channels": (inputs(1, 4, 8, 8), ShapeError, "node 'conv'"),
}  # fmt: skip


def twice_the_graph(_: Any) -> bytes:
    """Have two graphs in one message, which protobuf merges: each name is then defined twice."""
    data: bytes = convolution().SerializeToString()
    return data + data


def chain(_: Any) -> Any:
    """Double a value 64 times: 2^64 elements from a file of 3 KB."""
    nodes = [node("Concat", f"v{i} v{i}", f"v{i + 1}", f"double {i}", axis=0) for i in range(64)]
    return net(*nodes, inputs={"v0": (1,)}, outputs="v64")


def constant_chain(_: Any) -> Any:
    """Double a constant 64 times."""
    nodes = [node("Concat", f"v{i} v{i}", f"v{i + 1}", f"double {i}", axis=0) for i in range(64)]
    return net(*nodes, node("Add", "x v64", name="sum"), inputs={"x": (1,)}, v0=floats(1))


def many_constants(_: Any) -> Any:
    """Make constants of 256 MiB each: one is allowed, 64 are not."""
    nodes = []
    for i in range(64):
        nodes.append(node("ConstantOfShape", "size", f"c{i}", f"constant {i}"))
        nodes.append(node("Exp", f"c{i}", f"e{i}", f"exp {i}"))
    names = " ".join(f"e{i}" for i in range(64))
    return net(*nodes, node("Sum", f"x {names}", "y", "sum"), inputs={"x": (1,)}, size=ints(1 << 13, 1 << 13))


def many_tensors(_: Any) -> Any:
    """Make tensors of 256 MiB that are all alive at once."""
    nodes = [node("Expand", "x size", "large", "large")]
    nodes += [node("Add", f"large n{i}", f"v{i}", f"add {i}") for i in range(16)]
    names = " ".join(f"v{i}" for i in range(16))
    numbers: dict[str, Any] = {f"n{i}": np.float32(i).reshape(1) for i in range(16)}
    last = node("Concat", names, "joined", "join", axis=0), node("ReduceMax", "joined", "y", "most")
    return net(*nodes, *last, inputs={"x": (1, 1)}, size=ints(1 << 13, 1 << 13), **numbers)


def many_weights(_: Any) -> Any:
    """Multiply by weights of 256 MiB each, from a file of 4 KB."""
    nodes, value = [], "x"
    for i in range(32):
        nodes.append(node("ConstantOfShape", "size", f"w{i}", f"weights {i}"))
        nodes.append(node("MatMul", f"{value} w{i}", f"v{i}", f"product {i}"))
        value = f"v{i}"
    return net(*nodes, inputs={"x": (1, 1 << 13)}, outputs=value, size=ints(1 << 13, 1 << 13))


def graph_cases() -> Iterator[Case]:
    """Yield every case of this file."""
    for name, (change, error, text) in TENSORS.items():
        yield changed(f"tensor: {name}", change, error, text)
    for name, (change, error, text) in GRAPHS.items():
        yield changed(f"graph: {name}", change, error, text)
    yield Case("graph: two in one file", twice_the_graph, ModelError, "initializer 'w': expected one")
    yield Case("bomb: a value doubled 64 times", chain, FastconvError, "node 'double")
    yield Case("bomb: a constant doubled 64 times", constant_chain, MemoryLimitError, "node 'double")
    yield Case("bomb: 64 constants of 256 MiB", many_constants, MemoryLimitError, "node '(exp|sum)")
    yield Case("bomb: 16 tensors of 256 MiB at once", many_tensors, MemoryLimitError, "node '")
    yield Case("bomb: 32 weights of 256 MiB", many_weights, MemoryLimitError, "node 'product")
    assert X == (1, 3, 8, 8)  # what the numbers of bytes above are of
