"""torch.compile(module, backend="fastconv"): the results are PyTorch's, and it is said what ran where."""

from __future__ import annotations

import importlib
import logging
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastconv.torch_compile import RanGraph, backend, graphs

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

ROOT = Path(__file__).parents[2]
GROUP = "torch_dynamo_backends"

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of PyTorch's own
]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def net() -> Any:
    """A small network with what most have."""
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 5),
    ]
    module = torch.nn.Sequential(*layers).eval()
    module[1].running_mean += 0.5
    return module


def ran_since(count: int) -> list[RanGraph]:
    return list(graphs())[count:]


def compared(function: Callable[..., Any], *inputs: Any) -> list[RanGraph]:
    """Hold a compiled function against PyTorch, without gradients; return what ran."""
    before = len(graphs())
    compiled = torch.compile(function, backend=backend)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(compiled(*inputs), function(*inputs), rtol=1e-4, atol=1e-5)
    return ran_since(before)


def test_results_are_pytorchs() -> None:
    assert compared(net(), torch.randn(2, 3, 16, 16)) == [RanGraph(6, ((2, 3, 16, 16),), "fastconv")]


def test_several_inputs_and_results() -> None:
    conv = torch.nn.Conv2d(3, 4, 3)

    def function(x: Any, y: Any) -> Any:
        return conv(x) + 1, {"sum": (x + y).mean((2, 3))}

    [ran] = compared(function, torch.randn(1, 3, 9, 9), torch.randn(1, 3, 1, 1))
    assert (ran.where, ran.shapes) == ("fastconv", ((1, 3, 9, 9), (1, 3, 1, 1)))


def test_under_inference_mode() -> None:
    module, x = net(), torch.randn(1, 3, 8, 8)
    compiled, before = torch.compile(module, backend=backend), len(graphs())
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
    assert [ran.where for ran in ran_since(before)] == ["fastconv"]


def test_other_sizes() -> None:
    module = net()
    compiled, before = torch.compile(module, backend=backend), len(graphs())
    with torch.no_grad():
        for n, size in ((1, 8), (2, 8), (5, 8), (3, 11), (2, 8)):
            x = torch.randn(n, 3, size, size)
            torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
    assert {ran.where for ran in ran_since(before)} == {"fastconv"}


def test_weights_that_are_written_to() -> None:
    module, x = net(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(module, backend=backend)
    with torch.no_grad():
        compiled(x)
        module[0].weight.mul_(2)
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
        module[1].running_var.fill_(3)
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
        module.load_state_dict(net().state_dict())
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)


def test_gradients_are_pytorchs() -> None:
    module, x = net(), torch.randn(1, 3, 8, 8)
    compiled, before = torch.compile(module, backend=backend), len(graphs())
    compiled(x).sum().backward()
    got = module[0].weight.grad.clone()
    module.zero_grad()
    module(x).sum().backward()
    torch.testing.assert_close(got, module[0].weight.grad)
    [ran] = ran_since(before)
    assert (ran.where, ran.reason) == ("torch", "gradients are asked for; call it under torch.no_grad()")


def test_training_updates_statistics() -> None:
    modules = [net().train(), net().train()]
    modules[1].load_state_dict(modules[0].state_dict())
    compiled, x, before = torch.compile(modules[0], backend=backend), torch.randn(4, 3, 8, 8), len(graphs())
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(compiled(x), modules[1](x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(modules[0].state_dict(), modules[1].state_dict())
    [ran] = ran_since(before)
    assert (ran.where, ran.reason) == ("torch", "it writes into its inputs")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.add_(1) * 2, "it writes into its inputs"),
        (lambda x: torch.nn.functional.dropout(x, 0.5), "it is random"),
        (lambda x: x + torch.rand_like(x), "it is random"),
        (lambda x: torch.fft.rfft(x).abs(), "fft_rfft"),
    ],
)
def test_what_stays_with_pytorch(function: Callable[[Any], Any], reason: str) -> None:
    x, before = torch.ones(1, 3, 8, 8), len(graphs())
    results = []
    for one in (torch.compile(function, backend=backend), function):
        given = x.clone()
        torch.manual_seed(1)
        with torch.no_grad():
            results.append((one(given), given))
    torch.testing.assert_close(*results)
    [ran] = ran_since(before)
    assert ran.where == "torch"
    assert reason in ran.reason


def test_a_view_of_an_input_stays_one() -> None:
    x = torch.zeros(2, 3)
    with torch.no_grad():
        torch.compile(lambda x: x.view(3, 2), backend=backend)(x).add_(1)
    assert bool((x == 1).all())


def test_graph_by_graph(caplog: pytest.LogCaptureFixture) -> None:
    """A graph that cannot run does not keep the others from it."""
    module = net()

    def function(x: Any) -> Any:
        y = module(x)
        torch._dynamo.graph_break()
        return torch.fft.rfft(y).abs()

    with caplog.at_level(logging.INFO, "fastconv.torch_compile"):
        ran = compared(function, torch.randn(1, 3, 8, 8))
    assert [one.where for one in ran] == ["fastconv", "torch"]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert [record.message for record in caplog.records] == [str(one) for one in ran]


def test_other_kinds_of_tensors() -> None:
    [ran] = compared(lambda x: x * 2, torch.ones(3, dtype=torch.bfloat16))
    assert ran.reason == "it has tensors of a kind that numpy lacks"
    module = net()
    before = len(graphs())
    with torch.no_grad(), torch.autocast("cpu"):
        torch.compile(module, backend=backend)(torch.ones(1, 3, 8, 8))
    assert ran_since(before)[-1].reason == "it runs under autocast"


def test_it_is_registered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"][GROUP]["fastconv"].split(":")
    assert getattr(importlib.import_module(module), name) is backend
