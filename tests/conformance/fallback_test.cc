// Where memory cannot be shared, messages go over the socket: none is lost, and
// both sides give the reason.

#include <sys/resource.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/node_runtime.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/cutting_relay.h"
#include "tests/support/cgroup_sys.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A kernel that finds no number for a descriptor that arrives: while it
// receives, this process may open no descriptor.
class CrampedSys final : public FaultySys {
 public:
  int64_t RecvMsg(int fd, msghdr* message, int flags) override {
    rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none = {0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    const int64_t got = FaultySys::RecvMsg(fd, message, flags);
    setrlimit(RLIMIT_NOFILE, &before);
    return got;
  }
};

// A kernel that passes no descriptors, as while a user has too many under way.
class PassesNothingSys final : public FaultySys {
 public:
  int64_t SendMsg(int fd, const msghdr& message, int flags) override {
    if (message.msg_controllen > 0) return -ETOOMANYREFS;
    return FaultySys::SendMsg(fd, message, flags);
  }
};

// A node of this process that publishes notes of its own topic and subscribes
// to the other node's topic.
class Node final {
 public:
  Node(const std::string& name, const std::string& other, FaultySys& sys)
      : environment_{sys, Environment::Real().clock,
                     Environment::Real().waiter} {
    BusOptions options;
    options.node = name;
    options.poll = PollMode::kCaller;
    options.wait = WaitMode::kBlock;
    options.environment = &environment_;
    options.limits.reconnect_max = absl::Milliseconds(20);
    options.log = [](LogLevel, absl::string_view) {};
    bus_ = *MessageBus::Create(options);
    SubscriberOptions to_other;
    to_other.topic = other;
    subscription_ = *bus_->Subscribe<Note>(
        [this](const Note& note, const MessageInfo&) {
          ids_.push_back(note.id());
        },
        to_other);
    PublisherOptions own;
    own.topic = name;
    publisher_ = *bus_->Publisher<Note>(own);
  }

  MessageBus& bus() { return *bus_; }
  NodeRuntime& runtime() { return *bus_->runtime(); }
  Publisher<Note>& publisher() { return *publisher_; }
  const std::vector<uint64_t>& ids() const { return ids_; }
  void Turn() { (void)bus_->Poll(absl::ZeroDuration()); }

  LinkReport Report() const {
    const std::vector<LinkReport> links = bus_->LinkReports();
    EXPECT_EQ(links.size(), 1u);
    return links.empty() ? LinkReport() : links[0];
  }

 private:
  Environment environment_;
  std::vector<uint64_t> ids_;
  std::unique_ptr<MessageBus> bus_;
  std::optional<SubscriptionHandle> subscription_;
  std::optional<Publisher<Note>> publisher_;
};

class FallbackTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kNotes = 100;

  void TearDown() override {
    Ledger sum;
    for (Node* const node : {&*a_, &*b_}) {
      for (const FlowReport& flow : node->bus().FlowReports()) {
        sum += flow.ledger;
      }
    }
    EXPECT_EQ(sum.accepted, 2 * exchanged_);
    EXPECT_EQ(sum.delivered, 2 * exchanged_);
    EXPECT_EQ(sum.in_flight + sum.dropped_total(), 0u);
    for (Node* const node : {&*a_, &*b_}) {
      (void)node->bus().Shutdown(absl::ZeroDuration());
    }
  }

  void MakeA() { a_.emplace("a", "b", sys_a_); }
  void MakeB(FaultySys& sys) { b_.emplace("b", "a", sys); }
  void MakeB() { MakeB(sys_b_); }

  void Listen() { ASSERT_TRUE(a_->runtime().ListenShm(path_).ok()); }

  template <typename Ready>
  bool TurnUntil(Ready ready) {
    const absl::Time end = absl::Now() + kLong;
    while (!ready()) {
      if (absl::Now() > end) return false;
      a_->Turn();
      b_->Turn();
    }
    return true;
  }

