"""Fuzzing of the importers guided by coverage: ``PYTHONPATH=tests python -m adversarial.coverage onnx``.

``atheris`` (libFuzzer for Python) changes files so that they reach other lines of the importers. A file may
be refused with one of our errors, or be loaded and run; whatever else it does stops the fuzzer, which keeps
the file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

MAX_BYTES = 16 << 20  # what a file may ask for
MEGABYTES = 3000  # resident memory at which libFuzzer stops
SECONDS = 20  # for one file


def seeds_onnx() -> list[bytes]:
    """Return parts of whole networks."""
    from adversarial.mutants import parts

    return [part for part in parts() if len(part) < 4096][::5]


def seeds_fcm() -> list[bytes]:
    """Return such parts as compiled models."""
    import fastconv
    from fastconv.errors import FastconvError

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.fcm"
        for part in seeds_onnx()[::4]:
            try:
                fastconv.load(part).save(path, packed=True)
            except FastconvError:
                continue
            if path.stat().st_size < 1 << 16:
                found.append(path.read_bytes())
    return found


def seeds_fcz() -> list[bytes]:
    """Return models whose weights are coded, dense and with gaps."""
    import numpy as np

    from fastconv.graph.ir import GraphBuilder
    from fastconv.graph.model import Model

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.fcz"
        for modulus in (5, 50):
            w = np.float32(np.arange(1024) % modulus == 0) * np.float32(np.arange(1024) % 7)
            b = GraphBuilder("coded", {"w": w.reshape(32, 32, 1, 1)})
            b.output(b.add("Conv", b.input("x", (1, 32, 2, 2)), "w"), "y", (1, 32, 2, 2))
            Model(b.build()).save(path, packed=True)
            found.append(path.read_bytes())
    return found


def seeds_npz() -> list[bytes]:
    """Return archives, stored and deflated."""
    import numpy as np

    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, a=np.ones((2, 3), np.float32), b=np.zeros((0, 4), np.int64), c=np.float16(1))
        found.append(file.getvalue())
    return found


def seeds_safetensors() -> list[bytes]:
    """Return files of arrays of several types."""
    import numpy as np
    from safetensors.numpy import save

    return [
        save({"a": np.ones((2, 3), np.float32), "b": np.zeros((0,), np.int8), "c": np.ones(2, np.float16)})
    ]


def seeds_pth() -> list[bytes]:
    """Return a state dict of one tensor, in a zip and as pickles in a row, as torch wrote it before 1.6."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89"
        b"ccollections\nOrderedDict\n)RtR"
    )
    program = b"\x80\x02}q\x00X\x01\x00\x00\x00w" + tensor + b"s."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", bytes(24))
        archive.writestr("x/byteorder", "little")
    before = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    pickles = [*(pickle.dumps(part, 2) for part in before), program, pickle.dumps(["0"], 2)]
    return [file.getvalue(), b"".join(pickles) + struct.pack("<q", 6) + bytes(24)]


def try_model(data: bytes) -> None:
    """Load a model and run it."""
    from adversarial.run import load_and_run

    load_and_run(data, MAX_BYTES)


def try_compiled(data: bytes) -> None:
    """Load a compiled model whose header has the hash that it should have, and run it."""
    from fastconv.graph.save import MAGIC, PREFIX, START, prefix_of

    if len(data) >= START and data[: len(MAGIC)] == MAGIC:
        size = PREFIX.unpack_from(data)[2] % (len(data) - START + 1)
        data = prefix_of(data[START : START + size], len(data)) + data[START:]
    try_model(data)


def try_coded(data: bytes) -> None:
    """Do so with a model whose arrays have the hashes that they should have too."""
    import json

    from fastconv.graph.save import PAGE, PREFIX, START, content_hash, prefix_of, round_up

    try:
        size = PREFIX.unpack_from(data)[2]
        header = json.loads(data[START : START + size])
        start = round_up(START + size, PAGE)
        for entry in header["arrays"]:
            if "coded" in entry:
                begin = start + entry["offset"]
                entry["hash"] = content_hash(data[begin : begin + entry["coded"][2]]).hex()
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) == size:
            data = prefix_of(text, len(data)) + text + data[START + size :]
    except (ValueError, TypeError, LookupError, RecursionError, struct.error):
        pass
    try_compiled(data)


def try_weights(data: bytes) -> None:
    """Read every array of a file."""
    from fastconv.importers.weights import read_weights

    dict(read_weights(data, max_bytes=MAX_BYTES))


#: By format: files to begin with, and what is done with one.
FORMATS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes], None]]] = {
    "onnx": (seeds_onnx, try_model),
    "fcm": (seeds_fcm, try_compiled),
    "fcz": (seeds_fcz, try_coded),
    "npz": (seeds_npz, try_weights),
    "pth": (seeds_pth, try_weights),
    "safetensors": (seeds_safetensors, try_weights),
}


def try_file(format: str, data: bytes) -> None:
    """Do with a file what is done with its format; whatever is raised but our errors is a fault."""
    from fastconv.errors import FastconvError

    with contextlib.suppress(FastconvError):
        FORMATS[format][1](data)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 unless a file did what none may do."""
    parser = argparse.ArgumentParser(prog="python -m adversarial.coverage", description=__doc__)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0: another each time)")
    parser.add_argument(
        "--corpus", type=Path, metavar="FOLDER", help="keep the files that reach new lines here"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path(), metavar="FOLDER", help="write what failed here (.)"
    )
    options = parser.parse_args(arguments)
    try:
        import atheris
    except ImportError:
        from fastconv.errors import MissingPackageError

        raise MissingPackageError("fuzzing needs the package atheris: pip install atheris") from None

    with atheris.instrument_imports(include=["fastconv"]):
        import fastconv.importers.weights  # noqa: F401

    seeds = FORMATS[options.format][0]()
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder)
        corpus.mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(seeds):
            (corpus / f"seed-{i}").write_bytes(data)
        command = [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={options.seconds}",
            f"-seed={options.seed}",
            f"-timeout={SECONDS}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-artifact_prefix={options.keep}{os.sep}{options.format}-",
            "-len_control=0",
            "-max_len=65536",
        ]
        child = os.fork()  # libFuzzer ends its process, which leaves the folder to this one
        if child == 0:
            atheris.Setup(command, lambda data: try_file(options.format, data))
            atheris.Fuzz()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
