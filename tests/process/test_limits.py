"""How many threads run: what threadpoolctl, the control group, the affinity and the environment allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fastconv import _core

Script = Callable[..., str]

NO_QUOTA = 2**31 - 1
USED = """
A = np.ones((600, 600), np.float32)

def threads_used(expected, call=lambda: fastconv.gemm(A, A)):  # 5 ms
    '''Return how many threads did a call's work, once it is `expected`, at most after a minute of calls.

    On a busy machine a worker may be late for many calls, which the caller then does alone.
    '''
    call()
    time.sleep(0.01)  # who has worked sleeps by now
    def seconds():
        return {t: int(open(f"/proc/self/task/{t}/schedstat").read().split()[0]) * 1e-9
                for t in os.listdir("/proc/self/task")}
    before, end, used = seconds(), time.monotonic() + 60, 0
    while used != expected and time.monotonic() < end:
        for _ in range(10):
            call()
        used = sum(now - before.get(t, 0) > 0.002 for t, now in seconds().items())
    return used
"""


def test_threadpoolctl(script: Script) -> None:
    """Its limit holds for what runs, not only for the number shown, and ends with its block."""
    pytest.importorskip("threadpoolctl")
    script(
        USED
        + """
from threadpoolctl import ThreadpoolController, threadpool_limits
fastconv.set_num_threads(2)
assert threads_used(2) == 2
with threadpool_limits(1):
    assert fastconv.get_num_threads() == 1 and threads_used(1) == 1
    with threadpool_limits({"fastconv": 3}):
        assert fastconv.get_num_threads() == 3
    assert fastconv.get_num_threads() == 1
assert fastconv.get_num_threads() == 2 and threads_used(2) == 2

@ThreadpoolController().wrap(limits=1, user_api="fastconv")
def limited():
    assert fastconv.get_num_threads() == 1
    raise KeyError
try:
    limited()
except KeyError:
    pass
assert fastconv.get_num_threads() == 2
""",
        OPENBLAS_NUM_THREADS="1",
    )


def test_threads_of_an_object(script: Script) -> None:
    """What an object was given goes before the process's number, and a block before both."""
    script(
        USED
        + """
fastconv.set_num_threads(2)
x, w = np.ones((1, 64, 56, 56), np.float32), np.ones((64, 64, 3, 3), np.float32)
convs = {n: fastconv.Conv2d(w, padding=1, threads=n) for n in (None, 1, 2)}
models = {n: Model(graph(64, 96), threads=n) for n in (None, 1, 2)}
image = np.ones((1, 3, 96, 96), np.float32)
for objects, argument in ((convs, x), (models, image)):
    def used(n, expected):
        return threads_used(expected, lambda: [objects[n](argument) for _ in range(10)])
    assert (used(None, 2), used(1, 1), used(2, 2)) == (2, 1, 2)
    fastconv.set_num_threads(1)
    assert (used(None, 1), used(2, 2)) == (1, 2)
    with fastconv.threads(1):
        assert used(2, 1) == 1
    fastconv.set_num_threads(2)
again = pickle.loads(pickle.dumps(models[1]))
assert threads_used(1, lambda: [again(image) for _ in range(10)]) == 1
assert " 1 threads" in again.explain() and " 2 threads" in models[2].explain()
""",
        OPENBLAS_NUM_THREADS="1",
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, NO_QUOTA),
        ({"proc/self/cgroup": "0::/"}, NO_QUOTA),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, NO_QUOTA),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "300000 100000"}, 3),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 2),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 1),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "800000 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",  # of the group above
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/not/mounted", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/",  # version 1
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "500000",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            NO_QUOTA,
        ),
        ({"proc/self/cgroup": "nonsense", "sys/fs/cgroup/cpu.max": "100000 100000"}, NO_QUOTA),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "garbage"}, NO_QUOTA),
    ],
)
@pytest.mark.linux
def test_control_groups(tmp_path: Path, files: Mapping[str, str], expected: int) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert _core.cgroup_threads(str(tmp_path)) == expected


@pytest.mark.linux
def test_a_child_asks_again(script: Script) -> None:
    """Until a number is set, a forked child takes its own affinity and environment; a set number stays."""
    script(
        """
def in_child(work):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        work()
        os.write(write, str(fastconv.get_num_threads()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(read, 10))

def one_core():
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

def one_thread():
    os.environ["OMP_NUM_THREADS"] = "1"

def nonsense():
    os.environ["FASTCONV_NUM_THREADS"] = "many"

default = fastconv.get_num_threads()
assert default == len(os.sched_getaffinity(0)) or _core.cgroup_threads() < 2**31 - 1
assert in_child(lambda: None) == default
assert in_child(one_core) == 1
assert in_child(one_thread) == 1
assert in_child(nonsense) >= 1
fastconv.set_num_threads(7)
assert in_child(one_core) == 7
""",
        setup="import os\nimport fastconv\nfrom fastconv import _core\n",
    )