  // Publishes notes both ways, whose ids go on from those before, and checks
  // that each arrives.
  void Exchange() {
    ASSERT_TRUE(TurnUntil([&] {
      return a_->publisher().subscriber_count() == 1 &&
             b_->publisher().subscriber_count() == 1;
    })) << a_->Report().last_error
        << b_->Report().last_error;
    for (uint64_t i = 1; i <= kNotes; ++i) {
      ++exchanged_;
      for (Node* const node : {&*a_, &*b_}) {
        const absl::Status sent =
            node->publisher().Publish(MakeNote(exchanged_, i * 40));
        ASSERT_TRUE(sent.ok()) << sent;
      }
      a_->Turn();
      b_->Turn();
    }
    EXPECT_TRUE(TurnUntil([&] {
      return a_->ids().size() == exchanged_ && b_->ids().size() == exchanged_;
    })) << a_->ids().size()
        << " " << b_->ids().size();
    // The acknowledgements arrive, too.
    EXPECT_TRUE(TurnUntil([&] { return InFlight() == 0; }));
    EXPECT_EQ(a_->ids(), Counting(exchanged_));
    EXPECT_EQ(b_->ids(), Counting(exchanged_));
  }

  uint64_t InFlight() {
    uint64_t sum = 0;
    for (Node* const node : {&*a_, &*b_}) {
      for (const FlowReport& flow : node->bus().FlowReports()) {
        sum += flow.ledger.in_flight;
      }
    }
    return sum;
  }

  ShortTempDir dir_;
  const std::string path_ = dir_.file("a.sock");
  FaultySys sys_a_, sys_b_;
  CrampedSys cramped_;
  PassesNothingSys passes_nothing_;
  CgroupSys limited_;
  std::optional<Node> a_, b_;
  uint64_t exchanged_ = 0;  // Notes each way.
};

TEST_F(FallbackTest, NothingIsSaidWhereMemoryIsShared) {
  MakeA();
  MakeB();
  Listen();
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  for (Node* const node : {&*a_, &*b_}) {
    EXPECT_EQ(node->Report().transport, "shm");
    EXPECT_EQ(node->Report().fallback, "");
  }
}

TEST_F(FallbackTest, RelayThatStripsDescriptors) {
  MakeA();
  MakeB();
  Listen();
  const std::string relayed = dir_.file("relay.sock");
  CuttingRelay relay(relayed, path_, /*seed=*/1, /*bytes_max=*/0);
  ASSERT_TRUE(b_->runtime().DialShm(relayed).ok());
  Exchange();
  const auto expect_told = [&] {
    for (Node* const node : {&*a_, &*b_}) {
      EXPECT_THAT(node->Report().fallback,
                  HasSubstr("its descriptors did not arrive"));
    }
  };
  expect_told();
  // After a reconnect they go over the socket too, for the same reason.
  const auto are_up = [&] { return a_->Report().is_up && b_->Report().is_up; };
  relay.Cut();
  ASSERT_TRUE(TurnUntil([&] { return !are_up(); }));
  ASSERT_TRUE(TurnUntil(are_up));
  Exchange();
  expect_told();
}

TEST_F(FallbackTest, PeerThatDoesNotOffer) {
  MakeA();
  MakeB();
  Listen();
  ASSERT_TRUE(b_->runtime().DialUnix(path_).ok());
  Exchange();
  EXPECT_EQ(a_->Report().transport, "unix");
  EXPECT_EQ(a_->Report().fallback, "node b does not offer shared memory");
  EXPECT_EQ(b_->Report().transport, "unix");
}

TEST_F(FallbackTest, ReceiverOutOfDescriptors) {
  MakeA();
  MakeB(cramped_);
  Listen();
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_THAT(a_->Report().fallback,
              HasSubstr("the peer cannot map lane 0: its descriptors did not "
                        "arrive"));
  EXPECT_THAT(b_->Report().fallback,
              HasSubstr("lane 0 of the peer is not shared: its descriptors did "
                        "not arrive"));
}

TEST_F(FallbackTest, PublisherThatCanPassNoDescriptors) {
  MakeA();
  MakeB(passes_nothing_);
  Listen();
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_THAT(b_->Report().fallback,
              HasSubstr("lane 0: its descriptors cannot be passed: send: Too "
                        "many references"));
  EXPECT_EQ(b_->Report().transport, "shm");
  EXPECT_EQ(passes_nothing_.counts()["connect"], 1u) << "none has ended";
  EXPECT_EQ(a_->Report().fallback, "") << "its own lane is shared";
}

// The system call that fails once: when the node starts, or when it makes or
// maps a lane.
struct Fault {
  std::string call;
  int error;
  std::string words;
};

class FallbackFaultTest : public FallbackTest,
                          public ::testing::WithParamInterface<Fault> {};

