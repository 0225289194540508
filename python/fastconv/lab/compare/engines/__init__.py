"""What is compared: a table of engines, and for each a module ``<name>_engine`` that prepares cases.

A variant is an engine in one of its modes, ``"torch/channels_last"``, or ``"numpy"`` where there is nothing
to choose. Every variant runs in a process of its own (:mod:`fastconv.lab.compare.worker`), which alone
imports the engine's package.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case, Prepared


@dataclass(frozen=True)
class Engine:
    """An engine's package and, by kind of case, the modes that are worth timing.

    With more than one thread, each mode runs once for each of `pools`. `isa` is the environment that caps its
    instructions at AVX2, None where nothing does (ONNX Runtime reads no such variable). One that is not
    `countable` multiplies less than the direct method does, nobody knows how much: no roof holds for it.
    """

    package: str
    modes: Mapping[str, tuple[str, ...]]
    pools: tuple[str, ...] = ("",)
    isa: Mapping[str, str] | None = None
    countable: bool = True
    int8: bool = False  # whether it runs networks in QDQ form


_ONEDNN = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
_TORCH_MODES = ("nchw", "channels_last", "jit")
ENGINES = {
    "fastconv": Engine(
        "fastconv",
        {
            "gemm": ("",),
            "conv": ("prepacked", "functional"),
            "model": ("",),
            "xnor": ("xnor", "implicit", "winograd_f4", "int8"),
        },
        isa={"FASTCONV_ISA": "avx2"},
    ),
    "numpy": Engine("numpy", {"gemm": ("",)}, isa={"OPENBLAS_CORETYPE": "Haswell"}),
    "torch": Engine(
        "torch",
        {"gemm": ("",), "conv": _TORCH_MODES, "model": _TORCH_MODES, "xnor": ("channels_last",)},
        isa={**_ONEDNN, "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    ),
    "ort": Engine(
        "onnxruntime",
        {"gemm": ("packed",), "conv": ("",), "model": ("",)},
        pools=("spin", "sleep"),
        int8=True,
    ),
    "openvino": Engine("openvino", {"conv": ("",), "model": ("",)}, isa=_ONEDNN, int8=True),
    "ncnn": Engine("ncnn", {"model": ("",)}, countable=False),
    "mnn": Engine("MNN", {"model": ("",)}, countable=False),
}


def engine_of(variant: str) -> Engine:
    """Return the engine of a variant."""
    return ENGINES[variant.partition("/")[0]]


@dataclass(frozen=True)
class Contest:
    """One of our variants and the peers, engines or single variants, that do the same job."""

    name: str
    ours: str
    peers: tuple[str, ...]

    def includes(self, variant: str) -> bool:
        """Whether a variant is one of the peers."""
        return any(variant == peer or variant.startswith(f"{peer}/") for peer in self.peers)


# The first of a kind is the one that the targets are about.
CONTESTS = {
    "gemm": (
        Contest("plain", "fastconv", ("numpy", "torch")),
        Contest("B packed by the peer", "fastconv", ("ort",)),
    ),
    "conv": (
        Contest("prepacked", "fastconv/prepacked", ("torch", "ort", "openvino")),
        Contest("functional", "fastconv/functional", ("torch/nchw",)),
    ),
    "xnor": (
        Contest("f32 direct", "fastconv/xnor", ("fastconv/implicit",)),
        Contest("f32 Winograd", "fastconv/xnor", ("fastconv/winograd_f4",)),
        Contest("8 bits", "fastconv/xnor", ("fastconv/int8",)),
        Contest("torch", "fastconv/xnor", ("torch",)),
    ),
    "model": (Contest("network", "fastconv", ("torch", "ort", "openvino", "ncnn", "mnn")),),
}
PEERS = tuple(name for name in ENGINES if name != "fastconv")


def reading_int8(peers: Iterable[str]) -> list[str]:
    """Return those of some peers that run networks in QDQ form.

    >>> reading_int8(["torch", "ort"])
    ['ort']
    """
    return [peer for peer in peers if ENGINES[peer].int8]


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


def missing_peers() -> list[str]:
    """Return the peers whose package is not installed."""
    return [peer for peer in PEERS if peer not in installed_peers()]


def capped(peers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split peers into those that can be capped at AVX2 and those that cannot."""
    peers = list(peers)
    can = [peer for peer in peers if ENGINES[peer].isa is not None]
    return can, [peer for peer in peers if peer not in can]


def variants(kind: str, threads: int, engines: Iterable[str]) -> list[str]:
    """List the variants of the engines that can run a kind of case.

    >>> variants("gemm", 1, ["fastconv", "numpy"])
    ['fastconv', 'numpy']
    """
    names = []
    for engine in engines:
        pools = ENGINES[engine].pools if threads > 1 else ("",)
        for mode in ENGINES[engine].modes.get(kind, ()):
            modes = ("_".join(filter(None, (mode, pool))) for pool in pools)
            names += [f"{engine}/{mode}" if mode else engine for mode in modes]
    return names


# Settings of the peers that a shell may carry. OPENBLAS_CORETYPE=Haswell, which some container images set,
# halves numpy's speed where there is AVX-512 (1024^3: 134 GFLOP/s for 261), and flatters every ratio.
_FOREIGN = ("OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_CPU_CAPABILITY")


def environment(
    variant: str, threads: int, isa: str | None, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of a variant's process: the inherited one, but for the peers' settings.

    >>> environment("numpy", 2, None, {"OPENBLAS_CORETYPE": "Haswell", "HOME": "/"})["OPENBLAS_NUM_THREADS"]
    '2'
    >>> "OPENBLAS_CORETYPE" in environment("numpy", 2, None, {"OPENBLAS_CORETYPE": "Haswell"})
    False
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith(_FOREIGN)}
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
    cap = engine_of(variant).isa if isa else None
    return {**kept, **dict.fromkeys(pools, str(threads)), **(cap or {})}


def prepare(variant: str, case: Case, threads: int) -> Prepared:
    """Make a case ready to run on a variant, in this process."""
    engine, _, mode = variant.partition("/")
    module = importlib.import_module(f"fastconv.lab.compare.engines.{engine}_engine")
    prepared: Prepared = module.prepare(case, mode, threads)
    return prepared
