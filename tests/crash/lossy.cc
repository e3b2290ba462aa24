// A lossy lane in shared memory whose reader is stopped and killed at random:
//
//   lossy [--messages=N] [--seed=N]
//
// Each message is taken or dropped, never both. After each resume exactly the
// newest messages come, and each says how many were dropped before it.
// Publishing to a reader that stands still takes no longer; this is judged only
// with enough messages for a percentile. (Messages that a killed reader had
// taken and not let go may come again.)

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mycelium/bus/message_bus.h"
#include "tests/crash/processes.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr uint64_t kDepth = 8;  // "The newest".
constexpr size_t kPayloadBytesMax = 200;
constexpr uint64_t kBurstMax = 4000;
// Publishing while the reader is stopped may take at most so many times as long
// as while it runs, by the 99th percentile. This is judged from so many
// messages on.
constexpr int64_t kStoppedRatioMax = 2;
constexpr uint64_t kJudgedFrom = 10'000'000;

// How long calls took, in steps of 20 ns; the last step has all longer ones.
class Durations final {
 public:
  void Add(int64_t ns) {
    ++counts_[std::min<uint64_t>(static_cast<uint64_t>(ns) / 20,
                                 counts_.size() - 1)];
  }
  int64_t P99() const {
    uint64_t all = 0;
    for (const auto& count : counts_) all += count;
    uint64_t passed = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      passed += counts_[i];
      if (passed * 100 >= all * 99) return static_cast<int64_t>(i + 1) * 20;
    }
    return 0;
  }

 private:
  std::array<std::atomic<uint64_t>, 10'000> counts_;
};

// In memory that outlives the two processes. Starts as zeroes.
struct LossyPage {
  std::atomic<uint32_t> changed;
  // Written by the driver: how far the writer is to publish; then it ends.
  std::atomic<uint64_t> goal;
  std::atomic<uint32_t> over;
  std::atomic<uint32_t> is_stopped;
  // Written by the writer.
  std::atomic<uint64_t> published;
  std::atomic<uint64_t> accepted, dropped, in_flight;
  Durations running, stopped;
  // Written by readers. The highest number, and how many different ones, in one
  // word, so that a reader that is killed counts both or neither.
  std::atomic<uint64_t> taken;
  std::atomic<uint64_t> newest_run;  // Where the last run without a gap began.
  std::atomic<uint64_t> again, twice, torn;
  std::atomic<uint64_t> miscounted;  // lost_before() is not the gap.
  std::atomic<uint64_t> failures;

  uint64_t last() const { return taken >> 32; }
  uint64_t distinct() const { return taken & 0xFFFFFFFF; }
};

MessageType NumberType() {
  return RawMessageType("mycelium.test.Number", Digest());
}

size_t BytesOf(uint64_t id) {
  return sizeof id + id * 37 % (kPayloadBytesMax - sizeof id);
}

void Write(uint64_t id, std::byte* bytes) {
  std::memcpy(bytes, &id, sizeof id);
  std::memset(bytes + sizeof id, static_cast<int>(id * 7 & 0xFF),
              BytesOf(id) - sizeof id);
}

int Fail(LossyPage& page, const absl::Status& status) {
  std::cerr << status << "\n";
  ++page.failures;
  Signal(page.changed);
  return 1;
}

BusOptions OptionsOf(const std::string& node) {
  BusOptions options;
  options.node = node;
  options.log = [](LogLevel, absl::string_view) {};
  options.settings.lane_bytes = 64 << 10;
  options.settings.retain = kLong;
  options.limits.frame_bytes_max = 4 << 10;
  options.limits.reconnect_min = absl::Milliseconds(1);
  options.limits.reconnect_max = absl::Milliseconds(5);
  return options;
}

