// The functions of mycelium.h and mycelium_publisher.h that publish.
#include <memory>
#include <utility>

#include "mycelium/capi/events.h"
#include "mycelium/capi/handles.h"
#include "mycelium/capi/status.h"

using mycelium::CheckGiven;
using mycelium::CheckPublisher;
using mycelium::RawPublisher;
using mycelium::Returned;
using mycelium::ReturnedNull;
using mycelium::TextFrom;

namespace mycelium {
namespace {

absl::Span<const std::byte> BytesOf(const void* data, size_t size) {
  return absl::Span<const std::byte>(static_cast<const std::byte*>(data), size);
}

// A name that is empty by mistake does not mean every service.
absl::Status CheckService(const char* service_name) {
  absl::Status good = CheckGiven(service_name, "service_name");
  if (!good.ok() || *service_name != '\0') return good;
  return absl::InvalidArgumentError(
      "service_name is empty; to reach every subscription, call "
      "mycelium_publish() or give mycelium_publisher_create() NULL");
}

using PublishMember =
    absl::Status (RawPublisher::*)(absl::Span<const std::byte>);

mycelium_status PublishBy(PublishMember publish, MyceliumPublisher* publisher,
                          const void* data, size_t size) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = CheckBuffer(data, size);
  if (!good.ok()) return Returned(good);
  return Returned((publisher->publisher.*publish)(BytesOf(data, size)));
}

mycelium_status PublishTo(MyceliumRuntime* runtime, const char* service,
                          const MyceliumType* type, const void* data,
                          size_t size) {
  absl::Status good = CheckEnd(runtime, type);
  if (good.ok()) good = CheckBuffer(data, size);
  if (!good.ok()) return Returned(good);
  auto publisher = runtime->PublisherFor(service, type->type);
  if (!publisher.ok()) return Returned(publisher.status());
  return Returned((*publisher)->Publish(BytesOf(data, size)));
}

}  // namespace
}  // namespace mycelium

absl::StatusOr<std::shared_ptr<RawPublisher>> MyceliumRuntime::PublisherFor(
    const std::string& service, const mycelium::MessageType& type) {
  const Publishers::Key key(service, type.name, type.digest);
  const std::shared_ptr<Publishers> kept = publishers;
  {
    mycelium::MutexLock lock(kept->mutex);
    const auto known = kept->all.find(key);
    if (known != kept->all.end()) return known->second;
  }
  absl::StatusOr<RawPublisher> made = bus->RawPublisher(type, service);
  if (!made.ok()) return made.status();
  auto publisher = std::make_shared<RawPublisher>(*std::move(made));
  mycelium::MutexLock lock(kept->mutex);
  // Another thread may have been faster: its publisher has the earlier
  // messages, so that order is kept.
  return kept->all.emplace(key, std::move(publisher)).first->second;
}

mycelium_status mycelium_publish(MyceliumRuntime* runtime,
                                 const MyceliumType* type, const void* data,
                                 size_t size) {
  return mycelium::PublishTo(runtime, "", type, data, size);
}

mycelium_status mycelium_publish_to(MyceliumRuntime* runtime,
                                    const char* service_name,
                                    const MyceliumType* type, const void* data,
                                    size_t size) {
  absl::Status good = mycelium::CheckService(service_name);
  if (!good.ok()) return Returned(good);
  return mycelium::PublishTo(runtime, service_name, type, data, size);
}

MyceliumPublisher* mycelium_publisher_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const char* service_name, const MyceliumPublisherOptions* options) {
  absl::Status good = mycelium::CheckEnd(runtime, type);
  if (good.ok() && service_name != nullptr) {
    good = mycelium::CheckService(service_name);
  }
  if (!good.ok()) return ReturnedNull<MyceliumPublisher>(good);
  const auto made = mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumPublisher>(made.status());
  absl::StatusOr<RawPublisher> publisher =
      runtime->bus->RawPublisher(type->type, TextFrom(service_name), *made);
  if (!publisher.ok()) {
    return ReturnedNull<MyceliumPublisher>(publisher.status());
  }
  return new MyceliumPublisher{*std::move(publisher)};
}

void mycelium_publisher_destroy(MyceliumPublisher* publisher) {
  delete publisher;
}

