/* What mycelium.h promises, within one process. */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static void TestVersions(void) {
  CHECK(mycelium_abi_version() == MYCELIUM_ABI_VERSION);
  CHECK(strlen(mycelium_version()) >= strlen("0.0.0"));
  CHECK(strcmp(mycelium_status_name(MYCELIUM_NOT_FOUND), "NOT_FOUND") == 0);
  CHECK(strcmp(mycelium_status_name(99), "UNKNOWN") == 0);
}

/* Receiving */

static void TestMessagesArriveInOrderAndTheLedgerBalances(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK(subscriber != NULL);
  for (uint32_t i = 0; i < 1000; ++i) {
    CHECK_OK(mycelium_publish(runtime, type, &i, sizeof i));
  }
  const MyceliumMessage* message = NULL;
  for (uint32_t i = 0; i < 1000; ++i) {
    uint32_t got = 0;
    CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &message));
    CHECK(message->size == sizeof got);
    memcpy(&got, message->data, sizeof got);
    CHECK(got == i);
    CHECK(message->sequence == i + 1);
    CHECK(strcmp(message->type_name, "plant.Reading") == 0);
    CHECK(strcmp(message->topic, "plant.Reading") == 0);
  }
  CHECK_STATUS(mycelium_runtime_flush(runtime, 0), MYCELIUM_DEADLINE_EXCEEDED);
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  CHECK_OK(mycelium_runtime_flush(runtime, 0));
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &message),
               MYCELIUM_DEADLINE_EXCEEDED);
  CHECK(message == NULL);
  CheckLedger(runtime, 1000, 1000);
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void SumFlow(const MyceliumFlow* flow, void* user) {
  uint64_t* const no_subscriber = user;
  CHECK(strcmp(flow->topic, "plant.Reading") == 0);
  for (size_t i = 0; i < flow->dropped_count; ++i) {
    CHECK(mycelium_drop_reason_name(i) != NULL);
    if (strcmp(mycelium_drop_reason_name(i), "no_subscriber") == 0) {
      *no_subscriber += flow->dropped[i];
    }
  }
  CHECK(mycelium_drop_reason_name(flow->dropped_count) == NULL);
}

static void TestMessageToNobodyIsCountedWithItsReason(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  uint64_t no_subscriber = 0;
  CHECK_OK(mycelium_runtime_ledger(runtime, SumFlow, &no_subscriber));
  CHECK(no_subscriber == 1);
  CheckLedger(runtime, 1, 0);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void TestDescriptorIsReadableOnceAMessageCame(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  int descriptor = -1;
  CHECK_OK(mycelium_subscriber_descriptor(subscriber, &descriptor));
  const MyceliumMessage* message;
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &message),
               MYCELIUM_DEADLINE_EXCEEDED);
  uint64_t count;
  CHECK(read(descriptor, &count, sizeof count) < 0); /* It never blocks. */
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  CHECK(read(descriptor, &count, sizeof count) == sizeof count);
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
  mycelium_subscriber_destroy(subscriber);
  CheckLedger(runtime, 1, 1);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

static void TestOptionsReachTheSubscription(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriberOptions latest = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  latest.topic = "levels";
  latest.overflow = MYCELIUM_OVERFLOW_LATEST;
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, &latest);
  CHECK(subscriber != NULL);
  MyceliumPublisherOptions stamped = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  stamped.topic = "levels";
  stamped.publish_time = 1;
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, &stamped);
  CHECK(publisher != NULL);
  for (char i = 0; i < 10; ++i) {
    CHECK_OK(mycelium_publisher_publish(publisher, &i, 1));
  }
  const MyceliumMessage* message;
  CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &message));
  CHECK(message->data[0] == 9);
  CHECK(message->lost_before == 9);
  CHECK(message->publish_time_ns > 0);
  CHECK(strcmp(message->topic, "levels") == 0);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
  CheckLedger(runtime, 10, 1);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

/* Callbacks */

