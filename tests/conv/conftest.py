"""What the convolution tests share: random problems, and the one check against the float64 reference."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.conv import plan
from fastconv.testing import reference, tolerance
from fastconv.testing.winograd import winograd_conv


@dataclass(frozen=True)
class Problem:
    """A convolution of arrays in NCHW order; ``geometry`` holds stride, padding, dilation and groups."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None = None
    residual: np.ndarray | None = None
    activation: Any = None
    geometry: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def acc(self) -> np.ndarray:
        return reference.conv(self.x, self.w, self.bias, **self.geometry)

    @cached_property
    def expected(self) -> np.ndarray:
        return reference.epilogue(self.acc, self.residual, self.activation)

    def algorithm(self, name: str) -> str:
        """Return what "auto" is here; any other name is its own."""
        if name != "auto":
            return name
        g = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | self.geometry
        conv = plan(
            self.w, None, g["stride"], g["padding"], g["dilation"], g["groups"], None, name,
            spatial=self.w.ndim - 2, once_for=self.x.shape,
        )  # fmt: skip
        return conv.algorithm()

    def bound(self, algorithm: str = "auto") -> np.ndarray:
        name = self.algorithm(algorithm)
        if name.startswith("winograd"):
            magnitude = winograd_conv(
                self.x, self.w, self.bias, m=int(name[-1]), magnitude=True, **self.geometry
            )
            magnitude += 0 if self.residual is None else np.abs(self.residual)
            k = tolerance.winograd_terms(self.w.shape[1])
        else:
            magnitude = reference.conv_magnitude(self.x, self.w, self.bias, self.residual, **self.geometry)
            k = math.prod(self.w.shape[1:])
        bound = tolerance.sum_bound(magnitude, k)
        return tolerance.activation_bound(bound, reference.epilogue(self.acc, self.residual), self.activation)

    def run(self, *, layout: str = "NCHW", algorithm: str = "auto", **keywords: Any) -> np.ndarray:
        """Call conv1d, conv2d or conv3d, as w's rank asks for; the result is returned in NCHW order."""
        conv = (fastconv.conv1d, fastconv.conv2d, fastconv.conv3d)[self.w.ndim - 3]
        y = conv(
            to_layout(self.x, layout),
            self.w,
            self.bias,
            residual=to_layout(self.residual, layout),
            activation=self.activation,
            layout=layout.replace("HW", {3: "W", 4: "HW", 5: "DHW"}[self.w.ndim]),
            algorithm=algorithm,
            **self.geometry,
            **keywords,
        )
        return np.moveaxis(y, -1, 1) if layout == "NHWC" else y

    def results(self, **keywords: Any) -> dict[str, np.ndarray]:
        """Run "auto" and every algorithm that accepts the problem; the others must say why they do not.

        The plain loops of "reference" sit out the large problems.
        """
        results = {"auto": self.run(**keywords)}
        for name in fastconv.algorithms():
            if name == "reference" and self.acc.size * self.w[0].size > 1_000_000:
                continue
            try:
                results[name] = self.run(algorithm=name, **keywords)
            except fastconv.ArgumentError as error:
                if not re.match(f"algorithm: '{name}' does not accept .*: .", str(error)):
                    raise
        return results

    def check(self, *, algorithm: str | None = None, **keywords: Any) -> None:
        """Compare one algorithm, or all, with the reference: exactly on integers, else within the bound."""
        run_one = algorithm is not None
        results = (
            {algorithm: self.run(algorithm=algorithm, **keywords)} if run_one else self.results(**keywords)
        )
        for name, y in results.items():
            self.assert_right(y, name, keywords)

    def assert_right(self, y: np.ndarray, algorithm: str = "auto", context: Any = "") -> None:
        """Compare a result in NCHW order with the reference: exactly on integers, else within the bound."""
        assert y.dtype == np.float32
        bound = 0.0 if self.integral(algorithm) else self.bound(algorithm)
        context = f"(x {self.x.shape}, w {self.w.shape}, {self.geometry}, {algorithm}, {context})"
        tolerance.assert_within(y, self.expected, bound, context)

    def integral(self, algorithm: str) -> bool:
        """Whether every step is exact in f32: small integers, and an activation that only compares.

        F(2x2, 3x3) only halves and adds; the other Winograd forms divide by 6 and 24.
        """
        arrays = (self.x, self.w, self.bias, self.residual)
        if (name := self.algorithm(algorithm)).startswith("winograd") and (name[-1], self.w.shape[-1]) != (
            "2",
            3,
        ):
            return False
        return self.activation in (None, "relu", "relu6") and all(
            a is None or bool((a == np.rint(a)).all()) for a in arrays
        )


def to_layout(a: np.ndarray | None, layout: str) -> np.ndarray | None:
    """Return a dense copy of an NCHW array in that layout, of any spatial rank."""
    return None if a is None else np.ascontiguousarray(np.moveaxis(a, 1, -1) if layout == "NHWC" else a)


def make_problem(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    seed: int = 0,
    integers: bool = True,
    bias: bool = True,
    residual: bool = False,
    activation: Any = None,
    **geometry: Any,
) -> Problem:
    """Draw a problem: of small integers, whose sums (below 2^24) are exact in f32, or of normal reals."""
    rng = np.random.default_rng(seed)

    def data(*shape: int) -> np.ndarray:
        values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
        return values.astype(np.float32)

    problem = Problem(
        data(*x_shape),
        data(*w_shape),
        data(w_shape[0]) if bias else None,
        activation=activation,
        geometry=geometry,
    )
    return replace(problem, residual=data(*problem.acc.shape)) if residual else problem


@pytest.fixture(scope="session")
def problem() -> Callable[..., Problem]:
    """make_problem: ``problem((1, 3, 8, 8), (4, 3, 3, 3), padding=1).check()``."""
    return make_problem


@pytest.fixture(scope="session")
def torch() -> Iterator[Any]:
    """Return torch, with one thread: more only wake up for a handful of pixels."""
    module = pytest.importorskip("torch")
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)
