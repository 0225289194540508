"""``fastconv info``: processor, tiers, caches, threads, build, and with ``--peak`` the FMA peak."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastconv._text import counted
from fastconv.cli import output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "info", help="show processor, tiers, caches, threads, build", description=__doc__
    )
    parser.add_argument("--peak", action="store_true", help="measure the fp32 FMA peak too")
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the configuration."""
    import fastconv

    config = fastconv.show_config("dict")
    peak = None
    if args.peak:
        from fastconv.lab.machine import machine_peak

        peak = machine_peak()
    record = config | ({"peak": asdict(peak)} if peak else {})
    if output.emit(args, record, [{"name": name, "value": value} for name, value in _flat("", record)]):
        return 0
    fastconv.show_config()
    if peak:
        output.line(f"{'peak:':10}{peak.gflops:.1f} GFLOP/s ({peak.tier}, {counted(peak.threads, 'thread')})")
    return 0


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a record holds, at any depth, by names with dots."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", " ".join(map(str, value)) if isinstance(value, list | tuple) else value
