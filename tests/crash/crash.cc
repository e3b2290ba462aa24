// Kills a writer or a reader of shared memory at every point where another
// process can see how far it has come: before each store to shared memory and
// before each system call. The victim dials or accepts; messages come to a
// handler, a queue or a lossy queue.
//
//   crash [--every=N] [--ballast_mb=N]       every N-th point of each role
//   crash --cycles=N [--seed=N]              at most 4095 random kills and
//                                            restarts
//
// Each time: the other side goes on; the next process joins; no committed
// message is lost, none is torn or out of order; nothing is left behind. At
// each point besides: the other side learns of the death; a message comes again
// only if a subscriber died; the ledger balances.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/crash/bare_death.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/crash_side.h"
#include "tests/crash/processes.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kMessages = 30;
// How many points of all roles must be reached and passed when each is tried,
// and how many a role must have. Fewer would mean that points have gone from
// the code, or that the test does not see them.
constexpr uint64_t kPassedMin = 4000;
// Of a process with a node's thread only every n-th point is tried: it has as
// many points and takes longer.
constexpr uint64_t kThreadEvery = 4;
// How often the test tries a point that is not reached.
constexpr int kRunsPerPoint = 3;

struct PointsMin {
  uint64_t stores, calls;
};
constexpr PointsMin kWriterMin = {400, 180};
constexpr PointsMin kReaderMin = {45, 75};
// A death that is noticed later than this is a fault; the time that it takes is
// printed. When every point is tried, which is not done on a busy machine, and
// processes are small, most deaths must be noticed far sooner.
constexpr int64_t kToldNsMax = 5'000'000'000;
constexpr int64_t kToldP99NsMax = 2'000'000;
// At least one in so many deaths must be told of: the others come before there
// is a connection, or after a goodbye.
constexpr uint64_t kToldOneOf = 3;

// The most that a process may hold while the other one comes and goes.
constexpr size_t kDescriptorsMax = 24;
constexpr size_t kSegmentsMax = 8;

Process Start(const SideOptions& options, RunPage& page) {
  return Process([&] { return RunSide(options, page); });
}

size_t FilesIn(const std::string& directory) {
  const std::filesystem::directory_iterator all(directory);
  return static_cast<size_t>(
      std::distance(begin(all), std::filesystem::directory_iterator()));
}

// The System V objects, and our files in /dev/shm.
std::string LeftInTheSystem() {
  std::string left;
  for (const char* const kind : {"shm", "sem", "msg"}) {
    std::ifstream file(absl::StrCat("/proc/sysvipc/", kind));
    size_t lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    absl::StrAppend(&left, kind, " ", lines, " ");
  }
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename();
    if (name.find("mycelium") != std::string::npos) left += name;
  }
  return left;
}

// ---------------------------------------------------------------------------
// Each point

struct Role {
  bool writes;
  bool dials;
  Receiving receiving;
  bool has_thread = false;
  std::string name() const {
    return absl::StrCat(writes ? "writer" : "reader", ", ",
                        dials ? "dialler" : "acceptor", ", ",
                        receiving == Receiving::kHandler ? "handler"
                        : receiving == Receiving::kQueue ? "queue"
                                                         : "lossy queue",
                        has_thread ? ", thread" : "");
  }
};

struct Outcome {
  std::string failure;  // Empty: all went well.
  bool killed = false;
  int64_t told_ns = -1;  // If there was a connection.
  uint64_t stores = 0, calls = 0;
  uint64_t dropped = 0;
};

// Each message was taken or dropped, and never both. The exception is the
// message that a reader had when it died: it is the writer's again, which may
// drop it.
std::string JudgeLossyLedger(const Role& victim, const RunPage& page) {
  // The counts of what the dead writer had dropped died with it.
  const uint64_t taken = page.received - page.again;
  const bool balances = victim.writes
                            ? page.delivered == page.received
                            : page.accepted == 2 * kMessages &&
                                  taken + page.dropped >= page.accepted &&
                                  taken + page.dropped <= page.accepted + 1;
  if (balances && page.in_flight == 0) return "";
  return absl::StrCat("lossy ledger: accepted ", page.accepted.load(),
                      ", received ", page.received.load(), ", again ",
                      page.again.load(), ", delivered ", page.delivered.load(),
                      ", in flight ", page.in_flight.load(), ", dropped ",
                      page.dropped.load());
}

