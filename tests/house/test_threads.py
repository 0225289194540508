"""Threads: the setting, the environment, forks, many callers, an idle pool, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastconv

X = np.random.default_rng(1).standard_normal((1, 32, 40, 40), dtype=np.float32)
W = np.random.default_rng(2).standard_normal((64, 32, 3, 3), dtype=np.float32)

SETUP = """
import os, sys, threading, time
import numpy as np
import fastconv
x = np.random.default_rng(1).standard_normal((1, 32, 40, 40), dtype=np.float32)
w = np.random.default_rng(2).standard_normal((64, 32, 3, 3), dtype=np.float32)
fastconv.set_num_threads(2)
y = fastconv.conv2d(x, w)
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "FASTCONV_NUM_THREADS"}}
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def default_threads(**environment: str) -> int:
    run = python("import fastconv; print(fastconv.get_num_threads())", **environment)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def test_context_manager_restores_after_an_exception() -> None:
    before = fastconv.get_num_threads()

    @fastconv.threads(3)
    def fail() -> None:
        assert fastconv.get_num_threads() == 3
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fastconv.get_num_threads() == before


@pytest.mark.parametrize("n", [0, -1, -(2**40), 4097, 2**40])
def test_impossible_count(n: int) -> None:
    with pytest.raises(fastconv.ArgumentError, match=r"^n: expected 1 to 4096 threads, got "):
        fastconv.set_num_threads(n)


@pytest.mark.parametrize("n", [1.0, "2", None])
def test_count_of_another_type(n: object) -> None:
    with pytest.raises(fastconv.DTypeError, match=r"^n: expected an integer, got "):
        fastconv.set_num_threads(n)  # type: ignore[arg-type]


def test_default_is_no_more_than_the_affinity() -> None:
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.linux
def test_affinity_counts() -> None:
    cpu = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{cpu}]); import fastconv; print(fastconv.get_num_threads())"
    assert python(code).stdout.strip() == "1"


@pytest.mark.parametrize("name", ["FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"])
def test_environment_caps(name: str) -> None:
    assert default_threads(**{name: "1"}) == 1
    assert default_threads(**{name: "1000"}) == default_threads()
    assert default_threads(**{name: ""}) == default_threads()


def test_first_number_of_an_omp_list_counts() -> None:
    assert default_threads(OMP_NUM_THREADS="1,4") == 1


@pytest.mark.parametrize("value", ["many", "0", "-2", "1.5", "99999999999"])
def test_bad_environment(value: str) -> None:
    assert default_threads(OMP_NUM_THREADS=value) == default_threads()  # not ours to judge
    run = python("import fastconv", FASTCONV_NUM_THREADS=value)
    assert run.returncode != 0
    assert (
        f"ArgumentError: FASTCONV_NUM_THREADS: expected a whole number of at least 1, got '{value}'"
        in run.stderr
    )


@pytest.mark.parametrize("n", [2, 3, 8])
def test_same_bits_for_any_number_of_threads(n: int) -> None:
    with fastconv.threads(1):
        expected = fastconv.conv2d(X, W)
    with fastconv.threads(n):
        for _ in range(20):
            np.testing.assert_array_equal(fastconv.conv2d(X, W), expected)


