/* Where runtimes listen, which peers they meet there, and who they are. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

/* A folder of its own for sockets. */
typedef struct Folder {
  char path[32];
  char socket[64];
} Folder;

static Folder MakeFolder(void) {
  Folder folder = {"/tmp/myc-capi-XXXXXX", ""};
  CHECK(mkdtemp(folder.path) != NULL);
  snprintf(folder.socket, sizeof folder.socket, "%s/s", folder.path);
  return folder;
}

/* What became of the links of one runtime, told on the thread that polls. */
typedef struct Told {
  int connected;
  int refused;
  char message[256];
} Told;

static void OnConnection(const MyceliumConnectionEvent* event, void* user) {
  Told* const told = user;
  if (event->state == MYCELIUM_CONNECTED) ++told->connected;
  if (event->state != MYCELIUM_REFUSED) return;
  ++told->refused;
  snprintf(told->message, sizeof told->message, "%s", event->message);
}

static MyceliumRuntime* MakeDialler(Told* told) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.poll_by_caller = 1;
  options.on_connection = OnConnection;
  options.on_connection_user = told;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(runtime != NULL);
  return runtime;
}

static MyceliumEndpointStats StatsOf(const MyceliumRuntime* runtime) {
  MyceliumEndpointStats stats = MYCELIUM_ENDPOINT_STATS_INIT;
  CHECK_OK(mycelium_runtime_endpoint_stats(runtime, &stats));
  return stats;
}

static void TestRuntimeSaysWhoItIs(void) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.node = "boiler";
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(strcmp(mycelium_runtime_node(runtime), "boiler") == 0);
  CHECK(strlen(mycelium_runtime_service(runtime)) > 0);
  int32_t closed = 9;
  CHECK_OK(mycelium_runtime_closed(runtime, &closed));
  CHECK(closed == 0);
  CHECK_OK(mycelium_runtime_close(runtime, kLongMs));
  CHECK_OK(mycelium_runtime_closed(runtime, &closed));
  CHECK(closed == 1);
  CHECK(strcmp(mycelium_runtime_node(runtime), "boiler") == 0);
  mycelium_runtime_destroy(runtime);
}

static void TestRuntimesOfTheProcessShareANode(void) {
  MyceliumRuntime* const one = mycelium_runtime_create_of_process("one", NULL);
  MyceliumRuntime* const two = mycelium_runtime_create_of_process(NULL, NULL);
  CHECK(one != NULL && two != NULL);
  CHECK(mycelium_runtime_create_of_process("one", NULL) == NULL);
  CHECK(strstr(mycelium_last_error(), "one") != NULL);
  CHECK(strcmp(mycelium_runtime_service(one), "one") == 0);
  CHECK(strcmp(mycelium_runtime_node(one), mycelium_runtime_node(two)) == 0);
  MyceliumType* const type = mycelium_type_create_raw("reading");
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(two, type, NULL);
  CHECK_OK(mycelium_publish(one, type, "x", 1));
  const MyceliumMessage* message;
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
  CHECK(strcmp(message->publisher_service, "one") == 0);
  mycelium_subscriber_destroy(subscriber);
  CheckLedger(one, 1, 1);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(one);
  mycelium_runtime_destroy(two);
}

static void TestDiallerMayInsistOnTheCapacity(void) {
  const Folder folder = MakeFolder();
  MyceliumRuntime* const listening = mycelium_runtime_create(NULL);
  CHECK_OK(mycelium_runtime_listen_shm(listening, folder.socket, 65536));
  Told told = {0, 0, ""};
  MyceliumRuntime* const dialling = MakeDialler(&told);
  CHECK_OK(mycelium_runtime_connect_shm_with(dialling, folder.socket, 131072));
  while (told.refused == 0) {
    CHECK_OK(mycelium_runtime_poll(dialling, kLongMs, NULL));
  }
  CHECK(strstr(told.message, "65536 bytes, 131072 were asked for") != NULL);
  CHECK(told.connected == 0);
  CHECK_OK(mycelium_runtime_connect_shm_with(dialling, folder.socket, 65536));
  while (told.connected == 0) {
    CHECK_OK(mycelium_runtime_poll(dialling, kLongMs, NULL));
  }
  CHECK_STATUS(mycelium_runtime_connect_shm_with(dialling, folder.socket, 4095),
               MYCELIUM_INVALID_ARGUMENT);
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
  CHECK(rmdir(folder.path) == 0);
}

static void Expect(MyceliumSubscriber* subscriber, const char* data) {
  const MyceliumMessage* message;
  CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &message));
  CHECK(message->size == strlen(data));
  CHECK(memcmp(message->data, data, message->size) == 0);
  CHECK_OK(mycelium_subscriber_finish(subscriber));
}

