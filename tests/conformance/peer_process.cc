#include "tests/conformance/peer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

extern char** environ;

namespace mycelium::test {
namespace {

constexpr int64_t kLongMs = 20'000;
const char kKilled[] = "signal 9";

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string PathOf(const std::string& binary) {
  return absl::StrCat(getenv("TEST_SRCDIR"), "/", getenv("TEST_WORKSPACE"),
                      "/tests/conformance/", binary);
}

// Some peers kill themselves.
void ExpectEndedWell(const std::string& end) {
  EXPECT_TRUE(end == kKilled || end == "exit 0") << "it ended with " << end;
}

}  // namespace

PeerProcess::PeerProcess(std::vector<std::string> flags,
                         const std::string& page_path,
                         const std::string& binary)
    : page_(page_path) {
  EXPECT_TRUE(page_.ok()) << page_path;
  int to_child[2], from_child[2];
  if (pipe2(to_child, O_CLOEXEC) != 0 || pipe2(from_child, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "no pipe";
    return;
  }
  flags.insert(flags.begin(), PathOf(binary));
  flags.push_back(absl::StrCat("--page=", page_path));
  std::vector<char*> arguments;
  for (std::string& flag : flags) arguments.push_back(flag.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to_child[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from_child[1], STDOUT_FILENO);
  if (posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(),
                  environ) != 0) {
    pid_ = -1;
    ADD_FAILURE() << "cannot start " << arguments[0];
  }
  posix_spawn_file_actions_destroy(&actions);
  close(to_child[0]);
  close(from_child[1]);
  input_ = to_child[1];
  output_ = from_child[0];
}

PeerProcess::~PeerProcess() {
  if (input_ >= 0) close(input_);
  if (stands_) Kill();
  // A sanitizer reports what it has found when the process ends by itself.
  if (pid_ > 0) ExpectEndedWell(AwaitEnd());
  if (output_ >= 0) close(output_);
}

void PeerProcess::Tell(const std::string& line) {
  const std::string text = line + "\n";
  EXPECT_EQ(write(input_, text.data(), text.size()),
            static_cast<ssize_t>(text.size()));
}

bool PeerProcess::ReadMore(int64_t deadline_ms) {
  pollfd fds = {output_, POLLIN, 0};
  const int64_t left = std::max<int64_t>(deadline_ms - NowMs(), 0);
  if (poll(&fds, 1, static_cast<int>(left)) <= 0) return false;
  char bytes[4096];
  const ssize_t count = read(output_, bytes, sizeof(bytes));
  if (count <= 0) return false;
  partial_.append(bytes, static_cast<size_t>(count));
  for (size_t end; (end = partial_.find('\n')) != std::string::npos;) {
    lines_.push_back(partial_.substr(0, end));
    partial_.erase(0, end + 1);
  }
  return true;
}

std::string PeerProcess::Await(const std::string& words) {
  const int64_t deadline = NowMs() + kLongMs;
  do {
    const auto line = std::find_if(
        lines_.begin(), lines_.end(),
        [&](const std::string& l) { return absl::StartsWith(l, words); });
    if (line == lines_.end()) continue;
    absl::string_view rest = *line;
    rest.remove_prefix(words.size());
    const std::string answer(absl::StripPrefix(rest, " "));
    lines_.erase(line);
    return answer;
  } while (ReadMore(deadline));
  ADD_FAILURE() << "no line \"" << words
                << "\"; there were: " << absl::StrJoin(lines_, " | ");
  return "(none)";
}

std::string PeerProcess::Reap() {
  int status = 0;
  EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return WIFEXITED(status) ? absl::StrCat("exit ", WEXITSTATUS(status))
                           : absl::StrCat("signal ", WTERMSIG(status));
}

void PeerProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  ExpectEndedWell(Reap());
}

std::string PeerProcess::AwaitEnd() {
  if (pid_ <= 0) return "(none)";
  const int64_t deadline = NowMs() + kLongMs;
  while (ReadMore(deadline)) {
  }
  // A process whose output has ended may not have ended itself yet.
  pollfd fds = {static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)), POLLIN, 0};
  EXPECT_GE(fds.fd, 0) << "no pidfd_open";
  const int64_t left = std::max<int64_t>(deadline - NowMs(), 0);
  const bool ended = poll(&fds, 1, static_cast<int>(left)) == 1;
  close(fds.fd);
  if (ended) return Reap();
  ADD_FAILURE() << "it goes on";
  Kill();
  return "(goes on)";
}

void PeerProcess::Stop() {
  kill(pid_, SIGSTOP);
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
  EXPECT_TRUE(WIFSTOPPED(status));
  stands_ = true;
}

void PeerProcess::Resume() {
  kill(pid_, SIGCONT);
  stands_ = false;
}

}  // namespace mycelium::test
