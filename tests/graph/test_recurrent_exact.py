"""Recurrent layers beside their definition in float64, on every tier, for all widths and batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import Model
from fastconv.errors import ModelError
from fastconv.graph.ir import Graph, GraphBuilder, Node, TensorInfo

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "LeakyRelu": lambda x, a=0.01: np.where(x < 0, a * x, x),
    "ThresholdedRelu": lambda x, a=1.0: np.where(x > a, x, 0),
    "Affine": lambda x, a=1.0, b=0.0: a * x + b,
    "ScaledTanh": lambda x, a=1.0, b=1.0: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a=0.2, b=0.5: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a=1.0: np.where(x < 0, a * np.expm1(x), x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softplus": lambda x: np.logaddexp(x, 0),
}


def by_definition(op: str, feeds: dict[str, Any], attrs: dict[str, Any], functions: list[Any]) -> Any:
    """The layer as ONNX defines it, in float64: the states of all steps and the last ones."""
    f = {name: a.astype(np.float64) for name, a in feeds.items()}
    steps, n, _ = f["x"].shape
    directions, _, h = f["r"].shape
    gates, way = GATES[op], attrs.get("direction", "forward")
    lengths = f.get("s", np.full(n, steps))[:, np.newaxis]
    y = np.zeros((steps, directions, n, h))
    last: list[Any] = []
    for d in range(directions):
        w, r = (np.split(f[name][d], gates) for name in "wr")
        wb, rb = np.split(f["b"][d], 2) if "b" in f else np.zeros((2, gates * h))
        wb, rb = np.split(wb, gates), np.split(rb, gates)
        zero = np.zeros((n, h))
        state, c = (f[name][d] if name in f else zero for name in "hc")
        peepholes = np.split(f["p"][d], 3) if "p" in f else [0, 0, 0]
        act = functions[d * len(DEFAULTS[op]) :]
        order = range(steps)[::-1] if way == "reverse" or d else range(steps)
        for t in order:
            x = f["x"][t]

            def sums(g: int, by: Any, x: Any = x, w: Any = w, r: Any = r, wb: Any = wb, rb: Any = rb) -> Any:
                return x @ w[g].T + by @ r[g].T + wb[g] + rb[g]

            new_c = c
            if op == "RNN":
                new = act[0](sums(0, state))
            elif op == "GRU":
                z, reset = act[0](sums(0, state)), act[0](sums(1, state))
                if attrs.get("linear_before_reset"):
                    value = act[1](x @ w[2].T + wb[2] + reset * (state @ r[2].T + rb[2]))
                else:
                    value = act[1](sums(2, reset * state))
                new = (1 - z) * value + z * state
            else:
                i = act[0](sums(0, state) + peepholes[0] * c)
                forget = 1 - i if attrs.get("input_forget") else act[0](sums(2, state) + peepholes[2] * c)
                new_c = forget * c + i * act[1](sums(3, state))
                new = act[0](sums(1, state) + peepholes[1] * new_c) * act[2](new_c)
            alive = t < lengths
            y[t, d] = np.where(alive, new, 0)
            state, c = np.where(alive, new, state), np.where(alive, new_c, c)
        last.append((state, c))
    states = [np.stack([one[i] for one in last]) for i in range(2 if op == "LSTM" else 1)]
    return [y, *states]


def layer(
    op: str, rng: np.random.Generator, *, t: int = 4, n: int = 2, features: int = 5, h: int = 9,
    optional: str = "bsh", **attrs: Any,
) -> tuple[Model, dict[str, Any]]:  # fmt: skip
    """A model whose weights are constants, and its feeds with them."""
    d = 2 if attrs.get("direction") == "bidirectional" else 1
    gates = GATES[op]
    shapes = {"x": (t, n, features), "w": (d, gates * h, features), "r": (d, gates * h, h)}
    shapes |= {"b": (d, 2 * gates * h), "h": (d, n, h), "c": (d, n, h), "p": (d, 3 * h)}
    feeds = {name: rng.standard_normal(shape, np.float32) / 2 for name, shape in shapes.items()}
    feeds["r"] *= np.float32(1 / max(1, np.sqrt(h) / 2))  # so that errors do not grow from step to step
    feeds["s"] = rng.integers(0, t + 1, n).astype(np.int32)
    names = [name if name in "xwr" + optional else "" for name in ("x", "w", "r", "b", "s", "h", "c", "p")]
    names = names[: 8 if op == "LSTM" else 6]
    while not names[-1]:
        names.pop()
    feeds = {name: feeds[name] for name in names if name}
    outputs = ("y", "y_h", "y_c")[: 3 if op == "LSTM" else 2]
    graph = Graph(
        "layer",
        (Node(op, "layer", tuple(names), outputs, attrs),),
        tuple(TensorInfo(n, feeds[n].shape, feeds[n].dtype) for n in names if n and n in "xshc"),
        tuple(TensorInfo(name, (), np.dtype(np.float32)) for name in outputs),
        {name: feeds[name] for name in names if name and name in "wrbp"},
    )
    return Model(graph), feeds


def check(op: str, rng: np.random.Generator, functions: list[Any] | None = None, **how: Any) -> None:
    model, feeds = layer(op, rng, **how)
    d = feeds["r"].shape[0]
    chosen = functions or [FUNCTIONS[name] for name in DEFAULTS[op]] * d
    attrs = {k: v for k, v in how.items() if k not in ("t", "n", "features", "h", "optional")}
    expected = by_definition(op, feeds, attrs, chosen)
    given = {info.name: feeds[info.name] for info in model.inputs}
    with fastconv.threads(1):
        one = model.run(None, given)
    with fastconv.threads(2):
        two = model.run(None, given)
    for a, b, wanted in zip(one, two, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("h", [1, 7, 16, 33, 70, 129])
@pytest.mark.parametrize("op", GATES)
def test_widths(op: str, h: int, rng: np.random.Generator) -> None:
    check(op, rng, h=h, n=1, optional="b")
    check(op, rng, h=h, n=5)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 11])
def test_batches(n: int, rng: np.random.Generator) -> None:
    check("LSTM", rng, n=n, h=40, optional="bshcp")
    check("GRU", rng, n=n, h=40, linear_before_reset=1)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("optional", ["", "b", "bs", "bshc", "bshcp"])
@pytest.mark.parametrize("op", GATES)
def test_forms(op: str, optional: str, direction: str, rng: np.random.Generator) -> None:
    check(op, rng, optional=optional, direction=direction)


@pytest.mark.parametrize("reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_gru_resets_the_state_or_the_product(direction: str, reset: int, rng: np.random.Generator) -> None:
    for optional in ("", "bsh"):
        check("GRU", rng, direction=direction, linear_before_reset=reset, optional=optional)


@pytest.mark.parametrize("optional", ["bc", "bshcp"])
def test_lstm_whose_forget_gate_is_coupled(optional: str, rng: np.random.Generator) -> None:
    check("LSTM", rng, input_forget=1, optional=optional)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, rng: np.random.Generator) -> None:
    check("RNN", rng, [FUNCTIONS[name]], activations=[name])
    f = FUNCTIONS[name]
    check("GRU", rng, [f, np.tanh], activations=[name, "Tanh"])


def test_parameters_go_to_the_functions_that_have_some(rng: np.random.Generator) -> None:
    f = [lambda x: FUNCTIONS["Affine"](x, 0.25, 0.5), np.tanh, lambda x: FUNCTIONS["ScaledTanh"](x, 0.7, 0.6)]
    check("LSTM", rng, f, activations=["Affine", "Tanh", "ScaledTanh"],
          activation_alpha=[0.25, 0.7], activation_beta=[0.5, 0.6])  # fmt: skip


@pytest.mark.parametrize("op", GATES)
def test_clip_is_of_the_gates(op: str, rng: np.random.Generator) -> None:
    def clipped(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: f(np.clip(x, -0.25, 0.25))

    names = DEFAULTS[op]
    f = [clipped(FUNCTIONS[name]) if i < 2 else FUNCTIONS[name] for i, name in enumerate(names)]
    check(op, rng, f, clip=0.25)
    with pytest.raises(ModelError, match=r"clip: expected a number above 0, got 0"):
        layer(op, rng, clip=0.0)


def test_weights_that_are_given_at_run_time(rng: np.random.Generator) -> None:
    b = GraphBuilder("layer", {})
    shapes = {"x": (3, 2, 5), "w": (1, 21, 5), "r": (1, 21, 7), "b": (1, 42)}
    for name, shape in shapes.items():
        b.input(name, shape)
    b.output(b.add("GRU", *shapes))
    model = Model(b.build())
    for _ in range(2):
        feeds = {name: rng.standard_normal(shape, np.float32) / 2 for name, shape in shapes.items()}
        (y,) = model.run(None, feeds)
        wanted = by_definition("GRU", feeds, {}, [FUNCTIONS["Sigmoid"], np.tanh])[0]
        np.testing.assert_allclose(y, wanted, rtol=2e-5, atol=2e-6)


def test_the_weights_are_packed_once_for_all_lengths(rng: np.random.Generator) -> None:
    w, r = (rng.standard_normal(shape, np.float32) for shape in ((2, 12, 5), (2, 12, 3)))
    b = GraphBuilder("layer", {"w": w, "r": r})
    b.output(b.add("LSTM", b.input("x", ("steps", 1, 5)), "w", "r", direction="bidirectional"))
    model = Model(b.build())
    model(np.ones((4, 1, 5), np.float32))
    kept = dict(model._session.plans.made)
    packed = dict(model._session.plans.packed)
    assert len(kept) == 2
    assert len(packed) == 2
    model(np.ones((6, 1, 5), np.float32))
    assert model._session.plans.made == kept
    assert model._session.plans.packed == packed


def test_a_saved_model_gives_the_same(tmp_path: Any, rng: np.random.Generator) -> None:
    model, feeds = layer("LSTM", rng, direction="bidirectional", optional="b", h=20)
    model.save(tmp_path / "layer.fcm")
    for a, b in zip(
        model.run(None, {"x": feeds["x"]}),
        fastconv.load(tmp_path / "layer.fcm").run(None, {"x": feeds["x"]}),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
