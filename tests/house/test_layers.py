"""A file includes or imports its own layer or a lower one (docs/design.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC, PACKAGE = ROOT / "csrc", ROOT / "python" / "fastconv"

CPP_LAYERS = [
    ["core"], ["simd"], ["kernels"], ["gemm"], ["conv", "nn", "coding"], ["program", "experiments"],
    ["bindings"],
]  # fmt: skip
PYTHON_LAYERS = [
    [
        *("_core", "_fork", "errors", "timing", "_measured", "_platform"),
        *("_text", "_table", "_progress", "_files", "_interpreter", "_foreign", "_types", "_log"),
    ],
    ["_arguments", "_kept_kind", "_threads", "_config", "tuning"],
    ["_quantised", "_geometry"],
    ["conv", "planned", "qconv", "xnor"],
    ["ops"],
    ["graph"],
    ["importers", "exporters", "models"],
    ["backend", "testing", "predict", "torch_compile"],
    ["compress"],
    ["lab"],
    ["__init__"],
    ["cli"],
    ["bench", "profiler", "roofline", "sweep", "__main__"],
]
LAB_LAYERS = [
    ["machine"], ["timing"], ["profile"], ["compare"], ["sweeps"], ["draw"], ["report"],
]  # fmt: skip
CPP_RANK = {name: rank for rank, names in enumerate(CPP_LAYERS) for name in names}
PYTHON_RANK = {name: rank for rank, names in enumerate(PYTHON_LAYERS) for name in names}
LAB_RANK = {name: rank for rank, names in enumerate(LAB_LAYERS) for name in names}

CPP_FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp"})
PYTHON_FILES = sorted(PACKAGE.rglob("*.py"))
ISA_FILES = [path for path in CPP_FILES if path.parent.name == "isa" or path.name.endswith(".inl.h")]
MODEL_FILES = [path for path in PYTHON_FILES if path.is_relative_to(PACKAGE / "models")]
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


GENERATED = {"core/tiers.def"}  # by cmake/tiers.cmake


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def includes(path: Path) -> tuple[set[str], set[str]]:
    """What a file includes in quotes (ours) and in angle brackets (others')."""
    found = INCLUDE.findall(path.read_text())
    return {ours for ours, _ in found if ours}, {other for _, other in found if other}


def test_cpp_layers() -> None:
    for path in CPP_FILES:
        ours, others = includes(path)
        layer, where = path.relative_to(CSRC).parts[0], relative(path)
        for name in ours:
            assert name in GENERATED or (CSRC / name).is_file(), f'{where}: "{name}" is not a file of csrc/'
            below = CPP_RANK[name.split("/")[0]] <= CPP_RANK[layer]
            assert below, f'{where}: {layer} may not include "{name}"'
            product = layer not in ("experiments", "bindings")
            assert not (product and name.startswith("experiments/")), (
                f"{where}: the product needs no experiment"
            )
        for name in others:
            of_python = name.startswith(("pybind11/", "Python.h"))
            assert not of_python or layer == "bindings", f"{where}: <{name}> outside bindings"
            of_vectors = re.search(r"intrin\.h|arm_neon\.h|simde", name)
            assert not of_vectors or layer == "simd", f"{where}: <{name}> outside simd"


def test_isa_units_include_plain_data_only() -> None:
    """A standard library's template, compiled with wide flags, can be the copy that the linker picks."""
    pending, seen = list(ISA_FILES), set(ISA_FILES)
    while pending:
        current = pending.pop()
        ours, others = includes(current)
        assert {name for name in others if name.endswith(".h")} == others, f"{relative(current)}: C++ header"
        found = {CSRC / name for name in ours} - seen
        pending += found
        seen |= found


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PYTHON_FILES} | {"fastconv._core": PACKAGE / "_core.pyi"}


