"""Weights taken out of an ONNX file before protobuf reads it: the model that comes is the same."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.errors import FastconvError
from fastconv.graph.value import Constant
from fastconv.importers import load
from fastconv.importers.onnx import from_bytes, from_file, from_proto
from fastconv.importers.raw_data import LARGE, detach


@pytest.fixture(scope="module")
def model(onnx: Any) -> Any:
    """Weights of several sizes and element types, one in a node, one without raw_data."""
    rng = np.random.default_rng(5)
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    arrays = {
        "w": rng.standard_normal((16, 8, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(16).astype(np.float32),
        "v": rng.standard_normal((70, 16)).astype(np.float64),
        "i": np.arange(LARGE // 8),
    }
    initializers = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    f32 = onnx.TensorProto.FLOAT
    initializers.insert(1, helper.make_tensor("floats", f32, [1200], rng.standard_normal(1200)))
    inside = numpy_helper.from_array(rng.standard_normal((4, 1024)).astype(np.float32))
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"]),
        helper.make_node("Constant", [], ["c"], value=inside),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", f32, ["n", 8, None, None])],
        [helper.make_tensor_value_info("y", f32, None)],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    made.model_version = 3  # the field whose number is an initializer's in the graph
    return made


def assert_same(data: bytes, onnx: Any) -> None:
    """Compare the graph read in place with the one that protobuf alone makes of the bytes."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's; ours must be a typed error then
        with pytest.raises(FastconvError):
            from_bytes(data)
        return
    try:
        expected = from_proto(proto)
    except FastconvError as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            from_bytes(data)
        return
    got = from_bytes(data)
    assert [n.name for n in got.nodes] == [n.name for n in expected.nodes]
    assert list(got.constants) == list(expected.constants)
    for name, array in expected.constants.items():
        assert got.constants[name].dtype == array.dtype
        np.testing.assert_array_equal(got.constants[name], array)


def test_large_weights_are_views_of_the_file(model: Any, onnx: Any, tmp_path: Path) -> None:
    data = model.SerializeToString()
    skeleton, spans = detach(data)
    assert sorted(spans) == [0, 3, 4]  # w, v, i: in the order of the file
    assert len(skeleton) < len(data) - sum(
        end - begin for begin, end in spans.values()
    )  # the lengths are shorter too
    assert_same(data, onnx)
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    graph = from_file(path)
    owner: Any = graph.constants["w"]
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj, mmap.mmap)
    x = np.ones((1, 8, 5, 5), np.float32)
    np.testing.assert_array_equal(load(path)(x), load(model)(x))


def test_an_array_between_elements_is_aligned_when_read() -> None:
    data = bytes(1) + np.arange(4, dtype=np.float32).tobytes()
    for offset in range(2):
        array = np.frombuffer(memoryview(data)[offset : offset + 16], np.float32)
        assert Constant(array).array.flags.aligned
        np.testing.assert_array_equal(Constant(array).array, array)


def test_two_graphs_are_left_to_protobuf(model: Any, onnx: Any) -> None:
    data = model.SerializeToString()
    assert detach(data + data)[1] == {}
    assert_same(data + data, onnx)


def test_a_weight_given_twice_is_left_to_protobuf(onnx: Any) -> None:
    """The last one counts, as protobuf has it."""
    first, second = (onnx.TensorProto(raw_data=bytes([n]) * LARGE) for n in (1, 2))
    tensor = first.SerializeToString() + second.SerializeToString()
    graph = onnx.GraphProto(name="g")
    message = onnx.ModelProto(graph=graph).SerializeToString()
    assert detach(message)[1] == {}

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    assert detach(field(7, field(5, tensor)))[1] == {}
    assert list(detach(field(7, field(5, first.SerializeToString())))[1]) == [0]


@given(data=st.data())
def test_damaged_files_mean_the_same(data: st.DataObject, model: Any, onnx: Any) -> None:
    content = bytearray(model.SerializeToString())
    headers = [i for i in range(len(content)) if i < 4 or i > len(content) - 600]
    places = st.one_of(st.integers(0, len(content) - 1), st.sampled_from(headers))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    assert_same(bytes(content[: data.draw(st.sampled_from([None, 50, 5000, -1]))]), onnx)


@given(st.binary(max_size=200))
def test_anything_is_taken(content: bytes) -> None:
    skeleton, spans = detach(content)
    assert spans == {}
    assert bytes(skeleton) == content or len(skeleton) <= len(content)