def test_many_python_threads() -> None:
    """Callers share the pool, and who gets no worker does its own work: the same bits for all."""
    expected = fastconv.conv2d(X, W)
    wrong = []

    def work() -> None:
        for _ in range(10):
            if not np.array_equal(fastconv.conv2d(X, W), expected):
                wrong.append(threading.get_ident())

    before = fastconv.get_num_threads()
    fastconv.set_num_threads(4)
    try:
        callers = [threading.Thread(target=work) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        fastconv.set_num_threads(before)
    assert wrong == []


def test_a_block_is_its_threads_own() -> None:
    """Two blocks that overlap in two threads, each ending first in turn, leave every number as it was."""
    process = fastconv.get_num_threads()
    entered, left = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        seen.append(fastconv.get_num_threads())
        with fastconv.threads(process + 2):
            entered.set()
            left.wait()
            seen.append(fastconv.get_num_threads())
        seen.append(fastconv.get_num_threads())

    thread = threading.Thread(target=other)
    with fastconv.threads(process + 1):
        thread.start()
        entered.wait()
        assert fastconv.get_num_threads() == process + 1
    assert fastconv.get_num_threads() == process
    left.set()
    thread.join()
    assert seen == [process, process + 2, process]
    assert fastconv.get_num_threads() == process


def test_a_block_holds_for_tasks_and_ends_with_them() -> None:
    async def task(n: int, seen: list[int]) -> None:
        with fastconv.threads(n):
            for _ in range(3):
                await asyncio.sleep(0)  # the other task's block is entered and left meanwhile
                seen.append(fastconv.get_num_threads())
                seen.append(await asyncio.to_thread(fastconv.get_num_threads))

    async def both() -> tuple[list[int], list[int]]:
        found: tuple[list[int], list[int]] = ([], [])
        await asyncio.gather(task(5, found[0]), task(6, found[1]))
        return found

    process = fastconv.get_num_threads()
    assert asyncio.run(both()) == ([5] * 6, [6] * 6)
    assert fastconv.get_num_threads() == process


def test_a_block_outlasts_the_processs_number() -> None:
    before = fastconv.get_num_threads()
    try:
        with fastconv.threads(3):
            fastconv.set_num_threads(2)
            assert fastconv.get_num_threads() == 3
            with fastconv.threads(1):
                assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == 2
    finally:
        fastconv.set_num_threads(before)


@pytest.mark.parametrize("n", [0, 4097, "2"])
def test_a_block_of_an_impossible_number(n: object) -> None:
    before = fastconv.get_num_threads()
    with pytest.raises(fastconv.FastconvError, match=r"^n: expected"), fastconv.threads(n):  # type: ignore[arg-type]
        pass
    assert fastconv.get_num_threads() == before


def test_forked_child() -> None:
    """A child has none of its parent's workers, also when it forks in turn or the parent's pool is busy."""
    run = python(
        SETUP
        + """
def child(depth):
    pid = os.fork()
    if pid == 0:
        good = all(np.array_equal(fastconv.conv2d(x, w), y) for _ in range(5))
        os._exit(0 if good and (depth == 0 or child(depth - 1)) else 1)
    return os.waitpid(pid, 0)[1] == 0

stop = False
def keep_busy():
    while not stop:
        fastconv.conv2d(x, w)
caller = threading.Thread(target=keep_busy)
caller.start()
good = all(child(1) for _ in range(10))
stop = True
caller.join()
good = good and np.array_equal(fastconv.conv2d(x, w), y)
sys.exit(0 if good else 1)
"""
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "ending",
    [
        "",  # workers still spin or have just gone to sleep
        "threading.Thread(target=lambda: [fastconv.conv2d(x, w) for _ in range(10**6)], daemon=True).start()",
        "sys.exit(0)",
    ],
)
def test_process_ends(ending: str) -> None:
    run = python(SETUP + ending)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.linux
def test_a_worker_leaves_its_callers_core() -> None:
    """Put both on one core, then allow two: the worker goes to the other, and is not bound to it.

    A scheduler can leave both where they are for as long as they do not pause.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one core alone: there is nowhere to go")
    run = python(
        SETUP
        + f"""
cpus = {cpus[:2]}
threads = [int(t) for t in os.listdir("/proc/self/task")]
core = lambda thread: int(open(f"/proc/self/task/{{thread}}/stat").read().rpartition(")")[2].split()[36])
main = threading.get_native_id()

def allow(cpus):
    for thread in threads:
        os.sched_setaffinity(thread, cpus)

others = [t for t in threads if t != main]
apart = 0
for _ in range(10):
    allow(cpus[:1])
    for _ in range(20):
        fastconv.conv2d(x, w)
    allow(cpus)
    end = time.monotonic() + 1  # one that came late is left alone for less than a tenth of it
    while time.monotonic() < end and all(core(t) == core(main) for t in others):
        fastconv.conv2d(x, w)
    apart += any(core(t) != core(main) for t in others)
assert apart == 10, f"both stayed on one core in {{10 - apart}} of 10 trials"
end = time.monotonic() + 10  # one may be on its way
while any(os.sched_getaffinity(t) != set(cpus) for t in threads):
    assert time.monotonic() < end, "a thread was bound"
""",
        OPENBLAS_NUM_THREADS="1",  # the other thread is ours
    )
    assert run.returncode == 0, run.stderr


def test_idle_pool_burns_nothing() -> None:
    run = python(
        SETUP
        + """
import time
time.sleep(0.05)
before = time.process_time()  # of all threads
time.sleep(0.5)
print(time.process_time() - before)
"""
    )
    assert float(run.stdout) < 0.1


def test_threadpoolctl() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with fastconv.threads(2):
        (info,) = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "fastconv"]
        assert (info["num_threads"], info["version"]) == (2, fastconv.__version__)
        with threadpoolctl.threadpool_limits(1, user_api="fastconv"):
            assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(1):
            assert fastconv.get_num_threads() == 1
