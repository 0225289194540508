"""Malformed models: what their external data must not be."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adversarial.case import Case, floats, net, node
from fastconv.errors import FastconvError, ModelError

WEIGHTS = floats(4, 3, 3, 3)
NBYTES = WEIGHTS.nbytes
W = "initializer 'w': external data: "

Prepare = Callable[[Path], None]


def write(folder: Path, fields: list[tuple[str, str]], name: str = "model.onnx") -> Path:
    """Write a convolution whose weights are external, described by these keys and values."""
    model = net(node("Conv", "x w"), w=WEIGHTS)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in fields:
        tensor.external_data.add(key=key, value=value)
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(model.SerializeToString())
    return path


def data(path: Path) -> None:
    """Write the weights."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(WEIGHTS.tobytes())


def at(location: str, prepare: Prepare = lambda _: None, text: str = "") -> tuple[Any, str]:
    """Return a case whose model lies in ``inner``; a secret beside that folder would do as weights."""

    def build(folder: Path) -> Path:
        data(folder / "secret.bin")
        (folder / "inner").mkdir()
        prepare(folder / "inner")
        return write(folder, [("location", location.format(outside=folder))], "inner/model.onnx")

    return build, text or "relative path"


def link(name: str, target: str) -> Prepare:
    """Make a symbolic link."""

    def prepare(inner: Path) -> None:
        (inner / name).symlink_to(target)

    return prepare


def hard_link(inner: Path) -> None:
    """Make a second name of the secret."""
    os.link(inner.parent / "secret.bin", inner / "w.bin")


def pipe(inner: Path) -> None:
    """Make a pipe, which waits for a writer when it is opened."""
    os.mkfifo(inner / "w.bin")


def device_link(inner: Path) -> None:
    """Make a symbolic link to a device."""
    (inner / "w.bin").symlink_to("/dev/zero")


def listen(inner: Path) -> None:
    """Make a socket."""
    previous = Path.cwd()
    os.chdir(inner)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("w.bin")
    finally:
        os.chdir(previous)


def folder_of_that_name(inner: Path) -> None:
    """Make a folder."""
    (inner / "w.bin").mkdir()


def file_as_folder(inner: Path) -> None:
    """Make a file."""
    data(inner / "sub")


LOCATIONS: Mapping[str, tuple[Any, str]] = {
    "the folder above": at("../secret.bin"),
    "the folder above, later": at("sub/../../secret.bin"),
    "the folder above, behind a dot": at("./../secret.bin"),
    "an absolute path": at("{outside}/secret.bin"),
    "an absolute path with two slashes": at("//{outside}/secret.bin"),
    "a device": at("/dev/zero"),
    "the process's memory": at("/proc/self/mem"),
    "a drive": at("C:\\secret.bin"),
    "a drive without separator": at("C:secret.bin"),
    "a server": at("\\\\server\\share\\secret.bin"),
    "another system's separator": at("..\\secret.bin"),
    "a NUL": at("w.bin\0/../../secret.bin"),
    "nothing": at(""),
    "a dot": at("."),
    "a slash at the end": at("w.bin/", lambda inner: data(inner / "w.bin")),
    "a name of 5000 bytes": at("a" * 5000, text="too long"),
    "dots that are none": at("\uff0e\uff0e/secret.bin", text="No such file"),
    "a file that is not there": at("w.bin", text="No such file"),
    "a symbolic link": at("w.bin", link("w.bin", "../secret.bin"), "symbolic link"),
    "a symbolic link inside": at("w.bin", link("w.bin", "model.onnx"), "symbolic link"),
    "a symbolic link to nothing": at("w.bin", link("w.bin", "nothing"), "symbolic link"),
    "a symbolic link to a device": at("w.bin", device_link, "symbolic link"),
    "a symbolic link to itself": at("w.bin", link("w.bin", "w.bin"), "symbolic link"),
    "a folder that is a symbolic link": at("sub/secret.bin", link("sub", ".."), "symbolic link"),
    "a hard link": at("w.bin", hard_link, "hard link"),
    "a pipe": at("w.bin", pipe, "a pipe"),
    "a socket": at("w.bin", listen, "a socket"),
    "a folder": at("w.bin", folder_of_that_name, "a folder"),
    "a file as a folder": at("sub/w.bin", file_as_folder, "a folder"),
}  # fmt: skip