std::string JudgeLedger(const Role& victim, const RunPage& page) {
  const bool balances = victim.writes ? page.delivered == page.received
                                      : page.accepted == 2 * kMessages;
  if (balances && page.in_flight == 0 && page.dropped == 0) return "";
  return absl::StrCat("ledger: accepted ", page.accepted.load(), ", delivered ",
                      page.delivered.load(), ", in flight ",
                      page.in_flight.load(), ", dropped ", page.dropped.load());
}

std::string Judge(const Role& victim, RunPage& page, Outcome* outcome) {
  const RunPage::Run& first = page.runs[0];
  if (page.failure[0] != 0) return page.failure;
  if (page.torn + page.gaps + page.twice > 0) {
    return absl::StrCat("torn ", page.torn.load(), ", gaps ", page.gaps.load(),
                        ", twice ", page.twice.load());
  }
  if (victim.writes && page.again > 0) return "again, but no subscriber died";
  // The last message that the process committed must arrive last: no later
  // message came for which it might have been dropped.
  if (first.last < first.accepted || first.last > first.attempted) {
    return absl::StrCat("committed ", first.accepted.load(), " to ",
                        first.attempted.load(), ", arrived ",
                        first.last.load());
  }
  const uint64_t last = victim.writes ? page.runs[1].last : first.last;
  const uint64_t expected = victim.writes ? kMessages : 2 * kMessages;
  if (last != expected) {
    return absl::StrCat("arrived ", last, " of ", expected);
  }
  const std::string unbalanced = victim.receiving == Receiving::kLossy
                                     ? JudgeLossyLedger(victim, page)
                                     : JudgeLedger(victim, page);
  if (!unbalanced.empty()) return unbalanced;
  const int64_t killed_at = page.victim.killed_at;
  if (killed_at == 0 || page.up_at == 0 || page.up_at > killed_at) return "";
  if (page.down_at == 0) return "nobody was told of the death";
  if (page.down_at < killed_at) {
    return page.leaves ? "" : "told of a death before it";
  }
  outcome->told_ns = page.down_at - killed_at;
  return outcome->told_ns < kToldNsMax ? "" : "told of the death too late";
}

// One run in which the victim is killed at that point.
Outcome RunOnce(const Role& victim, uint64_t store, uint64_t call,
                size_t ballast_bytes) {
  Outcome outcome;
  const ShortTempDir dir;
  SharedPage<RunPage> page;
  SideOptions survivor;
  survivor.path = dir.file("s");
  survivor.writes = !victim.writes;
  survivor.dials = !victim.dials;
  survivor.receiving = victim.receiving;
  survivor.has_thread = victim.has_thread;
  survivor.survives = true;
  survivor.messages = kMessages;
  SideOptions dying = survivor;
  dying.writes = victim.writes;
  dying.dials = victim.dials;
  dying.survives = false;
  dying.is_victim = true;
  dying.kill_at_store = store;
  dying.kill_at_call = call;
  dying.ballast_bytes = ballast_bytes;
  SideOptions next = dying;
  next.is_victim = false;
  next.ballast_bytes = 0;
  next.run = victim.writes ? 1 : 0;
  next.messages = victim.writes ? kMessages : 2 * kMessages;

  Process surviving = Start(survivor, *page);
  Process dies = Start(dying, *page);
  const int died = dies.Wait();
  outcome.killed = died == -SIGKILL && page->victim.killed_at != 0;
  outcome.stores = page->victim.stores;
  outcome.calls = page->victim.calls;
  const size_t left = FilesIn(dir.path());
  page->met = page->up_at != 0;
  page->phase = 2;
  Process joins = Start(next, *page);
  const int joined = joins.Wait();
  page->phase = 3;
  const int survived = surviving.Wait();
  outcome.dropped = page->dropped;
  outcome.failure = Judge(victim, *page, &outcome);
  if (outcome.failure.empty() && !outcome.killed && died != 0) {
    outcome.failure = absl::StrCat("the victim ended with ", died);
  }
  if (outcome.failure.empty() && joined + survived != 0) {
    outcome.failure = absl::StrCat("the next process ended with ", joined,
                                   ", the other side with ", survived);
  }
  if (outcome.failure.empty() && (left > 1 || FilesIn(dir.path()) != 0)) {
    outcome.failure =
        absl::StrCat("files: ", left, ", then ", FilesIn(dir.path()));
  }
  return outcome;
}

