// The functions of mycelium.h that publish and subscribe.
#include "mycelium/capi/handles.h"
#include "mycelium/capi/status.h"

using mycelium::CheckGiven;
using mycelium::CheckRuntime;
using mycelium::Returned;
using mycelium::ReturnedNull;
using mycelium::TextFrom;

namespace mycelium {
namespace {

absl::Span<const std::byte> BytesOf(const void* data, size_t size) {
  return absl::Span<const std::byte>(static_cast<const std::byte*>(data), size);
}

absl::Status CheckEnd(const MyceliumRuntime* runtime,
                      const MyceliumType* type) {
  if (absl::Status given = CheckRuntime(runtime); !given.ok()) {
    return given;
  }
  return CheckGiven(type, "type");
}

}  // namespace

MyceliumMessage MessageOf(absl::Span<const std::byte> bytes,
                          const MessageInfo& info) {
  const auto text = [](absl::string_view view) {
    return view.empty() ? "" : view.data();
  };
  MyceliumMessage message;
  message.data = reinterpret_cast<const uint8_t*>(bytes.data());
  message.size = bytes.size();
  message.topic = text(info.topic());
  message.type_name = text(info.type());
  message.publisher_node = text(info.publisher_node());
  message.publisher_service = text(info.publisher_service());
  message.sequence = info.sequence();
  message.publish_time_ns = info.publish_time_ns();
  message.lost_before = info.lost_before();
  message.redelivered = info.redelivered() ? 1 : 0;
  return message;
}

}  // namespace mycelium

// Publishing

absl::StatusOr<std::shared_ptr<mycelium::RawPublisher>>
MyceliumRuntime::PublisherFor(const std::string& service,
                              const mycelium::MessageType& type) {
  const Key key(service, type.name, type.digest);
  {
    mycelium::MutexLock lock(mutex);
    const auto known = publishers.find(key);
    if (known != publishers.end()) return known->second;
  }
  absl::StatusOr<mycelium::RawPublisher> made =
      bus->RawPublisher(type, service);
  if (!made.ok()) return made.status();
  auto publisher = std::make_shared<mycelium::RawPublisher>(*std::move(made));
  mycelium::MutexLock lock(mutex);
  // Another thread may have been faster: its publisher has the earlier
  // messages, so that order is kept.
  return publishers.emplace(key, std::move(publisher)).first->second;
}

mycelium_status mycelium_publish(MyceliumRuntime* runtime,
                                 const MyceliumType* type, const void* data,
                                 size_t size) {
  return mycelium_publish_to(runtime, "", type, data, size);
}

mycelium_status mycelium_publish_to(MyceliumRuntime* runtime,
                                    const char* service_name,
                                    const MyceliumType* type, const void* data,
                                    size_t size) {
  absl::Status good = mycelium::CheckEnd(runtime, type);
  if (good.ok()) good = CheckGiven(service_name, "service_name");
  if (good.ok()) good = mycelium::CheckBuffer(data, size);
  if (!good.ok()) return Returned(good);
  auto publisher = runtime->PublisherFor(service_name, type->type);
  if (!publisher.ok()) return Returned(publisher.status());
  return Returned((*publisher)->Publish(mycelium::BytesOf(data, size)));
}

MyceliumPublisher* mycelium_publisher_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const char* service_name, const MyceliumPublisherOptions* options) {
  if (absl::Status good = mycelium::CheckEnd(runtime, type); !good.ok()) {
    return ReturnedNull<MyceliumPublisher>(good);
  }
  const auto made = mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumPublisher>(made.status());
  absl::StatusOr<mycelium::RawPublisher> publisher =
      runtime->bus->RawPublisher(type->type, TextFrom(service_name), *made);
  if (!publisher.ok()) {
    return ReturnedNull<MyceliumPublisher>(publisher.status());
  }
  return new MyceliumPublisher{*std::move(publisher)};
}

void mycelium_publisher_destroy(MyceliumPublisher* publisher) {
  delete publisher;
}

mycelium_status mycelium_publisher_publish(MyceliumPublisher* publisher,
                                           const void* data, size_t size) {
  absl::Status good = CheckGiven(publisher, "publisher");
  if (good.ok()) good = mycelium::CheckBuffer(data, size);
  if (!good.ok()) return Returned(good);
  return Returned(publisher->publisher.Publish(mycelium::BytesOf(data, size)));
}

mycelium_status mycelium_publisher_wait_for_subscribers(
    MyceliumPublisher* publisher, size_t count, int64_t timeout_ms) {
  if (absl::Status given = CheckGiven(publisher, "publisher"); !given.ok()) {
    return Returned(given);
  }
  const auto timeout = mycelium::TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  return Returned(publisher->publisher.WaitForSubscribers(count, *timeout));
}

