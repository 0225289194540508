// L6 bindings: a convolution with the plan of its last shapes and a workspace, so that repeated calls
// plan and allocate nothing. Of f32 or of integers: a Bound is what a Conv is bound to.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "conv/conv2d.h"
#include "core/buffer.h"
#include "core/fork_mutex.h"
#include "core/parallel.h"
#include "core/view.h"

namespace fastconv {

using Sizes = std::vector<dim_t>;

template <class Conv, class Bound>
class BoundCache {
 public:
  template <class... Args>
  explicit BoundCache(const Args&... args) : conv_(args...) {}
  ~BoundCache() { delete workspace_.load(); }
  const Conv& conv() const { return conv_; }
  // Keeps an array alive that the plan may read its weights from.
  void keep(pybind11::object array) { kept_.push_back(std::move(array)); }

  // The shapes and strides of x, y and a residual, or null; bind(conv) makes their plan, where the
  // last call's is not theirs, and run(bound, workspace) runs it.
  using Views = std::array<const View*, 3>;
  template <class Bind, class Run>
  void run(const Views& views, Bind bind, Run run) {
    // A second caller at the same time, be it a signal's handler, finds no workspace and makes one.
    const std::shared_ptr<const Bound> bound = find(views, bind);
    std::unique_ptr<Buffer<std::byte>> workspace(workspace_.exchange(nullptr));
    if (!workspace) workspace = std::make_unique<Buffer<std::byte>>();
    workspace->reserve(bound->workspace());
    run(*bound, workspace->data());
    delete workspace_.exchange(workspace.release());
  }

 private:
  using Key = std::array<dim_t, 6 * kMaxRank + 2>;
  static Key key_of(const Views& views) {
    Key key{};
    key[0] = views[2] != nullptr;
    key[6 * kMaxRank + 1] = get_num_threads();
    for (int v = 0; v < 3; ++v)
      for (int i = 0; views[v] && i < views[v]->rank; ++i) {
        key[static_cast<size_t>(1 + (2 * v) * kMaxRank + i)] = views[v]->shape[i];
        key[static_cast<size_t>(1 + (2 * v + 1) * kMaxRank + i)] = views[v]->stride[i];
      }
    return key;
  }
  template <class Bind>
  std::shared_ptr<const Bound> find(const Views& views, Bind bind) {
    const Key key = key_of(views);
    const std::lock_guard<ForkMutex> lock(mutex_);
    if (!bound_ || key != key_) {
      bound_ = bind(conv_);
      key_ = key;
    }
    return bound_;
  }

  std::vector<pybind11::object> kept_;  // empty without the GIL: the constructor runs so
  Conv conv_;
  ForkMutex mutex_;
  std::shared_ptr<const Bound> bound_;
  Key key_{};
  std::atomic<Buffer<std::byte>*> workspace_{nullptr};
};

// What Python asks of either: the result's shape, and which algorithm runs, for an input's shape or
// for what is known without one.
template <class Conv, class Bound>
void bind_choice(pybind11::class_<BoundCache<Conv, Bound>>& c) {
  namespace py = pybind11;
  using Cached = BoundCache<Conv, Bound>;
  const auto shape_of = [](const Conv& conv, const Sizes& x_shape) {
    return conv.shape(static_cast<int>(x_shape.size()), x_shape.data());
  };
  const auto known_shape = [=](const Conv& conv, const std::optional<Sizes>& x_shape) {
    return x_shape ? std::optional<ConvShape>(shape_of(conv, *x_shape)) : std::nullopt;
  };
  c.def("out_shape",
        [=](const Cached& self, const Sizes& x_shape) {
          return out_shape_of(shape_of(self.conv(), x_shape), x_shape.size());
        })
      .def(
          "algorithm",
          [=](const Cached& self, const std::optional<Sizes>& x_shape) {
            const std::optional<ConvShape> s = known_shape(self.conv(), x_shape);
            return self.conv().algorithm(s ? &*s : nullptr);
          },
          py::arg("x_shape") = py::none())
      .def(
          "explain",
          [=](const Cached& self, const std::optional<Sizes>& x_shape) {
            const Conv& conv = self.conv();
            const std::optional<ConvShape> s = known_shape(conv, x_shape);
            const ConvShape* const known = s ? &*s : nullptr;
            const std::string algorithm = conv.algorithm(known);
            py::dict rejected;
            for (const AlgoVerdict& v : conv.verdicts(known))
              if (v.name != algorithm) rejected[py::str(v.name)] = v.reason;
            py::dict found;
            found["algorithm"] = algorithm;
            found["tile"] = known || algorithm != "auto" ? conv.tile(s.value_or(ConvShape())) : "";
            found["packed_bytes"] = conv.packed_bytes();
            found["rejected"] = rejected;
            return found;
          },
          py::arg("x_shape") = py::none())
      .def_property_readonly("packed_bytes",
                             [](const Cached& self) { return self.conv().packed_bytes(); });
}

}  // namespace fastconv
