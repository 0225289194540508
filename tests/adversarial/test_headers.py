"""Headers of compiled models that are small in the file alone: two bytes there are sixty in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastconv
from adversarial.sandbox import Sandbox
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.graph.save import MAX_LISTS, PREFIX, START, prefix_of


def header_of(text: bytes) -> bytes:
    size = -(-(64 + len(text)) // 4096) * 4096
    return (prefix_of(text, size) + text).ljust(size, b"\0")


@pytest.mark.parametrize(
    "text", [b"[" + b"[]," * 5_000_000, b"[" + b'{"":0},' * 2_000_000, b"[" + b"0," * 8_000_000]
)
def test_headers_that_are_small_in_the_file_alone(text: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    path.write_bytes(header_of(text.rstrip(b",") + b"]"))
    outcome = sandbox.run(fastconv.load, path, memory=1 << 30, seconds=30)
    assert outcome.error == "ModelError", outcome
    assert "header: expected at most" in outcome.message
    assert outcome.peak_bytes < 150 << 20


def test_the_header_of_a_large_network_is_far_from_the_limit(tmp_path: Path) -> None:
    b = GraphBuilder("long", {"w": np.ones((1, 1, 1, 1), np.float32)})
    x = b.input("x", ("batch", 1, "height", "width"))
    for _ in range(2000):
        x = b.add("Conv", x, "w", pads=[0, 0, 0, 0], strides=[1, 1])
    b.output(x, "y")
    path = tmp_path / "net.fcm"
    Model(b.build()).save(path, packed=True)
    content = path.read_bytes()
    header = content[START : START + PREFIX.unpack_from(content)[2]]
    assert 2000 < header.count(b"[") < MAX_LISTS / 10
    assert fastconv.load(path)(np.ones((1, 1, 2, 2), np.float32)).shape == (1, 1, 2, 2)
