// L4 conv: how a convolution takes one of a list of algorithms, whatever its elements are: the list
// of Conv and that of IntegerConv are gone through alike. An algorithm A has a name and a pays(),
// which may be null; what it makes of the weights is a Packed.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "conv/conv2d.h"
#include "core/check.h"
#include "core/fork_mutex.h"

namespace fastconv {

template <class A, class Packed>
class Choice {
 public:
  // asked: "auto" or a name; ArgumentError where it is neither, or that algorithm does not accept.
  // expected: what names there are, for the message. reject(i): why number i of the list does not
  // accept, or empty; it is asked no further than needed.
  template <class Reject>
  Choice(const A* const* list, int count, const std::string& asked, const char* expected,
         Reject reject)
      : list_(list), count_(count) {
    const bool automatic = asked == "auto";
    for (int i = 0; i < count; ++i) {
      const A* const algo = list[i];
      if (!automatic && asked != algo->name) continue;
      const std::string reason = reject(i);
      FC_CHECK(automatic || reason.empty(), ArgumentError, "algorithm: '", asked,
               "' does not accept this convolution: ", reason);
      if (!reason.empty()) continue;
      candidates_.push_back({algo, nullptr});
      if (!automatic || !algo->pays) break;  // nothing after it is ever reached
    }
    FC_CHECK(!candidates_.empty(), ArgumentError, "algorithm: expected 'auto' or ", expected,
             ", got '", asked, "'");
  }

  // The only candidate, or null: it waits for the input's size.
  const A* only() const noexcept {
    return candidates_.size() == 1 ? candidates_.front().algo : nullptr;
  }
  // The first that pays(algo), or else the last, which takes every shape.
  template <class Pays>
  const A* first_that(Pays pays) const {
    for (const Candidate& c : candidates_)
      if (candidates_.size() == 1 || !c.algo->pays || pays(*c.algo)) return c.algo;
    return candidates_.back().algo;
  }
  void settle(const A* algo) { candidates_ = {{algo, nullptr}}; }

  // A candidate's weights, which prepack(algo) makes when they are first needed.
  template <class Prepack>
  std::shared_ptr<const Packed> packed(const A* algo, Prepack prepack) const {
    const std::lock_guard<ForkMutex> lock(mutex_);
    for (Candidate& c : candidates_) {
      if (c.algo != algo) continue;
      if (!c.packed) c.packed = prepack(*algo);
      return c.packed;
    }
    return nullptr;  // not reached: algo is a candidate's
  }
  // f(algo, packed) for those that were.
  template <class F>
  void each_packed(F f) const {
    const std::lock_guard<ForkMutex> lock(mutex_);
    for (const Candidate& c : candidates_)
      if (c.packed) f(*c.algo, *c.packed);
  }

  // Why each algorithm was not taken. chosen is null where that waits for the input's size;
  // pays(algo): whether it does for this size; reject(i) as above.
  template <class Pays, class Reject>
  std::vector<AlgoVerdict> verdicts(const A* chosen, Pays pays, Reject reject) const {
    std::vector<AlgoVerdict> found;
    bool taken = false;
    for (int i = 0; i < count_; ++i) {
      const A* const algo = list_[i];
      std::string reason = reject(i);
      if (reason.empty() && algo != chosen) {
        if (!chosen)
          reason = "accepts; the choice waits for the input's size";
        else if (taken)
          reason = "accepts, comes after the one in use";
        else if (algo->pays && !pays(*algo))
          reason = "accepts, but does not pay for this size";
        else
          reason = "accepts, another was asked for";
      }
      taken = taken || algo == chosen;
      found.push_back({algo->name, algo == chosen ? "" : reason});
    }
    return found;
  }

 private:
  struct Candidate {
    const A* algo;
    std::shared_ptr<const Packed> packed;
  };
  const A* const* list_;
  int count_;
  mutable ForkMutex mutex_;
  mutable std::vector<Candidate> candidates_;  // at least one; the last takes every shape
};

template <class A>
std::vector<std::string> names_of(const A* const* list, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(list[i]->name);
  return names;
}

}  // namespace fastconv
