"""Weight files that want to run code or to take memory: typed errors, in a process that could take none.

What each opcode, header and field may be is tested in tests/models; here is what a file does to a process.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adversarial.sandbox import Sandbox
from fastconv.importers.weights import read_weights

MiB = 1 << 20


def read_all(path: Path) -> int:
    """Read every array of a file; return their bytes."""
    return sum(array.nbytes for array in dict(read_weights(path)).values())


# -- pickles -----------------------------------------------------------------------------------------------


class Runs:
    """What a pickle is that runs a command when it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def pth(program: bytes, *, legacy: bool = False) -> bytes:
    """Return a .pth with a pickle of these opcodes."""
    if legacy:
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        return b"".join(pickle.dumps(part, 2) for part in parts) + program + pickle.dumps([], 2)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", program)
    return file.getvalue()


def long4(size: int, held: int) -> bytes:
    return b"\x80\x02\x8b" + struct.pack("<i", size) + b"\x01" * held + b"."


def laughs(levels: int) -> bytes:
    """A tuple of two of the last, 2^levels of the first, each by reference."""
    body = b")q\x00"
    for _ in range(levels):
        body += b"h\x00h\x00\x86q\x00"
    return b"\x80\x02" + body + b"."


def keyed_by(value: bytes) -> bytes:
    return b"\x80\x02}" + value + b"Ns."


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda mark: pickle.dumps({"w": Runs(__import__("os").system, f"touch {mark}")}, 2),
    "exec": lambda mark: pickle.dumps({"w": Runs(exec, f"open({str(mark)!r}, 'w')")}, 4),
    "open": lambda mark: pickle.dumps({"w": Runs(open, str(mark), "w")}, 2),
    "subprocess": lambda mark: pickle.dumps(
        {"w": Runs(__import__("subprocess").call, ["touch", str(mark)])}, 2
    ),
    "numpy.load with pickles": lambda _: pickle.dumps({"w": Runs(np.load, "x", None, True)}, 2),
    "protocol 0": lambda mark: b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.",
    "a number of 2^31 - 1 bytes": lambda _: long4((1 << 31) - 1, 8),
    "a number of -1 bytes": lambda _: long4(-1, 8),
    "a number of 3 MB": lambda _: long4(3 * MiB, 3 * MiB),
    "a number of 3 MB as a key": lambda _: keyed_by(long4(3 * MiB, 3 * MiB)[2:-1]),
    "tuples of tuples": lambda _: laughs(5000),
    "a tuple of tuples as a key": lambda _: keyed_by(laughs(60)[2:-1]),
    "2 million lists": lambda _: b"\x80\x02(" + b"]" * (2 << 20) + b"t.",
    "2 million lists in lists": lambda _: b"\x80\x02" + b"]" * (2 << 20) + b"a" * ((2 << 20) - 1) + b".",
    "2 million dicts": lambda _: b"\x80\x02(" + b"}" * (2 << 20) + b"t.",
    "50 MB of lists": lambda _: b"\x80\x02(" + b"]" * (50 << 20) + b"t.",
    "a million marks": lambda _: b"\x80\x02" + b"(" * MiB + b".",
    "memos without end": lambda _: b"\x80\x02N" + b"".join(
        b"r" + struct.pack("<I", i << 12) for i in range(500_000)
    ) + b".",
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", PICKLES)
def test_pickles(name: str, legacy: bool, sandbox: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "weights.pth"
    path.write_bytes(pth(PICKLES[name](mark), legacy=legacy))
    outcome = sandbox.run(read_all, path, memory=1 << 30, seconds=120)
    assert outcome.error == "ModelError", outcome
    assert outcome.message.startswith(str(path)[:40])
    assert outcome.seconds < 30  # the longest pickle that is read takes 3
    assert outcome.peak_bytes < 400 * MiB  # and is 2 million of the dearest objects
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["os.system", "exec", "open"])
def test_the_pickles_are_real(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.run(pickle.loads, PICKLES[name](tmp_path / "mark"))
    assert (tmp_path / "mark").exists()


# -- keys that cannot be hashed in any time ---------------------------------------------------------------


def old_file(state: bytes, keys: bytes) -> bytes:
    """Return a .pth of before torch 1.6 with these pickles of what it holds and of its storages' names."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return (
        b"".join(pickle.dumps(part, 2) for part in parts) + b"\x80\x02" + state + b".\x80\x02" + keys + b"."
    )


NESTED = laughs(60)[2:-1]
SAME_HASH = b"".join(pickle.dumps(i * (2**61 - 1), 2)[2:-1] + b"N" for i in range(1, 60_000))
KEYS = {
    "names of storages": old_file(b"}", b"](" + NESTED + b"e"),
    "numbers of one hash": old_file(b"}(" + SAME_HASH + b"u", b"]"),
    "keys of an OrderedDict": old_file(b"ccollections\nOrderedDict\n(](](" + NESTED + b"NeetR", b"]"),
}


@pytest.mark.parametrize("name", KEYS)
def test_nothing_is_hashed_before_its_type_is_known(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(KEYS[name])
    outcome = sandbox.run(read_weights, path, memory=1 << 30, seconds=20)
    assert outcome.error == "ModelError", outcome
    assert outcome.seconds < 10


# -- archives ---------------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], held: int, dtype: str = "<f4") -> bytes:
    """Return an array's file with a header of any truth."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(held)


def npz(*members: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for i, member in enumerate(members):
            archive.writestr(f"a{i}.npy", member)
    return file.getvalue()


def overlapping(count: int) -> bytes:
    """Members that are all one and the same megabyte of the file."""
    member = npy((1 << 18,), MiB)
    packed = zlib.compress(member, 9, -15)
    sizes = zlib.crc32(member), len(packed), len(member)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes, 1, 0)
    entries = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes,
            len(name := f"a{i}.npy".encode()), 0, 0, 0, 0, 0, 0,
        )
        + name
        for i in range(count)
    )  # fmt: skip
    data = local + b"a" + packed
    return data + entries + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(data), 0)


