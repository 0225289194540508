"""``fastconv run``: run a model on arrays from .npy files and save, or describe, what comes out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._files import open_plain
from fastconv.cli import arguments, output
from fastconv.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import numpy.typing as npt


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("run", help="run a model on .npy arrays", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="an .onnx or .fcm file")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="one for each input of the model",
    )
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="save each output as DIR/NAME.npy")
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=0.3, help="how long to time it (default: 0.3)"
    )
    output.add_json_flag(parser)
    parser.set_defaults(run=run, extra="onnx")


def read_inputs(arguments: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of ``NAME=FILE.npy`` arguments."""
    import numpy as np

    feeds = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not (name and equals and file):
            raise ArgumentError(f"--input: expected NAME=FILE.npy, got {argument!r}")
        try:
            with open_plain(Path(file)) as stream:
                feeds[name] = np.load(stream, allow_pickle=False)
        except (OSError, ModelError):  # which name the file
            raise
        except (
            Exception
        ) as error:  # numpy's parser of headers is Python's: SyntaxError, MemoryError and others
            reason = str(error) or type(error).__name__
            raise ArgumentError(f"--input {name}: expected an array in {file}: {reason:.200}") from None
        if not isinstance(feeds[name], np.ndarray):
            raise ArgumentError(f"--input {name}: expected one array in {file}, got an archive of them")
    return feeds


def file_names(names: Sequence[str]) -> list[str]:
    """Return the name of a file for each output: what no file's name may hold replaced, each another.

    >>> file_names(["a/b", "a_b", "logits"])
    ['a_b.npy', 'a_b_2.npy', 'logits.npy']
    """
    taken: set[str] = set()
    files = []
    for name in names:
        plain = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
        plain = plain.encode("utf-8", "replace")[:200].decode("utf-8", "ignore") or "output"
        file, count = plain, 1
        while file.lower() in taken:  # some file systems tell no case
            count += 1
            file = f"{plain}_{count}"
        taken.add(file.lower())
        files.append(f"{file}.npy")
    return files


def run(args: argparse.Namespace) -> int:
    """Run the model once."""
    import numpy as np

    import fastconv
    from fastconv.timing import time_calls

    if args.output_dir is not None and not args.output_dir.is_dir():
        raise ArgumentError(f"--output-dir: expected a directory, got {str(args.output_dir)!r}")
    feeds = read_inputs(args.input)
    model = fastconv.load(args.model)
    results = dict(zip((o.name for o in model.outputs), model.run(None, feeds), strict=True))
    milliseconds = 1e3 * time_calls(lambda: model.run(None, feeds), args.seconds).min

    described = []
    for file_name, (name, y) in zip(file_names(list(results)), results.items(), strict=True):
        entry: dict[str, Any] = {"name": name, "shape": list(y.shape), "dtype": str(y.dtype)}
        if y.size and y.dtype.kind in "biufV":
            with np.errstate(all="ignore"):  # infinities and NaN are values
                wide = y.astype(np.float64)
                entry |= {"min": float(wide.min()), "max": float(wide.max()), "mean": float(wide.mean())}
        if args.output_dir is not None:
            file = args.output_dir / file_name
            np.save(file, y)
            entry["file"] = str(file)
        described.append(entry)
    if args.json:
        output.dump({"model": args.model, "milliseconds": milliseconds, "outputs": described})
        return 0
    output.line(f"{args.model}: {milliseconds:.2f} ms")
    for entry in described:
        shape = "x".join(map(str, entry["shape"])) or "scalar"
        values = (
            f"min {entry['min']:.6g}  max {entry['max']:.6g}  mean {entry['mean']:.6g}"
            if "min" in entry
            else ""
        )
        saved = f"  -> {entry['file']}" if "file" in entry else ""
        output.line(f"  {entry['name']}  {shape} {entry['dtype']}  {values}{saved}")
    return 0
