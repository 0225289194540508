// L6 bindings: _core.peak and _core.bandwidth, the measured limits of a tier;
// python/fastconv/lab/machine is the caller. A sample is a few milliseconds long, so that on a
// shared machine some samples run undisturbed: the best one is the peak, and the spread tells how
// disturbed the others were.
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/parallel.h"
#include "core/tiles.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

// A thousand times the pool's barrier, and a fraction of a scheduler's time slice.
constexpr double kSampleSeconds = 2e-3;
constexpr dim_t kMostBytes = dim_t{1} << 33;

void check(int threads, double seconds) {
  FC_CHECK(threads >= 1 && threads <= 4096, ArgumentError, "threads: expected 1 to 4096, got ",
           threads);
  FC_CHECK(seconds > 0, ArgumentError, "seconds: expected more than 0, got ", seconds);
}

template <class Call>
double seconds_of(Call&& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Runs body(tid, rounds) on all threads at once, with so many rounds that a sample is long enough,
// for about `seconds`: the seconds of each sample, divided by its rounds. How many that are is
// found by one thread, the best of three times: on a busy machine a call of any length may take
// long, and of several threads almost every one does, which would leave samples of one round each.
template <class Body>
std::vector<double> samples(int threads, double seconds, Body&& body) {
  const auto alone = [&](dim_t rounds) {
    const auto once = [&] { body(0, rounds); };
    return std::min({seconds_of(once), seconds_of(once), seconds_of(once)});
  };
  const auto sample = [&](dim_t rounds) {
    return seconds_of([&] { parallel_run(threads, [&](int tid) { body(tid, rounds); }); });
  };
  dim_t rounds = 1;
  while (alone(rounds) < kSampleSeconds) rounds *= 2;
  std::vector<double> times;
  for (double elapsed = 0; elapsed < seconds;) {
    const double t = sample(rounds);
    times.push_back(t / static_cast<double>(rounds));
    elapsed += t;
  }
  return times;
}

std::vector<double> rates(const std::vector<double>& times, double work) {
  std::vector<double> result;
  for (double t : times) result.push_back(work / t * 1e-9);
  return result;
}

// By the names of dtypes; those that a tier has no instruction for are null.
std::vector<std::pair<const char*, PeakLoop>> peak_loops(const std::string& tier) {
  const KernelTable& table = kernels(tier_named("tier", tier));
  const PeakKernels& peak = table.peak;
  const PeakLoop& bf16 = table.bf16_tiles.peak.run ? table.bf16_tiles.peak : table.bf16.peak;
  return {{"f32", peak.f32}, {"bf16", bf16}, {"int8", peak.int8}, {"bit", peak.bit}};
}

py::dict peak_instructions(const std::string& tier) {
  py::dict found;
  for (const auto& [dtype, loop] : peak_loops(tier))
    if (loop.run) found[py::str(dtype)] = loop.instruction;
  return found;
}

std::vector<double> peak(const std::string& tier, const std::string& dtype, int threads,
                         double seconds) {
  constexpr dim_t kSteps = 1000;
  check(threads, seconds);
  PeakLoop found;
  std::string names;
  for (const auto& [name, loop] : peak_loops(tier)) {
    if (!loop.run) continue;
    if (dtype == name) found = loop;
    names += message(names.empty() ? "" : ", ", name);
  }
  FC_CHECK(found.run, ArgumentError, "dtype: expected one that tier ", tier,
           " has an instruction for here, ", names, ", got '", dtype, "'");
  FC_CHECK(!found.uses_tiles || cpu_permits_tiles(), ArgumentError,
           "dtype: expected one that this process may measure, got '", dtype,
           "', whose tile registers the system refuses");
  float unused;
  const double operations = found.run(kSteps, &unused);
  const auto times = samples(threads, seconds, [&](int, dim_t rounds) {
    float sink;
    found.run(kSteps * rounds, &sink);
  });
  return rates(times, operations * threads);
}

std::vector<double> bandwidth(const std::string& tier, const std::string& op, dim_t bytes,
                              int threads, double seconds) {
  check(threads, seconds);
  const BandwidthKernels& memory = kernels(tier_named("tier", tier)).bandwidth;
  FC_CHECK(op == "read" || op == "write" || op == "copy", ArgumentError,
           "op: expected read, write or copy, got ", op);
  const bool copies = op == "copy";
  const auto floats = static_cast<dim_t>(sizeof(float));
  const dim_t n = round_up(bytes / floats / (copies ? 2 : 1), memory.stride);
  FC_CHECK(bytes >= floats && bytes <= kMostBytes, ArgumentError, "bytes: expected ", floats,
           " to ", kMostBytes, ", got ", bytes);
  struct Arrays {
    Buffer<float> x, y;
  };
  std::vector<Arrays> arrays(static_cast<size_t>(threads));
  for (Arrays& a : arrays) a = {Buffer<float>(n), Buffer<float>(copies ? n : 0)};
  const auto touch = [&](int tid) {  // by the thread that will use them: it owns the pages then
    Arrays& a = arrays[static_cast<size_t>(tid)];
    memory.write(n, 1.0f, a.x.data());
    if (copies) memory.write(n, 1.0f, a.y.data());
  };
  parallel_run(threads, touch);
  const auto times = samples(threads, seconds, [&](int tid, dim_t rounds) {
    Arrays& a = arrays[static_cast<size_t>(tid)];
    float sink;
    for (dim_t i = 0; i < rounds; ++i) {
      if (copies) {
        memory.copy(n, a.x.data(), a.y.data());
      } else if (op == "read") {
        memory.read(n, a.x.data(), &sink);
      } else {
        memory.write(n, 1.0f, a.x.data());
      }
    }
  });
  return rates(times, static_cast<double>(n * floats * (copies ? 2 : 1)) * threads);
}

}  // namespace

void bind_roofline(py::module_& m) {
  m.def("peak_instructions", &peak_instructions, py::arg("tier"),
        "The instruction that peak() measures, for each dtype that a tier has one for here.");
  m.def("peak", &peak, py::arg("tier"), py::arg("dtype"), py::arg("threads"), py::arg("seconds"),
        py::call_guard<GilRelease>(),
        "Samples, in 1e9 operations a second, of a register-only loop of multiply-adds of a tier "
        "on `threads` threads, for about `seconds` seconds; a multiply-add counts as two.");
  m.def(
      "bandwidth", &bandwidth, py::arg("tier"), py::arg("op"), py::arg("bytes"), py::arg("threads"),
      py::arg("seconds"), py::call_guard<GilRelease>(),
      "GB/s samples of reading, writing or copying (`op`) `bytes` bytes a thread again and again, "
      "for about `seconds` seconds; a copied byte counts twice.");
}

}  // namespace fastconv
