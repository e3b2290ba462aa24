#include "tests/simulation/simulated_node.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mycelium::test {
namespace {

constexpr char kTopologyPath[] = "/simulated/topology.toml";
constexpr int64_t kMs = 1'000'000;
// A call may end so much after its deadline; no work takes time by itself.
constexpr int64_t kLateNs = kMs;
// How long a node waits for a peer's last message beyond its own deadline.
constexpr int64_t kPartingMaxNs = 1'000 * kMs;
// How long a connection, with the Goodbye on it, may wait for a node that
// stands still and for the handshakes before it.
constexpr int64_t kUnreadMaxNs = 600 * kMs;
constexpr size_t kReceivedAtOnceMax = 64;

// Each version has one field more than the one before.
MessageType VersionOf(int version) {
  std::string text =
      "mycelium.schema 1\nroot simulated.Message\nmessage simulated.Message\n";
  for (int field = 1; field <= 1 + version; ++field) {
    absl::StrAppend(&text, "  ", field, " f", field,
                    " optional bytes presence=implicit\n");
  }
  MessageType type = RawMessageType("simulated.Message", Digest::Of(text));
  type.canonical_text = std::move(text);
  return type;
}

}  // namespace

struct SimulatedNode::Publishing {
  const PlannedPublisher* plan;
  std::optional<RawPublisher> publisher;
  LedgerBook::PublisherLife life = 0;
  bool in_use = false;
};

struct SimulatedNode::Subscribing {
  const PlannedSubscription* plan;
  MessageBus* bus;
  std::optional<SubscriptionHandle> handle;
  std::optional<RawSubscriber> pull;
  LedgerBook::SubscriptionLife life = 0;
  bool open = false;
  bool disconnected = false;
};

// What a process was told of one peer.
struct SimulatedNode::Contact {
  TimeNs connected_at = 0;
  std::optional<TimeNs> lost_at;
};

struct SimulatedNode::Life {
  Life(SimulatedWorld& world, int place, int64_t pid, uint64_t seed)
      : process(world, place, pid, seed) {}

  SimulatedProcess process;
  SimulatedThread* thread = nullptr;
  std::vector<std::unique_ptr<MessageBus>> buses;
  std::deque<Publishing> publishers;  // Stay where they are.
  std::deque<Subscribing> subscriptions;
  std::map<int, Contact> contacts;  // By place.
  int control = -1;  // Written to in order to ask the node for something.
  int epoll = -1;
  int drift = 0;  // Which topology file it reads.
  bool opened = false;
  bool leaves = false;
  bool probes = false;
  std::vector<size_t> to_probe;
  const std::atomic<uint32_t> nobody{0};  // Wakes a handler that takes long.
  uint64_t inside = 0;                    // Handlers that run.
  int64_t handling_ns = 0;                // Spent in them, and
  int64_t stopped_ns = 0;                 // while it did not run.
  TimeNs stopped_at = 0;
};

SimulatedNode::SimulatedNode(SimulatedWorld& world, LedgerBook& book,
                             const Scenario& scenario, int place,
                             const Mode& mode)
    : world_(world),
      book_(book),
      scenario_(scenario),
      place_(place),
      plan_(scenario.nodes[static_cast<size_t>(place)]),
      mode_(mode),
      random_(scenario.seed * 64 + static_cast<uint64_t>(place) + 7),
      type_(RawMessageType("simulated.Message")) {}

SimulatedNode::~SimulatedNode() {
  if (life_ != nullptr) Crash();
}

// ---------------------------------------------------------------------------
// From outside

void SimulatedNode::Start(int drift) {
  ++incarnation_;
  if (scenario_.versions > 1) {
    const int version = (place_ + incarnation_) % scenario_.versions;
    type_ = VersionOf(version);
    world_.trace().Note(world_.now(), Happening::kVersion, place_,
                        static_cast<uint64_t>(version));
  }
  const int64_t pid = 1000 + place_ * 100 + incarnation_;
  life_ = std::make_unique<Life>(world_, place_, pid, random_.Next64() | 1);
  life_->process.sys().SetFile(kTopologyPath, scenario_.TopologyText(drift));
  life_->drift = drift;
  life_->control = static_cast<int>(life_->process.sys().EventFd());
  world_.trace().Note(world_.now(), Happening::kStart, place_,
                      static_cast<uint64_t>(incarnation_),
                      static_cast<uint64_t>(drift));
  Life& life = *life_;
  life.thread = &world_.Spawn(place_, [this, &life] { Main(life); });
}