int RunWriter(const std::string& path, LossyPage& page) {
  auto bus = MessageBus::Create(OptionsOf("writer"));
  if (!bus.ok()) return Fail(page, bus.status());
  auto listener = (*bus)->runtime()->ListenShm(path);
  if (!listener.ok()) return Fail(page, listener.status());
  auto publisher = (*bus)->RawPublisher(NumberType());
  if (!publisher.ok()) return Fail(page, publisher.status());
  if (auto found = publisher->WaitForSubscribers(1, kLong); !found.ok()) {
    return Fail(page, found);
  }
  std::byte message[kPayloadBytesMax];
  uint64_t id = 0;
  while (true) {
    if (!AwaitChange(page.changed,
                     [&] { return page.goal > id || page.over != 0; })) {
      return Fail(page, absl::DeadlineExceededError("nothing to do"));
    }
    if (page.goal <= id) break;
    alarm(kHangSeconds);
    const uint64_t goal = page.goal;
    while (id < goal) {
      Write(++id, message);
      const int64_t start = NowNs();
      const absl::Status sent =
          publisher->Publish(absl::MakeConstSpan(message, BytesOf(id)));
      (page.is_stopped != 0 ? page.stopped : page.running).Add(NowNs() - start);
      if (!sent.ok()) return Fail(page, sent);
      page.published.store(id, std::memory_order_release);
    }
    Signal(page.changed);
  }
  if (auto flushed = (*bus)->Flush(kLong); !flushed.ok()) {
    return Fail(page, flushed);
  }
  for (const FlowReport& flow : (*bus)->FlowReports()) {
    page.accepted += flow.ledger.accepted;
    page.dropped += flow.ledger.dropped_total();
    page.in_flight += flow.ledger.in_flight;
  }
  for (const LinkReport& link : (*bus)->LinkReports()) {
    if (link.transport != "shm" || !link.fallback.empty()) {
      return Fail(page, absl::InternalError(link.fallback));
    }
  }
  return 0;
}

// `before`: the message that this reader had before; 0: none.
void OnMessage(absl::Span<const std::byte> bytes, const MessageInfo& info,
               LossyPage& page, uint64_t& before) {
  uint64_t id = 0;
  std::byte expected[kPayloadBytesMax];
  if (bytes.size() >= sizeof id) std::memcpy(&id, bytes.data(), sizeof id);
  Write(id, expected);
  if (bytes.size() != BytesOf(id) ||
      std::memcmp(bytes.data(), expected, bytes.size()) != 0) {
    ++page.torn;
    return;
  }
  const uint64_t last = page.last();
  if (id > last) {
    if (id != last + 1) page.newest_run = id;
    page.taken = id << 32 | (page.distinct() + 1);
  } else if (id == last && info.redelivered()) {
    ++page.again;
  } else {
    ++page.twice;
  }
  if (before != 0 && info.lost_before() != id - before - 1) ++page.miscounted;
  before = id;
  Signal(page.changed);
}

int RunReader(const std::string& path, LossyPage& page) {
  auto bus = MessageBus::Create(OptionsOf("reader"));
  if (!bus.ok()) return Fail(page, bus.status());
  SubscriberOptions options;
  options.overflow = Overflow::kDropOldest;
  options.depth = kDepth;
  options.delivery = DeliveryMode::kQueued;
  uint64_t before = 0;
  auto subscription = (*bus)->SubscribeRaw(
      NumberType(),
      [&](absl::Span<const std::byte> bytes, const MessageInfo& info) {
        OnMessage(bytes, info, page, before);
      },
      options);
  if (!subscription.ok()) return Fail(page, subscription.status());
  if (auto dialled = (*bus)->runtime()->DialShm(path); !dialled.ok()) {
    return Fail(page, dialled);
  }
  const bool is_over = AwaitChange(page.changed, [&] {
    alarm(kHangSeconds);  // Something has happened.
    return page.over == 2;
  });
  return is_over ? 0 : 1;
}

class Lossy final {
 public:
  explicit Lossy(uint64_t seed) : random_(seed) {}

  int Run(uint64_t messages) {
    writer_ = Process([this] { return RunWriter(dir_.file("s"), *page_); });
    StartReader();
    while (good_ && page_->goal < messages) {
      switch (random_() % 8) {
        case 0:
          KillReader();
          break;
        default:
          StopReader();
          break;
      }
    }
    Drain();
    page_->over = 1;
    Signal(page_->changed);
    const int ended = writer_.Wait();
    Check(ended == 0, absl::StrCat("the writer ended with ", ended));
    page_->over = 2;
    Signal(page_->changed);
    const int read = reader_.Wait();
    Check(read == 0, absl::StrCat("the reader ended with ", read));
    return Report();
  }

 private:
  void Check(bool holds, const std::string& law) {
    if (!holds && good_) std::cout << "FAIL: " << law << std::endl;
    good_ &= holds;
  }

  void Await(const std::string& what, const std::function<bool()>& holds) {
    Check(AwaitChange(page_->changed,
                      [&] { return page_->failures > 0 || holds(); }) &&
              page_->failures == 0,
          absl::StrCat(what, ": published ", page_->published.load(), " of ",
                       page_->goal.load(), ", arrived ", page_->last()));
  }

