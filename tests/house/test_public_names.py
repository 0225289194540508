"""Every public name is documented, with an example that runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import fastconv
from fastconv import _core

ROOT = Path(__file__).parents[2]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastconv.__path__, "fastconv.")
    if not module.name.endswith(("._core", ".__main__"))
]
FUNCTIONS_AND_CLASSES = [
    name
    for name in fastconv.__all__
    if callable(getattr(fastconv, name)) and not isinstance(getattr(fastconv, name), ModuleType)
]


def is_error(name: str) -> bool:
    value = getattr(fastconv, name)
    return isinstance(value, type) and issubclass(value, Exception)


def public_names(value: object) -> set[str]:
    return {name for name in vars(value) if not name.startswith("_")}


@pytest.mark.parametrize("name", FUNCTIONS_AND_CLASSES)
def test_public_name_has_docstring(name: str) -> None:
    documentation = inspect.getdoc(getattr(fastconv, name)) or ""
    assert documentation.strip(), f"{name} has no docstring"
    if not is_error(name):
        assert "\nExamples\n--------\n" in documentation, f"{name} has no Examples section"
        assert ">>> " in documentation, f"{name} has no example that runs"


def test_all_is_sorted_and_complete() -> None:
    assert len(set(fastconv.__all__)) == len(fastconv.__all__)
    assert [name for name in fastconv.__all__ if not hasattr(fastconv, name)] == []


@pytest.mark.parametrize("name", ["bench", "profiler", "roofline", "sweep"])
def test_the_laboratory_has_its_names(name: str) -> None:
    """Those of the modules that documents name, which other modules than they define."""
    module = importlib.import_module(f"fastconv.{name}")
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    own = {key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    assert own == set()


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:  # a module about an optional package
        if error.name is None or error.name.startswith("fastconv"):
            raise
        pytest.skip(f"needs {error.name}")
    if name.startswith("fastconv.lab.draw."):  # they import it when they draw
        pytest.importorskip("matplotlib")
    if name.endswith((".torch_module", ".torch_compile")):
        pytest.importorskip("torch")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0, "see the captured output"


def test_stub_names_what_the_extension_has() -> None:
    stub = ast.parse((Path(fastconv.__file__).parent / "_core.pyi").read_text())

    def names(body: list[ast.stmt]) -> set[str]:
        found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        return {name for name in found if not name.startswith("_")}

    numbers = {ast.unparse(n.target) for n in stub.body if isinstance(n, ast.AnnAssign)} - {"__version__"}
    assert names(stub.body) | numbers == public_names(_core)
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            assert names(node.body) == public_names(getattr(_core, node.name)), node.name


def test_version_is_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fastconv.__version__ == project["version"]
