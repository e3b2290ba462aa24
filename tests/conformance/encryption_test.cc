// Which peers a node accepts at the other end of a link between hosts, and what
// may leave a machine in the clear.
#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/certificates.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

using State = ConnectionEvent::State;

// A bus, and the connection events that it was told.
class Node final {
 public:
  BusOptions Options() {
    BusOptions options;
    options.on_connection = [this](const ConnectionEvent& event) {
      const std::lock_guard<std::mutex> lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    };
    options.log = [this](LogLevel, absl::string_view line) {
      const std::lock_guard<std::mutex> lock(mutex_);
      log_ += absl::StrCat(line, "\n");
      changed_.notify_all();
    };
    options.limits.reconnect_min = absl::Milliseconds(5);
    options.limits.reconnect_max = absl::Milliseconds(50);
    return options;
  }

  bool WasTold(State state) {
    return Await([&] { return Count(state) > 0; });
  }
  // Whether it failed to reach a peer, for a reason with that text.
  bool HasFailed(const std::string& text) {
    return Await([&] {
      if (bus == nullptr) return false;
      for (const LinkReport& link : bus->LinkReports()) {
        if (!link.last_error.empty() &&
            absl::StrContains(link.last_error, text)) {
          return true;
        }
      }
      return false;
    });
  }
  bool HasConnectedOrFailed() {
    return Await([&] {
      for (const LinkReport& link : bus->LinkReports()) {
        if (link.is_up || !link.last_error.empty()) return true;
      }
      return false;
    });
  }
  bool HasSaid(const std::string& text) {
    return absl::StrContains(Described(), text);
  }
  size_t CountOf(State state) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Count(state);
  }
  bool IsUp() {
    for (const LinkReport& link : bus->LinkReports()) {
      if (link.is_up) return true;
    }
    return false;
  }
  std::string Described() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string all = log_;
    if (bus != nullptr) {
      for (const LinkReport& link : bus->LinkReports()) {
        absl::StrAppend(&all, link.address, ": ", link.last_error, "\n");
      }
    }
    for (const ConnectionEvent& event : events_) {
      absl::StrAppend(&all, event.peer, ": ", static_cast<int>(event.state),
                      " ", event.status.ToString(), "\n");
    }
    return all;
  }

 private:
  template <typename Condition>
  bool Await(Condition holds) {
    const auto end =
        std::chrono::steady_clock::now() + absl::ToChronoSeconds(kLong);
    std::unique_lock<std::mutex> lock(mutex_);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
    return true;
  }
  size_t Count(State state) const {
    size_t count = 0;
    for (const ConnectionEvent& event : events_) count += event.state == state;
    return count;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ConnectionEvent> events_;
  std::string log_;

 public:
  std::unique_ptr<MessageBus> bus;  // Destroyed first: it tells the others.
};

// Nodes feed and brain, each with a topology file of its own, so that each has
// other certificates. `feed` dials: it has no port.
class EncryptionTest : public ::testing::Test {
 protected:
  struct Identity {
    std::string certificate, key, ca;
    bool requires_clients = true;
    bool has_tls = true;
  };

  EncryptionTest() {
    feed_.certificate = dir_.file("feed.pem");
    feed_.key = dir_.file("feed.key");
    brain_.certificate = dir_.file("brain.pem");
    brain_.key = dir_.file("brain.key");
    feed_.ca = brain_.ca = dir_.file("ca.pem");
    ca_.Issue({"feed.test"}, feed_.certificate, feed_.key);
    ca_.Issue({"brain.test"}, brain_.certificate, brain_.key);
  }

