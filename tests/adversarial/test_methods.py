"""Methods, models, loading and preprocessing with hostile arguments: errors that name them, or a result."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from adversarial import kinds, methods
from adversarial.methods import Callee
from adversarial.sandbox import Sandbox
from fastconv import models
from fastconv.models.architecture import Architecture

SECONDS = 120  # a guard against hangs
MEMORY = 8 << 30  # of address space: torch's libraries are large

FAMILIES = [
    pytest.param(name, marks=pytest.mark.torch) if name == "modules" else name for name in methods.FAMILIES
]
# Public methods that are tried elsewhere, or that have no argument.
OTHERS = {
    "Conv2d.__call__": "test_functions.py",
    "QConv2d.__call__": "test_functions.py",
    "XnorConv2d.__call__": "test_functions.py",
    "Architecture.fitting": "called by the readers of weights, with what they found",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_hostile_arguments(family: str, sandbox: Sandbox) -> None:
    if family == "modules":
        pytest.importorskip("torch")
    outcome = sandbox.run(methods.try_family, family, seconds=SECONDS, memory=MEMORY)
    assert not outcome.signal, outcome
    assert not outcome.error, outcome.message
    ends, faults = outcome.value
    assert not faults, "\n".join(faults)
    assert sum(ends.values()) > 100
    assert ends["ran"] > 0  # some values are right
    assert ends["DTypeError"] > sum(ends.values()) // 5  # and many are not


def public(kind: type) -> set[str]:
    """Return the methods of a class that take arguments, with what makes and calls its objects."""
    found = {
        name
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if len(inspect.signature(member).parameters) > 1 and not name.startswith("_")
    }
    return {f"{kind.__name__}.{name}" for name in found | {"__call__"}}


def test_everything_public_is_tried() -> None:
    pytest.importorskip("torch")
    tried = {name: callee for family in methods.FAMILIES.values() for name, callee in family().items()}
    assert {name for callee in tried.values() for name in callee.untried()} == {"outputs_info"}
    expected = public(fastconv.Model) | public(Architecture)
    expected |= public(fastconv.Conv2d) | public(fastconv.QConv2d) | public(fastconv.XnorConv2d)
    expected |= {"Model", "load", "count", "profile", "from_torch", "models.preprocess"}
    expected |= {"backend.prepare", "backend.run", "backend.run_node"}
    with_arguments = {
        f"models.{name}"
        for name in models.__all__
        if inspect.isfunction(getattr(models, name)) and inspect.signature(getattr(models, name)).parameters
    }
    found = {name.replace("Architecture", "Architecture.__call__") if name == "Architecture" else name
             for name in tried}  # fmt: skip
    assert found | set(OTHERS) == expected | with_arguments


def raises(error: Exception) -> Callable[..., Any]:
    def function(**_: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (lambda size: size, -1, "took what is wrong"),
        (raises(fastconv.ArgumentError("size: expected more")), 3, "refused what is right"),
        (raises(fastconv.ArgumentError("width: expected more")), -1, "names no argument"),
        (raises(fastconv.ArgumentError("sizes: expected more")), -1, "names no argument"),
        (raises(IndexError("no")), -1, "IndexError: no"),
        (raises(FileNotFoundError("no")), 3, "OSError for what is no path"),
        (raises(MemoryError()), 3, "out of memory, but not for a large result"),
    ],
)
def test_what_is_wrong_is_seen(function: Callable[..., Any], value: int, message: str) -> None:
    kind = kinds.Kind((value,), kinds.whole(0, 9))
    with pytest.raises(AssertionError, match=message):
        methods.try_one(Callee(function, {"size": 3}, {"size": kind}), "size", kind, value)


def test_a_parameter_without_a_kind_is_told() -> None:
    def function(size: int, *shapes: Any, sharpness: float = 0) -> None:
        """Do nothing."""

    assert Callee(function, {}, {"size": kinds.FLAG}).untried() == {"*shapes", "sharpness"}


def test_a_model_is_as_it_was() -> None:
    """Whatever it was called with before."""
    made = methods.models()
    model = made["Model.run"].function.__self__  # type: ignore[attr-defined]
    x = np.random.default_rng(0).standard_normal(methods.IMAGE, dtype=np.float32)
    expected = model(x)
    for name, callee in made.items():
        for argument, kind in callee.kinds.items():
            for value in kind.values if name.startswith("Model.") and "path" not in callee.kinds else ():
                methods.try_one(callee, argument, kind, value)
    np.testing.assert_array_equal(model(x), expected)
