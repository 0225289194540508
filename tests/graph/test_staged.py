"""Values of any type, and programs that depend on values."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from fastconv.errors import ArgumentError, MemoryLimitError, ModelError, ShapeError
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.model import Model
from fastconv.graph.staged import MAX_VALUES, Staged


def graph(
    nodes: list[tuple[Any, ...]],
    inputs: dict[str, tuple[str, tuple[Any, ...]]],
    outputs: list[str],
    **constants: np.ndarray[Any, Any],
) -> Graph:
    """A graph from (op, inputs, outputs, attributes)."""
    return Graph(
        "test",
        tuple(
            Node(op, f"{op}_{i}", tuple(ins.split()), tuple(outs.split()), more[0] if more else {})
            for i, (op, ins, outs, *more) in enumerate(nodes)
        ),
        tuple(TensorInfo(name, shape, np.dtype(dtype)) for name, (dtype, shape) in inputs.items()),
        tuple(TensorInfo(name, (), np.dtype(np.float32)) for name in outputs),
        constants,
    )


def test_a_shape_that_is_an_input() -> None:
    model = Model(
        graph(
            [("Relu", "x", "r"), ("Reshape", "r s", "y")],
            {"x": ("f4", (None, None)), "s": ("i8", (None,))},
            ["y"],
        )
    )
    x = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
    for shape in ((4, 3), (2, -1), (12,), (4, 3)):
        y = model(x, np.array(shape))
        np.testing.assert_array_equal(y, np.maximum(x, 0).reshape(shape))
    with pytest.raises(
        ShapeError, match=r"node 'Reshape_1' .Reshape.: shape: expected one that holds the 12"
    ):
        model(x, np.array([5, 5]))
    np.testing.assert_array_equal(model(x, np.array([6, 2])), np.maximum(x, 0).reshape(6, 2))


def test_a_value_that_is_computed_cuts_the_graph(rng: np.random.Generator) -> None:
    """What lies before the value runs once; what is after it may need another value."""
    model = Model(
        graph(
            [
                ("Conv", "x w", "c", {"pads": [1, 1, 1, 1]}),
                ("GreaterOrEqual", "c zero", "positive"),
                ("NonZero", "positive", "where"),  # its width depends on the values of c
                ("Transpose", "where", "rows", {"perm": [1, 0]}),
                ("GatherND", "c rows", "picked"),
                ("Shape", "rows", "n"),
                ("Gather", "n first", "k"),
                ("TopK", "picked k", "sorted order"),
            ],
            {"x": ("f4", (1, 3, 8, 8))},
            ["sorted", "order", "c"],
            w=rng.standard_normal((4, 3, 3, 3), np.float32),
            zero=np.zeros((), np.float32),
            first=np.array([0]),
        )
    )
    for _ in range(MAX_VALUES + 2):
        x = rng.standard_normal((1, 3, 8, 8), np.float32)
        values, order, c = model(x)
        picked = c[c >= 0]
        np.testing.assert_array_equal(values, np.sort(picked)[::-1])
        np.testing.assert_array_equal(picked[order], values)
        assert order.dtype == np.int64
    (plan,) = model._session.programs.values()
    assert isinstance(plan, Staged)
    assert len(plan.seconds) == MAX_VALUES  # and no more
    kinds = [step.kind for step in plan.steps]
    assert kinds.count("conv") == 1
    assert "TopK_7" in model.explain()


def test_threads_with_different_values(rng: np.random.Generator) -> None:
    model = Model(
        graph(
            [("Relu", "x", "r"), ("TopK", "r k", "y i")],
            {"x": ("f4", (None,)), "k": ("i8", (1,))},
            ["y"],
        )
    )
    x = rng.standard_normal(100, np.float32)
    wrong = []

    def work(k: int) -> None:
        for n in range(k, k + 30):
            y = model(x, np.array([n]))
            if not np.array_equal(y, np.sort(np.maximum(x, 0))[::-1][:n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 50, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_weights_that_are_inputs(rng: np.random.Generator) -> None:
    """A convolution by weights given at run time is packed anew for others."""
    model = Model(
        graph(
            [("Conv", "x w b", "y")],
            {"x": ("f4", (1, 2, 4, 4)), "w": ("f4", (3, 2, 1, 1)), "b": ("f4", (3,))},
            ["y"],
        )
    )
    for _ in range(3):
        x, w = rng.standard_normal((1, 2, 4, 4), np.float32), rng.standard_normal((3, 2, 1, 1), np.float32)
        b = rng.standard_normal(3, np.float32)
        expected = np.einsum("ncij,oc->noij", x, w[..., 0, 0]) + b[:, None, None]
        np.testing.assert_allclose(model(x, w, b), expected, rtol=1e-5, atol=1e-5)
        b += 1
        np.testing.assert_allclose(model(x, w, b), expected + 1, rtol=1e-5, atol=1e-5)


def test_looking_inside_needs_a_run() -> None:
    model = Model(
        graph([("Expand", "x s", "y")], {"x": ("f4", (1, 3)), "s": ("i8", (2,))}, ["y"]), passes="none"
    )
    with pytest.raises(ArgumentError, match=r"expected a run before, as .* depends on the value of 's'"):
        model.explain()
    assert model(np.ones((1, 3), np.float32), np.array([2, 3])).shape == (2, 3)
    assert "copy" in model.explain()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i4", "i8", "f8", "f2", "?"])
def test_data_of_any_type_moves(dtype: str, rng: np.random.Generator) -> None:
    """Views, copies and joins do not look at the type; an odd number of bytes is a size too."""
    model = Model(
        graph(
            [
                ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
                ("Concat", "t t", "c", {"axis": 1}),
                ("Reshape", "c s", "y"),
            ],
            {"x": (dtype, (None, 3, 5))},
            ["y"],
            s=np.array([-1, 5]),
        )
    )
    x = rng.integers(0, 2, (1, 3, 5)).astype(dtype)
    t = x.transpose(1, 0, 2)
    y = model(x)
    assert y.dtype == (np.float32 if dtype == "f2" else x.dtype)  # declared float32: storage is widened
    np.testing.assert_array_equal(y, np.concatenate([t, t], 1).reshape(-1, 5))


def test_storage_is_computed_in_f32_and_rounded_at_the_door() -> None:
    half = np.dtype(np.float16)
    inner = graph(
        [("Mul", "x s", "a"), ("Sub", "a x", "y")],
        {"x": ("f2", (4,))},
        ["y"],
        s=np.array(1.001, np.float16),
    )
    model = Model(
        Graph(inner.name, inner.nodes, inner.inputs, (TensorInfo("y", (4,), half),), inner.constants)
    )
    x = np.array([1, 2, 1000, 60000], np.float16)
    exact = x.astype(np.float64) * np.float64(np.float16(1.001)) - x
    y = model(x)
    assert y.dtype == half
    np.testing.assert_array_equal(y, exact.astype(np.float16))


def test_errors_of_a_run_name_the_node() -> None:
    model = Model(graph([("Gather", "x i", "y")], {"x": ("f4", (3,)), "i": ("i8", (None,))}, ["y"]))
    np.testing.assert_array_equal(model(np.arange(3, dtype=np.float32), np.array([2, -3])), [2, 0])
    with pytest.raises(
        ShapeError, match=r"node 'Gather_0' .Gather.: indices: expected integers from -3 to 2"
    ):
        model(np.arange(3, dtype=np.float32), np.array([0, 3]))


def test_inputs_of_another_type_are_refused() -> None:
    model = Model(graph([("Neg", "x", "y")], {"x": ("i8", (None,))}, ["y"]))
    np.testing.assert_array_equal(model(np.array([1, -2])), [-1, 2])
    with pytest.raises(ModelError.__base__, match="input 'x': expected dtype int64 in native byte order"):  # type: ignore[arg-type]
        model(np.array([1, -2], np.int32))


def test_a_thousand_conditions_that_are_computed() -> None:
    """Each cuts the graph again: planned and run in a loop, not within each other."""
    count = 1000

    def branch(op: str, name: str, result: str) -> Graph:
        node = Node(op, result, (name,), (result,))
        return Graph(op, (node,), (), (TensorInfo(result, (), np.dtype(np.float32)),), {})

    nodes = [("ReduceSum", "x", "total", {"keepdims": 0})]
    for i in range(count):
        both = {
            "then_branch": branch("Neg", f"v{i}", f"t{i}"),
            "else_branch": branch("Abs", f"v{i}", f"e{i}"),
        }
        nodes += [("Less", "total zero", f"c{i}"), ("If", f"c{i} v{i}", f"v{i + 1}", both)]
    nodes[2] = (*nodes[2][:1], "c0 x", *nodes[2][2:])
    first = {"then_branch": branch("Neg", "x", "t0"), "else_branch": branch("Abs", "x", "e0")}
    nodes[2] = ("If", "c0 x", "v1", first)
    model = Model(
        graph(nodes, {"x": ("f4", (2,))}, [f"v{count}"], zero=np.zeros((), np.float32))  # type: ignore[arg-type]
    )
    for _ in range(2):
        np.testing.assert_array_equal(model(np.array([-3, 2], np.float32)), [-3, 2])  # negated 1000 times
        np.testing.assert_array_equal(model(np.array([-3, 5], np.float32)), [3, 5])
    assert len(model.explain().splitlines()) > count


def test_programs_of_all_values_and_shapes_share_one_budget() -> None:
    """Each value makes a constant of 1 MB: those that were used last are kept, as far as the budget goes."""
    ramp = [
        ("Range", "zero n one", "c"),
        ("Mul", "c z", "m"),
        ("ReduceSum", "m", "sum", {"keepdims": 0}),
        ("Relu", "x", "y"),
    ]
    inputs = {"n": ("f4", ()), "z": ("f4", (1,)), "x": ("f4", (None,))}
    made = graph(ramp, inputs, ["sum", "y"], zero=np.zeros((), np.float32), one=np.ones((), np.float32))
    model, limit = Model(made, max_bytes=8 << 20), 8 << 20
    one = np.ones(1, np.float32)
    for length in range(1, 4):
        for extra in range(6):
            n = (1 << 18) + extra
            total, y = model(np.float32(n), one, np.ones(length, np.float32))
            assert y.shape == (length,)
            np.testing.assert_allclose(total, n * (n - 1) / 2, rtol=1e-4)
            kept = model._session.plans.kept
            held = sum(
                program.held for plan in model._session.programs.values() for program in plan.seconds.values()
            )
            assert model._session.plans.budget.spent == held <= limit
    assert 2 <= held >> 20 <= 7
    assert len(kept) == len(model._session.programs) + sum(
        len(plan.seconds) for plan in model._session.programs.values()
    )
    with pytest.raises(MemoryLimitError, match="expected at most max_bytes = 8388608"):
        model(np.float32(1 << 22), one, one)
    assert model(np.float32(8), one, one)[0] == 28  # and goes on


def test_values_that_are_carried_count() -> None:
    """What a first half computes is in memory while the second one runs."""
    nodes = [("Expand", "x big", "c"), ("Relu", "k", "r"), ("Cast", "r", "n", {"to": 7})]
    nodes += [("TopK", "x n", "top i"), ("Mul", "c top", "y")]  # type: ignore[list-item]
    inputs = {"x": ("f4", (1,)), "k": ("f4", (1,))}
    made = graph(nodes, inputs, ["y"], big=np.array([1 << 20]))
    x, one = np.full(1, 3, np.float32), np.ones(1, np.float32)
    with pytest.raises(MemoryLimitError, match=r"node 'Mul_4' \(Mul\): expected at most max_bytes = 6291456"):
        Model(made, max_bytes=6 << 20)(x, one)  # c and y are 4 MB each
    np.testing.assert_array_equal(Model(made, max_bytes=9 << 20)(x, one), np.full(1 << 20, 9))
