// The functions of mycelium.h that subscribe.
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/capi/handles.h"
#include "mycelium/capi/status.h"

using mycelium::CheckGiven;
using mycelium::CheckSubscriber;
using mycelium::Returned;
using mycelium::ReturnedNull;

namespace mycelium {

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

namespace {

// `parse` returns whether the message could be parsed.
template <typename Callback, typename Parse>
MyceliumSubscription* Subscribe(MyceliumRuntime* runtime,
                                const MyceliumType* type, Callback callback,
                                Parse parse,
                                const MyceliumSubscriberOptions* options) {
  absl::Status good = CheckEnd(runtime, type);
  if (good.ok()) good = CheckCallback(callback != nullptr);
  if (!good.ok()) return ReturnedNull<MyceliumSubscription>(good);
  const auto made = OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumSubscription>(made.status());
  absl::StatusOr<SubscriptionHandle> handle = runtime->bus->SubscribeParsing(
      type->type,
      [parse](absl::Span<const std::byte> bytes, const MessageInfo& info) {
        return parse(MessageOf(bytes, info));
      },
      *made);
  if (!handle.ok()) return ReturnedNull<MyceliumSubscription>(handle.status());
  return new MyceliumSubscription{*std::move(handle)};
}

}  // namespace
}  // namespace mycelium

MyceliumSubscription* mycelium_subscribe(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_callback callback, void* user,
    const MyceliumSubscriberOptions* options) {
  return mycelium::Subscribe(
      runtime, type, callback,
      [callback, user](const MyceliumMessage& message) {
        callback(&message, user);
        return true;
      },
      options);
}

MyceliumSubscription* mycelium_subscribe_parsing(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_parsing_callback callback, void* user,
    const MyceliumSubscriberOptions* options) {
  return mycelium::Subscribe(
      runtime, type, callback,
      [callback, user](const MyceliumMessage& message) {
        return callback(&message, user) != 0;
      },
      options);
}

void mycelium_unsubscribe(MyceliumSubscription* subscription) {
  delete subscription;
}

mycelium_status mycelium_unsubscribe_within(MyceliumSubscription* subscription,
                                            int64_t timeout_ms) {
  if (absl::Status good = CheckGiven(subscription, "subscription");
      !good.ok()) {
    return Returned(good);
  }
  const auto timeout = mycelium::TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  if (!subscription->handle.UnsubscribeWithin(*timeout)) {
    return Returned(absl::DeadlineExceededError(absl::StrCat(
        "unsubscribe: the callback still runs after ", timeout_ms, " ms")));
  }
  delete subscription;
  return Returned(absl::OkStatus());
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
  return new MyceliumSubscriber(*std::move(subscriber));
}

void mycelium_subscriber_destroy(MyceliumSubscriber* subscriber) {
  delete subscriber;
}

mycelium_status mycelium_subscriber_receive(MyceliumSubscriber* subscriber,
                                            int64_t timeout_ms,
                                            const MyceliumMessage** message) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok()) good = CheckGiven(message, "message");
  if (!good.ok()) return Returned(good);
  *message = nullptr;
  const auto timeout = mycelium::TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  subscriber->CountLast(true);
  const absl::StatusOr<absl::Span<const std::byte>> bytes =
      subscriber->subscriber.Receive(*timeout);
  if (!bytes.ok()) return Returned(bytes.status());
  subscriber->is_uncounted = subscriber->leaves_counting;
  subscriber->message =
      mycelium::MessageOf(*bytes, subscriber->subscriber.info());
  *message = &subscriber->message;
  return MYCELIUM_OK;
}

mycelium_status mycelium_subscriber_status(
    const MyceliumSubscriber* subscriber) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok()) good = subscriber->subscriber.status();
  return Returned(good);
}

mycelium_status mycelium_subscriber_finish(MyceliumSubscriber* subscriber) {
  absl::Status good = CheckSubscriber(subscriber);
  if (!good.ok()) return Returned(good);
  subscriber->CountLast(true);
  subscriber->subscriber.Finish();
  return MYCELIUM_OK;
}

mycelium_status mycelium_subscriber_leave_counting(
    MyceliumSubscriber* subscriber) {
  absl::Status good = CheckSubscriber(subscriber);
  if (!good.ok()) return Returned(good);
  subscriber->leaves_counting = true;
  subscriber->subscriber.LeaveCounting();
  return MYCELIUM_OK;
}

mycelium_status mycelium_subscriber_count_undecodable(
    MyceliumSubscriber* subscriber) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok() && !subscriber->is_uncounted) {
    good = absl::FailedPreconditionError(
        subscriber->leaves_counting
            ? "there is no message that has not counted"
            : "messages count when they are received; "
              "mycelium_subscriber_leave_counting() was not called");
  }
  if (good.ok()) subscriber->CountLast(false);
  return Returned(good);
}

mycelium_status mycelium_subscriber_unsubscribe(
    MyceliumSubscriber* subscriber) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok()) subscriber->subscriber.Unsubscribe();
  return Returned(good);
}

mycelium_status mycelium_subscriber_closed(const MyceliumSubscriber* subscriber,
                                           int32_t* closed) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok()) good = CheckGiven(closed, "closed");
  if (good.ok()) *closed = subscriber->subscriber.closed() ? 1 : 0;
  return Returned(good);
}

mycelium_status mycelium_subscriber_descriptor(MyceliumSubscriber* subscriber,
                                               int* descriptor) {
  absl::Status good = CheckSubscriber(subscriber);
  if (good.ok()) good = CheckGiven(descriptor, "descriptor");
  if (!good.ok()) return Returned(good);
  const absl::StatusOr<int> made = subscriber->subscriber.Descriptor();
  if (!made.ok()) return Returned(made.status());
  *descriptor = *made;
  return MYCELIUM_OK;
}