static void TestEndpointCountsAndStops(void) {
  const Folder folder = MakeFolder();
  MyceliumRuntime* const listening = mycelium_runtime_create(NULL);
  MyceliumRuntime* const dialling = mycelium_runtime_create(NULL);
  CHECK_OK(mycelium_runtime_listen_unix(listening, folder.socket));
  CHECK(StatsOf(listening).connections == 0);
  MyceliumType* const type = mycelium_type_create_raw("reading");
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(dialling, type, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(listening, type, NULL, NULL);
  CHECK_OK(mycelium_runtime_connect_unix(dialling, folder.socket));
  CHECK_OK(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
  CHECK_OK(mycelium_publisher_publish(publisher, "first", 5));
  Expect(subscriber, "first");
  const MyceliumEndpointStats stats = StatsOf(listening);
  CHECK(stats.connections == 1 && stats.handshake_failures == 0);
  CHECK(stats.frames_sent == 1 && stats.bytes_sent > 5);
  CHECK(stats.frames_received == 0 && stats.stalls == 0 && stats.dropped == 0);
  CHECK(StatsOf(dialling).connections == 0);

  CHECK_STATUS(mycelium_runtime_stop_listening(dialling, folder.socket),
               MYCELIUM_NOT_FOUND);
  CHECK_OK(mycelium_runtime_stop_listening(listening, folder.socket));
  CHECK_STATUS(mycelium_runtime_stop_listening(listening, folder.socket),
               MYCELIUM_NOT_FOUND);
  CHECK(access(folder.socket, F_OK) != 0);
  CHECK_OK(mycelium_publisher_publish(publisher, "second", 6));
  Expect(subscriber, "second"); /* The link has stayed. */
  CHECK_OK(mycelium_runtime_flush(listening, kLongMs));
  MyceliumStats sent = MYCELIUM_STATS_INIT, got = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(listening, &sent));
  CHECK_OK(mycelium_runtime_stats(dialling, &got));
  CHECK(sent.accepted == 2 && sent.in_flight == 0 && sent.dropped == 0);
  CHECK(got.delivered == 2 && got.dropped == 0);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
  CHECK(rmdir(folder.path) == 0);
}

static void StopListening(const MyceliumMessage* message, void* user) {
  (void)message;
  CHECK_STATUS(mycelium_runtime_stop_listening(user, "/tmp/s"),
               MYCELIUM_FAILED_PRECONDITION);
}

static void TestCallbackDoesNotStopAnEndpoint(void) {
  MyceliumRuntime* const runtime = mycelium_runtime_create(NULL);
  MyceliumType* const type = mycelium_type_create_raw("reading");
  MyceliumSubscription* const subscription =
      mycelium_subscribe(runtime, type, StopListening, runtime, NULL);
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  mycelium_unsubscribe(subscription);
  CheckLedger(runtime, 1, 1);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

/* Files of a message Q with a field x, and with another one, y. */
static const char kOldFiles[] =
    "\x0a\x1b\x0a\x01q\x22\x0e\x0a\x01Q"
    "\x12\x09\x0a\x01x\x18\x01\x20\x01\x28\x05\x62\x06proto3";
static const char kNextFiles[] =
    "\x0a\x26\x0a\x01q\x22\x19\x0a\x01Q"
    "\x12\x09\x0a\x01x\x18\x01\x20\x01\x28\x05"
    "\x12\x09\x0a\x01y\x18\x02\x20\x01\x28\x05\x62\x06proto3";

/* Whether a subscriber with `next` gets what a publisher with `old` sends. */
static void CheckVersions(int32_t publishers, int32_t subscribers,
                          mycelium_status expected) {
  MyceliumType* const old = mycelium_type_create_from_descriptors(
      "Q", kOldFiles, sizeof kOldFiles - 1);
  MyceliumType* const next = mycelium_type_create_from_descriptors(
      "Q", kNextFiles, sizeof kNextFiles - 1);
  CHECK(old != NULL && next != NULL);
  const Folder folder = MakeFolder();
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.schema = publishers;
  MyceliumRuntime* const publishing = mycelium_runtime_create(&options);
  options.schema = subscribers;
  MyceliumRuntime* const subscribing = mycelium_runtime_create(&options);
  CHECK_OK(mycelium_runtime_listen_unix(publishing, folder.socket));
  CHECK_OK(mycelium_runtime_connect_unix(subscribing, folder.socket));
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(subscribing, next, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(publishing, old, NULL, NULL);
  CHECK_STATUS(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs),
               expected);
  if (expected == MYCELIUM_OK) {
    CHECK_OK(mycelium_publisher_publish(publisher, "\x08\x07", 2));
    const MyceliumMessage* got;
    CHECK_OK(mycelium_subscriber_receive(subscriber, kLongMs, &got));
    CHECK(got->size == 2 && memcmp(got->data, "\x08\x07", 2) == 0);
    CHECK_OK(mycelium_subscriber_finish(subscriber));
    CHECK_OK(mycelium_runtime_flush(publishing, kLongMs));
    MyceliumStats stats = MYCELIUM_STATS_INIT;
    CHECK_OK(mycelium_runtime_stats(publishing, &stats));
    CHECK(stats.accepted == 1 && stats.in_flight == 0 && stats.dropped == 0);
  }
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(subscribing);
  mycelium_runtime_destroy(publishing);
  mycelium_type_destroy(old);
  mycelium_type_destroy(next);
  CHECK(rmdir(folder.path) == 0);
}

static void TestCompatibleVersionsAreTakenWhereBothSaySo(void) {
  CheckVersions(MYCELIUM_SCHEMA_COMPATIBLE, MYCELIUM_SCHEMA_COMPATIBLE,
                MYCELIUM_OK);
  CheckVersions(MYCELIUM_SCHEMA_COMPATIBLE, MYCELIUM_SCHEMA_EXACT,
                MYCELIUM_FAILED_PRECONDITION);
  CheckVersions(MYCELIUM_SCHEMA_EXACT, MYCELIUM_SCHEMA_COMPATIBLE,
                MYCELIUM_FAILED_PRECONDITION);
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.schema = 2;
  CHECK(mycelium_runtime_create(&options) == NULL);
  CHECK(strcmp(mycelium_last_error(),
               "schema is 2, which is no schema policy") == 0);
}

int main(void) {
  TestCompatibleVersionsAreTakenWhereBothSaySo();
  TestRuntimeSaysWhoItIs();
  TestRuntimesOfTheProcessShareANode();
  TestDiallerMayInsistOnTheCapacity();
  TestEndpointCountsAndStops();
  TestCallbackDoesNotStopAnEndpoint();
  return 0;
}
