"""Memory traffic as the processor itself counts it: cache misses, by Linux's ``perf_event_open``.

The third way beside the compulsory bytes and the predicted ones. It needs a processor (or virtual machine)
with such a counter and a kernel that allows it to users, which containers often have not: then there is a
reason in place of a number.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import statistics
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastconv import _core

RUNS = 5
LINE = 64  # bytes
_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
# struct perf_event_attr, version 0: type, size, config, sample_period, sample_type, read_format, flags,
# wakeup_events, bp_type, bp_addr.
_ATTRIBUTES = "=IIQQQQQIIQ"
_TIMES = 1 | 2  # read_format: for how long it was enabled, and for how long it ran
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_READING = "=QQQ"


@dataclass(frozen=True)
class Event:
    """What to count: its name, the kernel's type and number of it, and the bytes that each stands for."""

    name: str
    type: int
    config: int
    bytes: int


def cache_misses(cpu: str) -> Event:
    """Return the kernel's generic event for cache misses, which is of another cache on AMD's cores.

    >>> cache_misses("AMD EPYC").name, cache_misses("Intel(R) Xeon(R)").name
    ('misses of L2 x 64 bytes', 'misses of the last-level cache x 64 bytes')
    """
    level = "L2" if cpu.startswith("AMD") else "the last-level cache"
    return Event(
        f"misses of {level} x {LINE} bytes", 0, 3, LINE
    )  # PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES


@dataclass(frozen=True)
class CountedTraffic:
    """The memory traffic of a run as it was counted, or why it was not.

    Attributes
    ----------
    event : str
        What was counted, in all threads of this process.
    bytes : int, optional
        The events of a run times the bytes that each stands for, the median of five runs; None where nothing
        could be counted.
    reason : str
        Why not.
    """

    event: str
    bytes: int | None
    reason: str = ""

    def __str__(self) -> str:
        if self.bytes is None:
            return f"not counted: {self.reason}"
        return f"{self.bytes / 1e6:.1f} MB counted ({self.event})"


def count_traffic(
    run: Callable[[], object], *, event: Event | None = None, runs: int = RUNS
) -> CountedTraffic:
    """Count the cache misses of a call.

    Parameters
    ----------
    run : callable
        What to count, called `runs` times; the threads that it uses have been started before.
    event : Event, optional
        What to count in place of cache misses.
    runs : int, default 5
        How often.

    Returns
    -------
    CountedTraffic
        The median, or the reason why there is none.

    Examples
    --------
    >>> found = count_traffic(lambda: sum(range(1000)))
    >>> (found.bytes is None) == bool(found.reason)
    True
    """
    event = event or cache_misses(_core.cpu_info()["model"])
    counts = []
    try:
        with _counters(event) as counters:
            for _ in range(runs):
                before = _read(counters)
                run()
                counts.append(_read(counters) - before)
    except OSError as error:
        return CountedTraffic(event.name, None, _reason(error))
    return CountedTraffic(event.name, round(event.bytes * statistics.median(counts)))


@contextlib.contextmanager
def _counters(event: Event) -> Iterator[list[int]]:
    """Open a counter for each thread of this process, of whatever library; they count at once."""
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    size = struct.calcsize(_ATTRIBUTES)
    attributes = struct.pack(_ATTRIBUTES, event.type, size, event.config, 0, 0, _TIMES, flags, 0, 0, 0)
    counters: list[int] = []
    try:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                counters.append(_open(attributes, thread))
        yield counters
    finally:
        for counter in counters:
            os.close(counter)


def _threads() -> list[int]:
    """Return the kernel's numbers of this process's threads."""
    tasks = Path("/proc/self/task")
    return sorted(int(task.name) for task in tasks.iterdir()) if tasks.is_dir() else [0]


def _open(attributes: bytes, thread: int) -> int:
    """Call ``perf_event_open`` for a thread on any processor; an OSError has the kernel's errno."""
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    descriptor = int(libc.syscall(number, buffer, thread, -1, -1, 0))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


def _read(counters: list[int]) -> float:
    """Return the sum of the counts, each scaled to all of its time where it shared the hardware."""
    total = 0.0
    for counter in counters:
        value, enabled, running = struct.unpack(_READING, os.read(counter, struct.calcsize(_READING)))
        if running:
            total += value * (enabled / running)
        elif enabled:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    return total


def _reason(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    why = {
        "ENOSYS": "this system has none",
        "ENOENT": "the processor has no such counter, or the virtual machine hides it",
        "ENODEV": "the processor has no such counter, or the virtual machine hides it",
        "EOPNOTSUPP": "the processor has no such counter, or the virtual machine hides it",
        "EBUSY": "the counter is in use elsewhere",
    }.get(name)
    if name in ("EACCES", "EPERM"):
        level = _PARANOID.read_text().strip() if _PARANOID.exists() else "unknown"
        why = f"the kernel or the container forbids it (kernel.perf_event_paranoid is {level})"
    return f"perf_event_open: {name}, {why or error.strerror}"