typedef struct Echo {
  MyceliumRuntime* runtime;
  MyceliumType* reply;
  MyceliumSubscription* subscription;
  int calls;
  int ends; /* unsubscribes at its first call */
} Echo;

static void OnMessage(const MyceliumMessage* message, void* user) {
  Echo* const echo = user;
  ++echo->calls;
  CHECK_OK(mycelium_publish(echo->runtime, echo->reply, message->data,
                            message->size));
  CHECK_STATUS(mycelium_runtime_flush(echo->runtime, 0),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK_STATUS(mycelium_runtime_shutdown(echo->runtime, 0),
               MYCELIUM_FAILED_PRECONDITION);
  if (echo->ends) mycelium_unsubscribe(echo->subscription);
}

static void TestCallbackMayPublishAndUnsubscribe(void) {
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumType* const reply = mycelium_type_create_raw("reply");
  for (int ends = 0; ends < 2; ++ends) {
    MyceliumRuntime* const runtime = MakeRuntime();
    MyceliumSubscriber* const replies =
        mycelium_subscriber_create(runtime, reply, NULL);
    Echo echo = {runtime, reply, NULL, 0, ends};
    echo.subscription =
        mycelium_subscribe(runtime, type, OnMessage, &echo, NULL);
    CHECK(echo.subscription != NULL);
    CHECK_OK(mycelium_subscription_status(echo.subscription));
    for (int i = 0; i < 3; ++i) {
      CHECK_OK(mycelium_publish(runtime, type, &i, sizeof i));
    }
    const int calls = ends ? 1 : 3;
    CHECK(echo.calls == calls);
    if (!ends) mycelium_unsubscribe(echo.subscription);
    const MyceliumMessage* message;
    for (int i = 0; i < calls; ++i) {
      CHECK_OK(mycelium_subscriber_receive(replies, kLongMs, &message));
    }
    mycelium_subscriber_destroy(replies);
    CheckLedger(runtime, (uint64_t)(3 + calls), (uint64_t)(2 * calls));
    mycelium_runtime_destroy(runtime);
  }
  mycelium_type_destroy(type);
  mycelium_type_destroy(reply);
}

typedef struct Slow {
  sem_t entered;
  sem_t may_return;
  int returned; /* under no lock: read after unsubscribing only */
} Slow;

static void OnSlowMessage(const MyceliumMessage* message, void* user) {
  Slow* const slow = user;
  CHECK(message->size == 1);
  sem_post(&slow->entered);
  sem_wait(&slow->may_return);
  slow->returned = 1;
}

typedef struct Ending {
  MyceliumSubscription* subscription;
  Slow* slow;
} Ending;

static void* Unsubscribe(void* argument) {
  Ending* const ending = argument;
  sem_post(&ending->slow->may_return);
  mycelium_unsubscribe(ending->subscription);
  CHECK(ending->slow->returned == 1);
  return NULL;
}

static void TestUnsubscribeWaitsForARunningCallback(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  for (int i = 0; i < 100; ++i) {
    Slow slow = {.returned = 0};
    sem_init(&slow.entered, 0, 0);
    sem_init(&slow.may_return, 0, 0);
    MyceliumSubscriberOptions queued = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
    queued.delivery = MYCELIUM_QUEUED;
    MyceliumSubscription* const subscription =
        mycelium_subscribe(runtime, type, OnSlowMessage, &slow, &queued);
    CHECK(subscription != NULL);
    CHECK_OK(mycelium_publish(runtime, type, "x", 1));
    sem_wait(&slow.entered);
    Ending ending = {subscription, &slow};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, Unsubscribe, &ending) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    sem_destroy(&slow.entered);
    sem_destroy(&slow.may_return);
  }
  CheckLedger(runtime, 100, 100);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

/* Polling by the caller, and links */

static void Count(const MyceliumMessage* message, void* user) {
  (void)message;
  ++*(int*)user;
}

static void TestCallerPollsALink(void) {
  char path[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(path) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", path);
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.poll_by_caller = 1;
  options.node = "polled";
  MyceliumRuntime* const polled = mycelium_runtime_create(&options);
  CHECK(polled != NULL);
  int descriptor = -1;
  CHECK_OK(mycelium_runtime_descriptor(polled, &descriptor));
  CHECK(descriptor >= 0);
  MyceliumRuntime* const threaded = MakeRuntime();
  CHECK_OK(mycelium_runtime_listen_unix(threaded, socket));
  CHECK_STATUS(mycelium_runtime_listen_unix(polled, socket),
               MYCELIUM_ALREADY_EXISTS);
  CHECK_OK(mycelium_runtime_connect_unix(polled, socket));
  MyceliumType* const type = MakeType(kOneDigest);
  int calls = 0;
  MyceliumSubscription* const subscription =
      mycelium_subscribe(polled, type, Count, &calls, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(threaded, type, NULL, NULL);
  int32_t ran = 0;
  while (mycelium_publisher_wait_for_subscribers(publisher, 1, 0) != 0) {
    CHECK_OK(mycelium_runtime_poll(polled, kLongMs, &ran));
    CHECK(ran == 1);
  }
  CHECK_OK(mycelium_publisher_publish(publisher, "x", 1));
  while (calls == 0) CHECK_OK(mycelium_runtime_poll(polled, kLongMs, NULL));
  while (mycelium_runtime_flush(threaded, 0) != MYCELIUM_OK) {
    CHECK_OK(mycelium_runtime_poll(polled, kLongMs, NULL));
  }
  CHECK_STATUS(mycelium_runtime_poll(threaded, 0, NULL),
               MYCELIUM_FAILED_PRECONDITION);
  MyceliumStats sent = MYCELIUM_STATS_INIT, got = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(threaded, &sent));
  CHECK_OK(mycelium_runtime_stats(polled, &got));
  CHECK(sent.accepted == 1 && sent.in_flight == 0 && sent.dropped == 0);
  CHECK(got.delivered == 1 && got.dropped == 0);
  CHECK(sent.links == 1 && sent.links_up == 1);
  mycelium_unsubscribe(subscription);
  mycelium_publisher_destroy(publisher);
  mycelium_runtime_destroy(polled);
  mycelium_runtime_destroy(threaded);
  mycelium_type_destroy(type);
  CHECK(rmdir(path) == 0); /* The socket is gone. */
}

/* Events */

struct Told {
  MyceliumRuntime* runtime;
  int connected, gone, publishers_gone, dropped, logged;
};

static void OnConnection(const MyceliumConnectionEvent* event, void* user) {
  struct Told* const told = user;
  CHECK(strcmp(event->transport, "unix") == 0);
  if (event->state == MYCELIUM_CONNECTED) {
    ++told->connected;
    CHECK(strcmp(event->peer, "listening") == 0);
    CHECK(event->status == MYCELIUM_OK && strcmp(event->message, "") == 0);
  } else if (event->state == MYCELIUM_GONE) {
    ++told->gone;
  }
  CHECK_STATUS(mycelium_runtime_flush(told->runtime, kLongMs),
               MYCELIUM_FAILED_PRECONDITION);
}

static void OnFlow(const MyceliumFlowEvent* event, void* user) {
  CHECK(event->kind == MYCELIUM_DROPPED);
  CHECK(strcmp(event->lane, "") == 0);
  CHECK(strcmp(mycelium_drop_reason_name(event->reason), "overflow") == 0);
  CHECK(strcmp(event->flow->topic, "plant.Reading") == 0);
  CHECK(event->messages == event->flow->dropped[event->reason]);
  ((struct Told*)user)->dropped += (int)event->messages;
}

static void OnPublisherGone(const MyceliumPublisherGone* gone, void* user) {
  CHECK(strcmp(gone->node, "listening") == 0);
  CHECK(strcmp(gone->topic, "plant.Reading") == 0);
  ++((struct Told*)user)->publishers_gone;
}

static void Log(int32_t level, const char* message, void* user) {
  CHECK(level == MYCELIUM_LOG_WARNING);
  CHECK(strlen(message) > 0);
  ++((struct Told*)user)->logged;
}

static void TestEventsAreTold(void) {
  char path[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(path) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", path);
  MyceliumRuntimeOptions named = MYCELIUM_RUNTIME_OPTIONS_INIT;
  named.node = "listening";
  MyceliumRuntime* const listening = mycelium_runtime_create(&named);
  CHECK_OK(mycelium_runtime_listen_unix(listening, socket));
  struct Told told = {NULL, 0, 0, 0, 0, 0};
  // [events]
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.on_connection = OnConnection;
  options.on_connection_user = &told;
  options.on_flow = OnFlow;
  options.on_flow_user = &told;
  options.log = Log;
  options.log_user = &told;
  // [/events]
  options.poll_by_caller = 1; /* So that all callbacks run on this thread. */
  told.runtime = mycelium_runtime_create(&options);
  CHECK(told.runtime != NULL);
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriberOptions receiving = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  receiving.overflow = MYCELIUM_OVERFLOW_LATEST;
  receiving.depth = 1;
  receiving.on_publisher_gone = OnPublisherGone;
  receiving.on_publisher_gone_user = &told;
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(told.runtime, type, &receiving);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(listening, type, NULL, NULL);
  CHECK_OK(mycelium_runtime_connect_unix(told.runtime, socket));
  while (mycelium_publisher_wait_for_subscribers(publisher, 1, 0) != 0) {
    CHECK_OK(mycelium_runtime_poll(told.runtime, kLongMs, NULL));
  }
  CHECK(told.connected == 1);
  for (int i = 0; i < 3; ++i) {
    CHECK_OK(mycelium_publish(told.runtime, type, "x", 1));
  }
  while (told.dropped < 2) {
    CHECK_OK(mycelium_runtime_poll(told.runtime, kLongMs, NULL));
  }
  CHECK(told.dropped == 2 && told.logged >= 1);
  const MyceliumMessage* message = NULL;
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  CheckLedger(told.runtime, 3, 1);
  /* With its publisher: one that ended before is not reported. */
  CHECK_OK(mycelium_runtime_shutdown(listening, kLongMs));
  while (told.gone == 0 || told.publishers_gone == 0) {
    CHECK_OK(mycelium_runtime_poll(told.runtime, kLongMs, NULL));
  }
  CHECK(told.gone == 1 && told.publishers_gone == 1);
  mycelium_publisher_destroy(publisher);
  mycelium_runtime_destroy(listening);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(told.runtime);
  mycelium_type_destroy(type);
  rmdir(path);
}

struct Links {
  const char* path;
  int up;
  int down; /* because there is no socket */
};

static void CountLink(const MyceliumLink* link, void* user) {
  struct Links* const links = user;
  CHECK(strcmp(link->transport, "unix") == 0);
  CHECK(strcmp(link->fallback, "") == 0);
  CHECK(strcmp(link->address, links->path) == 0);
  if (link->is_up) {
    ++links->up;
    CHECK(strcmp(link->peer, "listening") == 0);
    CHECK(strcmp(link->last_error, "") == 0);
  } else if (strstr(link->last_error, "No such file") != NULL) {
    ++links->down;
  }
}

static void TestLinksSayWhyTheyAreNotUp(void) {
  char path[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(path) != NULL);
  char socket_path[64];
  snprintf(socket_path, sizeof socket_path, "%s/s", path);
  MyceliumRuntime* const dialling = MakeRuntime();
  CHECK_OK(mycelium_runtime_connect_unix(dialling, socket_path));
  struct Links links = {socket_path, 0, 0};
  CHECK_OK(mycelium_runtime_links(dialling, CountLink, &links));
  CHECK(links.up == 0 && links.down == 1);

  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.node = "listening";
  MyceliumRuntime* const listening = mycelium_runtime_create(&options);
  CHECK(listening != NULL);
  CHECK_OK(mycelium_runtime_listen_unix(listening, socket_path));
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(listening, type, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(dialling, type, NULL, NULL);
  CHECK_OK(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
  links.down = 0;
  CHECK_OK(mycelium_runtime_links(dialling, CountLink, &links));
  CHECK(links.up == 1 && links.down == 0);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
  CHECK(rmdir(path) == 0);
}

/* Without gRPC in this program; with it: grpc_test.c. */
static void TestOtherMachinesNeedGrpc(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  CHECK_STATUS(mycelium_runtime_listen_grpc(runtime, "localhost:0", NULL),
               MYCELIUM_UNIMPLEMENTED);
  /* port: never dialled */
  CHECK_STATUS(mycelium_runtime_connect_grpc(runtime, "localhost:1"),
               MYCELIUM_UNIMPLEMENTED);
  CHECK(strstr(mycelium_last_error(), "//mycelium:mycelium") != NULL);
  mycelium_runtime_destroy(runtime);
}

/* Errors */

static void TestDifferentTypesAreASchemaMismatch(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const one = MakeType(kOneDigest);
  MyceliumType* const other =
      mycelium_type_create("plant.Reading", kOtherDigest, sizeof kOtherDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, one, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, other, NULL, NULL);
  CHECK_STATUS(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs),
               MYCELIUM_FAILED_PRECONDITION);
  const MyceliumSchemaMismatch* mismatch = mycelium_last_schema_mismatch();
  CHECK(mismatch != NULL);
  CHECK(strcmp(mismatch->topic, "plant.Reading") == 0);
  CHECK(memcmp(mismatch->local_digest, kOtherDigest, 32) == 0);
  CHECK(memcmp(mismatch->remote_digest, kOneDigest, 32) == 0);
  const MyceliumMessage* message;
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, kLongMs, &message),
               MYCELIUM_FAILED_PRECONDITION);
  mismatch = mycelium_last_schema_mismatch();
  CHECK(mismatch != NULL);
  CHECK(memcmp(mismatch->local_digest, kOneDigest, 32) == 0);
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &message),
               MYCELIUM_DEADLINE_EXCEEDED);
  CHECK(mycelium_last_schema_mismatch() == NULL);
  CHECK_STATUS(mycelium_subscriber_status(subscriber),
               MYCELIUM_FAILED_PRECONDITION); /* As long as it holds. */
  CHECK(mycelium_last_schema_mismatch() != NULL);
  mycelium_publisher_destroy(publisher);
  CHECK_OK(mycelium_subscriber_status(subscriber));
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(one);
  mycelium_type_destroy(other);
  mycelium_runtime_destroy(runtime);
}