void SimulatedNode::Crash() {
  world_.trace().Note(world_.now(), Happening::kCrash, place_);
  Life& life = *life_;
  if (life.opened) {
    book_.AddReports(place_, incarnation_, /*crashed=*/true, life.inside,
                     Reports());
  }
  for (const Subscribing& subscription : life.subscriptions) {
    if (subscription.open) book_.EndSubscription(subscription.life);
  }
  life.process.Crash(*life.thread);
  life_ = nullptr;
  ended_at_ = world_.now();
}

void SimulatedNode::AskToLeave() {
  life_->leaves = true;
  const uint64_t one = 1;
  life_->process.sys().Write(life_->control, &one, sizeof one);
}

void SimulatedNode::AskToProbe() {
  life_->probes = true;
  for (size_t i = 0; i < life_->publishers.size(); ++i) {
    life_->to_probe.push_back(i);
  }
  const uint64_t one = 1;
  life_->process.sys().Write(life_->control, &one, sizeof one);
}

bool SimulatedNode::has_probed(LedgerBook::PublisherLife publisher) const {
  return std::none_of(
      life_->to_probe.begin(), life_->to_probe.end(),
      [&](size_t at) { return life_->publishers[at].life == publisher; });
}

void SimulatedNode::SetStopped(bool stopped) {
  if (stopped == life_->thread->stopped()) return;
  world_.trace().Note(
      world_.now(), stopped ? Happening::kStop : Happening::kContinue, place_);
  life_->thread->SetStopped(stopped);
  if (stopped) {
    life_->stopped_at = world_.now();
  } else {
    life_->stopped_ns += world_.now() - life_->stopped_at;
  }
}

bool SimulatedNode::stopped() const { return life_->thread->stopped(); }

void SimulatedNode::Reap() {
  if (life_ == nullptr || !life_->thread->finished()) return;
  if (life_->process.sys().open_files() != 0) {
    Fail(absl::StrCat(life_->process.sys().open_files(),
                      " descriptors are open after the end"));
  }
  life_ = nullptr;
  ended_at_ = world_.now();
}

std::vector<FlowReport> SimulatedNode::Reports() const {
  if (life_ == nullptr || life_->buses.empty()) return {};
  return life_->buses.front()->FlowReports();
}

bool SimulatedNode::is_open() const {
  return life_ != nullptr && life_->opened && !life_->leaves;
}

size_t SimulatedNode::SubscriberCount(
    LedgerBook::PublisherLife publisher) const {
  for (const Publishing& one : life_->publishers) {
    if (one.life == publisher) return one.publisher->subscriber_count();
  }
  return 0;
}

std::vector<LedgerBook::PublisherLife> SimulatedNode::publishers() const {
  std::vector<LedgerBook::PublisherLife> lives;
  if (life_ == nullptr) return lives;
  for (const Publishing& one : life_->publishers) lives.push_back(one.life);
  return lives;
}

std::vector<LedgerBook::SubscriptionLife> SimulatedNode::subscriptions() const {
  std::vector<LedgerBook::SubscriptionLife> lives;
  if (life_ == nullptr) return lives;
  for (const Subscribing& one : life_->subscriptions) {
    if (one.open) lives.push_back(one.life);
  }
  return lives;
}

void SimulatedNode::Fail(absl::string_view what) {
  book_.Fail(absl::StrCat(plan_.name, ".", incarnation_, ": ", what));
}

void SimulatedNode::Timed(Life& life, absl::string_view what,
                          int64_t timeout_ns, absl::FunctionRef<void()> call) {
  const TimeNs start = world_.now();
  const int64_t excused = life.stopped_ns + life.handling_ns;
  call();
  if (life.process.crashed()) return;
  const int64_t took =
      world_.now() - start - (life.stopped_ns + life.handling_ns - excused);
  world_.trace().Note(world_.now(), Happening::kCall, place_,
                      static_cast<uint64_t>(took));
  if (took > timeout_ns + kLateNs) {
    Fail(absl::StrCat("deadline: ", what, " with a timeout of ",
                      timeout_ns / 1000, " us took ", took / 1000, " us"));
  }
}

