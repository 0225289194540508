"""Damaged, foreign and adversarial files of compiled models: typed errors, or the right results."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv.errors import FastconvError, ModelError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.save import PAGE, START, prefix_of, round_up
from fastconv.importers.compiled import from_data
from fastconv.models import resnet18

Array = npt.NDArray[Any]
MakeGraph = Callable[..., Graph]
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def model(network: MakeGraph) -> Model:
    return Model(network(np.random.default_rng(3)))


@pytest.fixture(scope="module")
def data(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The contents of its file."""
    path = tmp_path_factory.mktemp("compiled") / "net.fcm"
    model.save(path, packed=True)
    return path.read_bytes()


def image() -> Array:
    return np.random.default_rng(0).standard_normal((1, 3, 20, 20)).astype(np.float32)


def header_of(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays start."""
    size = int.from_bytes(data[12:16], "little")
    return json.loads(data[START : START + size]), round_up(START + size, PAGE)


def with_header(data: bytes, header: Any) -> bytes:
    """Return a file with another header and its right hash: what somebody with bad intentions would write."""
    _, start = header_of(data)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    arrays = data[start:]
    begin = round_up(START + len(text), PAGE)
    return (prefix_of(text, begin + len(arrays)) + text).ljust(begin, b"\0") + arrays


def edited(data: bytes, edit: Edit) -> bytes:
    header, _ = header_of(data)
    edit(header)
    return with_header(data, header)


def test_weights_packed_by_another_version_are_left_alone(data: bytes, model: Model) -> None:
    def pretend(header: dict[str, Any]) -> None:
        for index, entry in enumerate(header["packed"]):
            entry[2] = entry[2].replace("packing 1", "packing 0")
            entry[3] = header["packed"][0][3] if index % 2 else entry[3]  # of other sizes, too

    same = fastconv.load(edited(data, pretend))
    np.testing.assert_array_equal(same(image()), model(image()), strict=True)


def test_every_truncation_is_an_error(data: bytes) -> None:
    for n in [*range(3 * PAGE), *range(3 * PAGE, len(data), 997), len(data) - 1]:
        with pytest.raises(ModelError, match=r"^model: expected"):
            from_data(data[:n])
    with pytest.raises(ModelError, match=r"expected the \d+ bytes that it was written with"):
        from_data(data + b"\0")


def test_a_truncated_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.fcm"
    for n in (0, 7, 8, START, PAGE, len(data) - 1):
        path.write_bytes(data[:n])
        with pytest.raises(ModelError, match=re.escape(f"{path}: expected")):
            fastconv.load(path)
    path.with_suffix(".bin").write_bytes(data)
    assert fastconv.load(path.with_suffix(".bin")).name == "everything"  # told by content
    with pytest.raises(ModelError, match=r"none\.fcm: expected a readable file, got No such file"):
        fastconv.load(tmp_path / "none.fcm")


def test_every_flip_in_prefix_and_header_is_an_error(data: bytes) -> None:
    end = START + int.from_bytes(data[12:16], "little")
    rng = np.random.default_rng(0)
    for at in range(end):
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        with pytest.raises(ModelError):
            from_data(bytes(damaged))


def test_flips_in_the_arrays(data: bytes) -> None:
    """All are found with verify; without it those in small arrays are, and the others do no harm."""
    header, start = header_of(data)
    places = [
        (start + a["offset"], math.prod(a["shape"]) * np.dtype(a["dtype"]).itemsize) for a in header["arrays"]
    ]
    rng, x = np.random.default_rng(0), image()
    harmless = 0
    for _ in range(300):
        offset, size = places[rng.integers(len(places))]
        damaged = bytearray(data)
        damaged[offset + rng.integers(size)] ^= 1 << int(rng.integers(8))
        with pytest.raises(ModelError, match=r"array \d+: expected the bytes of its hash"):
            from_data(bytes(damaged), verify=True)
        if size <= 4096:
            with pytest.raises(ModelError, match=r"array \d+: expected the bytes of its hash"):
                from_data(bytes(damaged))
        else:
            assert fastconv.load(bytes(damaged))(x).shape == (1, 10)
            harmless += 1
    assert harmless > 20


def test_flips_in_plain_weights_change_nothing_while_packed_ones_serve(data: bytes) -> None:
    header, start = header_of(data)
    x = image()
    expected = fastconv.load(data)(x)
    (index,) = [index for name, index in header["constants"] if name == "w4"]  # of the block
    damaged = bytearray(data)
    damaged[start + header["arrays"][index]["offset"] + 5000] ^= 0xFF
    np.testing.assert_array_equal(fastconv.load(bytes(damaged))(x), expected)


def values_of(tree: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value as (container, key)."""
    if not isinstance(tree, dict | list):
        return []
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree))
    return [(tree, key) for key, _ in items] + [place for _, value in items for place in values_of(value)]