def imports(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import, at the top of a file or later, but for types alone.

    The name is empty where a module is imported as it is.
    """
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)
        yield from imports(ast.iter_child_nodes(node), package)


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    return imports([ast.parse(path.read_text())], package)


@cache
def imported_modules(path: Path) -> set[str]:
    """Dotted names of what a file imports: of ours the modules, of others what is named."""
    found = set()
    for module, name in imports_of(path):
        whole = f"{module}.{name}" if name else module
        found.add(module if module in MODULES and whole not in MODULES else whole)
    return found


def test_python_layers() -> None:
    for path in PYTHON_FILES:
        layer, *inner = path.relative_to(PACKAGE).with_suffix("").parts
        for name in imported_modules(path):
            parts = name.split(".")
            if parts[0] != "fastconv":
                continue
            rank = PYTHON_RANK[parts[1] if parts[1:] else "__init__"]
            assert rank <= PYTHON_RANK[layer], f"{relative(path)} may not import {name}"
            if parts[1:2] == [layer] == ["lab"] and inner != ["__init__"]:
                assert LAB_RANK[parts[2]] <= LAB_RANK[inner[0]], f"{relative(path)} may not import {name}"


def siblings(imported: Mapping[str, set[str]], package: str) -> dict[str, set[str]]:
    """Return what each module or package that lies in a package imports of the others there.

    The package's own ``__init__`` is one of them.
    """

    def member(module: str) -> str | None:
        if module == package:
            return "__init__"
        return module.removeprefix(f"{package}.").split(".")[0] if module.startswith(f"{package}.") else None

    edges: dict[str, set[str]] = {}
    for module, others in imported.items():
        if (mine := member(module)) is not None:
            found = {other for name in others if (other := member(name)) is not None}
            edges[mine] = edges.get(mine, set()) | (found - {mine})
    return edges


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Return the members of a circle, or nothing: those left when all that lead to no other are gone.

    >>> circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), circle({"a": {"b"}, "b": set()})
    (['a', 'b', 'c'], [])
    """
    left = dict(edges)
    while ends := [name for name, others in left.items() if not others & left.keys()]:
        for name in ends:
            del left[name]
    return sorted(left)


PACKAGES = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_in_a_circle(package: str) -> None:
    """Neither modules nor packages, not even from within a function: what is shared belongs below both."""
    imported = {module_of(path): imported_modules(path) & MODULES.keys() for path in PYTHON_FILES}
    edges = siblings(imported, package)
    found = {name: sorted(edges[name]) for name in circle(edges)}
    assert not found


def test_circles_are_found() -> None:
    imported = {"p": {"p.a.b"}, "p.a.b": {"p.c"}, "p.c": {"p.a.d"}, "p.a.d": set()}
    assert circle(siblings(imported, "p")) == ["__init__", "a", "c"]
    assert circle(siblings(imported, "p.a")) == []
    assert circle({"a": {"b"}, "b": set()}) == []
    late = ast.parse("def f():\n    from .x import y\nif TYPE_CHECKING:\n    from . import z")
    assert list(imports([late], "p.q")) == [("p.q.x", "y")]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined_in(tree: ast.Module) -> set[str]:
    """Return the underscored names of functions, classes, variables and members that a file defines."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)}


def private_uses(module: str, tree: ast.Module, ours: Set[str]) -> Iterator[str]:
    """Yield what a file uses of the underscored names that belong to others of ``ours``.

    A module ``_name`` belongs to the package that it lies in, with all below; any other to its own file.
    """
    for name, member in imports([tree], module if "." not in module else module.rpartition(".")[0]):
        whole = f"{name}.{member}" if member else name
        path = (whole if whole in MODULES or not member else name).split(".")
        owners = [".".join(path[:i]) for i, part in enumerate(path) if is_private(part)]
        if path[0] == "fastconv" and (
            (whole not in MODULES and is_private(member))
            or any(not f"{module}.".startswith(f"{owner}.") for owner in owners)
        ):
            yield whole
    theirs = ours - defined_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in theirs and not is_own(node.value):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


def test_nothing_private_is_used_elsewhere() -> None:
    trees = {module_of(path): ast.parse(path.read_text()) for path in PYTHON_FILES}
    others = set().union(*map(defined_in, trees.values()))
    found = {module: list(private_uses(module, tree, others)) for module, tree in trees.items()}
    assert {module: uses for module, uses in found.items() if uses} == {}


def test_private_uses_are_found() -> None:
    text = """
from fastconv.ops._checks import check
from fastconv.ops.conv import _plan
from fastconv._text import counted
class A:
    def f(self, other):
        self._mine = other._mine + other._theirs + other._replace()
"""
    found = list(private_uses("fastconv.graph.model", ast.parse(text), {"_mine", "_theirs"}))
    assert found == ["fastconv.ops._checks.check", "fastconv.ops.conv._plan", "line 7: other._theirs"]


def test_models_hold_no_maths() -> None:
    """A model says what its layers are; kernels and numpy arithmetic belong below."""
    for path in MODEL_FILES:
        for name in imported_modules(path):
            first = f"{name}.".startswith(("scipy.", "torch.", "onnx.", "fastconv._core."))
            assert not first, f"{relative(path)} may not import {name}"


def test_import_loads_little() -> None:
    """What takes long to import comes when it is needed: beside numpy's modules there are these."""
    code = """
import sys, numpy, numpy.typing
before = set(sys.modules)
import fastconv
print(*sorted(set(sys.modules) - before))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in run.stdout.split() if not name.startswith("fastconv.ops")}
    ours = {
        *(
            "_arguments",
            "_config",
            "_core",
            "_foreign",
            "_geometry",
            "_interpreter",
            "_kept_kind",
            "_quantised",
        ),
        *("_threads", "_types", "conv", "errors", "ops", "planned", "qconv", "xnor"),
    }
    standard = {"__future__", "_xxsubinterpreters", "importlib._abc", "importlib.util"}
    assert loaded <= {"fastconv", *(f"fastconv.{name}" for name in ours), *standard}


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
