"""Reading ONNX: paths, bytes and messages; whatever else comes is a typed error."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import DTypeError, FastconvError, ModelError


@pytest.fixture
def proto(onnx: Any, make_model: Any, rng: np.random.Generator) -> Any:
    weights = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "b": np.ones(4, np.float32)}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["c"], ["y"]),
    ]
    return make_model(nodes, {"x": ["batch", 3, 8, 8]}, weights)


X = np.ones((2, 3, 8, 8), np.float32)


def test_path_bytes_and_message(proto: Any, tmp_path: Path) -> None:
    expected = fastconv.load(proto)(X)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(fastconv.load(source)(X), expected)


def test_unnamed_nodes_get_names(proto: Any) -> None:
    proto.graph.node[0].name = ""
    assert fastconv.load(proto).layers[0].name == "Conv_0"


def test_initializers_may_be_listed_as_inputs(onnx: Any, proto: Any) -> None:
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 3, 3, 3]))
    assert [i.name for i in fastconv.load(proto).inputs] == ["x"]


def test_opset_of_the_nodes_domain_is_used(onnx: Any, proto: Any) -> None:
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    proto.graph.node[1].domain = "ai.onnx"
    assert fastconv.load(proto)(X).shape == (2, 4, 8, 8)


def test_nodes_in_any_order(onnx: Any, proto: Any) -> None:
    """As onnxconverter-common leaves them: ONNX asks for an order, and every other runtime sorts."""
    proto.graph.node.append(onnx.helper.make_node("Identity", ["y2"], ["z"]))
    proto.graph.node.append(onnx.helper.make_node("Neg", ["y"], ["y2"], "neg"))
    proto.graph.output[0].name = "z"
    expected = fastconv.load(proto)(X)
    nodes = list(proto.graph.node)
    assert expected.max() == 0 > expected.min()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        del proto.graph.node[:]
        proto.graph.node.extend(nodes[i] for i in order)
        np.testing.assert_array_equal(fastconv.load(proto)(X), expected)


def test_nodes_of_a_branch_in_any_order(onnx: Any, make_model: Any) -> None:
    helper = onnx.helper
    info = helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)
    nodes = [helper.make_node("Relu", ["n"], ["r"]), helper.make_node("Neg", ["x"], ["n"])]
    branch = helper.make_graph(nodes, "branch", [], [info])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = make_model([node], {"x": [3]}, {"c": np.array(True)})
    np.testing.assert_array_equal(fastconv.load(model)(np.float32([-2, 0, 3])), [2, 0, 0])


@pytest.mark.parametrize("cut", [1, 10, 0.3, 0.9, 0.999])
def test_truncated_file(cut: float, proto: Any) -> None:
    data = proto.SerializeToString()
    with pytest.raises(ModelError):
        fastconv.load(data[: int(cut if cut >= 1 else cut * len(data))])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip file", bytes(200), b"\xff" * 64, b"hello, world"])
def test_not_onnx(data: bytes, onnx: Any) -> None:
    assert onnx
    with pytest.raises(ModelError, match="model: expected an ONNX model"):
        fastconv.load(data)


def test_damaged_files_raise_typed_errors(proto: Any, rng: np.random.Generator) -> None:
    data = np.frombuffer(proto.SerializeToString(), np.uint8)
    for _ in range(300):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        with contextlib.suppress(FastconvError):
            fastconv.load(damaged.tobytes())(X)


def test_paths(tmp_path: Path, onnx: Any) -> None:
    assert onnx
    with pytest.raises(ModelError, match=r"missing\.onnx: expected a readable file, got No such file"):
        fastconv.load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"expected a file ending in \.onnx, \.fcm or \.fcz, got '\.tflite'"):
        fastconv.load("net.tflite")
    for suffix in (".pth", ".safetensors", ".npz"):
        with pytest.raises(ModelError, match=r"pass it to a function of fastconv\.models"):
            fastconv.load(f"resnet50{suffix}")
    with pytest.raises(DTypeError, match=r"source: expected a path, bytes or an onnx\.ModelProto, got int"):
        fastconv.load(3)


def clear(field: str) -> Callable[[Any, Any], None]:
    return lambda _, p: p.ClearField(field)


def tensor(change: Callable[[Any], None]) -> Callable[[Any, Any], None]:
    return lambda _, p: change(p.graph.initializer[0])


def set_dims(*dims: int) -> Callable[[Any, Any], None]:
    def change(t: Any) -> None:
        t.dims[:] = dims

    return tensor(change)


def set_input(*names: str) -> Callable[[Any, Any], None]:
    def change(_: Any, p: Any) -> None:
        p.graph.node[0].input[:] = names

    return change


def subgraph(onnx: Any, p: Any) -> None:
    p.graph.node[1].attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto()))


MALFORMED: dict[str, tuple[Callable[[Any, Any], None], str]] = {
    "no opset": (clear("opset_import"), "expected an ONNX model with opset, graph and outputs"),
    "no graph": (clear("graph"), "expected an ONNX model with opset"),
    "unknown name": (
        set_input("x", "weights"),
        r"node 'conv' \(Conv\): expected its inputs to be known before it, got 'weights'",
    ),
    "not in order": (set_input("y", "w"), "expected its inputs to be known before it, got 'y'"),
    "cycle": (set_input("c", "w"), "expected its inputs to be known before it, got 'c'"),
    "output twice": (
        lambda _, p: p.graph.node[1].output.__setitem__(0, "c"),
        "expected a new output name, got 'c' again",
    ),
    "no output": (lambda _, p: p.graph.node[1].ClearField("output"), "expected an output, got none"),
    "unwritten output": (
        lambda _, p: setattr(p.graph.output[0], "name", "z"),
        "output 'z': expected a value of the graph",
    ),
    "constant twice": (
        lambda _, p: p.graph.initializer.append(p.graph.initializer[0]),
        "initializer 'w': expected one definition",
    ),
    "short data": (
        tensor(lambda t: setattr(t, "raw_data", t.raw_data[:-4])),
        r"initializer 'w': expected 432 bytes for shape \[4, 3, 3, 3\] of float32, got 428",
    ),
    "negative dims": (set_dims(-4, 3, 3, -3), "initializer 'w': expected dimensions of at least 0"),
    "huge dims": (set_dims(2**62, 2**62, 4, 4), "initializer 'w': expected at most 8589934592 elements"),
    "many dims": (set_dims(*[2**62] * 60_000), "initializer 'w': expected at most 32 dimensions, got 60000"),
    "no elements": (
        set_dims(0, 2**31 - 1),
        "initializer 'w': expected at most 268435456 elements along the dimensions that are not 0",
    ),
    "other dims": (set_dims(4, 3, 3, 4), "expected 576 bytes"),
    "wrong type": (tensor(lambda t: setattr(t, "data_type", 999)), "expected a known element type, got 999"),
    "strings": (tensor(lambda t: setattr(t, "data_type", 8)), "expected numbers, got strings"),
    "external data": (
        tensor(lambda t: setattr(t, "data_location", 1)),
        "initializer 'w': expected external data or data inside the file, got both",
    ),
    "domain": (lambda _, p: setattr(p.graph.node[1], "domain", "x.y"), "expected a domain among"),
    "subgraph": (subgraph, "expected attributes among .*, got 'body'"),
    "no shape": (lambda _, p: p.graph.input[0].type.tensor_type.ClearField("shape"), "expected a shape"),
    "no type": (lambda _, p: p.graph.input[0].ClearField("type"), "input 'x': expected a tensor"),
    "negative size": (
        lambda _, p: setattr(p.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", -8),
        "input 'x': expected dimensions from 0",
    ),
    "integer input": (
        lambda _, p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 7),
        "expected float32 values, got int64",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str, onnx: Any, proto: Any) -> None:
    change, message = MALFORMED[case]
    change(onnx, proto)
    with pytest.raises(ModelError, match=message):
        fastconv.load(proto)


FUNCTIONS = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
net (float[N, 3] x) => (float[N, 3] y) { y = local.Outer(x) }
<domain: "local", opset_import: ["": 17, "local": 1]>
Outer (x) => (y) { t = local.Inner(x) y = local.Inner(t) }
<domain: "local", opset_import: ["": 17, "local": 1]> Inner (x) => (y) { t = Relu(x) y = %s(t) }
"""