static void TestDigestIsVerified(void) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.schema_digest = kOneDigest;
  options.schema_digest_size = sizeof kOneDigest;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK_OK(mycelium_runtime_verify_digest(runtime, kOneDigest, 32));
  CHECK_STATUS(mycelium_runtime_verify_digest(runtime, kOtherDigest, 32),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK(strstr(mycelium_last_error(), "0200000000") != NULL);
  CHECK_STATUS(mycelium_runtime_verify_digest(runtime, kOneDigest, 31),
               MYCELIUM_INVALID_ARGUMENT);
  mycelium_runtime_destroy(runtime);
  MyceliumRuntime* const without = MakeRuntime();
  CHECK_STATUS(mycelium_runtime_verify_digest(without, kOneDigest, 32),
               MYCELIUM_FAILED_PRECONDITION);
  mycelium_runtime_destroy(without);
}

static void TestNothingWorksAfterShutdown(void) {
  MyceliumRuntime* const runtime = MakeRuntime();
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK_OK(mycelium_runtime_shutdown(runtime, kLongMs));
  CHECK_OK(mycelium_runtime_shutdown(runtime, kLongMs));
  CHECK_STATUS(mycelium_publish(runtime, type, "x", 1),
               MYCELIUM_FAILED_PRECONDITION);
  const MyceliumMessage* message;
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, kLongMs, &message),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK(mycelium_subscribe(runtime, type, Count, NULL, NULL) == NULL);
  CheckLedger(runtime, 0, 0);
  /* Destroyed in an order that looks wrong. */
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
  mycelium_subscriber_destroy(subscriber);
}