// ---------------------------------------------------------------------------
// In the node's thread

void SimulatedNode::Main(Life& life) {
  if (Open(life)) {
    life.opened = true;
    while (!life.process.crashed() && !life.leaves) Act(life);
    if (!life.process.crashed()) Leave(life);
  }
  Close(life);
}

bool SimulatedNode::Open(Life& life) {
  BusOptions options;
  options.poll = PollMode::kCaller;
  options.environment = &life.process.environment();
  options.log = [this](LogLevel, absl::string_view text) {
    if (world_.trace().prints()) {
      world_.trace().Remark(absl::StrCat(plan_.name, ": ", text));
    }
  };
  options.on_connection = [this, &life](const ConnectionEvent& event) {
    OnConnection(life, event);
  };
  for (const std::string& service : plan_.services) {
    auto bus = MessageBus::FromTopology(kTopologyPath, service, options);
    if (!bus.ok()) {
      if (!life.process.crashed()) {
        Fail(absl::StrCat("cannot open a bus: ", bus.status().ToString()));
      }
      return false;
    }
    life.buses.push_back(*std::move(bus));
  }
  const auto bus_of = [&](const std::string& service) {
    const auto at =
        std::find(plan_.services.begin(), plan_.services.end(), service);
    return life.buses[static_cast<size_t>(at - plan_.services.begin())].get();
  };
  life.epoll = static_cast<int>(life.process.sys().EpollCreate());
  const auto watch = [&](int fd) {
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd;
    life.process.sys().EpollCtl(life.epoll, EPOLL_CTL_ADD, fd, &event);
  };
  watch(life.control);
  if (plan_.sleeps_on_descriptors) watch(life.buses.front()->poll_descriptor());
  for (const PlannedSubscription& plan : plan_.subscriptions) {
    life.subscriptions.push_back(
        {&plan, bus_of(plan.service), {}, {}, 0, false, false});
    Subscribe(life, life.subscriptions.back());
  }
  for (const PlannedPublisher& plan : plan_.publishers) {
    PublisherOptions publisher_options;
    publisher_options.topic = plan.topic;
    auto publisher = bus_of(plan.service)
                         ->RawPublisher(type_, plan.target, publisher_options);
    if (!publisher.ok()) {
      if (life.process.crashed()) return false;
      Fail(absl::StrCat("cannot publish: ", publisher.status().ToString()));
      return false;
    }
    life.publishers.push_back({&plan, *std::move(publisher), 0, false});
    life.publishers.back().life =
        book_.AddPublisher({place_, incarnation_, plan_.name, plan.service,
                            plan.topic, plan.target, 0});
  }
  return true;
}

void SimulatedNode::Subscribe(Life& life, Subscribing& subscribing) {
  const PlannedSubscription& plan = *subscribing.plan;
  SubscriberOptions options;
  options.topic = plan.topic;
  options.name = plan.name;
  options.overflow = plan.overflow;
  options.depth = plan.depth;
  options.window = plan.window;
  const Overflow overflow = plan.overflow.value_or(scenario_.overflow);
  options.on_error = [this, &life, &subscribing,
                      overflow](const absl::Status& status) {
    OnError(life, subscribing, overflow, status);
  };
  subscribing.disconnected = false;
  LedgerBook::Subscription entry;
  entry.place = place_;
  entry.incarnation = incarnation_;
  entry.node = plan_.name;
  entry.service = plan.service;
  entry.topic = plan.topic;
  entry.name = plan.name;
  entry.lossy = IsLossy(overflow);
  subscribing.life = book_.AddSubscription(std::move(entry));
  subscribing.open = true;
  absl::Status status;
  if (plan.pull) {
    auto pull = subscribing.bus->RawSubscriber(type_, options);
    status = pull.status();
    if (pull.ok()) subscribing.pull.emplace(*std::move(pull));
    if (pull.ok() && plan_.sleeps_on_descriptors) {
      const absl::StatusOr<int> fd = subscribing.pull->Descriptor();
      if (fd.ok()) {
        epoll_event event = {};
        event.events = EPOLLIN;
        event.data.fd = *fd;
        life.process.sys().EpollCtl(life.epoll, EPOLL_CTL_ADD, *fd, &event);
      }
    }
  } else {
    auto handle = subscribing.bus->SubscribeRaw(
        type_,
        [this, &life, &subscribing](absl::Span<const std::byte> bytes,
                                    const MessageInfo& info) {
          OnMessage(life, subscribing, bytes, info);
        },
        options);
    status = handle.status();
    if (handle.ok()) subscribing.handle.emplace(*std::move(handle));
  }
  if (!status.ok() && !life.process.crashed()) {
    Fail(absl::StrCat("cannot subscribe: ", status.ToString()));
  }
}