def zeros(nbytes: int) -> bytes:
    return npz(npy((nbytes // 4,), nbytes))


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "500 MB of zeros in 500 KB": lambda: zeros(500 * MiB),
    "300 MB of zeros as 16-bit numbers": lambda: npz(npy((150 * MiB,), 300 * MiB, "<f2")),
    "1000 members in one place": lambda: overlapping(1000),
    "a shape of 32 GiB": lambda: npz(npy((1 << 33,), 16)),
    "a shape that overflows": lambda: npz(npy((1 << 62, 4), 16)),
    "a shape that overflows to the right size": lambda: npz(npy((1 << 62, 4, 4), 0)),
    "a shape of 2^62 times 0": lambda: npz(npy((1 << 62, 0, 1 << 62), 0)),
    "a negative dimension": lambda: npz(npy((-4, -1), 16)),
    "objects": lambda: npz(npy((2,), 16, "|O")),
    "strings": lambda: npz(npy((2,), 16, "<U2")),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(ARCHIVES[name]())
    outcome = sandbox.run(read_all, path, memory=1 << 30)
    if name == "a shape of 2^62 times 0" and not outcome.error:
        assert outcome.value == 0  # numpy may have such a shape
    else:
        assert outcome.error == "ModelError", outcome
    assert outcome.seconds < 5
    assert outcome.peak_bytes < 64 * MiB


def safetensors(header: object, held: int = 0, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(held)


def entry(shape: list[int], *offsets: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "a header of 2^40 bytes": lambda: safetensors({"w": entry([1], 0, 4)}, 4, 1 << 40),
    "a header of 2^63 bytes": lambda: safetensors({"w": entry([1], 0, 4)}, 4, 1 << 63),
    "8 GiB in a file of 4 bytes": lambda: safetensors({"w": entry([1 << 31], 0, 1 << 33)}, 4),
    "a shape that overflows": lambda: safetensors({"w": entry([1 << 62, 4], 0, 4)}, 4),
    "offsets that overlap": lambda: safetensors({"w": entry([2], 0, 8), "v": entry([2], 4, 12)}, 12),
    "offsets with a hole": lambda: safetensors({"w": entry([1], 0, 4), "v": entry([1], 8, 12)}, 12),
    "offsets backwards": lambda: safetensors({"w": entry([1], 8, 4)}, 12),
    "an unknown type": lambda: safetensors({"w": entry([1], 0, 4, dtype="F33")}, 4),
    "JSON of 100,000 brackets": lambda: safetensors([], 4, 200_000) + b"[" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(SAFETENSORS[name]())
    outcome = sandbox.run(read_all, path, memory=1 << 30)
    assert outcome.error == "ModelError", outcome
    assert outcome.peak_bytes < 64 * MiB
