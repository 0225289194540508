"""A server that says what is in photos: one process speaks HTTP, one worker process a core runs the network.

    python serve.py resnet50.fcm --architecture resnet50 --workers 8
    curl --data-binary @photo.jpg http://127.0.0.1:8000/predict

It needs ``pip install fastapi uvicorn pillow``. docs/serving.md has the reasons and a load test.
"""

from __future__ import annotations

import argparse
import asyncio
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request

import fastconv
from fastconv import models

Answer = dict[str, Any]
Array = np.ndarray[Any, Any]
Model = Callable[[Array], Any]


@dataclass(frozen=True)
class Options:
    """What a server is started with.

    Attributes
    ----------
    open : callable
        Returns the model, a function of one input; called once in each worker. A ``.fcm`` file is mapped, so
        that workers share its weights.
    preprocess : callable
        A pillow image to the model's input, a batch of one.
    workers : int
        Processes, each with one thread.
    queue : int
        Photos that may wait or run; one more is refused with 503.
    window : float
        Seconds that a photo waits for others while all workers are busy.
    batch : int
        Photos that go to a worker at once, at most.
    max_bytes : int
        Of a photo, as it is sent; more is refused with 413.
    """

    open: Callable[[], Model]
    preprocess: Callable[[Any], Array]
    workers: int = field(default_factory=fastconv.get_num_threads)
    queue: int = 32
    window: float = 0.002
    batch: int = 4
    max_bytes: int = 10 << 20


# -- in a worker ---------------------------------------------------------------------------------------------

_worker: tuple[Options, Model]


def start_worker(options: Options) -> None:
    """Open the model, once in each worker."""
    global _worker
    _worker = options, options.open()


def ready() -> bool:
    """Tell that a worker has started."""
    return bool(_worker)


def predict(photos: list[bytes]) -> list[Answer]:
    """Answer for each photo; one that is none is an answer too, and does not concern the others."""
    options, model = _worker
    return [_predict(options, model, photo) for photo in photos]


def _predict(options: Options, model: Model, photo: bytes) -> Answer:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(photo)) as image:
            image.load()
            x = options.preprocess(image)
    except Exception as error:  # pillow raises what its parsers do
        return {"error": f"expected a photo that can be decoded, got {type(error).__name__}: {error}"}
    scores = np.asarray(model(x)).reshape(-1)
    label = int(scores.argmax())
    return {"label": label, "score": float(scores[label])}


# -- in the process that speaks HTTP -------------------------------------------------------------------------


class Batcher:
    """A queue of photos, and the workers that take them in batches.

    A batch goes out when a worker is free: at once where one is, so that a lone photo waits for nobody.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.pool = ProcessPoolExecutor(
            options.workers, get_context("spawn"), initializer=start_worker, initargs=(options,)
        )
        self.waiting: asyncio.Queue[tuple[bytes, asyncio.Future[Answer]]] = asyncio.Queue()
        self.free = asyncio.Semaphore(options.workers)
        self.inside = 0  # photos that wait or run
        self.broken = False

    async def start(self) -> None:
        """Wait until every worker has its model, and begin to serve."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self.pool, ready) for _ in range(self.options.workers)))
        self.task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """End the workers."""
        self.task.cancel()
        self.pool.shutdown(cancel_futures=True)

    async def answer(self, photo: bytes) -> Answer:
        """Return the answer for a photo, or refuse it."""
        if self.broken:
            raise HTTPException(503, "a worker has died")
        if self.inside >= self.options.queue:
            raise HTTPException(503, "the queue is full", {"Retry-After": "1"})
        self.inside += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self.waiting.put_nowait((photo, future))
            return await future
        finally:
            self.inside -= 1

    async def _serve(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            batch = [await self.waiting.get()]
            if self.free.locked():  # nobody could take it now: others may join it
                await asyncio.sleep(self.options.window)
            await self.free.acquire()
            while len(batch) < self.options.batch and self._share() > len(batch):
                batch.append(self.waiting.get_nowait())
            task = asyncio.create_task(self._run(batch))
            running.add(task)
            task.add_done_callback(running.discard)

    def _share(self) -> int:
        """Return how many of the photos that wait a worker may take without leaving another idle."""
        return self.waiting.qsize() // self.options.workers + 1

    async def _run(self, batch: list[tuple[bytes, asyncio.Future[Answer]]]) -> None:
        try:
            photos = [photo for photo, _ in batch]
            answers = await asyncio.get_running_loop().run_in_executor(self.pool, predict, photos)
        except BrokenProcessPool:
            self.broken = True
            answers = [{"error": "a worker has died", "status": 503}] * len(batch)
        except Exception as error:  # of the model itself
            answers = [{"error": f"{type(error).__name__}: {error}", "status": 500}] * len(batch)
        finally:
            self.free.release()
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():  # whoever asked may have gone
                future.set_result(answer)


async def body_of(request: Request, max_bytes: int) -> bytes:
    """Read a request's body, and no more of it than is allowed."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise HTTPException(413, f"expected at most {max_bytes} bytes, got more")
    return b"".join(parts)


def application(options: Options) -> FastAPI:
    """Return the server, to be run by uvicorn or another server of ASGI applications."""
    batcher: Batcher

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal batcher
        batcher = Batcher(options)
        await batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(title="fastconv", lifespan=lifespan)

    @app.post("/predict")
    async def predict_one(request: Request) -> Answer:
        answer = await batcher.answer(await body_of(request, options.max_bytes))
        if "error" in answer:
            raise HTTPException(answer.get("status", 400), answer["error"])
        return answer

    @app.get("/health")
    async def health() -> Answer:
        if batcher.broken:
            raise HTTPException(503, "a worker has died")
        return {"workers": options.workers, "inside": batcher.inside, "queue": options.queue}

    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="file that `fastconv convert` wrote")
    parser.add_argument("--architecture", choices=models.list(), required=True, help="whose preprocessing")
    parser.add_argument("--workers", type=int, default=fastconv.get_num_threads(), help="default: cores")
    parser.add_argument("--queue", type=int, default=32, help="photos inside before 503 (default: 32)")
    parser.add_argument("--max-bytes", type=int, default=10 << 20, help="of a photo (default: 10 MiB)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    options = Options(
        partial(fastconv.load, args.model, threads=1), models.MODELS[args.architecture].preprocess,
        workers=args.workers, queue=args.queue, max_bytes=args.max_bytes,
    )  # fmt: skip
    uvicorn.run(application(options), host=args.host, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
