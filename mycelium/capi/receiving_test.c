/* Subscribers that receive and parse, are told of errors, or end early. */
#include <pthread.h>
#include <string.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static void CountUndecodable(const MyceliumFlow* flow, void* user) {
  for (size_t i = 0; i < flow->dropped_count; ++i) {
    if (strcmp(mycelium_drop_reason_name(i), "undecodable") == 0) {
      *(uint64_t*)user += flow->dropped[i];
    }
  }
}

static uint64_t UndecodableOf(const MyceliumRuntime* runtime) {
  uint64_t count = 0;
  CHECK_OK(mycelium_runtime_ledger(runtime, CountUndecodable, &count));
  return count;
}

static int32_t ParseDigit(const MyceliumMessage* message, void* user) {
  ++*(int*)user;
  return message->size == 1 && message->data[0] >= '0' &&
         message->data[0] <= '9';
}

static void TestCallbackSaysWhatItCouldNotParse(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  int calls = 0;
  MyceliumSubscription* const subscription =
      mycelium_subscribe_parsing(runtime, type, ParseDigit, &calls, NULL);
  CHECK(subscription != NULL);
  for (const char* data = "1x2"; *data != '\0'; ++data) {
    CHECK_OK(mycelium_publish(runtime, type, data, 1));
  }
  CHECK(calls == 3);
  CHECK(UndecodableOf(runtime) == 1);
  CheckLedger(runtime, 3, 2);
  mycelium_unsubscribe(subscription);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void TestReceiverSaysWhatItCouldNotParse(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK_STATUS(mycelium_subscriber_count_undecodable(subscriber),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK_OK(mycelium_subscriber_leave_counting(subscriber));
  CHECK_STATUS(mycelium_subscriber_count_undecodable(subscriber),
               MYCELIUM_FAILED_PRECONDITION);
  for (const char* data = "1x2y3"; *data != '\0'; ++data) {
    CHECK_OK(mycelium_publish(runtime, type, data, 1));
  }
  for (int i = 0; i < 4; ++i) {
    const MyceliumMessage* message;
    CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
    if (message->data[0] > '9') {
      CHECK_OK(mycelium_subscriber_count_undecodable(subscriber));
      CHECK_STATUS(mycelium_subscriber_count_undecodable(subscriber),
                   MYCELIUM_FAILED_PRECONDITION);
    }
  }
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  const MyceliumMessage* message;
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
  mycelium_subscriber_destroy(subscriber); /* This counts the last one. */
  CHECK(UndecodableOf(runtime) == 2);
  CheckLedger(runtime, 5, 3);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

typedef struct Errors {
  int count;
  mycelium_status status;
} Errors;

static void OnError(const MyceliumRefusal* refusal, void* user) {
  Errors* const errors = user;
  ++errors->count;
  errors->status = refusal->status;
  CHECK(strstr(refusal->message, "plant.Reading") != NULL);
  CHECK(refusal->mismatch != NULL);
  CHECK(memcmp(refusal->mismatch->local_digest, kOneDigest, 32) == 0);
  CHECK(memcmp(refusal->mismatch->remote_digest, kOtherDigest, 32) == 0);
}

static void TestErrorIsToldOfBothKindsOfSubscription(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumType* const other = MakeType(kOtherDigest);
  Errors errors[2] = {{0, MYCELIUM_OK}, {0, MYCELIUM_OK}};
  int calls = 0;
  MyceliumSubscriberOptions options = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  options.on_error = OnError;
  options.on_error_user = &errors[0];
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, &options);
  options.name = "other";
  options.on_error_user = &errors[1];
  MyceliumSubscription* const subscription =
      mycelium_subscribe_parsing(runtime, type, ParseDigit, &calls, &options);
  CHECK(subscriber != NULL && subscription != NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, other, NULL, NULL);
  for (int i = 0; i < 2; ++i) {
    CHECK(errors[i].count == 1);
    CHECK(errors[i].status == MYCELIUM_FAILED_PRECONDITION);
  }
  /* A program compiled with a header without on_error. */
  options.struct_size = offsetof(MyceliumSubscriberOptions, on_error);
  options.name = "older";
  MyceliumSubscriber* const older =
      mycelium_subscriber_create(runtime, type, &options);
  CHECK(older != NULL);
  CHECK(errors[1].count == 1);
  mycelium_publisher_destroy(publisher);
  mycelium_unsubscribe(subscription);
  mycelium_subscriber_destroy(subscriber);
  mycelium_subscriber_destroy(older);
  CheckLedger(runtime, 0, 0);
  mycelium_type_destroy(type);
  mycelium_type_destroy(other);
  mycelium_runtime_destroy(runtime);
}

static void* ReceiveUntilTheEnd(void* argument) {
  const MyceliumMessage* message;
  CHECK_STATUS(mycelium_subscriber_receive(argument, kLongMs, &message),
               MYCELIUM_FAILED_PRECONDITION);
  return NULL;
}

static void TestUnsubscribingEndsAReceiveThatWaits(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  int32_t closed = 9;
  CHECK_OK(mycelium_subscriber_closed(subscriber, &closed));
  CHECK(closed == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, ReceiveUntilTheEnd, subscriber) == 0);
  CHECK_OK(mycelium_subscriber_unsubscribe(subscriber));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(mycelium_subscriber_closed(subscriber, &closed));
  CHECK(closed == 1);
  CHECK_OK(mycelium_subscriber_unsubscribe(subscriber));
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  mycelium_subscriber_destroy(subscriber);
  CheckLedger(runtime, 1, 0); /* To nobody. */
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

int main(void) {
  TestCallbackSaysWhatItCouldNotParse();
  TestReceiverSaysWhatItCouldNotParse();
  TestErrorIsToldOfBothKindsOfSubscription();
  TestUnsubscribingEndsAReceiveThatWaits();
  return 0;
}
