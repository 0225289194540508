"""Arrays of few distinct values in fewer bytes: a codebook, Huffman codes, relative indices of zeros.

Coding loses nothing, and is told nothing: an array is worth it where it repeats few values, as shared and
pruned weights do, and weights of 8 bits. ``csrc/coding`` decodes, ``docs/format.md`` specifies the bytes. The
method is that of Han, Mao and Dally, Deep Compression, 2015, and the longest code is bounded by the
package-merge algorithm of Larmore and Hirschberg, 1990.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastconv import _core
from fastconv.graph.value import Array

GAPS = (4, 16, 64, 256)  # numbers of symbols that are tried for the runs of zeros
LEAST = 64  # bytes of an array that is worth a codebook

Bits = npt.NDArray[np.uint8]


class Coded(NamedTuple):
    """A coded array: its bytes, the values of its codebook, the symbols of gaps between values (0: none)."""

    data: Bits
    entries: int
    gaps: int


def encode(array: Array) -> Coded | None:
    """Return an array coded in the form that is smallest; None where it is smaller as it is.

    Examples
    --------
    >>> weights = np.repeat(np.float32([0, 0.5, 0, 0, -1, 0.5]), 100)
    >>> coded = encode(weights)
    >>> coded.entries, coded.data.size < weights.nbytes / 10
    (3, True)
    >>> bool((decode(coded, np.empty_like(weights)) == weights).all())
    True
    """
    if array.nbytes < LEAST or array.dtype.kind not in "fiub" or array.itemsize not in (1, 2, 4):
        return None
    flat = np.ascontiguousarray(array).reshape(-1).view(f"<u{array.itemsize}")
    codebook = _distinct(flat)
    if codebook is None:
        return None
    found = [_encode(flat, codebook, 0)]
    if codebook[0] == 0 and np.count_nonzero(flat) < flat.size // 2:
        found += [_encode(flat, codebook[1:], gaps) for gaps in GAPS]
    best = min(found, key=lambda coded: coded.data.size)
    return best if best.data.size < array.nbytes else None


def decode(coded: Coded, out: Array) -> Array:
    """Write a coded array to one of its shape and dtype, and return that; ArgumentError where it is none."""
    _core.decode(coded.data, coded.entries, coded.gaps, out)
    return out


def _distinct(flat: Array) -> Array | None:
    """Return the distinct values of an array in order; None where a codebook has no room for them."""
    first = np.unique(flat[: 1 << 14])
    if first.size > _core.MAX_SYMBOLS:
        return None
    known = np.unique(flat)
    return known if known.size <= _core.MAX_SYMBOLS else None


def _encode(flat: Array, codebook: Array, gaps: int) -> Coded:
    codebook = np.resize(codebook, max(2, codebook.size))  # a code of one symbol would not be complete
    starts = range(0, flat.size, _core.STREAM_VALUES)
    parts = [flat[start : start + _core.STREAM_VALUES] for start in starts]
    cut = [_with_gaps(part, gaps) if gaps else (np.zeros(0, np.int64), part) for part in parts]
    values = [np.searchsorted(codebook, part) for _, part in cut]
    lengths = code_lengths(_counts(values, codebook.size))
    table = lengths, _codes(lengths)
    gap_lengths = code_lengths(_counts([part for part, _ in cut], gaps))
    gap_table = gap_lengths, _codes(gap_lengths)
    streams = []
    for (gap, _), value in zip(cut, values, strict=True):
        if not gaps:
            streams.append(_packed(*(column[value] for column in table)))
            continue
        # A value follows each gap but the longest, and that which ends the stream.
        at = np.flatnonzero(gap < gaps - 1)[: value.size]
        place = np.arange(gap.size) + np.searchsorted(at, np.arange(gap.size))
        both = [np.empty(gap.size + value.size, np.int64) for _ in table]
        for column, of_gap, of_value in zip(both, gap_table, table, strict=True):
            column[place] = of_gap[gap]
            column[place[at] + 1] = of_value[value]
        streams.append(_packed(*both))
    sizes = np.array([stream.size for stream in streams], "<u2").view(np.uint8)
    head = [codebook.view(np.uint8), _nibbles(lengths), _nibbles(gap_lengths), sizes]
    return Coded(np.concatenate([*head, *streams]), codebook.size, gaps)


def _with_gaps(part: Array, gaps: int) -> tuple[Array, Array]:
    """Return the gaps of a stream, and its values that are not 0."""
    at = np.flatnonzero(part)
    zeros = np.diff(at, prepend=-1, append=part.size) - 1
    longest = gaps - 1
    whole = zeros // longest
    found = np.full(int(whole.sum()) + zeros.size, longest)
    last: Array = np.asarray(np.cumsum(whole + 1) - 1)
    found[last] = zeros % longest
    ends = (
        part.size - 1 - (at[-1] if at.size else -1)
    ) % longest == 0  # nothing is left after the last value
    return (found[:-1] if ends else found), part[at]


def _counts(parts: list[Array], symbols: int) -> Array:
    total = np.zeros(symbols, np.int64)
    for part in parts if symbols else ():
        total += np.bincount(part, minlength=symbols)
    return total


def code_lengths(counts: Array) -> Array:
    """Return the bits of each symbol's code, such that all together take the fewest; 0 where it has none.

    Parameters
    ----------
    counts : int array
        How often each symbol is written. Two have codes at least, written or not: codes are complete.

    Examples
    --------
    >>> code_lengths(np.array([5, 1, 0, 2])).tolist()
    [1, 2, 0, 2]
    """
    lengths = np.zeros(counts.size, np.int64)
    if not counts.size:
        return lengths
    used = [int(s) for s in np.flatnonzero(counts)]
    used += [s for s in range(counts.size) if s not in used][: 2 - len(used)] if len(used) < 2 else []
    leaves = sorted((int(counts[s]), [s]) for s in used)
    merged: list[tuple[int, list[int]]] = []
    for _ in range(_core.CODE_BITS):
        level = sorted(leaves + merged, key=lambda item: item[0])
        merged = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(level[::2], level[1::2], strict=False)]
    for _, symbols in level[: 2 * len(leaves) - 2]:
        np.add.at(lengths, symbols, 1)
    return lengths


def _codes(lengths: Array) -> Array:
    """Return the canonical code of each symbol, its first bit lowest."""
    codes = np.zeros(lengths.size, np.int64)
    code = 0
    for n in range(1, _core.CODE_BITS + 1):
        for symbol in np.flatnonzero(lengths == n):
            codes[symbol] = int(f"{code:0{n}b}"[::-1], 2)
            code += 1
        code <<= 1
    return codes


def _packed(lengths: Array, codes: Array) -> Bits:
    """Return codes as bytes, one after another from the lowest bit on."""
    at = np.arange(_core.CODE_BITS)
    bits = (codes[:, None] >> at & 1).astype(np.uint8)
    return np.packbits(bits[at < lengths[:, None]], bitorder="little")


def _nibbles(lengths: Array) -> Bits:
    even = np.concatenate([lengths, np.zeros(lengths.size % 2, np.int64)])
    both: Any = even[::2] | even[1::2] << 4
    return np.asarray(both, np.uint8)
