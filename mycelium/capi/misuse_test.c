/* Misuse of every function of mycelium.h is an error, never a crash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static const uint8_t kDigest[MYCELIUM_DIGEST_BYTES] = {1};

static int32_t OnParse(const MyceliumMessage* message, void* user) {
  IgnoreMessage(message, user);
  return 1;
}

static void OnRoom(void* user) { (void)user; }

#define CHECK_INVALID(call) CHECK_STATUS(call, MYCELIUM_INVALID_ARGUMENT)

/* NULL for every argument that is needed. */
static void TestNull(MyceliumRuntime* runtime, MyceliumType* type) {
  uint8_t digest[MYCELIUM_DIGEST_BYTES];
  int descriptor;
  int32_t in_place;
  size_t count;
  void* data;
  const MyceliumMessage* message;
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  MyceliumEndpointStats endpoints = MYCELIUM_ENDPOINT_STATS_INIT;
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, NULL);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK(publisher != NULL && subscriber != NULL);

  CHECK(mycelium_type_create_raw(NULL) == NULL);
  CHECK(mycelium_type_create(NULL, kDigest, 32) == NULL);
  CHECK(mycelium_type_create("a.B", NULL, 32) == NULL);
  CHECK(mycelium_type_create_from_descriptors(NULL, "", 0) == NULL);
  CHECK(mycelium_type_create_from_descriptors("a.B", NULL, 3) == NULL);
  CHECK_INVALID(mycelium_type_digest(NULL, digest, 32));
  CHECK_INVALID(mycelium_type_digest(type, NULL, 32));
  CHECK(mycelium_runtime_create_from_topology("t.toml", NULL) == NULL);
  CHECK_INVALID(mycelium_runtime_shutdown(NULL, 0));
  CHECK_INVALID(mycelium_runtime_flush(NULL, 0));
  CHECK_INVALID(mycelium_unsubscribe_within(NULL, 0));
  CHECK_INVALID(mycelium_runtime_verify_digest(NULL, kDigest, 32));
  CHECK_INVALID(mycelium_runtime_verify_digest(runtime, NULL, 32));
  CHECK_INVALID(mycelium_runtime_listen_unix(NULL, "s"));
  CHECK_INVALID(mycelium_runtime_listen_unix(runtime, NULL));
  CHECK_INVALID(mycelium_runtime_connect_unix(NULL, "s"));
  CHECK_INVALID(mycelium_runtime_connect_unix(runtime, NULL));
  CHECK_INVALID(mycelium_runtime_listen_shm(NULL, "s", 0));
  CHECK_INVALID(mycelium_runtime_listen_shm(runtime, NULL, 0));
  CHECK_INVALID(mycelium_runtime_connect_shm(NULL, "s"));
  CHECK_INVALID(mycelium_runtime_connect_shm(runtime, NULL));
  CHECK_INVALID(mycelium_runtime_connect_shm_with(NULL, "s", 0));
  CHECK_INVALID(mycelium_runtime_connect_shm_with(runtime, NULL, 0));
  CHECK_INVALID(mycelium_runtime_connect_shm_with(runtime, "s", 100));
  CHECK_INVALID(mycelium_runtime_listen_grpc(NULL, "localhost:0", NULL));
  CHECK_INVALID(mycelium_runtime_listen_grpc(runtime, NULL, NULL));
  /* port: never dialled */
  CHECK_INVALID(mycelium_runtime_connect_grpc(NULL, "localhost:1"));
  CHECK_INVALID(mycelium_runtime_connect_grpc(runtime, NULL));
  CHECK_INVALID(mycelium_runtime_stop_listening(NULL, "s"));
  CHECK_INVALID(mycelium_runtime_stop_listening(runtime, NULL));
  CHECK(mycelium_runtime_service(NULL) == NULL);
  CHECK(mycelium_runtime_node(NULL) == NULL);
  CHECK_INVALID(mycelium_runtime_closed(NULL, &in_place));
  CHECK_INVALID(mycelium_runtime_closed(runtime, NULL));
  CHECK_INVALID(mycelium_runtime_endpoint_stats(NULL, &endpoints));
  CHECK_INVALID(mycelium_runtime_endpoint_stats(runtime, NULL));
  endpoints.struct_size = 8;
  CHECK_INVALID(mycelium_runtime_endpoint_stats(runtime, &endpoints));
  CHECK_INVALID(mycelium_runtime_poll(NULL, 0, NULL));
  CHECK_INVALID(mycelium_runtime_descriptor(NULL, &descriptor));
  CHECK_INVALID(mycelium_runtime_descriptor(runtime, NULL));
  CHECK_INVALID(mycelium_publish(NULL, type, "x", 1));
  CHECK_INVALID(mycelium_publish(runtime, NULL, "x", 1));
  CHECK_INVALID(mycelium_publish(runtime, type, NULL, 1));
  CHECK_INVALID(mycelium_publish_to(runtime, NULL, type, "x", 1));
  CHECK_INVALID(mycelium_publish_to(runtime, "", type, "x", 1));
  CHECK(mycelium_publisher_create(runtime, type, "", NULL) == NULL);
  CHECK(mycelium_publisher_create(NULL, type, NULL, NULL) == NULL);
  CHECK(mycelium_publisher_create(runtime, NULL, NULL, NULL) == NULL);
  CHECK_INVALID(mycelium_publisher_publish(NULL, "x", 1));
  CHECK_INVALID(mycelium_publisher_publish(publisher, NULL, 1));
  CHECK_INVALID(mycelium_publisher_try_publish(NULL, "x", 1));
  CHECK_INVALID(mycelium_publisher_try_publish(publisher, NULL, 1));
  CHECK_INVALID(mycelium_publisher_publish_shared(NULL, "x", 1));
  CHECK_INVALID(mycelium_publisher_publish_shared(publisher, NULL, 1));
  CHECK_INVALID(mycelium_publisher_try_publish_shared(NULL, "x", 1));
  CHECK_INVALID(mycelium_publisher_try_publish_shared(publisher, NULL, 1));
  CHECK_INVALID(mycelium_publisher_wait_for_subscribers(NULL, 1, 0));
  CHECK_INVALID(mycelium_publisher_subscriber_count(NULL, &count));
  CHECK_INVALID(mycelium_publisher_subscriber_count(publisher, NULL));
  CHECK_INVALID(mycelium_publisher_refusals(NULL, IgnoreRefusal, NULL));
  CHECK_INVALID(mycelium_publisher_refusals(publisher, NULL, NULL));
  CHECK_INVALID(mycelium_publisher_room_descriptor(NULL, &descriptor));
  CHECK_INVALID(mycelium_publisher_room_descriptor(publisher, NULL));
  CHECK_INVALID(mycelium_publisher_call_when_room(NULL, OnRoom, NULL));
  CHECK_INVALID(mycelium_publisher_call_when_room(publisher, NULL, NULL));
  CHECK(mycelium_publisher_topic(NULL) == NULL);
  CHECK(mycelium_loan_create(NULL, 1, &data) == NULL);
  CHECK(mycelium_loan_create(publisher, 1, NULL) == NULL);
  CHECK_INVALID(mycelium_loan_publish(NULL));
  CHECK_INVALID(mycelium_loan_in_place(NULL, &in_place));
  CHECK(mycelium_subscribe(NULL, type, IgnoreMessage, NULL, NULL) == NULL);
  CHECK(mycelium_subscribe(runtime, NULL, IgnoreMessage, NULL, NULL) == NULL);
  CHECK(mycelium_subscribe(runtime, type, NULL, NULL, NULL) == NULL);
  CHECK(mycelium_subscribe_parsing(NULL, type, OnParse, NULL, NULL) == NULL);
  CHECK(mycelium_subscribe_parsing(runtime, NULL, OnParse, NULL, NULL) == NULL);
  CHECK(mycelium_subscribe_parsing(runtime, type, NULL, NULL, NULL) == NULL);
  CHECK_INVALID(mycelium_subscription_status(NULL));
  CHECK(mycelium_subscriber_create(NULL, type, NULL) == NULL);
  CHECK(mycelium_subscriber_create(runtime, NULL, NULL) == NULL);
  CHECK_INVALID(mycelium_subscriber_receive(NULL, 0, &message));
  CHECK_INVALID(mycelium_subscriber_receive(subscriber, 0, NULL));
  CHECK_INVALID(mycelium_subscriber_status(NULL));
  CHECK_INVALID(mycelium_subscriber_finish(NULL));
  CHECK_INVALID(mycelium_subscriber_leave_counting(NULL));
  CHECK_INVALID(mycelium_subscriber_count_undecodable(NULL));
  CHECK_INVALID(mycelium_subscriber_unsubscribe(NULL));
  CHECK_INVALID(mycelium_subscriber_closed(NULL, &in_place));
  CHECK_INVALID(mycelium_subscriber_closed(subscriber, NULL));
  CHECK_INVALID(mycelium_subscriber_descriptor(NULL, &descriptor));
  CHECK_INVALID(mycelium_subscriber_descriptor(subscriber, NULL));
  CHECK_INVALID(mycelium_runtime_ledger(NULL, IgnoreFlow, NULL));
  CHECK_INVALID(mycelium_runtime_ledger(runtime, NULL, NULL));
  CHECK_INVALID(mycelium_runtime_links(NULL, IgnoreLink, NULL));
  CHECK_INVALID(mycelium_runtime_links(runtime, NULL, NULL));
  CHECK_INVALID(mycelium_runtime_stats(NULL, &stats));
  CHECK_INVALID(mycelium_runtime_stats(runtime, NULL));

  mycelium_type_destroy(NULL);
  mycelium_runtime_destroy(NULL);
  mycelium_publisher_destroy(NULL);
  mycelium_loan_destroy(NULL);
  mycelium_unsubscribe(NULL);
  mycelium_subscriber_destroy(NULL);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
}

