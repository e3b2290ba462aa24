/* Publishers, and loans of theirs. */
#include <stdlib.h>
#include <string.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static void TestLoanIsPublishedOnceOrNotAtAll(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, NULL);
  CHECK(publisher != NULL);
  CHECK_OK(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
  void* data = NULL;
  MyceliumLoan* loan = mycelium_loan_create(publisher, 4, &data);
  CHECK(loan != NULL);
  memcpy(data, "loan", 4);
  CHECK_OK(mycelium_loan_publish(loan));
  CHECK_STATUS(mycelium_loan_publish(loan), MYCELIUM_FAILED_PRECONDITION);
  mycelium_loan_destroy(loan);
  loan = mycelium_loan_create(publisher, 4, &data);
  mycelium_loan_destroy(loan); /* Leaves no trace. */
  CHECK(mycelium_loan_create(publisher, (size_t)1 << 40, &data) == NULL);
  const MyceliumMessage* message;
  CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &message));
  CHECK(message->size == 4 && memcmp(message->data, "loan", 4) == 0);
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &message),
               MYCELIUM_DEADLINE_EXCEEDED);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
  CheckLedger(runtime, 1, 1);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void TestLoansAreAligned(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, NULL);
  for (size_t size = 0; size < 3000; size += 71) {
    void* data = NULL;
    MyceliumLoan* const loan = mycelium_loan_create(publisher, size, &data);
    CHECK(loan != NULL);
    CHECK((uintptr_t)data % MYCELIUM_LOAN_ALIGNMENT == 0);
    if (size > 0) memset(data, 1, size);
    /* Some stay unpublished, so that their memory comes back another way. */
    if (size % 2 == 0) CHECK_OK(mycelium_loan_publish(loan));
    mycelium_loan_destroy(loan);
  }
  mycelium_publisher_destroy(publisher);
  CheckLedger(runtime, 22, 0);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void TestSubscribersShareOneCopyOfALargeMessage(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, NULL);
  CHECK(strcmp(mycelium_publisher_topic(publisher), "plant.Reading") == 0);
  MyceliumSubscriber* subscribers[2];
  for (int i = 0; i < 2; ++i) {
    MyceliumSubscriberOptions named = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
    named.name = i == 0 ? "one" : "two";
    subscribers[i] = mycelium_subscriber_create(runtime, type, &named);
    CHECK(subscribers[i] != NULL);
  }
  const size_t size = 65536;
  char* const data = calloc(size, 1);
  mycelium_status (*const ways[])(MyceliumPublisher*, const void*, size_t) = {
      mycelium_publisher_publish, mycelium_publisher_try_publish,
      mycelium_publisher_publish_shared, mycelium_publisher_try_publish_shared};
  for (int i = 0; i < 4; ++i) {
    CHECK_OK(ways[i](publisher, data, size));
    const MyceliumMessage* messages[2];
    for (int j = 0; j < 2; ++j) {
      CHECK_OK(mycelium_subscriber_receive(subscribers[j], 0, &messages[j]));
      CHECK(messages[j]->size == size);
    }
    CHECK((messages[0]->data == messages[1]->data) == (i >= 2));
  }
  void* room = NULL;
  int32_t in_place = 0;
  MyceliumLoan* const loan = mycelium_loan_create(publisher, size, &room);
  CHECK_OK(mycelium_loan_in_place(loan, &in_place));
  CHECK(in_place == 1);
  mycelium_loan_destroy(loan);
  for (int i = 0; i < 2; ++i) mycelium_subscriber_destroy(subscribers[i]);
  mycelium_publisher_destroy(publisher);
  CheckLedger(runtime, 8, 8);
  free(data);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

int main(void) {
  TestLoanIsPublishedOnceOrNotAtAll();
  TestLoansAreAligned();
  TestSubscribersShareOneCopyOfALargeMessage();
  return 0;
}
