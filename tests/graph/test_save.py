"""Compiled models: what is saved and loaded again is the same model, and a damaged file is an error."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError, FastconvError, ModelError, ShapeError
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model
from fastconv.graph.save import PAGE, START, content_hash, prefix_of, round_up
from fastconv.importers.compiled import from_data
from fastconv.models import MODELS, mobilenet_v2, resnet18

Array = npt.NDArray[Any]
Edit = Callable[[dict[str, Any]], Any]


def network(rng: np.random.Generator, size: int | None = 20) -> Graph:
    """One of everything that packs: depthwise, groups, Winograd, transposed, classifiers of both kinds."""
    b = GraphBuilder("everything", {})

    def w(*shape: int) -> str:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return b.constant(f"w{len(b.constants)}", values.astype(np.float32))

    x = b.input("x", ("batch", 3, size, size))
    y = b.add("Conv", x, w(32, 3, 3, 3), w(32), strides=[2, 2], pads=[1, 1, 1, 1], name="stem")
    y = b.add("Clip", y, b.constant("low", np.float32(0)), b.constant("high", np.float32(6)))
    y = b.add("Relu", b.add("Add", b.add("Conv", y, w(32, 32, 3, 3), pads=[1] * 4, name="block"), y))
    y = b.add("Conv", y, w(32, 1, 3, 3), group=32, pads=[1] * 4, name="depthwise")
    y = b.add("LeakyRelu", b.add("Conv", y, w(24, 8, 3, 3), group=4, name="groups"), alpha=0.1)
    y = b.add("ConvTranspose", y, w(24, 10, 2, 2), strides=[2, 2], name="transposed")
    y = b.add("Conv", y, w(40, 10, 1, 1), w(40), name="pointwise")
    flat = b.add("Flatten", b.add("GlobalAveragePool", y))
    y = b.add("Gemm", flat, w(24, 40), w(24), transB=1, alpha=0.5)
    y = b.add("Add", b.add("MatMul", y, w(24, 10)), w(10))
    b.output(b.add("Softmax", y), "y", ("batch", 10))
    return b.build()


def image(rng: np.random.Generator, n: int = 1, size: int = 20) -> Array:
    return rng.standard_normal((n, 3, size, size)).astype(np.float32)


def saved(model: Model, path: Path, *shapes: tuple[int, ...], **keywords: Any) -> Model:
    model.save(path, *shapes, **keywords)
    return fastconv.load(path)


def contents(tmp_path: Path, graph: Graph, **keywords: Any) -> bytes:
    path = tmp_path / "whole.fcm"
    Model(graph).save(path, **keywords)
    return path.read_bytes()


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


def packed_arrays(model: Model) -> list[Array]:
    return [a for conv in model._plans.packed.values() for arrays in conv.packed().values() for a in arrays]


# ---- the same model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize("size", [20, None])
def test_round_trip(
    size: int | None, precision: str, tier: str, num_threads: int, rng: np.random.Generator, tmp_path: Path
) -> None:
    del tier, num_threads
    model = Model(network(rng, size), precision=precision)
    inputs = [image(rng, 1), image(rng, 3), *([] if size else [image(rng, 2, 33)])]
    expected = [model(x) for x in inputs]
    same = saved(model, tmp_path / "net.fcm")
    for x, y in zip(inputs, expected, strict=True):
        np.testing.assert_array_equal(same(x), y, strict=True)
    assert {p[:3] for p in same._plans.packed_weights()} == {p[:3] for p in model._plans.packed_weights()}
    assert same.explain() == model.explain()
    assert same.layers == model.layers
    assert (same.name, same.inputs, same.outputs) == (model.name, model.inputs, model.outputs)
    assert same.parameters == model.parameters
    assert same._plans.exact == (precision == "exact")


@pytest.mark.model
@pytest.mark.parametrize(
    "name",
    ["squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18", "googlenet"],
)
def test_networks(name: str, tier: str, rng: np.random.Generator, tmp_path: Path) -> None:
    del tier
    model = MODELS[name](MODELS[name].random_weights())
    x = image(rng, 2, 64)
    expected = model(x)
    same = saved(model, tmp_path / "net.fcm")
    np.testing.assert_array_equal(same(x), expected, strict=True)
    again = saved(same, tmp_path / "again.fcm")
    np.testing.assert_array_equal(again(x), expected, strict=True)
    assert (tmp_path / "again.fcm").read_bytes() == (tmp_path / "net.fcm").read_bytes()


@pytest.mark.model
@pytest.mark.parametrize("name", ["bvlc_alexnet", "densenet121", "inception_v1", "shufflenet", "squeezenet"])
def test_onnx_networks(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = fastconv.load(folder / f"light_{name}.onnx")
    x = image(rng, 1, 224)
    np.testing.assert_array_equal(saved(model, tmp_path / "net.fcm")(x), model(x), strict=True)


def test_opening_needs_no_onnx(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    Model(network(rng)).save(path)
    code = f"""