struct Totals {
  uint64_t points = 0, passed = 0, failed = 0, not_reached = 0;
  // Of these, the points of processes with a node's thread.
  uint64_t thread_points = 0, thread_not_reached = 0;
  std::vector<int64_t> told_ns;
  std::vector<int64_t> bare_ns;  // Of processes without a bus, in between.
};

int64_t Percentile(const std::vector<int64_t>& sorted, double part) {
  if (sorted.empty()) return 0;
  const auto at =
      static_cast<size_t>(part * static_cast<double>(sorted.size()));
  return sorted[std::min(at, sorted.size() - 1)];
}

std::string InWords(std::vector<int64_t> ns) {
  std::sort(ns.begin(), ns.end());
  return absl::StrCat("p50 ", Percentile(ns, 0.5) / 1000, " us, p99 ",
                      Percentile(ns, 0.99) / 1000, " us");
}

int64_t Percentile99(std::vector<int64_t> ns) {
  std::sort(ns.begin(), ns.end());
  return Percentile(ns, 0.99);
}

// For a role that nobody kills: the fewest points and the most drops of several
// runs, since they differ in how often a process looks, waits or drops.
Outcome RunWhole(const Role& role) {
  Outcome least = RunOnce(role, 0, 0, 0);
  for (int more = 0; more < 4 && least.failure.empty(); ++more) {
    const Outcome other = RunOnce(role, 0, 0, 0);
    least.failure = other.failure;
    least.stores = std::min(least.stores, other.stores);
    least.calls = std::min(least.calls, other.calls);
    least.dropped = std::max(least.dropped, other.dropped);
  }
  return least;
}

void TryRole(const Role& role, uint64_t every, size_t ballast_bytes,
             Totals* totals) {
  const Outcome whole = RunWhole(role);
  if (!whole.failure.empty()) {
    std::cout << "FAIL: " << role.name() << ", nobody killed: " << whole.failure
              << "\n";
    ++totals->failed;
    return;
  }
  Totals here;
  const PointsMin& least = role.writes ? kWriterMin : kReaderMin;
  if (!role.has_thread &&
      (whole.stores < least.stores || whole.calls < least.calls)) {
    std::cout << "FAIL: " << role.name() << ": " << whole.stores
              << " stores and " << whole.calls << " calls, at least "
              << least.stores << " and " << least.calls << " are expected\n";
    ++here.failed;
  }
  // Otherwise no tried process would have dropped anything.
  if (role.receiving == Receiving::kLossy && !role.writes &&
      whole.dropped == 0) {
    std::cout << "FAIL: " << role.name() << ": nothing is dropped\n";
    ++here.failed;
  }
  const uint64_t points = whole.stores + whole.calls;
  for (uint64_t point = every - 1; point < points; point += every) {
    const bool is_store = point < whole.stores;
    const uint64_t store = is_store ? point + 1 : 0;
    const uint64_t call = is_store ? 0 : point - whole.stores + 1;
    // A point that one run does not reach another run may reach: runs differ in
    // how much a reader of a lossy lane takes.
    Outcome outcome;
    for (int run = 0; run < kRunsPerPoint; ++run) {
      outcome = RunOnce(role, store, call, ballast_bytes);
      if (outcome.killed || !outcome.failure.empty()) break;
    }
    ++here.points;
    if (!outcome.failure.empty()) {
      ++here.failed;
      std::cout << "FAIL: " << role.name() << ", killed at "
                << (is_store ? "store " : "call ") << store + call << ": "
                << outcome.failure << std::endl;
    } else if (!outcome.killed) {
      ++here.not_reached;
    } else {
      ++here.passed;
      if (outcome.told_ns < 0) continue;
      totals->told_ns.push_back(outcome.told_ns);
      totals->bare_ns.push_back(NsUntilBareDeathIsSeen(ballast_bytes));
    }
  }
  std::cout << role.name() << ": " << whole.stores << " stores, " << whole.calls
            << " calls; " << here.points << " tried, " << here.passed
            << " passed, " << here.failed << " failed, " << here.not_reached
            << " not reached" << std::endl;
  totals->points += here.points;
  totals->passed += here.passed;
  totals->failed += here.failed;
  totals->not_reached += here.not_reached;
  if (role.has_thread) {
    totals->thread_points += here.points;
    totals->thread_not_reached += here.not_reached;
  }
}

