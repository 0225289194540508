"""ONNX's message classes, without the rest of the package ``onnx``.

``import onnx`` runs the package's ``__init__``, which imports all of its tools, and takes longer than reading
a small network. The messages are one generated file of it, which imports nothing but protobuf. Here that file
is run under a name of our own, so that ``onnx`` stays as it is to everybody else: not imported, or whole.
protobuf keeps one description of a message by its full name, however often the file is run.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from fastconv.errors import MissingPackageError

NAME = "fastconv.importers._onnx_messages"  # of the module that the generated file becomes
FILE = "onnx_ml_pb2.py"


def import_messages() -> ModuleType:
    """Return a module with the classes ``ModelProto`` and the like: ``onnx`` itself where it is imported."""
    whole = sys.modules.get("onnx")
    return whole if whole is not None and hasattr(whole, "ModelProto") else _generated() or import_onnx()


def import_onnx() -> ModuleType:
    """Return the package onnx; where it is missing, MissingPackageError says how to install it."""
    try:
        import onnx
    except ImportError as error:
        message = "the package onnx is needed to read ONNX models: pip install onnx"
        raise MissingPackageError(message) from error
    module: ModuleType = onnx
    return module


@cache
def _generated() -> ModuleType | None:
    """Run the generated file; None where the package has none, or one that does not run by itself."""
    try:
        package = find_spec("onnx")
    except ValueError:  # of a module in the place of the package that has no spec
        return None
    folders = () if package is None else package.submodule_search_locations or ()
    for path in (Path(folder, FILE) for folder in folders):
        spec = spec_from_file_location(NAME, path) if path.is_file() else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception:  # import_onnx() says what is wrong, if anything is
                return None
            return module if hasattr(module, "ModelProto") else None
    return None
