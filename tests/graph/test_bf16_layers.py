"""Layers that a file has in bf16, by pairs of casts: which are found, and that all compute what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import Model
from fastconv.exporters.onnx import to_proto
from fastconv.graph.functions import rounded_to_bf16
from fastconv.graph.ir import Graph
from fastconv.graph.passes import PASSES, run_passes
from fastconv.testing import reference, tolerance
from small_networks import Builder

ml_dtypes = pytest.importorskip("ml_dtypes")

Array = np.ndarray[Any, Any]
BF16 = np.dtype(ml_dtypes.bfloat16)
FLOAT, DOUBLE, BFLOAT16 = 1, 11, 16
SHAPE = (2, 16, 9, 9)


def rounded(a: Array) -> Array:
    """Return the nearest numbers of 8 significant bits, ties to even, in float64."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8))


class Layers(Builder):
    """A network of an image ``x`` and layers of bf16."""

    def __init__(self) -> None:
        super().__init__("bf16")
        self.x = self.input("x", ("batch", *SHAPE[1:]))

    def pair(self, x: str, wide: int = FLOAT) -> str:
        return self.add("Cast", self.add("Cast", x, to=BFLOAT16), to=wide)

    def narrow(self, *shape: int) -> str:
        """Weights as a file stores them: numbers of bf16 that are widened where they are read."""
        w = self.weights(*shape)
        self.constants[w] = self.constants[w].astype(BF16)
        return self.add("Cast", w, to=FLOAT)

    def layer(self, x: str, *shape: int, **attrs: Any) -> str:
        return self.add("Conv", self.pair(x), self.narrow(*shape), self.vector(shape[0], -1, 1), **attrs)


def finished(b: Layers, y: str) -> Graph:
    b.output(y, "y")
    return b.build()


def ops(graph: Graph) -> list[str]:
    return [node.op for node in run_passes(graph).nodes if node.op != "Identity"]


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal(SHAPE, np.float32)


def residual_block() -> Graph:
    b = Layers()
    y = b.add("Relu", b.layer(b.x, 16, 16, 1, 1))
    y = b.add("Relu", b.add("Add", b.layer(y, 16, 16, 3, 3, pads=[1] * 4), b.x))
    y = b.add("Flatten", b.add("GlobalAveragePool", b.layer(y, 24, 8, 3, 3, group=2)))
    y = b.add("Gemm", b.pair(y), b.narrow(10, 24), b.vector(10, -1, 1), transB=1)
    return finished(b, b.add("Add", b.add("MatMul", b.pair(y), b.narrow(10, 7)), b.vector(7, -1, 1)))


@pytest.mark.usefixtures("tier_and_bf16")
def test_a_layer_computes_with_rounded_numbers_on_every_tier(x: Array) -> None:
    b = Layers()
    graph = finished(b, b.layer(b.x, 33, 16, 3, 3, pads=[1] * 4))
    w, bias = (a.astype(np.float64) for a in graph.constants.values())
    exact = reference.conv(rounded(x), w, bias, padding=1)
    magnitude = reference.conv_magnitude(rounded(x), w, bias, padding=1)
    for precision in ("fast", "exact", "bf16"):
        y = Model(graph, precision=precision, passes=("fold_constants", "use_bf16"))(x)
        tolerance.assert_within(y, exact, 64 * tolerance.sum_bound(magnitude, 145))  # Winograd's among them


@pytest.mark.usefixtures("tier_and_bf16")
def test_a_network_is_what_its_nodes_say(x: Array) -> None:
    graph = residual_block()
    assert ops(graph) == [
        *("Bf16Conv", "Bf16Conv", "Bf16Conv", "GlobalAveragePool", "Flatten", "Bf16Gemm", "Bf16MatMul")
    ]
    expected = Model(graph, passes="none")(x)
    # A sum in another order may round to the other neighbour where the next layer reads it.
    np.testing.assert_allclose(Model(graph)(x), expected, atol=2**-8 * np.abs(expected).max())


@pytest.mark.usefixtures("tier_and_bf16")
def test_the_kernel_rounds_where_bf16_is_taken_and_elsewhere_a_step(x: Array) -> None:
    b, plain = Layers(), Layers()
    model = Model(finished(b, b.layer(b.x, 64, 16, 1, 1)))
    asked = Model(finished(plain, plain.conv(plain.x, (64, 16, 1, 1))), precision="bf16")
    told = [line for line in model.explain(x.shape).splitlines() if line.startswith("in f32, not bf16 (")]
    if asked.program(x.shape).steps[0].algorithm == "bf16":
        assert model.program(x.shape).steps[0].algorithm == "bf16"
        assert not told
    else:
        assert model.program(x.shape).steps[0].kind == "cast"
        assert told == ["in f32, not bf16 (no instruction of this tier multiplies bf16): Conv_3"]


def shared_by_another(b: Layers) -> str:
    pair = b.pair(b.x)
    return b.add("Add", b.add("Conv", pair, b.narrow(16, 16, 1, 1)), pair)


def shared_by_two_layers(b: Layers) -> str:
    pair, strides = b.pair(b.x), {"strides": [2, 2]}
    parts = (b.add("Conv", pair, b.narrow(16, 16, 1, 1), **strides) for _ in range(2))
    return b.add("Mul", *parts)


def rounded_twice(b: Layers) -> str:
    return b.layer(b.pair(b.x), 16, 16, 1, 1)


def at_the_output(b: Layers) -> str:
    return b.pair(b.layer(b.x, 16, 16, 1, 1))


def of_pairs_of_weights(b: Layers) -> str:
    return b.add("Conv", b.pair(b.x), b.pair(b.weights(16, 16, 1, 1)))


