// One process of a test that has several. It is one service of a topology, and
// obeys the lines on its input; each answer is a line.
//
//   conformance_peer --role=publish|subscribe --topology=FILE --service=NAME
//                    --page=FILE [--run=N] [--to=SERVICE] [--poll=caller]
//                    [--delivery=queued] [--names=A,B] [--topics=A,B]
//                    [--overflow=WORD]
//                    [--depth=N] [--window=N] [--die_at=ID] [--die_after=ID]
//                    [--slow_us=N] [--threads=N] [--bytes=N] [--loans=yes]
//                    [--schema_digest=TEXT] [--watch=NODE]
//
// A subscriber has one subscription for each name, or for each topic. --die_at:
// it kills itself in the handler of that message, before the message is
// recorded; with --die_after, when it is recorded. --slow_us: each message
// takes at least so long. --threads: `stream` publishes on so many threads, as
// runs 1, 2, …, each with a publisher. --topics: a publisher for each topic;
// the first publishes as --run, and `publish_to TOPIC N` as the run of the
// topic's place, 1, 2, … --bytes: each message has so many more. --loans: each
// message is written into a loan. --schema_digest: the service insists on the
// digest of TEXT. --watch: it counts how the lane to that node refuses.
//
// Both roles: `await N` answers `reached N` once so many messages were
// accepted, or received of this run; `ledger`; `links` answers how many links
// there are, how many are up, and for each what carries it; `errors` the last
// error of each; `shutdown`.
// publish: `await_calls N` answers `called N` once Publish() has returned so
// often; `bytes N` for --bytes, `wait N`, `wait_on TOPIC`, `publish N`,
// `stream`, `stop`, `flush`, `refusals` of the first publisher; `probe`
// publishes one message of run 7 without waiting for room. subscribe:
// `subscribe NAME`, `unsubscribe` the last one; `hold` keeps the handler in the
// next message until `release`, and answers `held` from there. Both: `cut`
// breaks the connections; `fork` makes a child that does nothing, until the
// input ends. Sent without being asked: `ready` or `failed CODE`,
// `event WORD PEER`, and `ended STATUS` of a subscription.
//
// MYCELIUM_PLANTED_OVERFLOW in the environment sets the policy of every
// subscription, whatever --overflow says: it shows that tests notice a wrong
// policy.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mycelium/bus/connection_state.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/schema/digest.h"
#include "tests/conformance/ledger_words.h"
#include "tests/conformance/peer_page.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr uint64_t kNoGoal = ~uint64_t{0};
constexpr uint64_t kProbeRun = 7;
constexpr size_t kProber = ~size_t{0};

void Say(const std::string& line) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

// The next version of a note has `urgency` and `labels`, too. This file is
// built with both versions.
constexpr int kUrgent = 1;
const char kLabel[] = "next";

struct NextFields {
  NextFields()
      : urgency(Note::descriptor()->FindFieldByName("urgency")),
        labels(Note::descriptor()->FindFieldByName("labels")) {}
  bool exist() const { return urgency != nullptr && labels != nullptr; }

  const google::protobuf::FieldDescriptor* const urgency;
  const google::protobuf::FieldDescriptor* const labels;
};

void SetNextFields(Note& note) {
  static const NextFields fields;
  if (!fields.exist()) return;
  note.GetReflection()->SetEnumValue(&note, fields.urgency, kUrgent);
  note.GetReflection()->AddString(&note, fields.labels, kLabel);
}

bool HasNextFields(const Note& note) {
  static const NextFields fields;
  if (!fields.exist()) return false;
  const google::protobuf::Reflection& read = *note.GetReflection();
  return read.GetEnumValue(note, fields.urgency) == kUrgent &&
         read.FieldSize(note, fields.labels) == 1 &&
         read.GetRepeatedString(note, fields.labels, 0) == kLabel;
}

// Prints a line once a count has reached the goal that was set.
class Goal final {
 public:
  explicit Goal(const std::string& word) : word_(word) {}

  void Set(uint64_t goal, const std::atomic<uint64_t>& count) {
    goal_ = goal;
    Look(count);
  }
  void Look(const std::atomic<uint64_t>& count) {
    const uint64_t goal = goal_;
    if (count < goal) return;
    if (goal_.exchange(kNoGoal) == goal) Say(absl::StrCat(word_, " ", goal));
  }

 private:
  const std::string word_;
  std::atomic<uint64_t> goal_{kNoGoal};
};

