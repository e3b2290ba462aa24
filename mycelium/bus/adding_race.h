#ifndef MYCELIUM_BUS_ADDING_RACE_H_
#define MYCELIUM_BUS_ADDING_RACE_H_

#include <atomic>
#include <optional>
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
// publishers and subscribers of Message to it. Expects that everything that
// was made is closed in the end, and that `other`, a publisher of another bus
// of the node, has no subscriber left.
template <typename Message>
void ExpectAddedMeanwhileEnds(MessageBus& bus,
                              absl::FunctionRef<absl::Status()> end,
                              const Publisher<Message>* other = nullptr) {
  std::vector<Publisher<Message>> publishers;
  // One at a time, so that few are closed before the one that is being added.
  std::optional<Subscriber<Message>> last;
  std::atomic<bool> adding{false};
  std::thread adder([&] {
    for (bool open = true; open;) {
      auto publisher = bus.Publisher<Message>();
      auto subscriber = bus.Subscriber<Message>();
      open = publisher.ok() && subscriber.ok();
      if (publisher.ok()) publishers.push_back(*std::move(publisher));
      if (subscriber.ok()) last.emplace(*std::move(subscriber));
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
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->Receive(absl::ZeroDuration()).status().code(), closed);
  if (other != nullptr) {
    EXPECT_EQ(other->subscriber_count(), 0u);
  }
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ADDING_RACE_H_
