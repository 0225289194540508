"""Fixtures of the whole suite, and the rule for packages that are not installed.

A test that compares with another package takes it with ``pytest.importorskip``, or skips with a reason that
says "not installed" or "needs". With ``FASTCONV_REQUIRE_COMPARISONS=1`` such a skip is a failure.
"""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections.abc import Generator, Iterator
from types import ModuleType
from typing import TypeVar

import hypothesis
import numpy as np
import pytest

import fastconv
from fastconv import _core

hypothesis.settings.register_profile(
    "fastconv",
    deadline=None,  # the first call of a size pays for packing, pages and threads
    # One tier and one number of threads hold for all examples of a test.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    derandomize="CI" in os.environ,
    print_blob=True,
)
hypothesis.settings.load_profile("fastconv")


# All that run here, or the one that FASTCONV_ISA names: what an emulated build is for.
TIERS = [_core.active_tier()] if os.environ.get("FASTCONV_ISA") else _core.tiers()


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every ISA tier; plans made in the test use it."""
    before = _core.active_tier()
    _core.set_active_tier(request.param)
    yield request.param
    _core.set_active_tier(before)


def sets_of_kernels(extended: dict[str, str]) -> list[tuple[str, str]]:
    """Return each tier with all these extensions, without them, and with only the first ones of them."""
    found = [name for name in _core.cpu_info()["tiers"]["extensions"] if name in extended]
    return [
        (tier, last)
        for tier in TIERS
        for last in (["all", "", *found[:-1]] if tier in map(extended.get, found) else ["all"])
        if last in ("all", "") or extended[last] == tier
    ]


def name_of_set(kernels: tuple[str, str]) -> str:
    tier, last = kernels
    return tier if last == "all" else f"{tier} {last or 'alone'}"


def each_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.active_tier()
    tier, last = request.param
    _core.set_active_tier(tier)
    _core.set_extensions_active(last)
    yield tier
    _core.set_extensions_active("all")
    _core.set_active_tier(before)


KERNELS = sets_of_kernels({"avx_vnni": "avx2", "avx512_vnni": "avx512", "amx_int8": "avx512"})
BF16 = sets_of_kernels({"avx512_bf16": "avx512", "amx_bf16": "avx512"})


@pytest.fixture(params=KERNELS, ids=name_of_set)
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every set of integer kernels."""
    yield from each_set(request)


@pytest.fixture(params=BF16, ids=name_of_set)
def tier_and_bf16(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every set of kernels of bf16."""
    yield from each_set(request)


@pytest.fixture
def tiers() -> Iterator[Iterator[str]]:
    """Go through the ISA tiers within a test, for which the problem is dearer to prepare than to run."""

    def each() -> Iterator[str]:
        for name in TIERS:
            _core.set_active_tier(name)
            yield name

    before = _core.active_tier()
    yield each()
    _core.set_active_tier(before)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is about things that the portable platform goes without."""
    if item.get_closest_marker("linux") and _core.cpu_info()["build"]["platform"] != "linux":
        pytest.skip("built with FASTCONV_PORTABLE, which goes without it")


@pytest.fixture(autouse=True)
def process_threads() -> Iterator[None]:
    """Restore the process's number of threads, which an engine that is timed sets."""
    before = _core.get_num_threads()
    yield
    if _core.get_num_threads() != before:
        fastconv.set_num_threads(before)


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test with one thread and with two."""
    with fastconv.threads(request.param):
        yield request.param


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that are a test's own and the same in every run."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


_TORCHVISION_OPS = [
    "nms",
    "qnms",
    "roi_align",
    "_roi_align_backward",
    "roi_pool",
    "_roi_pool_backward",
    "ps_roi_align",
    "_ps_roi_align_backward",
    "ps_roi_pool",
    "_ps_roi_pool_backward",
    "deform_conv2d",
    "_deform_conv2d_backward",
]


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Return torchvision; a wheel built for CUDA imports on a CPU once the names of its operators exist."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except ImportError:
            pytest.skip("torchvision is not installed")
        except RuntimeError:
            library = torch.library.Library("torchvision", "DEF")
            for name in _TORCHVISION_OPS:
                library.define(f"{name}() -> ()")
            import torchvision

            torchvision.operator_names = library  # they live as long as the library object
    return torchvision


COMPARISONS_REQUIRED = os.environ.get("FASTCONV_REQUIRE_COMPARISONS") == "1"
MISSING = re.compile(r"could not import|install|\bneeds\b")  # what a skip says that is for want of a package

Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


def _fail_if_missing(report: Report) -> Report:
    if COMPARISONS_REQUIRED and report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        if MISSING.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: FASTCONV_REQUIRE_COMPARISONS=1, but: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _fail_if_missing((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _fail_if_missing((yield))


# -- ``pytest --left-out``: what a run with fewer packages did not do, and no more ---------------------------

SKIPPED = "fastconv/skipped"  # in pytest's cache: tests, and files whose collection was skipped


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run the tests that the run before skipped, and those marked `peers`"
    parser.addoption("--left-out", action="store_true", help=text)


class _Skips:
    """Keeps the names of what a run skips."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        if self.config.cache is not None:
            self.config.cache.set(SKIPPED, self.names)


def pytest_configure(config: pytest.Config) -> None:
    of_a_worker = hasattr(config, "workerinput")  # of pytest-xdist, whose reports come here too
    if not of_a_worker and not config.getoption("--left-out") and getattr(config, "cache", None) is not None:
        config.pluginmanager.register(_Skips(config), "skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--left-out"):
        return
    assert config.cache is not None
    names = set(config.cache.get(SKIPPED, []))
    assert names, "--left-out: expected a run before this one, got none"

    def is_left_out(item: pytest.Item) -> bool:
        whole_file = item.nodeid.split("::")[0]
        return item.nodeid in names or whole_file in names or item.get_closest_marker("peers") is not None

    config.hook.pytest_deselected(items=[item for item in items if not is_left_out(item)])
    items[:] = filter(is_left_out, items)