// Keeps a handler waiting while it is shut.
class Turnstile final {
 public:
  void Shut() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = true;
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    shut_ = false;
    opened_.notify_all();
  }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!shut_) return;
    Say("held");
    opened_.wait(lock, [this] { return !shut_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool shut_ = false;
};

class Peer final {
 public:
  Peer(std::map<std::string, std::string> flags, PeerCounts& counts)
      : flags_(std::move(flags)), counts_(counts) {
    (void)absl::SimpleAtoi(Flag("run"), &run_);
    blob_bytes_ = static_cast<size_t>(NumberOf("bytes"));
    watched_ = Flag("watch");
  }

  int Run() {
    BusOptions options;
    if (Flag("poll") == "caller") options.poll = PollMode::kCaller;
    if (!Flag("schema_digest").empty()) {
      options.schema_digest = Digest::Of(Flag("schema_digest"));
    }
    options.on_connection = [this](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kDisconnected) {
        ++counts_.disconnected;
        if (absl::IsDataLoss(event.status)) ++counts_.corrupt;
      }
      Say(absl::StrCat("event ", ConnectionStateWord(event.state), " ",
                       event.peer));
    };
    auto bus =
        MessageBus::FromTopology(Flag("topology"), Flag("service"), options);
    if (!bus.ok()) return Failed(bus.status());
    bus_ = *std::move(bus);
    const absl::Status started =
        Flag("role") == "publish" ? StartPublishing() : StartSubscribing();
    if (!started.ok()) return Failed(started);
    Say("ready");
    ObeyLines();
    EndWaits();
    return 0;
  }

 private:
  static int Failed(const absl::Status& status) {
    Say(absl::StrCat("failed ", absl::StatusCodeToString(status.code()), " ",
                     status.message()));
    return 1;
  }

  absl::StatusOr<Publisher<Note>> PublisherOf(const PublisherOptions& options) {
    return Flag("to").empty() ? bus_->Publisher<Note>(options)
                              : bus_->PublisherTo<Note>(Flag("to"), options);
  }

  absl::Status StartPublishing() {
    const size_t threads =
        static_cast<size_t>(std::max<int64_t>(1, NumberOf("threads")));
    topics_ = Listed("topics");
    for (size_t i = 0; i < std::max(threads, topics_.size()); ++i) {
      PublisherOptions options;
      options.topic = i < topics_.size() ? topics_[i] : "";
      auto publisher = PublisherOf(options);
      if (!publisher.ok()) return publisher.status();
      publishers_.push_back(*std::move(publisher));
    }
    for (size_t i = 0; i < threads && Flag("loans") == "yes"; ++i) {
      auto lender = bus_->RawPublisher(MessageTypeOf<Note>());
      if (!lender.ok()) return lender.status();
      lenders_.push_back(*std::move(lender));
    }
    PublisherOptions impatient;
    impatient.publish_timeout = absl::ZeroDuration();
    auto prober = PublisherOf(impatient);
    if (!prober.ok()) return prober.status();
    prober_.emplace(*std::move(prober));
    return absl::OkStatus();
  }

  absl::Status StartSubscribing() {
    for (const std::string& name : Listed("names")) {
      for (const std::string& topic : Listed("topics")) {
        absl::Status added = Subscribe(name, topic);
        if (!added.ok()) return added;
      }
    }
    return absl::OkStatus();
  }

  // The words of a flag; one empty word if the flag is not given.
  std::vector<std::string> Listed(const std::string& flag) const {
    return absl::StrSplit(Flag(flag), ',');
  }

  absl::Status Subscribe(const std::string& name, const std::string& topic) {
    SubscriberOptions options;
    options.name = name;
    options.topic = topic;
    if (Flag("delivery") == "queued") {
      options.delivery = DeliveryMode::kQueued;
    }
    const char* const planted = std::getenv("MYCELIUM_PLANTED_OVERFLOW");
    options.overflow =
        OverflowOf(planted == nullptr ? Flag("overflow") : planted);
    options.on_error = [this](const absl::Status& status) {
      counts_.at_end = ReceivedOfAllRuns();
      ++counts_.ends;
      Say(absl::StrCat("ended ", status.ToString()));
    };
    options.on_publisher_gone = [this](const PublisherGone& gone) {
      Say(absl::StrCat("publisher_gone ", gone.node, " ", gone.service, " ",
                       gone.topic));
    };
    if (const int64_t depth = NumberOf("depth"); depth > 0) {
      options.depth = depth;
    }
    if (const int64_t window = NumberOf("window"); window > 0) {
      options.window = window;
    }
    const size_t place = subscriptions_.size() % PeerCounts::kRunsMax;
    auto subscription = bus_->Subscribe<Note>(
        [this, place, die_at = static_cast<uint64_t>(NumberOf("die_at")),
         die_after = static_cast<uint64_t>(NumberOf("die_after"))](
            const Note& note, const MessageInfo& info) {
          if (note.id() == die_at) (void)kill(getpid(), SIGKILL);
          turnstile_.Pass();
          BeSlow(NumberOf("slow_us"));
          uint64_t run = 0;
          (void)absl::SimpleAtoi(note.text(), &run);
          ReceivedIds& ids = counts_.received[run % PeerCounts::kRunsMax];
          ids.Record(note.id());
          counts_.by_place[place].Record(note.id());
          const std::string& blob = note.blob();
          // The blob may have any size, which only the publisher knows.
          const char fill = BlobFillOf(note.id());
          if (blob.find_first_not_of(fill) != std::string::npos) ++ids.torn;
          if (info.redelivered()) ++counts_.redelivered;
          counts_.lost += info.lost_before();
          CountFields(note);
          if (run == run_) goal_.Look(ids.count);
          if (note.id() == die_after) (void)kill(getpid(), SIGKILL);
        },
        options);
    if (!subscription.ok()) return subscription.status();
    subscriptions_.push_back(*std::move(subscription));
    return absl::OkStatus();
  }

  void CountFields(const Note& note) {
    if (!note.GetReflection()->GetUnknownFields(note).empty()) {
      ++counts_.with_unknown;
    }
    if (HasNextFields(note)) ++counts_.with_next;
  }

  uint64_t ReceivedOfAllRuns() const {
    uint64_t count = 0;
    for (const ReceivedIds& ids : counts_.received) count += ids.count;
    return count;
  }

  static void BeSlow(int64_t us) {
    if (us == 0) return;
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) {
    }
  }

  // What a flag says; empty if it is not given. Any thread.
  const std::string& Flag(const std::string& flag) const {
    static const std::string& none = *new std::string();
    const auto given = flags_.find(flag);
    return given == flags_.end() ? none : given->second;
  }

  int64_t NumberOf(const std::string& flag) const {
    int64_t number = 0;
    (void)absl::SimpleAtoi(Flag(flag), &number);
    return number;
  }

  // Ends with the input. Under poll = kCaller this loop also runs the bus.
  void ObeyLines() {
    std::string text;
    const nfds_t watched = Flag("poll") == "caller" ? 2 : 1;
    while (!done_) {
      pollfd fds[] = {{STDIN_FILENO, POLLIN, 0},
                      {bus_->poll_descriptor(), POLLIN, 0}};
      if (poll(fds, watched, -1) < 0) continue;
      if (watched == 2) (void)bus_->Poll(absl::ZeroDuration());
      if (fds[0].revents == 0) continue;
      char bytes[256];
      const ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
      if (count <= 0) return;
      text.append(bytes, static_cast<size_t>(count));
      for (size_t end; (end = text.find('\n')) != std::string::npos;) {
        Obey(text.substr(0, end));
        text.erase(0, end + 1);
      }
    }
  }

  void Obey(const std::string& line) {
    const std::pair<std::string, std::string> words =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const std::string& word = words.first;
    uint64_t number = 0;
    (void)absl::SimpleAtoi(words.second, &number);
    if (word == "await") {
      goal_.Set(number, publishers_.empty() ? counts_.received[run_].count
                                            : counts_.accepted);
    } else if (word == "await_calls") {
      calls_goal_.Set(number, counts_.calls);
    } else if (word == "hold") {
      turnstile_.Shut();
    } else if (word == "release") {
      turnstile_.Open();
    } else if (word == "wait") {
      for (size_t i = 1; i < publishers_.size(); ++i) {
        (void)publishers_[i].WaitForSubscribers(number, kLong);
      }
      for (RawPublisher& lender : lenders_) {
        (void)lender.WaitForSubscribers(number, kLong);
        AwaitLoans(lender);
      }
      Answer("waited", publishers_[0].WaitForSubscribers(number, kLong));
    } else if (word == "wait_on") {
      Answer("waited", WaitOn(words.second));
    } else if (word == "refusals") {
      SayRefusals();
    } else if (word == "publish") {
      PublishMany(0, run_, number);
    } else if (word == "publish_to") {
      PublishTo(words.second);
    } else if (word == "bytes") {
      blob_bytes_ = number;
    } else if (word == "probe") {
      Answer("probed", PublishNext(kProber, kProbeRun));
    } else if (word == "stream") {
      for (size_t i = 0; i < publishers_.size(); ++i) {
        streams_.emplace_back([this, i] { Stream(i, run_ + i); });
      }
    } else if (word == "stop") {
      StopStream();
      Say(absl::StrCat("stopped ", counts_.accepted.load()));
    } else if (word == "flush") {
      Answer("flushed", bus_->Flush(kLong));
    } else if (word == "ledger") {
      SayLedger(words.second);
    } else if (word == "cut") {
      CutConnections();
      Say("cut");
    } else if (word == "fork") {
      Fork();
    } else if (word == "subscribe") {
      Answer("subscribed", Subscribe(words.second, ""));
    } else if (word == "unsubscribe") {
      subscriptions_.pop_back();
      Say("unsubscribed");
    } else if (word == "links") {
      SayLinks();
    } else if (word == "errors") {
      SayErrors();
    } else if (word == "shutdown") {
      Answer("shut", bus_->Shutdown(kLong));
      SayLedger("");
      done_ = true;
    } else {
      Say(absl::StrCat("unknown ", line));
    }
  }

  static void Answer(const std::string& word, const absl::Status& status) {
    Say(absl::StrCat(word, " ", absl::StatusCodeToString(status.code())));
  }

  void SayRefusals() const {
    std::string texts;
    for (const absl::Status& refusal : publishers_[0].refusals()) {
      absl::StrAppend(&texts, " ", refusal.message());
    }
    Say("refusals" + texts);
  }

  // Publishes with the publisher of that number, or with kProber.
  absl::Status PublishNext(size_t publisher, uint64_t run) {
    std::atomic<uint64_t>& accepted = counts_.accepted_by[run];
    Note note;
    note.set_id(accepted + 1);
    note.set_text(absl::StrCat(run));
    SetNextFields(note);
    note.set_blob(std::string(blob_bytes_, BlobFillOf(note.id())));
    counts_.called_by[run] = accepted + 1;
    const absl::Status sent = publisher == kProber ? prober_->Publish(note)
                              : lenders_.empty()
                                  ? publishers_[publisher].Publish(note)
                                  : PublishLoan(lenders_[publisher], note);
    if (sent.ok()) {
      ++accepted;
      ++counts_.accepted;
      goal_.Look(counts_.accepted);
    } else {
      CountRefused(sent);
    }
    ++counts_.calls;
    calls_goal_.Look(counts_.calls);
    return sent;
  }

  void CountRefused(const absl::Status& status) {
    const std::string text(status.message());
    const std::string lane = absl::StrCat(" -> ", watched_, " (");
    if (watched_.empty() || !absl::StrContains(text, lane)) return;
    RefusedByLane& refused = counts_.refused;
    if (absl::IsUnavailable(status) &&
        absl::StrContains(text, "out of reach")) {
      ++refused.away;
    }
    if (!absl::IsResourceExhausted(status)) return;
    if (absl::StrContains(text, "overflow is fail")) ++refused.at_once;
    if (absl::StrContains(text, "waited ") ||
        absl::StrContains(text, "has stalled")) {
      ++refused.waited;
    }
  }

  // Waits until loans are read in place, where that is possible.
  void AwaitLoans(RawPublisher& lender) {
    bool shares = false;
    for (const LinkReport& link : bus_->LinkReports()) {
      shares |= link.transport == "shm";
    }
    const auto loan = lender.Loan(Payload::kHandOverBytesMin);
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (shares && loan.ok() && !loan->in_place() &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
  }

  absl::Status PublishLoan(RawPublisher& lender, const Note& note) {
    auto loan = lender.Loan(note.ByteSizeLong());
    if (!loan.ok()) return loan.status();
    const absl::Span<std::byte> bytes = loan->bytes();
    if (!note.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InternalError("a note that is not serialised");
    }
    const bool in_place = loan->in_place();
    absl::Status sent = loan->Publish();
    if (sent.ok() && in_place) ++counts_.lent;
    return sent;
  }

  // The place of the topic's publisher.
  std::optional<size_t> PlaceOf(const std::string& topic) const {
    const auto found = std::find(topics_.begin(), topics_.end(), topic);
    if (found == topics_.end()) return std::nullopt;
    return static_cast<size_t>(found - topics_.begin());
  }

  absl::Status WaitOn(const std::string& topic) {
    const std::optional<size_t> place = PlaceOf(topic);
    if (!place.has_value()) return absl::NotFoundError(topic);
    return publishers_[*place].WaitForSubscribers(1, kLong);
  }

  void PublishTo(const std::string& topic_and_count) {
    const std::pair<std::string, std::string> words =
        absl::StrSplit(topic_and_count, ' ');
    const std::optional<size_t> place = PlaceOf(words.first);
    uint64_t messages = 0;
    if (!place.has_value() || !absl::SimpleAtoi(words.second, &messages)) {
      return Say(absl::StrCat("unknown publish_to ", topic_and_count));
    }
    PublishMany(*place, *place + 1, messages);
  }

  // Publishes until one call is refused; answers `published CODE MS`, where MS
  // is how long the last call took.
  void PublishMany(size_t publisher, uint64_t run, uint64_t messages) {
    absl::Status sent;
    auto began = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < messages && sent.ok(); ++i) {
      began = std::chrono::steady_clock::now();
      sent = PublishNext(publisher, run);
    }
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - began);
    Say(absl::StrCat("published ", absl::StatusCodeToString(sent.code()), " ",
                     took.count()));
  }

  // Publishes, waiting for a subscriber whenever there is none, until `stop`.
  void Stream(size_t publisher, uint64_t run) {
    while (!stop_) {
      if (PublishNext(publisher, run).ok()) continue;
      (void)publishers_[publisher].WaitForSubscribers(1,
                                                      absl::Milliseconds(20));
    }
  }
  void StopStream() {
    stop_ = true;
    for (std::thread& stream : streams_) stream.join();
    streams_.clear();
    stop_ = false;
  }

  // Breaks every connection below the bus, as a faulty network would.
  static void CutConnections() {
    for (int fd = 3; fd < 256; ++fd) {
      sockaddr_storage peer;
      socklen_t bytes = sizeof peer;
      // Only connected sockets have a peer.
      if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) == 0) {
        (void)shutdown(fd, SHUT_RDWR);
      }
    }
  }

  static void Fork() {
    const pid_t child = fork();
    if (child != 0) return Say(child < 0 ? "forked FAILED" : "forked OK");
    alarm(absl::ToInt64Seconds(3 * kLong));
    char bytes[256];
    while (read(STDIN_FILENO, bytes, sizeof bytes) > 0) {
    }
    _exit(0);
  }

  // Lets handlers and streams go on and end, however long they might wait.
  void EndWaits() {
    turnstile_.Open();
    if (streams_.empty()) return;
    (void)bus_->Shutdown(absl::ZeroDuration());
    StopStream();
  }

  // The sum over all flows, or over those to one service.
  void SayLedger(const std::string& service) {
    Ledger sum;
    for (const FlowReport& flow : bus_->FlowReports()) {
      if (service.empty() || flow.subscriber_service == service) {
        sum += flow.ledger;
      }
    }
    Say(LedgerWords(sum));
  }

  void SayLinks() {
    const std::vector<LinkReport> links = bus_->LinkReports();
    uint64_t up = 0;
    std::string carriers;
    for (const LinkReport& link : links) {
      up += link.is_up ? 1 : 0;
      absl::StrAppend(&carriers, " ", link.transport);
      if (!link.fallback.empty()) {
        absl::StrAppend(&carriers, " (", link.fallback, ")");
      }
    }
    Say(absl::StrCat("links ", links.size(), " ", up, carriers));
  }

  void SayErrors() const {
    std::string errors;
    for (const LinkReport& link : bus_->LinkReports()) {
      absl::StrAppend(&errors, " ", link.last_error);
    }
    Say("errors" + errors);
  }

  const std::map<std::string, std::string> flags_;
  PeerCounts& counts_;
  uint64_t run_ = 0;
  size_t blob_bytes_ = 0;
  std::string watched_;
  Goal goal_{"reached"};
  Goal calls_goal_{"called"};
  Turnstile turnstile_;
  std::atomic<bool> stop_{false};
  bool done_ = false;
  std::unique_ptr<MessageBus> bus_;
  std::vector<std::string> topics_;  // The topics of the first publishers.
  std::vector<Publisher<Note>> publishers_;
  std::vector<RawPublisher> lenders_;  // One for each topic, or none.
  std::optional<Publisher<Note>> prober_;
  std::vector<SubscriptionHandle> subscriptions_;
  std::vector<std::thread> streams_;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {{"run", "1"}};
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    flags[flag.first.substr(2)] = flag.second;
  }
  PeerPage page(flags["page"]);
  if (!page.ok()) {
    Say("failed: no page");
    return 1;
  }
  return Peer(std::move(flags), page.counts()).Run();
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
