"""Memory traffic by hardware counters: counted where the kernel allows it, and else with the reason."""

from __future__ import annotations

import errno
import mmap
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastconv.lab.profile import counters
from fastconv.lab.profile.counters import CountedTraffic, Event, count_traffic

PAGE = mmap.PAGESIZE
# Software events are counted by the kernel itself: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS.
PAGE_FAULTS = Event("page faults", 1, 2, PAGE)

linux = pytest.mark.skipif(sys.platform != "linux", reason="perf_event_open is Linux's")


def touch(pages: int) -> None:
    """Write to so many pages that nobody has touched."""
    with mmap.mmap(-1, pages * PAGE) as fresh:
        fresh.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, pages * PAGE, PAGE):
            fresh[at] = 1


@pytest.fixture
def worker() -> Iterator[threading.Barrier]:
    """A thread that touches 2000 pages whenever both have met at the barrier."""
    barrier, ends = threading.Barrier(2), threading.Event()

    def work() -> None:
        while True:
            barrier.wait()
            if ends.is_set():
                return
            touch(2000)
            barrier.wait()

    thread = threading.Thread(target=work)
    thread.start()
    yield barrier
    ends.set()
    barrier.wait()
    thread.join()


def allowed(found: CountedTraffic) -> bool:
    """Whether this machine counts, which a container may forbid even for software events."""
    return found.bytes is not None


@linux
def test_events_are_counted() -> None:
    found = count_traffic(lambda: touch(3000), event=PAGE_FAULTS)
    if not allowed(found):
        assert "perf_event_open: E" in found.reason
        return
    assert found.bytes is not None
    assert 3000 <= found.bytes / PAGE < 4000
    assert (found.event, found.reason) == ("page faults", "")


@linux
def test_events_of_other_threads_are_counted(worker: threading.Barrier) -> None:
    def run() -> None:
        worker.wait()
        worker.wait()

    found = count_traffic(run, event=PAGE_FAULTS)
    if allowed(found):
        assert found.bytes is not None
        assert 2000 <= found.bytes / PAGE < 3000


@linux
def test_cache_misses_or_the_reason() -> None:
    """Reading 256 MB misses some of its lines, each about once at most; what is not counted has a reason."""
    x = np.ones(1 << 26, np.float32)
    found = count_traffic(lambda: x.sum(), runs=3)
    if allowed(found):
        assert found.bytes is not None
        assert 0.01 * x.nbytes < found.bytes < 3 * x.nbytes
        assert "64 bytes" in str(found)
    else:
        assert found.reason.startswith("perf_event_open: E")
        assert str(found) == f"not counted: {found.reason}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, r"EACCES, the kernel or the container forbids it \(kernel.perf_event_paranoid is"),
        (errno.EPERM, "EPERM, the kernel or the container forbids it"),
        (errno.ENOENT, "ENOENT, the processor has no such counter"),
        (errno.ENOSYS, "ENOSYS, this system has none"),
        (errno.EMFILE, "EMFILE, Too many open files"),
    ],
)
def test_a_refusal_is_a_reason(code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(counters, "_open", refuse)
    found = count_traffic(lambda: pytest.fail("nothing to run"))
    assert found.bytes is None
    assert re.search(words, found.reason)


@linux
def test_no_counter_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the second thread's is refused."""
    real, calls = counters._open, []

    def second_fails(attributes: bytes, thread: int) -> int:
        calls.append(thread)
        if len(calls) > 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(attributes, thread)

    before = len(list(Path("/proc/self/fd").iterdir()))
    count_traffic(lambda: None, event=PAGE_FAULTS)
    monkeypatch.setattr(counters, "_open", second_fails)
    ready = threading.Event()
    thread = threading.Thread(target=ready.wait)
    thread.start()
    found = count_traffic(lambda: None, event=PAGE_FAULTS)
    ready.set()
    thread.join()
    assert found.bytes is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@linux
def test_a_shared_counter_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ran half of its time has seen half of the events; one that never ran, none."""
    readings = iter([(0, 100, 50), (10, 300, 150)])
    pack = counters.struct.pack
    monkeypatch.setattr(counters, "_open", lambda *_: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(counters, "_threads", lambda: [1])
    monkeypatch.setattr(counters.os, "read", lambda *_: pack(counters._READING, *next(readings)))
    assert count_traffic(lambda: None, runs=1).bytes == 20 * counters.LINE
    readings = iter([(0, 100, 0)])
    found = count_traffic(lambda: None, runs=1)
    assert (found.bytes, found.reason) == (None, "perf_event_open: EBUSY, the counter is in use elsewhere")