const char* mycelium_publisher_topic(const MyceliumPublisher* publisher) {
  return publisher == nullptr ? nullptr : publisher->publisher.topic().c_str();
}

mycelium_status mycelium_publisher_publish(MyceliumPublisher* publisher,
                                           const void* data, size_t size) {
  return mycelium::PublishBy(&RawPublisher::Publish, publisher, data, size);
}

mycelium_status mycelium_publisher_try_publish(MyceliumPublisher* publisher,
                                               const void* data, size_t size) {
  return mycelium::PublishBy(&RawPublisher::TryPublish, publisher, data, size);
}

mycelium_status mycelium_publisher_publish_shared(MyceliumPublisher* publisher,
                                                  const void* data,
                                                  size_t size) {
  return mycelium::PublishBy(&RawPublisher::PublishShared, publisher, data,
                             size);
}

mycelium_status mycelium_publisher_try_publish_shared(
    MyceliumPublisher* publisher, const void* data, size_t size) {
  return mycelium::PublishBy(&RawPublisher::TryPublishShared, publisher, data,
                             size);
}

mycelium_status mycelium_publisher_wait_for_subscribers(
    MyceliumPublisher* publisher, size_t count, int64_t timeout_ms) {
  if (absl::Status given = CheckPublisher(publisher); !given.ok()) {
    return Returned(given);
  }
  const auto timeout = mycelium::TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  return Returned(publisher->publisher.WaitForSubscribers(count, *timeout));
}

mycelium_status mycelium_publisher_subscriber_count(
    const MyceliumPublisher* publisher, size_t* count) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = CheckGiven(count, "count");
  if (good.ok()) *count = publisher->publisher.subscriber_count();
  return Returned(good);
}

mycelium_status mycelium_publisher_refusals(
    const MyceliumPublisher* publisher,
    void (*callback)(const MyceliumRefusal* refusal, void* user), void* user) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = mycelium::CheckCallback(callback != nullptr);
  if (!good.ok()) return Returned(good);
  for (const absl::Status& status : publisher->publisher.refusals()) {
    mycelium::TellRefusal(status, callback, user);
  }
  return MYCELIUM_OK;
}

mycelium_status mycelium_publisher_room_descriptor(MyceliumPublisher* publisher,
                                                   int* descriptor) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = CheckGiven(descriptor, "descriptor");
  if (!good.ok()) return Returned(good);
  const absl::StatusOr<int> made = publisher->publisher.RoomDescriptor();
  if (!made.ok()) return Returned(made.status());
  *descriptor = *made;
  return MYCELIUM_OK;
}

mycelium_status mycelium_publisher_call_when_room(MyceliumPublisher* publisher,
                                                  void (*callback)(void* user),
                                                  void* user) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = mycelium::CheckCallback(callback != nullptr);
  if (!good.ok()) return Returned(good);
  publisher->publisher.CallWhenRoom([callback, user] { callback(user); });
  return MYCELIUM_OK;
}

MyceliumLoan* mycelium_loan_create(MyceliumPublisher* publisher, size_t size,
                                   void** data) {
  absl::Status good = CheckPublisher(publisher);
  if (good.ok()) good = CheckGiven(data, "data");
  if (!good.ok()) return ReturnedNull<MyceliumLoan>(good);
  absl::StatusOr<mycelium::Loan> loan = publisher->publisher.Loan(size);
  if (!loan.ok()) return ReturnedNull<MyceliumLoan>(loan.status());
  auto* const handle = new MyceliumLoan{*std::move(loan)};
  *data = handle->loan.bytes().data();
  return handle;
}

mycelium_status mycelium_loan_publish(MyceliumLoan* loan) {
  if (absl::Status given = mycelium::CheckLoan(loan); !given.ok()) {
    return Returned(given);
  }
  return Returned(loan->loan.Publish());
}

mycelium_status mycelium_loan_in_place(const MyceliumLoan* loan,
                                       int32_t* in_place) {
  absl::Status good = mycelium::CheckLoan(loan);
  if (good.ok()) good = CheckGiven(in_place, "in_place");
  if (good.ok()) *in_place = loan->loan.in_place() ? 1 : 0;
  return Returned(good);
}

void mycelium_loan_destroy(MyceliumLoan* loan) { delete loan; }
