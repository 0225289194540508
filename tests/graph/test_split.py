"""A batch in parts: which steps may be cut, where it pays, and that the bits are those of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph import compile as compiler
from fastconv.graph.context import Buffer, Step
from fastconv.graph.ir import Graph, GraphBuilder, Node
from fastconv.graph.memory import Lifetime
from fastconv.graph.model import Model
from fastconv.graph.split import choose_split, independent_steps
from fastconv.graph.value import Tensor

Array = npt.NDArray[np.float32]


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no tensor fit the cache, so that every batch runs in parts."""
    monkeypatch.setattr(compiler, "_cache_bytes", lambda: 4096)


def constant(b: GraphBuilder, rng: np.random.Generator, *shape: int) -> str:
    return b.constant(f"c{len(b.constants)}", rng.standard_normal(shape).astype(np.float32))


def network(rng: np.random.Generator) -> Graph:
    """One of everything that may be cut, then what may not; results from both sides."""
    b = GraphBuilder("network", {})
    x = b.input("x", ("batch", 3, 12, 12))
    y = b.add("Relu", b.add("Conv", x, constant(b, rng, 8, 3, 3, 3), pads=[1] * 4))
    left = b.add("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    right = b.add("Conv", y, constant(b, rng, 8, 1, 3, 3), group=8, pads=[1] * 4)
    y = b.add("Add", b.add("Concat", left, right, axis=1), constant(b, rng, 16, 1, 1))
    y = b.add("PRelu", y, constant(b, rng, 16, 1, 1))
    y = b.add("LRN", y, size=3)
    y = b.add("Conv", y, constant(b, rng, 8, 16, 3, 3), pads=[1] * 4)
    y = b.add("Transpose", b.add("Transpose", y, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    gate = b.add("Sigmoid", b.add("ReduceMean", y, axes=[2, 3], keepdims=1))
    y = b.add("AveragePool", b.add("Mul", y, gate), kernel_shape=[2, 2], strides=[2, 2])
    b.output(b.add("Softmax", y, axis=1), "early")
    rows = b.add("Reshape", b.add("Transpose", y, perm=[0, 2, 3, 1]), b.constant("s", np.array([-1, 8])))
    rows = b.add("MatMul", rows, constant(b, rng, 8, 5))  # its rows are pixels of all images
    b.output(b.add("Softmax", rows, axis=0), "over the batch")
    b.output(b.add("ReduceMean", rows, keepdims=0), "scalar")
    b.output(b.add("Flatten", y), "late")
    return b.build()


@pytest.mark.parametrize("batch", [2, 3, 5, 8])
def test_parts_give_the_bits_of_the_batch(
    batch: int, num_threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, x = network(rng), rng.standard_normal((batch, 3, 12, 12)).astype(np.float32)
    whole = Model(graph)
    monkeypatch.setattr(compiler, "choose_split", lambda *_: None)
    expected = whole(x)
    monkeypatch.undo()
    monkeypatch.setattr(compiler, "_cache_bytes", lambda: 4096)
    model = Model(graph)
    got = model(x)
    executable = model._planned(())
    assert executable.split is not None
    assert executable.split.lanes == (num_threads if batch in (2, 8) else 1)  # uneven shares would wait
    last = executable.stages[-1].steps
    assert {"Softmax", "ReduceMean"} <= {step.node.op for step in last}
    assert "Conv" not in {step.node.op for step in last}
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(model(x), expected, strict=True):  # in memory that holds the first run's values
        np.testing.assert_array_equal(mine, theirs)
    for i in range(batch):
        np.testing.assert_array_equal(model(x[i : i + 1])[0], got[0][i : i + 1])


def test_uneven_parts(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images in parts of three and two: a stage for each size, and all times are told."""
    graph, x = network(rng), rng.standard_normal((7, 3, 12, 12)).astype(np.float32)
    expected = [Model(graph)(x[i : i + 1])[0] for i in range(7)]
    monkeypatch.setattr(compiler, "_cache_bytes", lambda: 60000)
    with fastconv.threads(1):
        model = Model(graph)
        np.testing.assert_array_equal(model(x)[0], np.concatenate(expected))
        executable = model._planned(())
        assert executable.split is not None
        assert executable.split.images == (3, 2, 2)
        assert [(stage.images, stage.times) for stage in executable.stages] == [(3, 1), (2, 2), (1, 1)]
        _, seconds = executable.run_profiled([x])
    assert len(seconds) == len(executable.steps)
    assert all(s > 0 for s in seconds)
    _, first, second, *lines = model.explain().splitlines()
    assert first.startswith("steps 0 to ")
    assert first.endswith("run for 1 part of 3 images")
    assert second.endswith("run for 2 parts of 2 images")
    assert len(lines) - 1 == len(executable.steps)
    assert any("carried" in line for line in lines)


@pytest.mark.usefixtures("small_cache")
def test_threads_take_parts(rng: np.random.Generator) -> None:
    with fastconv.threads(2):
        model = Model(network(rng))
        assert "; 2 parts at a time, each on a thread of its own" in model.explain((8, 3, 12, 12))
        split = model._planned(((3, 3, 12, 12),)).split
        assert split is not None
        assert split.lanes == 1  # three images on two threads: a third of the time would be waiting


def test_memory_is_that_of_the_parts(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, graph = (8, 3, 12, 12), network(rng)
    whole = Model(graph).memory(shape)
    monkeypatch.setattr(compiler, "_cache_bytes", lambda: 4096)
    with fastconv.threads(1):
        model = Model(graph)
        parts = model.memory(shape)
        assert parts.lower_bound_bytes <= parts.arena_bytes <= parts.tensor_bytes < whole.tensor_bytes
        assert parts.arena_bytes < whole.arena_bytes
        model(np.zeros(shape, np.float32))
    assert model._session.pool.bytes == parts.arena_bytes


@pytest.mark.usefixtures("small_cache")
def test_concurrent_runs_in_parts(rng: np.random.Generator) -> None:
    """Only one run has the workers at a time; the others run their parts one after another."""
    with fastconv.threads(2):
        model = Model(network(rng))
        inputs = [rng.standard_normal((n, 3, 12, 12)).astype(np.float32) for n in (2, 4, 6)]
        expected = [model(x) for x in inputs]

        def call(i: int) -> None:
            for got, wanted in zip(model(inputs[i % 3]), expected[i % 3], strict=True):
                np.testing.assert_array_equal(got, wanted)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, range(120)))


# -- which steps may be cut ----------------------------------------------------------------------------------


def lowered(build: Callable[[GraphBuilder, str], str], *shape: int) -> int:
    """Return how many steps of a graph of one input are independent, of how many: as a difference."""
    b = GraphBuilder("steps", {})
    b.output(build(b, b.input("x", shape)), "y")
    with fastconv.threads(1):
        (stage,) = Model(b.build(), passes="none")._planned((shape,)).stages
    return independent_steps(stage.steps, stage.buffers, shape[0]) - len(stage.steps)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "build",
    [
        lambda b, x: b.add("Relu", x),
        lambda b, x: b.add("Softmax", x, axis=-1),
        lambda b, x: b.add("ReduceMax", x, axes=[1], keepdims=0),
        lambda b, x: b.add("Mul", x, constant(b, RNG, 1, 6, 1, 1)),
        lambda b, x: b.add("Mul", x, constant(b, RNG, 4)),
        lambda b, x: b.add("Relu", b.add("Transpose", x, perm=[0, 3, 1, 2])),
        lambda b, x: b.add("Relu", b.add("Reshape", x, b.constant("s", np.array([12, -1])))),
        lambda b, x: b.add("Concat", x, b.add("Neg", x), axis=3),
        lambda b, x: b.add("Relu", b.add("Slice", x, *ints(b, [5], [-7], [1], [-2]))),
    ],
)
def test_steps_of_one_image(build: Callable[[GraphBuilder, str], str]) -> None:
    assert lowered(build, 4, 6, 5, 4) == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda b, x: b.add("Softmax", x, axis=0),
        lambda b, x: b.add("ReduceMax", x, axes=[0], keepdims=1),
        lambda b, x: b.add("Mul", x, constant(b, RNG, 4, 1, 1, 1)),  # each image by another number
        lambda b, x: b.add("Relu", b.add("Transpose", x, perm=[1, 0, 2, 3])),
        lambda b, x: b.add("Transpose", b.add("Relu", x), perm=[3, 1, 2, 0]),  # sizes of 4 change places
        lambda b, x: b.add("Concat", x, b.add("Neg", x), axis=0),
        lambda b, x: b.add("Add", x, b.add("Slice", x, *ints(b, [0], [1], [0]))),  # all with the first
        lambda b, x: b.add("Relu", b.add("Slice", x, *ints(b, [3], [-5], [0], [-1]))),  # in reverse
        lambda b, x: b.add("Relu", b.add("Reshape", x, b.constant("s", np.array([6, -1])))),
        lambda b, x: b.add("MatMul", x, b.add("Transpose", x, perm=[0, 1, 3, 2])),
    ],
)
def test_steps_that_mix_images(build: Callable[[GraphBuilder, str], str]) -> None:
    assert lowered(build, 4, 6, 5, 4) < 0


def ints(b: GraphBuilder, *vectors: list[int]) -> list[str]:
    return [b.constant(f"i{len(b.constants)}", np.array(v, np.int64)) for v in vectors]


# -- where it pays -------------------------------------------------------------------------------------------


def chain(sizes: list[int], weights: list[int]) -> tuple[list[Step], list[Buffer], dict[int, Lifetime]]:
    """Convolutions one after the other between tensors of 4 images, with so many bytes of weights."""

    class Packed:
        def __init__(self, packed_bytes: int) -> None:
            self.packed_bytes = packed_bytes

    tensors = [Tensor(i, (4, n), (n, 1)) for i, n in enumerate(sizes)]
    steps = [
        Step("conv", (x, None), y, (Packed(w),), Node("Conv", "", (), ()), "direct")
        for x, y, w in zip(tensors[:-1], tensors[1:], weights, strict=True)
    ]
    lifetimes = {i: Lifetime(16 * n, max(0, i - 1), min(i, len(steps) - 1)) for i, n in enumerate(sizes)}
    return steps, [Buffer("arena", 4 * n) for n in sizes], lifetimes


@pytest.mark.parametrize(
    ("sizes", "weights", "expected"),
    [
        ([100, 100, 100], [0, 0], None),  # all fits
        ([1000, 1000, 1000], [0, 0], (2, (1, 1, 1, 1))),
        ([500, 500, 500], [0, 0], (2, (2, 2))),
        ([1000, 1000, 1000, 10], [0, 0, 50000], (2, (1, 1, 1, 1))),  # weights that are better read once
        ([1000, 1000, 1000], [0, 500000], (1, (1, 1, 1, 1))),
        ([1000, 1000, 1000], [500000, 0], None),
    ],
)
def test_the_cut_with_the_least_traffic(sizes: list[int], weights: list[int], expected: Any) -> None:
    split = choose_split(*chain(sizes, weights), batch=4, threads=1, cache=9000)
    assert (split and (split.steps, split.images)) == expected


def test_several_threads_take_what_fits() -> None:
    split = choose_split(*chain([10, 10, 10], [0, 0]), batch=4, threads=2, cache=9000)
    assert split is not None
    assert (split.steps, split.images, split.lanes) == (2, (2, 2), 2)


# -- the binding ---------------------------------------------------------------------------------------------


def test_parts_that_do_not_fit_a_batch() -> None:
    pool = _core.ArenaPool()
    rest = _core.Program(pool, 0, [48, 24], [48])  # an input, what is carried, an output
    batch = _core.BatchProgram(pool, rest, 3, 1)
    good = _core.Program(pool, 0, [16], [16, 8])
    for inputs, outputs in (([20], [16, 8]), ([16], [32, 8]), ([16], [16, 12])):
        with pytest.raises(ShapeError, match="program: expected none, or 1 of 3 images of an array of"):
            batch.add_part(_core.Program(pool, 0, inputs, outputs), 1)
    with pytest.raises(ArgumentError, match="program: expected 2 outputs, got 1"):
        batch.add_part(_core.Program(pool, 0, [16], [16]), 1)
    with pytest.raises(ArgumentError, match="program: expected at most 2 inputs, got 3"):
        batch.add_part(_core.Program(pool, 0, [16, 16, 16], [16]), 1)
    with pytest.raises(ArgumentError, match="images: expected 1 to 3, got 4"):
        batch.add_part(good, 4)
    batch.add_part(good, 1)
    with pytest.raises(ArgumentError, match="parts: expected 3 images, got 1"):
        batch.run([np.zeros(12, np.float32)], [np.zeros(12, np.float32)])
    with pytest.raises(ArgumentError, match="program: expected 1 inputs, as in the parts before, got 2"):
        batch.add_part(_core.Program(pool, 0, [16, 8], [16]), 1)
    with pytest.raises(ArgumentError, match="lanes: expected at least 1, got 0"):
        _core.BatchProgram(pool, rest, 3, 0)
    with pytest.raises(ArgumentError, match="images: expected at least 1, got 0"):
        _core.BatchProgram(pool, rest, 0, 1)
