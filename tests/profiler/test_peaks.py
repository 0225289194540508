"""Peaks of every dtype, beside loops of other making; the roof that rates are held against."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.lab.machine import roof as roof_module
from fastconv.roofline import Peak, Roof, RoofError, by_arithmetic, dtypes, machine_peak, peak_fma

ROOT = Path(__file__).parents[2]
LOOPS = [(tier, dtype) for tier in _core.tiers() if tier != "ref" for dtype in dtypes(tier) if dtype != "bit"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Import bench/peak.py."""
    spec = importlib.util.spec_from_file_location("bench_peak", ROOT / "bench" / "peak.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["bench_peak"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.isa
@pytest.mark.skipif("avx512" in fastconv.show_config("dict")["build"]["emulated"], reason="emulated")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the loops are x86's")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(("tier", "dtype"), LOOPS, ids=[f"{t}-{d}" for t, d in LOOPS])
def test_an_independent_loop_has_the_same_peak(tier: str, dtype: str, script: ModuleType) -> None:
    """Within 5 %; on a busy machine it takes some rounds until both have had an undisturbed moment."""
    found = script.compare(tier, dtype, 100, until=script.APART)
    assert found.ratio == pytest.approx(1, abs=script.APART), found


@pytest.mark.isa
def test_each_dtype_of_each_tier(tier: str, num_threads: int) -> None:
    for dtype, instruction in _core.peak_instructions(tier).items():
        peak = peak_fma(dtype=dtype, seconds=0.004)
        assert (peak.tier, peak.threads, peak.dtype, peak.instruction) == (
            *(tier, num_threads, dtype, instruction),
        )
        assert peak.gflops >= peak.median > 0
        assert peak.unit == ("GOP/s" if dtype in ("int8", "bit") else "GFLOP/s")
    assert dtypes() == dtypes(tier)
    assert dtypes()[0] == "f32"


def test_a_tier_has_what_the_processor_has() -> None:
    """The kernel reads the same features in its own way."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the flags are those of Linux on x86")
    found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    assert found
    flags, tiers = set(found[1].split()), fastconv.show_config("dict")["tiers"]
    extends = {
        "avx_vnni": "avx2",
        "avx512_vnni": "avx512",
        "avx512_vpopcntdq": "avx512",
        "avx512_bf16": "avx512",
        "amx_int8": "avx512",
        "amx_bf16": "avx512",
    }
    emulated = fastconv.show_config("dict")["build"]["emulated"]
    wanted = [
        name
        for name, tier in extends.items()
        if name in emulated or (name in flags and tier in tiers["found"] and tier not in emulated)
    ]
    assert tiers["extensions"] == wanted
    if "avx512" in tiers["found"] and "avx512" not in emulated:
        int8 = {"amx_int8": "tdpbusd", "avx512_vnni": "vpdpbusd"}
        instructions = _core.peak_instructions("avx512")
        assert instructions["int8"] == next((int8[flag] for flag in int8 if flag in flags), "vpmaddubsw")
        assert instructions["bit"] == ("vpopcntd" if "avx512_vpopcntdq" in flags else "vpshufb")
        bf16 = {"amx_bf16": "tdpbf16ps", "avx512_bf16": "vdpbf16ps"}
        assert instructions.get("bf16") == next((bf16[flag] for flag in bf16 if flag in flags), None)


def test_ref_has_no_narrow_instructions() -> None:
    assert dtypes("ref") == ("f32",)
    with pytest.raises(ArgumentError, match=r"dtype: expected one that tier ref has .* f32, got 'int8'"):
        peak_fma("ref", 1, dtype="int8")
    with pytest.raises(ArgumentError, match=r"dtype: expected one that tier .* got 'f64'"):
        peak_fma(dtype="f64")


# -- the roof ------------------------------------------------------------------------------------------------


def peak(gflops: float) -> Peak:
    return Peak(_core.active_tier(), 1, gflops, gflops, 1)


def test_a_rate_above_the_roof_is_a_bug() -> None:
    roof = Roof.of(peak(100.0), again=False)
    for rate in (99.0, 101.9):  # a clock that rose
        roof.hold("a layer", rate)
    with pytest.raises(
        RoofError,
        match=r"a layer: expected at most the measured FMA peak of 100.0 GFLOP/s .*1 thread\), got 198",
    ):
        roof.hold("a layer", 2 * 99.0)  # an FMA counted as four
    assert roof.peak.gflops == 100.0


def test_a_roof_that_was_too_low_is_measured_again() -> None:
    real = peak_fma(threads=1, seconds=0.02).gflops
    roof = Roof.of(peak(0.01 * real))
    roof.hold("half the peak", 0.5 * real)
    assert roof.peak.gflops >= 0.5 * real
    with pytest.raises(RoofError, match="twice the peak"):
        roof.hold("twice the peak", 2 * max(real, roof.peak.gflops))


def test_a_roof_of_threads_is_no_lower_than_that_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour had the second core whenever both threads were measured."""

    def busy(tier: str, threads: int, *, dtype: str, **_: float) -> Peak:
        return Peak(tier, threads, 110.0, 110.0, 3, dtype)

    monkeypatch.setattr(roof_module, "peak_fma", busy)
    roof = Roof.of(Peak(_core.active_tier(), 2, 110.0, 110.0, 3))
    roof.hold("both", 215.0)
    assert (roof.peak.gflops, roof.peak.threads) == (220.0, 2)
    with pytest.raises(RoofError, match=r"of 220.0 GFLOP/s .*2 threads\), got 230"):
        roof.hold("more than both", 230.0)


def test_a_roof_of_any_tier_finds_the_highest_again() -> None:
    """Where the first measurement was disturbed so much that another tier seemed to be the highest."""
    roof = Roof(1)
    best = roof.peak
    roof.peak = Peak("ref", 1, 1e-3, 1e-3, 1)
    roof.hold("half the peak", 0.5 * best.gflops)
    assert roof.peak.gflops >= 0.5 * best.gflops
    roof = Roof(1, "ref")  # one of a tier stays of that tier
    roof.raise_to(0.01)
    assert roof.peak.tier == "ref"


def test_a_roof_of_a_tier_and_of_any() -> None:
    assert Roof(1, "ref").peak.tier == "ref"
    assert Roof(2).peak.threads == 2
    assert Roof(1).peak.dtype == "f32"


# -- integers ------------------------------------------------------------------------------------------------


def of_bytes(gops: float, instruction: str) -> Peak:
    return Peak(_core.active_tier(), 1, gops, 0.9 * gops, 1, "int8", instruction)


def test_products_of_16_bits_follow_from_those_of_bytes() -> None:
    """One instruction sums two where its sister sums four; else each multiplies as often."""
    for instruction, pairs, rate in (("vpdpbusd", "vpdpwssd", 200.0), ("vpmaddubsw", "vpmaddwd", 400.0)):
        found = by_arithmetic([peak(100.0), of_bytes(400.0, instruction)])
        assert [found[name].gflops for name in ("f32", "int8", "int16")] == [100.0, 400.0, rate]
        assert found["int16"].median == 0.9 * rate
        assert (found["int16"].name, found["int16"].unit) == (f"int16 {pairs}", "GOP/s")
    assert {found.dtype for found in by_arithmetic([peak(100.0)]).values()} == {"f32"}


def test_integers_have_a_roof_of_their_own() -> None:
    roof = Roof.of(peak(100.0), [of_bytes(400.0, "vpdpbusd")], again=False)
    roof.hold("a layer of bytes", 399.0, "int8")
    roof.hold("Winograd", 199.0, "int16")
    with pytest.raises(
        RoofError, match=r"at most the measured peak of int8 vpdpbusd of 400.0 GOP/s .*got 450"
    ):
        roof.hold("a layer of bytes", 450.0, "int8")
    with pytest.raises(RoofError, match=r"Winograd: .* peak of int16 vpdpwssd of 200.0 GOP/s .*got 399"):
        roof.hold("Winograd", 399.0, "int16")
    with pytest.raises(RoofError, match=r"FMA peak of 100\.0 GFLOP/s"):
        roof.hold("floats", 399.0)
    Roof.of(peak(100.0), again=False).hold("of a tier without", 399.0, "int8")  # nobody knows the peak


@pytest.mark.isa
def test_the_roof_of_integers_is_measured(tier: str) -> None:
    roof = Roof(1, tier)
    has_int8 = "int8" in dtypes(tier)
    assert roof.peaks["int8"].dtype == ("int8" if has_int8 else "f32")
    assert roof.peak_of("int8") == roof.peaks["int8"]
    before = roof.peaks["int8"].gflops
    roof.raise_to(0.01, "int8")
    assert roof.peaks["int8"].gflops >= before
    if has_int8:
        low = Roof.of(roof.peak, [of_bytes(0.01 * before, roof.peaks["int8"].instruction)])
        low.hold("half the peak", 0.5 * before, "int8")  # it was too low, and is measured again
        assert low.peaks["int8"].gflops >= 0.5 * before


def test_the_highest_peak_of_a_dtype() -> None:
    if any("int8" in dtypes(tier) for tier in _core.tiers()):
        assert machine_peak(1, dtype="int8", seconds=0.01).dtype == "int8"
        assert Roof(1).peaks["int8"].dtype == "int8"
    with pytest.raises(
        ArgumentError, match="dtype: expected one that a tier of this processor has, got 'f64'"
    ):
        machine_peak(dtype="f64")