int TryPoints(uint64_t every, size_t ballast_bytes) {
  if (!HasStorePoints()) {
    std::cerr << "built without points: build //tests/crash:crash\n";
    return 2;
  }
  Totals totals;
  for (const Receiving receiving :
       {Receiving::kHandler, Receiving::kQueue, Receiving::kLossy}) {
    for (const bool writes : {true, false}) {
      for (const bool dials : {true, false}) {
        TryRole({writes, dials, receiving}, every, ballast_bytes, &totals);
        TryRole({writes, dials, receiving, /*has_thread=*/true},
                kThreadEvery * every, ballast_bytes, &totals);
      }
    }
  }
  std::cout << "points x roles: " << totals.points << " tried, "
            << totals.passed << " passed, " << totals.failed << " failed, "
            << totals.not_reached << " not reached\n"
            << "death told after: " << InWords(totals.told_ns) << ", of "
            << totals.told_ns.size() << " deaths; of a process without a bus "
            << "it is seen after " << InWords(totals.bare_ns);
  if (ballast_bytes > 0) {
    std::cout << " with " << (ballast_bytes >> 20) << " MiB resident";
  }
  std::cout << "\n";
  if (totals.passed * every < kPassedMin) {
    std::cout << "FAIL: at least " << (kPassedMin + every - 1) / every
              << " points have to pass\n";
    return 1;
  }
  if (totals.told_ns.size() * kToldOneOf < totals.passed) {
    std::cout << "FAIL: of " << totals.passed << " deaths only "
              << totals.told_ns.size() << " were told of\n";
    return 1;
  }
  if (every == 1 && ballast_bytes == 0 &&
      Percentile99(totals.told_ns) > kToldP99NsMax) {
    std::cout << "FAIL: 99 of 100 deaths have to be told of within "
              << kToldP99NsMax / 1000 << " us\n";
    return 1;
  }
  // Runs differ in how often processes look or wait. They differ most where a
  // reader of a lossy lane takes what it can get, or where two threads have to
  // meet.
  const uint64_t polled = totals.points - totals.thread_points;
  const uint64_t polled_missed = totals.not_reached - totals.thread_not_reached;
  const bool enough = polled_missed * 20 <= polled &&
                      totals.thread_not_reached * 5 <= totals.thread_points;
  if (!enough) {
    std::cout << "FAIL: too many points were not reached: " << polled_missed
              << " of " << polled << ", and with a thread "
              << totals.thread_not_reached << " of " << totals.thread_points
              << "\n";
  }
  return totals.failed == 0 && enough ? 0 : 1;
}

// ---------------------------------------------------------------------------
// Random kills

// A writer and a reader; one of them is killed and started again. The seed
// decides which of them listens, and how messages are received; whether a
// process has a node's thread is drawn each time.
class Cycles final {
 public:
  explicit Cycles(uint64_t seed)
      : random_(seed),
        writer_listens_(seed % 2 == 0),
        receiving_(seed / 2 % 2 == 0 ? Receiving::kHandler
                                     : Receiving::kQueue) {}

  int Run(uint64_t cycles) {
    const std::string before = LeftInTheSystem();
    StartWriter();
    StartReader();
    for (uint64_t cycle = 1; cycle <= cycles && good_; ++cycle) {
      Progress(1 + random_() % 300);
      if (!good_) break;
      if (random_() % 2 == 0) {
        Kill(writer_);
        StartWriter();
      } else {
        Kill(reader_);
        StartReader();
      }
      CheckHoldings(writer_);
      CheckHoldings(reader_);
      Check(FilesIn(dir_.path()) == 1, "a file is left");
      Check(page_->failure[0] == 0, page_->failure);
      Check(page_->torn + page_->gaps + page_->twice == 0,
            absl::StrCat("torn ", page_->torn.load(), ", gaps ",
                         page_->gaps.load(), ", twice ", page_->twice.load()));
    }
    Progress(1);
    for (uint64_t run = 0; good_ && run < run_; ++run) {
      const RunPage::Run& counts = page_->runs[run];
      Check(counts.last >= counts.accepted && counts.last <= counts.attempted,
            absl::StrCat("writer ", run, ": committed ", counts.accepted.load(),
                         ", arrived ", counts.last.load()));
    }
    Kill(writer_);
    Kill(reader_);
    Check(FilesIn(dir_.path()) == 1, "more than the socket's path is left");
    Check(LeftInTheSystem() == before, "something is left in the system");
    std::cout << cycles << " kills and restarts, " << page_->received
              << " messages arrived, " << page_->again << " of them again, "
              << page_->listeners << " listeners, " << lost_races_
              << " refused; at most " << most_descriptors_
              << " descriptors and " << most_mappings_ << " segments\n"
              << (good_ ? "no committed message was lost\n" : "");
    return good_ ? 0 : 1;
  }