  void Open(Node& node, const std::string& service, const Identity& identity) {
    const std::string path = dir_.file(service + ".toml");
    std::ofstream file(path);
    file << "[[nodes]]\nname = \"feed\"\nservices = [\"writer\"]\n";
    if (feed_has_host_) {
      file << "host = \"" << brain_address_.host << "\"\nport = " << feed_port_
           << "\n";
    }
    if (writes_certificate_names_) {
      file << "certificate_name = \"feed.test\"\n";
    }
    file << "[[nodes]]\nname = \"brain\"\nservices = [\"reader\"]\n"
         << brain_address_.keys();
    if (writes_certificate_names_) {
      file << "certificate_name = \"brain.test\"\n";
    }
    file << "[defaults]\ntransport = \"grpc\"\nretain = \"20s\"\n"
         << "[limits]\nreconnect_min = \"5ms\"\nreconnect_max = \"50ms\"\n";
    if (identity.has_tls) {
      file << "[tls]\n";
      if (!identity.certificate.empty()) {
        file << "certificate = \"" << identity.certificate << "\"\nkey = \""
             << identity.key << "\"\n";
      }
      file << "ca = \"" << identity.ca << "\"\n";
      if (identity.requires_clients) {
        file << "require_client_certificate = true\n";
      }
    }
    file.close();
    BusOptions options = node.Options();
    options.limits = {};  // The topology file sets them.
    auto bus = MessageBus::FromTopology(path, service, options);
    ASSERT_TRUE(bus.ok()) << bus.status();
    node.bus = *std::move(bus);
  }
  void OpenBoth() {
    Open(reader_, "reader", brain_);
    Open(writer_, "writer", feed_);
  }

  // Publishes some messages, each of which must arrive, and compares the
  // ledgers.
  void ExpectExchanges() {
    if (!subscription_.has_value()) {
      auto subscription = reader_.bus->Subscriber<Note>();
      ASSERT_TRUE(subscription.ok());
      subscription_.emplace(*std::move(subscription));
      auto publisher = writer_.bus->PublisherTo<Note>("reader");
      ASSERT_TRUE(publisher.ok());
      publisher_.emplace(*std::move(publisher));
      ASSERT_TRUE(publisher_->WaitForSubscribers(1, kLong).ok())
          << writer_.Described() << reader_.Described();
    }
    for (int i = 0; i < 10; ++i) {
      EXPECT_THAT(publisher_->Publish(MakeNote(++sent_)), IsOk());
    }
    EXPECT_EQ(ReceiveAll(*subscription_, 10).back(), sent_);
    EXPECT_THAT(writer_.bus->Flush(kLong), IsOk());
    Ledger sum;
    for (Node* node : {&reader_, &writer_}) {
      for (const FlowReport& flow : node->bus->FlowReports()) {
        sum += flow.ledger;
      }
    }
    EXPECT_EQ(sum.accepted, sent_);
    EXPECT_TRUE(sum.Balances());
    EXPECT_EQ(sum.in_flight, 0u);
  }

  ShortTempDir dir_;
  CertificateAuthority ca_{dir_.file("ca.pem")};
  Identity feed_, brain_;
  const LoopbackAddress brain_address_;
  const int feed_port_ = LoopbackAddress().port;
  bool feed_has_host_ = true;
  bool writes_certificate_names_ = true;
  Node reader_, writer_;
  std::optional<Subscriber<Note>> subscription_;
  std::optional<Publisher<Note>> publisher_;
  uint64_t sent_ = 0;
};

TEST_F(EncryptionTest, NodesThatShowTheRightCertificatesExchangeMessages) {
  OpenBoth();
  ExpectExchanges();
}

TEST_F(EncryptionTest, ClientNeedsNoCertificateWhereNoneIsRequired) {
  feed_.certificate.clear();
  brain_.requires_clients = feed_.requires_clients = false;
  OpenBoth();
  ExpectExchanges();
}

TEST_F(EncryptionTest, ListenerThatTheDiallersOfItsFileDoNotReachIsLogged) {
  feed_.certificate.clear();
  brain_.certificate.clear();
  brain_.requires_clients = feed_.requires_clients = false;
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("")) << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
  EXPECT_TRUE(reader_.HasSaid(
      absl::StrCat("node brain listens at ", brain_address_.host_port(),
                   " in the clear, since [tls] has a ca and no certificate")))
      << reader_.Described();
}

