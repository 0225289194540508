"""examples/serve.py: what it answers, and what it refuses."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.models import squeezenet1_1

SERVER = Path(__file__).parents[2] / "examples" / "serve.py"
QUEUE, MAX_BYTES = 3, 1 << 20

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with one worker and a short queue."""
    pytest.importorskip("PIL.Image")
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        pytest.skip("the server is tested by `nox -s serve`")
    path = tmp_path_factory.mktemp("serve") / "net.fcm"
    squeezenet1_1(squeezenet1_1.random_weights()).save(path, (1, 3, 224, 224))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    command = [sys.executable, str(SERVER), str(path), "--architecture", "squeezenet1_1", "--workers", "1"]
    command += ["--queue", str(QUEUE), "--max-bytes", str(MAX_BYTES), "--port", str(number)]
    with subprocess.Popen(command) as process:
        try:
            for _ in range(300):
                assert process.poll() is None
                try:
                    if ask(number, "GET", "/health")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.1)
            yield number
        finally:
            process.terminate()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def photo(seed: int) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (240, 240, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_answers_are_the_models(port: int) -> None:
    from PIL import Image

    model = squeezenet1_1(squeezenet1_1.random_weights())
    for seed in range(2):
        scores = model(squeezenet1_1.preprocess(Image.open(io.BytesIO(photo(seed)))))
        expected = {"label": int(scores.argmax()), "score": float(scores.max())}
        assert ask(port, "POST", "/predict", photo(seed)) == (200, expected)


def test_what_is_no_photo_is_refused(port: int) -> None:
    status, answer = ask(port, "POST", "/predict", b"no photo")
    assert status == 400
    assert answer["detail"].startswith("expected a photo that can be decoded, got ")
    assert ask(port, "POST", "/predict", bytes(MAX_BYTES + 1))[0] == 413


def test_no_request_is_lost_when_the_queue_is_full(port: int) -> None:
    """And those that are in it are answered."""
    body = photo(0)
    with ThreadPoolExecutor(12) as clients:
        asked = [clients.submit(ask, port, "POST", "/predict", body) for _ in range(48)]
    statuses = Counter(one.result()[0] for one in asked)
    assert set(statuses) == {200, 503}
    assert {one.result()[1]["detail"] for one in asked if one.result()[0] == 503} == {"the queue is full"}
    assert statuses[200] >= QUEUE
    assert ask(port, "GET", "/health") == (200, {"workers": 1, "inside": 0, "queue": QUEUE})