def of_doubles(b: Layers) -> str:
    return b.layer(b.add("Cast", b.x, to=DOUBLE), 16, 16, 1, 1)


def normalised(b: Layers) -> str:
    """Its weights times the factors are numbers of bf16 no more."""
    return b.norm(b.layer(b.x, 16, 16, 1, 1), 16)


def doubled(b: Layers) -> str:
    """Its weights times two are."""
    return b.add("Mul", b.layer(b.x, 16, 16, 1, 1), b.array(np.float32(2)))


FOUND: dict[str, tuple[Callable[[Layers], str], list[str]]] = {
    "shared by another": (shared_by_another, ["Cast", "Cast", "Bf16Conv"]),
    "shared by two layers": (shared_by_two_layers, ["Bf16Conv", "Bf16Conv", "Mul"]),
    "rounded twice": (rounded_twice, ["Cast", "Cast", "Bf16Conv"]),
    "at the output": (at_the_output, ["Bf16Conv", "Cast", "Cast"]),
    "pairs of weights": (of_pairs_of_weights, ["Bf16Conv"]),
    "doubles": (of_doubles, ["Cast", "Bf16Conv"]),
    "normalised": (normalised, ["Bf16Conv", "BatchNormalization"]),
    "doubled": (doubled, ["Bf16Conv"]),
}


def only_the_image(b: Layers) -> str:
    return b.add("Conv", b.pair(b.x), b.weights(16, 16, 1, 1))


def only_the_weights(b: Layers) -> str:
    return b.add("Conv", b.x, b.narrow(16, 16, 1, 1))


def narrowed_alone(b: Layers) -> str:
    """To float16 and back: no bf16."""
    half = b.add("Cast", b.add("Cast", b.x, to=10), to=FLOAT)
    return b.add("Conv", half, b.narrow(16, 16, 1, 1))


def scaled(b: Layers) -> str:
    y = b.pair(b.add("Flatten", b.add("GlobalAveragePool", b.x)))
    return b.add("Gemm", y, b.narrow(16, 10), alpha=0.3)


def of_values(b: Layers) -> str:
    """Both sides are computed: no weights."""
    y = b.pair(b.x)
    return b.add("MatMul", y, y)


REFUSED = {
    "only the image": only_the_image,
    "only the weights": only_the_weights,
    "to float16": narrowed_alone,
    "scaled": scaled,
    "of values": of_values,
}


@pytest.mark.parametrize("name", FOUND)
def test_layers_are_found_in_whatever_a_file_says(name: str, x: Array) -> None:
    build, expected = FOUND[name]
    b = Layers()
    graph = finished(b, build(b))
    assert ops(graph) == expected
    y = Model(graph, passes="none")(x)
    np.testing.assert_allclose(Model(graph)(x), y, atol=2**-7 * np.abs(y).max())


@pytest.mark.parametrize("name", REFUSED)
def test_layers_of_which_one_side_is_not_rounded_stay_as_they_are(name: str, x: Array) -> None:
    b = Layers()
    graph = finished(b, REFUSED[name](b))
    assert not [op for op in ops(graph) if op.startswith("Bf16")]
    y = Model(graph, passes="none")(x)
    np.testing.assert_allclose(Model(graph)(x), y, rtol=1e-4, atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize("left_out", PASSES)
def test_any_pass_can_be_left_out(left_out: str, x: Array) -> None:
    graph = residual_block()
    expected = Model(graph, passes="none")(x)
    y = Model(graph, passes=[name for name in PASSES if name != left_out])(x)
    np.testing.assert_allclose(y, expected, atol=2**-7 * np.abs(expected).max())


@pytest.mark.parametrize("suffix", [".onnx", ".fcm"])
def test_files_keep_the_layers(suffix: str, x: Array, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    graph = residual_block()
    expected = Model(graph)(x)
    if suffix == ".onnx":
        (tmp_path / "net.onnx").write_bytes(to_proto(graph).SerializeToString())
    else:
        Model(graph).save(tmp_path / "net.fcm", x.shape)
    same = fastconv.load(tmp_path / f"net{suffix}")
    np.testing.assert_array_equal(same(x), expected)
    steps = [step.algorithm for step in same.program(x.shape).steps]
    assert steps == [step.algorithm for step in Model(graph).program(x.shape).steps]


@pytest.mark.ort
@pytest.mark.parametrize("opset", [13, 18])
def test_onnx_runtime_computes_the_same(opset: int, x: Array) -> None:
    ort = pytest.importorskip("onnxruntime")
    graph = residual_block()
    graph = replace(graph, nodes=tuple(replace(node, opset=opset) for node in graph.nodes))
    proto = to_proto(graph).SerializeToString()
    (theirs,) = ort.InferenceSession(proto, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(Model(graph)(x), theirs, atol=2**-8 * np.abs(theirs).max())


def test_a_profile_counts_the_step_that_rounds(x: Array) -> None:
    from fastconv.lab.profile.counting import work_of

    b = Layers()
    program = Model(finished(b, b.layer(b.x, 16, 8, 3, 3, group=2))).program((1, *x.shape[1:]))
    cast, conv = (work_of(step, program.weights, 1) for step in program.steps[:2])
    assert (cast.macs, cast.flops) == (0, x[0].size)
    assert conv.macs == 16 * 7 * 7 * 8 * 9


def test_rounding_is_to_nearest_and_ties_to_even(rng: np.random.Generator) -> None:
    a = rng.integers(0, 1 << 32, 1 << 16, np.uint32).view(np.float32)
    got = rounded_to_bf16(a)
    with np.errstate(invalid="ignore"):
        expected = a.astype(BF16).astype(np.float32)
    number = ~np.isnan(a)
    np.testing.assert_array_equal(got[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.isnan(got[~number]).all()
    assert (~number).any()
