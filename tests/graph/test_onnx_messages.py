"""ONNX's messages are read without the package around them, which stays as it is to everybody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.importers.onnx import NUMPY_TYPES


@pytest.fixture
def path(onnx: Any, make_model: Any, tmp_path: Path) -> Path:
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    model = make_model(nodes, {"x": [1, 3, 8, 8]}, {"w": np.ones((4, 3, 3, 3), np.float32)})
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def run(code: str, path: Path) -> None:
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_a_plain_file_needs_the_messages_alone(path: Path) -> None:
    run(
        """
import sys
import fastconv
fastconv.load(sys.argv[1])
tools = ("onnx", "ml_dtypes", "hashlib", "secrets", "json", "statistics", "html", "difflib")
tools += ("subprocess", "fractions", "csv")
assert not {name for name in sys.modules if name.partition(".")[0] in tools}
assert "fastconv.graph.ops.conv" in sys.modules and "fastconv.graph.ops.recurrent" not in sys.modules
""",
        path,
    )


def test_operators_of_few_networks_are_there_when_one_asks(path: Path) -> None:
    run(
        """
import sys
from fastconv.graph.ir import Node
from fastconv.graph import compile, ops, registry
assert "fastconv.graph.ops.sampling" not in sys.modules
assert registry.lookup(Node("GridSample", "n", ("x", "grid"), ("y",))).required == 2
assert "LSTM" in registry.supported_ops()
""",
        path,
    )


def test_every_family_of_operators_is_found(path: Path) -> None:
    run(
        r"""
import re, sys
from pathlib import Path
from fastconv.graph import ops, registry
registry.supported_ops()
enters = re.compile(r"^from fastconv.graph.registry import .*\b(activation_)?op\b", re.M)
for file in Path(ops.__file__).parent.glob("*.py"):
    assert not enters.search(file.read_text()) or f"{ops.__name__}.{file.stem}" in sys.modules, file.stem
""",
        path,
    )


def test_the_package_is_whole_afterwards(path: Path) -> None:
    run(
        """
import sys, pickle
import numpy as np
import fastconv
x = np.ones((1, 3, 8, 8), np.float32)
y = fastconv.load(sys.argv[1])(x)
import onnx
assert onnx.checker.check_model and onnx.helper.make_model
assert onnx.onnx_ml_pb2.ModelProto is onnx.ModelProto
proto = pickle.loads(pickle.dumps(onnx.load(sys.argv[1])))
assert type(proto) is onnx.ModelProto
for source in (proto, proto.SerializeToString()):
    np.testing.assert_array_equal(fastconv.load(source)(x), y)
""",
        path,
    )


def test_the_package_that_is_imported_is_used(path: Path) -> None:
    run(
        """
import sys
import onnx, fastconv
from fastconv.importers import messages
fastconv.load(sys.argv[1])
assert messages.import_messages() is onnx and not messages._generated.cache_info().currsize
""",
        path,
    )


def test_a_package_without_the_file_is_imported_whole(path: Path) -> None:
    run(
        """
import sys
import fastconv
from fastconv.importers import messages
messages.FILE = "no_such_file.py"
fastconv.load(sys.argv[1])
assert messages.import_messages() is sys.modules["onnx"]
""",
        path,
    )


def test_a_missing_package_is_named(path: Path) -> None:
    run(
        """
import sys
import fastconv
sys.modules["onnx"] = None
try:
    fastconv.load(sys.argv[1])
except fastconv.MissingPackageError as error:
    assert "pip install onnx" in str(error)
else:
    raise AssertionError("expected an error")
""",
        path,
    )


def test_types_are_those_of_the_package(onnx: Any) -> None:
    known = {number: np.dtype(name) for number, name in NUMPY_TYPES.items()}
    assert known == {number: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)) for number in known}


@pytest.mark.parametrize("kind", ["bfloat16", "float_data"])
def test_the_package_reads_what_bytes_of_usual_types_are_not(
    kind: str, onnx: Any, make_model: Any, tmp_path: Path
) -> None:
    make = onnx.helper.make_tensor
    if kind == "bfloat16":
        weight = make("w", onnx.TensorProto.BFLOAT16, [1], np.uint16([0x4000]).tobytes(), raw=True)
    else:
        weight = make("w", onnx.TensorProto.FLOAT, [1], [2.0])
    nodes = [
        onnx.helper.make_node("Cast", ["w"], ["v"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", ["x", "v"], ["y"]),
    ]
    model = make_model(nodes, {"x": [3]}, {})
    model.graph.initializer.append(weight)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    run(
        """
import sys
import numpy as np
import fastconv
y = fastconv.load(sys.argv[1])(np.ones(3, np.float32))
np.testing.assert_array_equal(y, np.full(3, 2, np.float32))
assert "onnx" in sys.modules
""",
        file,
    )
    assert fastconv.load(file)(np.ones(3, np.float32)).tolist() == [2, 2, 2]