MyceliumLoan* mycelium_loan_create(MyceliumPublisher* publisher, size_t size,
                                   void** data) {
  absl::Status good = CheckGiven(publisher, "publisher");
  if (good.ok()) good = CheckGiven(data, "data");
  if (!good.ok()) return ReturnedNull<MyceliumLoan>(good);
  absl::StatusOr<mycelium::Loan> loan = publisher->publisher.Loan(size);
  if (!loan.ok()) return ReturnedNull<MyceliumLoan>(loan.status());
  auto* const handle = new MyceliumLoan{*std::move(loan)};
  *data = handle->loan.bytes().data();
  return handle;
}

mycelium_status mycelium_loan_publish(MyceliumLoan* loan) {
  if (absl::Status given = CheckGiven(loan, "loan"); !given.ok()) {
    return Returned(given);
  }
  return Returned(loan->loan.Publish());
}

void mycelium_loan_destroy(MyceliumLoan* loan) { delete loan; }

// Subscribing

MyceliumSubscription* mycelium_subscribe(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_callback callback, void* user,
    const MyceliumSubscriberOptions* options) {
  absl::Status good = mycelium::CheckEnd(runtime, type);
  if (good.ok() && callback == nullptr) {
    good = absl::InvalidArgumentError("callback is NULL");
  }
  if (!good.ok()) return ReturnedNull<MyceliumSubscription>(good);
  const auto made = mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumSubscription>(made.status());
  absl::StatusOr<mycelium::SubscriptionHandle> handle =
      runtime->bus->SubscribeRaw(
          type->type,
          [callback, user](absl::Span<const std::byte> bytes,
                           const mycelium::MessageInfo& info) {
            const MyceliumMessage message = mycelium::MessageOf(bytes, info);
            callback(&message, user);
          },
          *made);
  if (!handle.ok()) return ReturnedNull<MyceliumSubscription>(handle.status());
  return new MyceliumSubscription{*std::move(handle)};
}

void mycelium_unsubscribe(MyceliumSubscription* subscription) {
  delete subscription;
}

mycelium_status mycelium_subscription_status(
    const MyceliumSubscription* subscription) {
  absl::Status good = CheckGiven(subscription, "subscription");
  if (good.ok()) good = subscription->handle.status();
  return Returned(good);
}

MyceliumSubscriber* mycelium_subscriber_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const MyceliumSubscriberOptions* options) {
  if (absl::Status good = mycelium::CheckEnd(runtime, type); !good.ok()) {
    return ReturnedNull<MyceliumSubscriber>(good);
  }
  const auto made = mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumSubscriber>(made.status());
  absl::StatusOr<mycelium::RawSubscriber> subscriber =
      runtime->bus->RawSubscriber(type->type, *made);
  if (!subscriber.ok()) {
    return ReturnedNull<MyceliumSubscriber>(subscriber.status());
  }
  return new MyceliumSubscriber{*std::move(subscriber), MyceliumMessage()};
}

void mycelium_subscriber_destroy(MyceliumSubscriber* subscriber) {
  delete subscriber;
}

mycelium_status mycelium_subscriber_receive(MyceliumSubscriber* subscriber,
                                            int64_t timeout_ms,
                                            const MyceliumMessage** message) {
  absl::Status good = CheckGiven(subscriber, "subscriber");
  if (good.ok()) good = CheckGiven(message, "message");
  if (!good.ok()) return Returned(good);
  *message = nullptr;
  const auto timeout = mycelium::TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  const absl::StatusOr<absl::Span<const std::byte>> bytes =
      subscriber->subscriber.Receive(*timeout);
  if (!bytes.ok()) return Returned(bytes.status());
  subscriber->message =
      mycelium::MessageOf(*bytes, subscriber->subscriber.info());
  *message = &subscriber->message;
  return MYCELIUM_OK;
}

mycelium_status mycelium_subscriber_status(
    const MyceliumSubscriber* subscriber) {
  absl::Status good = CheckGiven(subscriber, "subscriber");
  if (good.ok()) good = subscriber->subscriber.status();
  return Returned(good);
}

mycelium_status mycelium_subscriber_finish(MyceliumSubscriber* subscriber) {
  absl::Status good = CheckGiven(subscriber, "subscriber");
  if (good.ok()) good = subscriber->subscriber.CheckNotForked();
  if (good.ok()) subscriber->subscriber.Finish();
  return Returned(good);
}

mycelium_status mycelium_subscriber_descriptor(MyceliumSubscriber* subscriber,
                                               int* descriptor) {
  absl::Status good = CheckGiven(subscriber, "subscriber");
  if (good.ok()) good = CheckGiven(descriptor, "descriptor");
  if (!good.ok()) return Returned(good);
  const absl::StatusOr<int> made = subscriber->subscriber.Descriptor();
  if (!made.ok()) return Returned(made.status());
  *descriptor = *made;
  return MYCELIUM_OK;
}
