"""Products of signs in graphs: which are found; the results are those of the operators as written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastconv import Model, load, profile
from fastconv.errors import ShapeError
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.passes import PASSES, run_passes
from fastconv.testing.reference import conv as convolved

F32 = np.float32
ZERO, ONE, MINUS, TENTH = (np.array(v, F32) for v in (0, 1, -1, 0.1))
CONSTANTS = {"zero": ZERO, "one": ONE, "minus": MINUS, "tenth": TENTH, "two": np.array([2], F32)}


def sign(b, x):
    return b.add("Sign", x)


def larq(b, x):
    return b.add("Sign", b.add("Add", b.add("Sign", x), "tenth"))


def at_least(b, x):
    return b.add("Where", b.add("GreaterOrEqual", x, "zero"), "one", "minus")


def above(b, x):
    return b.add("Where", b.add("Greater", x, "zero"), "one", "minus")


def below(b, x):
    return b.add("Where", b.add("Less", x, "zero"), "minus", "one")


def not_below(b, x):
    return b.add("Where", b.add("Not", b.add("Less", x, "zero")), "one", "minus")


def swapped(b, x):
    return b.add("Where", b.add("Less", "zero", x), "one", "minus")


def scaled(b, x):
    truth = b.add("Cast", b.add("GreaterOrEqual", x, "zero"), to=1)
    return b.add("Sub", b.add("Mul", truth, "two"), "one")


# What each makes of 0 and of NaN.
SPELLINGS = {
    sign: (0, np.nan), larq: (1, np.nan), at_least: (1, -1), above: (-1, -1), below: (1, 1),
    not_below: (1, 1), swapped: (-1, -1), scaled: (1, -1),
}  # fmt: skip


def filters(rng, shape, bits=True):
    w = rng.choice(np.array([-1, 1], F32), shape)
    return w * rng.random((shape[0], *[1] * (len(shape) - 1)), F32) if bits else w * rng.random(shape, F32)


def network(rng, spelling, w, *, after=lambda _b, y: y, **attrs):
    """Build a graph of one convolution of what `spelling` makes of its input, of 32 channels."""
    vectors = {name: rng.random(w.shape[0], F32) + F32(0.5) for name in ("scale", "mean", "var")}
    vectors["shift"] = rng.standard_normal(w.shape[0]).astype(F32)
    b = GraphBuilder("signs", {"w": w, **CONSTANTS, **vectors})
    x = b.input("x", ("n", 32, 7, 8))
    b.output(after(b, b.add("Conv", spelling(b, x), "w", **attrs)), "y", ("n", w.shape[0], None, None))
    return b.build()


def image(rng):
    x = rng.standard_normal((2, 32, 7, 8), F32)
    x[rng.random(x.shape) < 0.1] = 0
    x[rng.random(x.shape) < 0.05] = -0.0
    x[1, 5, 3, 3] = np.nan
    x[0, 0, 0, 0], x[0, 1, 6, 7] = np.inf, -np.inf
    return x


def exact(x, w, of_zero, of_nan, **geometry):
    """Return the convolution of signs: integers by a magnitude, and NaN where a window has one."""
    signs = np.where(np.isnan(x), of_nan, np.where(x == 0, of_zero, np.sign(x)))
    unknown = np.isnan(signs)
    sums = convolved(np.where(unknown, 0, signs), np.where(w < 0, -1.0, 1.0), **geometry).astype(F32)
    seen = convolved(unknown.astype(float), np.ones(w.shape), **geometry)
    magnitude = np.abs(w).reshape(len(w), -1)[:, 0].reshape(1, -1, *[1] * (w.ndim - 2))
    return np.where(seen > 0, F32(np.nan), sums * magnitude)


def operators(graph):
    """Return the operators that the passes leave."""
    return [node.op for node in run_passes(graph).nodes]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 2, 0, 1]])
def test_signs_are_found_however_they_are_spelled(rng, spelling, pads):
    w, x = filters(rng, (5, 32, 3, 3)), image(rng)
    graph = network(rng, spelling, w, pads=pads)
    assert operators(graph) == ["SignConv"]
    model = Model(graph)
    assert " xnor " in model.explain(x.shape)
    wanted = exact(x, w, *SPELLINGS[spelling], padding=tuple(pads))
    np.testing.assert_array_equal(model(x), wanted)
    plain = Model(graph, passes="none")
    np.testing.assert_allclose(plain(x), wanted, rtol=1e-4, atol=1e-4)  # the same, with roundings


def doubled(b, x):
    return b.add("Mul", b.add("Sign", x), "two")


def other_way(b, x):
    return b.add("Neg", b.add("Sign", x))


def past_one(b, x):
    return b.add("Where", b.add("Greater", x, "one"), "one", "minus")


@pytest.mark.parametrize("spelling", [doubled, other_way, past_one, lambda b, x: b.add("Relu", x)])
def test_what_is_no_sign_stays(rng, spelling):
    w, x = filters(rng, (5, 32, 3, 3)), image(rng)
    graph = network(rng, spelling, w)
    assert "SignConv" not in operators(graph)
    np.testing.assert_allclose(Model(graph)(x), Model(graph, passes="none")(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "w",
    [
        lambda rng: filters(rng, (5, 32, 3, 3), bits=False),
        lambda rng: filters(rng, (32, 1, 3, 3)),  # depthwise: a word of a bit
        lambda rng: filters(rng, (5, 32, 3, 3)) * F32(np.inf),
    ],
)
def test_other_filters_are_multiplied(rng, w):
    w = w(rng)
    graph = network(rng, sign, w, group=32 // w.shape[1])
    assert "SignConv" not in operators(graph)


def test_what_follows_is_fused(rng):
    """A batch normalisation goes into the filters, a sum and an activation into the epilogue."""

    def after(b, y):
        y = b.add("BatchNormalization", y, "scale", "shift", "mean", "var")
        return b.add("Relu", b.add("Add", y, "x"))

    w, x = filters(rng, (32, 32, 3, 3)), np.nan_to_num(image(rng), posinf=1, neginf=-1)
    graph = network(rng, larq, w, after=after, pads=[1, 1, 1, 1])
    assert operators(graph) == ["SignConv"]
    np.testing.assert_allclose(Model(graph)(x), Model(graph, passes="none")(x), rtol=1e-4, atol=1e-4)


def test_a_factor_that_overflows_is_not_folded(rng):
    w, x = filters(rng, (5, 32, 1, 1)) * F32(1e30), image(rng)
    graph = network(rng, sign, w, after=lambda b, y: b.add("Mul", y, b.constant("huge", np.array(1e30, F32))))
    assert operators(graph) == ["SignConv", "Mul"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(Model(graph)(x), exact(x, w, *SPELLINGS[sign]) * F32(1e30))


def test_a_sign_that_others_read_stays(rng):
    b = GraphBuilder("signs", {"w": filters(rng, (32, 32, 1, 1))})
    signs = b.add("Sign", b.input("x", ("n", 32, 7, 8)))
    b.output(b.add("Mul", b.add("Conv", signs, "w"), signs), "y", ("n", 32, 7, 8))
    graph, x = b.build(), image(rng)
    assert sorted(operators(graph)) == ["Mul", "Sign", "SignConv"]
    np.testing.assert_allclose(Model(graph)(x), Model(graph, passes="none")(x), rtol=1e-4, atol=1e-4)


def test_integers_may_be_what_is_compared(rng):
    w, x = filters(rng, (5, 32, 3, 3)), rng.integers(-2, 3, (1, 32, 7, 8)).astype(F32)

    def compared(b, x):
        return b.add("Where", b.add("Greater", b.add("Cast", x, to=7), "none"), "one", "minus")

    b = network(rng, compared, w)
    graph = replace(b, constants={**b.constants, "none": np.array(0)})
    assert operators(graph) == ["Cast", "SignConv"]
    np.testing.assert_array_equal(Model(graph)(x), exact(x, w, -1, -1))


def fully_connected(rng, op, w, *, spelling=sign, bias=True, shape=("n", 40), **attrs):
    """Build a product of signs by a matrix (40, n), or its transpose, and a sum with a vector."""
    n = w.shape[0] if attrs.get("transB") else w.shape[1]
    b = GraphBuilder("signs", {"w": w, "c": rng.standard_normal(n).astype(F32), **CONSTANTS})
    inputs = [spelling(b, b.input("x", shape)), "w"]
    y = b.add(op, *inputs, *(["c"] if bias and op == "Gemm" else []), **attrs)
    y = b.add("Add", y, "c") if bias and op == "MatMul" else y
    b.output(b.add("Relu", y))
    return b.build()


def columns(rng, n, k=40):
    return np.ascontiguousarray(filters(rng, (n, k)).T)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("op", "attrs"), [("Gemm", {}), ("Gemm", {"transB": 1}), ("MatMul", {})])
def test_fully_connected_layers_of_signs_are_exact(rng, spelling, op, attrs):
    w, x = columns(rng, 21), rng.standard_normal((5, 40), F32)
    x[rng.random(x.shape) < 0.1] = 0
    x[1, 3] = np.nan
    graph = fully_connected(rng, op, np.ascontiguousarray(w.T) if attrs else w, spelling=spelling, **attrs)
    assert operators(graph) == [f"Sign{op}"]
    model = Model(graph)
    assert " xnor " in model.explain(x.shape)
    sums = exact(x, w.T, *SPELLINGS[spelling])
    bias = graph.constants["c"]
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(model(x), np.maximum(sums + bias, 0))
    assert np.isnan(model(x)).any() == np.isnan(SPELLINGS[spelling][1])


@pytest.mark.parametrize("shape", [(40,), (2, 3, 40), (0, 40)])
def test_products_of_signs_take_any_stack_of_rows(rng, shape):
    w, x = columns(rng, 9), rng.standard_normal(shape).astype(F32)
    graph = fully_connected(rng, "MatMul", w, bias=False, shape=tuple(shape))
    assert operators(graph) == ["SignMatMul"]
    wanted = np.sign(x).astype(np.float64) @ np.sign(w) * np.abs(w[0])
    np.testing.assert_allclose(Model(graph)(x), np.maximum(wanted, 0), rtol=1e-6)


def test_what_follows_a_product_of_signs_is_folded(rng):
    w, x = columns(rng, 9), rng.standard_normal((4, 40), F32)
    b = GraphBuilder("signs", {"w": w, "scale": rng.random(9, F32) - F32(0.5), "c": rng.random(9, F32)})
    y = b.add("Mul", b.add("MatMul", b.add("Sign", b.input("x", ("n", 40))), "w"), "scale")
    b.output(b.add("Add", y, "c"))
    graph = b.build()
    assert operators(graph) == ["SignMatMul"]
    np.testing.assert_allclose(Model(graph)(x), Model(graph, passes="none")(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attrs", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_other_products_of_signs_are_multiplied_as_numbers(rng, attrs):
    w, x = columns(rng, 9), rng.standard_normal((40, 40), F32)
    graph = fully_connected(rng, "Gemm", w, shape=(40, 40), **attrs)
    assert operators(graph) == ["Sign", "Gemm"]
    np.testing.assert_allclose(Model(graph)(x), Model(graph, passes="none")(x), rtol=1e-5, atol=1e-5)
    few = fully_connected(rng, "MatMul", columns(rng, 9, 7), shape=("n", 7))
    assert "SignMatMul" not in operators(few)
    unlike = fully_connected(rng, "MatMul", rng.random((40, 9), F32))
    assert "SignMatMul" not in operators(unlike)


def test_weights_of_8_bits_may_be_signs(rng, tmp_path):
    """A file may have signs and scales: without the pass that makes floats of them they are found too."""
    signs = rng.choice(np.array([-1, 1], np.int8), (16, 32, 3, 3))
    scale = rng.random(16, F32) + F32(0.1)
    b = GraphBuilder("signs", {"signs": signs, "scale": scale, "none": np.zeros(16, np.int8)})
    w = b.add("DequantizeLinear", "signs", "scale", "none", axis=0)
    b.output(b.add("Conv", b.add("Sign", b.input("x", ("n", 32, 7, 8))), w))
    graph, x = b.build(), image(rng)
    kept = tuple(name for name in PASSES if name != "fold_weights")
    model = Model(graph, passes=kept)
    model.save(tmp_path / "signs.fcz", coded=True)
    wanted = exact(x, signs * scale.reshape(-1, 1, 1, 1), 0, np.nan)
    for found in (Model(graph), load(tmp_path / "signs.fcz")):
        assert " xnor " in found.explain(x.shape)
        np.testing.assert_array_equal(found(x), wanted)
    assert (tmp_path / "signs.fcz").stat().st_size < signs.size / 8 + 5000


def test_a_matrix_is_what_a_gemm_of_signs_reads(rng):
    graph = fully_connected(rng, "Gemm", columns(rng, 9), bias=False, shape=("n", 3, 40))
    with pytest.raises(ShapeError, match="a: expected 2 dimensions"):
        Model(graph)(np.ones((1, 3, 40), F32))
    graph = fully_connected(rng, "MatMul", columns(rng, 9), bias=False, shape=("n", "k"))
    with pytest.raises(ShapeError, match="expected equal inner sizes, got 39 and 40"):
        Model(graph)(np.ones((1, 39), F32))


def test_a_saved_model_keeps_the_bits(rng, tmp_path):
    w, x = filters(rng, (16, 32, 3, 3)), image(rng)
    model = Model(network(rng, at_least, w))
    y = model(x)
    model.save(tmp_path / "signs.fcm", x.shape)
    np.testing.assert_array_equal(load(tmp_path / "signs.fcm")(x), y)


def test_a_profile_counts_bits(rng):
    model = Model(network(rng, sign, filters(rng, (16, 32, 3, 3))))
    layers = profile(model, (1, 32, 7, 8), seconds=0.01).layers
    (layer,) = (layer for layer in layers if layer.macs)
    assert (layer.algorithm, layer.elements) == ("xnor", "bit x bit > f32")
    assert layer.macs == 16 * 32 * 9 * 5 * 6
