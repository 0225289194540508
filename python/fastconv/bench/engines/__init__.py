"""What is compared: a table of engines, and for each a module ``<name>_engine`` that prepares cases.

A variant is an engine in one of its modes, ``"torch/channels_last"``, or ``"numpy"`` where there is nothing
to choose. Every variant runs in a process of its own (:mod:`fastconv.bench.worker`), which alone imports the
engine's package.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastconv.bench.cases import Case, Prepared
from fastconv.errors import ArgumentError


@dataclass(frozen=True)
class Engine:
    """An engine's package and, by kind of case, the modes that are worth timing.

    `pool_modes` take their place with more than one thread.
    """

    package: str
    modes: Mapping[str, tuple[str, ...]]
    pool_modes: tuple[str, ...] = field(default=())


ENGINES = {
    "fastconv": Engine("fastconv", {"gemm": ("",), "conv": ("prepacked", "function"), "model": ("",)}),
    "numpy": Engine("numpy", {"gemm": ("",)}),
    "torch": Engine(
        "torch",
        {"gemm": ("",), "conv": ("nchw", "channels_last"), "model": ("channels_last", "jit_frozen")},
    ),
    "ort": Engine(
        "onnxruntime", {"gemm": ("",), "conv": ("",), "model": ("",)}, pool_modes=("spin", "sleep")
    ),
}
PEERS = tuple(name for name in ENGINES if name != "fastconv")


def installed_peers(names: Iterable[str] | None = None) -> list[str]:
    """Return the peers to compare with.

    Parameters
    ----------
    names : iterable of str, optional
        Peers that must be there; whichever are installed when omitted.

    Returns
    -------
    list of str
        Names of engines.

    Raises
    ------
    ArgumentError
        If a name is unknown or its package is not installed.
    """

    def is_installed(peer: str) -> bool:
        return importlib.util.find_spec(ENGINES[peer].package) is not None

    if names is None:
        return [peer for peer in PEERS if is_installed(peer)]
    chosen = list(names)
    for peer in chosen:
        if peer not in PEERS:
            raise ArgumentError(f"peers: expected some of {', '.join(PEERS)}, got {peer!r}")
        if not is_installed(peer):
            raise ArgumentError(f"peers: {peer} needs the package {ENGINES[peer].package}, not installed")
    return chosen


def variants(kind: str, threads: int, engines: Iterable[str]) -> list[str]:
    """List the variants of the engines that can run a kind of case.

    >>> variants("gemm", 1, ["fastconv", "numpy"])
    ['fastconv', 'numpy']
    """
    names = []
    for engine in engines:
        modes = ENGINES[engine].modes.get(kind, ())
        if threads > 1:
            modes = ENGINES[engine].pool_modes or modes
        names += [f"{engine}/{mode}" if mode else engine for mode in modes]
    return names


def prepare(variant: str, case: Case, threads: int) -> Prepared:
    """Make a case ready to run on a variant, in this process."""
    engine, _, mode = variant.partition("/")
    module = importlib.import_module(f"fastconv.bench.engines.{engine}_engine")
    prepared: Prepared = module.prepare(case, mode, threads)
    return prepared
