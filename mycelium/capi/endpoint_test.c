/* Where runtimes listen, whom they meet there, and who they are. */
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

/* What became of the links of one runtime, told where it polls. */
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

int main(void) {
  TestRuntimeSaysWhoItIs();
  TestRuntimesOfTheProcessShareANode();
  TestDiallerMayInsistOnTheCapacity();
  TestEndpointCountsAndStops();
  TestCallbackDoesNotStopAnEndpoint();
  return 0;
}
