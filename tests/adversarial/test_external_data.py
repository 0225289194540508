"""External data of ONNX: read where a model may, mapped, and only what is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from adversarial.case import floats, ints, net, node
from adversarial.sandbox import Sandbox
from fastconv.errors import ModelError
from fastconv.importers.onnx import from_file

onnx = pytest.importorskip("onnx")

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((16, 3, 7, 7)).astype(np.float32)  # 9408 bytes: mapped
B = np.arange(16, dtype=np.float32)  # 64 bytes: copied


def model() -> Any:
    return net(node("Conv", "x w b", "c", name="conv"), node("Relu", "c"), w=W, b=B)


@pytest.fixture
def expected() -> Any:
    return fastconv.load(model())(X)


def saved(folder: Path, **how: Any) -> Path:
    path = folder / "model.onnx"
    onnx.save(model(), path, save_as_external_data=True, size_threshold=0, **how)
    return path


@pytest.mark.parametrize("together", [True, False])
def test_files_that_onnx_writes(together: bool, tmp_path: Path, expected: Any) -> None:
    path = saved(tmp_path, all_tensors_to_one_file=together)
    assert len(list(tmp_path.iterdir())) == (2 if together else 3)
    np.testing.assert_array_equal(fastconv.load(path)(X), expected)


def test_a_relative_path(tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(fastconv.load("model.onnx")(X), expected)


def test_bytes_and_messages_need_a_folder(tmp_path: Path, expected: Any) -> None:
    path = saved(tmp_path)
    for source in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(ModelError, match=r"initializer 'w': external data: expected a folder .*got none"):
            fastconv.load(source)
        np.testing.assert_array_equal(fastconv.load(source, external_data=tmp_path)(X), expected)


def test_another_folder_than_the_models(tmp_path: Path, expected: Any) -> None:
    saved(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    path = (tmp_path / "model.onnx").rename(tmp_path / "elsewhere" / "model.onnx")
    with pytest.raises(ModelError, match="No such file"):
        fastconv.load(path)
    np.testing.assert_array_equal(fastconv.load(path, external_data=str(tmp_path))(X), expected)


@pytest.mark.parametrize(
    "name", ["sub/deeper/weights.bin", "./weights.bin", "gewichte äöü.bin", "a..b", "..."]
)
def test_names_that_are_allowed(name: str, tmp_path: Path, expected: Any) -> None:
    path = tmp_path / "model.onnx"
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), path, save_as_external_data=True, size_threshold=0, location="w")
    (tmp_path / "w").rename(tmp_path / name)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = name if entry.key == "location" else entry.value
    onnx.save(proto, path)
    np.testing.assert_array_equal(fastconv.load(path)(X), expected)


def test_the_folder_of_the_model_may_be_a_link(tmp_path: Path, expected: Any) -> None:
    (tmp_path / "real").mkdir()
    saved(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    np.testing.assert_array_equal(fastconv.load(tmp_path / "link" / "model.onnx")(X), expected)


def test_large_tensors_are_mapped_and_of_one_place_once(tmp_path: Path) -> None:
    path = saved(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    twice = proto.graph.initializer.add()
    twice.CopyFrom(proto.graph.initializer[0])
    twice.name = "v"
    onnx.save(proto, path)
    graph = from_file(path)
    assert isinstance(owner(graph.constants["w"]).obj, __import__("mmap").mmap)
    assert np.shares_memory(graph.constants["w"], graph.constants["v"])
    assert not graph.constants["w"].flags.writeable
    np.testing.assert_array_equal(graph.constants["w"], W)
    np.testing.assert_array_equal(graph.constants["b"], B)


def owner(array: Any) -> Any:
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_a_tensor_in_an_attribute(tmp_path: Path, expected: Any) -> None:
    tensor = onnx.TensorProto(name="t", data_type=1, dims=W.shape, data_location=1)
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="offset", value="4096")
    tensor.external_data.add(key="length", value=str(W.nbytes))
    tensor.external_data.add(key="checksum", value="0" * 40)
    (tmp_path / "w.bin").write_bytes(bytes(4096) + W.tobytes())
    nodes = node("Constant", "", "w", value=tensor), node("Conv", "x w b", "c", name="c"), node("Relu", "c")
    path = tmp_path / "model.onnx"
    path.write_bytes(net(*nodes, b=B).SerializeToString())
    np.testing.assert_array_equal(fastconv.load(path)(X), expected)


def test_an_empty_tensor(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    proto = net(node("Concat", "x w", axis=0), inputs={"x": (2,)}, w=floats(0))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    np.testing.assert_array_equal(fastconv.load(tmp_path / "model.onnx")(X[0, 0, 0, :2]), X[0, 0, 0, :2])


# -- larger than 2 GB --------------------------------------------------------------------------------------

ROWS, COLUMNS = 3 << 18, 1024  # 3 GiB of f32


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A table of 3 GiB of which a model reads two rows, and weights behind it; the file has holes."""
    proto = net(
        node("Gather", "table rows", "picked", name="pick", axis=0),
        node("MatMul", "x w", "product", name="product"),
        node("Add", "product picked", name="sum"),
        inputs={"x": (2, 4)},
        rows=ints(1, ROWS - 1),
        w=floats(4, COLUMNS),
    )
    rows, weights = proto.graph.initializer
    table = proto.graph.initializer.add(name="table", data_type=1, dims=[ROWS, COLUMNS])
    weights.ClearField("raw_data")
    size = ROWS * COLUMNS * 4
    with (tmp_path / "large.bin").open("wb") as file:
        os.truncate(file.fileno(), size)
        for row in (1, ROWS - 1):
            file.seek(row * COLUMNS * 4)
            file.write(np.full(COLUMNS, row, np.float32).tobytes())
        file.seek(size)
        file.write(np.full(4 * COLUMNS, 2, np.float32).tobytes())
    for tensor, offset in ((table, 0), (weights, size)):
        tensor.data_location = 1
        tensor.external_data.add(key="location", value="large.bin")
        tensor.external_data.add(key="offset", value=str(offset))
    assert rows.name == "rows"
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    yield path
    (tmp_path / "large.bin").unlink()


def sums(path: Path) -> list[float]:
    y = fastconv.load(path)(np.ones((2, 4), np.float32))
    return [float(row.mean()) for row in y]


def test_more_than_2_gib_are_loaded_without_reading_them(large: Path, sandbox: Sandbox) -> None:
    assert (large.parent / "large.bin").stat().st_size > 3 << 30
    outcome = sandbox.run(sums, large, memory=4 << 30)
    assert outcome.value == [8 + 1, 8 + ROWS - 1], outcome
    assert outcome.peak_bytes < 64 << 20