def test_local_functions(onnx: Any) -> None:
    model = fastconv.load(onnx.parser.parse_model(FUNCTIONS % "Neg"))
    np.testing.assert_array_equal(model(np.array([[-1, 2, 3]], np.float32)), [[0, 0, 0]])


def test_functions_that_do_not_end(onnx: Any) -> None:
    with pytest.raises(
        ModelError, match=r"expected functions that end, got '(Outer|Inner)', which calls itself"
    ):
        fastconv.load(onnx.parser.parse_model(FUNCTIONS % "local.Outer"))


def test_functions_that_explode(onnx: Any) -> None:
    levels = "\n".join(
        f'<domain: "local", opset_import: ["": 17, "local": 1]> F{i} (x) => (y) {{ t = {op}(x) y = {op}(t) }}'
        for i, op in enumerate(["Neg", *(f"local.F{i}" for i in range(40))])
    )
    text = FUNCTIONS.split("<domain")[0].replace("Outer", "F40") + levels
    with pytest.raises(ModelError, match="expected local functions of at most 20000 nodes"):
        fastconv.load(onnx.parser.parse_model(text))


def with_branches(onnx: Any, calls: list[str]) -> Any:
    """Return a model of functions F0, F1, ..., the first a Relu, that call others in both branches."""
    h, float32 = onnx.helper, onnx.TensorProto.FLOAT

    def branch(name: str, result: str) -> Any:
        node = h.make_node(name, ["x"], [result], domain="local")
        return h.make_graph([node], "branch", [], [h.make_tensor_value_info(result, float32, None)])

    opsets = [h.make_opsetid("", 17), h.make_opsetid("local", 1)]
    functions = [h.make_function("local", "F0", ["x"], ["y"], [h.make_node("Relu", ["x"], ["y"])], opsets)]
    for i, name in enumerate(calls):
        condition = h.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.array(True)))
        both = {"then_branch": branch(name, "t"), "else_branch": branch(name, "e")}
        nodes = [condition, h.make_node("If", ["c"], ["y"], **both)]
        functions.append(h.make_function("local", f"F{i + 1}", ["x"], ["y"], nodes, opsets))
    x, y = (h.make_tensor_value_info(name, float32, [None, 3]) for name in "xy")
    graph = h.make_graph([h.make_node(f"F{len(calls)}", ["x"], ["y"], domain="local")], "g", [x], [y])
    return h.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)


