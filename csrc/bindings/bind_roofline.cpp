// L6 bindings: _core.peak_fma, the measured FMA peak of a tier; python/fastconv/roofline/peak.py is
// the caller. A sample is a few milliseconds long, so that on a shared machine some samples run
// undisturbed: the best one is the peak, and the spread tells how disturbed the others were.
#include <pybind11/stl.h>

#include <chrono>
#include <vector>

#include "bindings/bind.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

// A thousand times the pool's barrier, and a fraction of a scheduler's time slice.
constexpr double kSampleSeconds = 2e-3;

// One sample: every thread runs `steps` rounds and notes its FLOPs; seconds until the last is done.
double sample(const PeakKernels& peak, dim_t steps, std::vector<double>& flops) {
  const auto start = std::chrono::steady_clock::now();
  parallel_run(static_cast<int>(flops.size()), [&](int tid) {
    float sink;
    flops[static_cast<size_t>(tid)] = peak.fma(steps, &sink);
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<double> peak_fma(const std::string& tier, int threads, double seconds) {
  FC_CHECK(threads >= 1 && threads <= 4096, ArgumentError, "threads: expected 1 to 4096, got ",
           threads);
  FC_CHECK(seconds > 0, ArgumentError, "seconds: expected more than 0, got ", seconds);
  const PeakKernels& peak = kernels(tier_named("tier", tier)).peak;
  std::vector<double> flops(static_cast<size_t>(threads));

  dim_t steps = 1000;
  while (sample(peak, steps, flops) < kSampleSeconds) steps *= 2;

  std::vector<double> gflops;
  for (double elapsed = 0; elapsed < seconds;) {
    const double t = sample(peak, steps, flops);
    double total = 0;
    for (double f : flops) total += f;
    gflops.push_back(total / t * 1e-9);
    elapsed += t;
  }
  return gflops;
}

}  // namespace

void bind_roofline(py::module_& m) {
  m.def("peak_fma", &peak_fma, py::arg("tier"), py::arg("threads"), py::arg("seconds"),
        py::call_guard<GilRelease>(),
        "GFLOP/s samples of a register-only FMA loop of a tier on `threads` threads, for about "
        "`seconds` seconds.");
}

}  // namespace fastconv
