"""Ctrl-C in the middle of long work: the exception comes within a second, and everything works after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]

INTERRUPT = """
fastconv.set_num_threads(THREADS)

def interrupted(work, after=0.3):
    '''Send SIGINT to this process while it works; return how long it took to answer.'''
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(after, send)
    timer.start()
    try:
        work()
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]
    raise AssertionError("the work was over before the signal: make it longer")
"""

# All of these would take seconds. Batches are one image again and again, and the result's memory is touched
# as far as the work gets.
WORK = {
    "model": """
model, x = Model(graph(256)), np.zeros((24, 3, 224, 224), np.float32)
work = lambda: model(x)""",
    "winograd": """
x = np.broadcast_to(np.ones((1, 56, 56, 512), np.float32), (400, 56, 56, 512))
w = np.ones((512, 512, 3, 3), np.float32)
conv = fastconv.Conv2d(w, padding=1, layout="NHWC", algorithm="winograd_f4")
work = lambda: conv(x)""",
    "implicit": """
x = np.broadcast_to(np.ones((1, 58, 58, 512), np.float32), (400, 58, 58, 512))
conv = fastconv.Conv2d(np.ones((512, 512, 3, 3), np.float32), layout="NHWC", algorithm="implicit")
work = lambda: conv(x)""",
    "planar": """
x = np.broadcast_to(np.ones((1, 1024, 56, 56), np.float32), (400, 1024, 56, 56))
conv = fastconv.Conv2d(np.ones((1024, 1024, 1, 1), np.float32), algorithm="planar")
work = lambda: conv(x)""",
    "depthwise": """
x = np.broadcast_to(np.ones((1, 112, 112, 32), np.float32), (4000, 112, 112, 32))
conv = fastconv.Conv2d(np.ones((32, 1, 7, 7), np.float32), padding=3, groups=32, layout="NHWC")
work = lambda: conv(x)""",
    "rows": """
x = np.broadcast_to(np.ones((1, 112, 112, 32), np.float32), (1000, 112, 112, 32))
conv = fastconv.Conv2d(np.ones((32, 1, 21, 21), np.float32), padding=10, groups=32, layout="NHWC")
work = lambda: conv(x)""",
    "gemm": """
a = np.zeros((9000, 9000), np.float32)
work = lambda: fastconv.gemm(a, a)""",
    "reference": """
x, w = np.zeros((1, 64, 256, 256), np.float32), np.ones((64, 64, 3, 3), np.float32)
work = lambda: fastconv.conv2d(x, w, algorithm="reference")""",
}


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("kind", WORK)
def test_interrupt(script: Script, kind: str, threads: str) -> None:
    script(
        INTERRUPT.replace("THREADS", threads)
        + WORK[kind]
        + """
took = interrupted(work)
assert took < 1, took
assert right(Model(THE_GRAPH))
"""
    )


def test_handlers_run_and_the_work_goes_on(script: Script) -> None:
    """A handler that raises nothing leaves the result alone, and may call what it interrupts."""
    script(
        """
seen = []
model = Model(THE_GRAPH)
images, took = 50, 0
while took < 0.4:  # long enough that signals are asked for, which is every 0.1 s
    images *= 2
    x = np.ones((images, 3, 112, 112), np.float32)
    y = model(x)
    start = time.monotonic()
    model(x)
    took = time.monotonic() - start
def handler(number, frame):
    seen.append(right(model))
signal.signal(signal.SIGALRM, handler)
for _ in range(6):
    signal.setitimer(signal.ITIMER_REAL, 0.15)  # once: the handler is called by what it calls, too
    assert np.array_equal(model(x), y)
signal.setitimer(signal.ITIMER_REAL, 0)
assert seen and all(seen), seen
"""
    )


def test_other_exceptions_of_handlers(script: Script) -> None:
    """A timeout in the manner of a test runner's."""
    script(
        """
class TooLate(Exception):
    pass
def handler(number, frame):
    raise TooLate(number)
signal.signal(signal.SIGALRM, handler)
signal.alarm(1)
a = np.zeros((9000, 9000), np.float32)
try:
    fastconv.gemm(a, a)
except TooLate as error:
    assert error.args == (signal.SIGALRM,)
else:
    raise AssertionError("the work was over before the signal: make it longer")
assert right(Model(THE_GRAPH))
"""
    )


def test_work_of_other_threads_goes_on(script: Script) -> None:
    """A signal is the main thread's: what another thread computes meanwhile is right."""
    script(
        INTERRUPT.replace("THREADS", "2")
        + """
model = Model(THE_GRAPH)
wrong, stop = [], False
def others():
    while not stop:
        if not right(model):
            wrong.append(1)
threads = [threading.Thread(target=others) for _ in range(2)]
for t in threads: t.start()
slow, x = Model(graph(256)), np.zeros((24, 3, 224, 224), np.float32)
try:
    for _ in range(3):
        interrupted(lambda: slow(x))
finally:
    stop = True
for t in threads: t.join()
assert not wrong
"""
    )
