"""The ``.pth`` reader: right on what torch.save writes; a typed error, without side effects, on the rest."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.errors import ModelError
from fastconv.importers.weights import read_weights

# ---------------------------------------------------------------- pickles by hand, as torch.save writes them


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def many(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + many(*arguments) + b"R"


def storage(key: str = "0", numel: int = 6, kind: str = "FloatStorage") -> bytes:
    return many(text("storage"), name("torch", kind), text(key), text("cpu"), integer(numel)) + b"Q"


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
    source: bytes | None = None,
) -> bytes:
    sizes, steps = (many(*map(integer, values)) for values in (shape, strides))
    source = storage() if source is None else source
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", source, integer(offset), sizes, steps, b"\x89", hooks)


def state_dict(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def zip_file(program: bytes, storages: dict[str, bytes] | None = None, compression: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/byteorder", "little")
        for key, content in (DATA if storages is None else storages).items():
            archive.writestr(f"archive/data/{key}", content)
    return file.getvalue()


def legacy_file(program: bytes) -> bytes:
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    pickles = b"".join(pickle.dumps(part, 2) for part in header)
    storages = DATA if text("storage") in program else {}
    keys = pickle.dumps(list(storages), 2)
    data = b"".join(struct.pack("<q", len(content) // 4) + content for content in storages.values())
    return pickles + b"\x80\x02" + program + b"." + keys + data


DATA = {"0": np.arange(6, dtype="<f4").tobytes()}
EXPECTED = np.arange(6, dtype=np.float32).reshape(2, 3)
DTYPES = ["float64", "float32", "float16", "bfloat16"]
DTYPES += ["int64", "int32", "int16", "int8", "uint8", "bool", "uint16"]
CONTAINERS = pytest.mark.parametrize("container", [zip_file, legacy_file])


@CONTAINERS
def test_a_state_dict_is_read_from_bytes_and_from_a_path(container: Any, tmp_path: Path) -> None:
    content = container(state_dict(weight=tensor()))
    path = tmp_path / "any.suffix"
    path.write_bytes(content)
    for source in (content, path, str(path), memoryview(content)):
        weights = read_weights(source)
        assert weights.shapes == {"weight": (2, 3)}
        np.testing.assert_array_equal(weights["weight"], EXPECTED)
        assert weights["weight"].dtype == np.float32
        assert weights["weight"].flags.c_contiguous
        assert weights["weight"].flags.aligned


def test_strides_and_offsets_are_followed() -> None:
    program = state_dict(
        t=tensor((3, 2), (1, 3)),
        row=tensor((3,), (1,), 3),
        scalar=tensor((), (), 5),
        none=tensor((0,), (1,), 6),
    )
    weights = read_weights(zip_file(program))
    np.testing.assert_array_equal(weights["t"], EXPECTED.T)
    np.testing.assert_array_equal(weights["row"], EXPECTED[1])
    np.testing.assert_array_equal(weights["scalar"], np.float32(5))
    assert weights["none"].shape == (0,)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
def test_a_nested_state_dict_is_found_and_its_prefix_dropped(key: str) -> None:
    inner = state_dict(**{"module.a.weight": tensor(), "module.b": tensor((6,), (1,))})
    weights = read_weights(zip_file(state_dict(epoch=integer(7), **{key: inner})))
    assert list(weights) == ["a.weight", "b"]


def test_metadata_of_a_state_dict_is_ignored() -> None:
    program = call("collections", "OrderedDict") + b"(" + text("w") + tensor() + b"u"
    program += b"}" + text("_metadata") + call("collections", "OrderedDict") + b"sb"
    assert list(read_weights(zip_file(program))) == ["w"]


# ---------------------------------------------------------------- programs that must not run

EVIL = {
    "reduce": (call("posix", "system", text("touch $MARK")), "posix.system"),
    "reduce in a state dict": (
        state_dict(w=tensor(), x=call("os", "system", text("touch $MARK"))),
        "os.system",
    ),
    "stack_global": (
        text("builtins") + text("exec") + b"\x93" + many(text("open('$MARK','w')")) + b"R",
        "builtins.exec",
    ),
    "dotted attribute": (text("torch") + text("storage._load_from_bytes") + b"\x93", "_load_from_bytes"),
    "nested load": (call("torch.storage", "_load_from_bytes", text("x")), "torch.storage._load_from_bytes"),
    "a whole module": (name("torchvision.models.resnet", "ResNet") + b")\x81}b", "resnet.ResNet"),
    "getattr": (call("builtins", "getattr", b"N", text("__class__")), "builtins.getattr"),
    "global of the wrong type": (integer(1) + text("system") + b"\x93", "global"),
    "inst": (b"(" + text("touch $MARK") + b"iposix\nsystem\n", "opcode INST"),
    "obj": (b"(" + name("collections", "OrderedDict") + b"o", "opcode OBJ"),
    "obj of a bad class": (b"(" + name("posix", "system") + text("touch $MARK") + b"o", "posix.system"),
    "newobj": (name("collections", "OrderedDict") + b")\x81", "opcode NEWOBJ"),
    "newobj_ex": (name("collections", "OrderedDict") + b")}\x92", "opcode NEWOBJ_EX"),
    "build on a tensor": (tensor() + b"}" + text("__class__") + text("x") + b"sb", "opcode BUILD"),
    "build on a dtype": (name("torch", "float32") + b"}b", "opcode BUILD"),
    "build with slots": (call("collections", "OrderedDict") + b"N}\x86b", "opcode BUILD"),
    "reduce of a string": (text("os.system") + many(text("touch $MARK")) + b"R", "opcode REDUCE"),
    "reduce of a dtype": (name("torch", "float32") + many(text("x")) + b"R", "opcode REDUCE"),
    "reduce without a tuple": (name("collections", "OrderedDict") + b"]R", "opcode REDUCE"),
    "ordered dict of no items": (call("collections", "OrderedDict", b"]"), "expected a state dict"),
    "ordered dict of a number": (call("collections", "OrderedDict", integer(5)), "expected a list of items"),
    "extension registry": (b"\x82\x01", "opcode EXT1"),
    "text persistent id": (b"Pos.system\n", "opcode PERSID"),
    "bytes": (b"C\x01a", "opcode SHORT_BINBYTES"),
    "set": (b"\x8f", "opcode EMPTY_SET"),
    "out-of-band buffer": (b"\x97", "opcode NEXT_BUFFER"),
    "persistent id: a command": (text("touch $MARK") + b"Q", "persistent id"),
    "persistent id: not a class": (
        many(text("storage"), text("FloatStorage"), text("0"), text("cpu"), integer(6)) + b"Q",
        "persistent id",
    ),
    "persistent id: a function": (
        many(text("storage"), name("torch", "Size"), text("0"), text("cpu"), integer(6)) + b"Q",
        "persistent id",
    ),
    "persistent id: a view": (
        many(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(6), text("v"))
        + b"Q",
        "persistent id",
    ),
    "storage: negative": (state_dict(w=tensor(source=storage(numel=-1))), "persistent id"),
    "storage: another file": (state_dict(w=tensor(source=storage("../../../etc/passwd"))), "lacks"),
    "storage: larger than its member": (state_dict(w=tensor(source=storage(numel=7))), "28 bytes, got 24"),
    "storage: giant": (state_dict(w=tensor(source=storage(numel=(1 << 31) - 1))), "got 24"),
    "storage: two types": (
        state_dict(w=tensor(), x=tensor(source=storage(numel=3, kind="DoubleStorage"))),
        "two",
    ),
    "tensor: not of a storage": (state_dict(w=tensor(source=text("0"))), "expected a storage"),
    "tensor: beyond the storage": (state_dict(w=tensor((3, 3), (3, 1))), "reach element 8"),
    "tensor: offset beyond": (state_dict(w=tensor((1,), (1,), 6)), "reach element 6"),
    "tensor: negative offset": (state_dict(w=tensor(offset=-1)), "offset"),
    "tensor: stride beyond": (state_dict(w=tensor((2, 1), (1 << 30, 1))), "reach element"),
    "tensor: negative stride": (state_dict(w=tensor((2, 3), (-3, 1), 3)), "sizes and strides"),
    "tensor: giant": (state_dict(w=tensor((1 << 62, 1 << 62), (0, 0))), "sizes and strides"),
    "tensor: giant by repetition": (state_dict(w=tensor((1 << 30, 1 << 30), (0, 0))), "max_bytes"),
    "tensor: negative size": (state_dict(w=tensor((-1, 3), (3, 1))), "sizes and strides"),
    "tensor: ranks differ": (state_dict(w=tensor((2, 3), (1,))), "one length"),
    "tensor: nothing, giant": (state_dict(w=tensor((0, (1 << 31) - 1), (1, 1))), "dimensions that are not 0"),
    "tensor: rank": (state_dict(w=tensor((1,) * 65, (1,) * 65)), "at most 32"),
    "parameter of nothing": (call("torch._utils", "_rebuild_parameter", b"N", b"\x88", b"}"), "a parameter"),
    "size of nothing": (call("torch", "Size", b"N"), "torch.Size"),
    "a list that holds itself": (b"]q\x00h\x00a", "expected a state dict"),
    "a dict that holds itself": (b"}q\x00" + text("state_dict") + b"h\x00s", "expected a state dict"),
    "a key that takes for ever to hash": (b"}" + b")" + b"q\x00h\x00\x86" * 200 + b"Ns", "dict's key"),
    "nested deeply": (b"]" * 100_000 + b"a" * 99_999, "expected a state dict"),
    "an unknown memo": (b"h\x07", "malformed"),
    "an empty stack": (b"\x85", "stack"),
    "no mark": (b"t", "malformed"),
    "append to a dict": (b"}" + text("x") + b"a", "opcode APPENDS"),
    "odd items": (b"}(" + text("x") + b"u", "malformed"),
    "a giant string": (b"\x8d" + struct.pack("<Q", 1 << 60) + b"x", "malformed"),
    "an unknown opcode": (b"\xff", "opcode b'.xff'"),
    "an escape in a global": (name("a\\l", "b"), "global"),
    "a number": (integer(3), "expected a state dict"),
}  # fmt: skip


@CONTAINERS
@pytest.mark.parametrize("program", EVIL, ids=str)
def test_adversarial_programs_are_typed_errors_and_do_nothing(
    program: str, container: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, message = EVIL[program]
    mark = tmp_path / "mark"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARK", str(mark))
    path = tmp_path / "evil.pth"
    path.write_bytes(container(code))
    before = sorted(tmp_path.iterdir())
    expected = message
    if container is legacy_file and program.startswith("storage"):
        expected = "persistent id|list of storages|truncated|two"  # that format says it in other words
    with pytest.raises(ModelError, match=f"evil.pth: .*({expected})"):
        read_weights(path)
    assert sorted(tmp_path.iterdir()) == before


def test_the_adversarial_programs_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    pickle.loads(b"\x80\x02" + EVIL["reduce"][0] + b".")
    assert (tmp_path / "mark").exists()


@CONTAINERS
def test_every_truncation_is_a_typed_error(container: Any) -> None:
    content = container(state_dict(weight=tensor()))
    for length in range(len(content)):
        with pytest.raises(ModelError):
            dict(read_weights(content[:length]))


@CONTAINERS
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_read_or_are_typed_errors(container: Any, seed: int) -> None:
    content = np.frombuffer(container(state_dict(a=tensor(), b=tensor((3,), (2,), 1))), np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(300):
        damaged = content.copy()
        places = rng.integers(0, damaged.size, rng.integers(1, 4))
        damaged[places] = rng.integers(0, 256, places.size)
        try:
            for array in read_weights(damaged.tobytes()).values():
                array.sum()
        except ModelError:
            pass


# ---------------------------------------------------------------- archives that must not be trusted


def test_a_compressed_archive_is_refused() -> None:
    bomb = zip_file(state_dict(w=tensor()), {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="stored member"):
        read_weights(bomb)


def test_a_member_that_claims_to_be_larger_than_the_file_is_refused() -> None:
    content = bytearray(zip_file(state_dict(w=tensor(source=storage(numel=1 << 20)))))
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"archive/data/0"))
    content[entry + 20 : entry + 28] = struct.pack("<II", 1 << 22, 1 << 22)
    with pytest.raises(ModelError, match="truncated"):
        read_weights(bytes(content))


def test_two_members_of_one_name_are_refused() -> None:
    content = zip_file(state_dict(w=tensor()), {"0": DATA["0"], "1": DATA["0"]})
    with pytest.raises(ModelError, match="same name"):
        read_weights(content.replace(b"archive/data/1", b"archive/data/0"))


def test_tensors_that_share_a_storage_count_against_the_budget() -> None:
    program = state_dict(**{f"w{i}": tensor((6, 1 << 20), (1, 0)) for i in range(64)})
    with pytest.raises(ModelError, match="max_bytes"):
        read_weights(zip_file(program))
    assert len(read_weights(zip_file(program), max_bytes=1 << 40)) == 64


def test_a_big_endian_archive_is_refused() -> None:
    content = zip_file(state_dict(w=tensor()))
    with pytest.raises(ModelError, match="little-endian"):
        read_weights(content.replace(b"little", b"big_en"))


def test_a_plain_pickle_is_not_a_pth() -> None:
    with pytest.raises(ModelError, match=r"torch\.save"):
        read_weights(pickle.dumps({"weight": [1.0]}))


# ---------------------------------------------------------------- what torch itself writes


@pytest.mark.torch
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_that_torch_saves(new: bool, protocol: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(5, 7))
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    weights = read_weights(path)
    assert list(weights) == list(net.state_dict())
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(weights[key], value.numpy())
        assert weights[key].shape == tuple(value.shape)
    assert weights["1.num_batches_tracked"].dtype == np.int64


@pytest.mark.torch
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_a_view_that_torch_saves(dtype: str, new: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    values = torch.randn(3, 4, 5, 6).mul(3).to(getattr(torch, dtype)).permute(0, 2, 3, 1)[:, 1:]
    checkpoint = {"epoch": 3, "state_dict": {"x": values, "p": torch.nn.Parameter(torch.ones(3))}}
    torch.save(checkpoint, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    weights = read_weights(tmp_path / "x.pth")
    expected = values.float().numpy() if values.is_floating_point() else values.numpy()
    np.testing.assert_array_equal(weights["x"], expected)
    assert weights["x"].dtype == expected.dtype
    assert weights["x"].flags.c_contiguous
    np.testing.assert_array_equal(weights["p"], np.ones(3, np.float32))
