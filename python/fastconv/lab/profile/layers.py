"""What is known of each layer of a network: counted for any machine, timed on this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastconv._table import Table
from fastconv.lab.machine import Peak, Roofline, by_arithmetic
from fastconv.lab.profile.counters import CountedTraffic
from fastconv.lab.profile.counting import FLOAT

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerCount:
    """A step of the program: what it is, and its work for the whole batch, as counting.py defines it."""

    name: str  # of the nodes that it came from
    op: str
    algorithm: str
    tile: str
    elements: str  # of what it reads, multiplies by and writes: "u8 x s8 > u8", or "f32"
    input: Shape
    output: Shape
    params: int
    param_bytes: int  # 4 each, or 1 of what is multiplied as 8 bits
    macs: int
    flops: int
    executed_flops: int
    bytes: int
    predicted_bytes: int
    arithmetic: str  # whose peak is a roof for what is executed: a key of lab.machine.MEASURED
    pairs: int  # of neighbouring weights of 8 bits
    saturating_pairs: int  # those whose products may be more than 16 bits hold (weights.py)

    @property
    def first_node(self) -> str:
        """The first of the nodes that it came from, which names it."""
        return self.name.partition(" ")[0]

    @property
    def saturating_share(self) -> float:
        """The share of the pairs whose products may be more than 16 bits hold; 0 where there are no pairs."""
        return self.saturating_pairs / self.pairs if self.pairs else 0.0

    @property
    def intensity(self) -> float:
        """FLOPs for each byte that must move."""
        return self.flops / self.bytes


@dataclass(frozen=True)
class LayerProfile(LayerCount):
    """A step with its times in milliseconds, and the roof that binds it."""

    ms: float  # the fastest of all runs
    median_ms: float
    roof: str  # "compute", or the level of the memory that its bytes come from
    ideal_ms: float  # of a kernel at that roof

    @property
    def gflops(self) -> float:
        """Useful work in GFLOP/s; Winograd's may be above the machine's peak."""
        return self.flops / self.ms * 1e-6

    @property
    def executed_gflops(self) -> float:
        """Executed work in GFLOP/s."""
        return self.executed_flops / self.ms * 1e-6

    @property
    def gbs(self) -> float:
        """Compulsory bytes in GB/s."""
        return self.bytes / self.ms * 1e-6

    @property
    def share(self) -> float:
        """The share of its roof that the step reaches."""
        return self.ideal_ms / self.ms

    @property
    def lost_ms(self) -> float:
        """Milliseconds beyond those of a kernel at the roof."""
        return self.ms - self.ideal_ms


@dataclass(frozen=True)
class Count:
    """The counted layers of a network, in the order in which they run.

    ``rows()`` is a list of flat dictionaries, as ``pandas.DataFrame`` takes it; ``totals`` the sums.
    """

    model: str
    params: int  # shared ones once, so not always the sum of the layers'
    layers: tuple[LayerCount, ...]

    @property
    def totals(self) -> dict[str, Any]:
        """Sums of all layers."""
        sums = {key: sum(getattr(layer, key) for layer in self.layers) for key in _SUMMED}
        narrow = sum(FLOAT * layer.params - layer.param_bytes for layer in self.layers)
        share = sums["saturating_pairs"] / sums["pairs"] if sums["pairs"] else 0.0
        params = {"params": self.params, "param_bytes": FLOAT * self.params - narrow}
        return {**params, **sums, "saturating_share": share}

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dictionary for each layer, derived figures among them."""
        return [{**asdict(layer), **{key: getattr(layer, key) for key in _COUNTED}} for layer in self.layers]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as lists, dictionaries, numbers and strings, for JSON."""
        return {"model": self.model, "layers": self.rows(), "totals": self.totals}

    def table(self) -> str:
        """Return a table for people: a line for each layer, and the totals."""
        return _table(_COUNT_COLUMNS, self.layers, self._total_cells())

    def _total_cells(self) -> dict[str, str]:
        """Return the cells of the totals, by the heads of their columns."""
        t = self.totals
        sums = {"MACs": "macs", "FLOPs": "flops", "bytes": "bytes", "moved": "predicted_bytes"}
        return {
            "layer": "total",
            "params": f"{t['params']:,}",
            **{head: _si(t[key]) for head, key in sums.items()},
            "saturating": _saturating(t["saturating_pairs"], t["pairs"]),
        }

    def __str__(self) -> str:
        return f"{self.model}\n{self.table()}"

    def html(self) -> str:
        """Return the layers as an HTML table, which a notebook shows."""
        return _html(_COUNT_COLUMNS, self.layers)

    def _repr_html_(self) -> str:
        return self.html()


@dataclass(frozen=True)
class Profile(Count):
    """The timed layers of a network against the machine's roofline.

    ``ms`` of the totals is the sum of the layers' fastest times, which no single run may have had; ``run_ms``
    the fastest run of the whole network without the profiler. ``coverage`` is the layers' share of a profiled
    run's time and ``overhead`` how much longer that is than the run before it without the profiler, as
    fractions, each the median of all runs. ``traffic`` is what the processor counted of its memory traffic.
    """

    layers: tuple[LayerProfile, ...]
    roofline: Roofline
    run_ms: float
    coverage: float
    overhead: float
    runs: int
    traffic: CountedTraffic

    @property
    def totals(self) -> dict[str, Any]:
        """Sums of all layers, and the whole run."""
        t = super().totals
        ms, ideal = (sum(getattr(layer, key) for layer in self.layers) for key in ("ms", "ideal_ms"))
        rates = {"gflops": t["flops"] / ms * 1e-6, "executed_gflops": t["executed_flops"] / ms * 1e-6}
        whole = {key: getattr(self, key) for key in ("run_ms", "coverage", "overhead", "runs")}
        return {
            **t,
            "ms": ms,
            "ideal_ms": ideal,
            "lost_ms": ms - ideal,
            "share": ideal / ms,
            **rates,
            **whole,
            "counted_bytes": self.traffic.bytes,
            "counted": self.traffic.reason or self.traffic.event,
        }

    @property
    def moved(self) -> str:
        """The bytes of a run in three ways, for people."""
        t = self.totals
        ways = f"{t['bytes'] / 1e6:.1f} MB compulsory, {t['predicted_bytes'] / 1e6:.1f} MB predicted"
        return f"{ways}; {self.traffic}"

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dictionary for each layer, derived figures among them."""
        timed = [{key: getattr(layer, key) for key in _TIMED} for layer in self.layers]
        return [{**row, **more} for row, more in zip(super().rows(), timed, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as lists, dictionaries, numbers and strings, for JSON."""
        roof = self.roofline
        machine = {
            "cpu": roof.cpu,
            "tier": roof.peak.tier,
            "threads": roof.peak.threads,
            "peak_gflops": roof.peak.gflops,
            "peaks": {peak.dtype: peak.gflops for peak in self.peaks},
            "gbs": {level: roof.gbs(level) for level in roof.levels},
        }
        return {**super().as_dict(), "machine": machine}

    @property
    def peaks(self) -> tuple[Peak, ...]:
        """The FMA peak, and the others that layers are held against, each rate once."""
        known, used = by_arithmetic(self.roofline.peaks), {layer.arithmetic for layer in self.layers}
        names = ["f32", *(name for name in ("bf16", "bit") if name in used)]
        if used & {"int8", "int16"}:
            names += ["int8", *(["int16"] if "int16" in used else [])]
        found: dict[float, Peak] = {}
        for peak in (known[name] for name in names):
            if peak.dtype != "f32" or not found:
                found.setdefault(peak.gflops, peak)
        return tuple(found.values())

    @property
    def roofs(self) -> str:
        """The peaks and the bandwidths of the levels, for people."""
        roof = self.roofline
        peaks = ", ".join(f"{peak.name} {peak.gflops:.1f} {peak.unit}" for peak in self.peaks)
        return f"{peaks}; GB/s: {', '.join(f'{level} {roof.gbs(level):.0f}' for level in roof.levels)}"

    def sorted_by(self, key: str) -> tuple[LayerProfile, ...]:
        """Return the layers by a figure, the largest first."""
        return tuple(sorted(self.layers, key=lambda layer: -getattr(layer, key)))

    def table(self, layers: Sequence[LayerProfile] | None = None) -> str:
        """Return a table for people: a line for each layer (or for those given), and the totals."""
        layers = self.layers if layers is None else layers
        return _table(
            _PROFILE_COLUMNS, layers, self._total_cells(), [self.layers.index(one) for one in layers]
        )

    def _total_cells(self) -> dict[str, str]:
        t = self.totals
        rates = {"GFLOP/s": "gflops", "executed": "executed_gflops"}
        times = {"ms": "ms", "ideal ms": "ideal_ms", "lost ms": "lost_ms"}
        return {
            **super()._total_cells(),
            **{head: f"{t[key]:.1f}" for head, key in rates.items()},
            **{head: f"{t[key]:.3f}" for head, key in times.items()},
            "share": f"{t['share']:.0%}",
        }

    def html(self) -> str:
        """Return the layers as an HTML table, which a notebook shows."""
        return _html(_PROFILE_COLUMNS, self.layers)


_SUMMED = ("macs", "flops", "executed_flops", "bytes", "predicted_bytes", "pairs", "saturating_pairs")
_COUNTED = ("intensity", "saturating_share")
_TIMED = ("gflops", "executed_gflops", "gbs", "share", "lost_ms")

Column = tuple[str, str, Callable[[Any], str], str]  # head, alignment (as in a format), cell, the field or ""

_COUNT_COLUMNS: tuple[Column, ...] = (
    ("layer", "<", lambda layer: layer.op, ""),
    ("algorithm", "<", lambda layer: layer.algorithm, ""),
    ("tile", "<", lambda layer: layer.tile, ""),
    ("elements", "<", lambda layer: layer.elements, ""),
    ("input", "<", lambda layer: _by(layer.input), ""),
    ("output", "<", lambda layer: _by(layer.output), ""),
    ("params", ">", lambda layer: f"{layer.params:,}", "params"),
    ("MACs", ">", lambda layer: _si(layer.macs), "macs"),
    ("FLOPs", ">", lambda layer: _si(layer.flops), "flops"),
    ("bytes", ">", lambda layer: _si(layer.bytes), "bytes"),
    ("moved", ">", lambda layer: _si(layer.predicted_bytes), "predicted_bytes"),
    ("FLOP/B", ">", lambda layer: f"{layer.intensity:.2f}", "intensity"),
    ("saturating", ">", lambda layer: _saturating(layer.saturating_pairs, layer.pairs), "saturating_share"),
)
_PROFILE_COLUMNS: tuple[Column, ...] = (
    *_COUNT_COLUMNS,
    ("ms", ">", lambda layer: f"{layer.ms:.3f}", "ms"),
    ("GFLOP/s", ">", lambda layer: f"{layer.gflops:.1f}", "gflops"),
    ("executed", ">", lambda layer: f"{layer.executed_gflops:.1f}", "executed_gflops"),
    ("GB/s", ">", lambda layer: f"{layer.gbs:.1f}", "gbs"),
    ("roof", "<", lambda layer: layer.roof, ""),
    ("share", ">", lambda layer: f"{layer.share:.0%}", "share"),
    ("ideal ms", ">", lambda layer: f"{layer.ideal_ms:.3f}", "ideal_ms"),
    ("lost ms", ">", lambda layer: f"{layer.lost_ms:.3f}", "lost_ms"),
)

_FIRST = ("lost ms", "ms", "ideal ms", "share", "roof", "layer", "algorithm")  # in a browser
_HEADS = {"layer": "step"}  # in a browser, where "layer" is the name


def _shown(columns: Sequence[Column], layers: Sequence[LayerCount]) -> Sequence[Column]:
    """Leave the pairs out where no layer multiplies by weights of 8 bits."""
    return [c for c in columns if c[0] != "saturating" or any(layer.pairs for layer in layers)]


def _table(
    columns: Sequence[Column],
    layers: Sequence[LayerCount],
    totals: Mapping[str, str],
    places: Sequence[int] | None = None,
) -> str:
    """Return the table for people; a line begins with its layer's place in the network."""
    columns = _shown(columns, layers)
    places = range(len(layers)) if places is None else places
    table = Table(("", ">"), *((head, side) for head, side, *_ in columns), ("nodes", "<"))
    rows = [
        [i, *(cell(layer) for _, _, cell, _ in columns), layer.name]
        for i, layer in zip(places, layers, strict=True)
    ]
    whole = ["", *(totals.get(head, "") for head, *_ in columns), ""]
    return "\n".join(table.lines([*rows, whole]))


def _html(columns: Sequence[Column], layers: Sequence[LayerCount]) -> str:
    """Return the table for a browser: names and what is lost come first, as a page shows those alone."""
    shown = {column[0]: column for column in _shown(columns, layers)}
    order = dict.fromkeys((*(head for head in _FIRST if head in shown), *shown))
    columns = [shown[head] for head in order]
    table = Table(("#", ">"), ("layer", "<"), *((_HEADS.get(head, head), side) for head, side, *_ in columns))
    rows = [
        [i, layer.first_node, *(cell(layer) for _, _, cell, _ in columns)] for i, layer in enumerate(layers)
    ]
    fields = [field for *_, field in columns]
    numbers = [[None, None, *(getattr(one, f) if f else None for f in fields)] for one in layers]
    return table.html(rows, numbers, "sortable layers")


def _saturating(pairs: int, of: int) -> str:
    """Write a number of pairs with its share of all.

    >>> _saturating(12, 1000), _saturating(0, 0)
    ('12 (1.2%)', '')
    """
    return f"{pairs} ({pairs / of:.1%})" if of else ""


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _si(n: float) -> str:
    """Write a count with a thousand's prefix.

    >>> _si(4_089_184_256), _si(512), _si(0)
    ('4.09 G', '512', '0')
    """
    for prefix in ("", " k", " M"):
        if n < 1000:
            return f"{n:.3g}{prefix}"
        n /= 1000
    return f"{n:.3g} G"
