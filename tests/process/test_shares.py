"""Who computes: shares that nobody has begun are taken over, and callers at once share the threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]


@pytest.mark.linux
def test_a_worker_that_does_not_come_is_not_waited_for(script: Script) -> None:
    """On one core with a caller that does not pause, a worker of the lowest priority does not get to run."""
    script(
        """
fastconv.set_num_threads(2)
main = threading.get_native_id()
while (worker := _core.threads_of_shares(2, 1000)[1]) == main:
    pass
core = {min(os.sched_getaffinity(0))}
for thread in (main, worker):
    os.sched_setaffinity(thread, core)
os.sched_setscheduler(worker, os.SCHED_IDLE, os.sched_param(0))
rounds = [_core.threads_of_shares(2, 100) for _ in range(200)]
assert {first for first, _ in rounds} == {main}
assert sum(second == main for _, second in rounds) > 100

# It is asked again once it can come.
os.sched_setscheduler(worker, os.SCHED_OTHER, os.sched_param(0))
end = time.monotonic() + 60
while _core.threads_of_shares(2, 1000)[1] != worker:
    assert time.monotonic() < end
"""
    )


def test_callers_at_once_have_a_part_each(script: Script) -> None:
    """Who calls while another computes gets no worker where there is a thread for each, and half of four."""
    script(
        """
def used_beside(threads):
    '''Return how many threads each call had that another thread's calls surrounded.'''
    fastconv.set_num_threads(threads)
    stop = threading.Event()
    started = threading.Barrier(2)
    def keep_busy():
        started.wait()
        while not stop.is_set():
            _core.threads_of_shares(8, 20_000)
    other = threading.Thread(target=keep_busy)
    other.start()
    started.wait()
    time.sleep(0.05)
    found = [len(set(_core.threads_of_shares(8, 500))) for _ in range(20)]
    stop.set()
    other.join()
    return found

# Between two of its calls the other has none, and leaves the whole pool to who calls then.
assert sorted(used_beside(2))[10] == 1
assert sorted(used_beside(4))[10] <= 2
"""
    )


def test_every_share_runs_once_for_any_number_of_callers(script: Script) -> None:
    script(
        """
fastconv.set_num_threads(5)
x, w = np.ones((1, 8, 40, 40), np.float32), np.ones((8, 8, 3, 3), np.float32)
expected = fastconv.conv2d(x, w)
wrong = []

def call(seed):
    random = np.random.default_rng(seed)
    for _ in range(300):
        shares = int(random.integers(1, 30))
        if 0 in _core.threads_of_shares(shares, int(random.integers(0, 50))):
            wrong.append("share")
        with fastconv.threads(int(random.integers(1, 9))):
            if not np.array_equal(fastconv.conv2d(x, w), expected):
                wrong.append("bits")

callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
assert wrong == []
"""
    )