 private:
  void Check(bool holds, const std::string& law) {
    if (!holds && good_) std::cout << "FAIL: " << law << std::endl;
    good_ &= holds;
  }

  void Kill(Process& process) {
    Check(process.Kill(), "a process ended before it was killed");
  }

  // The limits hold however often the other side was replaced.
  void CheckHoldings(const Process& process) {
    const std::string pid = absl::StrCat(process.pid());
    most_descriptors_ = std::max(most_descriptors_, OpenDescriptorsOf(pid));
    most_mappings_ = std::max(most_mappings_, SharedMappingsOf(pid));
    Check(
        most_descriptors_ <= kDescriptorsMax && most_mappings_ <= kSegmentsMax,
        absl::StrCat("a process has ", most_descriptors_,
                     " descriptors open and ", most_mappings_,
                     " segments mapped"));
  }

  SideOptions SideOf(bool writes) {
    SideOptions side;
    side.path = dir_.file("s");
    side.writes = writes;
    side.dials = writes != writer_listens_;
    side.receiving = receiving_;
    side.has_thread = random_() % 2 == 0;
    side.run = run_;
    return side;
  }

  void StartWriter() {
    if (writer_.pid() <= 0 && page_->runs[run_].attempted > 0) ++run_;
    StartSide(/*writes=*/true, &writer_);
  }
  void StartReader() { StartSide(/*writes=*/false, &reader_); }

  void StartSide(bool writes, Process* started) {
    if (writes != writer_listens_) {
      *started = Start(SideOf(writes), *page_);
    } else {
      StartListener(writes, started);
    }
  }

  // Starts two at once: one of them gets the path.
  void StartListener(bool writes, Process* started) {
    const uint64_t before = page_->listeners;
    Process one = Start(SideOf(writes), *page_);
    Process two = Start(SideOf(writes), *page_);
    int status = 0;
    pid_t ended;
    do {
      ended = waitpid(-1, &status, 0);
    } while (ended > 0 && ended != one.pid() && ended != two.pid());
    Check(WIFEXITED(status) && WEXITSTATUS(status) == kPathTaken,
          absl::StrCat("of two that listen at one path, one ended with ",
                       status, ": ", page_->failure));
    ++lost_races_;
    *started = std::move(ended == one.pid() ? two : one);
    (ended == one.pid() ? one : two).Forget();
    Await([&] { return page_->listeners > before; });
    Check(page_->listeners == before + 1, "both got the path");
  }

  template <typename Holds>
  void Await(Holds holds) {
    Check(AwaitChange(page_->changed, holds),
          absl::StrCat("nothing happens any more: ", page_->failure));
  }

  // Waits until so many more messages of the writer's present life have
  // arrived.
  void Progress(uint64_t messages) {
    const std::atomic<uint64_t>& last = page_->runs[run_].last;
    const uint64_t goal = last + messages;
    Await([&] { return last >= goal; });
  }

  ShortTempDir dir_;
  SharedPage<RunPage> page_;
  std::mt19937_64 random_;
  const bool writer_listens_;
  const Receiving receiving_;
  Process writer_;
  Process reader_;
  uint64_t run_ = 0;
  uint64_t lost_races_ = 0;
  size_t most_descriptors_ = 0;
  size_t most_mappings_ = 0;
  bool good_ = true;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {
      {"every", "1"}, {"ballast_mb", "0"}, {"cycles", "0"}, {"seed", "1"}};
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag = absl::StrSplit(
        absl::StripPrefix(argv[i], "--"), absl::MaxSplits('=', 1));
    flags[flag.first] = flag.second;
  }
  uint64_t every = 0, ballast_mb = 0, cycles = 0, seed = 0;
  if (!absl::SimpleAtoi(flags["every"], &every) || every == 0 ||
      !absl::SimpleAtoi(flags["ballast_mb"], &ballast_mb) ||
      !absl::SimpleAtoi(flags["cycles"], &cycles) ||
      cycles >= RunPage::kRunsMax || !absl::SimpleAtoi(flags["seed"], &seed)) {
    std::cerr << "usage: crash [--every=N] [--ballast_mb=N] | --cycles=N "
                 "[--seed=N]\n";
    return 2;
  }
  return cycles > 0 ? Cycles(seed).Run(cycles)
                    : TryPoints(every, ballast_mb << 20);
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
