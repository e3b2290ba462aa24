#include "mycelium/testing/fiber.h"

#include <cstdint>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define MYCELIUM_START_SWITCH(shadow, stack, bytes) \
  __sanitizer_start_switch_fiber(shadow, stack, bytes)
#define MYCELIUM_FINISH_SWITCH(shadow, stack, bytes) \
  __sanitizer_finish_switch_fiber(shadow, stack, bytes)
#else
#define MYCELIUM_START_SWITCH(shadow, stack, bytes) (void)(shadow)
#define MYCELIUM_FINISH_SWITCH(shadow, stack, bytes) (void)(shadow)
#endif

namespace mycelium {

Fiber::Fiber(std::function<void()> body)
    : body_(std::move(body)), stack_(new std::byte[kStackBytes]) {
  getcontext(&inside_);
  inside_.uc_stack.ss_sp = stack_.get();
  inside_.uc_stack.ss_size = kStackBytes;
  inside_.uc_link = nullptr;
  const uint64_t self = reinterpret_cast<uint64_t>(this);
  makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::Enter), 2,
              static_cast<unsigned int>(self >> 32),
              static_cast<unsigned int>(self));
}

Fiber::~Fiber() = default;

void Fiber::Enter(unsigned int high, unsigned int low) {
  reinterpret_cast<Fiber*>(static_cast<uint64_t>(high) << 32 | low)->Run();
}

void Fiber::Run() {
  MYCELIUM_FINISH_SWITCH(nullptr, &outside_stack_, &outside_stack_bytes_);
  body_();
  body_ = nullptr;
  finished_ = true;
  // Without a place for the shadow, since this stack is not used again.
  MYCELIUM_START_SWITCH(nullptr, outside_stack_, outside_stack_bytes_);
  swapcontext(&inside_, &outside_);
}

void Fiber::Resume() {
  MYCELIUM_START_SWITCH(&outside_shadow_, stack_.get(), kStackBytes);
  swapcontext(&outside_, &inside_);
  MYCELIUM_FINISH_SWITCH(outside_shadow_, nullptr, nullptr);
}

void Fiber::Suspend() {
  MYCELIUM_START_SWITCH(&inside_shadow_, outside_stack_, outside_stack_bytes_);
  swapcontext(&inside_, &outside_);
  MYCELIUM_FINISH_SWITCH(inside_shadow_, &outside_stack_,
                         &outside_stack_bytes_);
}

}  // namespace mycelium
