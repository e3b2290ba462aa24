#include "mycelium/base/per_process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(PerProcessTest, ThreadsThatComeAtOnceGetTheSameOne) {
  for (int round = 0; round < 200; ++round) {
    PerProcess<int> one;
    std::vector<int*> got(4);
    std::vector<std::thread> threads;
    for (int*& mine : got) {
      threads.emplace_back([&one, &mine] { mine = &one.Get(); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(std::set<int*>(got.begin(), got.end()).size(), 1u);
  }
}

TEST(PerProcessTest, ForkedChildBeginsWithOneOfItsOwn) {
  static PerProcess<int> one;
  one.Get() = 7;
  const pid_t child = fork();
  if (child == 0) {
    const bool is_new = one.Get() == 0;
    one.Get() = 8;
    _exit(is_new && one.Get() == 8 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(one.Get(), 7);
}

}  // namespace
}  // namespace mycelium
