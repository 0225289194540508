"""``fastconv run``: run a network once and say, or save, what comes out; then time it.

Inputs are .npy files, or random numbers where none is given. Times are of single calls, one after the other:
the fastest, the median, what 95 and 99 of 100 calls do not exceed, and the images per second of the median
call. ``fastconv bench model MODEL`` times it beside other engines.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._arguments import PRECISIONS
from fastconv._files import open_plain
from fastconv._table import Table
from fastconv._text import counted
from fastconv.cli import arguments, network, output
from fastconv.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from fastconv.graph.model import Model
    from fastconv.models.source import NetworkSource
    from fastconv.timing import CallTimes


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("run", help="run a network, and time it", description=__doc__)
    network.add_model(parser)
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE.npy",
        help="an input of the model (default: random numbers)",
    )  # fmt: skip
    network.add_shapes(parser)
    parser.add_argument("--threads", type=arguments.positive_int, help="default: all")
    parser.add_argument("--precision", choices=PRECISIONS, help="as of fastconv.load (default: fast)")
    parser.add_argument(
        "--warmup", type=arguments.positive_int, default=3, help="untimed runs before (default: 3)"
    )
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=1.0, help="how long to time it (default: 1)"
    )
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="save each output as DIR/NAME.npy")
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def read_inputs(arguments: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of ``NAME=FILE.npy`` arguments."""
    import numpy as np

    feeds: dict[str, npt.NDArray[Any]] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not (name and equals and file):
            raise ArgumentError(f"--input: expected NAME=FILE.npy, got {argument!r}")
        if name in feeds:
            raise ArgumentError(f"--input {name}: expected one file, got two")
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


def with_random(
    args: argparse.Namespace, source: NetworkSource, model: Model, feeds: dict[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Return arrays for all inputs: random ones for those that no file was given for."""
    from fastconv.lab.profile import random_input
    from fastconv.models.source import shapes_for

    names = [info.name for info in model.inputs]
    unknown = sorted(set(feeds) - set(names) - {info.name for info in model.source_graph().defaults})
    if unknown:
        raise ArgumentError(f"--input: expected inputs among {names}, got {unknown}")
    if not set(names) - set(feeds):
        arguments.refuse_beside(args, "--input for all inputs", "input_shape", "batch")
        return feeds
    shapes = shapes_for(source, model, args.input_shape, args.batch)
    if len(shapes) != len(names):
        raise ArgumentError(f"--input-shape: expected {len(names)}, one for each input, got {len(shapes)}")
    drawn = {info.name: random_input(info, s) for info, s in zip(model.inputs, shapes, strict=True)}
    return drawn | feeds


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
    """Run the model, time it, and say what comes out."""
    import fastconv
    from fastconv.timing import time_calls

    if args.output_dir is not None and not args.output_dir.is_dir():
        raise ArgumentError(f"--output-dir: expected a directory, got {str(args.output_dir)!r}")
    feeds = read_inputs(args.input)
    source = network.find(args)
    model = source.model(precision=args.precision, threads=args.threads)
    feeds = with_random(args, source, model, feeds)
    results = dict(zip((o.name for o in model.outputs), model.run(None, feeds), strict=True))
    times = time_calls(lambda: model.run(None, feeds), args.seconds, args.warmup)
    first = next(iter(feeds.values()))
    record = {
        "model": args.model,
        "threads": args.threads or fastconv.get_num_threads(),
        "inputs": {name: list(x.shape) for name, x in feeds.items()},
        "random_inputs": sorted(set(feeds) - {given.partition("=")[0] for given in args.input}),
        "random_weights": source.random,
        **latencies(times, first.shape[0] if first.ndim else 1),
        "outputs": described(results, args.output_dir),
    }
    flat = {key: value for key, value in record.items() if not isinstance(value, dict | list)}
    if not output.emit(args, record, [flat]):
        _print(args, source, record)
    return 0


def latencies(times: CallTimes, images: int) -> dict[str, Any]:
    """Return the figures of timed calls, each on so many images."""
    return {
        "calls": times.calls,
        "milliseconds": 1e3 * times.min,
        "median_ms": 1e3 * times.median,
        "p95_ms": 1e3 * times.percentile(0.95),
        "p99_ms": 1e3 * times.percentile(0.99),
        "images": images,
        "images_per_second": images / times.median,
    }


def described(results: dict[str, npt.NDArray[Any]], folder: Path | None) -> list[dict[str, Any]]:
    """Describe each output, and save it where there is a folder for it."""
    import numpy as np

    entries = []
    for file_name, (name, y) in zip(file_names(list(results)), results.items(), strict=True):
        entry: dict[str, Any] = {"name": name, "shape": list(y.shape), "dtype": str(y.dtype)}
        if y.size and y.dtype.kind in "biufV":
            with np.errstate(all="ignore"):  # infinities and NaN are values
                wide = y.astype(np.float64)
                entry |= {"min": float(wide.min()), "max": float(wide.max()), "mean": float(wide.mean())}
        if folder is not None:
            file = folder / file_name
            np.save(file, y)
            entry["file"] = str(file)
        entries.append(entry)
    return entries


def _print(args: argparse.Namespace, source: NetworkSource, record: dict[str, Any]) -> None:
    shapes = ", ".join(f"{name} {_by(shape)}" for name, shape in record["inputs"].items())
    drawn = f" (random: {', '.join(record['random_inputs'])})" if record["random_inputs"] else ""
    threads = counted(record["threads"], "thread")
    output.line(f"{network.described(args, source)}: {shapes}{drawn}, {threads}, {record['calls']} runs")
    table = Table(*((head, ">") for head in ("min ms", "median", "p95", "p99", "image/s")))
    milliseconds = (record[key] for key in ("milliseconds", "median_ms", "p95_ms", "p99_ms"))
    for text in table.lines([(*(f"{ms:.3f}" for ms in milliseconds), f"{record['images_per_second']:.1f}")]):
        output.line(text)
    for entry in record["outputs"]:
        values = (
            f"min {entry['min']:.6g}  max {entry['max']:.6g}  mean {entry['mean']:.6g}"
            if "min" in entry
            else ""
        )
        saved = f"  -> {entry['file']}" if "file" in entry else ""
        output.line(f"  {entry['name']}  {_by(entry['shape'])} {entry['dtype']}  {values}{saved}")


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
