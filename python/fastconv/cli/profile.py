"""``fastconv profile``: each layer of a network against the machine's measured roofline.

MODEL is an .onnx or .fcm file or the name of an architecture (with random weights). A line for each layer:
the algorithm and its tile, the types of its elements, parameters, MACs, FLOPs, bytes that must move,
intensity; its time, rates, the roof that binds it, the share of that roof, and the milliseconds that a kernel
at the roof would take and that are lost. Layers of 8 bits are held against the peak of such products; of
their weights it says how many pairs would saturate in vpmaddubsw. What is counted how is in docs/lab.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._table import Table
from fastconv._text import counted
from fastconv.cli import arguments, output
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.graph.model import Model


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "profile", help="hold each layer of a network against the machine's roofline", description=__doc__
    )
    parser.add_argument("--zoo", action="store_true", help="count classic networks beside published figures")
    add_model_arguments(parser, nargs="?")
    parser.add_argument("--count", action="store_true", help="count only, time nothing")
    parser.add_argument(
        "--sort",
        choices=("order", "lost", "time"),
        default="order",
        help="order of the lines (default: order)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the layers under the roofs")
    parser.add_argument("--plot-losses", type=Path, metavar="FILE", help="draw the layers that lose most")
    output.add_json_flag(parser)
    parser.set_defaults(run=run, extra="onnx")


def add_model_arguments(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add what says which network is run, and how."""
    parser.add_argument(
        "model", metavar="MODEL", nargs=nargs, help="an .onnx or .fcm file, or a name as in fastconv.models"
    )
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input (default: what the model declares)",
    )  # fmt: skip
    parser.add_argument("--batch", type=arguments.positive_int, help="images at once (default: 1)")
    parser.add_argument("--threads", type=arguments.positive_int, help="default: all")
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=2.0, help="for how long to run (default: 2)"
    )


def run(args: argparse.Namespace) -> int:
    """Count, time and print."""
    if args.zoo == (args.model is not None):
        raise ArgumentError("MODEL: expected a model or --zoo, got " + ("both" if args.zoo else "neither"))
    if args.zoo:
        return _zoo(args)
    from fastconv.lab.draw.canvas import save
    from fastconv.lab.draw.layers import plot_losses, plot_profile
    from fastconv.lab.machine.setting import made_with
    from fastconv.lab.profile import count, profile

    model, shapes = load(args)
    if args.count:
        untimed = count(model, *shapes)
        output.dump(untimed.as_dict()) if args.json else output.line(str(untimed))
        return 0
    found = profile(model, *shapes, threads=args.threads, seconds=args.seconds)
    if args.plot:
        save(plot_profile(found), args.plot, "--plot")
    if args.plot_losses:
        save(plot_losses(found), args.plot_losses, "--plot-losses")
    if args.json:
        output.dump({**found.as_dict(), **made_with()})
        return 0
    key = {"order": None, "lost": "lost_ms", "time": "ms"}[args.sort]
    roof, totals = found.roofline, found.totals
    threads = counted(roof.peak.threads, "thread")
    output.line(f"{found.model} on {roof.cpu}, {roof.peak.tier}, {threads}")
    output.line(f"roofs: {found.roofs}")
    output.line(found.table(found.sorted_by(key) if key else None))
    output.line(
        f"fastest run {totals['run_ms']:.3f} ms, at the roofs {totals['ideal_ms']:.3f} ms; the layers are"
        f" {totals['coverage']:.1%} of a run, profiling costs {totals['overhead']:+.1%}"
        f" ({totals['runs']} runs)"
    )
    output.line(f"memory traffic of a run: {found.moved}")
    for warning in roof.warnings():
        output.line(f"doubtful: {warning}")
    return 0


def load(args: argparse.Namespace) -> tuple[Model, list[tuple[int, ...]]]:
    """Return the model, and the shapes to run it on."""
    import fastconv
    from fastconv.models import MODELS

    if architecture := MODELS.get(args.model):
        model = architecture(architecture.random_weights())
        declared: list[tuple[int, ...]] = [(1, 3, architecture.size, architecture.size)]
    else:
        model = fastconv.load(args.model)
        declared = [tuple(n if isinstance(n, int) else 0 for n in info.shape) for info in model.inputs]
        declared = [(shape[0] or 1, *shape[1:]) if shape else shape for shape in declared]
    shapes = [tuple(shape) for shape in args.input_shape or declared]
    if any(0 in shape for shape in shapes):
        raise ArgumentError(
            f"--input-shape: expected one for each input, as {model!r} leaves sizes open, got none"
        )
    if args.batch is not None:
        shapes = [(args.batch, *shape[1:]) for shape in shapes]
    return model, shapes


def _zoo(args: argparse.Namespace) -> int:
    from fastconv.lab.profile import PUBLISHED, zoo

    records = []
    table = Table(
        *(("network", "<18"), ("params", ">11"), ("published", ">9"), ("MACs", ">14"), ("published", ">9")),
        *(("MB", ">5"), ("bytes moved", ">11")),
    )
    if not args.json:
        output.line(table.head())
    for name, found, published in zoo():
        t = found.totals
        records.append(
            {"name": name, **t, "published_params": published.params and published.params * 1e6,
             "published_macs": published.gmacs * 1e9, "source": published.source}
        )  # fmt: skip
        if not args.json:
            params = "" if published.params is None else f"{published.params:.2f} M"
            macs, size = f"{published.gmacs:.3f} G", f"{t['param_bytes'] / 1e6:.1f}"
            cells = (name, f"{t['params']:,}", params, f"{t['macs']:,}", macs, size, f"{t['bytes']:,}")
            output.line(table.line(cells))
    if args.json:
        output.dump(records)
        return 0
    for source in dict.fromkeys(p.source for p in PUBLISHED.values()):
        names = [r["name"] for r in records if r["source"] == source]
        if names:
            output.line(f"published: {', '.join(names)}: {source}")
    return 0
