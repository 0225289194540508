"""Forked and spawned processes: before and after the first use, and while other threads are at it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]

CHILD = """
fastconv.set_num_threads(2)

def succeeds(work, seconds=60):
    '''Fork; the child has to finish its work, which returns whether all was right.'''
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)  # ends a child that hangs
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0
"""


def test_before_the_first_use(script: Script) -> None:
    script(CHILD + "assert all(succeeds(lambda: right(Model(THE_GRAPH))) for _ in range(3))")


def test_after_it_with_the_same_model(script: Script) -> None:
    """The parent's workers do not exist in the child, which plans new shapes too, and forks in turn."""
    script(
        CHILD
        + """
model = Model(THE_GRAPH)
model(INPUTS[0])
assert succeeds(lambda: right(model) and succeeds(lambda: right(model)) and right(Model(THE_GRAPH)))
assert right(model)
"""
    )


@pytest.mark.parametrize("busy", ["model", "planning", "conv2d"])
def test_while_another_thread_works(script: Script, busy: str) -> None:
    """The child finds every lock free and every list whole, wherever the other threads were."""
    script(
        CHILD
        + f"""
model, conv = Model(THE_GRAPH), fastconv.Conv2d(rng.standard_normal((24, 3, 3, 3), dtype=np.float32))
z = [conv(x) for x in INPUTS]
stop = False
def work():
    for n in itertools.count():
        if stop:
            return
        if "{busy}" == "model":
            model(INPUTS[n % 3])
        elif "{busy}" == "planning":
            model(np.ones((1, 3, 8 + n % 50, 8 + n % 47), np.float32))
        else:
            conv(INPUTS[n % 3])
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
try:
    for _ in range(40):
        assert succeeds(lambda: right(model) and all(map(np.array_equal, map(conv, INPUTS), z)))
finally:
    stop = True
"""
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(script: Script, method: str) -> None:
    """Models travel to the workers, as initial arguments and with each task."""
    script(
        """
import concurrent.futures, multiprocessing

def remember(model):
    global the_model
    the_model = model

def run(x):
    return the_model(x)

def run_given(model, x):
    return model(x)

if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    model = Model(THE_GRAPH)
    assert right(model)
    with concurrent.futures.ProcessPoolExecutor(2, context, remember, (model,)) as pool:
        for x, y, z in zip(INPUTS, EXPECTED, pool.map(run, INPUTS)):
            assert np.array_equal(y, z)
        for x, y in zip(INPUTS, EXPECTED):
            assert np.array_equal(pool.submit(run_given, model, x).result(), y)
    with context.Pool(2, remember, (model,)) as pool:
        assert all(map(np.array_equal, pool.map(run, INPUTS), EXPECTED))
""".replace("METHOD", method)
    )