TEST_F(EncryptionTest, ClientWithoutCertificateIsRefusedWhereOneIsRequired) {
  feed_.certificate.clear();
  feed_.requires_clients = false;
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("Socket closed")) << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, CertificateOfAnotherAuthorityIsRefused) {
  CertificateAuthority stranger(dir_.file("stranger.pem"));
  stranger.Issue({"brain.test"}, brain_.certificate, brain_.key);
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("Tls handshake failed")) << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, ListenerWithTheCertificateOfAnotherNodeIsRefused) {
  ca_.Issue({"elsewhere.test"}, brain_.certificate, brain_.key);
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("Hostname Verification Check failed"))
      << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, DiallerWithTheCertificateOfAnotherNodeIsRefused) {
  ca_.Issue({"elsewhere.test"}, feed_.certificate, feed_.key);
  OpenBoth();
  ASSERT_TRUE(writer_.WasTold(State::kRefused)) << writer_.Described();
  EXPECT_TRUE(writer_.HasFailed("it is for elsewhere.test"))
      << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest,
       WhoIsDialledByHandIsNoNodeThatItsCertificateDoesNotName) {
  const LoopbackAddress elsewhere;
  Identity impostor = brain_;
  impostor.certificate = dir_.file("impostor.pem");
  impostor.key = dir_.file("impostor.key");
  ca_.Issue({elsewhere.host}, impostor.certificate, impostor.key);
  Node listener;
  BusOptions options = listener.Options();
  options.node = "brain";
  options.tls.certificate = impostor.certificate;
  options.tls.key = impostor.key;
  options.tls.ca = impostor.ca;
  listener.bus = *MessageBus::Create(options);
  const auto bound = BindGrpcEndpoint(elsewhere.host_port(), *listener.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  Open(writer_, "writer", feed_);
  ASSERT_THAT(DialGrpcEndpoint(bound->address(), *writer_.bus), IsOk());
  EXPECT_TRUE(writer_.HasFailed("is not one of node brain"))
      << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, ExpiredCertificateIsRefusedAndItsSuccessorIsRead) {
  ca_.Issue({"brain.test"}, brain_.certificate, brain_.key, /*seconds=*/-60);
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("certificate verify failed"))
      << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
  ca_.Issue({"brain.test"}, brain_.certificate, brain_.key);
  ExpectExchanges();
}

TEST_F(EncryptionTest, LinkOutlivesTheCertificateThatItWasMadeWith) {
  ca_.Issue({"brain.test", brain_address_.host}, brain_.certificate,
            brain_.key);
  OpenBoth();
  ExpectExchanges();
  // A peer that connects from now on sees another certificate.
  ca_.Issue({"elsewhere.test"}, brain_.certificate, brain_.key);
  for (int tries = 0;; ++tries) {
    Node late;
    BusOptions options = late.Options();
    options.node = "late";
    options.tls.ca = feed_.ca;
    options.tls.certificate = feed_.certificate;
    options.tls.key = feed_.key;
    late.bus = *MessageBus::Create(options);
    ASSERT_THAT(DialGrpcEndpoint(brain_address_.host_port(), *late.bus),
                IsOk());
    ASSERT_TRUE(late.HasConnectedOrFailed()) << late.Described();
    if (late.HasSaid("Hostname Verification Check failed")) break;
    ASSERT_LT(tries, 10'000) << late.Described();
  }
  ExpectExchanges();
  EXPECT_EQ(writer_.CountOf(State::kDisconnected), 0u);
  EXPECT_EQ(reader_.CountOf(State::kDisconnected), 0u);
}

TEST_F(EncryptionTest, PlaintextToTlsDoesNotConnect) {
  feed_.has_tls = false;
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("Socket closed")) << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, TlsToPlaintextDoesNotConnect) {
  brain_.has_tls = false;
  OpenBoth();
  EXPECT_TRUE(writer_.HasFailed("wrong version number")) << writer_.Described();
  EXPECT_FALSE(writer_.IsUp());
}

TEST_F(EncryptionTest, TlsGivenByHandIsHeldToTheRulesOfTheFile) {
  struct Case {
    std::string fault;
    Tls tls;
  };
  const Identity& brain = brain_;
  const std::vector<Case> cases = {
      {"certificate without key", {brain.certificate, "", brain.ca, false}},
      {"key without certificate", {"", brain.key, "", false}},
      {"require_client_certificate without ca",
       {brain.certificate, brain.key, "", true}},
  };
  for (const Case& given : cases) {
    Node node;
    BusOptions options = node.Options();
    options.tls = given.tls;
    node.bus = *MessageBus::Create(options);
    const absl::Status bound =
        BindGrpcEndpoint("127.0.0.1:0", *node.bus).status();
    EXPECT_THAT(bound, HasCode(absl::StatusCode::kInvalidArgument));
    EXPECT_TRUE(absl::StrContains(bound.message(), given.fault)) << bound;
    EXPECT_THAT(DialGrpcEndpoint(brain_address_.host_port(), *node.bus),
                IsOk());
    EXPECT_TRUE(node.HasFailed(given.fault)) << node.Described();
  }
}