/* Sizes and numbers that are not valid. */
static void TestWrongValues(MyceliumRuntime* runtime, MyceliumType* type) {
  uint8_t digest[MYCELIUM_DIGEST_BYTES];
  CHECK(mycelium_type_create_raw("") == NULL);
  CHECK(mycelium_type_create("a.B", kDigest, 31) == NULL);
  CHECK(mycelium_type_create("a.B", kDigest, 0) == NULL);
  CHECK(mycelium_type_create_from_descriptors("a.B", "junk", 4) == NULL);
  CHECK(mycelium_type_create_from_descriptors("a.B", NULL, 0) == NULL);
  CHECK_INVALID(mycelium_type_digest(type, digest, 31));
  CHECK_INVALID(mycelium_type_digest(type, digest, 33));
  CHECK_INVALID(mycelium_runtime_flush(runtime, -1));
  CHECK_INVALID(mycelium_runtime_shutdown(runtime, INT64_MIN));
  CHECK_INVALID(mycelium_runtime_close(runtime, -1));
  CHECK_INVALID(mycelium_runtime_close(NULL, 0));
  CHECK_INVALID(mycelium_runtime_listen_unix(runtime, ""));
  CHECK_INVALID(mycelium_runtime_listen_shm(runtime, "/tmp/s", 100));

  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.struct_size = 0;
  CHECK(mycelium_runtime_create(&options) == NULL);
  options.struct_size = sizeof options + 1;
  CHECK(mycelium_runtime_create(&options) == NULL);
  options.struct_size = sizeof options;
  options.schema_digest = kDigest;
  CHECK(mycelium_runtime_create(&options) == NULL);
  options.schema_digest = NULL;
  options.schema_digest_size = 32;
  CHECK(mycelium_runtime_create(&options) == NULL);

  MyceliumPublisherOptions publishing = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  publishing.publish_timeout_ms = -2;
  CHECK(mycelium_publisher_create(runtime, type, NULL, &publishing) == NULL);
  publishing.struct_size = 1;
  CHECK(mycelium_publisher_create(runtime, type, NULL, &publishing) == NULL);

  MyceliumSubscriberOptions receiving = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  receiving.overflow = 7;
  CHECK(mycelium_subscriber_create(runtime, type, &receiving) == NULL);
  receiving.overflow = -1;
  CHECK(mycelium_subscriber_create(runtime, type, &receiving) == NULL);
  receiving.overflow = MYCELIUM_OVERFLOW_DROP_OLDEST;
  receiving.depth = -5;
  CHECK(mycelium_subscriber_create(runtime, type, &receiving) == NULL);
  receiving.depth = 0;
  receiving.delivery = 2;
  CHECK(mycelium_subscribe(runtime, type, IgnoreMessage, NULL, &receiving) ==
        NULL);
  receiving.struct_size = 3;
  CHECK(mycelium_subscribe(runtime, type, IgnoreMessage, NULL, &receiving) ==
        NULL);

  MyceliumStats stats = MYCELIUM_STATS_INIT;
  stats.struct_size = 8;
  CHECK_INVALID(mycelium_runtime_stats(runtime, &stats));

  /* One byte more than a topic may have. */
  char topic[257];
  memset(topic, 't', sizeof topic - 1);
  topic[256] = '\0';
  publishing = (MyceliumPublisherOptions)MYCELIUM_PUBLISHER_OPTIONS_INIT;
  publishing.topic = topic;
  CHECK(mycelium_publisher_create(runtime, type, NULL, &publishing) == NULL);
  topic[255] = '\0';
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, &publishing);
  CHECK(publisher != NULL);
  CHECK_INVALID(mycelium_publisher_wait_for_subscribers(publisher, 1, -1));
  mycelium_publisher_destroy(publisher);
}