static void* FailElsewhere(void* argument) {
  (void)argument;
  CHECK(mycelium_type_create_raw("") == NULL);
  CHECK(strcmp(mycelium_last_error(), "name is empty") == 0);
  return NULL;
}

static void TestClosedRuntimeLeavesTheOthersOfItsNode(void) {
  char folder[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char path[64], socket[64];
  snprintf(path, sizeof path, "%s/topology.toml", folder);
  snprintf(socket, sizeof socket, "%s/s", folder);
  FILE* const file = fopen(path, "w");
  CHECK(file != NULL);
  fputs("[[nodes]]\nname = \"all\"\nservices = [\"one\", \"two\"]\n", file);
  fclose(file);
  MyceliumRuntime* const one =
      mycelium_runtime_create_from_topology(path, "one");
  MyceliumRuntime* const two =
      mycelium_runtime_create_from_topology(path, "two");
  CHECK(one != NULL && two != NULL);
  CHECK_OK(mycelium_runtime_listen_unix(one, socket));
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(two, type, NULL);
  CHECK_OK(mycelium_publish(one, type, "x", 1));
  CHECK_STATUS(mycelium_runtime_close(one, 0), MYCELIUM_DEADLINE_EXCEEDED);
  CHECK_OK(mycelium_runtime_close(one, 0)); /* It is closed all the same. */
  CHECK_STATUS(mycelium_publish(one, type, "x", 1),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK(mycelium_subscriber_create(one, type, NULL) == NULL);
  CHECK_OK(mycelium_runtime_listen_unix(two, socket)); /* It is free. */
  CHECK_OK(mycelium_publish(two, type, "x", 1));
  const MyceliumMessage* message = NULL;
  for (int i = 0; i < 2; ++i) {
    CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &message));
  }
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  CheckLedger(two, 2, 2);
  CHECK_OK(mycelium_runtime_close(two, kLongMs));
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, kLongMs, &message),
               MYCELIUM_FAILED_PRECONDITION);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(one);
  mycelium_runtime_destroy(two);
  mycelium_type_destroy(type);
  unlink(path);
  rmdir(folder);
}