def given(*fields: tuple[str, str], text: str) -> tuple[Any, str]:
    """Return a case of keys and values, beside the right file."""

    def build(folder: Path) -> Path:
        data(folder / "w.bin")
        return write(folder, [("location", "w.bin"), *fields])

    return build, text


def no_location(folder: Path) -> Path:
    """Say from where, but not of what."""
    data(folder / "w.bin")
    return write(folder, [("offset", "0")])


KEYS: Mapping[str, tuple[Any, str]] = {
    "no location": (no_location, "expected location"),
    "an unknown key": given(("mode", "w"), text="'mode'"),
    "a key that names Python": given(("__class__", "x"), text="'__class__'"),
    "a key twice": given(("location", "../secret.bin"), text="each once"),
    "a negative offset": given(("offset", "-4"), text="offset: expected"),
    "an offset that is no number": given(("offset", "0x10"), text="offset: expected"),
    "an offset of 5000 digits": given(("offset", "9" * 5000), text="offset: expected"),
    "an offset beyond the file": given(("offset", "1000"), text="from offset 1000"),
    "an offset that leaves too little": given(("offset", "4"), text="from offset 4 on, got a file of 432"),
    "an offset that wraps around with the length": given(
        ("offset", str((1 << 63) - NBYTES)), ("length", str(NBYTES)), text="from offset"
    ),
    "an offset of 2^64 - 4": given(("offset", str((1 << 64) - 4)), text="offset: expected"),
    "a negative length": given(("length", "-1"), text="length: expected"),
    "a length of 2^62": given(("length", str(1 << 62)), text="length: expected 432"),
    "a length of 0": given(("length", "0"), text="length: expected 432"),
    "a length of other numbers": given(("length", "\uff14\uff13\uff12"), text="length: expected"),
}  # fmt: skip


def both(folder: Path) -> Path:
    """Have the data in the model and outside of it."""
    import onnx

    data(folder / "w.bin")
    path = write(folder, [("location", "w.bin")])
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].raw_data = WEIGHTS.tobytes()
    path.write_bytes(model.SerializeToString())
    return path


def larger_than_the_file(folder: Path) -> Path:
    """Claim a tensor of 8 GiB in a file of 432 bytes."""
    import onnx

    data(folder / "w.bin")
    path = write(folder, [("location", "w.bin")])
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 31]
    path.write_bytes(model.SerializeToString())
    return path


def overlapping(folder: Path) -> Path:
    """Have 1000 tensors of 1 MiB, each a float behind the other, in a file of 2 MiB."""
    model = net(node("Relu", "x"))
    for i in range(1000):
        tensor = model.graph.initializer.add(name=f"w{i}", data_type=1, dims=[1 << 18], data_location=1)
        tensor.external_data.add(key="location", value="w.bin")
        tensor.external_data.add(key="offset", value=str(4 * i))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    (folder / "w.bin").write_bytes(bytes(2 << 20))
    return path


def in_an_attribute(folder: Path) -> Path:
    """Have a secret as the value of a Constant node."""
    import onnx

    data(folder / "secret.bin")
    tensor = onnx.TensorProto(name="t", data_type=1, dims=WEIGHTS.shape, data_location=1)
    tensor.external_data.add(key="location", value="../secret.bin")
    path = folder / "inner" / "model.onnx"
    path.parent.mkdir()
    nodes = node("Constant", "", "w", value=tensor), node("Conv", "x w", name="conv")
    path.write_bytes(net(*nodes).SerializeToString())
    return path


def file_cases() -> Iterator[Case]:
    """Yield every case of this file."""
    for name, (build, text) in LOCATIONS.items():
        yield Case(f"external data: {name}", build, ModelError, f"{W}location .*{text}")
    for name, (build, text) in KEYS.items():
        yield Case(f"external data: {name}", build, ModelError, f"{W}.*{text}")
    yield Case("external data: data in the file too", both, ModelError, "initializer 'w': expected.*both")
    yield Case("external data: larger than the file", larger_than_the_file, ModelError, f"{W}.*8589934592")
    yield Case("external data: overlapping", overlapping, FastconvError, "initializer 'w1': .*overlap")
    yield Case(
        "external data: of an attribute",
        in_an_attribute,
        ModelError,
        r"node 'suspect' \(Constant\): attribute value: external data: location",
    )