void SimulatedNode::Unsubscribe(Subscribing& subscribing) {
  subscribing.pull.reset();
  subscribing.handle.reset();
  if (!subscribing.open) return;
  subscribing.open = false;
  book_.EndSubscription(subscribing.life);
}

void SimulatedNode::Resubscribe(Life& life, Subscribing& subscribing) {
  world_.trace().Note(world_.now(), Happening::kUnsubscribe, place_,
                      subscribing.life);
  Unsubscribe(subscribing);
  if (!life.process.crashed()) Subscribe(life, subscribing);
}

void SimulatedNode::OnMessage(Life& life, Subscribing& subscribing,
                              absl::Span<const std::byte> bytes,
                              const MessageInfo& info) {
  if (life.process.crashed()) return;
  SimulatedMessage message;
  if (!DecodeMessage(bytes, &message)) {
    Fail("a message is not what was sent");
    return;
  }
  world_.trace().Note(
      world_.now(), Happening::kDeliver, place_,
      static_cast<uint64_t>(subscribing.life) << 32 | message.publisher,
      message.id);
  book_.CountDelivered(subscribing.life, message.publisher, message.id,
                       info.sequence(), info.lost_before(), info.redelivered());
  if (subscribing.plan->pull || message.hops > 0 || mode_ == Mode::kDrain ||
      random_.Below(4) != 0) {
    return;
  }
  ++life.inside;
  const TimeNs start = world_.now();
  const int64_t stopped = life.stopped_ns;
  const int64_t handling = life.handling_ns;
  const auto count_time = [&] {
    life.handling_ns =
        handling + world_.now() - start - (life.stopped_ns - stopped);
  };
  if (slow_) {
    const auto takes_ns = static_cast<int64_t>(random_.Below(5 * kMs));
    const Environment& environment = life.process.environment();
    environment.waiter.WaitWord(life.nobody, 0,
                                environment.clock.NowNs() + takes_ns);
    count_time();
  }
  for (Publishing& publishing : life.publishers) {
    if (life.process.crashed()) break;
    if (publishing.plan->relays) Publish(life, publishing);
  }
  // The time of work that a handler's own call ran belongs to that call.
  if (life.inside == 1) count_time();
  --life.inside;
}

void SimulatedNode::OnError(const Life& life, Subscribing& subscribing,
                            Overflow overflow, const absl::Status& status) {
  if (life.process.crashed()) return;
  // All versions of the type are compatible, so a subscription has one reason
  // to get nothing more.
  if (overflow == Overflow::kDisconnect && absl::IsResourceExhausted(status)) {
    subscribing.disconnected = true;
    return;
  }
  Fail(absl::StrCat("error: ", subscribing.plan->service, "/",
                    subscribing.plan->name, ", whose overflow is ",
                    WordOf(overflow), ", is told: ", status.ToString()));
}

void SimulatedNode::OnConnection(Life& life, const ConnectionEvent& event) {
  if (life.process.crashed()) return;
  world_.trace().Note(world_.now(), Happening::kConnection, place_,
                      static_cast<uint64_t>(event.state));
  if (world_.trace().prints()) {
    static constexpr const char* kWords[] = {"connected", "reconnected",
                                             "disconnected", "refused", "gone"};
    world_.trace().Remark(absl::StrCat(plan_.name, ": ", event.peer, " is ",
                                       kWords[static_cast<int>(event.state)],
                                       " ", event.status.message()));
  }
  for (size_t other = 0; other < scenario_.nodes.size(); ++other) {
    if (scenario_.nodes[other].name == event.peer) {
      NoteContact(life, static_cast<int>(other), event);
    }
  }
}