static void TestLastErrorIsTheThreadsOwn(void) {
  CHECK(mycelium_type_create_raw(NULL) == NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, FailElsewhere, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strcmp(mycelium_last_error(), "name is NULL") == 0);
}

static void TestMissingTopologyIsNotFound(void) {
  CHECK(mycelium_runtime_create_from_topology("/no/such.toml", "x") == NULL);
  CHECK(strstr(mycelium_last_error(), "/no/such.toml") != NULL);
}

int main(void) {
  TestVersions();
  TestMessagesArriveInOrderAndTheLedgerBalances();
  TestMessageToNobodyIsCountedWithItsReason();
  TestDescriptorIsReadableOnceAMessageCame();
  TestOptionsReachTheSubscription();
  TestCallbackMayPublishAndUnsubscribe();
  TestUnsubscribeWaitsForARunningCallback();
  TestCallerPollsALink();
  TestEventsAreTold();
  TestLinksSayWhyTheyAreNotUp();
  TestOtherMachinesNeedGrpc();
  TestDifferentTypesAreASchemaMismatch();
  TestDigestIsVerified();
  TestNothingWorksAfterShutdown();
  TestClosedRuntimeLeavesTheOthersOfItsNode();
  TestLastErrorIsTheThreadsOwn();
  TestMissingTopologyIsNotFound();
  return 0;
}
