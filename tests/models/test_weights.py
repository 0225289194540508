"""``read_weights``: formats told by content; good and adversarial ``.npz``, ``.safetensors``, mappings."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError, DTypeError, MissingPackageError, ModelError
from fastconv.importers.weights import read_weights

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "conv.weight": RNG.standard_normal((4, 3, 3, 3), np.float32),
    "half": RNG.standard_normal((5,)).astype(np.float16),
    "double": RNG.standard_normal((2, 2)),
    "fortran": np.asfortranarray(RNG.standard_normal((3, 4), np.float32)),
    "big": RNG.standard_normal((3,)).astype(">f4"),
    "count": np.asarray(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def npz(arrays: Mapping[str, Any], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def npz_member(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("w.npy", content)
    return file.getvalue()


def npy(
    header: str, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None
) -> bytes:
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + header.encode() + data


def check(weights: Mapping[str, np.ndarray[Any, Any]], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    assert list(weights) == list(arrays)
    for name, array in arrays.items():
        expected = array.astype(np.float32) if array.dtype.kind == "f" else array
        np.testing.assert_array_equal(weights[name], expected)
        assert weights[name].dtype == expected.dtype
        assert weights[name].shape == expected.shape
        assert weights[name].flags.c_contiguous
        assert weights[name].flags.aligned


# ---------------------------------------------------------------- the entry


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(compressed: bool, tmp_path: Path) -> None:
    content = npz(ARRAYS, compressed=compressed)
    path = tmp_path / "weights.pth"  # the suffix is of no account
    path.write_bytes(content)
    check(read_weights(content), ARRAYS)
    check(read_weights(path), ARRAYS)


def test_mapping() -> None:
    check(read_weights(ARRAYS), ARRAYS)
    weights = read_weights({"module.a": [1.0, 2.0], "module.b": np.float64(3)})
    assert weights.shapes == {"a": (2,), "b": ()}
    assert read_weights(weights) is weights


def test_an_absent_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        read_weights(ARRAYS)["absent"]


@pytest.mark.parametrize("source", [None, 3, [1, 2]])
def test_a_source_of_the_wrong_type(source: Any) -> None:
    with pytest.raises(DTypeError, match="source: expected a path, bytes or a mapping"):
        read_weights(source)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({3: np.zeros(2)}, "expected strings as names"),
        ({"w": np.array(["text"])}, "w: expected real numbers"),
        ({"w": np.array([object()])}, "w: expected real numbers"),
        ({"w": np.zeros(2, np.complex64)}, "w: expected real numbers"),
        ({"w": [[1, 2], [3]]}, "w: cannot be converted"),
    ],
)
def test_mappings_of_other_things(mapping: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_weights(mapping)


def test_a_float64_beyond_float32_is_an_error() -> None:
    with pytest.raises(ModelError, match="w: cannot be read"):
        read_weights({"w": np.array([1e300])})["w"]


@pytest.mark.parametrize(
    "content", [b"", b"P", b"PK\x03\x04", b"\x08\x0aonnx: ...", b"\x93NUMPY", b"{" * 20, bytes(64)]
)
def test_files_of_no_known_format(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(ModelError, match="the weights: " if source == content else "weights.pth: "):
            read_weights(source)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "absent.pth")


# ---------------------------------------------------------------- .npz that must not be trusted

FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"
HOSTILE_NPZ = {
    "objects": (npz({"w": np.array([{}], object)}), "header of an array"),
    "records": (npz({"w": np.zeros(2, "f4,f4")}), "header of an array"),
    "complex numbers": (npz({"w": np.zeros(2, "c8")}), "header of an array"),
    "a forged shape": (npz_member(npy(FLOATS % "(1099511627776,)", b"1234")), "the member holds 4"),
    "a forged shape, compressed": (
        npz_member(npy(FLOATS % "(1099511627776,)", b"1234"), zipfile.ZIP_DEFLATED),
        "the member holds 4",
    ),
    "negative sizes": (npz_member(npy(FLOATS % "(-1, -1)", b"1234")), "header of an array"),
    "a size of 5000 digits": (npz_member(npy(FLOATS % f"({'9' * 5000},)", b"1234")), "malformed|holds 4"),
    "a long header": (npz_member(npy("{", length=65535)), "header of an array"),
    "a longer header": (npz_member(npy("{", version=(2, 0), length=1 << 31)), "header of an array"),
    "a deep header": (npz_member(npy("(" * 9000)), "header of an array"),
    "a header that calls": (npz_member(npy("__import__('os').system('touch mark')")), "header of an array"),
    "not an array": (npz_member(b"something else"), "header of an array"),
    "nothing": (npz_member(b""), "header of an array"),
    "another compression": (npz_member(npy(FLOATS % "()", b"1234"), zipfile.ZIP_LZMA), "compression method"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_adversarial_npz(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE_NPZ[case]
    with pytest.raises(ModelError, match=message):
        read_weights(content)
    assert not list(tmp_path.iterdir())


def test_an_npz_bomb_is_refused_unless_allowed() -> None:
    bomb = npz({"w": np.zeros(80_000_000, np.float32)}, compressed=True)
    assert len(bomb) < 1 << 20
    with pytest.raises(ModelError, match="max_bytes"):
        read_weights(bomb)
    assert read_weights(bomb, max_bytes=1 << 30).shapes == {"w": (80_000_000,)}


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_npz_is_read_or_is_a_typed_error(compressed: bool) -> None:
    content = npz({"a": np.arange(6.0), "b": np.ones(3, np.float16)}, compressed=compressed)
    for length in range(0, len(content), 7):
        with pytest.raises(ModelError):
            dict(read_weights(content[:length]))
    rng = np.random.default_rng(0)
    for _ in range(500):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, damaged.size, rng.integers(1, 4))
        damaged[places] = rng.integers(0, 256, places.size)
        with contextlib.suppress(ModelError):
            dict(read_weights(damaged.tobytes()))


# ---------------------------------------------------------------- .safetensors


def safetensors_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, stop: int, shape: tuple[int, ...] = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_safetensors(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {name: np.ascontiguousarray(ARRAYS[name]) for name in ("conv.weight", "half", "double", "empty")}
    path = tmp_path / "weights"
    library.save_file(arrays, path)
    weights = read_weights(path)
    check({name: weights[name] for name in arrays}, arrays)
    assert weights.shapes == {name: array.shape for name, array in arrays.items()}


def test_safetensors_bfloat16() -> None:
    pytest.importorskip("safetensors")
    values = np.array([1.0, -2.5, 3.0e38, 0.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    weights = read_weights(safetensors_file({"w": entry(0, 8, (2, 2), "BF16")}, bits.tobytes()))
    expected = (bits.astype(np.uint32) << 16).view(np.float32).reshape(2, 2)
    np.testing.assert_array_equal(weights["w"], expected)


@pytest.mark.parametrize("length", [128, 256 + 128, 256 + 80])
def test_a_safetensors_header_whose_length_looks_like_another_format(length: int) -> None:
    pytest.importorskip("safetensors")
    header = json.dumps({"w": entry(0, 8)}).encode().ljust(length)
    content = struct.pack("<Q", length) + header + np.array([1, 2], "<f4").tobytes()
    np.testing.assert_array_equal(read_weights(content)["w"], [1, 2])


HOSTILE_SAFETENSORS = {
    "header of 2^40 bytes": safetensors_file({}, length=1 << 40),
    "header of 101 MB": safetensors_file({"a": entry(0, 8)}, length=101_000_000),
    "overlap": safetensors_file({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "hole": safetensors_file({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)),
    "overflow": safetensors_file({"a": entry(0, 1 << 62, (1 << 60,))}, bytes(8)),
    "shape and size differ": safetensors_file({"a": entry(0, 8, (3,))}, bytes(8)),
    "trailing bytes": safetensors_file({"a": entry(0, 8)}, bytes(9)),
    "no data": safetensors_file({"a": entry(0, 8)}),
    "not JSON": struct.pack("<Q", 8) + b"{oh dear",
    "float8": safetensors_file({"a": entry(0, 2, (2,), "F8_E4M3")}, bytes(2)),
}


@pytest.mark.parametrize("case", HOSTILE_SAFETENSORS)
def test_adversarial_safetensors(case: str) -> None:
    pytest.importorskip("safetensors")
    with pytest.raises(ModelError, match="the weights: "):
        read_weights(HOSTILE_SAFETENSORS[case])


def test_without_the_safetensors_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingPackageError, match="pip install safetensors"):
        read_weights(safetensors_file({"a": entry(0, 8)}, bytes(8)))


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    architecture = fastconv.models.squeezenet1_1
    weights = architecture.random_weights(num_classes=4)
    for i, (name, array) in enumerate(weights.items()):
        first, _, rest = name.partition(".")
        file = tmp_path / f"{name}.npy" if i % 2 else tmp_path / first / f"{rest}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, np.asfortranarray(array) if i % 3 else array)
    found = read_weights(tmp_path)
    assert set(found) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)
    x = np.ones((1, 3, 64, 64), np.float32)
    model = architecture(tmp_path)
    np.testing.assert_array_equal(model(x), architecture(weights)(x))
    with pytest.raises(ModelError, match="max_bytes"):
        read_weights(tmp_path, max_bytes=1000)
    (tmp_path / "odd.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ModelError, match=r"odd\.npy: expected the header"):
        read_weights(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"expected \.npy files"):
        read_weights(tmp_path / "empty")
    (tmp_path / "odd.npy").unlink()
    with pytest.raises(ModelError, match="expected a file, got a folder"):
        pickle.dumps(model)


def test_a_network_without_weights_says_how_to_draw_some() -> None:
    with pytest.raises(ArgumentError, match=r"^weights: .* got None; resnet18\.random_weights\(\) draws"):
        fastconv.models.resnet18()
