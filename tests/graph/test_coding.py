"""Arrays in Huffman codes: nothing is lost, the bytes are those of docs/format.md, and others are refused."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.coding import Coded, code_lengths, decode, encode
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.graph.save import PAGE, START, content_hash, prefix_of, round_up

Array = npt.NDArray[Any]


def weights(size: int, density: float, values: int, dtype: str = "f4", seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    found = 1 + np.minimum(rng.geometric(0.3, size), values)
    return np.where(rng.random(size) < density, found, 0).astype(dtype)


def specification(coded: Coded, dtype: Any, count: int) -> Array:
    """Decode bit by bit, as docs/format.md describes it."""
    data = coded.data.tobytes()
    size = np.dtype(dtype).itemsize
    codebook = np.frombuffer(data, dtype, coded.entries)
    at = coded.entries * size

    def table(symbols: int) -> dict[str, int]:
        nonlocal at
        lengths = [data[at + s // 2] >> s % 2 * 4 & 15 for s in range(symbols)]
        at += (symbols + 1) // 2
        codes, code = {}, 0
        for n in range(1, 13):
            for symbol in [s for s in range(symbols) if lengths[s] == n]:
                codes[f"{code:0{n}b}"] = symbol
                code += 1
            code *= 2
        return codes

    values, gaps = table(coded.entries), table(coded.gaps)
    sizes = np.frombuffer(data, "<u2", -(-count // 16384), at)
    at += sizes.nbytes
    out: list[Any] = []
    for i, length in enumerate(sizes.tolist()):
        bits = iter("".join(f"{byte:08b}"[::-1] for byte in data[at : at + length]))
        at += length
        part: list[Any] = []
        end = min(16384, count - 16384 * i)
        while len(part) < end:
            if gaps:
                gap = symbol(gaps, bits)
                part += [0] * gap
                if gap == coded.gaps - 1 or len(part) == end:
                    continue
            part.append(codebook[symbol(values, bits)])
        assert "1" not in "".join(bits)
        out += part
    assert at == len(data)
    return np.array(out, dtype)


def symbol(codes: dict[str, int], bits: Iterator[str]) -> int:
    code = ""
    while code not in codes:
        code += next(bits)
    return codes[code]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([64, 65, 1000, 16384, 16385, 70000]),
    st.sampled_from([0.0, 0.003, 0.1, 0.4, 1.0]),
    st.sampled_from([1, 2, 3, 31, 255]),
    st.sampled_from(["f4", "i1", "u1", "f2"]),
    st.integers(0, 9),
)
def test_what_is_coded_comes_back(size: int, density: float, values: int, dtype: str, seed: int) -> None:
    w = weights(size, density, min(values, 100 if dtype == "i1" else values), dtype, seed)
    coded = encode(w)
    if coded is None:
        assert size < 1000
        return
    assert coded.data.size < w.nbytes
    for threads in (1, 2):
        with fastconv.threads(threads):
            assert np.array_equal(decode(coded, np.full_like(w, 7)), w)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_the_bytes_are_those_of_the_specification(density: float) -> None:
    w = weights(17000, density, 40)
    coded = encode(w)
    assert coded is not None
    assert (coded.gaps > 0) == (density < 0.1) or density == 0.3
    assert np.array_equal(specification(coded, np.float32, w.size), w)


def test_arrays_of_many_values_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    assert encode(rng.standard_normal(1000).astype(np.float32)) is None
    assert encode(np.zeros(1000, np.int64)) is None
    assert encode(np.zeros(3, np.float32)) is None


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40))
def test_codes_are_as_short_as_huffman_makes_them(counts: list[int]) -> None:
    """Where no code is too long, those of package-merge take as many bits as a tree's."""
    lengths = code_lengths(np.array(counts))
    used = [n for n in counts if n]
    assert sum(2.0**-n for n in lengths.tolist() if n) == 1
    heap, total = sorted(used), 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    mine = int((lengths * np.array(counts)).sum())
    assert mine == total if len(used) > 1 and lengths.max() < 12 else mine >= total


