#ifndef MYCELIUM_TESTING_FIBER_H_
#define MYCELIUM_TESTING_FIBER_H_

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace mycelium {

// A function with a stack of its own, which runs until it waits and later goes
// on from there. The same kernel thread resumes all fibers, so that any number
// of them take turns in one order.
//
// Thread safety: none: all fibers of a program belong to one thread.
//
// Ownership: destroying a fiber that has not finished leaks what its function
// holds; run it to its end.
class Fiber final {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the function until it suspends or returns. REQUIRES: not finished(),
  // and not called from within the fiber.
  void Resume();

  // Goes back to the caller of Resume(). REQUIRES: called from within the
  // fiber.
  void Suspend();

  bool finished() const { return finished_; }

 private:
  static constexpr size_t kStackBytes = 512 * 1024;

  static void Enter(unsigned int high, unsigned int low);
  void Run();

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  ucontext_t inside_;
  ucontext_t outside_;
  bool finished_ = false;
  // What AddressSanitizer is told of the two stacks.
  void* inside_shadow_ = nullptr;
  void* outside_shadow_ = nullptr;
  const void* outside_stack_ = nullptr;
  size_t outside_stack_bytes_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_FIBER_H_
