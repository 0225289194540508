"""Running what may crash, hang or eat the machine: each time in a process of its own, with limits.

A server, started once, imports what is needed; for each task it forks a child, which limits its address space
and its time and then calls a function. Crashes, hangs and memory of the child are what :class:`Outcome`
tells; a fork takes 3 ms, where a fresh interpreter takes 200.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS = 10.0
MEMORY = 3 << 30  # bytes of address space beside what the server has


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    ``error`` is the exception's class and ``message`` its text, both empty where the function returned;
    ``typed`` says whether it is one of ours. ``signal`` is what killed the child: SIGALRM where the time was
    over. ``seconds`` are of the processor; ``peak_bytes`` is how much resident memory grew at the most.
    """

    value: Any = None
    error: str = ""
    message: str = ""
    typed: bool = False
    signal: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the function returned or raised one of our errors."""
        return not self.signal and (not self.error or self.typed)


class Sandbox:
    """A server process; use it as a context."""

    def __enter__(self) -> Sandbox:
        self._connection, theirs = multiprocessing.Pipe()
        handle = theirs.fileno()
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(paths),  # the functions of a task are found where we are
        }
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({handle})"]
        self._server = subprocess.Popen(command, pass_fds=[handle], env=environment)
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._server.wait()

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        seconds: float = SECONDS,
        memory: int = MEMORY,
    ) -> Outcome:
        """Call a module's function in a child, and say what became of it."""
        self._connection.send((function, arguments, seconds, memory))
        outcome: Outcome = self._connection.recv()
        return outcome

    def prepare(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a module's function in the server, for what it leaves there."""
        self._connection.send((function, arguments))
        self._connection.recv()


def serve(handle: int) -> None:
    """Be the server of the connection that a file handle is."""
    import onnx  # noqa: F401  (so that the children need not)

    import fastconv.importers  # noqa: F401

    connection: Connection[Any, Any] = Connection(handle)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        function, arguments, *limits = task
        if limits:
            connection.send(_fork(function, arguments, *limits))
        else:
            function(*arguments)
            connection.send(None)


def _fork(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float, memory: int) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _limit(seconds, memory)
        with os.fdopen(writing, "wb") as stream:
            stream.write(pickle.dumps(_call(function, arguments)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        written = stream.read()
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        return Outcome(signal=signal.Signals(os.WTERMSIG(status)).name, seconds=seconds)
    if not written:
        return Outcome(error="SystemExit", message=f"status {os.waitstatus_to_exitcode(status)}")
    outcome: Outcome = pickle.loads(written)
    return replace(outcome, seconds=seconds)


def _limit(seconds: float, memory: int) -> None:
    """Limit this process: what it has now and some memory, so many seconds, no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  (no path, an interface)
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    from fastconv.errors import FastconvError

    before = peak_bytes()
    try:
        outcome = Outcome(value=function(*arguments))
    except BaseException as error:
        outcome = Outcome(
            error=type(error).__name__, message=str(error)[:2000], typed=isinstance(error, FastconvError)
        )
    return replace(outcome, peak_bytes=peak_bytes() - before)


def peak_bytes() -> int:
    """Return the most resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
