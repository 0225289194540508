"""The process that adversarial models are tried in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adversarial.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Return a server that forks a child with limits for each task."""
    pytest.importorskip("onnx")
    with Sandbox() as server:
        yield server