  void StartReader() {
    reader_ = Process([this] { return RunReader(dir_.file("s"), *page_); });
  }

  // Lets the writer publish so many more messages.
  void Ask(uint64_t messages) {
    page_->goal += messages;
    Signal(page_->changed);
  }
  void AwaitPublished() {
    Await("publishing stands still",
          [this] { return page_->published == page_->goal; });
  }
  // Waits until the last message, which nothing can drop, has arrived.
  void Drain() {
    AwaitPublished();
    Await("the newest does not come",
          [this] { return page_->last() == page_->goal; });
  }
  // Returns somewhere in the middle of so many messages, for a stop or a kill.
  void AwaitSome(uint64_t messages) {
    const uint64_t from = page_->published;
    const uint64_t some = from + random_() % messages;
    Ask(messages);
    // The writer raises the word only when it is done, so this loop looks
    // itself.
    while (good_ && page_->published < some) {
      Check(page_->failures == 0, "the writer failed");
    }
  }

  void StopReader() {
    ++stops_;
    AwaitSome(2 * kDepth + random_() % kBurstMax);
    if (!good_) return;
    Check(reader_.Stop(), "the reader does not stand still");
    page_->is_stopped = 1;
    AwaitPublished();
    Ask(2 * kDepth + random_() % kBurstMax);
    AwaitPublished();
    page_->is_stopped = 0;
    const uint64_t before = page_->distinct();
    reader_.Resume();
    Drain();
    const uint64_t came = page_->distinct() - before;
    // The message that the reader held when it was stopped may be among them.
    const uint64_t newest = page_->goal - page_->newest_run + 1;
    Check(newest == kDepth && came >= kDepth && came <= kDepth + 1,
          absl::StrCat("after a resume ", came, " came, the last ", newest,
                       " without a gap"));
  }

  void KillReader() {
    ++kills_;
    AwaitSome(2 * kDepth + random_() % kBurstMax);
    if (!good_) return;
    Check(reader_.Kill(), "the reader ended before it was killed");
    AwaitPublished();
    StartReader();
    Drain();
  }

  int Report() {
    const LossyPage& page = *page_;
    const uint64_t both = page.distinct() + page.dropped - page.accepted;
    Check(
        page.torn + page.twice + page.miscounted == 0,
        absl::StrCat("torn ", page.torn.load(), ", twice ", page.twice.load(),
                     ", not as many missing as told ", page.miscounted.load()));
    Check(page.accepted == page.goal && page.in_flight == 0, "the ledger");
    // Messages that a killed reader had taken but not let go.
    Check(both <= kills_ && page.again <= kills_,
          absl::StrCat("accepted ", page.accepted.load(), ", taken ",
                       page.distinct(), ", dropped ", page.dropped.load()));
    Check(page.accepted < kJudgedFrom ||
              page.stopped.P99() <= kStoppedRatioMax * page.running.P99(),
          absl::StrCat("publish p99 is ", page.stopped.P99(),
                       " ns with a reader that is stopped, ",
                       page.running.P99(), " ns with one that runs"));
    std::cout << page.accepted << " messages: " << page.distinct() << " taken, "
              << page.dropped << " dropped; " << stops_ << " stops, " << kills_
              << " kills, " << page.again << " came again, " << both
              << " taken by one that was killed\n"
              << "publish p99: " << page.running.P99() << " ns running, "
              << page.stopped.P99() << " ns stopped\n"
              << (good_ ? "each was taken or dropped\n" : "");
    return good_ ? 0 : 1;
  }

  ShortTempDir dir_;
  SharedPage<LossyPage> page_;
  std::mt19937_64 random_;
  Process writer_;
  Process reader_;
  uint64_t stops_ = 0;
  uint64_t kills_ = 0;
  bool good_ = true;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {{"messages", "100000"},
                                              {"seed", "1"}};
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag = absl::StrSplit(
        absl::StripPrefix(argv[i], "--"), absl::MaxSplits('=', 1));
    flags[flag.first] = flag.second;
  }
  uint64_t messages = 0, seed = 0;
  if (!absl::SimpleAtoi(flags["messages"], &messages) ||
      !absl::SimpleAtoi(flags["seed"], &seed) || messages == 0 ||
      messages > 0xFFFF0000) {
    std::cerr << "usage: lossy [--messages=N] [--seed=N]\n";
    return 2;
  }
  return Lossy(seed).Run(messages);
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
