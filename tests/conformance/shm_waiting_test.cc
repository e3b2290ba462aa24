// How readers of shared memory wait, and what that costs the writer. The tests
// look at system calls and at which threads sleep, not at times.
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/two_buses.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

// Waits in the kernel, but the test can stop a thread just before it sleeps on
// descriptors.
class GatedWaiter final : public Waiter {
 public:
  explicit GatedWaiter(Waiter& real) : real_(real) {}

  void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                TimeNs deadline) override {
    real_.WaitWord(word, expected, deadline);
  }
  void WakeWord(const std::atomic<uint32_t>& word) override {
    real_.WakeWord(word);
  }
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    if (deadline > 0) {
      std::unique_lock<std::mutex> lock(mutex_);
      is_stopped_ = is_closed_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !is_closed_; });
      is_stopped_ = false;
    }
    return real_.WaitEpoll(epoll_fd, events, events_max, deadline);
  }

  // The next thread that is about to sleep stops instead.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
  }
  bool AwaitStopped() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                             [this] { return is_stopped_; });
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = false;
    changed_.notify_all();
  }

 private:
  Waiter& real_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_closed_ = false;
  bool is_stopped_ = false;
};

class ShmWaitingTest : public ::testing::Test {
 protected:
  std::unique_ptr<MessageBus> MakeBus(const std::string& node,
                                      BusOptions options = BusOptions()) {
    options.node = node;
    auto bus = MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  // A bus whose system calls are counted, and that no other thread runs.
  std::unique_ptr<MessageBus> MakeWriter() {
    BusOptions options;
    options.poll = PollMode::kCaller;
    options.environment = &counted_;
    return MakeBus("writer", options);
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("service.shm");
  FaultySys sys_;
  SystemClock clock_{sys_};
  SystemWaiter waiter_{sys_, clock_};
  Environment counted_{sys_, clock_, waiter_};
};

TEST_F(ShmWaitingTest, WriterNeverEntersTheKernelForAReaderThatSpins) {
  BusOptions options;
  options.wait = WaitMode::kSpin;
  auto reader = MakeBus("reader", options);
  (void)reader->poll_descriptor();  // Nobody polls: this changes nothing.
  auto endpoint = BindShmEndpoint(path_, *reader);
  auto writer = MakeWriter();
  ASSERT_TRUE(DialShmEndpoint(path_, *writer).ok());
  Inbox inbox;
  auto subscription = reader->Subscribe<Note>(inbox.Handler());
  auto publisher = writer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(inbox.WaitFor(1));
  const FaultySys::Counts before = sys_.counts();
  for (uint64_t id = 2; id <= 1000; ++id) {
    ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
  }
  EXPECT_TRUE(inbox.WaitFor(1000));
  EXPECT_EQ(sys_.counts(), before);
  EXPECT_EQ(inbox.ids(), Counting(1000));
  ASSERT_TRUE(writer->Flush(kLong).ok());
  ExpectAllDelivered(*writer, *reader, 1000);
}

TEST_F(ShmWaitingTest, WriterCallsOnceForAReaderThatSleeps) {
  SystemWaiter real(Sys::Real(), Environment::Real().clock);
  GatedWaiter gate(real);
  Environment gated = {Sys::Real(), Environment::Real().clock, gate};
  BusOptions options;
  options.wait = WaitMode::kBlock;
  options.environment = &gated;
  auto reader = MakeBus("reader", options);
  auto endpoint = BindShmEndpoint(path_, *reader);
  auto writer = MakeWriter();
  ASSERT_TRUE(DialShmEndpoint(path_, *writer).ok());
  Inbox inbox;
  auto subscription = reader->Subscribe<Note>(inbox.Handler());
  auto publisher = writer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  const absl::Cleanup opens = [&] { gate.Open(); };
  uint64_t last = 0;
  while (true) {
    gate.Close();
    ASSERT_TRUE(publisher->Publish(MakeNote(++last)).ok());  // Wakes it.
    ASSERT_TRUE(gate.AwaitStopped());
    if (inbox.ids().size() == last) break;
    // The thread was about to sleep already when it was told.
    gate.Open();
    ASSERT_TRUE(inbox.WaitFor(last));
  }
  // The reader has said that it sleeps.
  FaultySys::Counts expected = sys_.counts();
  ++expected["sendmsg"];
  for (uint64_t id = last + 1; id < last + 10; ++id) {
    ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
    EXPECT_EQ(sys_.counts(), expected) << id;
  }
  EXPECT_EQ(inbox.ids().size(), last);
  last += 9;
  gate.Open();
  EXPECT_TRUE(inbox.WaitFor(last));
  EXPECT_EQ(inbox.ids(), Counting(last));
  ASSERT_TRUE(writer->Flush(kLong).ok());
  ExpectAllDelivered(*writer, *reader, last);
}

TEST_F(ShmWaitingTest, PollDescriptorServesAnEpollOfTheCallers) {
  constexpr uint64_t kMessages = 300;
  BusOptions options;
  options.poll = PollMode::kCaller;
  auto reader = MakeBus("reader", options);
  auto endpoint = BindShmEndpoint(path_, *reader);
  auto writer = MakeBus("writer");
  ASSERT_TRUE(DialShmEndpoint(path_, *writer).ok());
  Inbox inbox;
  auto subscription = reader->Subscribe<Note>(inbox.Handler());
  auto publisher = writer->Publisher<Note>();
  // Each message is published only when the last was handled, so that each has
  // to wake the epoll.
  std::thread writing([&] {
    EXPECT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    for (uint64_t id = 1; id <= kMessages; ++id) {
      ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
      ASSERT_TRUE(inbox.WaitFor(id));
    }
  });
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, reader->poll_descriptor(), &event),
            0);
  while (inbox.ids().size() < kMessages) {
    ASSERT_EQ(epoll_wait(epoll, &event, 1, /*timeout=*/20'000), 1);
    ASSERT_TRUE(reader->Poll(absl::ZeroDuration()).ok());
  }
  writing.join();
  EXPECT_EQ(inbox.ids(), Counting(kMessages));
  // Only timers are left to be done, and Poll() says so.
  while (*reader->Poll(absl::ZeroDuration())) {
  }
  std::thread flushing([&] { EXPECT_TRUE(writer->Flush(kLong).ok()); });
  ASSERT_TRUE(reader->Flush(kLong).ok());
  flushing.join();
  ExpectAllDelivered(*writer, *reader, kMessages);
  close(epoll);
}

TEST_F(ShmWaitingTest, SubscribersDescriptorServesAnEpollOfTheCallers) {
  constexpr uint64_t kMessages = 300;
  auto reader = MakeBus("reader");
  auto endpoint = BindShmEndpoint(path_, *reader);
  auto writer = MakeBus("writer");
  ASSERT_TRUE(DialShmEndpoint(path_, *writer).ok());
  auto pull = reader->Subscriber<Note>();
  auto publisher = writer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  auto descriptor = pull->Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, *descriptor, &event), 0);
  std::vector<uint64_t> ids;
  for (uint64_t id = 1; id <= kMessages; ++id) {
    ASSERT_EQ(*pull->TryReceive(), nullptr);
    ASSERT_TRUE(publisher->Publish(MakeNote(id)).ok());
    ASSERT_EQ(epoll_wait(epoll, &event, 1, /*timeout=*/20'000), 1);
    auto note = pull->TryReceive();
    while (note.ok() && *note == nullptr) note = pull->TryReceive();
    ASSERT_TRUE(note.ok()) << note.status();
    ids.push_back((*note)->id());
  }
  EXPECT_EQ(ids, Counting(kMessages));
  EXPECT_EQ(*pull->TryReceive(), nullptr);
  ASSERT_TRUE(writer->Flush(kLong).ok());
  ExpectAllDelivered(*writer, *reader, kMessages);
  close(epoll);
}

int64_t CpuUs() {
  rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
         usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

TEST_F(ShmWaitingTest, IdleReadersThatAdaptLeaveTheCpuAlone) {
  auto reader = MakeBus("reader");
  auto endpoint = BindShmEndpoint(path_, *reader);
  auto writer = MakeBus("writer");
  ASSERT_TRUE(DialShmEndpoint(path_, *writer).ok());
  auto pull = reader->Subscriber<Note>();
  auto publisher = writer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(pull->Receive(kLong).ok());
  const int64_t before = CpuUs();
  // No message comes: two nodes' threads and a receiver are idle for a second.
  EXPECT_EQ(pull->Receive(absl::Seconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  const int64_t used = CpuUs() - before;
  std::printf("idle for a second: %.2f %% of a core\n",
              static_cast<double>(used) / 10'000);
#ifdef MYCELIUM_SANITIZER
  EXPECT_LT(used, 100'000);  // Which takes more for the same.
#else
  EXPECT_LT(used, 10'000);
#endif
  ASSERT_TRUE(writer->Flush(kLong).ok());
  ExpectAllDelivered(*writer, *reader, 1);
}

}  // namespace
}  // namespace mycelium::test
