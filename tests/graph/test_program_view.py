"""``Model.program``: what runs for given input shapes, as profilers and sweeps read it."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Graph, GraphBuilder, Node, TensorInfo
from fastconv.graph.model import Model

X = (1, 3, 8, 8)


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    """A convolution and its activation, for images of any size."""
    builder = GraphBuilder("tiny", {"w": rng.standard_normal((4, 3, 3, 3), dtype=np.float32)})
    x = builder.input("x", ("batch", 3, None, None))
    builder.output(builder.add("Relu", builder.add("Conv", x, "w")), shape=("batch", 4, None, None))
    return Model(builder.build())


def test_it_has_the_steps_and_the_weights(model: Model) -> None:
    program = model.program(X)
    (stage,) = program.stages
    shape = (1, 4, 6, 6)
    assert [(step.kind, step.output.shape) for step in stage.steps] == [("conv", shape), ("copy", shape)]
    assert program.weights == {"w": (4, 3, 3, 3)}
    assert program.parameters == {"Conv_0": {"w": 108}}
    assert not program.waits_for_values
    assert program.bound == {}


def test_it_runs_as_the_model_does(model: Model, rng: np.random.Generator) -> None:
    x = rng.standard_normal(X, dtype=np.float32)
    program = model.program(X)
    expected = model(x)
    (plain,) = program.run([x])
    (profiled,), seconds = program.run_profiled([x])
    assert np.array_equal(plain, expected)
    assert np.array_equal(profiled, expected)
    assert len(seconds) == len(program.stages[0].steps)
    assert min(seconds) > 0


def test_without_shapes_it_is_that_of_the_last_run(model: Model) -> None:
    with pytest.raises(ArgumentError, match=r"^shapes: expected the input shapes"):
        model.program()
    model(np.zeros((1, 3, 5, 5), np.float32))
    assert model.program().stages[0].steps[0].output.shape == (1, 4, 3, 3)


def test_wrong_shapes_are_told(model: Model) -> None:
    with pytest.raises(ArgumentError, match=r"^shapes: expected 1, got 2"):
        model.program(X, X)
    with pytest.raises(ShapeError, match=r"^input 'x': expected 3 at axis 1, got 4"):
        model.program((1, 4, 8, 8))


def test_steps_that_depend_on_values_wait_for_a_run() -> None:
    f32, i64 = np.dtype(np.float32), np.dtype(np.int64)
    inputs = (TensorInfo("x", (2, 6), f32), TensorInfo("shape", (2,), i64))
    nodes = (Node("Reshape", "reshape", ("x", "shape"), ("y",)),)
    model = Model(Graph("reshaped", nodes, inputs, (TensorInfo("y", (None, None), f32),), {}))
    program = model.program((2, 6), (2,))
    assert program.waits_for_values
    assert program.bound == {}
    x, shape = np.arange(12, dtype=np.float32).reshape(2, 6), np.array([3, 4])
    (y,) = program.run([x, shape])
    assert np.array_equal(y, x.reshape(3, 4))
    assert not program.waits_for_values
    assert program.bound["shape"].tolist() == [3, 4]
