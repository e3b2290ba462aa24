#ifndef TESTS_CONFORMANCE_PEER_PROCESS_H_
#define TESTS_CONFORMANCE_PEER_PROCESS_H_

#include <sys/types.h>

#include <deque>
#include <string>
#include <vector>

#include "tests/conformance/peer_page.h"

namespace mycelium::test {

// Another process that runs conformance_peer, or `binary` of this folder, told
// what to do line by line.
//
// Its counts are in a page that the test can read even after Kill().
//
// Thread safety: none. Ownership: the process ends with the object: its input
// ends, and it is a test failure if it does not end well then. A process that
// the test has stopped is killed instead.
//
// Example:
//   PeerProcess writer({"--role=publish", ...}, dir.file("writer.page"));
//   writer.Tell("publish 100");
//   EXPECT_EQ(writer.Await("published"), "OK 0");
class PeerProcess final {
 public:
  PeerProcess(std::vector<std::string> flags, const std::string& page_path,
              const std::string& binary = "conformance_peer");
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess();

  void Tell(const std::string& line);

  // Waits for a line that begins with these words, up to a deadline, and
  // returns what follows them. Other lines stay for later. A test failure, and
  // "(none)", if no such line comes.
  std::string Await(const std::string& words);

  // Tells the process a line, and awaits the answer.
  std::string Ask(const std::string& line, const std::string& answer) {
    Tell(line);
    return Await(answer);
  }

  // SIGKILL, and waits for the end. A test failure if it had ended before in
  // another way than well, or by SIGKILL.
  void Kill();
  // Waits, up to a deadline, until it has ended by itself, and returns how:
  // "exit STATUS" or "signal NUMBER". A test failure, and "(goes on)", if it
  // does not.
  std::string AwaitEnd();
  void Stop();    // SIGSTOP, and waits until it stands.
  void Resume();  // SIGCONT.

  PeerCounts& counts() { return page_.counts(); }

 private:
  bool ReadMore(int64_t deadline_ms);
  std::string Reap();  // Waits for the end, and returns how it was.

  PeerPage page_;
  pid_t pid_ = -1;
  bool stands_ = false;  // Between Stop() and Resume().
  int input_ = -1;       // Of the process: we write.
  int output_ = -1;      // We read.
  std::string partial_;
  std::deque<std::string> lines_;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_PEER_PROCESS_H_
