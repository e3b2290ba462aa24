#ifndef TESTS_CONFORMANCE_FAULTY_PROXY_H_
#define TESTS_CONFORMANCE_FAULTY_PROXY_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace mycelium::test {

// Stands between two ends of TCP connections and behaves as a bad network does.
// A seed decides what happens to each connection, and after how many bytes.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: each connection has a thread until it ends.
class FaultyProxy final {
 public:
  enum class Fault {
    kNone,       // Bytes pass.
    kDrop,       // It is closed, and what was under way is lost.
    kReset,      // Both ends get a reset.
    kHalfClose,  // One direction ends; nothing more passes either way.
    kBlackhole,  // Nothing passes any more, and neither end is told.
    kDelay,      // Bytes wait for some milliseconds each time.
    kThrottle,   // A few hundred bytes each millisecond.
    kByChance,   // One of the others, except the first.
  };
  static constexpr size_t kFaults = 8;

  // Listens at a port of `host` and connects each client to `target` there.
  // `bytes_max`: a fault sets in after at most so many bytes.
  FaultyProxy(const std::string& host, int target, uint64_t seed,
              uint64_t bytes_max);
  FaultyProxy(const FaultyProxy&) = delete;
  FaultyProxy& operator=(const FaultyProxy&) = delete;
  ~FaultyProxy();

  int port() const { return port_; }

  // Sets what happens from now on, also to open connections. At first chance
  // decides.
  void Impose(Fault fault) { imposed_ = fault; }
  uint64_t count(Fault fault) const {
    return counts_[static_cast<size_t>(fault)];
  }
  uint64_t connections() const { return connections_; }

 private:
  struct Connection;

  void Accept();
  void Serve(Connection& connection);
  // What happens to a connection now.
  Fault Decide(Connection& connection);
  // False once the connection is over.
  bool Pass(Connection& connection, int from, int to, size_t bytes_max);
  bool Turn(Connection& connection, Fault fault);

  const std::string host_;
  const int target_;
  const uint64_t seed_;
  const uint64_t bytes_max_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<Fault> imposed_{Fault::kByChance};
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> connections_{0};
  std::array<std::atomic<uint64_t>, kFaults> counts_ = {};
  std::vector<std::unique_ptr<Connection>> open_;  // The accepting thread's.
  std::thread accepting_;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_FAULTY_PROXY_H_
