#include "tests/conformance/served_node.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "mycelium/message/protobuf_type.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr std::chrono::seconds kLongWait(10);
constexpr int kTriesMax = 10'000'000;

// The counts of `bus` between two nodes.
Ledger SumOf(const MessageBus& bus, const std::string& from,
             const std::string& to) {
  Ledger sum;
  for (const FlowReport& flow : bus.FlowReports()) {
    if (flow.publisher_node == from && flow.subscriber_node == to) {
      sum += flow.ledger;
    }
  }
  return sum;
}

}  // namespace

Note MakeNote(uint64_t id) {
  Note note;
  note.set_id(id);
  note.set_text("by hand");
  return note;
}

RawFrame NoteFrame(uint64_t sequence) {
  RawFrame frame;
  frame.sequence = sequence;
  frame.digest_prefix = MessageTypeOf<Note>().digest.prefix();
  frame.payload = MakeNote(sequence).SerializeAsString();
  return frame;
}

v1::Control LaneOpenOf(uint32_t lane, uint32_t subscription,
                       uint64_t capacity_bytes, uint64_t position,
                       uint64_t next_sequence) {
  v1::Control control;
  v1::LaneOpen& open = *control.mutable_lane_open();
  open.set_lane(lane);
  open.set_subscription(subscription);
  open.set_position(position);
  open.set_next_sequence(next_sequence);
  open.set_capacity_bytes(capacity_bytes);
  return control;
}

v1::Control DeclareOf(uint32_t publisher) {
  v1::Control control;
  v1::PublisherDeclare& declare = *control.mutable_publisher();
  declare.set_publisher(publisher);
  declare.set_service("by-hand");
  declare.set_topic(MessageTypeOf<Note>().name);
  declare.set_type(MessageTypeOf<Note>().name);
  declare.set_type_digest(std::string(MessageTypeOf<Note>().digest.bytes()));
  return control;
}

v1::Control MatchOf(uint32_t publisher, uint32_t subscription, uint32_t lane) {
  v1::Control control;
  v1::Matched& matched = *control.mutable_matched();
  matched.set_publisher(publisher);
  matched.set_subscription(subscription);
  matched.set_lane(lane);
  matched.set_from_sequence(1);
  return control;
}

v1::Control SubscribeOf(uint32_t subscription) {
  v1::Control control;
  v1::Subscribe& subscribe = *control.mutable_subscribe();
  subscribe.set_subscription(subscription);
  subscribe.set_service("by-hand");
  subscribe.set_topic(MessageTypeOf<Note>().name);
  subscribe.set_type(MessageTypeOf<Note>().name);
  subscribe.set_type_digest(std::string(MessageTypeOf<Note>().digest.bytes()));
  subscribe.set_delivery(v1::Subscribe::INLINE);
  return control;
}

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(
      std::distance(begin(all), std::filesystem::directory_iterator()));
}

ServedNode::ServedNode(const std::string& transport, BusOptions options)
    : transport_(transport), path_(dir_.file("served.sock")) {
  options.node = "served";
  options.on_connection = [this](const ConnectionEvent& event) {
    OnConnection(event);
  };
  options.log = [this](LogLevel, absl::string_view message) {
    const std::lock_guard<std::mutex> lock(mutex_);
    told_.push_back(std::string(message));
    changed_.notify_all();
  };
  bus_ = *MessageBus::Create(options);
  const auto& node = bus_->runtime();
  endpoint_.emplace(
      node,
      *(transport == "shm" ? node->ListenShm(path_) : node->ListenUnix(path_)),
      path_);
  for (const std::string name : {"inline", "queued"}) {
    SubscriberOptions subscriber;
    subscriber.name = name;
    subscriber.delivery =
        name == "inline" ? DeliveryMode::kInline : DeliveryMode::kQueued;
    subscriptions_.push_back(*bus_->Subscribe<Note>(
        [this, name](const Note& note, const MessageInfo& info) {
          std::unique_lock<std::mutex> lock(mutex_);
          got_.push_back({std::string(info.publisher_node()), name, note.id()});
          changed_.notify_all();
          changed_.wait(lock,
                        [&] { return name != "queued" || !queued_held_; });
        },
        subscriber));
  }
  publisher_.emplace(*bus_->Publisher<Note>());
  // A first guest learns the ids of the subscriptions.
  RawPeer guest = Greeted("first-guest", 77);
  while (inline_id_ == 0 || queued_id_ == 0) {
    const auto record = guest.ReadUntilControl(v1::Control::kSubscribe);
    if (!record.has_value()) break;
    const v1::Subscribe& subscribe = record->control.subscribe();
    (subscribe.name() == "queued" ? queued_id_ : inline_id_) =
        subscribe.subscription();
  }
  EXPECT_NE(inline_id_, 0u);
  EXPECT_NE(queued_id_, 0u);
  v1::Control goodbye;
  goodbye.mutable_goodbye();
  guest.SendControl(goodbye);
  guest.Close();
  EXPECT_TRUE(
      EventWith(ConnectionEvent::State::kGone, "first-guest").has_value());
}

ServedNode::~ServedNode() { Shutdown(); }

void ServedNode::Shutdown() {
  if (bus_ == nullptr) return;
  (void)bus_->Shutdown(absl::ZeroDuration());
  subscriptions_.clear();
  publisher_.reset();
  endpoint_.reset();
  bus_ = nullptr;
}