def test_functions_that_are_called_in_branches(onnx: Any) -> None:
    model = fastconv.load(with_branches(onnx, ["F0", "F1", "F2"]))
    np.testing.assert_array_equal(model(np.array([[-1, 2, 3]], np.float32)), [[0, 2, 3]])
    with pytest.raises(ModelError, match="expected local functions of at most 20000 nodes"):
        fastconv.load(with_branches(onnx, [f"F{i}" for i in range(20)]))
    for calls in (["F1"], ["F2", "F1"]):  # each other, or themselves: onnx 1.17 dies of it
        with pytest.raises(ModelError, match="expected functions that end, got 'F"):
            fastconv.load(with_branches(onnx, calls))


def functions_of(onnx: Any, *given: tuple[str, str, str, tuple[str, str, str]]) -> Any:
    """Return a model of functions of one call each, by domain, name and overload, that calls the first."""
    h = onnx.helper
    opsets = [h.make_opsetid(domain, version) for domain, version in (("", 17), ("local", 1))]

    def call(domain: str, name: str, overload: str) -> Any:
        node = h.make_node(name, ["x"], ["y"], domain=domain)
        if overload:
            node.overload = overload
        return node

    functions = []
    for domain, name, overload, called in given:
        functions.append(h.make_function(domain, name, ["x"], ["y"], [call(*called)], opsets))
        if overload:
            functions[-1].overload = overload
    x, y = (h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "xy")
    graph = h.make_graph([call(*given[0][:3])], "g", [x], [y])
    return h.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


RELU = ("", "Relu", "")


@pytest.mark.parametrize(
    "functions",
    [
        [("local", "F", "a", ("local", "F", "a")), ("local", "F", "b", RELU)],
        [("local", "F", "b", ("local", "F", "a")), ("local", "F", "a", ("local", "F", "b"))],
        [("ai.onnx", "Relu", "", RELU)],
        [("", "Relu", "", ("ai.onnx", "Relu", ""))],
    ],
    ids=["an overload beside another", "overloads", "ONNX's own", "ONNX's own by its other name"],
)
def test_functions_that_call_themselves_by_another_name(onnx: Any, functions: Any) -> None:
    """The inliner of onnx 1.17 followed them until its stack was full."""
    with pytest.raises(ModelError, match=r"expected functions that end, got '(F|Relu)', which calls itself"):
        fastconv.load(functions_of(onnx, *functions))


def test_two_functions_of_one_name(onnx: Any) -> None:
    """Which of them is called the versions of onnx do not agree on."""
    proto = functions_of(onnx, ("local", "F", "", RELU), ("local", "F", "", ("", "Neg", "")))
    with pytest.raises(ModelError, match="expected one function 'F' of a domain, got two"):
        fastconv.load(proto)


