"""The memory plan: buffers that are alive together never overlap, and memory is used again."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.graph import compile as compiler
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.memory import ALIGNMENT, Lifetime, plan_memory
from fastconv.graph.model import Model
from fastconv.graph.value import Tensor

LIFETIMES = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 20), st.integers(0, 6)).map(
        lambda t: Lifetime(t[0], t[1], t[1] + t[2])
    ),
    max_size=25,
)


@given(LIFETIMES)
def test_live_buffers_never_overlap(lifetimes: list[Lifetime]) -> None:
    lives = dict(enumerate(lifetimes))
    plan = plan_memory(lives)
    for b, life in lives.items():
        assert plan.offsets[b] % ALIGNMENT == 0
        assert plan.offsets[b] + life.size <= plan.arena
    for a, b in itertools.combinations(lives, 2):
        if lives[a].first <= lives[b].last and lives[b].first <= lives[a].last:
            first, second = sorted((a, b), key=lambda i: plan.offsets[i])
            assert plan.offsets[first] + lives[first].size <= plan.offsets[second]
    assert plan.lower_bound <= plan.arena <= plan.total


def test_a_chain_needs_two_buffers() -> None:
    plan = plan_memory({i: Lifetime(640, i, i + 1) for i in range(10)})
    assert (plan.arena, plan.lower_bound, plan.total) == (1280, 1280, 6400)


def test_a_gap_is_used() -> None:
    plan = plan_memory(
        {0: Lifetime(256, 0, 9), 1: Lifetime(192, 0, 3), 2: Lifetime(128, 2, 9), 3: Lifetime(192, 5, 9)}
    )
    assert plan.offsets[1] == plan.offsets[3]
    assert plan.arena == plan.lower_bound


def branchy(rng: np.random.Generator) -> Graph:
    """A graph with long and short lives: residuals, concatenations, splits."""
    b = GraphBuilder("branchy", {})
    x = b.input("x", ("batch", 8, None, None))

    def conv(value: str, ic: int) -> str:
        w = b.constant(f"w{len(b.constants)}", rng.standard_normal((8, ic, 3, 3)).astype(np.float32) / 8)
        return b.add("Conv", value, w, pads=[1, 1, 1, 1])

    first = conv(x, 8)
    y = first
    for _ in range(3):
        left, right = b.add("Relu", conv(y, 8)), b.add("MaxPool", y, kernel_shape=[1, 1])
        joined = b.add("Concat", left, y, right, axis=1)
        y = b.add("Add", conv(joined, 24), y)
    b.output(b.add("Add", y, first), "y")
    b.output(b.add("Sigmoid", joined), "z")
    return b.build()


def test_running_in_the_arena_changes_nothing(rng: np.random.Generator) -> None:
    """A step that wrote over a live tensor would change what other, poisoned runs compute."""
    graph, x = branchy(rng), rng.standard_normal((2, 8, 6, 5)).astype(np.float32)
    model = Model(graph)
    y, z = model(x)
    model(np.full_like(x, np.nan))  # the arena now holds NaN
    again = model(x)
    np.testing.assert_array_equal(again[0], y)
    np.testing.assert_array_equal(again[1], z)
    plain = Model(graph, passes="none")(x)
    np.testing.assert_allclose(y, plain[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(z, plain[1], rtol=1e-5, atol=1e-5)


def test_steps_read_what_was_written_last(rng: np.random.Generator) -> None:
    """Replay the program on paper: all that a step reads was last written for the buffer it reads."""
    model = Model(branchy(rng))
    model(np.zeros((1, 8, 6, 5), np.float32))
    executable = model._planned(())
    owner = np.full(executable.memory.arena, -1)  # of each byte

    def extent(t: Tensor) -> slice:
        item = t.dtype.itemsize
        start = executable.memory.offsets[t.buffer] + item * t.offset
        reach = sum((n - 1) * s for n, s in zip(t.shape, t.strides, strict=True)) + 1
        return slice(start, start + item * reach)

    for step in executable.steps:
        reads = [t for t in step.inputs if t is not None and t.buffer in executable.memory.offsets]
        for tensor in reads:
            assert (owner[extent(tensor)] == tensor.buffer).all(), step
        for tensor in step.tensors():
            if tensor not in reads and tensor.buffer in executable.memory.offsets and tensor.size:
                owner[extent(tensor)] = tensor.buffer


def test_concatenated_parts_are_written_in_place(rng: np.random.Generator) -> None:
    """Only what more than one concatenation holds, and an output that is not row-major, is copied."""
    model = Model(branchy(rng))
    model(np.zeros((1, 8, 6, 5), np.float32))
    copies = [step.node.op for step in model._planned(()).steps if step.kind == "copy"]
    assert copies == ["Output", "Output"]


def test_growing_concatenations_share_one_buffer(rng: np.random.Generator) -> None:
    """A DenseNet's block: each layer reads all that came before, and nothing is copied to join it."""
    b = GraphBuilder("dense block", {})
    features = [b.input("x", (1, 4, 6, 6))]
    features[0] = b.add("Relu", features[0])
    joined, channels = features[0], 4
    for _ in range(4):
        w = b.constant(f"w{channels}", rng.standard_normal((3, channels, 3, 3)).astype(np.float32))
        features.append(b.add("Relu", b.add("Conv", joined, w, pads=[1, 1, 1, 1])))
        joined, channels = b.add("Concat", *features, axis=1), channels + 3
    b.output(b.add("GlobalAveragePool", joined), "y")
    model, x = Model(b.build()), rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    y = model(x)
    assert [step for step in model._planned(()).steps if step.kind == "copy"] == []
    np.testing.assert_array_equal(model(x), y)
    np.testing.assert_allclose(y, Model(b.build(), passes="none")(x), rtol=1e-5, atol=1e-5)


