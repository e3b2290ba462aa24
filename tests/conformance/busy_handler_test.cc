// A handler is busy for long while messages for it arrive over a link: the
// other traffic of that connection goes on.

#include <cstdint>
#include <optional>
#include <thread>

#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

using BusyHandlerTest = ConformanceTest;

// The handler runs on a thread of the user's, for a message of this process,
// and waits there for room in a lane to the peer. The peer makes that room, but
// its word of it comes behind messages that it sent for the same handler.
TEST_P(BusyHandlerTest, WaitsForRoomThatIsToldOfBehindItsOwnMessages) {
  constexpr uint64_t kLocal = 40, kRemote = 60;  // More than wait on this side.
  constexpr uint64_t kAnswers = 1000;            // Many lanes full.
  constexpr size_t kBytes = 1000;
  Open(
      "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \"20s\"\n"
      "[limits]\nframe_bytes_max = \"8KiB\"");
  auto to_self = alpha_->PublisherTo<Note>("alpha");
  auto to_beta = alpha_->PublisherTo<Note>("beta");
  auto to_alpha = beta_->PublisherTo<Note>("alpha");

  Inbox asked, answered;
  Notification is_inside, go_on;
  absl::Status sent;
  auto handle =
      alpha_->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        asked.Add(note.id());
        if (note.id() != 0) return;
        is_inside.Notify();
        go_on.WaitForNotification();
        for (uint64_t id = 1; id <= kAnswers && sent.ok(); ++id) {
          sent = to_beta->Publish(MakeNote(id, kBytes));
        }
      });
  auto answers = beta_->Subscribe<Note>(answered.Handler());
  ASSERT_THAT(to_beta->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(to_alpha->WaitForSubscribers(1, kLong), IsOk());

  std::thread user([&] { EXPECT_THAT(to_self->Publish(MakeNote(0)), IsOk()); });
  is_inside.WaitForNotification();
  for (uint64_t id = 1; id <= kLocal; ++id) {
    EXPECT_THAT(to_self->Publish(MakeNote(id, kBytes)), IsOk());
  }
  for (uint64_t id = 1; id <= kRemote; ++id) {
    EXPECT_THAT(to_alpha->Publish(MakeNote(id, kBytes)), IsOk());
  }
  go_on.Notify();
  user.join();
  ASSERT_THAT(sent, IsOk());
  EXPECT_TRUE(answered.WaitFor(kAnswers));
  EXPECT_TRUE(asked.WaitFor(1 + kLocal + kRemote));
  EXPECT_EQ(answered.ids(), Counting(kAnswers));
}

INSTANTIATE_TEST_SUITE_P(OverLinks, BusyHandlerTest,
                         ::testing::Values("unix", "shm", "grpc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
