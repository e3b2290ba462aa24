#ifndef TESTS_SUPPORT_COMES_H_
#define TESTS_SUPPORT_COMES_H_

#include <chrono>
#include <thread>

namespace mycelium::test {

// Whether `holds` becomes true within a time that is long for any machine. It
// is called again and again, for what other threads or processes bring about
// without telling. It may do something for it each time.
//
// Example:
//   ASSERT_TRUE(Comes([&] { return relay.closed() > 0; }));
template <typename Holds>
[[nodiscard]] bool Comes(Holds holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_COMES_H_
