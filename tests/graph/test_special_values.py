"""NaN, infinity, -0.0 and denormals through every operator, beside ONNX Runtime.

docs/numbers.md lists the differences that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv.testing import reference

pytestmark = [pytest.mark.ort, pytest.mark.usefixtures("tier")]

Array = npt.NDArray[Any]
Compare = Callable[..., tuple[Array, Array]]

SPECIAL = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e-39, -3e-39, 3e38, -3e38])
ELEMENTS = np.concatenate([SPECIAL, np.float32([1e-5, -1e-5, 1, -1, 2.5, -2.5, 7, -7, 90, -90, -104, 110])])


@pytest.fixture
def both(onnx: Any, make_model: Any, runtime: Any) -> Compare:
    """Return a function that runs one node on fastconv and on ONNX Runtime."""

    def run(
        op: str, *inputs: Array, constants: tuple[Array | None, ...] = (), opset: int = 20, **attrs: Any
    ) -> tuple[Array, Array]:
        feeds = {f"x{i}": a for i, a in enumerate(inputs)}
        named: Mapping[str, Array | None] = {f"c{i}": a for i, a in enumerate(constants)}
        operands = [*feeds, *(name if a is not None else "" for name, a in named.items())]
        model = make_model(
            [onnx.helper.make_node(op, operands, ["y"], **attrs)],
            {name: a.shape for name, a in feeds.items()},
            {name: a for name, a in named.items() if a is not None},
            opset=opset,
        )
        (theirs,) = runtime(model, feeds)
        return np.asarray(fastconv.load(model)(*inputs)), theirs

    return run


def assert_same(ours: Array, theirs: Array, *, signs: bool = False) -> None:
    """NaN, and infinities, at the same places; else close; with `signs`, those of zeros are the same too."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    if signs:
        zero = (ours == 0) & (theirs == 0)
        np.testing.assert_array_equal(np.signbit(ours[zero]), np.signbit(theirs[zero]))


