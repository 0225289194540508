"""docs/trust.md says how much is tested: the numbers are counted here."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from adversarial import coverage, functions, malformed

pytest.importorskip("onnx")

ROOT = Path(__file__).parents[2]


def sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_of_the_page() -> None:
    weights, tried = sibling("test_weights"), sibling("test_functions")
    values = (
        *(functions.OBJECTS, functions.INTEGER_VALUES, functions.NUMBER_VALUES, functions.NAME_VALUES),
        functions.FORMS,
    )
    expected = {
        "malformed models": len(malformed()),
        "mutants": sibling("test_fuzz").COUNT,
        "malicious pickles": 2 * len(weights.PICKLES) + len(weights.ARCHIVES) + len(weights.SAFETENSORS),
        "public functions": len(tried.FUNCTIONS) + len(functions.PLANNED),
        "calls": tried.COUNT,
        "kinds": sum(map(len, values)),
        "formats": len(coverage.FORMATS),
    }
    rows = re.findall(r"^\| (.+?) \| (\d+) \|", (ROOT / "docs" / "trust.md").read_text(), re.MULTILINE)
    found = {next(k for k in expected if text.startswith(k)): int(number) for text, number in rows}
    assert found == expected
