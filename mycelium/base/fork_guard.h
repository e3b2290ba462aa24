#ifndef MYCELIUM_BASE_FORK_GUARD_H_
#define MYCELIUM_BASE_FORK_GUARD_H_

#include <atomic>
#include <cstdint>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// In which process an object was made, and whether that is this one. In the
// child of a fork() an object of the parent's is a dead copy: its threads are
// not there, its locks may be held for ever, its shared memory is not mapped,
// its descriptors are closed. What the child may do with it, the rule:
//
//   it reads what never changes, takes no lock, makes no system call, runs no
//   destructor, and says so (docs/adr/0028).
//
// It notices fork() of the C library, and all that is built on it. vfork() and
// posix_spawn(), whose children only exec, need nothing.
//
// Thread safety: all members may be called from any thread.
class ForkGuard final {
 public:
  // Whether a fork lies between the making of this and the calling process.
  // Costs a load and a comparison.
  bool is_inherited() const { return made_in_ != Generation(); }

  // FAILED_PRECONDITION if so; the message names `node`.
  absl::Status Check(absl::string_view node) const;

  // One more than the number of forks up to this process. Relaxed: a process
  // that was just forked has one thread, and starts the others after.
  static uint32_t Generation() {
    return generation_.load(std::memory_order_relaxed);
  }

  // Takes over what a child must not destroy, for as long as it lives.
  template <typename... Owners>
  static void KeepForEver(Owners... owners) {
    using All = std::tuple<Owners...>;
    struct Holder final : Kept {
      explicit Holder(All all) : owned(std::move(all)) {}
      All owned;
    };
    Keep(new Holder(All(std::move(owners)...)));
  }

 private:
  // An element of a list, where leak checkers find it.
  struct Kept {
    Kept* next = nullptr;
  };
  static void Keep(Kept* kept);
  static bool Register();
  static void AfterForkInChild();

  static std::atomic<uint32_t> generation_;
  static std::atomic<int32_t> process_id_;
  static const bool is_registered_;

  uint32_t made_in_ = Generation();
  int32_t process_ = process_id_.load(std::memory_order_relaxed);
};

// An owner, such as a shared_ptr, of what a child must leave as it is. In a
// child it is kept instead of destroyed or overwritten.
//
// Thread safety: as the owner.
template <typename Owner>
class LeftInChild final {
 public:
  LeftInChild() = default;
  LeftInChild(Owner owner) : owner_(std::move(owner)) {}
  LeftInChild(LeftInChild&& other) noexcept
      : owner_(std::move(other.owner_)), guard_(other.guard_) {}
  LeftInChild& operator=(LeftInChild&& other) noexcept {
    if (this == &other) return *this;
    Leave();
    owner_ = std::move(other.owner_);
    guard_ = other.guard_;
    return *this;
  }
  ~LeftInChild() { Leave(); }

  bool is_inherited() const { return guard_.is_inherited(); }
  absl::Status Check(absl::string_view node) const {
    return guard_.Check(node);
  }

  Owner& get() { return owner_; }
  const Owner& get() const { return owner_; }
  auto operator->() const { return owner_.get(); }
  decltype(auto) operator*() const { return *owner_; }
  bool operator==(std::nullptr_t) const { return owner_ == nullptr; }
  bool operator!=(std::nullptr_t) const { return owner_ != nullptr; }

 private:
  void Leave() {
    if (is_inherited()) ForkGuard::KeepForEver(std::move(owner_));
  }

  Owner owner_;
  ForkGuard guard_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_FORK_GUARD_H_
