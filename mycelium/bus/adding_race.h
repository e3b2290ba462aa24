#ifndef MYCELIUM_BUS_ADDING_RACE_H_
#define MYCELIUM_BUS_ADDING_RACE_H_

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// Ends `bus` by `end`, which returns its status, while another thread adds
// publishers and subscribers of Message to it: whatever was made is closed in
// the end.
template <typename Message>
void ExpectAddedMeanwhileEnds(MessageBus& bus,
                              absl::FunctionRef<absl::Status()> end) {
  std::vector<Publisher<Message>> publishers;
  std::vector<Subscriber<Message>> subscribers;
  std::atomic<bool> adding{false};
  std::thread adder([&] {
    for (bool open = true; open;) {
      auto publisher = bus.Publisher<Message>();
      auto subscriber = bus.Subscriber<Message>();
      open = publisher.ok() && subscriber.ok();
      if (publisher.ok()) publishers.push_back(*std::move(publisher));
      if (subscriber.ok()) subscribers.push_back(*std::move(subscriber));
      adding = true;
    }
  });
  while (!adding) std::this_thread::yield();
  EXPECT_TRUE(end().ok());
  adder.join();
  const auto closed = absl::StatusCode::kFailedPrecondition;
  for (auto& publisher : publishers) {
    ASSERT_EQ(publisher.Publish(Message()).code(), closed);
  }
  for (auto& subscriber : subscribers) {
    ASSERT_EQ(subscriber.Receive(absl::ZeroDuration()).status().code(), closed);
  }
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ADDING_RACE_H_