import sys
sys.modules["onnx"] = None
import numpy as np, fastconv
print(fastconv.load({str(path)!r})(np.zeros((1, 3, 20, 20), np.float32)).shape)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "(1, 10)"


def test_attributes_of_every_kind(
    onnx: Any, make_model: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    node = onnx.helper.make_node
    tensor = onnx.numpy_helper.from_array(np.array([2.5], np.float32))
    proto = make_model(
        [
            node("ConstantOfShape", ["shape"], ["c"], value=tensor),
            node("Add", ["x", "c"], ["a"]),
            node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3]),
            node("LRN", ["t"], ["l"], size=3, alpha=0.25),
            node("Resize", ["l", "", "scales"], ["y"], mode="linear"),
        ],
        {"x": ("n", 3, 4, 5)},
        {"shape": np.array([3, 1, 1]), "scales": np.array([1, 1, 2, 2], np.float32)},
    )
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    for passes in ("none", "default"):
        model = fastconv.load(proto, passes=passes)
        same = saved(model, tmp_path / "net.fcm")
        np.testing.assert_array_equal(same(x), model(x), strict=True)
        for a, b in zip(model._graph.nodes, same._graph.nodes, strict=True):
            assert replace(a, attrs={}) == replace(b, attrs={})
            assert a.attrs.keys() == b.attrs.keys()
            for key, value in a.attrs.items():
                assert type(value) is type(b.attrs[key])
                np.testing.assert_array_equal(value, b.attrs[key])


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    b = GraphBuilder("odd", {"c": np.ones(3, np.complex64)})
    b.output(b.add("Relu", b.input("x", (3,))))
    with pytest.raises(ModelError, match=r"constant 'c': expected a dtype among float16.*, got complex64"):
        Model(b.build(), passes="none").save(tmp_path / "net.fcm")
    assert list(tmp_path.iterdir()) == []


# ---- where the weights are ---------------------------------------------------------------------------