TEST_F(EncryptionTest, ListeningInTheClearCannotRequireACertificate) {
  BusOptions options;
  options.tls.ca = brain_.ca;
  options.tls.require_client_certificate = true;
  auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok());
  EXPECT_THAT(BindGrpcEndpoint("127.0.0.1:0", **bus).status(),
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST_F(EncryptionTest, WithoutCertificateNameItIsTheHostAtBothEnds) {
  writes_certificate_names_ = false;
  ca_.Issue({brain_address_.host}, feed_.certificate, feed_.key);
  ca_.Issue({brain_address_.host}, brain_.certificate, brain_.key);
  OpenBoth();
  ExpectExchanges();
}

TEST_F(EncryptionTest, NameOfANodeThatHasAHostIsNotEnough) {
  writes_certificate_names_ = false;
  ca_.Issue({"feed"}, feed_.certificate, feed_.key);
  ca_.Issue({brain_address_.host}, brain_.certificate, brain_.key);
  OpenBoth();
  ASSERT_TRUE(writer_.WasTold(State::kRefused)) << writer_.Described();
  EXPECT_TRUE(writer_.HasFailed("it is for feed")) << writer_.Described();
}

TEST_F(EncryptionTest, WithoutAHostItIsTheNameOfTheNode) {
  writes_certificate_names_ = feed_has_host_ = false;
  ca_.Issue({"feed"}, feed_.certificate, feed_.key);
  ca_.Issue({brain_address_.host}, brain_.certificate, brain_.key);
  OpenBoth();
  ExpectExchanges();
}

TEST_F(EncryptionTest, FileThatIsMissingIsNamedWhenTheNodeListens) {
  BusOptions options;
  options.tls.certificate = dir_.file("nothing.pem");
  options.tls.key = feed_.key;
  auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok());
  const absl::Status bound = BindGrpcEndpoint("127.0.0.1:0", **bus).status();
  EXPECT_THAT(bound, HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_TRUE(absl::StrContains(bound.message(), "nothing.pem")) << bound;
}

// The listening side would not be told of the handshakes that fail because of
// it.
TEST_F(EncryptionTest, FileThatHoldsSomethingElseIsNamed) {
  ca_.Issue({"feed"}, feed_.certificate, feed_.key);
  BusOptions options;
  options.tls.certificate = feed_.key;
  options.tls.key = feed_.certificate;
  auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok());
  absl::Status bound = BindGrpcEndpoint("127.0.0.1:0", **bus).status();
  EXPECT_THAT(bound, HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(bound.message(),
            absl::StrCat("[tls]: certificate ", feed_.key,
                         " has no line \"-----BEGIN CERTIFICATE-----\", as a "
                         "file in PEM format has"));
  options.tls.certificate = feed_.certificate;
  auto other = MessageBus::Create(options);
  ASSERT_TRUE(other.ok());
  bound = BindGrpcEndpoint("127.0.0.1:0", **other).status();
  EXPECT_THAT(bound, HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_TRUE(absl::StrContains(
      bound.message(), absl::StrCat("key ", feed_.certificate, " has no line")))
      << bound;
}

TEST(PlaintextTest, IsRefusedBeyondThisMachineAndBothWaysOutAreNamed) {
  auto bus = MessageBus::Create();
  ASSERT_TRUE(bus.ok());
  for (const std::string address :
       {"0.0.0.0:0", "[::]:0", "10.11.12.13:0", "dns:///host.test:0"}) {
    const absl::Status bound = BindGrpcEndpoint(address, **bus).status();
    EXPECT_THAT(bound, HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_TRUE(absl::StrContains(bound.message(), "[tls]")) << bound;
    EXPECT_TRUE(absl::StrContains(bound.message(), "insecure = true")) << bound;
  }
  // A refusal to dial comes later; LinkReports() tells the caller that dialled
  // by hand.
  EXPECT_THAT(DialGrpcEndpoint("10.11.12.13:1", **bus), IsOk());
  const std::vector<LinkReport> links = (*bus)->LinkReports();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_TRUE(absl::StrContains(links[0].last_error, "insecure = true"))
      << links[0].last_error;
}

TEST(PlaintextTest, IsAllowedBeyondThisMachineWithInsecure) {
  BusOptions options;
  options.insecure = true;
  auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok());
  EXPECT_THAT(BindGrpcEndpoint("0.0.0.0:0", **bus).status(), IsOk());
}

}  // namespace
}  // namespace mycelium::test
