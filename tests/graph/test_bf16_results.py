"""Tensors that a network keeps as bf16: which they are, and that no result changes by it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import Model, _core, models
from fastconv.errors import ArgumentError
from fastconv.graph import compile as compiling
from fastconv.graph.ir import Graph
from fastconv.graph.value import BF16
from fastconv.lab.profile.counting import work_of
from fastconv.lab.profile.weights import elements_of
from small_networks import Builder, densenet, unet

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def bf16_wherever_it_runs() -> Any:
    """Have every convolution that the algorithm accepts be one of bf16, whether the tier gains or not."""
    conv = _core.Conv

    def made(*args: Any, algorithm: str, **options: Any) -> _core.Conv:
        try:
            return conv(*args, algorithm="bf16" if options["precision"] == "bf16" else algorithm, **options)
        except ArgumentError:
            return conv(*args, algorithm=algorithm, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_core, "Conv", made)
        yield


def both(graph: Graph, x: Array) -> tuple[Model, Array, Array]:
    """Return a model, what it computes, and what it does with every tensor as f32."""
    model = Model(graph, precision="bf16")
    y = model(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "store_bf16", lambda steps, buffers: (list(steps), list(buffers)))
        wide = Model(graph, precision="bf16")
        expected = wide(x)
        assert not kept(wide, x)
    return model, y, expected


def kept(model: Model, x: Array) -> list[str]:
    """Return the nodes whose results are bf16."""
    return [step.node.name for step in model.program(x.shape).steps if step.output.dtype == BF16]


def block() -> Graph:
    """Return two bottlenecks with a depthwise layer each, and layers of which nothing else is read."""
    b = Builder("block")
    x = b.conv(b.input("x", ("batch", 16, 12, 12)), (16, 16, 1, 1), "first")
    for i, size in enumerate((3, 5)):
        y = b.add("Relu", b.conv(x, (48, 16, 1, 1), f"expand{i}"))
        y = b.add("Relu", b.conv(y, (48, 1, size, size), f"depthwise{i}", group=48))
        x = b.add("Add", b.conv(y, (16, 48, 1, 1), f"project{i}"), x)
    x = b.add("HardSwish", b.conv(b.conv(x, (24, 16, 1, 1), "narrow"), (24, 24, 3, 3), "waits"))
    x = b.conv(x, (10, 24, 3, 3), "last")
    b.output(x, "y", ("batch", 10, 12, 12))
    return b.build()


@pytest.mark.usefixtures("tier_and_bf16", "bf16_wherever_it_runs")
def test_a_tensor_is_bf16_where_all_its_readers_round(rng: np.random.Generator) -> None:
    """What a depthwise layer reads stays f32, and so do sums and what has an activation that waits."""
    x = rng.standard_normal((2, 16, 12, 12), np.float32)
    model, y, expected = both(block(), x)
    np.testing.assert_array_equal(y, expected)
    assert kept(model, x) == ["depthwise0", "depthwise1", "narrow"]
    row = next(line for line in model.explain(x.shape).splitlines() if "depthwise1" in line)
    assert re.search(r"48, 12, 12\) +\(\d, 48, 12, 12\) bf16 ", row)


@pytest.mark.usefixtures("tier_and_bf16", "bf16_wherever_it_runs")
@pytest.mark.parametrize("build", [densenet, unet])
def test_networks_compute_the_same_bits(build: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 3, 64, 64), np.float32)
    model, y, expected = both(build(), x)
    np.testing.assert_array_equal(y, expected)
    assert kept(model, x)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_known_networks_compute_the_same_bits(name: str, rng: np.random.Generator) -> None:
    architecture = models.MODELS[name]
    x = rng.standard_normal((2, 3, 64, 64), np.float32)
    _, y, expected = both(architecture.graph(architecture.random_weights()), x)
    np.testing.assert_array_equal(y, expected)


LAYERS = st.tuples(
    st.sampled_from(["pointwise", "square", "stride", "depthwise", "relu", "swish", "add", "concat", "pool"]),
    st.integers(0, 3),  # which of the tensors so far it reads, from the last one on
    st.sampled_from([3, 8, 18, 32]),
)


@pytest.mark.usefixtures("tier_and_bf16", "bf16_wherever_it_runs")
@settings(max_examples=25, deadline=None)
@given(layers=st.lists(LAYERS, min_size=3, max_size=10))
def test_any_graph_computes_the_same_bits(layers: list[tuple[str, int, int]]) -> None:
    b = Builder("any")
    found = [(b.input("x", ("batch", 8, 9, 9)), 8, 9)]
    for kind, back, oc in layers:
        x, ic, size = found[-1 - min(back, len(found) - 1)]
        alike = [name for name, c, n in found if (c, n) == (ic, size)]
        if kind in ("pointwise", "square", "stride"):
            k, stride = (1 if kind == "pointwise" else 3), (2 if kind == "stride" else 1)
            x, ic = b.conv(x, (oc, ic, k, k), strides=[stride] * 2), oc
            size = (size - 1) // stride + 1
        elif kind == "depthwise":
            x = b.conv(x, (ic, 1, 3, 3), group=ic)
        elif kind == "concat":
            x, ic = b.add("Concat", x, alike[0], axis=1), 2 * ic
        elif kind == "add":
            x = b.add("Add", x, alike[0])
        elif kind == "pool":
            x = b.add("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
        else:
            x = b.add("Relu" if kind == "relu" else "HardSwish", x)
        found.append((x, ic, size))
    b.output(found[-1][0], "y", ("batch", *found[-1][1:], found[-1][2]))
    x = np.random.default_rng(1).standard_normal((2, 8, 9, 9), np.float32)
    _, y, expected = both(b.build(), x)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.usefixtures("bf16_wherever_it_runs")
def test_such_a_program_is_saved_and_runs_in_parts(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 16, 12, 12), np.float32)
    model, y, _ = both(block(), x)
    with fastconv.threads(3):
        np.testing.assert_array_equal(model(x), y)
    np.testing.assert_array_equal(model(x[4:5]), y[4:5])
    model.save(tmp_path / "net.fcm", packed=True)
    same = fastconv.load(tmp_path / "net.fcm")
    np.testing.assert_array_equal(same(x), y)
    assert kept(same, x) == kept(model, x)


@pytest.mark.usefixtures("bf16_wherever_it_runs")
def test_tensors_of_bf16_are_shown_and_counted_as_such(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 16, 12, 12), np.float32)
    model, _, _ = both(block(), x)
    steps, buffers = model.program(x.shape).stages[-1].steps, model.program(x.shape).stages[-1].buffers
    sizes = {s.node.name: buffers[s.output.buffer].nbytes for s in steps}
    constants = model.program(x.shape).constants
    elements = {s.node.name: elements_of(s, constants) for s in steps}
    assert elements["expand0"] == "f32"
    assert elements["depthwise0"] == "f32 > bf16"
    assert elements["project0"] == "bf16 > f32"
    moved = {s.node.name: work_of(s, model.program(x.shape).weights, 1).bytes for s in steps}
    assert moved["depthwise0"] == 6 * 48 * 144 + 4 * 48 * 10
    assert sizes["expand0"] == 4 * 48 * 144
    assert sizes["depthwise0"] == 2 * 48 * 144
