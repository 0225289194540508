// L6 bindings: threads, tiers and what is known of the machine;
// python/fastconv/{_threads,_config}.py are the callers.
#include <pybind11/stl.h>

#include <chrono>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "core/allocation.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "core/platform.h"
#include "core/share_trace.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

template <class Condition>
std::vector<std::string> tiers_where(Condition condition) {
  std::vector<std::string> names;
  for (int i = 0; i < kTierCount; ++i)
    if (condition(static_cast<Tier>(i))) names.emplace_back(tier_name(static_cast<Tier>(i)));
  return names;
}

std::vector<std::string> runnable_tiers() {
  return tiers_where([](Tier t) { return !is_extension(t) && tier_supported(t); });
}

py::dict cpu_info() {
  py::dict sizes;
  sizes["l1d"] = caches().l1d;
  sizes["l2"] = caches().l2;
  sizes["l3"] = caches().l3;
  py::dict tiers;
  tiers["built"] = tiers_where([](Tier t) { return !is_extension(t); });
  tiers["found"] = runnable_tiers();
  tiers["used"] = tier_name(active_tier());
  py::dict lanes;
  for (const std::string& name : runnable_tiers())
    lanes[py::str(name)] = kernels(tier_named("tier", name)).lanes;
  tiers["lanes"] = lanes;
  tiers["extensions"] = tiers_where([](Tier t) { return is_extension(t) && tier_supported(t); });
  py::dict build;
  build["compiler"] = kCompiler;
  build["platform"] = kPlatform;
  build["emulated"] = py::tuple(py::cast(tiers_where(is_emulated)));
  py::dict info;
  info["model"] = cpu_model();
  info["tiers"] = tiers;
  info["caches"] = sizes;
  info["default_threads"] = default_num_threads();
  info["build"] = build;
  return info;
}

// Reads FASTCONV_NUM_THREADS and FASTCONV_ISA. A function of its own, not part of the module's
// start, because an exception there would reach the user as an ImportError without its class.
void initialize() {
  set_default_num_threads();
  active_tier();
  caches();  // found now: a child that is forked while another thread looks would wait for it
}

// Which thread ran each share of a parallel_run whose shares take so long.
std::vector<int32_t> threads_of_shares(int shares, int microseconds) {
  FC_CHECK(shares >= 1, ArgumentError, "shares: expected at least 1, got ", shares);
  std::vector<int32_t> threads(static_cast<size_t>(shares));
  const GilRelease unlocked;
  parallel_run(shares, [&](int share) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point end = Clock::now() + std::chrono::microseconds(microseconds);
    while (Clock::now() < end) {
    }
    int32_t& thread = threads[static_cast<size_t>(share)];
    FC_CHECK(thread == 0, ArgumentError, "share: expected to run once, got ", share, " again");
    thread = this_thread().number;
  });
  return threads;
}

}  // namespace

void bind_core(py::module_& m) {
  m.def("initialize", &initialize,
        "Apply the environment variables; raises ArgumentError for a bad value.");
  m.attr("MAX_THREADS") = kMaxThreads;
  m.def(
      "get_num_threads",
      [] {
        const Caller caller(threads_of_context());
        return get_num_threads();
      },
      "Threads that a call may use.");
  m.def("set_threads_variable", &set_threads_variable, py::arg("variable"),
        "The context variable with the number of threads of a block, in place of the process's.");
  m.def("set_num_threads", &set_num_threads, py::arg("n"),
        "Set the threads of the whole process, n >= 1.");
  m.def(
      "cgroup_threads", &cgroup_threads, py::arg("root") = "",
      "Processors that the control groups leave, read from /proc and /sys under root; for tests.");
  m.def("threads_of_shares", &threads_of_shares, py::arg("shares"), py::arg("microseconds"),
        "The native thread ids that ran the shares of a loop of nothing; for tests.");
  m.def("start_share_trace", &start_share_trace,
        "Note from now on which thread runs which share of a parallel loop, and when.");
  m.def(
      "stop_share_trace",
      [] {
        py::list events;
        for (const ShareEvent& e : stop_share_trace())
          events.append(py::make_tuple(e.thread, e.share, e.begin_ns, e.end_ns));
        return events;
      },
      "Stop, and return (native thread, share, begin, end in ns of time.monotonic_ns()).");
  m.def("fail_allocation", &fail_allocation, py::arg("n"),
        "Make the n-th allocation of this module from now on fail (0: none), and return what was "
        "left of the count before; for tests.");
  m.def("cpu_info", &cpu_info,
        "Model, tiers, caches (bytes), default threads and build, as nested dicts.");
  m.def("tiers", &runnable_tiers,
        "Names of the ISA tiers that are built and run here, lowest first.");
  m.def("active_tier", [] { return tier_name(active_tier()); }, "Name of the tier in use.");
  m.def(
      "set_active_tier", [](const std::string& name) { set_active_tier(tier_named("name", name)); },
      py::arg("name"), "Use another tier for plans made from now on; for tests.");
  m.def("set_extensions_active", &set_extensions_active, py::arg("last"),
        "Plans made from now on use the extensions up to that one, 'all' or none, ''; for tests.");
  m.def("bounds_overlap", &bounds_overlap, py::arg("a").noconvert(), py::arg("b").noconvert(),
        "Whether the byte ranges of two arrays overlap; their elements then may.");
}

}  // namespace fastconv
