#include "mycelium/transport/local_socket/local_transport.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::mycelium::test::FaultySys;
using ::mycelium::test::ShortTempDir;

// The kernel, except for our own user: every other process is then a stranger.
class StrangerSys final : public FaultySys {
 public:
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override {
    const int64_t got = FaultySys::GetSockOpt(fd, level, name, value, bytes);
    if (name == SO_PEERCRED && peer_uid >= 0) {
      static_cast<ucred*>(value)->uid = static_cast<uid_t>(peer_uid);
    }
    return got;
  }
  int64_t peer_uid = -1;
};

class LocalTransportTest : public ::testing::Test {
 protected:
  LocalTransportTest() {
    loop_ = *EventLoop::Create(environment_);
    LocalTransport::Options options;
    options.allow_uids = {4711};
    options.log = [this](LogLevel, absl::string_view line) {
      log_.push_back(std::string(line));
    };
    transport_ =
        std::make_unique<LocalTransport>(environment_, *loop_, "unix", options);
    listener_ = *transport_->Listen(
        dir_.file("s"),
        [this](std::unique_ptr<Channel> channel, const absl::Status& admitted) {
          accepted_.push_back(std::move(channel));
          admitted_.push_back(admitted);
        });
  }

  void RunUntilAccepted(size_t count) {
    const TimeNs deadline = environment_.clock.NowNs() + 5'000'000'000;
    while (accepted_.size() < count && environment_.clock.NowNs() < deadline) {
      loop_->RunOnce(deadline, 0);
    }
  }

  ShortTempDir dir_;
  StrangerSys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<LocalTransport> transport_;
  std::vector<std::unique_ptr<Channel>> accepted_;
  std::vector<absl::Status> admitted_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::string> log_;
};

TEST_F(LocalTransportTest, DialledConnectionIsAccepted) {
  auto channel = transport_->Dial(dir_.file("s"));
  ASSERT_TRUE(channel.ok()) << channel.status();
  RunUntilAccepted(1);
  ASSERT_EQ(accepted_.size(), 1u);
  EXPECT_EQ(
      accepted_[0]->peer_description(),
      "pid " + std::to_string(getpid()) + ", uid " + std::to_string(geteuid()));
  EXPECT_EQ(listener_->address(), dir_.file("s"));
}

TEST_F(LocalTransportTest, ListenerOutOfDescriptorsRestsAndGoesOn) {
  sys_.Fail("accept", {-EMFILE, -EMFILE});
  auto channel = transport_->Dial(dir_.file("s"));
  ASSERT_TRUE(channel.ok());
  loop_->RunOnce(0, 0);
  EXPECT_EQ(sys_.Left("accept"), 1u);
  loop_->RunOnce(0, 0);
  EXPECT_EQ(sys_.Left("accept"), 1u) << "it does not spin";
  RunUntilAccepted(1);
  EXPECT_EQ(accepted_.size(), 1u);
  ASSERT_EQ(log_.size(), 2u);
  EXPECT_NE(log_[0].find("Too many open files"), std::string::npos) << log_[0];
}

TEST_F(LocalTransportTest, OtherUsersAreRefusedUnlessTheyAreAllowed) {
  sys_.peer_uid = 12345;
  EXPECT_EQ(transport_->Dial(dir_.file("s")).status().code(),
            absl::StatusCode::kPermissionDenied);
  RunUntilAccepted(1);
  ASSERT_EQ(admitted_.size(), 1u);
  EXPECT_EQ(admitted_[0].code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(admitted_[0].message().find("has uid 12345"), std::string::npos)
      << admitted_[0];
  for (const int64_t uid : {int64_t{4711}, int64_t{0}}) {
    sys_.peer_uid = uid;
    EXPECT_TRUE(transport_->Dial(dir_.file("s")).ok()) << uid;
  }
  RunUntilAccepted(3);
  ASSERT_EQ(admitted_.size(), 3u);
  EXPECT_TRUE(admitted_[1].ok()) << admitted_[1];
  EXPECT_TRUE(admitted_[2].ok()) << admitted_[2];
}

TEST_F(LocalTransportTest, NobodyIsAcceptedAfterTheListenerIsGone) {
  listener_.reset();
  EXPECT_EQ(transport_->Dial(dir_.file("s")).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace mycelium