void SimulatedNode::NoteContact(Life& life, int other,
                                const ConnectionEvent& event) {
  Contact& contact = life.contacts[other];
  switch (event.state) {
    case ConnectionEvent::State::kConnected:
    case ConnectionEvent::State::kReconnected:
      contact = {world_.now(), std::nullopt};
      return;
    case ConnectionEvent::State::kDisconnected:
      contact.lost_at = world_.now();
      return;
    case ConnectionEvent::State::kRefused:
      return;
    case ConnectionEvent::State::kGone:
      break;
  }
  book_.NotePart(place_, other);
  const int64_t retain_ns = scenario_.retain_ms * kMs;
  if (contact.lost_at.has_value() &&
      world_.now() - *contact.lost_at >= retain_ns) {
    return;
  }
  const std::optional<TimeNs> left_at = book_.left_at(other);
  if (left_at.has_value() && *left_at >= contact.connected_at - kUnreadMaxNs) {
    return;
  }
  Fail(absl::StrCat("parting: gives ", event.peer,
                    " up, which has not left and was not away for `retain`: ",
                    event.status.ToString()));
}

void SimulatedNode::Act(Life& life) {
  if (std::exchange(unsubscribes_, false) && !life.subscriptions.empty()) {
    Resubscribe(life,
                life.subscriptions[random_.Below(life.subscriptions.size())]);
  }
  for (Subscribing& subscribing : life.subscriptions) {
    if (!subscribing.disconnected || life.process.crashed()) continue;
    world_.trace().Note(world_.now(), Happening::kDisconnect, place_,
                        subscribing.life);
    Resubscribe(life, subscribing);
  }
  if (life.probes) Probe(life);
  if (mode_ == Mode::kDrain) {
    ReceiveAll(life);
    Sleep(life, 50 * kMs);
    return;
  }
  const uint64_t what = random_.Below(100);
  if (what < 20 && !life.publishers.empty()) {
    Publishing& publishing =
        life.publishers[random_.Below(life.publishers.size())];
    if (publishing.plan->relays) return Sleep(life, kMs);
    for (uint64_t left = 1 + random_.Below(8);
         left > 0 && !life.process.crashed(); --left) {
      Publish(life, publishing);
    }
  } else if (what < 35 && !life.subscriptions.empty()) {
    Receive(life, life.subscriptions[random_.Below(life.subscriptions.size())]);
  } else if (what < 37) {
    const int64_t timeout = static_cast<int64_t>(random_.Below(5)) * kMs;
    Timed(life, "Flush()", timeout,
          [&] { (void)life.buses.front()->Flush(absl::Nanoseconds(timeout)); });
  } else {
    // The more nodes there are, the less each does.
    Sleep(life, static_cast<int64_t>(
                    random_.Below(4 * kMs * scenario_.nodes.size())));
  }
}

