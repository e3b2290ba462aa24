#include "mycelium/bus/node_registry.h"

#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

constexpr absl::Duration kLong = absl::Seconds(10);

class NodeRegistryTest : public testing::Test {
 protected:
  NodeRegistryTest() {
    std::ofstream(path_) << "socket_dir = \"" << dir_.path() << "\"\n"
                         << "[[nodes]]\nname = \"left\"\n"
                            "services = [\"one\", \"two\"]\n"
                            "[[nodes]]\nname = \"right\"\n"
                            "services = [\"three\"]\n";
  }

  test::ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
};

TEST_F(NodeRegistryTest, ServicesOfOneNodeShareIt) {
  auto one = MessageBus::FromTopology(path_, "one");
  auto two = MessageBus::FromTopology(path_, "two");
  auto three = MessageBus::FromTopology(path_, "three");
  ASSERT_TRUE(one.ok() && two.ok() && three.ok());
  EXPECT_EQ((*one)->runtime(), (*two)->runtime());
  EXPECT_NE((*one)->runtime(), (*three)->runtime());
}

TEST_F(NodeRegistryTest, NodeThatWasShutDownIsMadeAnewWhileItsPublisherLives) {
  auto first = MessageBus::FromTopology(path_, "one");
  ASSERT_TRUE(first.ok()) << first.status();
  auto publisher = (*first)->Publisher<Note>();
  ASSERT_TRUE((*first)->Shutdown(kLong).ok());
  auto second = MessageBus::FromTopology(path_, "one");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE((*first)->runtime(), (*second)->runtime());
  EXPECT_EQ(publisher->Publish(Note()).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*second)->Publisher<Note>()->Publish(Note()).ok());
}

TEST_F(NodeRegistryTest, SocketDirIsMadeUnlessTheEndpointNamesAnotherPlace) {
  for (const std::string kind : {"grpc", "unix"}) {
    const test::ShortTempDir dir;
    std::ofstream(path_) << "socket_dir = \"" << dir.file("made") << "\"\n"
                         << "[[nodes]]\nname = \"left\"\nservices = [\"one\"]\n"
                         << "endpoint = { kind = \"" << kind << "\" }\n"
                         << "[[nodes]]\nname = \"right\"\n";
    auto bus = MessageBus::FromTopology(path_, "one");
    EXPECT_TRUE(bus.ok()) << kind << ": " << bus.status();
  }
}

}  // namespace
}  // namespace mycelium
