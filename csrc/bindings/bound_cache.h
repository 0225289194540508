// L6 bindings: a convolution with the plan of its last shapes and a workspace, so that repeated calls
// plan and allocate nothing. Of f32 or of integers: a Bound is what a Conv is bound to.
#pragma once
#include <pybind11/pybind11.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/fork_mutex.h"
#include "core/parallel.h"
#include "core/view.h"

namespace fastconv {

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

}  // namespace fastconv
