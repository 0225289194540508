"""Compiled models: what is saved and loaded again is the same model, run from the file's pages."""

from __future__ import annotations

import os
import pickle
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
from fastconv.errors import ArgumentError, ModelError, ShapeError
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model
from fastconv.graph.save import PAGE
from fastconv.importers.compiled import from_file
from fastconv.models import MODELS, mobilenet_v2

Array = npt.NDArray[Any]
MakeGraph = Callable[..., Graph]


def image(rng: np.random.Generator, n: int = 1, size: int = 20) -> Array:
    return rng.standard_normal((n, 3, size, size)).astype(np.float32)


def saved(model: Model, path: Path, *shapes: tuple[int, ...], packed: bool | None = True) -> Model:
    model.save(path, *shapes, packed=packed)
    return fastconv.load(path)


def packed_arrays(model: Model) -> list[Array]:
    return [
        a
        for conv in model._session.plans.packed.values()
        for arrays in conv.packed().values()
        for a in arrays
    ]


# ---- the same model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fast", "exact", "bf16"])
@pytest.mark.parametrize("size", [20, None])
def test_round_trip(
    network: MakeGraph,
    size: int | None,
    precision: str,
    tier: str,
    num_threads: int,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    del tier, num_threads
    model = Model(network(rng, size), precision=precision)
    inputs = [image(rng, 1), image(rng, 3), *([] if size else [image(rng, 2, 33)])]
    expected = [model(x) for x in inputs]
    same = saved(model, tmp_path / "net.fcm")
    for x, y in zip(inputs, expected, strict=True):
        np.testing.assert_array_equal(same(x), y, strict=True)
    assert {p[:3] for p in same._session.plans.packed_weights()} == {
        p[:3] for p in model._session.plans.packed_weights()
    }
    assert same.explain() == model.explain()
    assert same.layers == model.layers
    assert (same.name, same.inputs, same.outputs) == (model.name, model.inputs, model.outputs)
    assert same.parameters == model.parameters
    assert same._session.plans.precision == precision


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


def test_opening_needs_no_onnx(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
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
        for a, b in zip(model._session.graph.nodes, same._session.graph.nodes, strict=True):
            assert replace(a, attrs={}) == replace(b, attrs={})
            assert a.attrs.keys() == b.attrs.keys()
            for key, value in a.attrs.items():
                assert type(value) is type(b.attrs[key])
                np.testing.assert_array_equal(value, b.attrs[key])


def test_graphs_within_the_graph(tmp_path: Path) -> None:
    parser = pytest.importorskip("onnx.parser")
    text = """<ir_version: 8, opset_import: ["": 13]> net (float[N, 3] x) => (float[N, 3] y)
    <float zero = {0}, float[3] w = {1, 2, 3}> {
        sum = ReduceSum <keepdims = 0> (x)
        positive = Greater (sum, zero)
        y = If (positive) <
            then_branch = many () => (float[N, 3] a) { a = Mul (x, w) },
            else_branch = few () => (float[N, 3] b) { two = Constant <value = float[3] {2, 2, 2}> ()
                                                      b = Add (x, two) }
        >
    }"""
    model = fastconv.load(parser.parse_model(text))
    same = saved(model, tmp_path / "net.fcm")
    for x in (np.ones((2, 3), np.float32), -np.ones((2, 3), np.float32)):
        np.testing.assert_array_equal(same(x), model(x), strict=True)
    np.testing.assert_array_equal(same(x), 2 + x)


@pytest.mark.parametrize("name", ["int8", "bool", "float64", "bfloat16", "int4"])
def test_values_of_any_element_type(name: str, tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    values = np.array([[1, 0, 1]]).astype(dtype)
    b = GraphBuilder("typed", {"c": values})
    b.output(b.add("Cast", b.add("Concat", "c", "c", axis=0), to=1), "y", (2, 3))
    x = b.input("x", (1,))
    b.output(b.add("Relu", x), "z", (1,))
    model = Model(b.build(), passes="none")
    same = saved(model, tmp_path / "net.fcm")
    assert same._session.constants["c"].dtype == model._session.constants["c"].dtype
    for got, expected in zip(same(np.ones(1, np.float32)), model(np.ones(1, np.float32)), strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    b = GraphBuilder("odd", {"c": np.ones(3, np.complex64)})
    b.output(b.add("Relu", b.input("x", (3,))))
    with pytest.raises(ModelError, match=r"constant 'c': expected a dtype among float16.*, got 'complex64'"):
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
def test_weights_are_used_where_they_lie(
    network: MakeGraph, size: int | None, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "net.fcm"
    Model(network(rng, size)).save(path, (1, 3, 20, 20))
    same = fastconv.load(path)
    same(image(rng))
    arrays = packed_arrays(same)
    assert len(arrays) >= 8
    for array in [*arrays, *(c.array for c in same._session.constants.values())]:
        assert mapping_of(array) == str(path)
        assert array.ctypes.data % 64 == 0
    first = min(array.ctypes.data for array in arrays)
    assert all(c.array.ctypes.data // PAGE < first // PAGE for c in same._session.constants.values())


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


def test_without_packed_weights(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
    model, x = Model(network(rng)), image(rng)
    model.save(tmp_path / "whole.fcm", packed=True)
    same = saved(model, tmp_path / "net.fcm", packed=None)
    np.testing.assert_array_equal(same(x), model(x), strict=True)
    plain = sum(c.array.nbytes for c in same._session.constants.values())
    packed = sum(a.nbytes for a in packed_arrays(model))
    assert (tmp_path / "net.fcm").stat().st_size < plain + 3 * PAGE
    assert (tmp_path / "whole.fcm").stat().st_size > plain + packed


def test_shapes_are_planned_before_saving(
    network: MakeGraph, rng: np.random.Generator, tmp_path: Path
) -> None:
    model = Model(network(rng, None))
    model.save(tmp_path / "nothing.fcm", packed=True)
    assert from_file(tmp_path / "nothing.fcm").packed == ()
    model.save(tmp_path / "net.fcm", (1, 3, 20, 20))
    names = {packed.algorithm for packed in from_file(tmp_path / "net.fcm").packed}
    assert {"implicit", "depthwise"} < names
    with pytest.raises(ShapeError, match="expected 3 at axis 1, got 4"):
        model.save(tmp_path / "net.fcm", (1, 4, 20, 20))


@pytest.mark.skipif(len(_core.tiers()) < 2, reason="one tier runs here")
def test_another_tier_packs_anew(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
    before = _core.active_tier()
    graph, x = network(rng), image(rng)
    try:
        for i, tier in enumerate(_core.tiers()):
            _core.set_active_tier(tier)
            Model(graph).save(tmp_path / f"{i}.fcm", packed=True)
        for tier in _core.tiers():
            _core.set_active_tier(tier)
            expected = Model(graph)(x)
            for i in range(len(_core.tiers())):
                np.testing.assert_array_equal(fastconv.load(tmp_path / f"{i}.fcm")(x), expected, strict=True)
    finally:
        _core.set_active_tier(before)


def test_pickled(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
    """Its path and hash are, not its weights."""
    same, x = saved(Model(network(rng)), tmp_path / "net.fcm"), image(rng)
    pickled = pickle.dumps(same)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again(x), same(x), strict=True)
    assert {mapping_of(array) for array in packed_arrays(again)} == {str(tmp_path / "net.fcm")}


def test_packed_weights_of_a_file_are_no_memory_of_the_model(
    network: MakeGraph, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, path = Model(network(rng)), tmp_path / "net.fcm"
    model.save(path, packed=True)
    packed = sum(array.nbytes for array in packed_arrays(model))
    assert model._session.plans.budget.spent >= packed
    assert fastconv.load(path)._session.plans.budget.spent < packed // 20  # biases
    with pytest.raises(fastconv.MemoryLimitError):
        Model(network(rng), max_bytes=packed // 2)
    model.save(path, packed=False)
    with pytest.raises(fastconv.MemoryLimitError):
        fastconv.load(path, max_bytes=packed // 2)


def test_precision_of_a_file_can_be_overruled(
    network: MakeGraph, rng: np.random.Generator, tmp_path: Path
) -> None:
    graph, x = network(rng), image(rng)
    Model(graph).save(tmp_path / "fast.fcm")
    exact = fastconv.load(tmp_path / "fast.fcm", precision="exact")
    np.testing.assert_array_equal(exact(x), Model(graph, precision="exact")(x), strict=True)


def test_passes_have_run(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
    Model(network(rng)).save(tmp_path / "net.fcm")
    with pytest.raises(ArgumentError, match=r"passes: expected 'default', .* got 'none'"):
        fastconv.load(tmp_path / "net.fcm", passes="none")


# ---- weights that were freed -------------------------------------------------------------------------


def test_a_model_of_a_function_is_saved_by_calling_it_again(network: MakeGraph, tmp_path: Path) -> None:
    calls = []

    def make(seed: int) -> Graph:
        calls.append(seed)
        return network(np.random.default_rng(seed))

    model, x = Model(partial(make, 5)), image(np.random.default_rng(0))
    np.testing.assert_array_equal(saved(model, tmp_path / "net.fcm")(x), model(x), strict=True)
    assert calls == [5, 5]


def test_weights_that_have_changed_are_noticed(
    network: MakeGraph, rng: np.random.Generator, tmp_path: Path
) -> None:
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
    model.save(tmp_path / "first.fcm", packed=True)
    source.unlink()
    with pytest.raises(ModelError, match=re.escape(str(source))):
        model.save(tmp_path / "second.fcm")
    fastconv.load(tmp_path / "first.fcm").save(tmp_path / "second.fcm", packed=True)
    assert (tmp_path / "first.fcm").read_bytes() == (tmp_path / "second.fcm").read_bytes()


def test_a_file_in_use_may_be_replaced(network: MakeGraph, rng: np.random.Generator, tmp_path: Path) -> None:
    path, x = tmp_path / "net.fcm", image(rng)
    first, second = Model(network(rng)), Model(network(rng))
    mapped = saved(first, path)
    second.save(path)
    np.testing.assert_array_equal(mapped(x), first(x), strict=True)
    np.testing.assert_array_equal(fastconv.load(path)(x), second(x), strict=True)
    mapped.save(path)  # over the name of the file that it is mapped from
    np.testing.assert_array_equal(fastconv.load(path)(x), first(x), strict=True)
