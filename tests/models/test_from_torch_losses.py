"""What PyTorch's exporter loses is noticed, and the caller's example stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ModelError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


class Doing(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A module that does something to its input and returns what comes of it."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        super().__init__()
        self.do = do

    def forward(self, x: Any) -> Any:
        result = self.do(x)
        return x * 2 if result is None else result


def zero_a_channel(x: Any) -> None:
    x[:, 0] = 0


def centre(x: Any) -> None:
    x.sub_(x.mean())


def through_a_view(x: Any) -> None:
    x.view(-1)[:7].mul_(3)


def through_a_transposed_view(x: Any) -> None:
    x.transpose(2, 3)[:, :, 0].add_(1)


def on_the_diagonal(x: Any) -> None:
    x.diagonal(dim1=2, dim2=3).zero_()


def floor_of_negative_integers(x: Any) -> Any:
    return (x * 9).long() // 4


def floor_of_floats(x: Any) -> Any:
    return x * 7 // 3


KEPT = [zero_a_channel, centre]
LOST = [
    through_a_view,
    through_a_transposed_view,
    on_the_diagonal,
    floor_of_negative_integers,
    floor_of_floats,
]


def images() -> Any:
    return torch.randn((2, 1, 3, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("do", KEPT)
def test_what_the_exporter_keeps(do: Callable[[Any], Any]) -> None:
    example, x = images()
    before, array = example.clone(), x.numpy().copy()
    got = fastconv.from_torch(Doing(do), example)(array)
    np.testing.assert_array_equal(array, x)
    np.testing.assert_allclose(got, Doing(do)(x.clone()), atol=1e-5)
    assert torch.equal(example, before)


@pytest.mark.parametrize("do", LOST)
def test_what_the_exporter_loses(do: Callable[[Any], Any]) -> None:
    example, _ = images()
    before = example.clone()
    with pytest.raises(ModelError, match="another result on the example: output differs in"):
        fastconv.from_torch(Doing(do), example)
    assert torch.equal(example, before)


def test_what_the_example_does_not_show_random_numbers_do() -> None:
    """Floor and truncation are one for what is positive."""
    with pytest.raises(ModelError, match="another result on random numbers: output differs"):
        fastconv.from_torch(Doing(floor_of_floats), torch.rand(1, 3, 8, 8))


def test_what_differs_each_time_is_held_against_nothing() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return x * float(len(calls))

    fastconv.from_torch(Doing(counted), torch.ones(1, 3))