def mapping_of(array: Array) -> str:
    """Return the name of the file whose mapping holds an array, from /proc."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(n, 16) for n in line.split()[0].split("-"))
        if begin <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split()) > 5 else ""
    return ""


@pytest.mark.parametrize("size", [20, None])
def test_weights_are_used_where_they_lie(size: int | None, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    Model(network(rng, size)).save(path, (1, 3, 20, 20))
    same = fastconv.load(path)
    same(image(rng))
    arrays = packed_arrays(same)
    assert len(arrays) >= 8
    for array in [*arrays, *(c.array for c in same._constants.values())]:
        assert mapping_of(array) == str(path)
        assert array.ctypes.data % 64 == 0
    first = min(array.ctypes.data for array in arrays)
    assert all(c.array.ctypes.data // PAGE < first // PAGE for c in same._constants.values())


WORKER = """
import sys
import numpy as np, fastconv
model = fastconv.load(sys.argv[1])
print(float(model(np.ones((1, 3, 64, 64), np.float32)).sum()), flush=True)
sys.stdin.read()
"""


def kilobytes(pid: int, path: Path) -> dict[str, int]:
    """Sum what a process has of a file in memory, by kind."""
    found: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.endswith(" kB"):
            name, number = line.removesuffix(" kB").split(":")
            found[name] = found.get(name, 0) + int(number)
    return found


def test_processes_share_the_pages(tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    model = mobilenet_v2(mobilenet_v2.random_weights())
    model.save(path, (1, 3, 64, 64))
    with path.open("rb") as file:
        os.fsync(file.fileno())  # until it is on the disk its pages count as dirty
    packed = sum(array.nbytes for array in packed_arrays(model)) // 1024
    command = [sys.executable, "-c", WORKER, str(path)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        sums = {float(worker.stdout.readline()) for worker in workers if worker.stdout}
        expected = float(model(np.ones((1, 3, 64, 64), np.float32)).sum())
        assert sums == {expected}
        for worker in workers:
            found = kilobytes(worker.pid, path)
            assert found["Private_Dirty"] == 0
            assert found["Shared_Clean"] >= packed
            # Few besides: the plain weights are not read, but the kernel maps what lies around a page.
            assert found["Rss"] < packed + 1024
    finally:
        for worker in workers:
            worker.communicate("")


def test_without_packed_weights(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x = Model(network(rng)), image(rng)
    model.save(tmp_path / "whole.fcm")
    same = saved(model, tmp_path / "net.fcm", packed=False)
    np.testing.assert_array_equal(same(x), model(x), strict=True)
    plain = sum(c.array.nbytes for c in same._constants.values())
    packed = sum(a.nbytes for a in packed_arrays(model))
    assert (tmp_path / "net.fcm").stat().st_size < plain + 3 * PAGE
    assert (tmp_path / "whole.fcm").stat().st_size > plain + packed


def test_shapes_are_planned_before_saving(rng: np.random.Generator, tmp_path: Path) -> None:
    model = Model(network(rng, None))
    model.save(tmp_path / "nothing.fcm")
    assert header_of((tmp_path / "nothing.fcm").read_bytes())[0]["packed"] == []
    model.save(tmp_path / "net.fcm", (1, 3, 20, 20))
    names = {entry[1] for entry in header_of((tmp_path / "net.fcm").read_bytes())[0]["packed"]}
    assert {"implicit", "depthwise"} < names
    with pytest.raises(ShapeError, match="expected 3 at axis 1, got 4"):
        model.save(tmp_path / "net.fcm", (1, 4, 20, 20))


@pytest.mark.skipif(len(_core.tiers()) < 2, reason="one tier runs here")
def test_another_tier_packs_anew(rng: np.random.Generator, tmp_path: Path) -> None:
    before = _core.active_tier()
    graph, x = network(rng), image(rng)
    try:
        for i, tier in enumerate(_core.tiers()):
            _core.set_active_tier(tier)
            Model(graph).save(tmp_path / f"{i}.fcm")
        for tier in _core.tiers():
            _core.set_active_tier(tier)
            expected = Model(graph)(x)
            for i in range(len(_core.tiers())):
                np.testing.assert_array_equal(fastconv.load(tmp_path / f"{i}.fcm")(x), expected, strict=True)
    finally:
        _core.set_active_tier(before)


def test_weights_packed_by_another_version_are_left_alone(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x = Model(network(rng)), image(rng)

    def pretend(header: dict[str, Any]) -> None:
        for entry in header["packed"]:
            entry[2] = entry[2].replace("packing 1", "packing 0")

    same = fastconv.load(edited(contents(tmp_path, network(np.random.default_rng(3))), pretend))
    assert not any(np.shares_memory(a, p) for a in packed_arrays(same) for p in [same._constants["w0"].array])
    model = Model(network(np.random.default_rng(3)))
    np.testing.assert_array_equal(same(x), model(x), strict=True)


def test_precision_of_a_file_can_be_overruled(rng: np.random.Generator, tmp_path: Path) -> None:
    graph, x = network(rng), image(rng)
    Model(graph).save(tmp_path / "fast.fcm")
    exact = fastconv.load(tmp_path / "fast.fcm", precision="exact")
    np.testing.assert_array_equal(exact(x), Model(graph, precision="exact")(x), strict=True)


def test_passes_have_run(rng: np.random.Generator, tmp_path: Path) -> None:
    Model(network(rng)).save(tmp_path / "net.fcm")
    with pytest.raises(ArgumentError, match=r"passes: expected 'default', .* got 'none'"):
        fastconv.load(tmp_path / "net.fcm", passes="none")


# ---- weights that were freed -------------------------------------------------------------------------


def test_weights_that_have_changed_are_noticed(rng: np.random.Generator, tmp_path: Path) -> None:
    graph = network(rng)
    model = Model(lambda: graph)
    model.save(tmp_path / "net.fcm")
    graph.constants["w0"][:] += 1  # the stem's
    with pytest.raises(ModelError, match=r"weights of .*: expected those that the model was made of"):
        model.save(tmp_path / "net.fcm")
    assert (tmp_path / "net.fcm").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["net.fcm"]


def test_a_file_that_is_gone_is_named(onnx: Any, make_model: Any, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    onnx.save(make_model([node], {"x": (1, 3, 8, 8)}, {"w": np.ones((4, 3, 1, 1), np.float32)}), source)
    model = fastconv.load(source)
    model.save(tmp_path / "first.fcm")
    source.unlink()
    with pytest.raises(ModelError, match=re.escape(str(source))):
        model.save(tmp_path / "second.fcm")
    fastconv.load(tmp_path / "first.fcm").save(tmp_path / "second.fcm")
    assert (tmp_path / "first.fcm").read_bytes() == (tmp_path / "second.fcm").read_bytes()


def test_a_file_in_use_may_be_replaced(rng: np.random.Generator, tmp_path: Path) -> None:
    path, x = tmp_path / "net.fcm", image(rng)
    first, second = Model(network(rng)), Model(network(rng))
    mapped = saved(first, path)
    second.save(path)
    np.testing.assert_array_equal(mapped(x), first(x), strict=True)
    np.testing.assert_array_equal(fastconv.load(path)(x), second(x), strict=True)
    mapped.save(path)  # over the name of the file that it is mapped from
    np.testing.assert_array_equal(fastconv.load(path)(x), first(x), strict=True)


# ---- damage ------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return contents(tmp_path, network(np.random.default_rng(3)))


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
    with pytest.raises(FileNotFoundError):
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
    rng = np.random.default_rng(0)
    x = image(rng)
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
    x = image(np.random.default_rng(0))
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
    rng = np.random.default_rng(0)
    x = image(rng)
    others: list[Any] = [
        None, True, 0, 1, -1, 2, 3, 7, 63, 64, 4096, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**30,
        0.0, 0.5, -1e308, "inf", "nan", "", "x", "w0", "int", "ints", "array", "float32", "int64", "Conv",
        "Relu", "\ud800", [], [1], [[]], {}, {"a": 1}, ["int", 1], ["floats", ["nan"]], ["array", 0],
    ]  # fmt: skip
    outcomes = {"error": 0, "runs": 0}
    for _ in range(4000):
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
            y = fastconv.load(with_header(data, header))(x)
        except FastconvError:
            outcomes["error"] += 1
        else:
            assert isinstance(y, np.ndarray | tuple)
            outcomes["runs"] += 1
    assert outcomes["error"] > 2000
    assert outcomes["runs"] > 20


def set_array(index: int, **fields: Any) -> Edit:
    return lambda header: header["arrays"][index].update(fields)


def set_node(**fields: Any) -> Edit:
    return lambda header: header["nodes"][0].update(fields)


HOSTILE: list[tuple[str, Edit]] = [
    (r"array 0: expected a place of its own.*from \d+ on", set_array(0, offset=4)),
    ("array 1: expected a place of its own", set_array(1, offset=0)),
    ("array 0: expected a place of its own", set_array(0, shape=[2**31 - 1, 2**31 - 1])),
    ("array 0: expected a place of its own", set_array(0, shape=[2**31 - 1] * 32)),
    ("array 0: expected at most 32 dimensions, got 33", set_array(0, shape=[1] * 33)),
    ("array 0: expected a number from 0 to", set_array(0, offset=-64)),
    ("array 0: expected a number from 0 to", set_array(0, offset=1 << 62)),
    ("array 0: expected a number from 0 to", set_array(0, shape=[-1])),
    ("array 0: expected a int, got True", set_array(0, shape=[True])),
    ("array 0: expected a shape that numpy has", set_array(0, shape=[0] + [2**31 - 1] * 9, hash="")),
    ("array 0: expected a dtype among", set_array(0, dtype="object")),
    ("arrays: expected a list, got None", lambda header: header.pop("arrays")),
    ("constant 'w0': expected one definition", lambda h: h["constants"].append(["w0", 0])),
    ("constant 'w0': expected a number", lambda h: h["constants"][0].__setitem__(1, 10**6)),
    ("outputs: expected at least one", lambda h: h["outputs"].clear()),
    ("precision: expected 'fast' or 'exact'", lambda h: h.update(precision="approximate")),
    ("expected its inputs to be known before it, got 'later'", set_node(inputs=["later"])),
    ("expected an output, got none", set_node(outputs=[])),
    ("expected a supported operator, got Exec", set_node(op="Exec")),
    ("attribute strides: expected", set_node(attrs={"strides": ["str", "2"]})),
    ("attribute strides: expected a kind of value", set_node(attrs={"strides": ["code", "2"]})),
    ("attribute strides: expected an integer of 64 bits", set_node(attrs={"strides": ["ints", [2**64]]})),
    ("activation: expected 3 fields", set_node(activation=["none"])),
    ("act: expected one of", set_node(activation=["shell", 0, 0])),
    ("half of a surrogate pair", lambda h: h.update(name="\ud800")),
    (r"node 'stem' \(Conv\): stored weights of 'implicit': expected \d+ floats, got 16",
     lambda h: h["packed"].__setitem__(0, [*h["packed"][0][:3], small_array(h)])),
]  # fmt: skip


def small_array(header: dict[str, Any]) -> int:
    """Make the array of the stem's bias a vector of 16 and return its index."""
    index = next(i for name, i in header["constants"] if name == "w1")
    header["arrays"][index] |= {"shape": [16], "hash": content_hash(b"").hex()}
    return int(index)


@pytest.mark.parametrize(("message", "edit"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
def test_hostile_headers(message: str, edit: Edit, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.importers.compiled.SMALL", -1)  # an edit would have to know the hashes
    with pytest.raises(FastconvError, match=message):
        fastconv.load(edited(data, edit))


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"nul", b"\xff", b'{"nodes":NaN}', b"1" * 5000, b"[]"]
)
def test_headers_that_are_no_objects(text: bytes, data: bytes) -> None:
    with pytest.raises(ModelError, match="model: header: expected"):
        from_data(with_header(data, text))


def test_other_versions_of_the_format_are_named(data: bytes) -> None:
    with pytest.raises(ModelError, match="expected version 1 of the format, got 2"):
        from_data(data[:8] + (2).to_bytes(4, "little") + data[12:])


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


def test_a_model_of_a_function_is_saved_by_calling_it_again(tmp_path: Path) -> None:
    calls = []

    def make(seed: int) -> Graph:
        calls.append(seed)
        return network(np.random.default_rng(seed))

    model, x = Model(partial(make, 5)), image(np.random.default_rng(0))
    np.testing.assert_array_equal(saved(model, tmp_path / "net.fcm")(x), model(x), strict=True)
    assert calls == [5, 5]