def planted(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Normal numbers, and the special ones somewhere among them."""
    x = rng.normal(size=shape).astype(np.float32)
    x.reshape(-1)[rng.choice(x.size, SPECIAL.size, replace=False)] = SPECIAL
    return x


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        *[(op, {}) for op in ("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Gelu", "Tanh", "Elu")],
        *[(op, {}) for op in ("Exp", "Sqrt", "Abs", "Neg")],
        ("LeakyRelu", {"alpha": 0.1}),
        ("Elu", {"alpha": 0.5}),
    ],
    ids=str,
)
def test_functions(both: Compare, op: str, attrs: dict[str, float]) -> None:
    for x in (ELEMENTS, np.tile(ELEMENTS, 3)):  # lanes of a vector, and the tail
        assert_same(*both(op, x, **attrs), signs=op != "Elu")  # theirs of -1e-45 / 2 is 0, ours -0


def test_clip_and_prelu(both: Compare) -> None:
    for lo, hi in ((0.0, 6.0), (-1.0, 1.0), (-np.inf, np.inf), (0.0, np.inf)):
        assert_same(*both("Clip", ELEMENTS, constants=(np.float32(lo), np.float32(hi))), signs=True)
    assert_same(*both("PRelu", ELEMENTS, constants=(np.float32([0.25]),)), signs=True)


def test_a_limit_that_clip_does_not_have_is_infinite(both: Compare) -> None:
    """ONNX Runtime takes the largest finite float for it, and makes infinity finite."""
    ours, theirs = both("Clip", ELEMENTS, constants=(np.float32(0.0),))
    np.testing.assert_array_equal(ours, np.maximum(ELEMENTS, 0))
    changed = np.isinf(ours)
    assert np.isfinite(theirs[changed]).all()
    assert_same(ours[~changed], theirs[~changed])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"])
def test_arithmetic(both: Compare, op: str) -> None:
    a, b = (m.ravel() for m in np.meshgrid(ELEMENTS, ELEMENTS))
    assert_same(*both(op, a, b), signs=op not in ("Min", "Max"))  # of 0 and -0, either


@pytest.mark.parametrize("channels", [1, 5, 19])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
        {"kernel_shape": (2, 2)},
        {"kernel_shape": (5, 5), "pads": (2, 2, 2, 2)},
    ],
    ids=str,
)
def test_pools(both: Compare, rng: np.random.Generator, channels: int, geometry: dict[str, Any]) -> None:
    x = planted((2, channels, 11, 12), rng)
    for include in (0, 1):
        assert_same(*both("AveragePool", x, count_include_pad=include, **geometry))
    x[np.isnan(x)] = 0
    assert_same(*both("MaxPool", x, **geometry))


def test_nan_wins_a_maximum(both: Compare) -> None:
    """As in torch; ONNX Runtime keeps or loses it, by its place in the window."""
    x = np.zeros((1, 2, 6, 6), np.float32)
    x[0, 1, 2, 3] = np.nan
    x[0, 1, 2, 4] = np.inf
    ours, theirs = both("MaxPool", x, kernel_shape=(3, 3))
    np.testing.assert_array_equal(ours, reference.max_pool(x, 3, stride=1))
    assert np.isnan(ours).sum() == 9 > np.isnan(theirs).sum()
    for op in ("ReduceMax", "ReduceMin", "GlobalMaxPool"):
        axes = () if op == "GlobalMaxPool" else (np.array([2, 3]),)
        ours, theirs = both(op, x, constants=axes)
        assert np.isnan(ours[0, 1]).all()
        assert np.isfinite(ours[0, 0]).all()
        assert_same(ours[:, :1], theirs[:, :1])


def test_a_maximum_of_nothing_but_minus_infinity(both: Compare) -> None:
    """ONNX Runtime starts from the lowest finite float, in some of its loops."""
    x = np.full((1, 3, 6, 6), -np.inf, np.float32)
    ours, theirs = both("MaxPool", x, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    np.testing.assert_array_equal(ours, x)
    assert (theirs <= np.finfo(np.float32).min).all()


@pytest.mark.parametrize("axes", [(1,), (2, 3), (0, 1, 2, 3)], ids=str)
def test_reductions(both: Compare, rng: np.random.Generator, axes: tuple[int, ...]) -> None:
    x = planted((2, 5, 6, 7), rng)
    for op in ("ReduceMean", "ReduceSum"):
        assert_same(*both(op, x, constants=(np.array(axes),)))
    x[np.isnan(x)] = 0
    for op in ("ReduceMax", "ReduceMin"):
        assert_same(*both(op, x, constants=(np.array(axes),)))


def test_softmax(both: Compare, rng: np.random.Generator) -> None:
    x = planted((3, 5, 6, 7), rng)
    for axis in (1, 3):
        assert_same(*both("Softmax", x, axis=axis))
    assert_same(*both("Softmax", np.full((2, 5), -np.inf, np.float32)))


def test_normalisation(both: Compare, rng: np.random.Generator) -> None:
    x = planted((2, 5, 6, 7), rng)
    scale, bias, mean = (rng.normal(size=5).astype(np.float32) for _ in range(3))
    scale[0] = 0.0  # times infinity is NaN
    variance = np.float32([1, 0, 1e-45, np.inf, 2])
    mean[1:3] = bias[1:3] = 0.0  # nothing cancels there, where the factor is 1 / sqrt(eps)
    assert_same(*both("BatchNormalization", x, constants=(scale, bias, mean, variance)))
    assert_same(*both("GlobalAveragePool", x))


def test_lrn_of_a_window_is_of_that_window(both: Compare, rng: np.random.Generator) -> None:
    """ONNX Runtime keeps a running sum, from which NaN and infinity do not go away again."""
    x = planted((2, 9, 6, 7), rng)
    x[np.abs(x) == np.float32(3e38)] = 1
    ours, theirs = both("LRN", x, size=3)
    with np.errstate(invalid="ignore"):
        exact = reference.lrn(x, 3)
    np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=1e-7)
    both_finite = np.isfinite(theirs)
    assert_same(ours[both_finite], theirs[both_finite])


@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("channels", [1, 5])
def test_resize(
    both: Compare, rng: np.random.Generator, scale: float, coordinates: str, channels: int
) -> None:
    """Pixels that have a weight come through; ONNX Runtime multiplies the others by 0, which may be NaN."""
    x = planted((2, channels, 6, 7), rng)
    scales, attrs = np.float32([1, 1, scale, scale]), {"coordinate_transformation_mode": coordinates}
    assert_same(*both("Resize", x, constants=(None, scales), mode="nearest", **attrs))
    ours, theirs = both("Resize", x, constants=(None, scales), mode="linear", **attrs)
    weight_of_others = reference.interpolate(
        ~np.isfinite(x), ours.shape[2:], mode="linear", coordinates=coordinates, scale=(scale, scale)
    )
    np.testing.assert_array_equal(~np.isfinite(ours), weight_of_others > 0)
    same = ~np.isnan(theirs)
    assert_same(ours[same], theirs[same])
    if (coordinates, scale) == ("half_pixel", 2.0):  # channels last in memory
        last = np.moveaxis(x, 1, -1).copy()
        size = ours.shape[2:]
        y = fastconv.interpolate(last, size=size, mode="bilinear", align_corners=False, layout="NHWC")
        assert_same(np.moveaxis(y, -1, 1), ours)


def test_products(both: Compare, rng: np.random.Generator) -> None:
    for m in (1, 4, 30):
        a, b, c = planted((m, 19), rng), planted((19, 40), rng), planted((40,), rng)
        for special in (a, b, c):
            special[np.abs(special) == np.float32(3e38)] = (
                1  # overflows in one order of the sum and not in another
            )
        assert_same(*both("MatMul", a, constants=(b,)))
        assert_same(*both("Gemm", a, constants=(b, c)))


def test_copies_keep_every_bit(both: Compare, rng: np.random.Generator) -> None:
    x = planted((2, 5, 6, 7), rng)
    x.reshape(-1).view(np.uint32)[0] = 0x7FC12345  # a NaN with a payload
    ours, theirs = both("Transpose", x, perm=(0, 2, 3, 1))
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