def test_headers_with_other_values(data: bytes) -> None:
    """Thousands of headers with a right hash and a wrong value: a typed error, or a model that runs."""
    rng, x = np.random.default_rng(0), image()
    others: list[Any] = [
        None, True, 0, 1, -1, 2, 3, 7, 63, 64, 4096, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**30,
        0.0, 0.5, -1e308, "inf", "nan", "", "x", "w0", "int", "ints", "array", "float32", "int64", "Conv",
        "Relu", "\ud800", [], [1], [[]], {}, {"a": 1}, ["int", 1], ["floats", ["nan"]], ["array", 0],
    ]  # fmt: skip
    outcomes = {"error": 0, "runs": 0}
    for _ in range(3000):
        header, _ = header_of(data)
        for _ in range(int(rng.integers(1, 3))):
            places = values_of(header)
            if not places:
                break
            container, key = places[rng.integers(len(places))]
            kind = rng.integers(4)
            if kind == 0 and isinstance(container, list):
                container.insert(key, container[key])
            elif kind == 1:
                del container[key]
            else:
                container[key] = others[rng.integers(len(others))]
        try:
            y = fastconv.load(with_header(data, header), max_bytes=1 << 26)(x)
        except FastconvError:
            outcomes["error"] += 1
        else:
            assert isinstance(y, np.ndarray | tuple)
            outcomes["runs"] += 1
    assert outcomes["error"] > 1500
    assert outcomes["runs"] > 20


def set_array(index: int, **fields: Any) -> Edit:
    return lambda header: header["arrays"][index].update(fields)


def set_node(**fields: Any) -> Edit:
    return lambda header: header["nodes"][0].update(fields)


def graphs(depth: int, output: str = "x") -> list[Any]:
    """Return an attribute: graphs within each other, the innermost of which reads a value from outside."""
    node = {
        "op": "If", "name": f"if{depth}", "domain": "", "opset": 18,
        "inputs": [output], "outputs": [f"o{depth}"],
        "attrs": {"then_branch": graphs(depth - 1, output)} if depth else {},
        "activation": ["none", 0, 0], "absorbed": [],
    }  # fmt: skip
    ends = {"inputs": [], "outputs": [[node["outputs"][0] if depth else output, [], "float32"]]}
    return ["graph", {"name": "", **ends, "nodes": [node] if depth else [], "constants": []}]