void SimulatedNode::Publish(Life& life, Publishing& publishing) {
  if (publishing.in_use) return;  // By the handler that this one is inside of.
  publishing.in_use = true;
  const absl::Cleanup done = [&] { publishing.in_use = false; };
  SimulatedMessage message;
  message.publisher = publishing.life;
  message.hops = publishing.plan->relays ? 1 : 0;
  message.id = book_.NextId(publishing.life);
  book_.NoteReached(publishing.life, publishing.publisher->subscriber_count());
  const uint64_t kind = random_.Below(20);
  const size_t filler = kind == 0  ? random_.Below(8'000)
                        : kind < 5 ? random_.Below(2'000)
                                   : random_.Below(200);
  absl::Status status;
  const int64_t timeout_ms = scenario_.publish_timeout_ms + life.drift;
  Timed(life, "Publish()", timeout_ms * kMs, [&] {
    status = publishing.publisher->Publish(EncodeMessage(message, filler));
  });
  if (life.process.crashed()) return;
  world_.trace().Note(
      world_.now(),
      status.ok() ? Happening::kPublish : Happening::kPublishFails, place_,
      static_cast<uint64_t>(publishing.life) << 32 | message.id,
      static_cast<uint64_t>(status.code()));
  if (status.ok()) {
    book_.CountAccepted(publishing.life);
  } else if (status.code() != absl::StatusCode::kResourceExhausted &&
             status.code() != absl::StatusCode::kUnavailable &&
             !(life.leaves &&  // Shutdown() runs handlers too.
               status.code() == absl::StatusCode::kFailedPrecondition)) {
    Fail(absl::StrCat("Publish(): ", status.ToString()));
  }
}

void SimulatedNode::Receive(Life& life, Subscribing& subscribing) {
  if (!subscribing.pull.has_value() || slow_) return;
  if (random_.Below(2) == 0) {
    const int64_t timeout = static_cast<int64_t>(random_.Below(3 * kMs));
    absl::StatusOr<absl::Span<const std::byte>> bytes = absl::InternalError("");
    Timed(life, "Receive()", timeout, [&] {
      bytes = subscribing.pull->Receive(absl::Nanoseconds(timeout));
    });
    if (bytes.ok() && !life.process.crashed()) {
      OnMessage(life, subscribing, *bytes, subscribing.pull->info());
    }
    return;
  }
  for (size_t i = 0; i < kReceivedAtOnceMax; ++i) {
    auto bytes = subscribing.pull->TryReceive();
    if (life.process.crashed() || !bytes.ok() || !bytes->has_value()) return;
    OnMessage(life, subscribing, **bytes, subscribing.pull->info());
  }
}

void SimulatedNode::ReceiveAll(Life& life) {
  for (Subscribing& subscribing : life.subscriptions) {
    if (!subscribing.pull.has_value()) continue;
    while (!life.process.crashed()) {
      auto bytes = subscribing.pull->TryReceive();
      if (!bytes.ok() || !bytes->has_value()) break;
      OnMessage(life, subscribing, **bytes, subscribing.pull->info());
    }
  }
}

void SimulatedNode::Sleep(Life& life, int64_t longest_ns) {
  MessageBus& bus = *life.buses.front();
  // A descriptor stays readable while nobody takes what it announces.
  if (!plan_.sleeps_on_descriptors || slow_) {
    Timed(life, "Poll()", longest_ns,
          [&] { (void)bus.Poll(absl::Nanoseconds(longest_ns)); });
    return;
  }
  // While the node drains, only what the bus announces can wake it.
  if (mode_ == Mode::kDrain && !life.probes) longest_ns = 60'000 * kMs;
  epoll_event events[8];
  life.process.environment().waiter.WaitEpoll(
      life.epoll, events, 8,
      life.process.environment().clock.NowNs() + longest_ns);
  uint64_t asked = 0;
  life.process.sys().Read(life.control, &asked, sizeof asked);
  (void)bus.Poll(absl::ZeroDuration());
  ReceiveAll(life);
}

void SimulatedNode::Probe(Life& life) {
  auto& left = life.to_probe;
  for (size_t i = 0; i < left.size() && !life.process.crashed();) {
    Publishing& publishing = life.publishers[left[i]];
    const uint64_t next = book_.NextId(publishing.life);
    Publish(life, publishing);
    if (book_.NextId(publishing.life) == next) {
      ++i;
    } else {
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  life.probes = !left.empty();
}

void SimulatedNode::Leave(Life& life) {
  world_.trace().Note(world_.now(), Happening::kLeave, place_);
  book_.NoteLeaves(place_, world_.now());
  const int64_t timeout = static_cast<int64_t>(random_.Below(300)) * kMs;
  Timed(life, "Shutdown()", timeout + kPartingMaxNs, [&] {
    (void)life.buses.front()->Shutdown(absl::Nanoseconds(timeout));
  });
  if (life.process.crashed()) return;
  // A message that was pulled and is held counts as delivered.
  const std::vector<FlowReport> reports = life.buses.front()->FlowReports();
  for (const FlowReport& report : reports) {
    if (report.publisher_node != plan_.name || report.ledger.in_flight == 0) {
      continue;
    }
    Fail(absl::StrCat("shutdown: ", report.publisher_service, " -> ",
                      report.subscriber_service, "/", report.subscription_name,
                      " \"", report.topic, "\": ", report.ledger.in_flight,
                      " still in flight"));
  }
  book_.AddReports(place_, incarnation_, /*crashed=*/false, 0, reports);
  life.opened = false;
}

void SimulatedNode::Close(Life& life) {
  for (Subscribing& subscribing : life.subscriptions) Unsubscribe(subscribing);
  life.publishers.clear();
  life.subscriptions.clear();
  life.buses.clear();
  if (life.epoll >= 0) life.process.sys().Close(life.epoll);
  life.process.sys().Close(life.control);
}

}  // namespace mycelium::test