void ServedNode::OnConnection(const ConnectionEvent& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  told_.push_back(absl::StrCat("event ", static_cast<int>(event.state), " of ",
                               event.peer, ": ", event.status.ToString()));
  events_.push_back(event);
  changed_.notify_all();
}

bool ServedNode::WasTold(const std::string& text) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kLongWait, [&] {
    return std::any_of(told_.begin(), told_.end(), [&](const auto& line) {
      return line.find(text) != std::string::npos;
    });
  });
}

std::optional<ConnectionEvent> ServedNode::EventWith(
    ConnectionEvent::State state, const std::string& peer) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::optional<ConnectionEvent> found;
  changed_.wait_for(lock, kLongWait, [&] {
    for (const ConnectionEvent& event : events_) {
      if (event.state == state && event.peer == peer) found = event;
    }
    return found.has_value();
  });
  return found;
}

std::string ServedNode::Told() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return absl::StrJoin(told_, "\n");
}

std::multiset<uint64_t> ServedNode::IdsFrom(
    const std::string& node, const std::string& subscription) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::multiset<uint64_t> ids;
  for (const Got& got : got_) {
    if (got.node == node && got.subscription == subscription) {
      ids.insert(got.id);
    }
  }
  return ids;
}

void ServedNode::SetQueuedHeld(bool held) {
  const std::lock_guard<std::mutex> lock(mutex_);
  queued_held_ = held;
  changed_.notify_all();
}

bool ServedNode::HasGotFrom(const std::string& node) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kLongWait, [&] {
    return std::any_of(got_.begin(), got_.end(),
                       [&](const Got& got) { return got.node == node; });
  });
}

RawPeer ServedNode::Greeted(const std::string& node, uint64_t incarnation,
                            bool shares) {
  RawPeer peer(path_);
  v1::Hello hello = HelloFrom(node, incarnation);
  hello.set_shared_memory(shares);
  EXPECT_TRUE(peer.SayHello(hello).has_hello());
  return peer;
}

RawPeer ServedNode::Publishing(const std::string& node) {
  RawPeer peer = Greeted(node);
  peer.SendControl(DeclareOf(1));
  peer.SendControl(LaneOpenOf(0, 0));
  peer.SendControl(MatchOf(1, inline_id_, 0));
  return peer;
}

void ServedNode::ExpectServesOthers() {
  constexpr uint64_t kNotes = 50;
  const std::string name = absl::StrCat("guest-", ++guests_);
  BusOptions options;
  options.node = name;
  options.log = [](LogLevel, absl::string_view) {};
  auto guest = *MessageBus::Create(options);
  ASSERT_TRUE((transport_ == "shm" ? guest->runtime()->DialShm(path_)
                                   : guest->runtime()->DialUnix(path_))
                  .ok());
  std::mutex mutex;
  std::multiset<uint64_t> received;
  SubscriberOptions to_guest;
  to_guest.topic = name;
  auto subscription = guest->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) {
        const std::lock_guard<std::mutex> lock(mutex);
        received.insert(note.id());
      },
      to_guest);
  auto from_guest = guest->Publisher<Note>();
  PublisherOptions for_guest;
  for_guest.topic = name;
  auto from_served = bus_->Publisher<Note>(for_guest);
  absl::Status matched = from_guest->WaitForSubscribers(2, kLong);
  ASSERT_TRUE(matched.ok()) << matched << "\n" << Told();
  matched = from_served->WaitForSubscribers(1, kLong);
  ASSERT_TRUE(matched.ok()) << matched << "\n" << Told();
  std::multiset<uint64_t> sent;
  for (uint64_t id = 1; id <= kNotes; ++id) {
    sent.insert(id);
    ASSERT_TRUE(from_guest->Publish(MakeNote(id)).ok());
    ASSERT_TRUE(from_served->Publish(MakeNote(id)).ok());
  }
  const absl::Status flushed = guest->Flush(kLong);
  ASSERT_TRUE(flushed.ok()) << flushed << "\n" << Told();
  // The bus's own flush would wait for messages that a hostile subscriber never
  // handles.
  Ledger to = SumOf(*bus_, "served", name);
  for (int tries = 0; to.in_flight > 0 && tries < kTriesMax; ++tries) {
    (void)guest->Flush(kLong);
    std::this_thread::yield();
    to = SumOf(*bus_, "served", name);
  }
  EXPECT_EQ(IdsFrom(name, "inline"), sent);
  EXPECT_EQ(IdsFrom(name, "queued"), sent);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(received, sent);
  }
  EXPECT_EQ(to.accepted, kNotes);
  EXPECT_EQ(to.in_flight + to.dropped_total(), 0u);
  EXPECT_EQ(SumOf(*guest, "served", name).delivered, kNotes);
  const Ledger from = SumOf(*guest, name, "served");
  EXPECT_EQ(from.accepted, 2 * kNotes);
  EXPECT_EQ(from.in_flight + from.dropped_total(), 0u);
  EXPECT_EQ(SumOf(*bus_, name, "served").delivered, 2 * kNotes);
  EXPECT_TRUE(guest->Shutdown(kLong).ok());
}

}  // namespace mycelium::test
