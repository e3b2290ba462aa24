// Many messages between two processes whose connection is cut again and again.
// Each must arrive once, in order and as it was written, and the memory of both
// sides must not grow. Over a socket or gRPC a relay cuts the connection. A
// relay lets no shared memory through, so over shared memory the publisher cuts
// it.
//
//   soak --messages=100000000 --cut_ms=200 [--transport=unix|grpc]
//   soak --transport=shm --messages=1000000000 --cut_ms=1000

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/conformance/cutting_relay.h"
#include "tests/soak/soak_page.h"
#include "tests/soak/soak_side.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

using Flags = std::map<std::string, std::string>;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStillMax(60);  // Without any message.
constexpr std::chrono::milliseconds kLook(5);
// Memory counts as flat if it grows by no more than this after a tenth of the
// messages.
constexpr uint64_t kGrowthKiBMax = 2048;

// This program again, as one of the sides. The process ends when this object is
// destroyed.
class Side final {
 public:
  Side(const std::string& role, const std::string& transport,
       const std::string& socket, const std::string& page, uint64_t messages) {
    int input[2];
    if (pipe(input) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(input[0], STDIN_FILENO);
      close(input[0]);
      close(input[1]);
      execl("/proc/self/exe", "soak", absl::StrCat("--role=", role).c_str(),
            absl::StrCat("--transport=", transport).c_str(),
            absl::StrCat("--socket=", socket).c_str(),
            absl::StrCat("--page=", page).c_str(),
            absl::StrCat("--messages=", messages).c_str(), nullptr);
      _exit(127);
    }
    close(input[0]);
    input_ = input[1];
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;
  ~Side() {
    if (pid_ > 0) kill(pid_, SIGKILL);
    (void)Wait();
  }

  // Ends the side's input, and returns whether all went well.
  bool Wait() {
    if (input_ >= 0) close(std::exchange(input_, -1));
    if (pid_ <= 0) return false;
    int status = 1;
    return waitpid(std::exchange(pid_, -1), &status, 0) > 0 && status == 0;
  }

  uint64_t RssKiB() const {
    std::ifstream statm(absl::StrCat("/proc/", pid_, "/statm"));
    uint64_t pages = 0, resident = 0;
    statm >> pages >> resident;
    return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
  }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
};

struct Memory {
  uint64_t publisher_kib = 0;
  uint64_t subscriber_kib = 0;
};

Memory Look(const Side& publisher, const Side& subscriber) {
  return {publisher.RssKiB(), subscriber.RssKiB()};
}

bool Check(bool holds, const std::string& law) {
  if (!holds) std::cout << "FAIL: " << law << "\n";
  return holds;
}

bool CheckCounts(const SoakCounts& counts, uint64_t messages) {
  const ReceivedIds& ids = counts.received;
  bool good =
      Check(ids.first == 1 && ids.last == messages && ids.count == messages &&
                ids.gaps == 0 && ids.duplicates == 0,
            absl::StrCat("each once and in order: first ", ids.first.load(),
                         ", last ", ids.last.load(), ", count ",
                         ids.count.load(), ", gaps ", ids.gaps.load(),
                         ", duplicates ", ids.duplicates.load()));
  good &= Check(
      counts.accepted == messages && counts.delivered == messages &&
          counts.dropped == 0 && counts.in_flight == 0,
      absl::StrCat("ledger: accepted ", counts.accepted.load(), ", delivered ",
                   counts.delivered.load(), ", dropped ", counts.dropped.load(),
                   ", in flight ", counts.in_flight.load()));
  good &= Check(counts.gone == 0 && counts.sides_failed == 0,
                "neither side gave the other up");
  good &= Check(counts.complaints == 0, "nobody took bytes for corrupt");
  return good;
}

bool IsFlat(uint64_t before, uint64_t after) {
  return after <= before + std::max(kGrowthKiBMax, before / 10);
}

int Watch(const std::string& transport, uint64_t messages,
          std::chrono::milliseconds cut_every) {
  ShortTempDir dir;
  SoakPage page(dir.file("page"));
  if (!page.ok()) return 1;
  SoakCounts& counts = page.counts();
  // Done before there are threads.
  const bool is_relayed = transport != "shm";
  Side subscriber("subscribe", transport, dir.file("real"), dir.file("page"),
                  messages);
  Side publisher("publish", transport, dir.file(is_relayed ? "relay" : "real"),
                 dir.file("page"), messages);
  CuttingRelay relay(dir.file("relay"), dir.file("real"), /*seed=*/1,
                     /*bytes_max=*/0);
  const auto start = Clock::now();
  auto next_cut = start + cut_every;
  auto last_progress = start;
  uint64_t last_count = 0;
  Memory tenth;
  while (counts.sides_done < 2 && counts.sides_failed == 0) {
    std::this_thread::sleep_for(kLook);  // waits: cuts come by the clock
    const auto now = Clock::now();
    const uint64_t count = counts.received.count;
    if (count != std::exchange(last_count, count)) last_progress = now;
    if (!Check(now - last_progress < kStillMax, "messages move")) return 1;
    if (tenth.publisher_kib == 0 && count >= messages / 10) {
      tenth = Look(publisher, subscriber);
    }
    if (now >= next_cut && count < messages) {
      if (is_relayed) {
        relay.Cut();
      } else {
        ++counts.cuts_wanted;
      }
      next_cut = now + cut_every;
    }
  }
  const std::chrono::duration<double> took = Clock::now() - start;
  const Memory end = Look(publisher, subscriber);
  const uint64_t cuts = is_relayed ? relay.cuts() : counts.cuts.load();
  std::cout << counts.received.count << " messages, " << cuts << " cuts, "
            << counts.reconnected << " times reconnected, " << took.count()
            << " s\n"
            << "publisher: " << tenth.publisher_kib << " KiB after a tenth, "
            << end.publisher_kib << " KiB at the end\n"
            << "subscriber: " << tenth.subscriber_kib << " KiB after a tenth, "
            << end.subscriber_kib << " KiB at the end\n";
  bool good = CheckCounts(counts, messages);
  good &= Check(cuts > 0 && counts.reconnected > 0, "the connection was cut");
#ifndef MYCELIUM_SANITIZER  // Keeps what was freed.
  good &= Check(IsFlat(tenth.publisher_kib, end.publisher_kib) &&
                    IsFlat(tenth.subscriber_kib, end.subscriber_kib),
                "memory is flat");
#endif
  good &= Check(publisher.Wait(), "the publisher ends well");
  good &= Check(subscriber.Wait(), "the subscriber ends well");
  std::cout << (good ? "each arrived once and in order\n" : "");
  return good ? 0 : 1;
}

int Main(int argc, char** argv) {
  Flags flags = {
      {"messages", "100000"}, {"cut_ms", "200"}, {"transport", "unix"}};
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag = absl::StrSplit(
        absl::StripPrefix(argv[i], "--"), absl::MaxSplits('=', 1));
    flags[flag.first] = flag.second;
  }
  uint64_t messages = 0;
  int64_t cut_ms = 0;
  if (!absl::SimpleAtoi(flags["messages"], &messages) ||
      !absl::SimpleAtoi(flags["cut_ms"], &cut_ms) || messages == 0 ||
      cut_ms <= 0 ||
      (flags["transport"] != "unix" && flags["transport"] != "shm" &&
       flags["transport"] != "grpc")) {
    std::cerr << "usage: soak [--transport=unix|shm|grpc] [--messages=N] "
                 "[--cut_ms=N]\n";
    return 2;
  }
  if (flags["role"].empty()) {
    return Watch(flags["transport"], messages,
                 std::chrono::milliseconds(cut_ms));
  }
  SoakPage page(flags["page"]);
  if (!page.ok()) return 1;
  return flags["role"] == "publish"
             ? RunPublisher(flags["transport"], flags["socket"], messages,
                            page.counts())
             : RunSubscriber(flags["transport"], flags["socket"], messages,
                             page.counts());
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