static void FailConnection(const MyceliumConnectionEvent* event, void* user) {
  (void)event;
  (void)user;
  CHECK(!"called");
}

/* What read(2) returns when it fails, taken for a size. */
static void TestSizes(MyceliumRuntime* runtime, MyceliumType* type) {
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, NULL);
  CHECK(publisher != NULL);
  const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 39, SIZE_MAX - 40,
                          ((size_t)256 << 20) + 1};
  for (int with_queue = 0; with_queue <= 1; ++with_queue) {
    MyceliumSubscriberOptions options = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
    MyceliumSubscriber* const queue =
        with_queue ? mycelium_subscriber_create(runtime, type, &options) : NULL;
    MyceliumSubscription* const inlined =
        mycelium_subscribe(runtime, type, &IgnoreMessage, NULL, NULL);
    CHECK(inlined != NULL && (queue != NULL) == (with_queue != 0));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      const size_t size = sizes[i];
      CHECK_INVALID(mycelium_publish(runtime, type, "x", size));
      CHECK_INVALID(mycelium_publish_to(runtime, "s", type, "x", size));
      CHECK_INVALID(mycelium_publisher_publish(publisher, "x", size));
      CHECK_INVALID(mycelium_publisher_try_publish(publisher, "x", size));
      CHECK_INVALID(mycelium_publisher_publish_shared(publisher, "x", size));
      CHECK_INVALID(
          mycelium_publisher_try_publish_shared(publisher, "x", size));
    }
    mycelium_unsubscribe(inlined);
    mycelium_subscriber_destroy(queue);
  }
  mycelium_publisher_destroy(publisher);
}

