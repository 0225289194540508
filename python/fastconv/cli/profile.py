"""``fastconv profile``: each layer of a network against the machine's measured roofline.

A line for each layer:
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
from fastconv.cli import arguments, network, output
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.graph.model import Model

SECONDS = 2.0  # for how long a network runs, unless it is said


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "profile", help="hold each layer of a network against the machine's roofline", description=__doc__
    )
    parser.add_argument("--zoo", action="store_true", help="count classic networks beside published figures")
    add_model_arguments(parser, nargs="?")
    parser.add_argument("--count", action="store_true", help="count only, time nothing")
    parser.add_argument(
        "--sort", choices=("order", "lost", "time"), help="order of the lines (default: order)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the layers under the roofs")
    parser.add_argument("--plot-losses", type=Path, metavar="FILE", help="draw the layers that lose most")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE.json",
        help="write the steps and threads of some runs for chrome://tracing or ui.perfetto.dev",
    )  # fmt: skip
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def add_model_arguments(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add what says which network is run, and how."""
    network.add_model(parser, nargs)
    network.add_shapes(parser)
    parser.add_argument("--threads", type=arguments.positive_int, help="default: all")
    parser.add_argument("--seconds", type=arguments.positive_float, help="for how long to run (default: 2)")


def run(args: argparse.Namespace) -> int:
    """Count, time and print."""
    if args.zoo == (args.model is not None):
        raise ArgumentError("MODEL: expected a model or --zoo, got " + ("both" if args.zoo else "neither"))
    timing = ("threads", "seconds", "sort", "plot", "plot_losses", "trace")
    if args.zoo:
        arguments.refuse_beside(args, "--zoo", "architecture", "input_shape", "batch", *timing)
        return _zoo(args)
    if args.count:
        arguments.refuse_beside(args, "--count", *timing)
    output.check_picture("--plot", args.plot)
    output.check_picture("--plot-losses", args.plot_losses)
    output.check_path("--trace", args.trace, (".json",))
    from fastconv.lab.draw.canvas import save
    from fastconv.lab.draw.layers import plot_losses, plot_profile
    from fastconv.lab.machine.setting import made_with
    from fastconv.lab.profile import count, profile, trace

    model, shapes = load(args)
    if args.count:
        untimed = count(model, *shapes)
        if not output.emit(args, untimed.as_dict(), untimed.rows()):
            output.line(str(untimed))
        return 0
    found = profile(model, *shapes, threads=args.threads, seconds=args.seconds or SECONDS)
    if args.trace:
        events = trace(model, *shapes, threads=args.threads)
        args.trace.write_text(output.as_json(events, indent=0), "utf-8")
    if args.plot:
        save(plot_profile(found), args.plot, "--plot")
    if args.plot_losses:
        save(plot_losses(found), args.plot_losses, "--plot-losses")
    if output.emit(args, {**found.as_dict(), **made_with()}, found.rows()):
        return 0
    key = {"order": None, "lost": "lost_ms", "time": "ms"}[args.sort or "order"]
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
    from fastconv.models.source import shapes_for

    source = network.find(args)
    model = source.model()
    return model, shapes_for(source, model, args.input_shape, args.batch)


def _zoo(args: argparse.Namespace) -> int:
    from fastconv.lab.profile import PUBLISHED, zoo

    records = []
    plain = not (args.json or args.csv or args.markdown)
    table = Table(
        *(("network", "<18"), ("params", ">11"), ("published", ">9"), ("MACs", ">14"), ("published", ">9")),
        *(("MB", ">5"), ("bytes moved", ">11")),
    )
    if plain:
        output.line(table.head())
    for name, found, published in zoo():
        t = found.totals
        records.append(
            {"name": name, **t, "published_params": published.params and published.params * 1e6,
             "published_macs": published.gmacs * 1e9, "source": published.source}
        )  # fmt: skip
        if plain:
            params = "" if published.params is None else f"{published.params:.2f} M"
            macs, size = f"{published.gmacs:.3f} G", f"{t['param_bytes'] / 1e6:.1f}"
            cells = (name, f"{t['params']:,}", params, f"{t['macs']:,}", macs, size, f"{t['bytes']:,}")
            output.line(table.line(cells))
    if output.emit(args, records, records):
        return 0
    for source in dict.fromkeys(p.source for p in PUBLISHED.values()):
        names = [r["name"] for r in records if r["source"] == source]
        if names:
            output.line(f"published: {', '.join(names)}: {source}")
    return 0
