// What peers are told of the services of a node has to fit into a Hello.
#include <memory>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/hello_rules.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/topology/topology.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(10);
const Digest kDigest = Digest::Of("some schema");

// A name of so many bytes, another for each number.
std::string Service(size_t number, size_t bytes) {
  std::string name = std::to_string(number);
  name.insert(0, bytes - name.size(), 's');
  return name;
}

std::unique_ptr<MessageBus> MakeBus(const std::string& node) {
  BusOptions options;
  options.node = node;
  return *MessageBus::Create(options);
}

TEST(ManyServicesTest, OneBeyondWhatAHelloTakesIsRefusedAndTheNodeStillLinks) {
  auto node = MakeBus("node"), other = MakeBus("other");
  NodeRuntime& runtime = *node->runtime();
  const size_t each = ServiceBytes(Service(0, 255), kDigest);
  size_t used = ServiceBytes("node", std::nullopt);
  size_t added = 0;
  for (; used + each <= kServicesBytesMax; used += each) {
    ASSERT_TRUE(runtime.AddService(Service(added++, 255), kDigest).ok());
  }
  const std::string one_more = Service(added, 255);
  const absl::Status refused = runtime.AddService(one_more, kDigest);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  for (const std::string& part :
       {one_more, std::to_string(used), std::to_string(each),
        std::to_string(kServicesBytesMax)}) {
    EXPECT_THAT(std::string(refused.message()), HasSubstr(part));
  }
  // Up to the last byte.
  const size_t left = kServicesBytesMax - used;
  ASSERT_GT(left, ServiceBytes("s", std::nullopt));
  std::string last(left - ServiceBytes("", std::nullopt), 'l');
  while (ServiceBytes(last, std::nullopt) > left) last.pop_back();
  EXPECT_EQ(runtime.AddService(last + "l", std::nullopt).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(runtime.AddService(last, std::nullopt).ok());

  test::ShortTempDir dir;
  auto endpoint = BindUnixEndpoint(dir.file("other"), *other);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(dir.file("other"), *node).ok());
  auto subscriber = other->RawSubscriber(RawMessageType("Ball"));
  auto publisher = node->RawPublisher(RawMessageType("Ball"));
  EXPECT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());

  runtime.RemoveService(last);
  runtime.RemoveService(Service(0, 255));
  EXPECT_TRUE(runtime.AddService(one_more, kDigest).ok());
}

TEST(ManyServicesTest, AllThatATopologyCanNameAreTaken) {
  auto node = MakeBus("node");
  node->runtime()->RemoveService("node");
  for (size_t i = 0; i < kServicesPerNodeMax; ++i) {
    const absl::Status added =
        node->runtime()->AddService(Service(i, kNameBytesMax), kDigest);
    ASSERT_TRUE(added.ok()) << added;
  }
}

}  // namespace
}  // namespace mycelium
