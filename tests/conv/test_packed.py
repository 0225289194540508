"""Packed weights as they are kept in files: stored ones serve as they are, and their order is a format.

Who changes an order raises kPackingVersion (csrc/conv/algo.h) and what is written here.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fastconv import _core
from fastconv.errors import ArgumentError, ShapeError
from fastconv.testing.guard import guarded
from fastconv.testing.winograd import _WINOGRAD

Array = npt.NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("tier")

# Algorithm, weights, groups, and what else: every algorithm, whole panels and rests, several groups.
CASES: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    ("implicit", (40, 7, 3, 3), 1, {}),
    ("implicit", (35, 5, 1, 1), 1, {}),
    ("im2col", (12, 3, 2, 5), 2, {"stride": [2, 1]}),
    ("implicit", (6, 5, 3, 4), 2, {"transposed": True, "stride": [2, 3]}),
    ("winograd_f4", (70, 20, 3, 3), 1, {}),
    ("winograd_f2", (24, 9, 3, 3), 2, {"precision": "exact"}),
    ("winograd_f2", (9, 4, 5, 5), 1, {}),
    ("depthwise", (21, 1, 3, 3), 21, {"stride": [2, 2]}),
    ("direct", (24, 4, 3, 3), 6, {}),
    ("direct", (64, 16, 3, 3), 4, {}),
    ("planar", (24, 6, 1, 1), 2, {"planar": True}),
    ("planar", (6, 1024, 1, 1), 2, {"planar": True}),
    ("planar_direct", (14, 3, 3, 3), 2, {"planar": True}),
    ("bf16", (40, 7, 3, 3), 1, {}),
    ("bf16", (35, 6, 1, 1), 1, {}),
    ("reference", (5, 3, 3, 3), 1, {}),
]
IDS = [f"{algorithm}-{'x'.join(map(str, shape))}" for algorithm, shape, _, _ in CASES]


def plan(algorithm: str, w: Array, groups: int, **parameters: Any) -> _core.Conv:
    defaults: dict[str, Any] = {
        "spatial": 2,
        "stride": [1, 1],
        "padding_lo": [1, 1],
        "padding_hi": [1, 1],
        "dilation": [1, 1],
        "auto_pad": "explicit",
        "transposed": False,
        "output_padding": [0, 0],
        "act": "none",
        "alpha": 0.0,
        "beta": 0.0,
        "precision": "bf16" if algorithm == "bf16" else "fast",
    }
    if w.shape[2:] == (1, 1):
        defaults |= {"padding_lo": [0, 0], "padding_hi": [0, 0]}
    channels = w.shape[1] * groups if parameters.get("transposed") else w.shape[0]
    bias = np.linspace(-1, 1, channels, dtype=np.float32)
    return _core.Conv(w, bias, groups=groups, algorithm=algorithm, **(defaults | parameters))


def accepts(algorithm: str, w: Array, groups: int, **parameters: Any) -> bool:
    """Whether a tier does: a group may be too wide for its vectors."""
    try:
        plan(algorithm, w, groups, **parameters)
    except ArgumentError as error:
        if "does not accept" not in str(error):
            raise
        return False
    return True


def joined(arrays: list[Array]) -> Array:
    """One after another, each from a multiple of 64 bytes on: as a file has them."""
    whole = [np.pad(a.view(np.uint8), (0, -a.nbytes % 64)) for a in arrays]
    return np.concatenate(whole).view(np.float32)


def output(conv: _core.Conv, w: Array, groups: int, transposed: bool = False) -> Array:
    x = np.random.default_rng(1).standard_normal(
        (2, w.shape[0] if transposed else w.shape[1] * groups, 13, 11), np.float32
    )
    y = np.empty(conv.out_shape(x.shape), np.float32)
    conv.run(x, y)
    return y


@pytest.mark.parametrize(("algorithm", "shape", "groups", "parameters"), CASES, ids=IDS)
def test_stored_weights_give_the_same_bits_and_are_not_copied(
    algorithm: str, shape: tuple[int, ...], groups: int, parameters: dict[str, Any], rng: np.random.Generator
) -> None:
    w = rng.standard_normal(shape, np.float32)
    if not accepts(algorithm, w, groups, **parameters):
        return
    original = plan(algorithm, w, groups, **parameters)
    stored = guarded(joined(original.packed()[algorithm]))  # nothing behind it is read
    nothing = np.full(shape, np.nan, np.float32)
    conv = plan(algorithm, nothing, groups, stored={algorithm: stored}, **parameters)
    transposed = parameters.get("transposed", False)
    np.testing.assert_array_equal(
        output(conv, w, groups, transposed), output(original, w, groups, transposed), strict=True
    )
    for array in conv.packed()[algorithm]:
        assert np.shares_memory(array, stored)
        assert not array.flags.writeable
    assert conv.packed_bytes == original.packed_bytes


@pytest.mark.parametrize(("algorithm", "shape", "groups", "parameters"), CASES, ids=IDS)
def test_stored_weights_of_another_size_are_refused(
    algorithm: str, shape: tuple[int, ...], groups: int, parameters: dict[str, Any], rng: np.random.Generator
) -> None:
    w = rng.standard_normal(shape, np.float32)
    if not accepts(algorithm, w, groups, **parameters):
        return
    stored = joined(plan(algorithm, w, groups, **parameters).packed()[algorithm])
    for wrong in (stored[:-16], stored[:16], stored[:0], np.pad(stored, (0, 16)), np.pad(stored, (0, 1))):
        message = f"stored weights of '{algorithm}': expected {stored.nbytes} bytes, got {wrong.nbytes}"
        with pytest.raises(ShapeError, match=message):
            plan(algorithm, w, groups, stored={algorithm: wrong}, **parameters)


def test_stored_weights_have_to_be_vectors(rng: np.random.Generator) -> None:
    w = rng.standard_normal((4, 4, 1, 1), np.float32)
    for wrong in (np.zeros((2, 2), np.float32), np.zeros(32, np.float32)[::2]):
        with pytest.raises(ShapeError, match="stored: expected contiguous vectors"):
            plan("implicit", w, 1, stored={"implicit": wrong})
    with pytest.raises(ArgumentError, match="stored: expected aligned vectors"):
        plan("implicit", w, 1, stored={"implicit": np.zeros(65, np.uint8)[1:]})


def test_weights_are_read_only_where_they_are_needed(rng: np.random.Generator) -> None:
    """Those that are not contiguous cannot be: with stored ones they need not."""
    w = rng.standard_normal((3, 3, 4, 8), np.float32)
    contiguous = np.ascontiguousarray(w.transpose(3, 2, 0, 1))
    stored = {"implicit": joined(plan("implicit", contiguous, 1).packed()["implicit"])}
    conv = plan("implicit", w.transpose(3, 2, 0, 1), 1, stored=stored)
    np.testing.assert_array_equal(
        output(conv, contiguous, 1), output(plan("implicit", contiguous, 1), contiguous, 1)
    )
    for other in ("im2col", "auto"):  # auto: the choice waits for the size, and the weights with it
        with pytest.raises(ArgumentError, match="w: expected a C-contiguous array"):
            plan(other, w.transpose(3, 2, 0, 1), 1, stored=stored)


def test_borrowed_weights_are_kept_and_not_copied(rng: np.random.Generator) -> None:
    """A plan whose choice waits for the size refers to them."""
    w = rng.standard_normal((32, 32, 3, 3), np.float32)
    expected = output(plan("auto", w, 1), w, 1)
    borrowed = w.copy()
    conv = plan("auto", borrowed, 1, borrow=True)
    np.testing.assert_array_equal(output(conv, w, 1), expected)
    other = plan("auto", borrowed, 1, borrow=True)
    borrowed[:] = 0
    assert np.abs(output(other, w, 1)).max() <= 1  # the bias alone: it read them just now
    del borrowed
    np.full(w.shape, np.nan, np.float32)
    assert np.isfinite(output(other, w, 1)).all()


# ---- the order itself --------------------------------------------------------------------------------


def facts() -> tuple[int, int]:
    """Return columns of a panel and lanes of a vector, after a look at the version that this file is of."""
    pattern = r"fastconv (\S+), packing (\d+), (\w+), nr (\d+), lanes (\d+), bf16 (\d+)"
    found = re.fullmatch(pattern, _core.packing_id())
    assert found is not None
    version, packing, tier, nr, lanes, depth = found.groups()
    assert (version, packing, tier) == (_core.__version__, "1", _core.active_tier())
    tiles = "amx_bf16" in _core.cpu_info()["tiers"]["extensions"] and tier == "avx512"
    assert depth == ("32" if tiles else "2")
    return int(nr), int(lanes)


def panels(b: Array, nr: int) -> Array:
    """Return a matrix as panels of nr columns; a rest of nr / 2 or less widens the last one by as much."""
    N = b.shape[1]
    half = nr // 2
    padded = np.pad(b, ((0, 0), (0, -N % half)))
    count = max(1, -(-(N - half) // nr))
    edges = [*range(0, count * nr, nr), padded.shape[1]]
    return np.concatenate([padded[:, a:b].ravel() for a, b in pairwise(edges)])


@pytest.mark.parametrize("oc", [3, 8, 16, 20, 24, 33, 40, 48, 64, 70])
@pytest.mark.parametrize("kernel", [1, 3])
def test_order_of_implicit(oc: int, kernel: int, rng: np.random.Generator) -> None:
    nr, _ = facts()
    w = rng.standard_normal((oc, 5, kernel, kernel), np.float32)
    (array,) = plan("implicit", w, 1).packed()["implicit"]
    np.testing.assert_array_equal(array, panels(w.transpose(2, 3, 1, 0).reshape(-1, oc), nr))


@pytest.mark.parametrize(("m", "r"), [(4, 3), (2, 3), (2, 5)])
def test_order_of_winograd(m: int, r: int, rng: np.random.Generator) -> None:
    nr, _ = facts()
    w = rng.standard_normal((2 * 22, 6, r, r), np.float32)
    G = np.array(_WINOGRAD[m, r][1])
    u = np.einsum("ai,bj,ocij->abco", G, G, w.astype(np.float64)).astype(np.float32)
    found = plan(f"winograd_f{m}", w, 2).packed()[f"winograd_f{m}"]
    assert len(found) == 2
    for array, group in zip(found, np.split(u, 2, axis=3), strict=True):
        expected = panels(group.reshape(-1, 22), nr)
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["depthwise", "direct"])
def test_order_of_grouped(algorithm: str, rng: np.random.Generator) -> None:
    _, lanes = facts()
    oc, ic, groups = (21, 1, 21) if algorithm == "depthwise" else (24, 4, 6)
    w = rng.standard_normal((oc, ic, 3, 3), np.float32)
    if not accepts(algorithm, w, groups):
        return
    (array,) = plan(algorithm, w, groups).packed()[algorithm]
    blocks = np.pad(w, ((0, -oc % lanes), (0, 0), (0, 0), (0, 0))).reshape(-1, lanes, ic, 9)
    np.testing.assert_array_equal(array, blocks.transpose(0, 3, 2, 1).ravel())


@pytest.mark.parametrize("ic", [6, 512, 1024])
def test_order_of_planar(ic: int, rng: np.random.Generator) -> None:
    """Filters as they are; 16 zeros apart where they would fall on each other in L1."""
    w = rng.standard_normal((10, ic, 1, 1), np.float32)
    (array,) = plan("planar", w, 1, planar=True).packed()["planar"]
    gap = 16 if ic == 1024 and _core.active_tier() == "avx512" else 0
    np.testing.assert_array_equal(array, np.pad(w[:, :, 0, 0], ((0, 0), (0, gap))).ravel())


def test_order_of_transposed(rng: np.random.Generator) -> None:
    """A product for each phase; its taps from the last of the kernel to the first."""
    nr, _ = facts()
    w = rng.standard_normal((5, 6, 4, 4), np.float32)
    found = plan("implicit", w, 1, transposed=True, stride=[2, 2]).packed()["implicit"]
    phases = [(h, v) for h in (0, 1) for v in (0, 1)]
    for array, (h, v) in zip(found, phases, strict=True):
        taps = w[:, :, h::2, v::2][:, :, ::-1, ::-1]
        np.testing.assert_array_equal(array, panels(taps.transpose(2, 3, 0, 1).reshape(-1, 6), nr))