def test_concatenations_in_other_orders_are_copied(rng: np.random.Generator) -> None:
    """Parts that lie elsewhere already: another order, a gap, one part twice."""
    b = GraphBuilder("orders", {})
    x = b.input("x", (1, 2, 4, 4))
    p, q, r = b.add("Relu", x), b.add("Neg", x), b.add("Abs", x)
    wholes = [(r, p), (p, r), (q, r), (p, p), (p, q, r)]
    for i, parts in enumerate(wholes):
        b.output(b.add("Concat", *parts, axis=1), f"y{i}")
    image = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    values = {p: np.maximum(image, 0), q: -image, r: np.abs(image)}
    for y, parts in zip(Model(b.build())(image), wholes, strict=True):
        np.testing.assert_array_equal(y, np.concatenate([values[name] for name in parts], axis=1))


def test_model_reports_memory(rng: np.random.Generator) -> None:
    model = Model(branchy(rng))
    small, large = model.memory((1, 8, 8, 8)), model.memory((4, 8, 8, 8))
    assert small.lower_bound_bytes <= small.arena_bytes <= small.tensor_bytes
    assert large.arena_bytes > small.arena_bytes


def residual_net(rng: np.random.Generator, kernel: int, groups: int, activation: str, size: int) -> Graph:
    """Four blocks conv(conv(x)) + x: after the first, x is dead once it is added."""
    b = GraphBuilder("residual", {})
    y = b.add("Conv", b.input("x", ("batch", 3, size, size)), b.constant("w", normal(rng, 32, 3, 1, 1)))
    for i in range(4):
        w = normal(rng, 32, 32 // groups, kernel, kernel) / (kernel * np.sqrt(32 // groups))
        inner = b.add("Relu", b.add("Conv", y, b.constant(f"v{i}", normal(rng, 32, 32, 1, 1) / 6)))
        pads = [kernel // 2] * 4
        outer = b.add("Conv", inner, b.constant(f"w{i}", w.astype(np.float32)), group=groups, pads=pads)
        y = b.add(activation, b.add("Add", outer, y))
    b.output(b.add("GlobalAveragePool", y), "y")
    return b.build()


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
@pytest.mark.parametrize(
    ("kernel", "groups", "size"),
    [(1, 1, 9), (3, 1, 14), (3, 1, 9), (5, 1, 9), (3, 32, 9), (3, 4, 9), (3, 2, 7)],
)
def test_residuals_are_written_in_place(
    kernel: int,
    groups: int,
    size: int,
    activation: str,
    tier: str,
    num_threads: int,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every algorithm, tier and number of threads the same bits come, from less memory."""
    graph, x = residual_net(rng, kernel, groups, activation, size), normal(rng, 1, 3, size, size)
    model = Model(graph)
    y = model(x)
    steps = model._planned(()).steps
    added = [step for step in steps if step.kind == "conv" and step.inputs[1] is not None]
    assert len(added) == 4
    assert all(step.output == step.inputs[1] for step in added)
    monkeypatch.setattr(compiler, "write_in_place", lambda steps, _: steps)
    plain = Model(graph)
    np.testing.assert_array_equal(plain(x), y)
    assert model.memory().tensor_bytes < plain.memory().tensor_bytes
    assert (tier, num_threads) == (_core.active_tier(), fastconv.get_num_threads())


def test_what_is_read_elsewhere_is_not_written_over(rng: np.random.Generator) -> None:
    """An operand that lives on, is an input, lies otherwise in memory, or is the convolution's own input."""
    b, w = (
        GraphBuilder("kept", {}),
        normal(rng, 64, 64, 1, 1) / 8,
    )  # a tile: 64 in, few out
    v, x = normal(rng, 64, 64, 1, 1) / 8, b.input("x", (1, 64, 6, 6))
    first = b.add("Relu", b.add("Conv", x, b.constant("v", v)))
    own = b.add("Add", b.add("Conv", first, b.constant("w", w)), first)
    root = b.add("Sqrt", b.add("Abs", own))
    turned = b.add("Add", own, b.add("Transpose", own, perm=[0, 1, 3, 2]))
    b.output(b.add("Add", b.add("Sub", turned, x), root), "y")
    image = normal(rng, 1, 64, 6, 6)
    before = image.copy()
    inner = np.maximum(fastconv.conv2d(image, v), 0)
    kept = fastconv.conv2d(inner, w) + inner
    expected = kept + kept.transpose(0, 1, 3, 2) - image + np.sqrt(np.abs(kept))
    np.testing.assert_allclose(Model(b.build())(image), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(image, before)