def test_rare_symbols_have_codes_of_at_most_twelve_bits() -> None:
    lengths = code_lengths(np.array([2**i for i in range(40)]))
    assert lengths.max() == 12
    assert sum(2.0**-n for n in lengths.tolist()) == 1


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_every_truncation_is_refused_and_no_damage_does_more(density: float) -> None:
    w = weights(900, density, 9)
    coded = encode(w)
    assert coded is not None
    out = np.empty_like(w)
    for end in range(coded.data.size):
        with pytest.raises(ArgumentError):
            decode(Coded(coded.data[:end].copy(), coded.entries, coded.gaps), out)
    refused = 0
    for at in range(coded.data.size):
        for flip in (1, 0x10, 0x80, 0xFF):
            data = coded.data.copy()
            data[at] ^= flip
            try:
                decode(Coded(data, coded.entries, coded.gaps), out)
            except ArgumentError:
                refused += 1
    assert refused > 20
    for entries, gaps in ((0, 0), (1, 0), (257, 0), (coded.entries, 1), (coded.entries, 257), (2, 2)):
        with pytest.raises(ArgumentError):
            decode(Coded(coded.data, entries, gaps), out)


def test_zeros_beyond_a_stream_are_refused() -> None:
    coded = encode(np.zeros(1000, np.float32))
    assert coded is not None
    with pytest.raises(ArgumentError, match="beyond"):
        decode(coded, np.empty(983, np.float32))
    with pytest.raises(ArgumentError, match="writable"):
        _core.decode(coded.data, coded.entries, coded.gaps, np.empty((1000, 2), np.float32)[:, 0])


@pytest.fixture
def model() -> Model:
    w = weights(64 * 32, 0.2, 12).reshape(64, 32, 1, 1)
    b = GraphBuilder("net", {"w": w, "b": np.linspace(0, 1, 64, dtype=np.float32)})
    b.output(b.add("Relu", b.add("Conv", b.input("x", (1, 32, 4, 4)), "w", "b")), "y", (1, 64, 4, 4))
    return Model(b.build())


def test_a_coded_file_gives_the_same_bits(model: Model, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, 32, 4, 4)).astype(np.float32)
    coded, plain = tmp_path / "net.fcz", tmp_path / "net.fcm"
    model.save(coded)
    model.save(plain, packed=False)
    assert coded.stat().st_size < plain.stat().st_size / 1.5
    loaded = fastconv.load(coded, verify=True)
    assert np.array_equal(loaded(x), model(x))
    loaded.save(tmp_path / "again.fcz")
    assert (tmp_path / "again.fcz").read_bytes() == coded.read_bytes()
    assert np.array_equal(fastconv.load(coded.read_bytes())(x), model(x))


def changed(data: bytes, **fields: Any) -> bytes:
    """Return a file whose coded array is described in another way, with the hashes that it should have."""
    size = int.from_bytes(data[12:16], "little")
    header, start = json.loads(data[START : START + size]), round_up(START + size, PAGE)
    entry = next(entry for entry in header["arrays"] if "coded" in entry)
    entry.update(fields)
    begin = start + entry["offset"]
    if isinstance(entry["coded"], list) and len(entry["coded"]) == 3 and isinstance(entry["coded"][2], int):
        entry["hash"] = content_hash(data[begin : begin + max(entry["coded"][2], 0)]).hex()
    text = json.dumps(header).encode()
    body = data[start:]
    begin = round_up(START + len(text), PAGE)
    return (prefix_of(text, begin + len(body)) + text).ljust(begin, b"\0") + body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": [1 << 14, 1 << 14]}, "at most 64 times"),
        ({"shape": [64, 33, 1, 1]}, "array"),
        ({"shape": [64, 31, 1, 1]}, "array"),
        ({"dtype": "float64"}, "elements of 1, 2 or 4 bytes"),
        ({"dtype": "float16"}, "array"),
        ({"coded": [2, 0, 100]}, "array"),
        ({"coded": [13, 0, 1 << 30]}, "a place of its own"),
        ({"coded": [13, 0]}, "3 fields"),
        ({"coded": "all"}, "expected a list"),
        ({"coded": [13, -1, 5]}, "expected a number from 0"),
    ],
)
def test_coded_arrays_that_are_none(
    model: Model, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    model.save(tmp_path / "net.fcz")
    with pytest.raises(ModelError, match=message):
        fastconv.load(changed((tmp_path / "net.fcz").read_bytes(), **fields))


def test_damage_of_a_coded_array_is_found_when_it_is_opened(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "net.fcz")
    data = bytearray((tmp_path / "net.fcz").read_bytes())
    data[-20] ^= 1
    with pytest.raises(ModelError, match="damaged"):
        fastconv.load(bytes(data))