class NodeFaultTest : public FallbackFaultTest {};
TEST_P(NodeFaultTest, NodeWithoutSharedMemory) {
  MakeA();
  sys_b_.Fail(GetParam().call, {-GetParam().error});
  MakeB();
  EXPECT_EQ(sys_b_.Left(GetParam().call), 0u);
  const auto listening = b_->runtime().ListenShm(dir_.file("b.sock"));
  EXPECT_EQ(listening.status().code(), absl::StatusCode::kUnavailable);
  Listen();
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_EQ(a_->Report().fallback, "node b does not offer shared memory");
  EXPECT_THAT(b_->Report().fallback, HasSubstr("this node shares no memory: "));
  EXPECT_THAT(b_->Report().fallback, HasSubstr(GetParam().words));
}
INSTANTIATE_TEST_SUITE_P(Node, NodeFaultTest,
                         ::testing::Values(Fault{"memfd_create", ENOSYS,
                                                 "memfd_create"},
                                           Fault{"reserve", ENOSPC, "reserve"},
                                           Fault{"add_seals", EINVAL, "seal"}),
                         [](const auto& info) { return info.param.call; });

class LaneFaultTest : public FallbackFaultTest {};
TEST_P(LaneFaultTest, PublisherThatCanMakeNoLane) {
  MakeA();
  MakeB();
  Listen();
  sys_b_.Fail(GetParam().call, {-GetParam().error});
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_EQ(sys_b_.Left(GetParam().call), 0u);
  EXPECT_THAT(b_->Report().fallback, HasSubstr(GetParam().words));
  EXPECT_EQ(a_->Report().fallback, "") << "its own lane is shared";
}
INSTANTIATE_TEST_SUITE_P(
    Lane, LaneFaultTest,
    ::testing::Values(Fault{"memfd_create", EMFILE, "memfd_create"},
                      Fault{"reserve", ENOSPC, "reserve"},
                      Fault{"reserve", EFBIG, "File too large"},
                      Fault{"add_seals", EINVAL, "seal"},
                      Fault{"dontfork", ENOMEM, "keep shared memory"}),
    [](const auto& info) {
      return absl::StrCat(info.param.call, "_", info.param.error);
    });

TEST_F(FallbackTest, LaneBeyondTheMemoryLimit) {
  MakeA();
  limited_.SetMemory(/*limit=*/20 << 20, /*used=*/14 << 20);
  MakeB(limited_);
  Listen();
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_THAT(b_->Report().fallback, HasSubstr("memory cgroup"));
  EXPECT_EQ(a_->Report().fallback, "") << "its own lane is shared";
}

class MapFaultTest : public FallbackFaultTest {};
TEST_P(MapFaultTest, SubscriberThatCannotMapALane) {
  MakeA();
  MakeB();
  Listen();
  sys_b_.Fail(GetParam().call, {-GetParam().error});
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_EQ(sys_b_.Left(GetParam().call), 0u);
  for (Node* const node : {&*a_, &*b_}) {
    EXPECT_THAT(node->Report().fallback, HasSubstr(GetParam().words));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Map, MapFaultTest,
    ::testing::Values(Fault{"get_seals", EINVAL, "no sealed memory"},
                      Fault{"fstat", ENOMEM, "look at a descriptor"}),
    [](const auto& info) { return info.param.call; });

TEST_F(FallbackTest, LanesHaveAReasonEach) {
  MakeA();
  MakeB();
  Listen();
  sys_b_.Fail("memfd_create", {-EMFILE});
  sys_b_.Fail("get_seals", {-EINVAL});
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_THAT(b_->Report().fallback,
              AllOf(HasSubstr("memfd_create"), HasSubstr("; "),
                    HasSubstr("no sealed memory")));
}

TEST_F(FallbackTest, SubscriberWithoutAddressesForALane) {
  MakeA();
  MakeB();
  Listen();
  // B maps the two segments of its own lane and then the first of the other's.
  sys_b_.FailNth("map", sys_b_.counts()["map"] + 3, -ENOMEM);
  ASSERT_TRUE(b_->runtime().DialShm(path_).ok());
  Exchange();
  EXPECT_TRUE(sys_b_.fired());
  for (Node* const node : {&*a_, &*b_}) {
    EXPECT_THAT(node->Report().fallback, HasSubstr("map 4194304 bytes"));
  }
}

}  // namespace
}  // namespace mycelium::test
