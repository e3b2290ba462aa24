#ifndef TESTS_CONFORMANCE_CUTTING_RELAY_H_
#define TESTS_CONFORMANCE_CUTTING_RELAY_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <thread>

namespace mycelium::test {

// Stands between two ends of a Unix socket and passes their bytes on. It cuts
// the connection on command and after random numbers of bytes, at any place in
// a record.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: one connection at a time, on a thread of its own.
class CuttingRelay final {
 public:
  // Listens at `path` and connects each client to `target`. Each connection
  // passes at most `bytes_max` bytes; 0 stands for no limit.
  CuttingRelay(const std::string& path, const std::string& target,
               uint64_t seed, uint64_t bytes_max);
  CuttingRelay(const CuttingRelay&) = delete;
  CuttingRelay& operator=(const CuttingRelay&) = delete;
  ~CuttingRelay();

  // Cuts the present connection.
  void Cut();
  // From here on only Cut() cuts connections.
  void StopRandomCuts() { bytes_max_ = 0; }

  uint64_t cuts() const { return cuts_; }
  // How many connections an end has closed itself.
  uint64_t closed() const { return closed_; }
  // How many bytes have come from either end, of all connections.
  uint64_t passed() const { return passed_; }

 private:
  void Run();
  void Relay(int from, int to);
  // False once one end has closed.
  bool Pass(int from, int to, uint64_t* budget);

  const std::string target_;
  std::mt19937_64 random_;
  std::atomic<uint64_t> bytes_max_;
  std::atomic<uint64_t> cuts_{0};
  std::atomic<uint64_t> closed_{0};
  std::atomic<uint64_t> passed_{0};
  std::atomic<bool> over_{false};
  int listener_ = -1;
  int orders_ = -1;  // An eventfd: cut, or end.
  std::thread thread_;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_CUTTING_RELAY_H_
