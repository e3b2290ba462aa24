#include <memory>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {
namespace {

// Names that each peer would refuse, which would break each link, are refused
// where they are given.
class NamesTest : public ::testing::Test {
 protected:
  static std::unique_ptr<MessageBus> Make() {
    auto bus = MessageBus::Create();
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }
  static absl::Status Refusal(const std::string& text) {
    return absl::InvalidArgumentError(text);
  }

  const std::unique_ptr<MessageBus> bus_ = Make();
  const MessageType type_ = RawMessageType("Frame");
};

TEST_F(NamesTest, TopicOfAPublisherOrASubscriberIsChecked) {
  PublisherOptions publishing;
  publishing.topic = "caf\xe9";
  EXPECT_EQ(bus_->RawPublisher(type_, "", publishing).status(),
            Refusal("topic \"caf\\351\" is not UTF-8"));
  SubscriberOptions subscribing;
  subscribing.topic = "a\nb";
  EXPECT_EQ(bus_->RawSubscriber(type_, subscribing).status(),
            Refusal("topic \"a\\nb\" contains \"\\n\""));
}

TEST_F(NamesTest, TypeIsChecked) {
  const std::string longest(255, 'n');
  EXPECT_EQ(bus_->RawPublisher(RawMessageType(longest)).status(),
            absl::OkStatus());
  PublisherOptions options;
  options.topic = "t";
  for (const std::string& name :
       {longest + "n", std::string(), std::string("\xff")}) {
    EXPECT_EQ(
        bus_->RawPublisher(RawMessageType(name), "", options).status().code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(NamesTest, NameOfASubscriptionIsChecked) {
  const std::string longest(255, 'n');
  SubscriberOptions options;
  options.name = longest;
  EXPECT_EQ(bus_->RawSubscriber(type_, options).status(), absl::OkStatus());
  for (const std::string& name : {longest + "n", std::string("\xc0\xaf")}) {
    options.name = name;
    EXPECT_EQ(bus_->RawSubscriber(type_, options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(NamesTest, ServiceToPublishToIsChecked) {
  EXPECT_EQ(bus_->RawPublisher(type_, "\xff").status(),
            Refusal("service \"\\377\" is not UTF-8"));
}

TEST_F(NamesTest, NodeAndServiceWithoutATopologyAreChecked) {
  BusOptions options;
  options.node = "a\tb";
  EXPECT_EQ(MessageBus::Create(options).status(),
            Refusal("node \"a\\tb\" contains \"\\t\""));
  EXPECT_EQ(MessageBus::OfProcess("service", options).status(),
            Refusal("node \"a\\tb\" contains \"\\t\""));
  options.node = "names_test";
  EXPECT_EQ(MessageBus::OfProcess("caf\xe9", options).status(),
            Refusal("service \"caf\\351\" is not UTF-8"));
  EXPECT_EQ(MessageBus::OfProcess("a/b", options).status(), absl::OkStatus());
}

}  // namespace
}  // namespace mycelium
