#ifndef MYCELIUM_ROUTING_ROUTER_FIXTURE_H_
#define MYCELIUM_ROUTING_ROUTER_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/routing/fake_link.h"
#include "mycelium/routing/router.h"

namespace mycelium {

inline constexpr char kTopic[] = "readings";

class NeverWaits final : public RoomWaiter {
 public:
  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()>, TimeNs) override {
    return Outcome::kDeadline;
  }
};

// A router with one link that goes nowhere.
class RouterTest : public testing::Test {
 protected:
  explicit RouterTest(SchemaPolicy schema = SchemaPolicy::kExact) {
    Router::Callbacks callbacks;
    callbacks.schema = schema;
    callbacks.on_other_version = [this](const std::string& note) {
      notes_.push_back(note);
    };
    callbacks.settings = [](const Origin&, const std::string&,
                            const std::string&) { return RouteSettings(); };
    callbacks.on_local_refusal = [this](Subscription&, uint32_t publisher,
                                        const absl::Status& status) {
      local_refusals_.push_back({publisher, status});
    };
    callbacks.on_refusal = [this](const absl::Status& status) {
      refusals_.push_back(status);
    };
    callbacks.retry_later = [] {};
    router_.emplace(Environment::Real(), std::move(callbacks));
  }

  static MessageType TypeNamed(const std::string& name) {
    return RawMessageType(name, Digest::Of(name));
  }

  std::shared_ptr<FanOut> AddPublisher(const MessageType& type,
                                       const std::string& target = "",
                                       const std::string& service_digest = "") {
    origins_.push_back(std::make_unique<Origin>());
    Origin& origin = *origins_.back();
    origin.node = "here";
    origin.topic = kTopic;
    origin.type = type.name;
    origin.digest = type.digest;
    origin.target_service = target;
    FanOut::Options options;
    options.origin = &origin;
    options.publisher_id = static_cast<uint32_t>(origins_.size());
    auto publisher =
        std::make_shared<FanOut>(Environment::Real(), never_waits_, options);
    router_->AddPublisher(publisher, type, absl::OkStatus(), service_digest);
    return publisher;
  }

  static v1::Subscribe Subscribe(uint32_t id, const MessageType& type,
                                 const std::string& service = "reader") {
    v1::Subscribe subscribe;
    subscribe.set_subscription(id);
    subscribe.set_service(service);
    subscribe.set_topic(kTopic);
    subscribe.set_type(type.name);
    subscribe.set_type_digest(std::string(type.digest.bytes()));
    subscribe.set_delivery(v1::Subscribe::QUEUED);
    return subscribe;
  }

  v1::Subscribe Inline(uint32_t id) const {
    v1::Subscribe subscribe = Subscribe(id, type_);
    subscribe.set_delivery(v1::Subscribe::INLINE);
    return subscribe;
  }

  absl::Status Publish(FanOut& publisher) {
    const std::byte bytes[8] = {};
    return publisher.Publish(Payload::Bytes(type_, bytes));
  }

  const MessageType type_ = TypeNamed("Reading");
  const MessageType other_type_ = TypeNamed("OtherReading");
  std::vector<std::unique_ptr<Origin>> origins_;
  std::vector<std::pair<uint32_t, absl::Status>> local_refusals_;
  std::vector<absl::Status> refusals_;
  std::vector<std::string> notes_;  // Of other versions.
  NeverWaits never_waits_;
  FakeLink link_{"there"};
  std::optional<Router> router_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ROUTER_FIXTURE_H_