HOSTILE: list[tuple[str, Edit]] = [
    (r"array 0: expected a place of its own.*from \d+ on", set_array(0, offset=4)),
    ("array 1: expected a place of its own", set_array(1, offset=0)),
    (r"array 0: expected at most \d+ elements, got shape", set_array(0, shape=[2**31 - 1, 2**31 - 1])),
    (r"array 0: expected at most \d+ elements, got shape", set_array(0, shape=[2**31 - 1] * 32)),
    ("array 0: expected at most 32 dimensions, got 33", set_array(0, shape=[1] * 33)),
    ("array 0: expected a number from 0 to", set_array(0, offset=-64)),
    ("array 0: expected a number from 0 to", set_array(0, offset=1 << 62)),
    ("array 0: expected a number from 0 to", set_array(0, shape=[-1])),
    ("array 0: expected a int, got True", set_array(0, shape=[True])),
    ("array 0: .* along the dimensions that are not 0", set_array(0, shape=[0] + [2**31 - 1] * 9, hash="")),
    ("array 0: expected a dtype among", set_array(0, dtype="object")),
    ("arrays: expected a list, got None", lambda header: header.pop("arrays")),
    ("constant 'w0': expected one definition", lambda h: h["constants"].append(["w0", 0])),
    (r"constant '.*': expected a number", lambda h: h["constants"][0].__setitem__(1, 10**6)),
    ("outputs: expected at least one", lambda h: h["outputs"].clear()),
    ("precision: expected 'fast', 'exact' or 'bf16'", lambda h: h.update(precision="approximate")),
    ("expected its inputs to be known before it, got 'later'", set_node(inputs=["later"])),
    ("expected an output, got none", set_node(outputs=[])),
    ("expected a supported operator, got Exec", set_node(op="Exec")),
    ("attribute strides: expected", set_node(attrs={"strides": ["str", "2"]})),
    ("attribute strides: expected a kind of value", set_node(attrs={"strides": ["code", "2"]})),
    ("attribute strides: expected an integer of 64 bits", set_node(attrs={"strides": ["ints", [2**64]]})),
    ("activation: expected 3 fields", set_node(activation=["none"])),
    ("act: expected one of", set_node(activation=["shell", 0, 0])),
    ("graph: expected at most 32 within each other", set_node(attrs={"then_branch": graphs(33)})),
    (r"stem.*: expected attributes among", set_node(attrs={"then_branch": graphs(15)})),
    (r"expected inputs \['w4'\], which its graphs read", set_node(attrs={"a": graphs(0, "w4")})),
    ("expected one definition of 'o1'", set_node(attrs={"a": graphs(1), "b": graphs(1)})),
    ("half of a surrogate pair", lambda h: h.update(name="\ud800")),
    (r"node 'stem' \(Conv\): stored weights of 'implicit': expected \d+ bytes, got \d+",
     lambda h: h["packed"][0].__setitem__(3, h["packed"][1][3])),
]  # fmt: skip


@pytest.mark.parametrize(("message", "edit"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
def test_adversarial_headers(message: str, edit: Edit, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.importers.compiled.SMALL", -1)  # an edit would have to know the hashes
    with pytest.raises(FastconvError, match=message):
        fastconv.load(edited(data, edit))


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"nul", b"\xff", b'{"nodes":NaN}', b"1" * 5000, b"[]"]
)
def test_headers_that_are_no_objects(text: bytes, data: bytes) -> None:
    with pytest.raises(ModelError, match="model: header: expected"):
        from_data(with_header(data, text))


@pytest.mark.parametrize("depth", [100, 300, 600, 900])
def test_lists_within_lists(depth: int, data: bytes) -> None:
    text = b'{"name":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(ModelError, match="expected"):
        from_data(with_header(data, text))
    header, _ = header_of(data)
    whole = json.dumps(header | {"name": 0}).replace('"name": 0', f'"name": {"[" * depth + "]" * depth}')
    with pytest.raises(ModelError, match="expected"):
        from_data(with_header(data, whole.encode()))


def test_other_versions_of_the_format_are_named(data: bytes) -> None:
    with pytest.raises(ModelError, match="expected version 3 of the format, got 1: convert the model"):
        from_data(data[:8] + (1).to_bytes(4, "little") + data[12:])


def test_other_files_are_not_compiled_models(tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    path.write_bytes(b"\x80\x02}q\x00." * 20)
    with pytest.raises(ModelError, match="expected a compiled model, got a file that starts with"):
        fastconv.load(path)


def test_verify_reads_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    model = resnet18(resnet18.random_weights(num_classes=10))
    model.save(path, (1, 3, 64, 64))
    fastconv.load(path, verify=True)
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="expected the bytes of its hash"):
        fastconv.load(path, verify=True)
