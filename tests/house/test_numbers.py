"""docs/numbers.md says what was measured, and what was measured is within what is stated."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastconv import _core
from fastconv.testing.tolerance import ULPS

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ulp() -> ModuleType:
    return script("ulp")


PAGES = ("ulp", "denormals", "third_party", "zoo", "contended", "quantize", "compress", "share")
PAGES += ("literature", "deep_compression", "sparse", "serving", "bf16", "xnor", "first_result", "products")
PAGES += ("optimize", "codebook", "scale", "roof")


@pytest.mark.parametrize("name", PAGES)
def test_the_page_has_the_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [name, "--check"])
    assert script(name).main() == 0


def test_errors_over_all_floats_are_within_the_stated_bounds(ulp: ModuleType) -> None:
    whole = [record for record in ulp.read_records() if record["inputs"] == 2**32]
    measured = {(one["function"], one["engine"]) for record in whole for one in record["worst"]}
    tiers = ("ref", "avx2", "avx512")
    assert {(f, t) for f in ("exp", "sigmoid", "tanh", "gelu", "silu") for t in tiers} <= measured
    for record in ulp.read_records():
        for one in record["worst"]:
            if one["engine"] in record["tiers"]:
                assert one["ulps"] <= ULPS[one["function"]], one


def test_the_worst_error_is_found(ulp: ModuleType) -> None:
    """Of an engine that is right but for two floats, one of them further off."""

    def nearly(x: np.ndarray) -> np.ndarray:
        y = np.sqrt(x)
        y[x == 4] = np.nextafter(np.float32(2), np.float32(3))
        y[x == 16] = 5
        return y

    def four_and_sixteen(_every: int) -> list[np.ndarray]:
        return [np.float32([1, 4, 9]), np.float32([16, np.nan, -1])]

    ulp.blocks, before = four_and_sixteen, ulp.blocks
    try:
        (worst,) = ulp.measure("sqrt", {"nearly": nearly}, 1)
    finally:
        ulp.blocks = before
    assert (worst.ulps, worst.x, worst.got, worst.exact) == (2.0**21, 16, 5, 4)
    assert (worst.inputs, worst.correctly_rounded) == (6, 4)


def test_a_pass_over_some_floats(ulp: ModuleType) -> None:
    (worst,) = ulp.measure("exp", {"now": ulp.tier_engine(_core.active_tier(), "exp")}, 40009)
    assert worst.inputs == -(-(2**32) // 40009)
    assert 0.5 < worst.ulps <= ULPS["exp"]


def test_the_rate_of_workers_is_that_of_the_time_when_all_are_at_work() -> None:
    """One begins a second late and has a pause; the other goes on alone at the end."""
    scale = script("scale")
    late, other = [1.0, 1.5, 3.0, 3.5], [0.25 * i for i in range(1, 41)]
    first, rate = scale.start_and_rate([late, other])
    assert (first, rate) == (1.0, (3 + 10) / 2.5)
    assert scale.start_and_rate([other]) == (0.25, 4.0)
    with pytest.raises(ValueError, match="at work at one time"):
        scale.start_and_rate([late, [4.0, 5.0]])