/* Structs of programs that were compiled with the header of version 1. These
   sizes must never change. */
static void TestStructsOfVersion1(MyceliumRuntime* runtime,
                                  MyceliumType* type) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.struct_size = 40;
  MyceliumRuntime* const other = mycelium_runtime_create(&options);
  CHECK(other != NULL);
  mycelium_runtime_destroy(other);
  /* As they were before callbacks: what lies behind is not part of them. */
  char folder[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", folder);
  CHECK_OK(mycelium_runtime_listen_unix(runtime, socket));
  options.poll_by_caller = 1;
  options.on_connection = FailConnection;
  for (options.struct_size = 40; options.struct_size <= 80;
       options.struct_size += 40) {
    MyceliumRuntime* const older = mycelium_runtime_create(&options);
    CHECK(older != NULL);
    CHECK_OK(mycelium_runtime_connect_unix(older, socket));
    MyceliumStats links = MYCELIUM_STATS_INIT;
    while (links.links_up == 0) {
      CHECK_OK(mycelium_runtime_poll(older, 20000, NULL));
      CHECK_OK(mycelium_runtime_stats(older, &links));
    }
    mycelium_runtime_destroy(older);
  }
  CHECK_OK(mycelium_runtime_stop_listening(runtime, socket));
  CHECK(rmdir(folder) == 0);
  options.struct_size = 39;
  CHECK(mycelium_runtime_create(&options) == NULL);

  MyceliumPublisherOptions publishing = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  publishing.struct_size = 32;
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, &publishing);
  CHECK(publisher != NULL);
  mycelium_publisher_destroy(publisher);
  publishing.struct_size = 31;
  CHECK(mycelium_publisher_create(runtime, type, NULL, &publishing) == NULL);

  MyceliumSubscriberOptions receiving = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  receiving.struct_size = 48;
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, &receiving);
  CHECK(subscriber != NULL);
  mycelium_subscriber_destroy(subscriber);
  receiving.struct_size = 47;
  CHECK(mycelium_subscriber_create(runtime, type, &receiving) == NULL);

  MyceliumStats stats = MYCELIUM_STATS_INIT;
  stats.struct_size = 56;
  CHECK_OK(mycelium_runtime_stats(runtime, &stats));
  CHECK(stats.struct_size == 56);
  stats.struct_size = 55;
  CHECK_INVALID(mycelium_runtime_stats(runtime, &stats));
}

int main(void) {
  MyceliumRuntime* const runtime = mycelium_runtime_create(NULL);
  MyceliumType* const type =
      mycelium_type_create("plant.Reading", kDigest, sizeof kDigest);
  CHECK(runtime != NULL && type != NULL);
  TestNull(runtime, type);
  TestWrongValues(runtime, type);
  TestSizes(runtime, type);
  TestStructsOfVersion1(runtime, type);
  /* Empty is a message too. */
  CHECK_OK(mycelium_publish(runtime, type, NULL, 0));
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
  return 0;
}
