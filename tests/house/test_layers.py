"""A file includes or imports its own layer or a lower one (docs/design.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC, PACKAGE = ROOT / "csrc", ROOT / "python" / "fastconv"

CPP_LAYERS = [
    ["core"], ["simd"], ["kernels"], ["gemm"], ["conv", "nn"], ["program", "experiments"], ["bindings"],
]  # fmt: skip
PYTHON_LAYERS = [
    ["_core", "_fork", "errors", "timing", "_measured", "_text", "_files", "_interpreter"],
    ["ops", "conv", "tuning", "_threads", "_config"],
    ["graph"],
    ["importers", "models"],
    ["backend"],
    ["testing", "pictures", "profiler", "roofline", "bench", "sweep", "cli", "__main__"],
]
CPP_RANK = {name: rank for rank, names in enumerate(CPP_LAYERS) for name in names}
PYTHON_RANK = {name: rank for rank, names in enumerate(PYTHON_LAYERS) for name in names}

CPP_FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp"})
PYTHON_FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
ISA_FILES = [path for path in CPP_FILES if path.parent.name == "isa" or path.name.endswith(".inl.h")]
MODEL_FILES = [path for path in PYTHON_FILES if path.is_relative_to(PACKAGE / "models")]
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def includes(path: Path) -> tuple[set[str], set[str]]:
    """What a file includes in quotes (ours) and in angle brackets (others')."""
    found = INCLUDE.findall(path.read_text())
    return {ours for ours, _ in found if ours}, {other for _, other in found if other}


@pytest.mark.parametrize("path", CPP_FILES, ids=relative)
def test_cpp_layers(path: Path) -> None:
    ours, others = includes(path)
    layer = path.relative_to(CSRC).parts[0]
    for name in ours:
        assert (CSRC / name).is_file(), f'"{name}" is not a file of csrc/'
        assert CPP_RANK[name.split("/")[0]] <= CPP_RANK[layer], f'{layer} may not include "{name}"'
    if layer not in ("experiments", "bindings"):
        assert not any(name.startswith("experiments/") for name in ours), "the product needs no experiment"
    for name in others:
        assert not name.startswith(("pybind11/", "Python.h")) or layer == "bindings", (
            f"<{name}> outside bindings"
        )
        assert not re.search(r"intrin\.h|arm_neon\.h|simde", name) or layer == "simd", (
            f"<{name}> outside simd"
        )


@pytest.mark.parametrize("path", ISA_FILES, ids=relative)
def test_isa_units_include_plain_data_only(path: Path) -> None:
    """A standard library's template, compiled with wide flags, can be the copy that the linker picks."""
    pending, seen = [path], set()
    while pending:
        current = pending.pop()
        ours, others = includes(current)
        assert {name for name in others if name.endswith(".h")} == others, f"{relative(current)}: C++ header"
        pending += [CSRC / name for name in ours - seen]
        seen |= ours


def imported_modules(path: Path) -> set[str]:
    """Absolute dotted names of what a file imports, at its top or later."""
    package = ["fastconv", *path.relative_to(PACKAGE).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", PYTHON_FILES, ids=relative)
def test_python_layers(path: Path) -> None:
    layer = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imported_modules(path):
        parts = name.split(".")
        if parts == ["fastconv"]:
            assert layer in PYTHON_LAYERS[-1], f"{layer} may not import the whole of fastconv"
        elif parts[0] == "fastconv" and parts[1] in PYTHON_RANK:
            assert PYTHON_RANK[parts[1]] <= PYTHON_RANK[layer], f"{layer} may not import {name}"


@pytest.mark.parametrize("path", MODEL_FILES, ids=relative)
def test_models_hold_no_maths(path: Path) -> None:
    """A model says what its layers are; kernels and numpy arithmetic belong below."""
    roots = {name.split(".")[0] for name in imported_modules(path)}
    assert not roots & {"scipy", "torch", "onnx"}
    assert "fastconv._core" not in {".".join(name.split(".")[:2]) for name in imported_modules(path)}


def test_import_needs_numpy_alone() -> None:
    code = """
import sys, numpy
before = set(sys.modules)
sys.modules["threadpoolctl"] = None
import fastconv
roots = {name.split(".")[0] for name in set(sys.modules) - before}
standard = {*sys.stdlib_module_names, "_xxsubinterpreters"}  # too private for the list
print(*sorted(roots - standard - {"fastconv", "numpy", "threadpoolctl"}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
