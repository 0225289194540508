"""Models as pickles: of a file by path and hash, of a graph or bytes with their weights; copies."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import fastconv
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.importers import graph_file

X = np.random.default_rng(0).standard_normal((2, 3, 12, 12), dtype=np.float32)


@pytest.fixture
def onnx_bytes() -> bytes:
    onnx = pytest.importorskip("onnx")
    w = np.random.default_rng(1).standard_normal((400, 3, 3, 3), dtype=np.float32)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    contents: bytes = model.SerializeToString()
    return contents


@pytest.fixture
def onnx_file(tmp_path: Path, onnx_bytes: bytes) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes)
    return path


def reopened(model: Model) -> Model:
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Model)
    assert again is not model
    np.testing.assert_array_equal(again(X), model(X))
    return again


def test_of_a_file(onnx_file: Path, onnx_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle is small and says where the file is from anywhere."""
    monkeypatch.chdir(onnx_file.parent)
    model = fastconv.load(onnx_file.name)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000 < len(onnx_bytes)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(pickled)(X), model(X))
    reopened(pickle.loads(pickled))  # and that can be pickled in turn


def test_of_a_file_that_has_changed(onnx_file: Path, onnx_bytes: bytes) -> None:
    model = fastconv.load(onnx_file)
    expected = model(X)
    pickled = pickle.dumps(model)
    onnx_file.write_bytes(onnx_bytes[:-1] + bytes([onnx_bytes[-1] ^ 1]))
    message = rf"^{re.escape(str(onnx_file))}: expected the file with SHA-256 [0-9a-f]{{64}}, from which the"
    with pytest.raises(fastconv.ModelError, match=message):
        pickle.loads(pickled)
    np.testing.assert_array_equal(model(X), expected)
    onnx_file.write_bytes(onnx_bytes)
    np.testing.assert_array_equal(pickle.loads(pickled)(X), expected)
    onnx_file.unlink()
    with pytest.raises(fastconv.ModelError, match=rf"^{re.escape(str(onnx_file))}: expected a readable file"):
        pickle.loads(pickled)


def test_a_file_that_changed_before_it_was_pickled(onnx_file: Path, onnx_bytes: bytes) -> None:
    """Its hash would be of another model's: that is an error, however alike the files look."""
    model = fastconv.load(onnx_file)
    other = onnx_file.with_suffix(".tmp")
    other.write_bytes(onnx_bytes[:-1] + bytes([onnx_bytes[-1] ^ 1]))
    stat = onnx_file.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(onnx_file)
    message = (
        rf"^{re.escape(str(onnx_file))}: expected the file as it was when .* with SHA-256 [0-9a-f]{{64}}"
    )
    with pytest.raises(fastconv.ModelError, match=message):
        pickle.dumps(model)
    onnx_file.unlink()
    with pytest.raises(fastconv.ModelError, match=r"expected a readable file, got No such file"):
        pickle.dumps(model)


def test_a_file_is_hashed_once_in_a_process(
    onnx_file: Path, onnx_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a write shows in its times; one that was just written is hashed again."""
    hashed = []

    def counted(file: BinaryIO, name: str) -> Any:
        hashed.append(name)
        return file_digest(file, name)

    file_digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", counted)
    pickled = pickle.dumps(fastconv.load(onnx_file))
    pickle.loads(pickled)
    assert len(hashed) == 2
    monkeypatch.setattr(graph_file, "_SETTLED", -(10**10))
    for _ in range(3):
        pickle.loads(pickled)
    assert len(hashed) == 3
    onnx_file.write_bytes(onnx_bytes[:-1] + bytes([onnx_bytes[-1] ^ 1]))
    os.utime(onnx_file, ns=(0, 0))
    with pytest.raises(fastconv.ModelError, match="expected the file with SHA-256"):
        pickle.loads(pickled)
    assert len(hashed) == 4


def test_of_bytes_and_of_a_message(onnx_bytes: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    reopened(fastconv.load(onnx_bytes))
    reopened(fastconv.load(onnx.load_model_from_string(onnx_bytes)))


def test_of_a_graph_whose_weights_are_packed() -> None:
    b = GraphBuilder("net", {"w": np.random.default_rng(2).standard_normal((8, 3, 3, 3), dtype=np.float32)})
    x = b.input("x", ("batch", 3, 12, 12))
    b.output(b.add("Conv", x, "w"), "y", ("batch", 8, 10, 10))
    again = reopened(Model(b.build()))
    assert repr(again) == "<Model 'net': x['batch', 3, 12, 12] -> y['batch', 8, 10, 10]>"


def test_of_weights(tmp_path: Path) -> None:
    architecture = fastconv.models.squeezenet1_1
    weights = architecture.random_weights()
    x = np.random.default_rng(3).standard_normal((1, 3, 64, 64), dtype=np.float32)
    path = tmp_path / "weights.npz"
    np.savez(path, **weights)
    expected = architecture(weights)(x)
    of_file = pickle.dumps(architecture(path))
    assert len(of_file) < 2000
    for pickled in (
        of_file,
        pickle.dumps(architecture(weights)),
        pickle.dumps(architecture(path.read_bytes())),
    ):
        np.testing.assert_array_equal(pickle.loads(pickled)(x), expected)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(fastconv.ModelError, match=r"weights\.npz: expected the file with SHA-256"):
        pickle.loads(of_file)


def test_options_travel(onnx_file: Path) -> None:
    model = fastconv.load(onnx_file, passes=["eliminate_identity"], precision="exact")
    again = reopened(model)
    assert again.explain() == model.explain()
    assert "clamp" in again.explain() or "activate" in again.explain()  # nothing was fused


def test_a_function_that_cannot_be_pickled() -> None:
    def make() -> fastconv.graph.ir.Graph:
        b = GraphBuilder("net", {})
        b.output(b.add("Relu", b.input("x", ("batch", 3, 12, 12))), "y", ("batch", 3, 12, 12))
        return b.build()

    model = Model(make)
    with pytest.raises((pickle.PicklingError, AttributeError), match="make"):
        pickle.dumps(model)
    assert model(X).shape == X.shape


def test_copies_are_the_model_itself(onnx_file: Path) -> None:
    model = fastconv.load(onnx_file)
    assert copy.copy(model) is model
    assert copy.deepcopy(model) is model
    assert copy.deepcopy({"a": [model]})["a"][0] is model