def test_overloads_are_functions_of_their_own(onnx: Any) -> None:
    proto = functions_of(onnx, ("local", "F", "a", ("", "Neg", "")), ("local", "F", "b", RELU))
    np.testing.assert_array_equal(fastconv.load(proto)(np.array([1, -2], np.float32)), [-1, 2])


def test_functions_that_repeat_large_constants(onnx: Any) -> None:
    """A call is a copy of the function: a thousand calls of one that holds a megabyte are a gigabyte."""
    h, large = onnx.helper, onnx.numpy_helper.from_array(np.ones(1 << 18, np.float32))
    constant = h.make_node("Constant", [], ["c"], value=large)
    opsets = [h.make_opsetid("", 17), h.make_opsetid("local", 1)]
    body = [constant, h.make_node("Add", ["x", "c"], ["y"])]
    function = h.make_function("local", "F", ["x"], ["y"], body, opsets)
    names = ["x", *(f"v{i}" for i in range(1000)), "y"]
    calls = [h.make_node("F", [a], [b], domain="local") for a, b in itertools.pairwise(names)]
    x, y = (h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy")
    proto = h.make_model(h.make_graph(calls, "g", [x], [y]), opset_imports=opsets, functions=[function])
    with pytest.raises(ModelError, match="expected local functions of at most 268435456 bytes"):
        fastconv.load(proto)


def test_graphs_deep_within_each_other(onnx: Any) -> None:
    """A message made in memory has no limit to its depth, unlike one that protobuf has read."""
    h, float32 = onnx.helper, onnx.TensorProto.FLOAT
    true = onnx.numpy_helper.from_array(np.array(True), "c")

    def nested(depth: int) -> Any:
        node = h.make_node("Relu", ["x"], ["v0"])
        for i in range(depth):
            info = h.make_tensor_value_info(f"v{i}", float32, None)
            branch = h.make_graph([node], "branch", [], [info])
            node = h.make_node("If", ["c"], [f"v{i + 1}"], then_branch=branch, else_branch=branch)
        x, y = (h.make_tensor_value_info(name, float32, [3]) for name in ("x", f"v{depth}"))
        return h.make_model(h.make_graph([node], "g", [x], [y], [true]), ir_version=9)

    np.testing.assert_array_equal(fastconv.load(nested(5))(np.array([-1, 0, 2], np.float32)), [0, 0, 2])
    proto = onnx.ModelProto()
    proto.CopyFrom(nested(1))
    inner = proto.graph.node[0]
    for _ in range(100):
        graph = inner.attribute[0].g
        inner = graph.node[0]
        inner.op_type = "If"
        inner.attribute.add(name="then_branch", type=5).g.node.add(op_type="Relu", input=["x"], output=["d"])
    with pytest.raises(ModelError, match="expected graphs at most 32 within each other"):
        fastconv.load(proto)


def test_a_weight_that_branches_read_twice_is_kept(onnx: Any, rng: np.random.Generator) -> None:
    """Two convolutions of one branch read a weight of the graph around it: the second packs it too."""
    w = rng.standard_normal((3, 3, 1, 1)).astype(np.float32)
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    net (float[1, 3, 4, 4] x, bool c) => (float[1, 3, 4, 4] y) <float[3, 3, 1, 1] w> {
      y = If (c) <
        then_branch = yes () => (float[1, 3, 4, 4] b) { a = Conv(x, w) b = Conv(a, w) },
        else_branch = no () => (float[1, 3, 4, 4] d) { d = Conv(x, w) }
      >
    }"""
    proto = onnx.parser.parse_model(text.replace("<float[3, 3, 1, 1] w>", ""))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    model = fastconv.load(proto)
    x = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    once = np.einsum("oi,nihw->nohw", w[:, :, 0, 0], x)
    twice = np.einsum("oi,nihw->nohw", w[:, :, 0, 0], once)
    for _ in range(2):
        np.testing.assert_allclose(model(x, np.array(True)), twice, atol=1e-5)
        np.testing.assert_allclose(model(x, np.array(False)), once, atol=1e-5)


def test_onnx_is_imported_only_when_needed() -> None:
    code = """
import sys
sys.modules["onnx"] = None
import fastconv
try:
    fastconv.load(b"123")
except fastconv.FastconvError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install onnx" in result.stdout
