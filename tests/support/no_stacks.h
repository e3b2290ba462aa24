#ifndef TESTS_SUPPORT_NO_STACKS_H_
#define TESTS_SUPPORT_NO_STACKS_H_

#include <pthread.h>

#include <cstddef>

#include "gtest/gtest.h"

namespace mycelium::test {

// While this object lives no thread can be started: each would have a stack
// larger than any process's address space. Limits do not bind every user; this
// does.
//
// Thread safety: none. It affects the whole process.
class NoStacks final {
 public:
  NoStacks() {
    EXPECT_EQ(pthread_getattr_default_np(&before_), 0);
    pthread_attr_t huge;
    EXPECT_EQ(pthread_attr_init(&huge), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 48), 0);
    EXPECT_EQ(pthread_setattr_default_np(&huge), 0);
    pthread_attr_destroy(&huge);
  }
  NoStacks(const NoStacks&) = delete;
  NoStacks& operator=(const NoStacks&) = delete;
  ~NoStacks() {
    EXPECT_EQ(pthread_setattr_default_np(&before_), 0);
    pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_NO_STACKS_H_
